//! Starting the processes of a Keg: re-execs of this binary, tied to our life, told the Keg's
//! directory and, where they serve, handed a listening socket.

use std::{
    fmt, io,
    os::fd::{AsRawFd, OwnedFd},
    path::Path,
};

use keg::path::AppName;
use tokio::process::{Child, Command};

/// The sockets bound by the parent, so that a restart refuses no connection.
pub struct Sockets {
    /// Git, registry, REST, web.
    pub front: OwnedFd,
    /// Apps.
    pub router: OwnedFd,
}

/// The services of every Keg, in the order they start.
pub const SERVICES: [Service; 3] = [Service::Front, Service::Mayor, Service::Router];

/// A process that is always there.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Hash)]
pub enum Service {
    /// Git, registry, REST and web on one port.
    Front,
    /// Keeps the apps' processes.
    Mayor,
    /// Brings requests to apps.
    Router,
}

impl Service {
    /// As in `keg service NAME` and the process table's `service/NAME`.
    pub fn name(self) -> &'static str {
        match self {
            Self::Front => "front",
            Self::Mayor => "mayor",
            Self::Router => "router",
        }
    }
}

/// Anything the parent starts.
#[derive(Clone, PartialEq, Eq, Debug, Hash)]
pub enum Job {
    /// Restarted when it dies.
    Service(Service),
    /// One import request, by key.
    Import(String),
    /// The newest source of one app.
    Build(AppName),
}

impl fmt::Display for Job {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Service(service) => write!(f, "service {}", service.name()),
            Self::Import(key) => write!(f, "work import {key}"),
            Self::Build(app) => write!(f, "work build {app}"),
        }
    }
}

/// Starts a job.
///
/// # Errors
/// As `fork` and `exec`.
pub fn spawn(job: &Job, home: &Path, sockets: &Sockets, keep: bool) -> io::Result<Child> {
    let text = job.to_string();
    let mut command = Command::new(keg::spawn::self_exe());
    command.arg0("keg").args(text.split(' ')).env("KEG_HOME", home).env_remove("KEG_URL");
    let socket = match job {
        Job::Service(Service::Front) => Some(&sockets.front),
        Job::Service(Service::Router) => Some(&sockets.router),
        _ => None,
    };
    let socket = socket.map(AsRawFd::as_raw_fd);
    if let Some(fd) = socket {
        command.arg("--fd").arg(fd.to_string());
    }
    if keep && *job == Job::Service(Service::Mayor) {
        command.arg("--keep");
    }
    // The mayor gets SIGTERM to stop its apps in order; the others have nothing to lose.
    let farewell = match job {
        Job::Service(_) => libc::SIGTERM,
        _ => libc::SIGKILL,
    };
    // SAFETY: only async-signal-safe system calls between fork and exec.
    unsafe {
        command.pre_exec(move || {
            check(libc::prctl(libc::PR_SET_PDEATHSIG, farewell as libc::c_ulong, 0, 0, 0))?;
            match socket {
                Some(fd) => check(libc::fcntl(fd, libc::F_SETFD, 0)),
                None => Ok(()),
            }
        });
    }
    command.stdin(std::process::Stdio::null()).spawn()
}

fn check(result: libc::c_int) -> io::Result<()> {
    if result == -1 { Err(io::Error::last_os_error()) } else { Ok(()) }
}
