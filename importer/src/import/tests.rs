use keg::{
    object::Entry,
    store::{Fault, FaultyStore, MemoryStore},
};

use super::*;
use crate::{
    Base,
    debian::{
        apt::Apt,
        testing::{DebMaker, Signer, TestMirror, file},
    },
};

/// Packages of the suite `demo`.
fn mirror() -> TestMirror {
    let mirror = TestMirror::new();
    let mut app = DebMaker::new("app", "1", vec![file("./usr/bin/app", "app")]);
    app.fields = "Depends: lib (>= 1)\n".into();
    let lib = DebMaker::new("lib", "1", vec![file("./usr/lib/lib.so", "lib")]);
    mirror.publish("demo", &[app, lib]);
    mirror
}

fn import(keg: &Keg, apt: &Apt, packages: &[&str]) -> Result<Json, ImportError> {
    let apt = || Ok(apt.clone());
    let machine = Machine { keg, arch: "amd64", apt: &apt, workers: 0 };
    let request = Request::debian("demo", packages, Base::None).normal()?;
    import_as(&machine, &request.key(), &request, &mut |_| {})
}

/// The import fails with this text, and the lock says so.
fn refused(keg: &Keg, apt: &Apt, package: &str, want: &str) -> ImportError {
    let error = import(keg, apt, &[package]).expect_err(want);
    assert!(error.message().contains(want), "{}", error.message());
    let key = Request::debian("demo", &[package], Base::None).key();
    let lock = keg.get_json(&lock_path(&key)).expect("read").expect("there");
    assert_eq!(lock["state"], "failed");
    assert_eq!(lock["error"]["message"], error.message());
    assert_eq!(lock["error"]["hint"], error.hint());
    assert!(lock.get("debian").is_none(), "nothing half-visible");
    error
}

fn stream(keg: &Keg, id: &str) -> String {
    let kid = keg.streams().sealed(id).expect("read").expect("sealed");
    String::from_utf8(keg.objects().blob(&kid).expect("read")).expect("text")
}

#[test]
fn a_request_becomes_a_lock() {
    let mirror = mirror();
    let keg = Keg::in_memory();
    let lock = import(&keg, &mirror.apt(&["demo"]), &["app"]).expect("good");
    let key = Request::debian("demo", &["app"], Base::None).key();
    assert_eq!(lock["state"], "done");
    assert_eq!(lock["request"], key.as_str());
    let packages = lock["debian"]["packages"].as_array().expect("a list");
    let names: Vec<_> = packages.iter().map(|p| p["name"].as_str().expect("text")).collect();
    assert_eq!(names, ["app", "lib"]);
    let rootfs: keg::Kid = lock["debian"]["rootfs"].as_str().expect("text").parse().expect("KID");
    assert!(keg.objects().walk(&rootfs, "usr/bin/app").expect("read").is_some());
    let kept = keg.get(&path(&format!("/packages/debian/demo/rootfs/{key}"))).expect("read");
    assert_eq!(kept.as_ref().and_then(Entry::kid), Some(rootfs));
    let log = stream(&keg, &format!("import-{key}"));
    assert!(log.contains("Fetching 2 packages, 0.1 MB\n  2 packages fetched in "), "{log}");
    let sealed = keg.streams().sealed(&format!("import-{key}")).expect("read").expect("sealed");
    assert_eq!(lock["log"], sealed.to_string().as_str(), "the log stays reachable");

    // Again, and another request for the same packages: nothing is asked of the network.
    std::fs::remove_dir_all(mirror.dir.path()).expect("removed");
    let nothing = Apt::default();
    assert_eq!(import(&keg, &nothing, &["app", "app"]).expect("done already"), lock);
    let both = import(&keg, &nothing, &["lib", "app"]).expect("all is there");
    assert_eq!(both["debian"]["rootfs"], lock["debian"]["rootfs"]);
}

#[test]
fn two_kegs_make_the_same_of_the_same() {
    let mirror = mirror();
    let apt = mirror.apt(&["demo"]);
    let one = import(&Keg::in_memory(), &apt, &["app"]).expect("good");
    let two = import(&Keg::in_memory(), &apt, &["app"]).expect("good");
    assert_eq!(one["debian"], two["debian"]);
}

