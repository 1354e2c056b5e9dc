//! A Keg with a builder, and the importer's answers in place.

use std::path::Path;

use builder::{
    documents::{BuildDoc, DeployDoc, name},
    import::Request,
};
use keg::{
    Keg, Txn,
    kid::Kid,
    object::{Commit, Entry, Tree},
    path::AppName,
    union::{Edit, edit},
};
use serde_json::{Value as Json, json};

use crate::rootfs::{self, Python};

/// When every source of these tests was committed.
pub const COMMITTED_MS: i64 = 1_750_000_000_000;

/// A Keg of its own, with packages "imported" for the suite of this machine.
pub struct World {
    pub keg: Keg,
    pub python: Python,
    pub base: Kid,
    pub rootfs: Kid,
    pub wheels: Kid,
    dir: tempfile::TempDir,
}

impl World {
    pub fn new() -> Self {
        let dir = tempfile::tempdir_in("/tmp").expect("a directory");
        let keg = Keg::create(&dir.path().join("keg")).expect("a Keg");
        let scratch = dir.path().join("scratch");
        std::fs::create_dir(&scratch).expect("made");
        let python = Python::of_machine();
        let base = rootfs::base(&keg, &scratch);
        let rootfs = rootfs::with_python(&keg, &scratch, &python);
        let wheels = rootfs::wheels(&keg, &scratch, &python);
        let world = Self { keg, python, base, rootfs, wheels, dir };
        world.import();
        world
    }

    pub fn home(&self) -> &Path {
        self.keg.home()
    }

    /// Sets the locks that the importer would.
    fn import(&self) {
        let suite = self.python.suite;
        self.lock(&Request::debian(suite, &[]), debian(self.base));
        self.lock(&Request::debian("trixie", &[]), debian(self.base));
        self.lock(&Request::debian(suite, &["lighttpd".to_owned()]), debian(self.base));
        self.import_python(self.rootfs);
        self.import_wheels(self.wheels);
    }

    /// Sets the lock of the wheels.
    pub fn import_wheels(&self, tree: Kid) {
        let package = json!({"name": "greeting", "version": "1.0", "kid": tree});
        let pypi = json!({"python": self.python.version, "tree": tree, "packages": [package]});
        let request = Request::pypi("greeting==1.0\n", &self.python.version, self.python.suite);
        self.lock(&request, json!({"state": "done", "pypi": pypi}));
    }

    /// Sets the lock of the root with Python.
    pub fn import_python(&self, rootfs: Kid) {
        let packages = ["python3", "python-is-python3", "ca-certificates"].map(str::to_owned);
        self.lock(&Request::debian(self.python.suite, &packages), debian(rootfs));
    }

    fn lock(&self, request: &Request, lock: Json) {
        let path = name(&format!("/packages/locks/{}.json", request.key()));
        self.keg.commit(Txn::new("test", "lock").set_json(path, lock)).expect("committed");
    }

    /// Sets the app's source, as a push does.
    pub fn push(&self, app: &str, files: &[(&str, &str)], message: &str) -> Kid {
        let objects = self.keg.objects();
        let empty = objects.put_tree(&Tree::default()).expect("stored").kid().expect("a tree");
        let edits = files.iter().map(|(path, text)| {
            (*path, Edit::Set(objects.put_bytes(text.as_bytes()).expect("stored")))
        });
        let tree = edit(objects, &empty, edits).expect("a tree");
        let extra = json!({"git": "0123456789abcdef0123456789abcdef01234567", "app": app});
        let commit = Commit {
            tree: tree.kid().expect("a tree"),
            parents: Vec::new(),
            author: "Ada <ada@example.org>".to_owned(),
            time_ms: COMMITTED_MS,
            message: message.to_owned(),
            extra: extra.as_object().cloned().expect("an object"),
        };
        let kid = objects.put_commit(&commit).expect("stored");
        let path = name(&format!("/source/{app}"));
        self.keg.commit(Txn::new("test", "push").set(path, Entry::commit(kid))).expect("committed");
        kid
    }

    pub fn configure(&self, app: &str, config: &str) {
        let entry = self.keg.objects().put_bytes(config.as_bytes()).expect("stored");
        let path = name(&format!("/apps/{app}/config.json"));
        self.keg.commit(Txn::new("test", "config").set(path, entry)).expect("committed");
    }

    /// Builds what is new; returns the exit code.
    pub fn build(&self, app: &str) -> i32 {
        builder::work_build(&self.keg, &app.parse::<AppName>().expect("a name"))
    }

    pub fn deploy(&self, app: &str) -> DeployDoc {
        let path = name(&format!("/deploys/{app}.json"));
        self.keg.read_json(&path).expect("readable").expect("a deploy")
    }

    pub fn build_doc(&self, key: &str) -> BuildDoc {
        let path = name(&format!("/builds/{key}/build.json"));
        self.keg.read_json(&path).expect("readable").expect("a build")
    }

    pub fn log(&self, key: &str) -> String {
        let path = name(&format!("/builds/{key}/log"));
        let kid = self.keg.get(&path).expect("readable").expect("a log").kid().expect("a blob");
        String::from_utf8(self.keg.objects().blob(&kid).expect("readable")).expect("text")
    }

    /// An entry of the app's release.
    pub fn released(&self, app: &str, path: &str) -> Option<Entry> {
        self.keg.get(&name(&format!("/oci-images/{app}/{path}"))).expect("readable")
    }

    pub fn released_text(&self, app: &str, path: &str) -> String {
        let entry = self.released(app, path).unwrap_or_else(|| panic!("{path} is there"));
        let bytes = self.keg.objects().blob(&entry.kid().expect("a blob")).expect("readable");
        String::from_utf8(bytes).expect("text")
    }

    pub fn released_json(&self, app: &str, path: &str) -> Json {
        serde_json::from_str(&self.released_text(app, path)).expect("JSON")
    }

    pub fn kid(&self, app: &str, path: &str) -> Option<Kid> {
        self.released(app, path)?.kid()
    }

    /// Nothing may be left mounted or running when a build has ended.
    pub fn assert_clean(&self) {
        let mounts = std::fs::read_to_string("/proc/self/mounts").expect("readable");
        let home = self.home().to_string_lossy().into_owned();
        let left: Vec<&str> = mounts.lines().filter(|line| line.contains(&home)).collect();
        assert!(left.is_empty(), "still mounted: {left:?}");
    }

    pub fn scratch(&self) -> &Path {
        self.dir.path()
    }
}

/// A lock of Debian packages.
fn debian(rootfs: Kid) -> Json {
    let package = json!({"name": "libc6", "version": "2.41", "kid": rootfs});
    json!({"state": "done", "debian": {"rootfs": rootfs, "packages": [package]}})
}

impl Drop for World {
    fn drop(&mut self) {
        let _ = keg::mount::unmount_all_below(self.dir.path());
    }
}
