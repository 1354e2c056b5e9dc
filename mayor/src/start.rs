//! Starting one process: its directory, its root, its network, its container.

use std::fs;
use std::io;
use std::net::TcpListener;
use std::os::fd::{AsRawFd, OwnedFd};
use std::path::{Path, PathBuf};
use std::process::Child;
use std::rc::Rc;

use keg::mount::{MountOptions, Mounts};
use keg::{Keg, Kid};
use sandbox::{Limits, Network, Output, Profile, Spec, netns};

use crate::egress;
use crate::events::handle;
use crate::place::{Note, ROOT, stream};
use crate::plan::Slot;
use crate::problem::Problem;
use crate::ready::{PORT, address};
use crate::release::Release;
use crate::room::{Furniture, furnish};
use crate::users::Users;

/// The process type that is reached through the router.
pub const WEB: &str = "web";
/// Hex digits of the Keg's directory in the ids of its containers.
const HOME_DIGITS: usize = 6;
/// What the names of directories begin with that wait for their removal.
const TRASH: &str = ".gone-";
/// Hex digits that tell the containers of an app apart.
const RANDOM_DIGITS: usize = 8;

/// What starting needs and all processes share.
pub struct Starter {
    keg: Keg,
    mounts: Mounts,
    /// `run/mayor`: a directory for every process, named by its container.
    pub base: PathBuf,
    /// What the ids of this Keg's containers begin with.
    pub prefix: String,
    users: Users,
}

/// A container that is being started.
pub struct Launched {
    /// A handle to its shim.
    pub shim: Rc<OwnedFd>,
    /// Its network namespace.
    pub namespace: Rc<OwnedFd>,
    /// A handle to what brings its connections out, if anything does.
    pub relay: Option<Rc<OwnedFd>>,
}

impl Starter {
    /// For the apps of a Keg; makes the directory.
    ///
    /// # Errors
    /// The disk's.
    pub fn new(keg: &Keg) -> io::Result<Starter> {
        let base = keg.run_dir().join("mayor");
        fs::create_dir_all(&base)?;
        let home = Kid::of_blob(keg.home().as_os_str().as_encoded_bytes()).to_hex();
        Ok(Starter {
            keg: keg.clone(),
            mounts: Mounts::new(keg),
            users: Users::load(base.join("users.json")),
            base,
            prefix: format!("k{}-", &home[..HOME_DIGITS]),
        })
    }

    /// The directory of a process.
    pub fn dir(&self, id: &str) -> PathBuf {
        self.base.join(id)
    }

    /// Starts a process of `release` in `slot`, in the container `id`. What a failure leaves is
    /// for [`Starter::discard`].
    pub fn start(
        &mut self,
        id: &str,
        app: &str,
        slot: &Slot,
        release: &Release,
        note: &Note,
    ) -> Result<Launched, Problem> {
        let name = format!("{}.{}", slot.kind, slot.index);
        let failed = |why: String| {
            Problem::not_started(&name, &why, "`keg status` and the mayor's messages show more")
        };
        let uid = self.users.id(app).map_err(|e| failed(format!("no user id: {e}")))?;
        let dir = self.dir(id);
        let root = dir.join(ROOT);
        fs::create_dir_all(&root)
            .and_then(|()| note.write(&dir))
            .map_err(|e| failed(format!("{}: {e}", dir.display())))?;
        let options = MountOptions { nosuid: true, nodev: true, noexec: false, volatile: true };
        self.mounts
            .writable_with(&release.rootfs, &dir, &root, options)
            .map_err(|e| failed(chain(&e)))?;
        let egress = release.config.egress;
        let furniture = Furniture { uid, hostname: app, workdir: &release.workdir, egress };
        furnish(&root, &furniture).map_err(|e| failed(e.to_string()))?;
        let namespace = netns::create().map_err(|e| failed(e.chain()))?;
        let inside = egress
            .then(|| egress::open(&namespace))
            .transpose()
            .map_err(|e| failed(format!("no way to the network (it needs Linux 5.9): {e}")))?;
        let socket = (release.config.socket && slot.kind == WEB)
            .then(|| listen(&namespace))
            .transpose()
            .map_err(|e| failed(format!("no socket to pass: {e}")))?;
        let spec = self.spec(
            app,
            slot,
            release,
            &Inside { id, uid, namespace: &namespace, socket: socket.as_ref() },
        );
        let shim = sandbox::spawn(&spec).map_err(|e| failed(e.chain()))?;
        let shim = handle(shim.id()).map_err(|e| failed(format!("its shim is lost: {e}")))?;
        // What the app sends meanwhile waits in the sockets.
        let relay = inside
            .map(|inside| egress::serve(&inside, app, &dir, &shim))
            .transpose()
            .map_err(|e| failed(format!("no way to the network: {e}")))?;
        Ok(Launched { shim, namespace: Rc::new(namespace), relay })
    }

