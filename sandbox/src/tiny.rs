//! The program of `tiny/`: what the shim becomes (`wait`), and PID 1 of a container (`init`).
//!
//! It is run from an anonymous, sealed file: there is no path to it, and nothing in a container
//! can change what it is.

use std::ffi::{CStr, CString, OsStr};
use std::fs::File;
use std::io::{self, Write};
use std::os::fd::{AsFd, AsRawFd, OwnedFd, RawFd};
use std::os::unix::ffi::OsStrExt;

use rustix::fs::{MemfdFlags, SealFlags};

use crate::error::SandboxError;
use crate::spec::{Output, Spec};
use crate::{LINES_LIMIT, cgroup};

/// The compiled program, see `build.rs`.
const PROGRAM: &[u8] = include_bytes!(concat!(env!("OUT_DIR"), "/tiny"));
/// Signals that the shim and the waiter receive only when they ask.
const HELD: &[libc::c_int] =
    &[libc::SIGCHLD, libc::SIGTERM, libc::SIGINT, libc::SIGQUIT, libc::SIGHUP];

/// The program, ready to be executed.
pub struct Tiny(OwnedFd);

/// A running container as the waiter needs to know it.
pub struct Watched<'a> {
    /// Its spec.
    pub spec: &'a Spec,
    /// Process id of its init.
    pub pid: i32,
    /// Where PID 1 reports the command's status, if it has one of ours.
    pub report: Option<RawFd>,
    /// Pipes of output that becomes lines.
    pub pipes: [&'a Option<OwnedFd>; 2],
}

/// What the executor needs to run the command under PID 1.
pub struct Init {
    /// The program.
    pub program: OwnedFd,
    /// The writing end of the report.
    pub write: OwnedFd,
    /// The reading end.
    pub report: OwnedFd,
}

impl Tiny {
    /// Puts the program into its file.
    pub fn new() -> Result<Tiny, SandboxError> {
        let failed = |source| SandboxError::System { what: "prepare the supervisor", source };
        let flags = MemfdFlags::CLOEXEC | MemfdFlags::ALLOW_SEALING | MemfdFlags::EXEC;
        let fd = rustix::fs::memfd_create("keg-tiny", flags).map_err(|e| failed(e.into()))?;
        let mut file = File::from(fd);
        file.write_all(PROGRAM).map_err(failed)?;
        let seals = SealFlags::WRITE | SealFlags::SHRINK | SealFlags::GROW | SealFlags::SEAL;
        rustix::fs::fcntl_add_seals(&file, seals).map_err(|e| failed(e.into()))?;
        Ok(Tiny(file.into()))
    }

    /// What PID 1 of the container is made of.
    pub fn init(&self) -> Result<Init, SandboxError> {
        let failed = |source| SandboxError::System { what: "prepare PID 1", source };
        let (report, write) = rustix::pipe::pipe_with(rustix::pipe::PipeFlags::CLOEXEC)
            .map_err(|e| failed(e.into()))?;
        let program = self.0.try_clone().map_err(failed)?;
        Ok(Init { program, write, report })
    }

    /// Turns this process into the waiter. Children, held signals and open pipes stay.
    pub fn become_waiter(
        &self,
        watched: &Watched<'_>,
    ) -> Result<std::convert::Infallible, SandboxError> {
        let spec = watched.spec;
        let mut args: Vec<CString> = Vec::new();
        let mut push = |arg: &OsStr| {
            // Paths and tags were checked to hold no zero byte.
            args.push(CString::new(arg.as_bytes()).unwrap_or_default());
        };
        push(OsStr::new(&format!("keg: container {}", spec.id)));
        push(OsStr::new("wait"));
        push(spec.dir().as_os_str());
        push(OsStr::new(&watched.pid.to_string()));
        push(OsStr::new(&spec.grace.to_string()));
        push(cgroup::oom_file(&spec.id).as_os_str());
        push(OsStr::new(&watched.report.map_or("-1".into(), |fd| fd.to_string())));
        push(OsStr::new(&LINES_LIMIT.to_string()));
        for (pipe, output) in watched.pipes.iter().zip([&spec.stdout, &spec.stderr]) {
            let Output::Lines { path, tag } = output else {
                ["-1", "", ""].into_iter().for_each(|none| push(OsStr::new(none)));
                continue;
            };
            let fd = pipe.as_ref().map_or(-1, |pipe| pipe.as_raw_fd());
            push(OsStr::new(&fd.to_string()));
            push(path.as_os_str());
            push(OsStr::new(tag));
        }
        for group in cgroup::dirs(&spec.id) {
            push(group.as_os_str());
        }
        for fd in watched.pipes.iter().filter_map(|p| p.as_ref().map(AsFd::as_fd)) {
            keep(fd.as_raw_fd());
        }
        watched.report.into_iter().for_each(keep);
        let error = exec(self.0.as_raw_fd(), &args, &[]);
        Err(SandboxError::System { what: "become the supervisor", source: error })
    }
}

/// Executes an open file; returns only on failure.
pub fn exec(program: RawFd, args: &[CString], env: &[CString]) -> io::Error {
    exec_at(program, c"", libc::AT_EMPTY_PATH, args, env)
}

/// Executes the file at an absolute path; returns only on failure.
pub fn exec_path(program: &CStr, args: &[CString], env: &[CString]) -> io::Error {
    exec_at(libc::AT_FDCWD, program, 0, args, env)
}

fn exec_at(
    dir: RawFd,
    path: &CStr,
    flags: libc::c_int,
    args: &[CString],
    env: &[CString],
) -> io::Error {
    let pointers = |list: &[CString]| {
        list.iter().map(|s| s.as_ptr()).chain([std::ptr::null()]).collect::<Vec<_>>()
    };
    let (args, env) = (pointers(args), pointers(env));
    let (args, env) = (args.as_ptr(), env.as_ptr());
    // SAFETY: null-terminated arrays of zero-terminated strings that outlive the call.
    unsafe { libc::syscall(libc::SYS_execveat, dir, path.as_ptr(), args, env, flags) };
    io::Error::last_os_error()
}

/// A copy of a descriptor with a number from `free` on, closed on exec.
pub fn duplicate(fd: &OwnedFd, free: RawFd) -> io::Result<OwnedFd> {
    Ok(rustix::io::fcntl_dupfd_cloexec(fd, free)?)
}

/// Lets a descriptor survive the next exec.
pub fn keep(fd: RawFd) {
    // SAFETY: plain system call on a descriptor number.
    unsafe { libc::fcntl(fd, libc::F_SETFD, 0) };
}

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
