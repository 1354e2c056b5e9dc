//! Stock git as a child process: no prompts, no hooks, no helpers, no configuration but ours,
//! bounded in time and in what it writes.

use std::{
    fs::{self, File},
    io::{self, Read, Seek, Write},
    os::unix::process::CommandExt,
    path::{Path, PathBuf},
    process::{Child, Command, ExitStatus, Stdio},
    time::{Duration, Instant},
};

use rustix::{
    event::{PollFd, PollFlags, Timespec, poll},
    process::{
        Pid, PidfdFlags, Resource, Rlimit, Signal, kill_process_group, pidfd_open,
        set_parent_process_death_signal, setrlimit,
    },
};
use tempfile::TempDir;
use url::Url;

/// Most bytes of one file that git may write, the pack above all: 4 GiB.
const MAX_FILE: u64 = 4 << 30;
/// Most of what git complains of that is passed on, in bytes.
const MAX_COMPLAINT: u64 = 2048;
/// Variables that git may see: how to find programs, the network and its certificates.
const PASSED: [&str; 5] = ["PATH", "SSL_CERT_FILE", "SSL_CERT_DIR", "GIT_SSL_CAINFO", "TMPDIR"];
/// Proxies, but not to this machine.
const PROXIES: [&str; 7] =
    ["http_proxy", "https_proxy", "HTTPS_PROXY", "all_proxy", "ALL_PROXY", "no_proxy", "NO_PROXY"];
/// How ssh is to be run: without questions, and giving nothing of this machine away.
const SSH: &str = "ssh -oBatchMode=yes -oConnectTimeout=15 -oForwardAgent=no -oForwardX11=no \
                   -oClearAllForwardings=yes -oPermitLocalCommand=no";

