//! The same pack to the receiver and to stock git: they must agree.

use std::{
    cell::Cell,
    io::Write,
    os::unix::process::CommandExt,
    path::{Path, PathBuf},
    process::{Command, Stdio},
};

use tempfile::TempDir;

use super::Pack;
use crate::world::{git_command, packet};

/// What became of a push.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Verdict {
    Taken,
    Refused,
}

/// A Keg and an empty stock repository.
pub struct Oracle {
    dir: TempDir,
    home: PathBuf,
    peak: Cell<u64>,
    number: Cell<u32>,
}

impl Oracle {
    pub fn new() -> Self {
        let dir = tempfile::tempdir().expect("a temporary directory");
        let home = dir.path().join("keg");
        keg::Keg::open_or_create(&home).expect("a new Keg");
        Self { dir, home, peak: Cell::new(0), number: Cell::new(0) }
    }

    /// With a Keg that is there already.
    pub fn at(home: &Path) -> Self {
        let dir = tempfile::tempdir().expect("a temporary directory");
        Self { dir, home: home.to_owned(), peak: Cell::new(0), number: Cell::new(0) }
    }

    /// Asserts that both say the same of a pack.
    #[track_caller]
    pub fn agree(&self, what: &str, pack: &Pack) {
        let ((ours, said), (stock, git)) = (self.ours(pack), self.stock(pack));
        assert!(ours == stock, "{what}: we {ours:?}: {said}\nstock git {stock:?}: {git}");
    }

    /// What both say.
    pub fn both(&self, pack: &Pack) -> ((Verdict, String), (Verdict, String)) {
        (self.ours(pack), self.stock(pack))
    }

    /// What the receiver says of a pack, pushed as a tag to an app of its own.
    pub fn ours(&self, pack: &Pack) -> (Verdict, String) {
        self.ours_with_file_limit(pack, libc::RLIM_INFINITY)
    }

    /// The same while no file may grow above `limit` bytes.
    pub fn ours_with_file_limit(&self, pack: &Pack, limit: u64) -> (Verdict, String) {
        self.number.set(self.number.get() + 1);
        let mut command = Command::new(std::env::current_exe().expect("this binary"));
        command.args(["work", "receive", "push", &format!("app-{}", self.number.get())]);
        command.env("KEG_HOME", &self.home);
        // SAFETY: only system calls between fork and exec.
        unsafe {
            command.pre_exec(move || {
                let limit = libc::rlimit { rlim_cur: limit, rlim_max: limit };
                libc::setrlimit(libc::RLIMIT_FSIZE, &limit);
                libc::signal(libc::SIGXFSZ, libc::SIG_IGN);
                Ok(())
            });
        }
        let said = self.feed(command, pack);
        (verdict(&said), said)
    }

    /// Most memory that a child of this process has taken, in MiB.
    pub fn peak_mib(&self) -> u64 {
        self.peak.get() >> 10
    }

    /// What stock git says of it, in an empty repository with all its checks.
    fn stock(&self, pack: &Pack) -> (Verdict, String) {
        let dir = self.dir.path().join("stock.git");
        let _ = std::fs::remove_dir_all(&dir);
        let path = dir.display().to_string();
        let init = ["init", "-q", "--bare", "--template=", &path];
        assert!(git_command(self.dir.path(), &init).status().expect("git").success());
        let settings =
            ["receive.fsckObjects=true", "receive.unpackLimit=1", "transfer.unpackLimit=1"];
        let mut args: Vec<&str> = settings.iter().flat_map(|setting| ["-c", *setting]).collect();
        args.extend(["receive-pack", "--stateless-rpc", &path]);
        let said = self.feed(git_command(self.dir.path(), &args), pack);
        (verdict(&said), said)
    }

    /// Pushes the pack to a process that speaks the protocol; all it says.
    fn feed(&self, mut command: Command, pack: &Pack) -> String {
        let old = "0".repeat(40);
        let line = format!("{old} {} refs/tags/x\0report-status", pack.tip);
        command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
        let mut child = command.spawn().expect("it starts");
        let mut stdin = child.stdin.take().expect("piped");
        // A process that has seen enough stops reading.
        let _ = stdin
            .write_all(&[packet(&line), b"0000".to_vec()].concat())
            .and_then(|()| stdin.write_all(&pack.bytes));
        drop(stdin);
        let output = child.wait_with_output().expect("it ends");
        let mut usage: libc::rusage = unsafe { std::mem::zeroed() };
        // SAFETY: the structure is ours.
        unsafe { libc::getrusage(libc::RUSAGE_CHILDREN, &mut usage) };
        self.peak.set(self.peak.get().max(usage.ru_maxrss as u64));
        let text = [output.stdout.as_slice(), &output.stderr].concat();
        String::from_utf8_lossy(&text).into_owned()
    }
}

fn verdict(said: &str) -> Verdict {
    match said.contains("unpack ok") && said.contains("ok refs/tags/x") {
        true => Verdict::Taken,
        false => Verdict::Refused,
    }
}