#[test]
fn failures_are_told_with_what_to_do() {
    let mirror = mirror();
    let apt = mirror.apt(&["demo"]);
    let keg = Keg::in_memory();
    let error = refused(&keg, &apt, "appp", "no package \"appp\" in demo");
    assert_eq!(error.hint(), "did you mean app?");
    let other = Keg::in_memory();
    let signer = Signer::new();
    let stranger = Apt { keyrings: vec![signer.keyring()], ..apt.clone() };
    let error = refused(&other, &stranger, "app", "in no keyring");
    assert!(error.hint().contains("debian-archive-keyring"), "{}", error.hint());
    let down = Apt {
        sources: vec![crate::debian::apt::Source {
            uri: "http://127.0.0.1:1".into(),
            ..apt.sources[0].clone()
        }],
        ..apt.clone()
    };
    let error = refused(&other, &down, "app", "cannot be reached");
    assert!(error.hint().contains("apt-get update"), "{}", error.hint());
    import(&other, &apt, &["app"]).expect("works now");
}

/// Makes the snapshot look old.
fn age(keg: &Keg) {
    let at = path("/packages/debian/demo/checked.json");
    let txn = Txn::new("test", "time passes").set_json(at, json!({ "checked_ms": 0 }));
    keg.commit(txn).expect("set");
}

#[test]
fn an_old_snapshot_is_fetched_anew_when_it_does_not_do() {
    let mirror = mirror();
    let apt = mirror.apt(&["demo"]);
    let keg = Keg::in_memory();
    import(&keg, &apt, &["lib"]).expect("good");
    // A package that came later.
    let deb = |name: &str, version: &str| DebMaker::new(name, version, vec![file("./x", version)]);
    mirror.publish("demo", &[deb("later", "1"), deb("lib", "2"), deb("app", "2")]);
    let error = import(&keg, &apt, &["later"]).expect_err("the snapshot is fresh");
    assert!(error.message().contains("no package"), "{}", error.message());
    age(&keg);
    import(&keg, &apt, &["later"]).expect("fetched anew");
    // A version that the mirror has dropped, with a snapshot that is not old.
    mirror.publish("demo", &[deb("app", "3")]);
    std::fs::remove_file(mirror.path("pool/app_2_all.deb")).expect("removed");
    let at = path("/packages/debian/demo/checked.json");
    let checked = json!({ "checked_ms": keg::time::now_ms() - 3_600_000 });
    keg.commit(Txn::new("test", "an hour").set_json(at, checked)).expect("set");
    let lock = import(&keg, &apt, &["app"]).expect("fetched anew");
    assert_eq!(lock["debian"]["packages"][0]["version"], "3");
    // What is in the pool needs no network, however old the snapshot.
    age(&keg);
    import(&keg, &Apt::default(), &["app"]).expect("done already");
}

#[test]
fn a_package_that_is_damaged_on_the_mirror_is_refused() {
    let mirror = mirror();
    let keg = Keg::in_memory();
    let path = mirror.path("pool/lib_1_all.deb");
    let good = std::fs::read(&path).expect("there");
    std::fs::write(&path, vec![0; good.len()]).expect("written");
    refused(&keg, &mirror.apt(&["demo"]), "app", "another SHA256");
    std::fs::write(&path, &good).expect("written");
    let lock = import(&keg, &mirror.apt(&["demo"]), &["app"]).expect("good now");
    let key = lock["request"].as_str().expect("text");
    assert_eq!(lock["stream"], format!("import-{key}-2"));
    assert!(stream(&keg, &format!("import-{key}")).contains("failed: "));
}

#[test]
fn a_full_disk_leaves_nothing_half_made() {
    let mirror = mirror();
    let apt = mirror.apt(&["demo"]);
    let mut failures = 0;
    for healthy in (0..200).step_by(7) {
        let dir = tempfile::tempdir().expect("a directory");
        for name in ["streams", "run", "tmp", "img"] {
            std::fs::create_dir(dir.path().join(name)).expect("made");
        }
        let store = FaultyStore::new(MemoryStore::new(""), Fault::DiskFull, healthy);
        let keg = Keg::with_store(dir.path(), Box::new(store));
        match import(&keg, &apt, &["app"]) {
            Ok(lock) => assert_eq!(lock["state"], "done"),
            Err(error) => {
                failures += 1;
                assert!(error.message().contains("disk is full"), "{}", error.message());
                let key = Request::debian("demo", &["app"], Base::None).key();
                let lock = keg.get_json(&lock_path(&key)).expect("read");
                assert!(lock.is_none_or(|lock| lock["state"] != "done"));
                assert!(keg.list(&path("/packages/debian/demo/rootfs")).expect("read").is_empty());
            }
        }
    }
    assert!(failures > 3, "{failures}");
}