    fn spec(&self, app: &str, slot: &Slot, release: &Release, inside: &Inside<'_>) -> Spec {
        let config = &release.config;
        let dir = self.dir(inside.id);
        let log = stream_path(&self.keg, app, slot);
        let lines = |out: &str| match &log {
            Some(path) => Output::Lines {
                path: path.clone(),
                tag: format!("{}.{} {out}", slot.kind, slot.index),
            },
            None => Output::Inherit,
        };
        Spec {
            id: inside.id.to_owned(),
            rootfs: dir.join(ROOT),
            args: release.processes.get(&slot.kind).cloned().unwrap_or_default(),
            env: environment(release, slot),
            cwd: release.workdir.clone(),
            uid: inside.uid,
            gid: inside.uid,
            hostname: app.to_owned(),
            tmpfs: vec!["/tmp".into()],
            network: Network::Join(netns::path_of(inside.namespace)),
            profile: Profile::App,
            limits: Limits {
                memory: Some(config.limits.memory),
                cpus: Some(config.limits.cpus),
                pids: Some(config.limits.pids),
            },
            stdout: lines("out"),
            stderr: lines("err"),
            fds: inside.socket.iter().map(|socket| (socket.as_raw_fd(), 3)).collect(),
            state_dir: dir,
            init: true,
            grace: config.grace_seconds(),
            ..Spec::default()
        }
    }

    /// An id for a new container of an app.
    pub fn fresh_id(&self, app: &str) -> String {
        let mut bytes = [0u8; RANDOM_DIGITS / 2];
        // SAFETY: the pointer and length are of a live array. An id that is taken is refused.
        unsafe { libc::getrandom(bytes.as_mut_ptr().cast(), bytes.len(), 0) };
        let random = u32::from_ne_bytes(bytes);
        format!("{}{app}-{random:0RANDOM_DIGITS$x}", self.prefix)
    }

    /// Takes the directory of a process that is gone away: what can be slow is left to `rm`.
    /// Gives the running `rm`, if it could be started.
    pub fn discard(&self, id: &str) -> Option<Child> {
        let dir = self.dir(id);
        if let Err(error) = keg::mount::unmount_all_below(&dir) {
            eprintln!("mayor: cannot unmount {}: {}", dir.display(), chain(&error));
        }
        sandbox::cgroup::remove(id);
        let trash = self.base.join(format!("{TRASH}{id}"));
        let doomed = if fs::rename(&dir, &trash).is_ok() { trash } else { dir };
        if !doomed.exists() {
            return None;
        }
        remove(&doomed)
    }

    /// Removes what former mayors did not come to remove. Gives the running `rm`s.
    pub fn sweep(&self) -> Vec<Child> {
        let entries = fs::read_dir(&self.base).into_iter().flatten().flatten();
        let trash =
            entries.filter(|e| e.file_name().as_encoded_bytes().starts_with(TRASH.as_bytes()));
        trash.filter_map(|entry| remove(&entry.path())).collect()
    }
}

/// Removes a directory with all in it, in a process of its own, never crossing into a mount.
fn remove(dir: &Path) -> Option<Child> {
    let mut rm = std::process::Command::new("rm");
    rm.args(["-rf", "--one-file-system", "--"]).arg(dir).stdin(std::process::Stdio::null());
    rm.spawn().inspect_err(|e| eprintln!("mayor: cannot run rm: {e}")).ok()
}

/// What is particular to one process.
struct Inside<'a> {
    id: &'a str,
    uid: u32,
    namespace: &'a OwnedFd,
    socket: Option<&'a TcpListener>,
}

/// The log of a slot. A sealed one has ended for good; its successor is not written anywhere.
fn stream_path(keg: &Keg, app: &str, slot: &Slot) -> Option<PathBuf> {
    let id = stream(app, slot);
    // Made here, so that readers find it from the first moment.
    if let Err(error) = keg.streams().create(&id) {
        eprintln!("mayor: the log of {app} {}.{}: {error}", slot.kind, slot.index);
        return None;
    }
    keg.streams().path(&id).ok()
}

/// The image's variables, the app's over them, and what the platform says over both.
fn environment(release: &Release, slot: &Slot) -> Vec<(String, String)> {
    let mut env = vec![("HOME".to_owned(), release.workdir.clone())];
    env.extend(release.env.iter().cloned());
    env.extend(release.config.env.iter().map(|(k, v)| (k.clone(), v.clone())));
    if slot.kind == WEB {
        env.push(("PORT".into(), PORT.to_string()));
    }
    env
}

fn listen(namespace: &OwnedFd) -> io::Result<TcpListener> {
    netns::within(namespace, || TcpListener::bind(address())).map_err(io::Error::other)?
}

/// An error and its causes as one sentence.
pub fn chain(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut next = error.source();
    while let Some(cause) = next {
        let cause_text = cause.to_string();
        if !text.ends_with(&cause_text) {
            text.push_str(": ");
            text.push_str(&cause_text);
        }
        next = cause.source();
    }
    text
}
