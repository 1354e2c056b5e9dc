//! A Keg with its front in a process of its own, and git without anybody's configuration.

use std::{
    fs,
    io::{BufRead, BufReader, Write},
    path::{Path, PathBuf},
    process::{Child, Command, Output, Stdio},
    sync::Arc,
    time::{Duration, Instant},
};

use keg::{Keg, NamePath};
use tempfile::TempDir;

/// A Keg, its front, and a directory to work in.
pub struct World {
    pub dir: TempDir,
    pub keg: Keg,
    pub url: String,
    front: Child,
}

/// What a git command said.
pub struct Said {
    pub ok: bool,
    pub text: String,
}

impl Said {
    /// Asserts the outcome and that all these are in the text.
    #[track_caller]
    pub fn expect(&self, ok: bool, texts: &[&str]) -> &Self {
        assert_eq!(self.ok, ok, "{}", self.text);
        for text in texts {
            assert!(self.text.contains(text), "no {text:?} in:\n{}", self.text);
        }
        self
    }
}

impl World {
    pub fn new() -> Self {
        let dir = tempfile::tempdir().expect("a temporary directory");
        let home = dir.path().join("keg");
        let keg = Keg::open_or_create(&home).expect("a new Keg");
        let exe = std::env::current_exe().expect("this binary");
        let mut front = Command::new(&exe)
            .arg("serve")
            .arg(&home)
            .env("KEG_EXE", &exe)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .expect("this binary starts");
        let mut line = String::new();
        let stdout = front.stdout.take().expect("piped");
        BufReader::new(stdout).read_line(&mut line).expect("the address");
        Self { dir, keg, url: format!("http://{}", line.trim()), front }
    }

    pub fn path(&self, name: &str) -> PathBuf {
        self.dir.path().join(name)
    }

    pub fn app_url(&self, app: &str) -> String {
        format!("{}/git/{app}", self.url)
    }

    /// A repository with one commit of these files, and the remote `keg` for `app`.
    pub fn repo(&self, app: &str, files: &[(&str, &str)]) -> Repo {
        let repo = Repo { dir: self.path(&format!("repo-{app}")) };
        fs::create_dir_all(&repo.dir).expect("a directory");
        repo.git(&["init", "-q", "-b", "main"]).expect(true, &[]);
        repo.git(&["remote", "add", "keg", &self.app_url(app)]).expect(true, &[]);
        repo.commit("first", files);
        repo
    }

    pub fn json(&self, path: &str) -> Option<serde_json::Value> {
        self.keg.get_json(&name(path)).expect("a readable Keg")
    }

    /// The git id of main in the Keg.
    pub fn main(&self, app: &str) -> Option<String> {
        let refs = self.json(&format!("/git/{app}/refs.json"))?;
        Some(refs.get("refs/heads/main")?.as_str()?.to_owned())
    }
}

impl Drop for World {
    fn drop(&mut self) {
        // The front ends when its stdin does; killing makes sure.
        let _ = self.front.kill();
        let _ = self.front.wait();
    }
}

/// A working directory of git.
pub struct Repo {
    pub dir: PathBuf,
}

impl Repo {
    pub fn git(&self, args: &[&str]) -> Said {
        let output = self.command(args).output().expect("git is installed");
        said(&output)
    }

    pub fn command(&self, args: &[&str]) -> Command {
        git_command(&self.dir, args)
    }

    /// The trimmed stdout of a command that succeeds.
    #[track_caller]
    pub fn ask(&self, args: &[&str]) -> String {
        let output = self.command(args).output().expect("git is installed");
        assert!(output.status.success(), "{args:?}: {}", said(&output).text);
        String::from_utf8_lossy(&output.stdout).trim().to_owned()
    }

    /// Writes files and commits everything; returns the commit's id.
    #[track_caller]
    pub fn commit(&self, message: &str, files: &[(&str, &str)]) -> String {
        for (path, text) in files {
            let path = self.dir.join(path);
            fs::create_dir_all(path.parent().expect("a file has one")).expect("a directory");
            fs::write(path, text).expect("a file");
        }
        self.git(&["add", "-A"]).expect(true, &[]);
        self.git(&["commit", "-q", "--allow-empty", "-m", message]).expect(true, &[]);
        self.head()
    }

    pub fn head(&self) -> String {
        self.ask(&["rev-parse", "HEAD"])
    }

    /// What a client would send to move main from `old` to `new`.
    pub fn push_body(&self, old: &str, new: &str, options: &[&str]) -> Vec<u8> {
        let caps = "report-status side-band-64k push-options";
        let mut body = packet(&format!("{old} {new} refs/heads/main\0{caps}"));
        body.extend_from_slice(b"0000");
        for option in options {
            body.extend(packet(option));
        }
        body.extend_from_slice(b"0000");
        let mut git = self.command(&["pack-objects", "--revs", "--thin", "--stdout", "-q"]);
        let mut child = git.stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().expect("git");
        let mut stdin = child.stdin.take().expect("piped");
        let exclude = if old.starts_with("0000") { String::new() } else { format!("^{old}\n") };
        stdin.write_all(format!("{new}\n{exclude}").as_bytes()).expect("git reads");
        drop(stdin);
        body.extend(child.wait_with_output().expect("git").stdout);
        body
    }

    /// Pushes main without waiting for a deploy.
    pub fn push(&self) -> Said {
        self.git(&["push", "-o", "no-wait", "keg", "main"])
    }
}

/// A line of git's protocol.
pub fn packet(text: &str) -> Vec<u8> {
    format!("{:04x}{text}", text.len() + 4).into_bytes()
}

pub fn git_command(dir: &Path, args: &[&str]) -> Command {
    let mut command = Command::new("git");
    command.args(args).current_dir(dir).env_clear();
    command.env("PATH", std::env::var_os("PATH").unwrap_or_default());
    command.envs([
        ("HOME", "/nonexistent"),
        ("GIT_CONFIG_NOSYSTEM", "1"),
        ("GIT_CONFIG_GLOBAL", "/dev/null"),
        ("GIT_AUTHOR_NAME", "Ada Lovelace"),
        ("GIT_AUTHOR_EMAIL", "ada@example.com"),
        ("GIT_COMMITTER_NAME", "Ada Lovelace"),
        ("GIT_COMMITTER_EMAIL", "ada@example.com"),
        ("GIT_TERMINAL_PROMPT", "0"),
        ("LC_ALL", "C"),
    ]);
    command.stdin(Stdio::null());
    command
}

pub fn said(output: &Output) -> Said {
    let text = [output.stdout.as_slice(), &output.stderr].concat();
    Said { ok: output.status.success(), text: String::from_utf8_lossy(&text).into_owned() }
}

pub fn name(path: &str) -> NamePath {
    path.parse().expect("a path")
}

/// Waits for something that another process does.
#[track_caller]
pub fn until<T>(what: &str, mut look: impl FnMut() -> Option<T>) -> T {
    let start = Instant::now();
    while start.elapsed() < Duration::from_secs(30) {
        if let Some(found) = look() {
            return found;
        }
        std::thread::sleep(Duration::from_millis(5));
    }
    panic!("waited 30 s for {what}");
}

/// The front: this process serves the Keg until it is killed.
pub fn serve(home: &str) {
    let keg = Arc::new(Keg::open_or_create(Path::new(home)).expect("a Keg"));
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
    runtime.expect("a runtime").block_on(async {
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.expect("a port");
        println!("{}", listener.local_addr().expect("bound"));
        let router = receiver::http::router(receiver::Context::new(keg));
        axum::serve(listener, router).await.expect("serving");
    });
}
