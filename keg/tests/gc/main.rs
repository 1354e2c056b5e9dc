//! Collections: what is needed stays, what is not goes in its time, and what is gone is said to be.

#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

#[path = "../common/child.rs"]
mod child;
mod explained;
mod history;
mod long;
mod packs;
mod refusals;

use std::{fs, path::PathBuf, time::Duration};

use keg::{
    Keg, Kid, NamePath, NamesError, Txn, Version,
    fsck::fsck,
    gc::{GcError, Holder, Lease, Options, Report, collect},
    object::Entry,
    store::StoreError,
    testing::{at_once, commit_of, noise},
    watch::WatchError,
};
use serde_json::json;

fn path(text: &str) -> NamePath {
    text.parse().expect(text)
}

fn set(keg: &Keg, name: &str, entry: Entry) -> Version {
    keg.commit(Txn::new("t", "m").set(path(name), entry)).unwrap()
}

fn set_number(keg: &Keg, name: &str, value: u64) -> Version {
    keg.commit(Txn::new("t", "m").set_json(path(name), json!(value))).unwrap()
}

fn policy(keg: &Keg, keep: &str) {
    let document = json!({"keep": keep, "paths": {"/x": keep}, "grace": "1 hour"});
    keg.commit(Txn::new("t", "m").set_json(path("/-/gc.json"), document)).unwrap();
}

fn run(keg: &Keg, options: &Options) -> Report {
    collect(keg, options, &mut |_| {}).unwrap()
}

fn check(keg: &Keg) {
    let report = fsck(keg, &mut |_| {}).unwrap();
    assert!(report.is_clean(), "{report:?}");
}

fn object_file(keg: &Keg, kid: &Kid) -> PathBuf {
    keg.home().join("objects").join(&kid.to_hex()[..2]).join(&kid.to_hex()[2..])
}

fn new_keg() -> (tempfile::TempDir, Keg) {
    let dir = tempfile::tempdir().unwrap();
    let keg = Keg::create(dir.path()).unwrap();
    (dir, keg)
}

fn large(keg: &Keg, seed: u64) -> (Entry, Kid) {
    let entry = keg.objects().put_bytes(&noise(seed, 5000)).unwrap();
    let kid = entry.kid().unwrap();
    (entry, kid)
}

#[test]
fn what_no_name_holds_goes_and_the_rest_stays() {
    let (_dir, keg) = new_keg();
    policy(&keg, "1 version");
    let (kept, kept_kid) = large(&keg, 1);
    let (gone, gone_kid) = large(&keg, 2);
    let small = keg.objects().put_bytes(b"a small orphan").unwrap().kid().unwrap();
    set(&keg, "/a/kept", kept);
    set(&keg, "/a/gone", gone);
    keg.commit(Txn::new("t", "m").remove(path("/a/gone"))).unwrap();
    let report = run(&keg, &at_once());
    assert!(report.swept.objects > 5 && report.swept.bytes > 5000, "{report:?}");
    assert!(!object_file(&keg, &gone_kid).exists() && object_file(&keg, &kept_kid).exists());
    // In the trash, and back from it when it is read.
    assert_eq!(report.trash.objects, 3, "an object, a segment, its index: {report:?}");
    assert_eq!(keg.objects().blob(&gone_kid).unwrap(), noise(2, 5000));
    assert!(object_file(&keg, &gone_kid).exists());
    assert_eq!(keg.objects().blob(&small).unwrap(), b"a small orphan");
    check(&keg);
    run(&keg, &at_once());
    run(&keg, &at_once());
    for keg in [&keg, &Keg::open(keg.home()).unwrap()] {
        for kid in [gone_kid, small] {
            let error = keg.objects().get(&kid).unwrap_err();
            assert!(matches!(error, StoreError::Missing { .. }), "{error}");
        }
        assert_eq!(keg.objects().blob(&kept_kid).unwrap(), noise(1, 5000));
        check(keg);
    }
    let report = run(&keg, &at_once());
    assert_eq!((report.garbage.objects, report.trash.objects), (0, 0), "{report:?}");
}

#[test]
fn nothing_goes_before_its_grace_and_reliance_starts_it_anew() {
    let (_dir, keg) = new_keg();
    let (_, put_again) = large(&keg, 1);
    let (named, named_kid) = large(&keg, 2);
    let (_, forgotten) = large(&keg, 3);
    let small = b"small and put again";
    let small_kid = keg.objects().put_bytes(small).unwrap().kid().unwrap();
    keg.objects().sync().unwrap();
    let options = Options { grace_ms: Some(400), trash_ms: Some(3_600_000), ..at_once() };
    let first = run(&keg, &options);
    assert_eq!((first.garbage.objects, first.swept.objects), (4, 0), "{first:?}");
    assert!(first.next_ms.is_some());
    std::thread::sleep(Duration::from_millis(500));
    // Another process, which has not seen the collection.
    let other = Keg::open(keg.home()).unwrap();
    other.objects().put_bytes(&noise(1, 5000)).unwrap();
    other.objects().put_bytes(small).unwrap();
    other.objects().sync().unwrap();
    set(&other, "/named", named);
    let second = run(&keg, &options);
    assert_eq!(second.garbage.objects, 3, "{second:?}");
    assert!(!object_file(&keg, &forgotten).exists());
    for (keg, kid) in [(&keg, put_again), (&other, named_kid), (&keg, small_kid)] {
        assert!(keg.objects().kind(&kid).unwrap().is_some(), "{kid}");
    }
    std::thread::sleep(Duration::from_millis(500));
    run(&keg, &options);
    let third = run(&keg, &options);
    assert_eq!(third.garbage.objects, 0, "{third:?}");
    assert!(object_file(&keg, &named_kid).exists());
    check(&keg);
}

