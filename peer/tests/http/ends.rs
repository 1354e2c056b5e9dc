//! The two ends, as processes of their own.

use std::{
    fs,
    io::{BufRead, BufReader, Write},
    path::Path,
    process::{Child, Command, ExitCode, Stdio},
    sync::Arc,
};

use keg::{
    Keg, NamePath,
    sync::{Limits, Options, clone, pull, push},
};
use peer::{Peer, Pushes};

/// Where a worker of the server leaves its peak memory.
const MEMORY: &str = "KEG_TEST_MEMORY";

/// Does what a process started by a test is for; `None`: this is the test itself.
pub fn main(args: &[String]) -> Option<ExitCode> {
    let words: Vec<&str> = args.iter().map(String::as_str).collect();
    match words.as_slice() {
        ["work", "sync", ..] => {
            let home = std::env::var_os("KEG_HOME").expect("the parent says where the Keg is");
            let keg = Keg::open(home.as_ref()).expect("the Keg is there");
            let code = peer::work(&keg, &args[2..]);
            if let Some(file) = std::env::var_os(MEMORY) {
                fs::write(file, peak_memory().to_string()).expect("the file can be written");
            }
            Some(ExitCode::from(code as u8))
        }
        ["serve", home] => {
            serve(Path::new(home));
            Some(ExitCode::SUCCESS)
        }
        [verb @ ("pull" | "push" | "clone"), url, home, path] => {
            Some(ask(verb, url, Path::new(home), path))
        }
        _ => None,
    }
}

fn serve(home: &Path) {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
    runtime.expect("a runtime").block_on(async {
        let keg = Arc::new(Keg::open(home).expect("the Keg is there"));
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.expect("a port");
        println!("{}", listener.local_addr().expect("an address").port());
        let router = peer::router(keg, Pushes::Loopback);
        axum::serve(listener, router).await.expect("it serves");
    });
}

fn ask(verb: &str, url: &str, home: &Path, path: &str) -> ExitCode {
    let mut way = Peer::new(url).expect("an address");
    let path: NamePath = path.parse().expect("a path");
    let mut options = Options {
        author: "Test".to_owned(),
        force: false,
        limits: Limits::default(),
        progress: &mut |_| {},
    };
    let done = match verb {
        "clone" => clone(home, &mut way, &mut options).map(|(_, pulled)| pulled.received),
        _ => {
            let keg = Keg::open(home).expect("the Keg is there");
            match verb {
                "pull" => pull(&keg, &mut way, &path, &path, &mut options).map(|p| p.received),
                _ => push(&keg, &mut way, &path, &path, &mut options).map(|p| p.blobs),
            }
        }
    };
    match done {
        Ok(number) => {
            println!("{number} {}", peak_memory());
            ExitCode::SUCCESS
        }
        Err(error) => {
            println!("{error}");
            ExitCode::FAILURE
        }
    }
}

/// This process's largest memory so far, in KiB.
fn peak_memory() -> u64 {
    let status = fs::read_to_string("/proc/self/status").expect("/proc is there");
    let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:")).expect("VmHWM");
    line.trim().trim_end_matches(" kB").parse().expect("a number")
}

/// This program, started as one of the ends.
pub fn command(args: &[&str]) -> Command {
    let mut command = Command::new("/proc/self/exe");
    command.args(args);
    command
}

/// Runs one end; what it printed, and whether it went well.
pub fn run(verb: &str, url: &str, home: &Path, path: &str) -> Result<(u64, u64), String> {
    let home = home.to_str().expect("UTF-8");
    let output = command(&[verb, url, home, path]).output().expect("it runs");
    let text = String::from_utf8_lossy(&output.stdout).trim().to_owned();
    if !output.status.success() {
        return Err(text + &String::from_utf8_lossy(&output.stderr));
    }
    let (number, memory) = text.split_once(' ').expect("two numbers");
    Ok((number.parse().expect("a number"), memory.parse().expect("a number")))
}

/// A Keg that answers, killed at the end.
pub struct Server {
    child: Child,
    pub port: u16,
    pub url: String,
}

impl Server {
    pub fn start(home: &Path) -> Self {
        Self::with(home, |_| {})
    }

    /// Its workers leave their peak memory in `file`.
    pub fn measured(home: &Path, file: &Path) -> Self {
        Self::with(home, |command| {
            command.env(MEMORY, file);
        })
    }

    fn with(home: &Path, change: impl FnOnce(&mut Command)) -> Self {
        let mut command = command(&["serve", home.to_str().expect("UTF-8")]);
        change(&mut command);
        let exe = std::env::current_exe().expect("this program");
        command.env("KEG_EXE", exe);
        let mut child =
            command.stdout(Stdio::piped()).stderr(Stdio::null()).spawn().expect("a server");
        let mut line = String::new();
        let stdout = child.stdout.take().expect("a pipe");
        BufReader::new(stdout).read_line(&mut line).expect("a line");
        let port = line.trim().parse().expect("a port");
        Self { child, port, url: format!("http://127.0.0.1:{port}") }
    }

    /// `kill -9`; its workers die with it.
    pub fn kill(mut self) {
        self.stop();
    }

    fn stop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        self.stop();
        let _ = std::io::stdout().flush();
    }
}
