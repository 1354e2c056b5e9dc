//! Network namespaces: made, kept by a file, entered for one call.
//!
//! Everything here changes the calling thread for a moment, so it belongs into processes of one
//! thread only.

use std::ffi::CString;
use std::fs::{self, File, OpenOptions};
use std::os::fd::{AsFd, AsRawFd};
use std::os::unix::ffi::OsStrExt;
use std::path::Path;

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
    let file = File::open(path).map_err(|e| SandboxError::io("open", path, e))?;
    enter(&file).map_err(|e| SandboxError::io("enter the network namespace", path, e))
}

/// Makes a namespace with only loopback and keeps it alive as the file `path` (a bind mount)
/// until [`unpin`].
pub fn pin(path: &Path) -> Result<(), SandboxError> {
    OpenOptions::new()
        .create(true)
        .truncate(false)
        .write(true)
        .open(path)
        .map_err(|e| SandboxError::io("create", path, e))?;
    let target = CString::new(path.as_os_str().as_bytes())
        .map_err(|e| SandboxError::io("name", path, e.into()))?;
    let home = Home::open()?;
    let made = unshare().and_then(|()| {
        let own = CString::new(OWN).unwrap_or_default();
        // SAFETY: all pointers are to live zero-terminated strings.
        let ret = unsafe {
            libc::mount(
                own.as_ptr(),
                target.as_ptr(),
                std::ptr::null(),
                libc::MS_BIND,
                std::ptr::null(),
            )
        };
        if ret == 0 { Ok(()) } else { Err(SandboxError::os("keep a network namespace")) }
    });
    home.back();
    made
}

/// Releases a namespace kept by [`pin`] and removes the file. Nothing there is no error.
pub fn unpin(path: &Path) -> Result<(), SandboxError> {
    let target = CString::new(path.as_os_str().as_bytes())
        .map_err(|e| SandboxError::io("name", path, e.into()))?;
    // SAFETY: a live zero-terminated string.
    while unsafe { libc::umount2(target.as_ptr(), libc::MNT_DETACH) } == 0 {}
    match fs::remove_file(path) {
        Err(e) if e.kind() != std::io::ErrorKind::NotFound => {
            Err(SandboxError::io("remove", path, e))
        }
        _ => Ok(()),
    }
}

/// Calls `f` inside the namespace that `path` refers to: sockets made there belong to it for good.
pub fn within<R>(path: &Path, f: impl FnOnce() -> R) -> Result<R, SandboxError> {
    let target = File::open(path).map_err(|e| SandboxError::io("open", path, e))?;
    let home = Home::open()?;
    enter(&target).map_err(|e| SandboxError::io("enter the network namespace", path, e))?;
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
        if enter(&self.0).is_err() {
            std::process::abort();
        }
    }
}

fn enter(file: &File) -> std::io::Result<()> {
    move_into_link_name_space(file.as_fd(), Some(LinkNameSpaceType::Network)).map_err(Into::into)
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
