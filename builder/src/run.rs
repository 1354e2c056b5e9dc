//! A pack's program in its sandbox: started, listened to line by line, stopped when it must be.

use std::{
    fs::File,
    io::{self, Read as _},
    os::fd::{AsFd as _, BorrowedFd, OwnedFd},
    path::{Path, PathBuf},
    process::Child,
    time::{Duration, Instant},
};

use rustix::{
    event::{PollFd, PollFlags, Timespec, poll},
    fs::{CWD, FileType, Mode, OFlags, mknodat, open},
    process::{Pid, PidfdFlags, Signal, kill_process, pidfd_open},
};
use sandbox::{Bind, Exit, Limits, Network, Output, Profile, Spec};

use crate::{
    failure::{Failure, KEG_HINT, OrFail as _, Step},
    halt::{Halt, Wanted},
    launch::Env,
    log::Lines,
};

/// User and group of builds and of apps.
pub const APP_UID: u32 = 1000;
/// Memory a build may use, in bytes.
const BUILD_MEMORY: u64 = 2 << 30;
/// Processes and threads a build may have.
const BUILD_PIDS: u32 = 512;
/// Seconds between SIGTERM and SIGKILL for a build that is stopped.
const GRACE: u32 = 2;
/// How much longer than that its shim may take to end.
const SHIM_GRACE: Duration = Duration::from_secs(10);
/// Between two looks whether the build is still wanted.
const TICK: Duration = Duration::from_millis(200);
/// Bytes read from the program at once.
const CHUNK: usize = 64 * 1024;

/// A program to run.
pub struct Program<'a> {
    /// Of the build it belongs to.
    pub step: Step,
    /// For messages: `the detection`, `bin/build of keg/python`.
    pub what: &'a str,
    /// Names the container.
    pub id: String,
    /// A mounted root, never written to.
    pub root: &'a Path,
    /// Command and arguments.
    pub args: Vec<String>,
    /// The whole environment.
    pub env: Env,
    /// Host directories shown inside.
    pub binds: Vec<Bind>,
    /// Directory for the container's records and its output, ours alone.
    pub dir: PathBuf,
    /// Longest run.
    pub timeout: Duration,
}

/// Runs a program in `/app` to its end, without network and as [`APP_UID`]; gives each line it
/// prints to `line`.
///
/// # Errors
/// It cannot be started, takes too long, or its build is no longer wanted. How it exits is no
/// error here.
pub fn run(
    program: Program<'_>,
    wanted: &mut Wanted<'_>,
    line: &mut dyn FnMut(&[u8]),
) -> Result<Exit, Halt> {
    let Program { step, what, timeout, .. } = program;
    let fifo = program.dir.join("output");
    let mut output = make_fifo(&fifo).or_fail(step, KEG_HINT)?;
    let spec = spec_of(program, fifo);
    let hint = "see what `keg status` says about this machine";
    let child = sandbox::spawn_tied(&spec).or_fail(step, hint)?;
    let mut child = Running { child, ended: false };
    let mut lines = Lines::default();
    let started = Instant::now();
    let pidfd = child.pidfd().or_fail(step, KEG_HINT)?;
    loop {
        let ended = wait(output.as_fd(), pidfd.as_fd()).or_fail(step, KEG_HINT)?;
        drain(&mut output, &mut lines, line).or_fail(step, KEG_HINT)?;
        if ended {
            break;
        }
        if started.elapsed() > timeout {
            child.stop();
            let message =
                format!("{what} took longer than {} s and was stopped", timeout.as_secs());
            let hint = "make it do less, or look in the log for what it waits for";
            return Err(Failure::new(step, message, hint).into());
        }
        wanted.check()?;
    }
    lines.finish(&mut *line);
    child.reap();
    match sandbox::record::outcome(&spec.dir()).or_fail(step, KEG_HINT)? {
        sandbox::record::Outcome::Exited(exit) => Ok(exit),
        sandbox::record::Outcome::Failed(error) => {
            Err(Failure::new(step, format!("{what} could not be started: {error}"), hint).into())
        }
        _ => {
            let message = format!("{what} was stopped from outside");
            Err(Failure::new(step, message, "push again").into())
        }
    }
}

fn spec_of(program: Program<'_>, fifo: PathBuf) -> Spec {
    Spec {
        id: program.id,
        rootfs: program.root.to_owned(),
        args: program.args,
        env: program.env.into_iter().collect(),
        cwd: "/app".to_owned(),
        uid: APP_UID,
        gid: APP_UID,
        hostname: "build".to_owned(),
        binds: program.binds,
        tmpfs: vec!["/tmp".to_owned()],
        read_only_root: true,
        network: Network::None,
        profile: Profile::Build,
        limits: Limits { memory: Some(BUILD_MEMORY), cpus: None, pids: Some(BUILD_PIDS) },
        stdout: Output::Path(fifo.clone()),
        stderr: Output::Path(fifo),
        state_dir: program.dir.join("state"),
        init: true,
        grace: GRACE,
        ..Spec::default()
    }
}

