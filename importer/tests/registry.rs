//! Against the real archive, through the machine's apt configuration. These tests need the network
//! and root, and run only where `KEG_TEST_NETWORK=1`; their names have the word `registry`.

mod world;

use std::collections::BTreeSet;

use importer::{
    Base, DebianWant,
    debian::{
        import::{Chosen, choose},
        index::Index,
        snapshot,
    },
};
use world::{AptRoot, World, allowed};

const SUITE: &str = "trixie";

/// Requests whose closures are compared with apt's.
const SETS: &[&str] = &[
    "python3",
    "python3-flask gunicorn",
    "nginx",
    "redis",
    "postgresql",
    "nodejs",
    "nodejs npm",
    "build-essential",
    "default-jre-headless",
    "php-cli",
    "php-fpm apache2",
    "ruby",
    "ruby-rails",
    "apache2",
    "openssh-server",
    "git",
    "ffmpeg",
    "vim",
    "emacs-nox",
    "golang-go",
    "cargo",
    "mariadb-server",
    "exim4",
    "postfix",
    "texlive-latex-base",
    "samba",
    "podman",
    "docker.io",
    "chromium",
    "tini busybox ca-certificates",
    "systemd-sysv",
    "imagemagick",
    "graphviz",
    "r-base-core",
    "erlang-base elixir",
    "haproxy memcached",
    "python3-numpy python3-scipy",
    "ghc",
];

fn want(packages: &str, base: Base) -> DebianWant {
    let packages = packages.split_whitespace().map(str::to_owned).collect();
    DebianWant { suite: SUITE.into(), packages, base }
}

fn names(packages: &[std::rc::Rc<importer::debian::index::Package>]) -> BTreeSet<String> {
    packages.iter().map(|p| format!("{} {}", p.name(), p.version())).collect()
}

#[test]
fn registry_apt_agrees_on_closures() {
    if !allowed() {
        return;
    }
    let world = World::new();
    world.import(SUITE, &["--none", "tini"]).expect("the suite is there");
    let keg = world.keg();
    let snapshot = snapshot::stored(&keg, SUITE).expect("read").expect("there");
    let index = Index::open(keg.objects(), &snapshot.index).expect("opens");
    let Chosen { base, .. } = choose(&index, &want("", Base::Essential)).expect("solvable");
    let apt = AptRoot::new(SUITE);

    let wanted: Vec<String> = index
        .base()
        .into_iter()
        .map(|id| index.package(id).expect("read").name().to_owned())
        .collect();
    assert_eq!(names(&base), apt.installs(&wanted), "the base");

    apt.has(&base);
    let mut differ = Vec::new();
    for set in SETS {
        let ours = match choose(&index, &want(set, Base::Essential)) {
            Ok(chosen) => names(&chosen.extra),
            Err(error) => {
                differ.push(format!("{set}: {error}"));
                continue;
            }
        };
        let wanted: Vec<String> = set.split_whitespace().map(str::to_owned).collect();
        let theirs = apt.installs(&wanted);
        if ours != theirs {
            let only = |a: &BTreeSet<String>, b: &BTreeSet<String>| {
                a.difference(b).cloned().collect::<Vec<_>>().join(", ")
            };
            let (us, them) = (only(&ours, &theirs), only(&theirs, &ours));
            differ.push(format!("{set}: only we: {us}; only apt: {them}"));
        }
    }
    for line in &differ {
        eprintln!("{line}");
    }
    let same = SETS.len() - differ.len();
    eprintln!("{same} of {} sets are the same as apt's", SETS.len());
    assert!(differ.len() <= 1, "{} of {} sets differ", differ.len(), SETS.len());
}

#[test]
fn registry_the_same_packages_are_the_same_root_file_system() {
    if !allowed() {
        return;
    }
    let packages = ["python3", "tini", "ca-certificates"];
    let one = World::new();
    let lock = one.import(SUITE, &packages).expect("imported");
    let rootfs = lock["debian"]["rootfs"].clone();
    // Another Keg, and what it has configured before makes no difference.
    let two = World::new();
    two.import(SUITE, &["tini"]).expect("imported");
    let again = two.import(SUITE, &packages).expect("imported");
    assert_eq!(again["debian"]["rootfs"], rootfs);
    assert_eq!(one.import(SUITE, &packages).expect("done already"), lock);

    let root = one.mount(rootfs.as_str().expect("text"));
    for (command, want) in [
        ("dpkg --audit", ""),
        ("dpkg --verify", ""),
        ("dpkg-query -f ${db:Status-Abbrev} -W python3", "ii "),
        ("python3 -c print(6*7)", "42\n"),
        ("python3 -c import_ssl", ""),
        ("readlink /usr/bin/awk", "/etc/alternatives/awk\n"),
        ("head -1 /etc/passwd", "root:x:0:0:root:/root:/bin/bash\n"),
    ] {
        assert_eq!(
            root.output(&command.replace("import_ssl", "import\u{a0}ssl")),
            want,
            "{command}"
        );
    }
    for gone in ["usr/sbin/policy-rc.d", "var/log/dpkg.log", "etc/resolv.conf", "etc/hostname"] {
        assert!(!root.path().join(gone).exists(), "{gone}");
    }
}
