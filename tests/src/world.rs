//! A Keg of a test's own, running.

use std::{
    net::SocketAddr,
    path::{Path, PathBuf},
    process::Command,
    sync::OnceLock,
};

use keg::{Keg, Kid, NamePath, Txn, object::canonical_json};
use serde_json::{Value as Json, json};
use tempfile::TempDir;

use crate::{
    http::{self, Answer},
    process::{Done, Running, run},
    repo::Repo,
    rootfs::{self, Python},
    until,
};

/// Of the request's KID in its key (`docs/namespace.md`, "packages").
const KEY_DIGITS: usize = 16;
/// Of the Keg's directory in the names of its containers.
const HOME_DIGITS: usize = 6;
/// What an app that needs this machine's Python, and no packages, says of it.
const PYTHON_PACKAGES: [&str; 3] = ["ca-certificates", "python-is-python3", "python3"];

/// A Keg in a temporary directory, with `keg up` running on it.
pub struct World {
    dir: TempDir,
    up: Option<Running>,
    /// Arguments of `keg up` besides home and addresses.
    extra: Vec<String>,
    /// Git, registry, REST, web.
    pub url: String,
    /// Where it listens.
    pub front: SocketAddr,
    /// Where apps are reached.
    pub router: SocketAddr,
}

impl World {
    /// An empty Keg.
    pub fn empty() -> Self {
        let mut world = Self::down();
        world.start();
        world
    }

    /// A Keg that has this machine's own Python in place of Debian's packages, so that no registry
    /// is needed. The second value is its version, as `.python-version` wants it.
    pub fn with_python() -> Self {
        let mut world = Self::down();
        world.lend_python();
        world.start();
        world
    }

    /// A directory and no Keg in it yet.
    pub fn down() -> Self {
        let nowhere = SocketAddr::from(([127, 0, 0, 1], 0));
        let dir = tempfile::tempdir_in("/tmp").expect("a directory");
        let (url, extra) = (String::new(), Vec::new());
        Self { dir, up: None, extra, url, front: nowhere, router: nowhere }
    }

    /// The Keg's directory.
    pub fn home(&self) -> PathBuf {
        self.dir.path().join("keg")
    }

    /// A directory for a test's own files.
    pub fn scratch(&self) -> &Path {
        self.dir.path()
    }

    /// Starts `keg up`, on the addresses it had before, if it had some.
    ///
    /// # Panics
    /// When it does not get ready.
    pub fn start(&mut self) {
        self.start_with(&[]);
    }

    /// The same with more arguments.
    ///
    /// # Panics
    /// When it does not get ready.
    pub fn start_with(&mut self, extra: &[&str]) {
        assert!(self.up.is_none(), "it is up");
        self.extra = extra.iter().map(|arg| (*arg).to_owned()).collect();
        let mut up = Running::start(&mut self.up_command());
        let line = until("keg up to be ready", || {
            if !up.runs() {
                panic!("keg up ended: {}{}", up.out(), up.err());
            }
            up.out().lines().next().map(str::to_owned)
        });
        let document: Json = serde_json::from_str(&line).expect("one line of JSON");
        self.url = document["url"].as_str().expect("an address").to_owned();
        self.front = self.url.trim_start_matches("http://").parse().expect("an address");
        let apps = document["apps_url"].as_str().expect("an address");
        let port = apps.rsplit(':').next().and_then(|port| port.parse().ok()).expect("a port");
        self.router = SocketAddr::from(([127, 0, 0, 1], port));
        self.up = Some(up);
    }

    /// The command that starts it.
    pub fn up_command(&self) -> Command {
        let mut command = self.keg_command(&["up", "--json"]);
        command.arg("--listen").arg(self.front.to_string());
        command.arg("--router").arg(self.router.to_string()).args(&self.extra);
        command
    }

    /// `keg …` on this Keg, to be run.
    pub fn keg_command(&self, args: &[&str]) -> Command {
        let mut command = Command::new(binary());
        command.args(args).env("KEG_HOME", self.home()).env_remove("KEG_URL");
        command
    }

    /// Runs `keg …` on this Keg.
    pub fn keg(&self, args: &[&str]) -> Done {
        run(&mut self.keg_command(args))
    }

    /// Runs `keg … --json`, which must succeed, and gives its document.
    ///
    /// # Panics
    /// When it fails or prints something else.
    #[track_caller]
    pub fn json(&self, args: &[&str]) -> Json {
        let text = self.keg(&[args, &["--json"]].concat()).ok();
        serde_json::from_str(&text).unwrap_or_else(|error| panic!("{args:?}: {error}: {text}"))
    }

    /// The number of `keg up`.
    ///
    /// # Panics
    /// When it is not up.
    pub fn pid(&self) -> i32 {
        self.up.as_ref().expect("it is up").pid()
    }