/// A sandbox that is stopped when the build ends in any way.
struct Running {
    child: Child,
    ended: bool,
}

impl Running {
    fn pid(&self) -> Pid {
        Pid::from_child(&self.child)
    }

    fn pidfd(&self) -> rustix::io::Result<OwnedFd> {
        pidfd_open(self.pid(), PidfdFlags::empty())
    }

    fn reap(&mut self) {
        self.ended = true;
        // It has ended: this returns at once, and its status is in its records.
        let _ = self.child.wait();
    }

    /// Asks the shim to stop the container; it kills what does not end within [`GRACE`].
    fn stop(&mut self) {
        if self.ended {
            return;
        }
        let _ = kill_process(self.pid(), Signal::TERM);
        let until = Instant::now() + Duration::from_secs(u64::from(GRACE)) + SHIM_GRACE;
        while Instant::now() < until {
            if !matches!(self.child.try_wait(), Ok(None)) {
                self.ended = true;
                return;
            }
            std::thread::sleep(Duration::from_millis(5));
        }
        let _ = self.child.kill();
        self.reap();
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        self.stop();
    }
}

fn make_fifo(path: &Path) -> io::Result<File> {
    match std::fs::remove_file(path) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
        _ => {}
    }
    mknodat(CWD, path, FileType::Fifo, Mode::RUSR | Mode::WUSR, 0)?;
    // For writing as well: so it never ends while the program starts or leaves.
    let flags = OFlags::RDWR | OFlags::NONBLOCK | OFlags::CLOEXEC;
    Ok(File::from(open(path, flags, Mode::empty())?))
}

/// Waits for output, the end, or a tick; says whether the program has ended.
fn wait(output: BorrowedFd<'_>, pidfd: BorrowedFd<'_>) -> io::Result<bool> {
    let mut fds = [
        PollFd::from_borrowed_fd(output, PollFlags::IN),
        PollFd::from_borrowed_fd(pidfd, PollFlags::IN),
    ];
    let tick = Timespec { tv_sec: 0, tv_nsec: i64::from(TICK.subsec_nanos()) };
    match poll(&mut fds, Some(&tick)) {
        Ok(_) | Err(rustix::io::Errno::INTR) => {}
        Err(error) => return Err(error.into()),
    }
    Ok(!fds[1].revents().is_empty())
}

/// Reads all that is there.
fn drain(output: &mut File, lines: &mut Lines, line: &mut dyn FnMut(&[u8])) -> io::Result<()> {
    let mut buffer = vec![0; CHUNK];
    loop {
        match output.read(&mut buffer) {
            Ok(0) => return Ok(()),
            Ok(read) => lines.feed(&buffer[..read], &mut *line),
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => return Ok(()),
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => return Err(error),
        }
    }
}

/// What a pack prints for people when it refuses an app: lines `error: …` and `hint: …`, taken
/// out of its other output.
#[derive(Default)]
pub struct Said {
    error: Option<String>,
    hint: Option<String>,
    last: Option<String>,
}

impl Said {
    /// Takes a line; true if it is one of those and belongs to the failure, not to the log.
    pub fn hear(&mut self, line: &[u8]) -> bool {
        let line = String::from_utf8_lossy(line);
        if let Some(error) = line.strip_prefix("error: ") {
            self.error = Some(error.trim().to_owned());
        } else if let Some(hint) = line.strip_prefix("hint: ") {
            self.hint = Some(hint.trim().to_owned());
        } else {
            if !line.trim().is_empty() {
                self.last = Some(line.trim().to_owned());
            }
            return false;
        }
        true
    }

    /// The failure of a program that exited so.
    pub fn failure(self, step: Step, what: &str, exit: &Exit) -> Failure {
        let hint = self.hint.as_deref().unwrap_or("the lines above say more");
        match (self.error, self.last) {
            (Some(error), _) => Failure::new(step, error, hint),
            (None, Some(last)) => {
                Failure::new(step, format!("{what} failed, {exit}: {last}"), hint)
            }
            (None, None) => Failure::new(step, format!("{what} failed: {exit}"), hint),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn packs_say_why_they_refuse() {
        let check = |lines: &[&str], message: &str, hint: &str| {
            let mut said = Said::default();
            for line in lines {
                said.hear(line.as_bytes());
            }
            let exit = Exit { code: Some(1), ..Exit::default() };
            let failure = said.failure(Step::Build, "bin/build", &exit);
            assert_eq!((failure.message.as_str(), failure.hint.as_str()), (message, hint));
        };
        check(&["x", "error: no Procfile", "hint: add one"], "no Procfile", "add one");
        let rest = "the lines above say more";
        check(&["Traceback", ""], "bin/build failed, it exited with code 1: Traceback", rest);
        check(&[], "bin/build failed: it exited with code 1", rest);
    }
}
