//! Runs a job in a child process and stops it before each system call that changes the Keg.
//!
//! The child asks to be traced and installs a seccomp filter that stops it at those calls only, so
//! that stepping costs little. What happens at a stop is a [`Watcher`]'s to say.

use std::{
    collections::HashMap,
    io::{Read, Seek, SeekFrom},
    os::unix::process::CommandExt,
    path::{Path, PathBuf},
    process::Stdio,
};

use super::{calls, child, jobs};

/// What a child prints before each thing that it has been told is durable.
const TOLD: &str = "keg-told ";
/// Longest path that is read from a child, in bytes.
const MAX_PATH: usize = 4096;

/// A call that the child is about to make, on something in its Keg.
pub struct Call {
    pub pid: i32,
    pub number: i64,
    pub args: [u64; 6],
    /// What it is about: the file of its descriptor, or the path it names.
    pub path: PathBuf,
    /// The second path, where it names two.
    pub to: Option<PathBuf>,
}

impl Call {
    pub fn name(&self) -> &'static str {
        calls::name(self.number)
    }

    /// How many bytes it wants to write; 0 if it is no write.
    pub fn len(&self) -> usize {
        let writes = [libc::SYS_write, libc::SYS_pwrite64];
        if writes.contains(&self.number) { self.args[2] as usize } else { 0 }
    }
}

impl std::fmt::Display for Call {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{} {}", self.name(), self.path.display())?;
        self.to.iter().try_for_each(|to| write!(f, " {}", to.display()))
    }
}

/// What is to be done with a call.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Verdict {
    /// It is made.
    Go,
    /// The process dies instead.
    Kill,
    /// Half of the bytes are written; then the process dies.
    Tear,
    /// Half of the bytes are written, and the call says so.
    Short,
    /// It is not made, and answers this error.
    Fail(i32),
}

/// Decides about each call, and may look at what came of it.
pub trait Watcher {
    fn before(&mut self, call: &Call) -> Verdict;

    /// Whether it is to be asked about calls that only look.
    fn looks(&self) -> bool {
        false
    }

    /// After a call that was made, with its result.
    fn after(&mut self, _call: &Call, _result: i64) {}

    /// The child says that something is durable.
    fn told(&mut self, _line: &str) {}
}

/// How a run ended.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Ended {
    Killed,
    /// It ended by itself; whether it was content.
    Through(bool),
}

/// Runs a job on the Keg in `home` to its end, or until the watcher kills it.
pub fn run(job: &str, home: &Path, watcher: &mut dyn Watcher) -> Ended {
    // One thread, so that all calls are made by the one that is traced.
    let mut command = child::command(jobs::DOOR, &format!("{job} {}", home.display()));
    command.stdout(Stdio::null());
    let filter = calls::filter(watcher.looks());
    // SAFETY: only system calls between fork and exec, on memory that was made before.
    unsafe { command.pre_exec(move || calls::ask_to_be_traced(&filter)) };
    #[allow(clippy::zombie_processes, reason = "waited for below, call by call")]
    let child = command.spawn().unwrap();
    let mut tracer = Tracer { home, watcher, entered: HashMap::new(), dying: false };
    tracer.follow(child.id() as i32)
}

struct Tracer<'a> {
    home: &'a Path,
    watcher: &'a mut dyn Watcher,
    /// Calls that are being made, and whether the process dies at their end.
    entered: HashMap<i32, (Call, bool)>,
    dying: bool,
}