    /// All processes of this Keg: `keg up`, services, work, shims, apps.
    pub fn pids(&self) -> Vec<i32> {
        let mut found = vec![self.pid()];
        let parents: Vec<(i32, i32)> = all_processes();
        // Shims outlive the mayor that started them: a Keg's own processes name its directory.
        for (pid, _) in &parents {
            if self.is_named_by(*pid) && !found.contains(pid) && *pid != own_pid() {
                found.push(*pid);
            }
        }
        loop {
            let before = found.len();
            for (pid, parent) in &parents {
                if found.contains(parent) && !found.contains(pid) {
                    found.push(*pid);
                }
            }
            if found.len() == before {
                return found;
            }
        }
    }

    /// Kills `keg up` and everything it started, at once, as a power cut would.
    pub fn kill_everything(&mut self) {
        let pids = self.pids();
        // SAFETY: plain system calls, on processes that carry this Keg's directory.
        pids.iter().for_each(|pid| unsafe {
            libc::kill(*pid, libc::SIGKILL);
        });
        if let Some(up) = self.up.take() {
            up.wait();
        }
        until("all processes to be gone", || pids.iter().all(|pid| !runs(*pid)).then_some(()));
    }

    /// Stops it with SIGTERM, as Ctrl-C and a service manager do.
    ///
    /// # Panics
    /// When it is not up.
    pub fn stop(&mut self) -> Done {
        let up = self.up.take().expect("it is up");
        up.signal(libc::SIGTERM);
        up.wait()
    }

    /// What `keg up` has complained of.
    pub fn complaints(&mut self) -> String {
        self.up.as_mut().map(Running::err).unwrap_or_default()
    }

    /// A repository for an app of this Keg.
    pub fn repo(&self, app: &str) -> Repo {
        Repo::new(&self.url, app)
    }

    /// A repository with the app that answers questions about itself (`apps/probe`), for Kegs made
    /// by [`World::with_python`].
    ///
    /// # Panics
    /// When it cannot be made.
    pub fn probe(&self, app: &str) -> Repo {
        let repo = self.repo(app);
        repo.copy(&Repo::project("tests/apps/probe"));
        repo.write(".python-version", &Python::of_machine().version);
        repo.commit("The probe");
        repo
    }

    /// GET of an app, through the router.
    ///
    /// # Panics
    /// When the router does not answer.
    pub fn get(&self, app: &str, path: &str) -> Answer {
        let host = format!("{app}.localhost:{}", self.router.port());
        http::ask(self.router, "GET", path, &[("Host", &host)], b"").expect("the router answers")
    }

    /// The address of an app.
    pub fn app_url(&self, app: &str) -> String {
        format!("http://{app}.localhost:{}", self.router.port())
    }

    /// GET of the front, as JSON.
    ///
    /// # Panics
    /// When it does not answer with JSON.
    pub fn page(&self, path: &str) -> Answer {
        let host = self.front.to_string();
        http::ask(self.front, "GET", path, &[("Host", &host)], b"").expect("the front answers")
    }

    /// The rows of `keg ps --json` of an app.
    pub fn ps(&self, app: &str) -> Vec<Json> {
        let rows = self.json(&["ps"]);
        let rows = rows.as_array().cloned().unwrap_or_default();
        rows.into_iter().filter(|row| row["app"] == app).collect()
    }

    /// Sets a document, as an administrator does with PUT.
    ///
    /// # Panics
    /// When it is refused.
    pub fn configure(&self, app: &str, config: &Json) {
        let host = self.front.to_string();
        let headers = [("Host", host.as_str()), ("Content-Type", "application/json")];
        let path = format!("/apps/{app}/config.json");
        let body = config.to_string();
        let answer = http::ask(self.front, "PUT", &path, &headers, body.as_bytes());
        let answer = answer.expect("the front answers");
        assert!(answer.status < 300, "{answer:?}");
    }

    /// `keg fsck` finds nothing.
    ///
    /// # Panics
    /// When it finds something.
    #[track_caller]
    pub fn assert_clean(&self) {
        let done = self.keg(&["fsck"]);
        assert_eq!(done.code, 0, "{}\n{}", done.out, done.err);
    }

    /// Nothing of this Keg is mounted or runs.
    ///
    /// # Panics
    /// When something is.
    #[track_caller]
    pub fn assert_gone(&self) {
        let mounts = std::fs::read_to_string("/proc/self/mounts").expect("readable");
        let home = self.home().to_string_lossy().into_owned();
        let left: Vec<&str> = mounts.lines().filter(|line| line.contains(&home)).collect();
        assert!(left.is_empty(), "still mounted: {left:?}");
        let left: Vec<i32> = all_processes().into_iter().map(|(pid, _)| pid).collect();
        let names_it = |pid: &i32| *pid != own_pid() && self.is_named_by(*pid);
        let left: Vec<i32> = left.into_iter().filter(names_it).collect();
        assert!(left.is_empty(), "still running: {left:?}");
        assert_eq!(self.groups(), Vec::<String>::new(), "control groups are left");
    }

