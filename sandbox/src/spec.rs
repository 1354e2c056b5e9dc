//! What to run and where: the one value that crosses into the re-exec'd child.

use std::path::{Component, Path, PathBuf};

use serde::{Deserialize, Serialize};

use crate::error::SandboxError;

/// Longest container id.
pub const MAX_ID: usize = 64;
/// Most arguments, environment variables, binds, tmpfs mounts or descriptors in one spec.
pub const MAX_ITEMS: usize = 4096;
/// Seconds between SIGTERM and SIGKILL when a spec does not say.
pub const DEFAULT_GRACE: u32 = 10;

/// What to run and where. Serialised as JSON into the child.
///
/// Construct it with `Spec { id, rootfs, args, state_dir, ..Spec::default() }`.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Spec {
    /// `[a-z0-9-]{1,64}`, unique on the machine: names the cgroup `keg/<id>` and `state_dir/<id>`.
    pub id: String,
    /// A mounted root directory, writable or not.
    pub rootfs: PathBuf,
    /// The command and its arguments; the command is searched in the container's `PATH`.
    pub args: Vec<String>,
    /// The whole environment. `PATH` and `HOME` are added where absent.
    pub env: Vec<(String, String)>,
    /// Absolute working directory inside the container; it must exist.
    pub cwd: String,
    /// User id of the command.
    pub uid: u32,
    /// Group id of the command.
    pub gid: u32,
    /// Host name inside the container.
    pub hostname: String,
    /// Host files or directories shown inside.
    pub binds: Vec<Bind>,
    /// Absolute paths that get a fresh tmpfs, e.g. `/tmp`.
    pub tmpfs: Vec<String>,
    /// Remount the root read-only after set-up.
    pub read_only_root: bool,
    /// Which network namespace.
    pub network: Network,
    /// Capabilities, system call filter and resource limits.
    pub profile: Profile,
    /// Control group limits.
    pub limits: Limits,
    /// Where standard output goes.
    pub stdout: Output,
    /// Where standard error goes.
    pub stderr: Output,
    /// Inherited descriptors: (number in the caller, number in the container).
    pub fds: Vec<(i32, i32)>,
    /// Parent directory of the container's own records: `state_dir/<id>/`.
    pub state_dir: PathBuf,
    /// Run under a small PID 1 that forwards signals and reaps.
    pub init: bool,
    /// Seconds between SIGTERM and SIGKILL when the shim is told to stop.
    #[serde(default = "default_grace")]
    pub grace: u32,
}

fn default_grace() -> u32 {
    DEFAULT_GRACE
}

impl Default for Spec {
    fn default() -> Self {
        Spec {
            id: String::new(),
            rootfs: PathBuf::new(),
            args: Vec::new(),
            env: Vec::new(),
            cwd: "/".into(),
            uid: 0,
            gid: 0,
            hostname: "keg".into(),
            binds: Vec::new(),
            tmpfs: Vec::new(),
            read_only_root: false,
            network: Network::None,
            profile: Profile::App,
            limits: Limits::default(),
            stdout: Output::Inherit,
            stderr: Output::Inherit,
            fds: Vec::new(),
            state_dir: PathBuf::new(),
            init: false,
            grace: DEFAULT_GRACE,
        }
    }
}

/// A host file or directory shown inside the container (not recursively, no devices, no set-uid).
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Bind {
    /// Absolute path on the host.
    pub source: PathBuf,
    /// Absolute path in the container; created where absent.
    pub target: String,
    /// Refuse writes.
    pub read_only: bool,
}

/// The network namespace of a container.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub enum Network {
    /// A fresh namespace in which only the loopback interface is up.
    None,
    /// The existing namespace at this path (see [`crate::netns`]).
    Join(PathBuf),
}

/// How much a container may do.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Profile {
    /// An application: no capabilities at all.
    App,
    /// A build step: as [`Profile::App`], with limits fit for compilers.
    Build,
    /// Package maintainer scripts: root that may change owners, modes, ids and its root directory.
    Configure,
}

/// Control group limits; `None` leaves that one unlimited.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
pub struct Limits {
    /// Bytes of memory.
    pub memory: Option<u64>,
    /// Processors, e.g. 0.5.
    pub cpus: Option<f64>,
    /// Processes and threads.
    pub pids: Option<u32>,
}

/// Where an output stream goes.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub enum Output {
    /// The caller's own stream.
    Inherit,
    /// Appended to this file; a FIFO is opened for reading and writing, so that a reader may come
    /// and go without the container noticing.
    Path(PathBuf),
    /// Lines `<RFC 3339 time> <tag> <text>` appended to this file by the container's waiter.
    Lines {
        /// The stream file; past [`crate::LINES_LIMIT`] bytes it is renamed to `<path>.1`.
        path: PathBuf,
        /// What stands between time and text, e.g. `web.0 out`.
        tag: String,
    },
}

impl Spec {
    /// The directory of this container's records.
    pub fn dir(&self) -> PathBuf {
        self.state_dir.join(&self.id)
    }

