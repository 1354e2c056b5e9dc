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
    netns::Namespace,
    process::{Done, Running, run},
    repo::Repo,
    rootfs::{self, Python},
    until,
};

/// Of the request's KID in its key (`docs/namespace.md`, "packages").
const KEY_DIGITS: usize = 16;
/// What an app that needs this machine's Python, and no packages, says of it.
const PYTHON_PACKAGES: [&str; 3] = ["ca-certificates", "python-is-python3", "python3"];

/// A Keg in a temporary directory, with `keg up` running on it.
pub struct World {
    dir: TempDir,
    up: Option<Running>,
    /// Arguments of `keg up` besides home and addresses.
    extra: Vec<String>,
    /// Environment variables of every `keg …`.
    variables: Vec<(String, String)>,
    /// Where every `keg …` runs, if not in the test's own.
    namespace: Option<Namespace>,
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
        let dir = tempfile::tempdir().expect("a directory");
        let (url, extra, variables) = (String::new(), Vec::new(), Vec::new());
        let namespace = None;
        Self { dir, up: None, extra, variables, namespace, url, front: nowhere, router: nowhere }
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

    /// Sets an environment variable for every `keg …` from now on.
    pub fn set_variable(&mut self, name: &str, value: &str) {
        self.variables.push((name.to_owned(), value.to_owned()));
    }

    /// Runs every `keg …` from now on in a network namespace.
    pub fn move_to(&mut self, namespace: &Namespace) {
        self.namespace = Some(namespace.clone());
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
        command.envs(self.variables.iter().map(|(name, value)| (name, value)));
        if let Some(namespace) = &self.namespace {
            namespace.put(&mut command);
        }
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

    /// Kills `keg up` and everything it started, at once, as a power cut would.
    pub fn kill_everything(&mut self) {
        if let Some(up) = self.up.take() {
            up.signal(libc::SIGKILL);
            self.kill_all();
            up.wait();
        }
    }

    /// Kills `keg up` alone.
    ///
    /// # Panics
    /// When it is not up.
    pub fn kill_up(&mut self) {
        let up = self.up.take().expect("it is up");
        up.signal(libc::SIGKILL);
        up.wait();
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

    /// The value of a Python expression in the probe.
    ///
    /// # Panics
    /// When the router does not answer.
    pub fn value(&self, app: &str, code: &str) -> String {
        let host = format!("{app}.localhost:{}", self.router.port());
        let headers = [("Host", host.as_str())];
        let answer = http::ask(self.router, "POST", "/value", &headers, code.as_bytes());
        answer.expect("the router answers").body
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
        let path = format!("/apps/{app}/config.json");
        let head = self.page(&format!("{path}?json")).head;
        let etag = head.lines().find_map(|line| line.strip_prefix("etag: "));
        let condition = etag.map_or(("If-None-Match", "*"), |etag| ("If-Match", etag));
        let headers = [("Host", host.as_str()), ("Content-Type", "application/json"), condition];
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

    /// Puts this machine's Python into the Keg as what the importer would answer.
    ///
    /// # Panics
    /// When there is a Keg already.
    pub fn lend_python(&self) {
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
        self.sweep();
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