#[test]
fn requests_are_written_once_and_pending_until_done() {
    let mirror = mirror();
    let keg = Keg::in_memory();
    let want = Request::debian("demo", &["app"], Base::None);
    let key =
        request(&keg, &Request { by: Some("build x".into()), ..want.clone() }).expect("asked");
    assert_eq!(pending(&keg).expect("read"), [key.as_str()]);
    let document = keg.get_json(&request_path(&key)).expect("read").expect("there");
    assert_eq!(document["by"], "build x");
    assert_eq!(key_of(&document), key);
    import(&keg, &mirror.apt(&["demo"]), &["app"]).expect("good");
    assert!(pending(&keg).expect("read").is_empty());
    let before = keg.head().expect("read").seq;
    assert_eq!(request(&keg, &want).expect("done already"), key);
    assert_eq!(keg.head().expect("read").seq, before, "nothing is written");

    // An import that died: its lock says running, and nobody holds the file.
    let other = Request::debian("demo", &["lib"], Base::None);
    let machine = Machine { keg: &keg, arch: "amd64", apt: &|| Ok(Apt::default()), workers: 0 };
    let died = Import {
        keg: &keg,
        machine: &machine,
        key: &other.key(),
        request: &other,
        started: String::new(),
        anew: Anew::No,
    };
    died.begin("import-x").expect("begun");
    assert_eq!(pending(&keg).expect("read"), [other.key()]);
    let held = Lockfile::wait(&keg, &other.key()).expect("held");
    assert!(pending(&keg).expect("read").is_empty());
    drop(held);
    import(&keg, &Apt::default(), &["lib"]).expect("all is there");
    // One that failed is asked for again.
    import(&keg, &Apt::default(), &["gone"]).expect_err("no such package");
    let again = request(&keg, &Request::debian("demo", &["gone"], Base::None)).expect("asked");
    assert_eq!(pending(&keg).expect("read"), [again]);
}

#[test]
fn work_needs_a_request_that_fits_its_key() {
    let keg = Keg::in_memory();
    assert_eq!(work_import(&keg, "0123456789abcdef"), 1);
    assert_eq!(work_import(&keg, "../../etc"), 1);
    let txn = Txn::new("test", "x").set_json(
        request_path("0123456789abcdef"),
        json!({"debian": {"suite": "x", "packages": []}}),
    );
    keg.commit(txn).expect("set");
    assert_eq!(work_import(&keg, "0123456789abcdef"), 1);
}

#[test]
fn a_refresh_resolves_anew_and_keeps_the_lock_until_it_is_done() {
    let mirror = mirror();
    let sources = mirror.apt(&["demo"]);
    let keg = Keg::in_memory();
    let old = import(&keg, &sources, &["app"]).expect("good");
    let want = Request::debian("demo", &["app"], Base::None);
    let refresh = |sources: &Apt| {
        let apt = || Ok(sources.clone());
        let machine = Machine { keg: &keg, arch: "amd64", apt: &apt, workers: 0 };
        refresh_as(&machine, &want.key(), &want, &mut |_| {})
    };
    let now = || keg.get_json(&lock_path(&want.key())).expect("read").expect("there");
    // The snapshot is seconds old, and both packages are in the pool.
    mirror.publish("demo", &[DebMaker::new("app", "2", vec![file("./usr/bin/app", "app 2")])]);
    assert_eq!(import(&keg, &sources, &["app"]).expect("done already"), old);
    let down = Apt { sources: Vec::new(), ..sources.clone() };
    refresh(&down).expect_err("the mirror is gone");
    assert_eq!(now(), old, "a failure leaves the lock that was done");
    assert!(pending(&keg).expect("read").is_empty());
    let new = refresh(&sources).expect("refreshed");
    assert_eq!(new["debian"]["packages"][0]["version"], "2");
    assert_eq!(now(), new);
    assert_ne!(new["stream"], old["stream"]);
    assert_eq!(import(&keg, &down, &["app"]).expect("done already"), new);
    // Nothing newer: the same packages, and the same tree.
    assert_eq!(refresh(&sources).expect("refreshed")["debian"], new["debian"]);
    assert!(refresh_key(&keg, "0123456789abcdef", &mut |_| {}).is_err(), "no such request");
}