impl Tracer<'_> {
    fn follow(&mut self, child: i32) -> Ended {
        let mut configured = false;
        loop {
            let mut status = 0;
            // SAFETY: a plain call. Only children of this thread: other tests have theirs.
            let pid = unsafe { libc::waitpid(-1, &mut status, libc::__WALL | libc::__WNOTHREAD) };
            assert!(pid > 0, "{}", std::io::Error::last_os_error());
            if libc::WIFEXITED(status) || libc::WIFSIGNALED(status) {
                self.entered.remove(&pid);
                if pid == child {
                    let well = libc::WIFEXITED(status) && libc::WEXITSTATUS(status) == 0;
                    return if self.dying { Ended::Killed } else { Ended::Through(well) };
                }
                continue;
            }
            let (signal, event) = (libc::WSTOPSIG(status), status >> 16);
            let mut resume = (libc::PTRACE_CONT, 0);
            if !configured {
                configured = true;
                calls::follow_all(pid);
            } else if event == libc::PTRACE_EVENT_SECCOMP {
                resume.0 = self.stopped(pid, child);
            } else if signal == libc::SIGTRAP | 0x80 {
                self.returned(pid, child);
            } else if event == 0 && signal != libc::SIGSTOP {
                resume.1 = signal;
            }
            // SAFETY: the process is stopped, or was killed: then this changes nothing.
            unsafe { libc::ptrace(resume.0, pid, 0, resume.1) };
        }
    }

    /// Before a call; returns how to go on.
    fn stopped(&mut self, pid: i32, child: i32) -> u32 {
        let (number, args) = calls::entered(pid);
        if number == libc::SYS_write && args[0] == 1 {
            let text = memory(pid, args[1], args[2] as usize);
            let text = String::from_utf8_lossy(&text).into_owned();
            let lines = text.lines().filter_map(|line| line.strip_prefix(TOLD));
            lines.for_each(|line| self.watcher.told(line));
            return libc::PTRACE_CONT;
        }
        let Some(call) = self.call(pid, number, args) else { return libc::PTRACE_CONT };
        let verdict = self.watcher.before(&call);
        match verdict {
            Verdict::Kill => {
                self.kill(child);
                return libc::PTRACE_CONT;
            }
            Verdict::Fail(errno) => {
                calls::answer(pid, errno);
                return libc::PTRACE_CONT;
            }
            Verdict::Tear | Verdict::Short => calls::halve(pid),
            Verdict::Go => {}
        }
        self.entered.insert(pid, (call, verdict == Verdict::Tear));
        libc::PTRACE_SYSCALL
    }

    fn returned(&mut self, pid: i32, child: i32) {
        if let Some((call, dies)) = self.entered.remove(&pid) {
            self.watcher.after(&call, calls::result(pid));
            if dies {
                self.kill(child);
            }
        }
    }

    fn kill(&mut self, child: i32) {
        self.dying = true;
        // SAFETY: it is a child of this process, and not waited for yet.
        unsafe { libc::kill(child, libc::SIGKILL) };
    }

    /// The call, if it is about the Keg.
    fn call(&self, pid: i32, number: i64, args: [u64; 6]) -> Option<Call> {
        let (path, to) = match calls::shape(number)? {
            calls::Shape::Fd => (of_fd(pid, args[0] as i32)?, None),
            calls::Shape::Path => (named(pid, libc::AT_FDCWD, args[0])?, None),
            calls::Shape::At => (named(pid, args[0] as i32, args[1])?, None),
            calls::Shape::Two => {
                let to = named(pid, libc::AT_FDCWD, args[1])?;
                (named(pid, libc::AT_FDCWD, args[0])?, Some(to))
            }
            calls::Shape::TwoAt => {
                let to = named(pid, args[2] as i32, args[3])?;
                (named(pid, args[0] as i32, args[1])?, Some(to))
            }
        };
        let inside =
            path.starts_with(self.home) || to.as_ref().is_some_and(|to| to.starts_with(self.home));
        inside.then_some(Call { pid, number, args, path, to })
    }
}

/// Says in a child that something is durable.
pub fn tell(what: &str) {
    use std::io::Write;
    if child::told().is_none() {
        return;
    }
    let mut out = std::io::stdout().lock();
    // The harness leaves an unfinished line before.
    write!(out, "\n{TOLD}{what}\n").and_then(|()| out.flush()).unwrap();
}

/// The file of a descriptor.
fn of_fd(pid: i32, fd: i32) -> Option<PathBuf> {
    std::fs::read_link(format!("/proc/{pid}/fd/{fd}")).ok()
}

fn named(pid: i32, dir: i32, at: u64) -> Option<PathBuf> {
    let text = memory(pid, at, MAX_PATH);
    let end = text.iter().position(|byte| *byte == 0)?;
    let path = PathBuf::from(String::from_utf8_lossy(&text[..end]).into_owned());
    if path.is_absolute() {
        return Some(path);
    }
    let from = if dir == libc::AT_FDCWD {
        std::fs::read_link(format!("/proc/{pid}/cwd")).ok()?
    } else {
        of_fd(pid, dir)?
    };
    Some(from.join(path))
}

/// Up to so many bytes of a child's memory: less where its map ends.
fn memory(pid: i32, at: u64, len: usize) -> Vec<u8> {
    let mut file = std::fs::File::open(format!("/proc/{pid}/mem")).unwrap();
    file.seek(SeekFrom::Start(at)).unwrap();
    let mut bytes = Vec::new();
    // A path may end right before a page that is not there.
    let mut page = 4096 - (at as usize % 4096);
    while bytes.len() < len {
        let step = page.min(len - bytes.len());
        let start = bytes.len();
        bytes.resize(start + step, 0);
        if file.read_exact(&mut bytes[start..]).is_err() {
            bytes.truncate(start);
            break;
        }
        page = 4096;
    }
    bytes
}
