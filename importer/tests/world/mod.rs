//! A Keg in a temporary directory, the importer's example binary, and an apt of its own.

// Each test file uses its part of this.
#![allow(dead_code)]

use std::{
    collections::BTreeSet,
    path::{Path, PathBuf},
    process::Command,
    rc::Rc,
};

use importer::{
    Base, Request,
    debian::{apt::Apt, index::Package, native_arch, relation, snapshot},
};
use keg::{
    Keg,
    mount::{Mounts, unmount_all_below},
};

/// Whether tests may use the network.
pub fn allowed() -> bool {
    std::env::var_os("KEG_TEST_NETWORK").is_some_and(|v| v == "1")
}

/// A Keg.
pub struct World {
    dir: tempfile::TempDir,
}

impl World {
    /// An empty one.
    pub fn new() -> Self {
        Self { dir: tempfile::tempdir().expect("a directory") }
    }

    /// The Keg, opened here.
    pub fn keg(&self) -> Keg {
        Keg::open(self.dir.path()).expect("a Keg")
    }

    /// Imports in a process of its own; returns the lock.
    pub fn import(&self, suite: &str, args: &[&str]) -> Result<serde_json::Value, String> {
        self.import_with(suite, args, &[])
    }

    /// The same with more in the environment.
    pub fn import_with(
        &self,
        suite: &str,
        args: &[&str],
        env: &[(&str, &str)],
    ) -> Result<serde_json::Value, String> {
        let all: Vec<&str> = ["debian", suite].iter().chain(args).copied().collect();
        let output =
            self.command(&all).envs(env.iter().copied()).output().expect("the example runs");
        if !output.status.success() {
            return Err(String::from_utf8_lossy(&output.stderr).into_owned());
        }
        Ok(self.lock(suite, args))
    }

    /// The example with these arguments, for this Keg.
    pub fn command(&self, args: &[&str]) -> Command {
        let mut command = Command::new(example());
        command.args(args).env_remove("KEG_EXE").env("KEG_HOME", self.dir.path());
        command
    }

    /// The lock of an import with these arguments.
    pub fn lock(&self, suite: &str, args: &[&str]) -> serde_json::Value {
        let (base, packages) = match args {
            ["--none", packages @ ..] => (Base::None, packages),
            packages => (Base::Essential, packages),
        };
        let request = Request::debian(suite, packages, base).normal().expect("a request");
        let path = format!("/packages/locks/{}.json", request.key()).parse().expect("a path");
        self.keg().get_json(&path).expect("read").expect("there")
    }

    /// Whether a process got so far as to make the Keg.
    pub fn has_keg(&self) -> bool {
        self.dir.path().join("format.json").exists()
    }

    /// Mounts a tree read-only.
    pub fn mount(&self, kid: &str) -> Root {
        let root = Root { dir: tempfile::tempdir().expect("a directory") };
        let kid = kid.parse().expect("a KID");
        Mounts::new(&self.keg()).read_only(&kid, root.path()).expect("mounted");
        root
    }
}

impl Drop for World {
    fn drop(&mut self) {
        // A process that was killed may have left mounts.
        drop(unmount_all_below(self.dir.path()));
    }
}

/// The example binary, which `cargo test` builds as well.
fn example() -> PathBuf {
    let test = std::env::current_exe().expect("known");
    let target = test.parent().and_then(Path::parent).expect("target/debug/deps");
    target.join("examples/import")
}

/// A mounted root file system.
pub struct Root {
    dir: tempfile::TempDir,
}

impl Root {
    /// Where it is.
    pub fn path(&self) -> &Path {
        self.dir.path()
    }

    /// What a command in it prints, on both streams; its words are parted by plain spaces.
    pub fn output(&self, command: &str) -> String {
        let words = command.split(' ').map(|word| word.replace('\u{a0}', " "));
        let output = Command::new("chroot").arg(self.path()).args(words).output().expect("chroot");
        let text = [output.stdout, output.stderr].concat();
        String::from_utf8_lossy(&text).into_owned()
    }
}

impl Drop for Root {
    fn drop(&mut self) {
        drop(keg::mount::unmount(self.path()));
    }
}

