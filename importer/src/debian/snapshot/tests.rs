use super::*;
use crate::debian::{
    apt::Apt,
    index::Index,
    testing::{DebMaker, Signer, TestMirror, file},
};

fn deb(name: &str, version: &str) -> DebMaker {
    DebMaker::new(name, version, vec![file("./usr/x", "x")])
}

fn taken(keg: &Keg, apt: &Apt) -> Result<Snapshot, SnapshotError> {
    take(keg, apt, "demo", "amd64", &mut |_| {})
}

/// The error and its causes.
fn refused(keg: &Keg, apt: &Apt, want: &str) {
    let error = taken(keg, apt).map(|_| ()).expect_err(want);
    let text = crate::error::chain(&error);
    assert!(text.contains(want), "{text}");
}

#[test]
fn a_suite_with_its_updates_becomes_a_snapshot() {
    let mirror = TestMirror::new();
    mirror.publish("demo", &[deb("a", "1"), deb("b", "1")]);
    mirror.publish("demo-updates", &[deb("b", "2")]);
    mirror.publish("demo-security", &[deb("a", "1+deb1")]);
    let keg = Keg::in_memory();
    let apt = mirror.apt(&["old", "old-updates", "old-security", "old-backports"]);
    let one = taken(&keg, &apt).expect("good");
    let suites: Vec<_> = one.doc.origins.iter().map(|o| o.suite.as_str()).collect();
    assert_eq!(suites, ["demo", "demo-updates", "demo-security"]);
    let index = Index::open(keg.objects(), &one.index).expect("opens");
    for (name, version, origin) in [("a", "1+deb1", 2), ("b", "2", 1)] {
        let package = index.package(index.find(name).expect(name)).expect(name);
        assert_eq!((package.version(), package.origin), (version, origin));
    }
    // The same again is the same value, and what is there is not fetched again.
    std::fs::remove_dir_all(mirror.path("dists/demo/main")).expect("removed");
    let two = taken(&keg, &apt).expect("good");
    assert_eq!(one.kid, two.kid);
    assert_eq!(stored(&keg, "demo").expect("read").expect("there").kid, one.kid);
    assert!(stored(&keg, "other").expect("read").is_none());
}

#[test]
fn what_is_not_signed_as_it_should_be_is_refused() {
    let mirror = TestMirror::new();
    mirror.publish("demo", &[deb("a", "1")]);
    let keg = Keg::in_memory();
    let apt = mirror.apt(&["old"]);
    let other = Signer::new();
    let foreign = Apt { keyrings: vec![other.keyring()], ..mirror.apt(&["old"]) };
    refused(&keg, &foreign, "in no keyring");

    let path = mirror.path("dists/demo/InRelease");
    let good = std::fs::read_to_string(&path).expect("there");
    std::fs::write(&path, good.replace("Origin: Debian", "Origin: Evil")).expect("written");
    refused(&keg, &apt, "is wrong");
    std::fs::write(&path, "Origin: Debian\n").expect("written");
    refused(&keg, &apt, "there is none");
    assert!(stored(&keg, "demo").expect("read").is_none(), "nothing half-visible");
}

#[test]
fn indexes_that_are_not_what_was_signed_are_refused() {
    let mirror = TestMirror::new();
    mirror.publish("demo", &[deb("a", "1")]);
    let keg = Keg::in_memory();
    let apt = mirror.apt(&["old"]);
    let hashed = std::fs::read_dir(mirror.path("dists/demo/main/binary-amd64/by-hash/SHA256"));
    let hashed = hashed.expect("there").next().expect("one").expect("read").path();
    let good = std::fs::read(&hashed).expect("there");
    let mut bad = good.clone();
    bad[good.len() / 2] ^= 1;
    std::fs::write(&hashed, &bad).expect("written");
    refused(&keg, &apt, "another SHA256");
    std::fs::write(&hashed, &good[1..]).expect("written");
    refused(&keg, &apt, "another size");
    std::fs::write(&hashed, [&good[..], b"x"].concat()).expect("written");
    refused(&keg, &apt, "larger than");
    // Without the copy by hash the plain one is taken.
    std::fs::remove_file(&hashed).expect("removed");
    taken(&keg, &apt).expect("good");
}

#[test]
fn old_and_expired_suites_are_refused() {
    let mut mirror = TestMirror::new();
    let keg = Keg::in_memory();
    let apt = mirror.apt(&["old"]);
    mirror.fields = "Valid-Until: Sat, 19 Sep 2020 07:55:41 UTC\n".into();
    mirror.publish("demo", &[deb("a", "1")]);
    refused(&keg, &apt, "expired on 2020-09-19");
    mirror.fields.clear();
    mirror.publish("demo", &[deb("a", "1")]);
    taken(&keg, &apt).expect("good");
    mirror.date = "Sat, 05 Sep 2020 07:55:41 UTC".into();
    mirror.publish("demo", &[deb("a", "0")]);
    refused(&keg, &apt, "the mirror went back");
    mirror.date = "Sat, 05 Sep 2126 07:55:41 UTC".into();
    mirror.publish("demo", &[deb("a", "0")]);
    refused(&keg, &apt, "in the future");
    let path = mirror.path("dists/demo");
    std::fs::rename(path, mirror.path("dists/demo2")).expect("moved");
    let text = "there is another suite's Release";
    mirror.publish("other", &[deb("a", "1")]);
    std::fs::rename(mirror.path("dists/other"), mirror.path("dists/demo")).expect(text);
    refused(&keg, &apt, "not for demo");
}

#[test]
fn other_archives_are_left_out_and_missing_parts_are_not() {
    let mirror = TestMirror::new();
    let mut other = TestMirror::new();
    other.origin = "Vendor".into();
    other.publish("demo", &[deb("a", "99")]);
    let keg = Keg::in_memory();
    let mut apt = other.apt(&["old"]);
    refused(&keg, &apt, "has the Debian suite");
    mirror.publish("demo", &[deb("a", "1")]);
    apt.sources.extend(mirror.apt(&["old"]).sources);
    apt.keyrings.push(mirror.signer.keyring());
    let snapshot = taken(&keg, &apt).expect("good");
    let index = Index::open(keg.objects(), &snapshot.index).expect("opens");
    let a = index.package(index.find("a").expect("there")).expect("read");
    assert_eq!(a.version(), "1");
    // A broken archive of someone else does no harm, a part of Debian that is missing does.
    std::fs::write(other.path("dists/demo/InRelease"), "x").expect("written");
    taken(&keg, &apt).expect("good");
    mirror.publish("old-security", &[deb("a", "1")]);
    apt.sources.extend(mirror.apt(&["old-security"]).sources);
    refused(&keg, &apt, "lacks demo-security");
}
