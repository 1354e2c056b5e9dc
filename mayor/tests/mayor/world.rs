//! A Keg of its own, releases made by hand, mayors started and killed.

use std::collections::BTreeMap;
use std::fs;
use std::io::{Read, Write};
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::{Child, Command};
use std::time::{Duration, Instant};

use keg::object::{Commit, Entry, EntryName, Tree};
use keg::{Keg, Kid, NamePath, Txn};
use sandbox::netns;
use serde_json::{Value as Json, json};
use tempfile::TempDir;

pub struct World {
    pub keg: Keg,
    /// What releases run.
    pub program: &'static str,
    rootfs: Option<Entry>,
    mayor: Option<Child>,
    dir: TempDir,
}

impl World {
    pub fn new() -> Self {
        let dir = tempfile::tempdir().expect("a temporary directory");
        let home = dir.path().join("keg");
        let keg = Keg::create(&home).expect("a Keg");
        World { keg, program: "/app/program", rootfs: None, mayor: None, dir }
    }

    pub fn home(&self) -> &Path {
        self.keg.home()
    }

    pub fn start_mayor(&mut self, args: &[&str]) {
        let exe = std::env::current_exe().expect("a program knows its own path");
        let mut command = Command::new(&exe);
        command.arg("mayor").arg(self.home()).args(args).env("KEG_EXE", exe);
        self.mayor = Some(command.spawn().expect("a mayor"));
    }

    pub fn mayor_pid(&self) -> i32 {
        self.mayor.as_ref().map_or(0, |mayor| mayor.id() as i32)
    }

    pub fn end_mayor(&mut self, signal: i32) {
        let Some(mut mayor) = self.mayor.take() else { return };
        // SAFETY: plain system call; the child is ours and not reaped.
        unsafe { libc::kill(mayor.id() as i32, signal) };
        mayor.wait().expect("the mayor ends");
    }

    /// Releases an app whose processes are `app <words>`, with a configuration.
    pub fn release(&mut self, app: &str, processes: &[(&str, &str)], config: Json) -> Kid {
        let rootfs = self.rootfs();
        let o = self.keg.objects();
        let name = |name: &str| EntryName::new(name).expect("a name");
        let document = |value: Json| o.put_json(&value).expect("stored");
        let tree = |entries: Vec<(&str, Entry)>| {
            let entries = entries.into_iter().map(|(n, e)| (name(n), e)).collect();
            o.put_tree(&Tree { entries }).expect("stored")
        };
        let image_config =
            json!({"config": {"Env": ["IMAGE=yes", "COLOR=red"], "WorkingDir": "/app"}});
        let image = tree(vec![("config.json", document(image_config)), ("rootfs", rootfs)]);
        let types: BTreeMap<&str, Json> = processes
            .iter()
            .map(|(kind, words)| {
                let words = [self.program, "app"].into_iter().chain(words.split(' '));
                (*kind, json!({"command": words.collect::<Vec<_>>(), "shell": false}))
            })
            .collect();
        let source = json!({"kid": Kid::of_blob(b"source"), "author": "Ada <ada@example.org>"});
        let release = tree(vec![
            ("image", image.clone()),
            ("source.json", document(source)),
            ("config.json", document(config)),
            ("processes.json", document(json!(types))),
        ]);
        let extra = json!({"app": app, "image": image.kid(), "source": Kid::of_blob(b"source")});
        let commit = Commit {
            tree: release.kid().expect("a tree has a KID"),
            parents: vec![],
            author: "test".into(),
            time_ms: keg::time::now_ms(),
            message: "release".into(),
            extra: extra.as_object().cloned().expect("an object"),
        };
        let kid = o.put_commit(&commit).expect("stored");
        self.point(app, kid);
        kid
    }

    /// Makes `kid` the app's release.
    pub fn point(&self, app: &str, kid: Kid) {
        let path = path(&format!("/oci-images/{app}"));
        self.keg.commit(Txn::new("test", "release").set(path, Entry::commit(kid))).expect("named");
    }

    pub fn set(&self, at: &str, value: Json) {
        self.keg.commit(Txn::new("test", "set").set_json(path(at), value)).expect("named");
    }

    pub fn remove(&self, at: &str) {
        self.keg.commit(Txn::new("test", "remove").remove(path(at))).expect("removed");
    }

    /// This program and the libraries it needs, as a root.
    fn rootfs(&mut self) -> Entry {
        if let Some(rootfs) = &self.rootfs {
            return rootfs.clone();
        }
        let root = self.dir.path().join("root");
        let exe = std::env::current_exe().expect("a program knows its own path");
        let copy = |from: &Path, to: &Path| {
            fs::create_dir_all(to.parent().expect("a parent")).expect("a directory");
            fs::copy(from, to).expect("copied");
        };
        copy(&exe, &root.join("app/program"));
        let maps = fs::read_to_string("/proc/self/maps").expect("maps");
        let mapped = maps.lines().filter_map(|line| line.split_whitespace().nth(5));
        for library in mapped.filter(|path| path.contains(".so")) {
            let at = root.join(library.trim_start_matches('/'));
            copy(Path::new(library), &at);
        }
        let interpreter = PathBuf::from("/lib64/ld-linux-x86-64.so.2");
        if interpreter.exists() {
            copy(&interpreter, &root.join("lib64/ld-linux-x86-64.so.2"));
        }
        let options = keg::ingest::IngestOptions::default();
        let entry = keg::ingest::ingest(self.keg.objects(), &root, &options).expect("ingested");
        self.rootfs = Some(entry.clone());
        entry
    }