    /// Refuses what must never reach the container library: each error names the field.
    pub fn validate(&self) -> Result<(), SandboxError> {
        check_id(&self.id)?;
        absolute("rootfs", &self.rootfs)?;
        absolute("state_dir", &self.state_dir)?;
        inside("cwd", &self.cwd)?;
        if self.args.first().is_none_or(String::is_empty) {
            return Err(bad("args", "there is no command to run"));
        }
        let lists = [
            ("args", self.args.len()),
            ("env", self.env.len()),
            ("binds", self.binds.len()),
            ("tmpfs", self.tmpfs.len()),
            ("fds", self.fds.len()),
        ];
        for (field, len) in lists {
            if len > MAX_ITEMS {
                return Err(bad(field, format!("{len} entries, at most {MAX_ITEMS} fit")));
            }
        }
        if self.args.iter().any(|a| a.contains('\0')) {
            return Err(bad("args", "an argument holds a zero byte"));
        }
        for (name, value) in &self.env {
            if name.is_empty() || name.contains(['=', '\0']) || value.contains('\0') {
                return Err(bad("env", format!("`{name}` is no name for a variable")));
            }
        }
        for bind in &self.binds {
            absolute("binds", &bind.source)?;
            inside("binds", &bind.target)?;
        }
        for path in &self.tmpfs {
            inside("tmpfs", path)?;
        }
        self.validate_numbers()
    }

    fn validate_numbers(&self) -> Result<(), SandboxError> {
        if self.hostname.is_empty() || self.hostname.len() > 63 || self.hostname.contains('\0') {
            return Err(bad("hostname", "a host name has 1 to 63 bytes"));
        }
        if self.fds.iter().any(|(from, to)| *from < 0 || *to < 3 || *to > 1000) {
            return Err(bad("fds", "descriptors are passed as numbers 3 to 1000"));
        }
        if self.limits.cpus.is_some_and(|c| !(c.is_finite() && (0.01..=4096.0).contains(&c))) {
            return Err(bad("limits.cpus", "between 0.01 and 4096 processors"));
        }
        if self.limits.pids == Some(0) {
            return Err(bad("limits.pids", "at least 1 process must be allowed"));
        }
        Ok(())
    }
}

/// Whether `id` may name a container, its cgroup and its directory.
pub fn check_id(id: &str) -> Result<(), SandboxError> {
    let fits = |c: u8| c.is_ascii_lowercase() || c.is_ascii_digit() || c == b'-';
    if id.is_empty() || id.len() > MAX_ID || !id.bytes().all(fits) {
        return Err(bad("id", format!("`{id}` is not 1 to {MAX_ID} of a-z, 0-9 and -")));
    }
    Ok(())
}

fn bad(field: &'static str, reason: impl Into<String>) -> SandboxError {
    SandboxError::BadSpec { field, reason: reason.into() }
}

fn absolute(field: &'static str, path: &Path) -> Result<(), SandboxError> {
    let plain = |c: Component| matches!(c, Component::RootDir | Component::Normal(_));
    if !path.is_absolute() || !path.components().all(plain) {
        return Err(bad(field, format!("`{}` is not a plain absolute path", path.display())));
    }
    Ok(())
}

fn inside(field: &'static str, path: &str) -> Result<(), SandboxError> {
    if path.contains('\0') {
        return Err(bad(field, "a path holds a zero byte"));
    }
    absolute(field, Path::new(path))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn good() -> Spec {
        Spec {
            id: "a-1".into(),
            rootfs: "/r".into(),
            args: vec!["sh".into()],
            state_dir: "/s".into(),
            ..Spec::default()
        }
    }

    #[test]
    fn refuses_hostile_specs() {
        good().validate().unwrap();
        type Edit = fn(&mut Spec);
        let table: &[(&str, Edit)] = &[
            ("id", |s| s.id = "".into()),
            ("id", |s| s.id = "../x".into()),
            ("id", |s| s.id = "A".into()),
            ("id", |s| s.id = "x".repeat(65)),
            ("rootfs", |s| s.rootfs = "r".into()),
            ("rootfs", |s| s.rootfs = "/a/../b".into()),
            ("state_dir", |s| s.state_dir = "".into()),
            ("cwd", |s| s.cwd = "app".into()),
            ("args", |s| s.args = vec![]),
            ("args", |s| s.args = vec!["a\0b".into()]),
            ("env", |s| s.env = vec![("A=B".into(), "".into())]),
            ("binds", |s| {
                s.binds =
                    vec![Bind { source: "/x".into(), target: "/../etc".into(), read_only: true }]
            }),
            ("tmpfs", |s| s.tmpfs = vec!["tmp".into()]),
            ("hostname", |s| s.hostname = "".into()),
            ("fds", |s| s.fds = vec![(4, 1)]),
            ("limits.cpus", |s| s.limits.cpus = Some(f64::NAN)),
            ("limits.pids", |s| s.limits.pids = Some(0)),
        ];
        for (want, edit) in table {
            let mut spec = good();
            edit(&mut spec);
            match spec.validate() {
                Err(SandboxError::BadSpec { field, .. }) => assert_eq!(field, *want),
                other => panic!("{want}: {other:?}"),
            }
        }
    }
}
