//! Network namespaces: those of a test's own, and an app's, seen from inside.

use std::{
    fs::File,
    io,
    os::{
        fd::{AsRawFd as _, RawFd},
        unix::process::CommandExt as _,
    },
    process::Command,
    sync::Arc,
};

use crate::process::run;

/// A network namespace, which is gone with its last process and the last of these.
#[derive(Clone)]
pub struct Namespace(Arc<File>);

impl Namespace {
    /// A new one with nothing but a loopback device, which is up.
    ///
    /// # Panics
    /// When it cannot be made: it takes root.
    pub fn new() -> Self {
        let making = || {
            // SAFETY: a plain system call; only this thread moves.
            let made = unsafe { libc::unshare(libc::CLONE_NEWNET) };
            assert_eq!(made, 0, "{}", io::Error::last_os_error());
            run(Command::new("ip").args(["link", "set", "lo", "up"])).ok();
            Self(Arc::new(File::open("/proc/thread-self/ns/net").expect("/proc is mounted")))
        };
        // A thread of its own, which ends there: nobody has to find the way back.
        std::thread::scope(|scope| scope.spawn(making).join().expect("made"))
    }

    /// That of a process.
    ///
    /// # Panics
    /// When there is no such process.
    pub fn of(pid: i32) -> Self {
        Self(Arc::new(File::open(format!("/proc/{pid}/ns/net")).expect("the process runs")))
    }

    /// Runs `look` in it; sockets and devices made there belong to it.
    ///
    /// # Panics
    /// When `look` panics.
    pub fn inside<T: Send>(&self, look: impl FnOnce() -> T + Send) -> T {
        std::thread::scope(|scope| {
            let looking = scope.spawn(|| {
                self.enter();
                look()
            });
            looking.join().expect("looked")
        })
    }

    /// Moves the calling thread into it.
    ///
    /// # Panics
    /// When that is not allowed.
    pub fn enter(&self) {
        enter(self.0.as_raw_fd()).expect("a namespace to enter");
    }

    /// Makes a command run in it.
    pub fn put<'a>(&self, command: &'a mut Command) -> &'a mut Command {
        let namespace = self.clone();
        // SAFETY: a plain system call between fork and exec.
        unsafe { command.pre_exec(move || enter(namespace.0.as_raw_fd())) }
    }
}

impl Default for Namespace {
    fn default() -> Self {
        Self::new()
    }
}

fn enter(namespace: RawFd) -> io::Result<()> {
    // SAFETY: a plain system call on an open descriptor; only this thread moves.
    match unsafe { libc::setns(namespace, libc::CLONE_NEWNET) } {
        0 => Ok(()),
        _ => Err(io::Error::last_os_error()),
    }
}

/// Runs `look` in the network namespace of a process.
///
/// # Panics
/// When there is no such process, or `look` panics.
pub fn inside<T: Send>(pid: i32, look: impl FnOnce() -> T + Send) -> T {
    Namespace::of(pid).inside(look)
}
