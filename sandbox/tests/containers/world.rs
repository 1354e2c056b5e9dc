//! A root file system made of this machine's own `/usr`, and short cuts to run things in it.

use std::cell::Cell;
use std::fs;
use std::os::unix::fs::symlink;
use std::path::PathBuf;
use std::time::{Duration, Instant};

use sandbox::{Bind, Exit, Output, Spec};
use tempfile::TempDir;

pub struct World {
    name: String,
    count: Cell<usize>,
    pub dir: TempDir,
}

impl World {
    pub fn new(name: &str) -> Self {
        let dir = tempfile::tempdir().expect("a temporary directory");
        let root = dir.path().join("root");
        for sub in ["usr", "tmp", "etc", "work"] {
            fs::create_dir_all(root.join(sub)).expect("a directory");
        }
        for link in ["bin", "lib", "lib64", "sbin"] {
            symlink(format!("usr/{link}"), root.join(link)).expect("a link");
        }
        World { name: name.replace('_', "-"), count: Cell::new(0), dir }
    }

    pub fn path(&self, name: &str) -> PathBuf {
        self.dir.path().join(name)
    }

    /// `sh -c script`, output to the file `out`.
    pub fn spec(&self, script: &str) -> Spec {
        self.count.set(self.count.get() + 1);
        let id = format!("t{}-{}-{}", std::process::id(), self.name, self.count.get());
        Spec {
            id,
            rootfs: self.path("root"),
            args: ["/bin/sh", "-c", script].map(String::from).to_vec(),
            uid: 20_001,
            gid: 20_001,
            binds: vec![Bind { source: "/usr".into(), target: "/usr".into(), read_only: true }],
            tmpfs: vec!["/tmp".into()],
            stdout: Output::Path(self.path("out")),
            stderr: Output::Path(self.path("out")),
            state_dir: self.path("state"),
            ..Spec::default()
        }
    }

    /// Runs to the end; gives the exit and what was written since the last run.
    pub fn run(&self, spec: &Spec) -> (Exit, String) {
        let _ = fs::remove_file(self.path("out"));
        let exit = sandbox::run(spec).expect("the container runs");
        assert!(sandbox::cgroup::dirs(&spec.id).is_empty(), "its control groups are gone");
        (exit, self.output())
    }

    /// What a shell script prints.
    pub fn sh(&self, script: &str) -> String {
        self.run(&self.spec(script)).1
    }

    pub fn output(&self) -> String {
        fs::read_to_string(self.path("out")).unwrap_or_default()
    }
}

/// Waits until `ready` says so, at most ten seconds.
pub fn eventually(what: &str, mut ready: impl FnMut() -> bool) {
    let until = Instant::now() + Duration::from_secs(10);
    while !ready() {
        assert!(Instant::now() < until, "{what} did not happen in 10 s");
        std::thread::sleep(Duration::from_millis(5));
    }
}
