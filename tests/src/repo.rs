//! A git repository as a person has it, pushed with stock git.

use std::{
    path::{Path, PathBuf},
    process::Command,
    time::Duration,
};

use tempfile::TempDir;

use crate::process::{Done, Running, run};

/// A repository whose remote `keg` is an app.
pub struct Repo {
    dir: TempDir,
    /// The app's name.
    pub app: String,
}

/// What became of a push.
#[derive(Debug)]
pub struct Push {
    /// git's exit code.
    pub code: i32,
    /// All that was said, without `remote: ` and git's padding.
    pub said: String,
    /// How long git ran.
    pub took: Duration,
}

impl Push {
    /// A push that must succeed.
    ///
    /// # Panics
    /// When it did not.
    #[track_caller]
    pub fn ok(self) -> Self {
        assert_eq!(self.code, 0, "{}", self.said);
        self
    }

    /// A push that must fail, having said all these words.
    ///
    /// # Panics
    /// When it did not, or said something else.
    #[track_caller]
    pub fn refused(self, words: &[&str]) -> Self {
        assert_ne!(self.code, 0, "{}", self.said);
        for word in words {
            assert!(self.said.contains(word), "{word:?} is missing in:\n{}", self.said);
        }
        self
    }
}

impl Repo {
    /// An empty repository with branch `main` and the remote `keg`.
    ///
    /// # Panics
    /// When git fails.
    pub fn new(url: &str, app: &str) -> Self {
        let repo = Self { dir: tempfile::tempdir().expect("a directory"), app: app.to_owned() };
        repo.git(&["init", "-q", "-b", "main"]).ok();
        repo.git(&["remote", "add", "keg", &format!("{url}/git/{app}")]).ok();
        repo
    }

    /// Its directory.
    pub fn path(&self) -> &Path {
        self.dir.path()
    }

    /// Runs git in it, with nothing of the machine's own configuration.
    pub fn git(&self, args: &[&str]) -> Done {
        run(&mut self.command(args))
    }

    fn command(&self, args: &[&str]) -> Command {
        let mut command = Command::new("git");
        command.current_dir(self.path()).args(args);
        command.env("GIT_CONFIG_GLOBAL", "/dev/null").env("GIT_CONFIG_NOSYSTEM", "1");
        for who in ["AUTHOR", "COMMITTER"] {
            command.env(format!("GIT_{who}_NAME"), "Ada");
            command.env(format!("GIT_{who}_EMAIL"), "ada@example.org");
        }
        command.env("GIT_TERMINAL_PROMPT", "0").env("LC_ALL", "C");
        command
    }

    /// Writes a file.
    ///
    /// # Panics
    /// When it cannot be written.
    pub fn write(&self, path: &str, text: &str) -> &Self {
        let path = self.path().join(path);
        std::fs::create_dir_all(path.parent().expect("a directory")).expect("made");
        std::fs::write(path, text).expect("written");
        self
    }

    /// Copies a directory's files in.
    ///
    /// # Panics
    /// When they cannot be copied.
    pub fn copy(&self, from: &Path) -> &Self {
        let from = from.join(".");
        run(Command::new("cp").arg("-R").arg(&from).arg(self.path())).ok();
        self
    }

    /// Commits all there is; returns the commit's id.
    ///
    /// # Panics
    /// When git fails.
    pub fn commit(&self, message: &str) -> String {
        self.git(&["add", "-A"]).ok();
        self.git(&["commit", "-q", "--allow-empty", "-m", message]).ok();
        self.git(&["rev-parse", "HEAD"]).ok().trim().to_owned()
    }

    /// `git push keg main`
    pub fn push(&self) -> Push {
        self.push_with(&["keg", "main"])
    }

    /// `git push …`
    pub fn push_with(&self, args: &[&str]) -> Push {
        told(self.start_push(args).wait())
    }

    /// The same, not waited for.
    pub fn start_push(&self, args: &[&str]) -> Running {
        Running::start(self.command(&["push"]).args(args))
    }

    /// A file of the project's own examples and test apps.
    pub fn project(path: &str) -> PathBuf {
        Path::new(env!("CARGO_MANIFEST_DIR")).join("..").join(path)
    }
}

/// A push that is over.
pub fn told(done: Done) -> Push {
    let lines = done.err.lines().map(|line| line.trim_start_matches("remote: ").trim_end());
    let said = lines.map(|line| format!("{line}\n")).collect::<String>();
    Push { code: done.code, said: format!("{}{said}", done.out), took: done.took }
}