/// Why git did not do what it was asked.
#[derive(Debug, thiserror::Error)]
pub enum GitError {
    /// It is not installed.
    #[error("git cannot be run ({0}); install it: apt install git")]
    Start(#[source] io::Error),
    /// It failed, in its own words.
    #[error("{0}")]
    Failed(String),
    /// It took too long.
    #[error("it did not answer within {} s", .0.as_secs())]
    Late(Duration),
    /// What it said is not what git says.
    #[error("git's answer cannot be understood: {0}")]
    Answer(&'static str),
    /// A file of the Keg's `tmp/`.
    #[error("{what}: {source}")]
    Io {
        /// What was done.
        what: &'static str,
        /// The system's answer.
        source: io::Error,
    },
}

pub(super) fn io(what: &'static str) -> impl FnOnce(io::Error) -> GitError {
    move |source| GitError::Io { what, source }
}

/// A bare repository of this process's own, gone with it.
pub(super) struct Repository {
    dir: TempDir,
    scheme: String,
    is_local: bool,
}

impl Repository {
    /// An empty repository in `tmp/` of the Keg whose `origin` is an address.
    pub(super) fn new(tmp: &Path, url: &str) -> Result<Self, GitError> {
        let made = tempfile::Builder::new().prefix("point-").tempdir_in(tmp);
        let dir = made.map_err(io("making a directory"))?;
        let parsed = Url::parse(url).map_err(|_| GitError::Answer("an address that is none"))?;
        let host = parsed.host_str().unwrap_or_default();
        let is_local = crate::client::is_loopback(host);
        let own = match parsed.scheme() {
            // Git refuses repositories of other users; who named this one has chosen it.
            "file" => format!("[safe]\n directory = {}\n", quoted(parsed.path())),
            _ => String::new(),
        };
        let config = format!("{CONFIG}[remote \"origin\"]\n url = {}\n{own}", quoted(url));
        fs::write(dir.path().join("gitconfig"), config).map_err(io("writing gitconfig"))?;
        let repository = Self { dir, scheme: parsed.scheme().to_owned(), is_local };
        repository.run(&["init", "--quiet", "--bare", "--template="], b"", LOCAL)?;
        Ok(repository)
    }

    fn path(&self) -> PathBuf {
        self.dir.path().join("repo")
    }

    /// `git …` in it, talking to its origin only.
    pub(super) fn command(&self, args: &[&str], online: bool) -> Command {
        let mut command = Command::new("git");
        command.env_clear();
        let proxies = PROXIES.iter().filter(|_| online && !self.is_local);
        for name in PASSED.iter().chain(proxies) {
            if let Some(value) = std::env::var_os(name) {
                command.env(name, value);
            }
        }
        if let Some(agent) = std::env::var_os("SSH_AUTH_SOCK").filter(|_| self.scheme == "ssh") {
            command.env("SSH_AUTH_SOCK", agent);
        }
        // A redirect to another scheme is refused by the same rule.
        let allowed = if online { self.scheme.as_str() } else { "none" };
        command
            .env("GIT_DIR", self.path())
            .env("HOME", self.dir.path())
            .env("GIT_CONFIG_GLOBAL", self.dir.path().join("gitconfig"))
            .env("GIT_CONFIG_NOSYSTEM", "1")
            .env("GIT_ATTR_NOSYSTEM", "1")
            .env("GIT_ALLOW_PROTOCOL", allowed)
            .env("GIT_TERMINAL_PROMPT", "0")
            .env("GIT_ASKPASS", "false")
            .env("SSH_ASKPASS", "false")
            .env("GIT_SSH_COMMAND", SSH)
            .env("LC_ALL", "C")
            .current_dir(self.dir.path())
            .args(args)
            .process_group(0);
        // SAFETY: plain system calls between fork and exec.
        unsafe {
            command.pre_exec(|| {
                set_parent_process_death_signal(Some(Signal::KILL))?;
                let most = Rlimit { current: Some(MAX_FILE), maximum: Some(MAX_FILE) };
                Ok(setrlimit(Resource::Fsize, most)?)
            });
        }
        command
    }

    /// Runs `git …` with some input and returns what it prints, as a file.
    pub(super) fn run(&self, args: &[&str], input: &[u8], how: How) -> Result<File, GitError> {
        let file = || tempfile::tempfile_in(self.dir.path()).map_err(io("making a file"));
        let (mut stdin, mut stdout, mut stderr) = (file()?, file()?, file()?);
        stdin.write_all(input).and_then(|()| stdin.rewind()).map_err(io("writing a file"))?;
        let share = |file: &File| file.try_clone().map(Stdio::from).map_err(io("using a file"));
        let mut command = self.command(args, how.online);
        command.stdin(share(&stdin)?).stdout(share(&stdout)?).stderr(share(&stderr)?);
        let mut child = command.spawn().map_err(GitError::Start)?;
        let status = wait(&mut child, how.timeout)?;
        if !status.success() {
            return Err(GitError::Failed(complaint(&mut stderr, status)));
        }
        stdout.rewind().map_err(io("reading a file"))?;
        Ok(stdout)
    }

    /// The same, where what it prints is short text.
    pub(super) fn text(&self, args: &[&str], how: How, most: u64) -> Result<String, GitError> {
        let mut text = String::new();
        let read = self.run(args, b"", how)?.take(most).read_to_string(&mut text);
        read.map_err(io("reading git's answer"))?;
        Ok(text)
    }
}

/// How a command is run.
#[derive(Clone, Copy)]
pub(super) struct How {
    /// Whether it may talk to the origin.
    pub(super) online: bool,
    /// How long it may take.
    pub(super) timeout: Duration,
}

/// On this machine's files alone.
pub(super) const LOCAL: How = How { online: false, timeout: Duration::from_secs(600) };

/// Nothing is kept that is not checked, nothing is run that was not asked for.
const CONFIG: &str = "\
[core]\n hooksPath = /dev/null\n fsmonitor = false\n\
[transfer]\n fsckObjects = true\n\
[fetch]\n fsckObjects = true\n recurseSubmodules = false\n unpackLimit = 1\n\
[submodule]\n recurse = false\n\
[protocol]\n version = 2\n\
[credential]\n helper =\n\
[http]\n lowSpeedLimit = 1000\n lowSpeedTime = 60\n followRedirects = initial\n\
[pack]\n threads = 1\n\
[gc]\n auto = 0\n\
[maintenance]\n auto = false\n\
[advice]\n detachedHead = false\n\
[init]\n defaultBranch = main\n";

/// A value of git's configuration.
fn quoted(text: &str) -> String {
    format!("\"{}\"", text.replace('\\', "\\\\").replace('"', "\\\""))
}

/// Waits for a child; kills it and what it started when it takes too long.
fn wait(child: &mut Child, timeout: Duration) -> Result<ExitStatus, GitError> {
    let pid = Pid::from_child(child);
    let begun = Instant::now();
    let ended = loop {
        let left = timeout.saturating_sub(begun.elapsed());
        let waited = pidfd_open(pid, PidfdFlags::empty()).and_then(|fd| {
            let wait = Timespec::try_from(left).map_err(|_| rustix::io::Errno::INVAL)?;
            poll(&mut [PollFd::new(&fd, PollFlags::IN)], Some(&wait))
        });
        match waited {
            Err(rustix::io::Errno::INTR) => {}
            Ok(ready) => break ready > 0,
            Err(errno) => {
                let _ = kill_process_group(pid, Signal::KILL);
                return Err(io("waiting for git")(errno.into()));
            }
        }
    };
    if !ended {
        // What has ended meanwhile is not there to be killed.
        let _ = kill_process_group(pid, Signal::KILL);
    }
    let status = child.wait().map_err(io("waiting for git"))?;
    if ended { Ok(status) } else { Err(GitError::Late(timeout)) }
}

/// The last lines git wrote, without what could drive a terminal.
fn complaint(stderr: &mut File, status: ExitStatus) -> String {
    let len = stderr.metadata().map_or(0, |meta| meta.len());
    let mut bytes = Vec::new();
    let from = io::SeekFrom::Start(len.saturating_sub(MAX_COMPLAINT));
    let read = stderr.seek(from).and_then(|_| stderr.read_to_end(&mut bytes));
    let text = String::from_utf8_lossy(&bytes);
    let lines = text.lines().map(str::trim).filter(|line| !line.is_empty());
    let said: Vec<String> = lines
        .filter(|line| !line.starts_with("hint:"))
        .map(|line| line.chars().map(|c| if c.is_control() { ' ' } else { c }).collect())
        .collect();
    match read.is_err() || said.is_empty() {
        true => format!("git failed ({status})"),
        false => said.join("; "),
    }
}