    pub fn machine(&self, below: &str) -> String {
        format!("/machines/{}/{below}", keg::machine::name())
    }

    pub fn json(&self, at: &str) -> Json {
        self.keg.get_json(&path(at)).expect("readable").unwrap_or_default()
    }

    pub fn app(&self, app: &str) -> Json {
        self.json(&self.machine(&format!("apps/{app}.json")))
    }

    /// The rows of an app, ordered by type and number.
    pub fn rows(&self, app: &str) -> Vec<Json> {
        let table = path(&self.machine("processes"));
        let names = self.keg.list(&table).expect("listed");
        let rows = names.iter().map(|(name, _)| self.json(&format!("{table}/{name}")));
        let mut rows: Vec<Json> = rows.filter(|row| row["app"] == app).collect();
        rows.sort_by_key(|row| (row["type"].to_string(), row["index"].as_u64()));
        rows
    }

    /// Waits until the newest release of an app is in a state.
    pub fn until_state(&self, app: &str, release: Kid, state: &str) -> Json {
        let mut last = Json::Null;
        until(&format!("{app} to be {state}"), || {
            last = self.app(app);
            last["release"] == release.to_string() && last["state"] == state
        });
        last
    }

    /// Asks the app through its route, as the router does.
    pub fn ask(&self, app: &str) -> Option<String> {
        let route = self.json(&self.machine(&format!("routes/{app}.json")));
        let backend = route["backends"].as_array()?.first()?.clone();
        let address: SocketAddr = backend["address"].as_str()?.parse().ok()?;
        let namespace = netns::open(Path::new(backend["netns"].as_str()?)).ok()?;
        assert_eq!(netns::number(&namespace).ok()?, backend["netns_number"].as_u64()?);
        let mut stream = netns::within(&namespace, || {
            std::net::TcpStream::connect_timeout(&address, Duration::from_secs(1))
        })
        .ok()?
        .ok()?;
        stream.write_all(b"GET / HTTP/1.1\r\nHost: x\r\n\r\n").ok()?;
        let mut answer = String::new();
        stream.read_to_string(&mut answer).ok()?;
        Some(answer.split_once("\r\n\r\n")?.1.to_owned())
    }

    /// The log of a process.
    pub fn log(&self, stream: &str) -> String {
        fs::read_to_string(self.home().join("streams").join(stream)).unwrap_or_default()
    }

    /// How many containers have anything left.
    pub fn containers(&self) -> usize {
        let left = self.leftovers();
        let ids =
            left.iter().filter(|l| !l.contains([' ', ':'])).map(|l| l.trim_start_matches(".gone-"));
        ids.collect::<std::collections::BTreeSet<_>>().len()
    }

    /// What is left of containers: directories, mounts, control groups.
    pub fn leftovers(&self) -> Vec<String> {
        let base = self.home().join("run/mayor");
        let entries = fs::read_dir(base).into_iter().flatten().flatten();
        let names = entries.map(|e| e.file_name().to_string_lossy().into_owned());
        let mut left: Vec<String> = names.filter(|n| n != "users.json" && n != "lock").collect();
        let mounts = fs::read_to_string("/proc/self/mounts").expect("mounts");
        let home = self.home().to_string_lossy().into_owned();
        left.extend(mounts.lines().filter(|line| line.contains(&home)).map(str::to_owned));
        let prefix = Kid::of_blob(self.home().as_os_str().as_encoded_bytes()).to_hex();
        left.extend(sandbox::cgroup::list(&format!("k{}-", &prefix[..6])));
        left
    }

    /// Everything the mayor said, for a case that failed.
    pub fn tell(&self) {
        for table in ["apps", "routes", "processes"] {
            let at = path(&self.machine(table));
            for (name, _) in self.keg.list(&at).unwrap_or_default() {
                println!("{at}/{name}: {}", self.json(&format!("{at}/{name}")));
            }
        }
        let streams = fs::read_dir(self.home().join("streams")).into_iter().flatten().flatten();
        for stream in streams {
            let text = fs::read_to_string(stream.path()).unwrap_or_default();
            println!("{}:\n{text}", stream.path().display());
        }
    }
}

impl Drop for World {
    fn drop(&mut self) {
        self.end_mayor(libc::SIGTERM);
        // Whatever a failed case left is ended by a mayor that finds no releases.
        if !self.leftovers().is_empty() {
            println!("    left over: {:?}", self.leftovers());
            for (name, _) in self.keg.list(&path("/oci-images")).unwrap_or_default() {
                self.remove(&format!("/oci-images/{name}"));
            }
            self.start_mayor(&[]);
            std::thread::sleep(Duration::from_millis(500));
            self.end_mayor(libc::SIGTERM);
        }
    }
}

pub fn path(text: &str) -> NamePath {
    text.parse().expect("a path")
}

/// Waits until `done`, at most 20 seconds.
pub fn until(what: &str, mut done: impl FnMut() -> bool) {
    let end = Instant::now() + Duration::from_secs(20);
    while !done() {
        assert!(Instant::now() < end, "waited 20 s for {what}");
        std::thread::sleep(Duration::from_millis(10));
    }
}

pub fn alive(row: &Json) -> bool {
    let pid = row["pid"].as_i64().unwrap_or(0) as i32;
    sandbox::record::start_time(pid) == row["start"].as_u64()
}
