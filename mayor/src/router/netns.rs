//! Connections into another network namespace, made by a process with one thread.
//!
//! A socket belongs for good to the namespace in which it was created. So the thread enters the
//! app's namespace only to create one, is back before anything else runs, and connects from home:
//! `setns(2)`, `socket(2)`, `setns(2)`. Needs `CAP_SYS_ADMIN`.

use std::{
    cell::OnceCell,
    future::Future,
    io,
    net::SocketAddr,
    os::fd::{AsFd, OwnedFd},
    path::Path,
    rc::Rc,
};

use rustix::{
    fs::{Mode, OFlags},
    thread::{LinkNameSpaceType, move_into_link_name_space},
};
use tokio::net::{TcpSocket, TcpStream};

/// The namespace of the calling thread, not that of the process's first one.
const OWN: &str = "/proc/thread-self/ns/net";

thread_local! {
    static HOME: OnceCell<Rc<OwnedFd>> = const { OnceCell::new() };
}

/// Connects to `address` inside the network namespace whose file is `netns`
/// (`/proc/<pid>/ns/net`, or where it is bound to). The socket is made when this is called; the
/// future waits until the other side accepts. It has no deadline of its own.
///
/// # Errors
/// The file is not there or is no network namespace, the right to enter it is missing, or nobody
/// listens at the address.
///
/// # Panics
/// Never; but aborts the process if it cannot return to its own namespace, since everything it
/// did from there on would be done as the app.
pub fn connect(
    netns: &Path,
    address: SocketAddr,
) -> impl Future<Output = io::Result<TcpStream>> + use<> {
    let socket = inside(netns, || match address {
        SocketAddr::V4(_) => TcpSocket::new_v4(),
        SocketAddr::V6(_) => TcpSocket::new_v6(),
    });
    async move {
        let socket = socket?;
        socket.set_nodelay(true)?;
        socket.connect(address).await
    }
}

/// Opens the thread's own namespace, to come back to. Called when a service starts, so that what
/// is missing is said then and not at the first request.
pub(super) fn home() -> io::Result<Rc<OwnedFd>> {
    HOME.with(|home| {
        if let Some(fd) = home.get() {
            return Ok(Rc::clone(fd));
        }
        let fd = open(Path::new(OWN))?;
        Ok(Rc::clone(home.get_or_init(|| Rc::new(fd))))
    })
}

fn inside<T>(netns: &Path, make: impl FnOnce() -> io::Result<T>) -> io::Result<T> {
    let home = home()?;
    let there = open(netns)?;
    move_into_link_name_space(there.as_fd(), Some(LinkNameSpaceType::Network))?;
    let made = make();
    if move_into_link_name_space(home.as_fd(), Some(LinkNameSpaceType::Network)).is_err() {
        std::process::abort();
    }
    made
}

fn open(path: &Path) -> io::Result<OwnedFd> {
    // NONBLOCK: were it a FIFO, opening it would stop the service.
    let flags = OFlags::RDONLY | OFlags::CLOEXEC | OFlags::NONBLOCK;
    Ok(rustix::fs::open(path, flags, Mode::empty())?)
}

#[cfg(test)]
#[path = "netns_tests.rs"]
mod tests;
