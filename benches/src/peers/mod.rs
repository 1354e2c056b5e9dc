//! Peers that are deployed to with a push: a bare git repository with a `post-receive` hook.

use std::{
    fs,
    net::TcpListener,
    os::unix::fs::PermissionsExt as _,
    path::{Path, PathBuf},
    process::{Command, Stdio},
};

use keg_tests::{Done, Push, Repo, World, process::run};
use tempfile::TempDir;

use crate::{
    Bench, kegs,
    trial::{self, Place, Trial},
};

/// The repository that is pushed, and the hook's directory.
pub struct Hook {
    /// What it is, in a few words.
    pub name: &'static str,
    /// What must be known of it.
    pub about: &'static str,
    /// The working copy.
    pub repo: Repo,
    dir: TempDir,
    port: u16,
}

impl Hook {
    /// A venv with the requirements, and gunicorn started anew for each push.
    ///
    /// # Panics
    /// When it cannot be set up.
    pub fn restart(bench: &Bench) -> Self {
        let about = "git hook: a bare repository on this disk; post-receive checks out, runs pip \
                     if requirements.txt changed, stops gunicorn and starts it. No image, no \
                     isolation, no router, nothing that starts it again, and nothing answers \
                     meanwhile.";
        Self::venv(bench, "git hook: venv, gunicorn stopped and started", about, "no")
    }

    /// The same, and gunicorn told to reload its code, which it can if nothing else changed.
    ///
    /// # Panics
    /// When it cannot be set up.
    pub fn reload(bench: &Bench) -> Self {
        let about = "reloads: the same, but kill -HUP where requirements.txt is unchanged: the \
                     running gunicorn starts a new worker. The push does not wait for it.";
        Self::venv(bench, "git hook: venv, gunicorn reloads", about, "yes")
    }

    fn venv(bench: &Bench, name: &'static str, about: &'static str, reload: &str) -> Self {
        let cache = bench.template.scratch().join("pip");
        let settings = format!("CACHE={}\nRELOAD={reload}", cache.display());
        Self::new(name, about, include_str!("venv.sh"), &settings)
    }

    /// An image made by podman from the image that this Keg has of an app, in a new container.
    ///
    /// # Panics
    /// When it cannot be set up.
    pub fn podman(world: &World, app: &str) -> Self {
        let name = "git hook: podman build, rm, run";
        let about = "podman: the same hook with podman build (one COPY onto Keg's own image of \
                     the example), podman rm and podman run --network=host.";
        let image = format!("{}/{app}:latest", world.front);
        let peer = Self::new(name, about, include_str!("podman.sh"), &format!("IMAGE={image}"));
        peer.own_podman(&["pull", "--quiet", "--tls-verify=false", &image]).ok();
        peer
    }

    fn new(name: &'static str, about: &'static str, hook: &str, setting: &str) -> Self {
        let dir = tempfile::tempdir_in(kegs::place()).expect("a directory");
        let bare = dir.path().join("app.git");
        run(Command::new("git").args(["init", "-q", "--bare", "-b", "main"]).arg(&bare)).ok();
        let port = free_port();
        let settings = format!("DEPLOY={}\nPORT={port}\n{setting}\n", dir.path().display());
        fs::write(bare.join("hooks/settings"), settings).expect("written");
        write_program(&bare.join("hooks/post-receive"), hook);
        let repo = Repo::new("", "app");
        repo.git(&["remote", "add", "peer", bare.to_str().expect("because it is UTF-8")]).ok();
        let peer = Self { name, about, repo, dir, port };
        kegs::flask(&peer.repo, "New");
        peer
    }

    /// Pushes the example with this headline and waits for it.
    ///
    /// # Panics
    /// When it does not come.
    pub fn push_edited(&self, headline: &str) -> Trial {
        kegs::edit(&self.repo, headline);
        trial::push(&self.repo, "peer", &Place::port(self.port), headline)
    }

    /// Pushes what is committed.
    ///
    /// # Panics
    /// When that fails.
    pub fn push(&self) -> Push {
        self.repo.push_with(&["peer", "main"]).ok()
    }

    /// The example's server on another port, from the venv and the files of the last push.
    pub fn alone(&self) -> (Command, Place) {
        let dir = self.dir.path();
        let port = free_port();
        let mut gunicorn = Command::new(dir.join("venv/bin/gunicorn"));
        gunicorn.args(["--workers", "1", "--threads", "4", "--no-control-socket", "--bind"]);
        gunicorn.arg(format!("127.0.0.1:{port}")).arg("app:app").current_dir(dir.join("app"));
        gunicorn.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null());
        (gunicorn, Place::port(port))
    }

    /// The process that started the app: gunicorn, or podman's watcher.
    pub fn pid(&self) -> Option<i32> {
        let read = |file: &Path| fs::read_to_string(file).ok()?.trim().parse().ok();
        read(&self.dir.path().join("pid"))
    }

    fn podman_root(&self) -> PathBuf {
        self.dir.path().join("podman")
    }

    fn own_podman(&self, args: &[&str]) -> Done {
        let root = self.podman_root();
        let mut podman = Command::new("podman");
        podman.arg("--root").arg(root.join("root")).arg("--runroot").arg(root.join("run"));
        podman.args(["--storage-driver=overlay", "--cgroup-manager=cgroupfs", "--runtime=runc"]);
        run(podman.args(args))
    }
}

impl Drop for Hook {
    fn drop(&mut self) {
        if self.podman_root().exists() {
            self.own_podman(&["rm", "--all", "--force", "--time=0"]);
            self.own_podman(&["rmi", "--all", "--force"]);
        } else if let Some(pid) = self.pid() {
            // SAFETY: a plain system call; the hook wrote down the process it started.
            unsafe { libc::kill(pid, libc::SIGKILL) };
        }
        let _ = keg::mount::unmount_all_below(self.dir.path());
    }
}

fn free_port() -> u16 {
    let free = TcpListener::bind("127.0.0.1:0").and_then(|listener| listener.local_addr());
    free.expect("a free port").port()
}

fn write_program(path: &Path, text: &str) {
    fs::write(path, text).expect("written");
    fs::set_permissions(path, fs::Permissions::from_mode(0o755)).expect("made executable");
}