    /// The control groups of this Keg's containers that exist.
    pub fn groups(&self) -> Vec<String> {
        let home = Kid::of_blob(self.home().into_os_string().as_encoded_bytes()).to_hex();
        let prefix = format!("k{}-", &home[..HOME_DIGITS]);
        let roots = std::fs::read_dir("/sys/fs/cgroup").into_iter().flatten().flatten();
        let roots = roots.map(|root| root.path()).chain(["/sys/fs/cgroup".into()]);
        let groups = roots.filter_map(|root| std::fs::read_dir(root.join("keg")).ok()).flatten();
        let names = groups.flatten().filter_map(|group| group.file_name().into_string().ok());
        let mut names: Vec<String> = names.filter(|name| name.starts_with(&prefix)).collect();
        names.sort_unstable();
        names.dedup();
        names
    }

    /// Whether a process has this Keg's directory in its environment or arguments.
    fn is_named_by(&self, pid: i32) -> bool {
        let home = self.home().into_os_string().into_encoded_bytes();
        let file = |name| std::fs::read(format!("/proc/{pid}/{name}")).unwrap_or_default();
        contains(&file("environ"), &home) || contains(&file("cmdline"), &home)
    }

    /// Puts this machine's Python into the Keg as what the importer would answer.
    fn lend_python(&self) {
        let keg = Keg::create(&self.home()).expect("a Keg");
        let scratch = self.scratch().join("lent");
        std::fs::create_dir(&scratch).expect("made");
        let python = Python::of_machine();
        let base = rootfs::base(&keg, &scratch);
        let root = rootfs::with_python(&keg, &scratch, &python);
        let suites =
            if python.suite == "trixie" { vec!["trixie"] } else { vec!["trixie", python.suite] };
        for suite in suites {
            lock(&keg, suite, &[], base);
        }
        lock(&keg, python.suite, &PYTHON_PACKAGES, root);
    }
}

fn lock(keg: &Keg, suite: &str, packages: &[&str], rootfs: Kid) {
    let request =
        json!({ "debian": { "suite": suite, "packages": packages, "base": "essential" } });
    let key = Kid::of_blob(canonical_json(&request).as_bytes()).to_hex()[..KEY_DIGITS].to_owned();
    let package = json!({ "name": "libc6", "version": "2.41", "kid": rootfs });
    let lock = json!({
        "state": "done", "debian": { "rootfs": rootfs, "packages": [package] }
    });
    let path: NamePath = format!("/packages/locks/{key}.json").parse().expect("a path");
    keg.commit(Txn::new("test", "lock").set_json(path, lock)).expect("committed");
}

impl Drop for World {
    fn drop(&mut self) {
        if self.up.is_some() {
            if std::thread::panicking() {
                eprintln!("keg up said:\n{}", self.complaints());
            }
            let done = self.stop();
            if !std::thread::panicking() {
                assert_eq!(done.code, 0, "keg up: {}", done.err);
            }
        }
        let _ = keg::mount::unmount_all_below(self.dir.path());
    }
}

/// The `keg` of this source, built once; or the one that `KEG_TEST_BINARY` names.
///
/// # Panics
/// When it does not build.
pub fn binary() -> &'static Path {
    static BINARY: OnceLock<PathBuf> = OnceLock::new();
    BINARY.get_or_init(|| {
        if let Some(given) = std::env::var_os("KEG_TEST_BINARY") {
            return given.into();
        }
        let exe = std::env::current_exe().expect("this program");
        let target = exe.ancestors().nth(2).expect("target/PROFILE/deps").to_owned();
        let mut cargo = Command::new(std::env::var_os("CARGO").unwrap_or("cargo".into()));
        cargo.current_dir(env!("CARGO_MANIFEST_DIR")).args(["build", "--quiet", "-p", "cli"]);
        if !cfg!(debug_assertions) {
            cargo.arg("--release");
        }
        let status = cargo.status().expect("cargo runs");
        assert!(status.success(), "the binary builds");
        target.join("keg")
    })
}

/// Each process of the machine, and its parent.
fn all_processes() -> Vec<(i32, i32)> {
    let entries = std::fs::read_dir("/proc").expect("readable").flatten();
    let pids = entries.filter_map(|entry| entry.file_name().to_str()?.parse().ok());
    pids.filter_map(|pid: i32| Some((pid, stat(pid)?.1))).collect()
}

/// State and parent.
fn stat(pid: i32) -> Option<(char, i32)> {
    let text = std::fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
    let mut fields = text.rsplit_once(") ")?.1.split(' ');
    Some((fields.next()?.chars().next()?, fields.next()?.parse().ok()?))
}

/// Whether a process is there and is no zombie.
pub fn runs(pid: i32) -> bool {
    stat(pid).is_some_and(|(state, _)| state != 'Z')
}

fn own_pid() -> i32 {
    std::process::id() as i32
}

fn contains(text: &[u8], part: &[u8]) -> bool {
    text.windows(part.len()).any(|window| window == part)
}