#[test]
fn a_lease_keeps_values_and_what_is_put_under_it() {
    let (_dir, keg) = new_keg();
    let (_, held) = large(&keg, 1);
    let dated = keg.objects().put_bytes(b"until tomorrow").unwrap().kid().unwrap();
    keg.objects().sync().unwrap();
    let lease = Lease::hold(&keg, "a test", &[held]).unwrap();
    let tomorrow = u64::try_from(keg::time::now_ms()).unwrap() + 86_400_000;
    let file = Lease::until(&keg, "a test", tomorrow, &[dated]).unwrap();
    std::thread::sleep(Duration::from_millis(5));
    let (_, in_flight) = large(&keg, 2);
    keg.objects().sync().unwrap();
    for _ in 0..3 {
        let report = run(&keg, &at_once());
        assert_eq!(report.leases, 2);
        assert!(object_file(&keg, &held).exists() && object_file(&keg, &in_flight).exists());
    }
    let missing = Lease::hold(&keg, "x", &[Kid::of_blob(b"never")]).unwrap_err();
    assert!(matches!(missing, StoreError::Missing { .. }));
    drop(lease);
    let report = run(&keg, &at_once());
    assert_eq!(report.leases, 1, "{report:?}");
    assert!(!object_file(&keg, &held).exists() && !object_file(&keg, &in_flight).exists());
    assert!(keg.objects().kind(&dated).unwrap().is_some());
    fs::remove_file(file).unwrap();
    run(&keg, &at_once());
    assert!(keg.objects().kind(&dated).unwrap().is_none());
}

#[test]
fn processes_with_old_indexes_find_what_is_kept_and_rely_on_nothing_that_is_gone() {
    let (_dir, keg) = new_keg();
    policy(&keg, "1 version");
    let mut kept = Vec::new();
    for n in 0..40u64 {
        let entry = keg.objects().put_bytes(&noise(n, 1500)).unwrap();
        if n % 4 == 0 {
            kept.push((n, entry.kid().unwrap()));
            set(&keg, &format!("/kept/{n}"), entry);
        }
        if n % 10 == 9 {
            // Segments of their own.
            run(&keg, &Options { grace_ms: Some(3_600_000), ..at_once() });
        }
    }
    let others: Vec<Keg> = (0..3).map(|_| Keg::open(keg.home()).unwrap()).collect();
    // The first has read, and so has the files open; the second has only the indexes.
    for (n, kid) in &kept {
        assert_eq!(others[0].objects().blob(kid).unwrap(), noise(*n, 1500));
    }
    let report = run(&keg, &at_once());
    assert!(report.log.0 > report.log.1 && report.swept.objects >= 30, "{report:?}");
    let sealed = || {
        let list = fs::read_dir(keg.home().join("log")).unwrap().flatten();
        list.filter(|entry| entry.path().extension().is_some_and(|e| e == "seg")).count()
    };
    assert_eq!(sealed(), 2, "all sealed segments are one by now");
    run(&keg, &at_once());
    for other in &others {
        for (n, kid) in &kept {
            assert_eq!(other.objects().blob(kid).unwrap(), noise(*n, 1500));
        }
    }
    // What is gone is put again, whatever the index says, and survives.
    for (other, n) in others.iter().zip([1u64, 2, 3]) {
        let entry = other.objects().put_bytes(&noise(n, 1500)).unwrap();
        set(other, &format!("/again/{n}"), entry.clone());
        let fresh = Keg::open(keg.home()).unwrap();
        assert_eq!(fresh.objects().blob(&entry.kid().unwrap()).unwrap(), noise(n, 1500));
    }
    for keg in others.iter().chain([&keg]) {
        set_number(keg, "/end", 1);
        check(keg);
    }
}

/// As services and people run it: segments are not rewritten for a few bytes. A tree that is
/// left in the log although its file is gone is nothing to rely on.
#[test]
fn a_tree_that_is_left_behind_is_not_relied_upon() {
    for waste_percent in [25, 100] {
        let (_dir, keg) = new_keg();
        policy(&keg, "1 version");
        let options =
            Options { grace_ms: Some(0), trash_ms: Some(0), waste_percent, ..Options::default() };
        let (entry, blob) = large(&keg, 5);
        let mut tree = keg::object::Tree::default();
        tree.entries.insert(keg::object::EntryName::new("file").unwrap(), entry);
        let entry = keg.objects().put_tree(&tree).unwrap();
        set(&keg, "/a", entry.clone());
        set_number(&keg, "/a", 1);
        set_number(&keg, "/a", 2);
        for _ in 0..3 {
            run(&keg, &options);
        }
        assert!(!object_file(&keg, &blob).exists());
        let other = Keg::open(keg.home()).unwrap();
        for keg in [&keg, &other] {
            let kid = entry.kid().unwrap();
            assert!(!keg.objects().retain(&kid).unwrap(), "its file is gone");
            keg.commit(Txn::new("t", "m").set(path("/b"), entry.clone())).unwrap_err();
        }
        check(&keg);
    }
}
