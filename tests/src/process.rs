//! Programs run by tests: bounded in time, their whole output kept.

use std::{
    fs::File,
    io::{self, Read as _, Seek as _},
    process::{Child, Command, Stdio},
    time::{Duration, Instant},
};

/// Longest run of one command.
const LIMIT: Duration = Duration::from_secs(180);

/// What became of a command.
#[derive(Debug)]
pub struct Done {
    /// The exit code; 128 and the signal's number if one ended it.
    pub code: i32,
    /// Standard output.
    pub out: String,
    /// Standard error.
    pub err: String,
    /// From start to end.
    pub took: Duration,
}

impl Done {
    /// The output of a command that must succeed.
    ///
    /// # Panics
    /// When it did not.
    #[track_caller]
    pub fn ok(self) -> String {
        assert_eq!(self.code, 0, "{}\n{}", self.out, self.err);
        self.out
    }
}

/// A command under way.
pub struct Running {
    child: Child,
    out: File,
    err: File,
    begun: Instant,
}

impl Running {
    /// Starts a command with its output in files, so that nobody has to read it meanwhile.
    ///
    /// # Panics
    /// When it cannot be started.
    pub fn start(command: &mut Command) -> Self {
        let file = || tempfile::tempfile().expect("a temporary file");
        let (out, err) = (file(), file());
        let clone = |file: &File| Stdio::from(file.try_clone().expect("a descriptor"));
        let child = command.stdin(Stdio::null()).stdout(clone(&out)).stderr(clone(&err)).spawn();
        let child = child.unwrap_or_else(|error| panic!("{command:?}: {error}"));
        Self { child, out, err, begun: Instant::now() }
    }

    /// Its number.
    pub fn pid(&self) -> i32 {
        self.child.id() as i32
    }

    /// Whether it still runs.
    pub fn runs(&mut self) -> bool {
        matches!(self.child.try_wait(), Ok(None))
    }

    /// Sends a signal.
    pub fn signal(&self, signal: i32) {
        // SAFETY: a plain system call; the child is ours and not reaped.
        unsafe { libc::kill(self.pid(), signal) };
    }

    /// What it has written to standard output by now.
    pub fn out(&mut self) -> String {
        text(&self.out)
    }

    /// What it has written to standard error by now.
    pub fn err(&mut self) -> String {
        text(&self.err)
    }

    /// Waits for its end.
    ///
    /// # Panics
    /// When that takes longer than three minutes.
    pub fn wait(mut self) -> Done {
        use std::os::unix::process::ExitStatusExt as _;
        let status = loop {
            if let Some(status) = self.child.try_wait().expect("a child of ours") {
                break status;
            }
            if self.begun.elapsed() > LIMIT {
                let _ = self.child.kill();
                panic!("it did not end in {LIMIT:?}:\n{}\n{}", text(&self.out), text(&self.err));
            }
            std::thread::sleep(Duration::from_millis(2));
        };
        let took = self.begun.elapsed();
        let code = status.code().unwrap_or_else(|| 128 + status.signal().unwrap_or(0));
        Done { code, out: text(&self.out), err: text(&self.err), took }
    }
}

/// Runs a command to its end.
pub fn run(command: &mut Command) -> Done {
    Running::start(command).wait()
}

fn text(mut file: &File) -> String {
    let mut bytes = Vec::new();
    // The child shares the offset: appending, it is at the end again after the last read.
    let read = file.seek(io::SeekFrom::Start(0)).and_then(|_| file.read_to_end(&mut bytes));
    read.expect("a readable file");
    String::from_utf8_lossy(&bytes).into_owned()
}
