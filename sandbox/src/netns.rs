//! Network namespaces: made, held by a descriptor, entered for one call.
//!
//! Everything here changes the calling thread for a moment, so it belongs into processes of one
//! thread only.

use std::fs::File;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd};
use std::path::{Path, PathBuf};

use rustix::thread::{LinkNameSpaceType, move_into_link_name_space};

use crate::error::SandboxError;

/// The calling thread's own network namespace.
const OWN: &str = "/proc/thread-self/ns/net";

/// Moves the calling thread into a fresh namespace with the loopback interface up.
pub fn unshare() -> Result<(), SandboxError> {
    // SAFETY: plain system call.
    if unsafe { libc::unshare(libc::CLONE_NEWNET) } != 0 {
        return Err(SandboxError::os("make a network namespace"));
    }
    loopback_up()
}

/// Moves the calling thread into the namespace that `path` refers to.
pub fn join(path: &Path) -> Result<(), SandboxError> {
    enter(open(path)?.as_fd()).map_err(|e| SandboxError::io("enter the network namespace", path, e))
}

/// Makes a namespace with only loopback; it lives as long as the descriptor, a process in it, or
/// a socket of it does.
pub fn create() -> Result<OwnedFd, SandboxError> {
    let home = Home::open()?;
    let made = unshare().and_then(|()| {
        File::open(OWN).map(OwnedFd::from).map_err(|e| SandboxError::io("open", OWN, e))
    });
    home.back();
    made
}

/// The path under which this process's descriptor of a namespace can be opened, also by others.
pub fn path_of(namespace: &OwnedFd) -> PathBuf {
    PathBuf::from(format!("/proc/{}/fd/{}", std::process::id(), namespace.as_raw_fd()))
}

/// The namespace of a running process.
pub fn of_process(pid: i32) -> Result<OwnedFd, SandboxError> {
    open(&PathBuf::from(format!("/proc/{pid}/ns/net")))
}

/// The namespace that `path` refers to.
pub fn open(path: &Path) -> Result<OwnedFd, SandboxError> {
    File::open(path).map(OwnedFd::from).map_err(|e| SandboxError::io("open", path, e))
}

/// The number of a namespace: no two that exist at a time have the same.
pub fn number(namespace: &OwnedFd) -> Result<u64, SandboxError> {
    rustix::fs::fstat(namespace)
        .map(|stat| stat.st_ino)
        .map_err(|e| SandboxError::System { what: "look at a namespace", source: e.into() })
}

/// Calls `f` inside a namespace: sockets made there belong to it for good.
pub fn within<R>(namespace: &OwnedFd, f: impl FnOnce() -> R) -> Result<R, SandboxError> {
    let home = Home::open()?;
    enter(namespace.as_fd())
        .map_err(|source| SandboxError::System { what: "enter the network namespace", source })?;
    let result = f();
    home.back();
    Ok(result)
}

/// The way back to the namespace we came from.
struct Home(File);

impl Home {
    fn open() -> Result<Home, SandboxError> {
        File::open(OWN).map(Home).map_err(|e| SandboxError::io("open", OWN, e))
    }

    /// Returns, or ends the process: going on in a stranger's network would break the isolation
    /// that every later connection relies on.
    fn back(self) {
        if enter(self.0.as_fd()).is_err() {
            std::process::abort();
        }
    }
}

fn enter(namespace: BorrowedFd<'_>) -> std::io::Result<()> {
    move_into_link_name_space(namespace, Some(LinkNameSpaceType::Network)).map_err(Into::into)
}

fn loopback_up() -> Result<(), SandboxError> {
    let socket =
        rustix::net::socket(rustix::net::AddressFamily::INET, rustix::net::SocketType::DGRAM, None)
            .map_err(|e| SandboxError::System { what: "open a socket", source: e.into() })?;
    // SAFETY: ifreq is plain data for which all zeroes is a value.
    let mut request: libc::ifreq = unsafe { std::mem::zeroed() };
    for (to, from) in request.ifr_name.iter_mut().zip(b"lo") {
        *to = *from as libc::c_char;
    }
    request.ifr_ifru.ifru_flags = (libc::IFF_UP | libc::IFF_RUNNING) as libc::c_short;
    // SAFETY: the request is a live ifreq, the descriptor a socket.
    match unsafe { libc::ioctl(socket.as_raw_fd(), libc::SIOCSIFFLAGS, &request) } {
        0 => Ok(()),
        _ => Err(SandboxError::os("bring the loopback interface up")),
    }
}
