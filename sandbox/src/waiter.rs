//! What the shim becomes once the command runs.

use std::os::fd::OwnedFd;

use crate::error::SandboxError;
use crate::record::{self, Exit};
use crate::spec::Spec;

/// Signals that the shim and the waiter receive only when they ask.
const HELD: &[libc::c_int] =
    &[libc::SIGCHLD, libc::SIGTERM, libc::SIGINT, libc::SIGQUIT, libc::SIGHUP];

/// Holds the signals of the waiter back until it asks for them.
pub fn hold_signals() {
    // SAFETY: plain system calls with a live set.
    unsafe {
        let mut set: libc::sigset_t = std::mem::zeroed();
        libc::sigemptyset(&mut set);
        for signal in HELD {
            libc::sigaddset(&mut set, *signal);
        }
        libc::sigprocmask(libc::SIG_BLOCK, &set, std::ptr::null_mut());
    }
}

pub fn become_waiter(
    spec: &Spec,
    pid: i32,
    _pipes: [Option<OwnedFd>; 2],
) -> Result<std::convert::Infallible, SandboxError> {
    let mut status = 0;
    let grace = std::time::Duration::from_secs(spec.grace.into());
    let mut deadline: Option<std::time::Instant> = None;
    // SAFETY: plain system calls with live arguments; `pid` is a child that is not reaped yet.
    unsafe {
        let mut set: libc::sigset_t = std::mem::zeroed();
        libc::sigemptyset(&mut set);
        for signal in HELD {
            libc::sigaddset(&mut set, *signal);
        }
        loop {
            match libc::waitpid(pid, &mut status, libc::WNOHANG) {
                0 => {}
                found if found == pid => break,
                _ => return Err(SandboxError::os("wait for the container")),
            }
            let left =
                deadline.map_or(grace, |d| d.saturating_duration_since(std::time::Instant::now()));
            let time = libc::timespec { tv_sec: left.as_secs() as i64 + 1, tv_nsec: 0 };
            match libc::sigtimedwait(&set, std::ptr::null_mut(), &time) {
                libc::SIGTERM | libc::SIGINT | libc::SIGHUP => {
                    libc::kill(pid, libc::SIGTERM);
                    deadline.get_or_insert(std::time::Instant::now() + grace);
                }
                libc::SIGQUIT => {
                    libc::kill(pid, libc::SIGKILL);
                }
                _ if deadline.is_some_and(|d| d <= std::time::Instant::now()) => {
                    libc::kill(pid, libc::SIGKILL);
                }
                _ => {}
            }
        }
    }
    let exit = Exit {
        code: libc::WIFEXITED(status).then(|| libc::WEXITSTATUS(status)),
        signal: libc::WIFSIGNALED(status).then(|| libc::WTERMSIG(status)),
        oom: false,
    };
    record::write(&spec.dir(), record::EXIT_FILE, &exit)?;
    crate::cgroup::remove(&spec.id);
    std::process::exit(0)
}
