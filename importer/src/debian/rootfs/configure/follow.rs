//! The container that runs scripts, from its start to its end: what it prints is told while it
//! runs, and neither its output nor its time is without bound.

use std::{
    collections::VecDeque,
    fs::File,
    io::{self, Read as _},
    os::fd::AsFd as _,
    path::{Path, PathBuf},
    process::Child,
    time::{Duration, Instant},
};

use rustix::{
    event::{PollFd, PollFlags, Timespec, poll},
    process::{Pid, PidfdFlags, Signal, kill_process, pidfd_open},
};
use sandbox::{
    Exit, SandboxError, Spec,
    record::{self, Outcome},
};

use super::ConfigureError;

/// Between two looks at what was printed.
const TICK: Timespec = Timespec { tv_sec: 0, tv_nsec: 200_000_000 };
/// Most bytes that scripts may print.
const MAX_OUTPUT: u64 = 32 << 20;
/// Longest that scripts may take.
const MAX_TIME: Duration = Duration::from_secs(1800);
/// Bytes of a line that are kept.
const MAX_LINE: usize = 1000;
/// Bytes read at once.
const CHUNK: usize = 64 * 1024;

/// Runs the container to its end; gives each line that appears in the file `log` to `line`.
///
/// # Errors
/// It does not start, prints or takes too much. How it exits is no error here.
pub fn follow(spec: &Spec, log: &Path, line: &mut dyn FnMut(&str)) -> Result<Exit, ConfigureError> {
    let started = Instant::now();
    let mut running = Running { child: sandbox::spawn_tied(spec)?, ended: false };
    let pidfd = pidfd_open(running.pid(), PidfdFlags::empty()).map_err(io::Error::from)?;
    let mut output = Output::of(log);
    loop {
        let mut fds = [PollFd::from_borrowed_fd(pidfd.as_fd(), PollFlags::IN)];
        match poll(&mut fds, Some(&TICK)) {
            Ok(_) | Err(rustix::io::Errno::INTR) => {}
            Err(error) => return Err(io::Error::from(error).into()),
        }
        let ended = !fds[0].revents().is_empty();
        output.read(line)?;
        if ended {
            break;
        }
        if output.bytes > MAX_OUTPUT {
            return Err(ConfigureError::Endless("print more than 32 MiB"));
        }
        if started.elapsed() > MAX_TIME {
            return Err(ConfigureError::Endless("take more than 30 minutes"));
        }
    }
    output.finish(line);
    let status = running.reap()?;
    match record::outcome(&spec.dir())? {
        Outcome::Exited(exit) => Ok(exit),
        Outcome::Failed(error) => Err(SandboxError::Setup(error).into()),
        _ if status == Some(sandbox::FAILED) => {
            Err(SandboxError::Exists { id: spec.id.clone(), dir: spec.dir() }.into())
        }
        _ => Err(SandboxError::Lost { id: spec.id.clone() }.into()),
    }
}

/// A container that ends with us, whatever comes.
struct Running {
    child: Child,
    ended: bool,
}

impl Running {
    fn pid(&self) -> Pid {
        Pid::from_child(&self.child)
    }

    fn reap(&mut self) -> io::Result<Option<i32>> {
        self.ended = true;
        Ok(self.child.wait()?.code())
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        if !self.ended {
            // SIGQUIT makes the shim kill the container at once.
            let _ = kill_process(self.pid(), Signal::QUIT);
            drop(self.reap());
        }
    }
}

/// A file of lines that grows.
struct Output {
    path: PathBuf,
    file: Option<File>,
    rest: Vec<u8>,
    bytes: u64,
}

impl Output {
    fn of(path: &Path) -> Self {
        Self { path: path.to_owned(), file: None, rest: Vec::new(), bytes: 0 }
    }

    fn read(&mut self, line: &mut dyn FnMut(&str)) -> io::Result<()> {
        if self.file.is_none() {
            self.file = match File::open(&self.path) {
                Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(()),
                file => Some(file?),
            };
        }
        let Some(file) = &mut self.file else { return Ok(()) };
        let mut buffer = vec![0; CHUNK];
        while self.bytes <= MAX_OUTPUT {
            let n = file.read(&mut buffer)?;
            if n == 0 {
                break;
            }
            self.bytes += n as u64;
            for part in buffer[..n].split_inclusive(|b| *b == b'\n') {
                let text = part.strip_suffix(b"\n").unwrap_or(part);
                let room = MAX_LINE.saturating_sub(self.rest.len());
                self.rest.extend_from_slice(&text[..text.len().min(room)]);
                if text.len() < part.len() {
                    tell(&mut self.rest, line);
                }
            }
        }
        Ok(())
    }

    fn finish(&mut self, line: &mut dyn FnMut(&str)) {
        tell(&mut self.rest, line);
    }
}

/// Gives a line that is not blank, as it stands on a terminal at its end, and forgets it.
fn tell(bytes: &mut Vec<u8>, line: &mut dyn FnMut(&str)) {
    let text = String::from_utf8_lossy(bytes);
    let shown = text.trim_end().rsplit('\r').next().unwrap_or_default();
    let shown: String = shown.chars().filter(|c| *c == '\t' || !c.is_control()).collect();
    if !shown.trim().is_empty() {
        line(&shown);
    }
    bytes.clear();
}

/// The last lines of what is printed.
#[derive(Default)]
pub struct Tail(VecDeque<String>);

impl Tail {
    /// Takes one more; keeps at most `most`.
    pub fn push(&mut self, line: &str, most: usize) {
        if self.0.len() == most {
            self.0.pop_front();
        }
        self.0.push_back(line.to_owned());
    }

    /// All of them, a line each.
    pub fn text(self) -> String {
        Vec::from(self.0).join("\n")
    }
}

#[cfg(test)]
mod tests {
    use std::io::Write as _;

    use super::*;

    #[test]
    fn lines_are_told_as_they_come_whole_and_readable() {
        let dir = tempfile::tempdir().expect("a directory");
        let path = dir.path().join("log");
        let mut output = Output::of(&path);
        let mut lines = Vec::new();
        output.read(&mut |line| lines.push(line.to_owned())).expect("nothing is there yet");
        let mut file = File::create(&path).expect("created");
        let long = "x".repeat(MAX_LINE * 3);
        for (text, want) in [
            ("one\ntw", &["one"][..]),
            ("o\n\n   \n", &["two"]),
            ("10%\r100%\r\n\x1b[1mbold\x07\n", &["100%", "[1mbold"]),
            (&format!("{long}\n"), &[&long[..MAX_LINE]]),
            ("no end", &[]),
        ] {
            file.write_all(text.as_bytes()).expect("written");
            lines.clear();
            output.read(&mut |line| lines.push(line.to_owned())).expect("read");
            assert_eq!(lines, want, "{text:?}");
        }
        lines.clear();
        output.finish(&mut |line| lines.push(line.to_owned()));
        assert_eq!(lines, ["no end"]);
    }

    #[test]
    fn a_tail_is_the_last_lines() {
        let mut tail = Tail::default();
        for line in ["a", "b", "c"] {
            tail.push(line, 2);
        }
        assert_eq!(tail.text(), "b\nc");
    }
}
