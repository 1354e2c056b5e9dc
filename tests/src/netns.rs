//! Looking at an app from inside its own network, past the router.

use std::{fs::File, os::fd::AsRawFd as _};

/// Runs `look` in the network namespace of a process; sockets made there belong to it.
///
/// # Panics
/// When there is no such process, or `look` panics.
pub fn inside<T: Send>(pid: i32, look: impl FnOnce() -> T + Send) -> T {
    let namespace = File::open(format!("/proc/{pid}/ns/net")).expect("the process runs");
    // A thread of its own, which ends there: nobody has to find the way back.
    std::thread::scope(|scope| {
        let looking = scope.spawn(|| {
            // SAFETY: a plain system call on an open descriptor; only this thread moves.
            let moved = unsafe { libc::setns(namespace.as_raw_fd(), libc::CLONE_NEWNET) };
            assert_eq!(moved, 0, "{}", std::io::Error::last_os_error());
            look()
        });
        looking.join().expect("looked")
    })
}