/// An apt with the machine's sources for another suite, and nothing installed.
pub struct AptRoot {
    dir: tempfile::TempDir,
}

impl AptRoot {
    /// Fetches the lists of the suite.
    pub fn new(suite: &str) -> Self {
        let apt = Self { dir: tempfile::tempdir().expect("a directory") };
        for name in ["etc/sources.d", "etc/parts", "lists/partial", "cache/archives/partial"] {
            std::fs::create_dir_all(apt.at(name)).expect("made");
        }
        let machine = Apt::of_machine(native_arch()).expect("apt is configured");
        let mut sources = String::new();
        for planned in snapshot::plan(&machine.sources, suite) {
            let keyrings =
                planned.source.signed_by.keyrings.iter().map(|k| k.display().to_string());
            let signed_by = match keyrings.collect::<Vec<_>>().join(",") {
                none if none.is_empty() => String::new(),
                some => format!("[signed-by={some}] "),
            };
            let components = planned.source.components.join(" ");
            let line = format!("{} {} {components}", planned.source.uri, planned.suite);
            sources += &format!("deb {signed_by}{line}\n");
        }
        std::fs::write(apt.at("etc/sources.list"), sources).expect("written");
        std::fs::write(apt.at("status"), "").expect("written");
        apt.run(&["update"]);
        apt
    }

    /// Pretends that these packages are installed.
    pub fn has(&self, packages: &[Rc<Package>]) {
        let stanza = |p: &Rc<Package>| {
            let groups = p.depends.iter().map(|group| relation::show(group));
            let provides = p.provides.iter().map(|provided| match &provided.version {
                Some(version) => format!("{} (= {version})", provided.name),
                None => provided.name.clone(),
            });
            let excludes: Vec<String> = p.excludes.iter().map(ToString::to_string).collect();
            let lists = [
                ("Depends", groups.collect::<Vec<_>>()),
                ("Provides", provides.collect()),
                ("Breaks", excludes),
            ];
            let lists = lists.into_iter().filter(|(_, list)| !list.is_empty());
            let lists: String =
                lists.map(|(field, list)| format!("{field}: {}\n", list.join(", "))).collect();
            format!(
                "Package: {}\nStatus: install ok installed\nVersion: {}\nArchitecture: {}\n\
                 Maintainer: x\nDescription: x\n{lists}\n",
                p.name(),
                p.version(),
                p.promise.arch
            )
        };
        let status: String = packages.iter().map(stanza).collect();
        std::fs::write(self.at("status"), status).expect("written");
    }

    /// The packages (`name version`) that apt would install.
    pub fn installs(&self, packages: &[String]) -> BTreeSet<String> {
        let mut args = vec!["--simulate", "--no-install-recommends", "--yes", "install"];
        args.extend(packages.iter().map(String::as_str));
        let line = |line: &str| {
            let mut words = line.strip_prefix("Inst ")?.split_whitespace();
            let name = words.next()?;
            // `[1.0]`: it is there already, and apt takes our short stanza for another build.
            let version = words.next()?.strip_prefix('(')?;
            Some(format!("{name} {version}"))
        };
        self.run(&args).lines().filter_map(line).collect()
    }

    fn run(&self, args: &[&str]) -> String {
        let dir = self.dir.path().display();
        let options = [
            format!("Dir::Etc={dir}/etc"),
            "Dir::Etc::SourceParts=sources.d".into(),
            "Dir::Etc::Parts=parts".into(),
            format!("Dir::State={dir}"),
            format!("Dir::State::lists={dir}/lists"),
            format!("Dir::State::status={dir}/status"),
            format!("Dir::Cache={dir}/cache"),
            "APT::Sandbox::User=root".into(),
        ];
        let mut command = Command::new("apt-get");
        command.env("LC_ALL", "C").arg("-q");
        for option in options {
            command.arg("-o").arg(option);
        }
        let output = command.args(args).output().expect("apt-get");
        let text = String::from_utf8_lossy(&output.stdout).into_owned();
        let errors = String::from_utf8_lossy(&output.stderr);
        assert!(output.status.success(), "apt-get {args:?}: {errors}");
        text
    }

    fn at(&self, name: &str) -> PathBuf {
        self.dir.path().join(name)
    }
}
