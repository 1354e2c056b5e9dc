//! Collections: what is needed stays, what is not goes in its time, and what is gone is said to be.

#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::{fs, path::PathBuf, time::Duration};

use keg::{
    Keg, Kid, NamePath, NamesError, Txn, Version,
    fsck::fsck,
    gc::{GcError, Holder, Lease, Options, Report, collect},
    object::Entry,
    store::{Fault, FaultyStore, FileStore, StoreError},
    testing::{commit_of, noise},
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

/// Everything that is garbage goes at once, also from small logs.
fn at_once() -> Options {
    Options {
        grace_ms: Some(0),
        trash_ms: Some(0),
        seal_from: 0,
        waste_percent: 0,
        ..Options::default()
    }
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
fn old_versions_are_compacted_and_say_so() {
    let (_dir, keg) = new_keg();
    policy(&keg, "3 versions");
    for n in 0..10 {
        set_number(&keg, "/n", n);
    }
    let slow = keg.watch(&path("/n"), Some(4)).unwrap();
    let old = keg.version(2).unwrap();
    let newest = keg.head().unwrap().seq;
    let report = run(&keg, &at_once());
    run(&keg, &at_once());
    assert_eq!((report.newest, report.oldest), (newest, newest - 2), "{report:?}");
    let other = Keg::open(keg.home()).unwrap();
    for keg in [&keg, &other] {
        let error = keg.version(2).unwrap_err();
        assert!(matches!(error, NamesError::Compacted { seq: 2, oldest } if oldest == newest - 2));
        let error = keg.get_at(&path("/n"), &old).unwrap_err();
        assert!(matches!(error, NamesError::Compacted { .. }), "{error}");
        let error = keg.list_at(&path("/"), &old).unwrap_err();
        assert!(matches!(error, NamesError::Compacted { .. }), "{error}");
        let mut history = keg.history(&path("/n"));
        let seqs: Vec<u64> = history.by_ref().map(|change| change.unwrap().seq).collect();
        assert_eq!(seqs, [newest, newest - 1]);
        assert_eq!(history.compacted(), Some(newest - 2));
        match keg.watch(&path("/n"), Some(3)) {
            Err(WatchError::Compacted { since: 3, oldest, .. }) => assert_eq!(oldest, newest - 2),
            other => panic!("{:?}", other.err()),
        }
        assert!(keg.watch(&path("/n"), Some(newest - 2)).is_ok());
        assert!(matches!(keg.version(99).unwrap_err(), NamesError::NoVersion { .. }));
        for seq in newest - 2..=newest {
            assert_eq!(keg.version(seq).unwrap().seq, seq);
        }
        check(keg);
    }
    let mut slow = slow;
    let error = slow.try_next().unwrap_err();
    assert!(matches!(error, WatchError::Compacted { since: 4, .. }), "{error}");
}

#[test]
fn subtrees_keep_as_much_as_their_rules_say() {
    let (_dir, keg) = new_keg();
    let document = json!({"keep": "2 versions", "paths": {"/long": "all", "/short/long": "all"}});
    keg.commit(Txn::new("t", "m").set_json(path("/-/gc.json"), document)).unwrap();
    let mut versions = Vec::new();
    for n in 0..6 {
        let txn = Txn::new("t", "m").set_json(path("/long/n"), json!(n));
        let txn = txn.set_json(path("/short/n"), json!(n + 100));
        versions.push(keg.commit(txn.set_json(path("/short/long/n"), json!(n + 200))).unwrap());
    }
    run(&keg, &at_once());
    let report = run(&keg, &at_once());
    assert_eq!(report.garbage.objects, 0, "{report:?}");
    let keg = Keg::open(keg.home()).unwrap();
    for (n, version) in versions.iter().enumerate() {
        for (name, want) in [("/long/n", n), ("/short/long/n", n + 200)] {
            let entry = keg.get_at(&path(name), version).unwrap().unwrap();
            let bytes = keg.objects().blob(&entry.kid().unwrap()).unwrap();
            assert_eq!(bytes, want.to_string().as_bytes());
        }
        let short = keg.get_at(&path("/short/n"), version);
        if n >= 4 {
            let kid = short.unwrap().unwrap().kid().unwrap();
            assert_eq!(keg.objects().blob(&kid).unwrap(), (n + 100).to_string().as_bytes());
        } else if let Ok(Some(entry)) = short {
            // The directory is kept for what else is in it, the file is not.
            let error = keg.objects().blob(&entry.kid().unwrap()).unwrap_err();
            assert!(matches!(error, StoreError::Missing { .. }), "{error}");
        }
    }
    assert_eq!(keg.history(&path("/long/n")).count(), 6);
    let all = keg.watch(&NamePath::root(), Some(versions[2].seq));
    assert!(matches!(all.err(), Some(WatchError::Compacted { .. })));
    assert!(keg.watch(&path("/long"), Some(versions[2].seq)).is_ok());
    check(&keg);
    // Another rule does not bring back what is gone, and fsck does not miss it.
    policy(&keg, "all");
    run(&keg, &at_once());
    check(&keg);
}

#[test]
fn a_value_s_history_is_cut_where_the_rule_says() {
    let (_dir, keg) = new_keg();
    policy(&keg, "3 versions");
    let (mut parents, mut commits) = (vec![], vec![]);
    for n in 0..8 {
        let (entry, _) = large(&keg, n);
        let tree = keg::object::Tree {
            entries: [(keg::object::EntryName::new("f").unwrap(), entry)].into(),
        };
        let tree = keg.objects().put_tree(&tree).unwrap().kid().unwrap();
        let commit = keg.objects().put_commit(&commit_of(tree, parents, "m")).unwrap();
        set(&keg, "/x/app", Entry::commit(commit));
        parents = vec![commit];
        commits.push(commit);
    }
    run(&keg, &at_once());
    run(&keg, &at_once());
    let keg = Keg::open(keg.home()).unwrap();
    check(&keg);
    for (n, kid) in commits.iter().enumerate() {
        assert_eq!(keg.objects().kind(kid).unwrap().is_some(), n >= 5, "commit {n}");
    }
    assert!(keg.parent(&commits[6]).unwrap().is_some());
    assert!(keg.parent(&commits[4]).unwrap().is_none());
    keg.parent(&Kid::of_blob(b"never")).unwrap_err();
}

#[test]
fn a_dry_run_changes_nothing_and_explains() {
    let (_dir, keg) = new_keg();
    policy(&keg, "2 versions");
    let (named, named_kid) = large(&keg, 1);
    let (older, older_kid) = large(&keg, 2);
    let (_, leased) = large(&keg, 3);
    let (_, orphan) = large(&keg, 4);
    set(&keg, "/x/f", older);
    set(&keg, "/x/f", named);
    let _lease = Lease::hold(&keg, "a build", &[leased]).unwrap();
    let before = fs::read(keg.home().join("format.json")).unwrap();
    let report = run(&keg, &Options { dry_run: true, ..Options::default() });
    assert!(report.garbage.bytes >= 5000 && report.dry_run, "{report:?}");
    assert!(!keg.home().join("gc").exists() && object_file(&keg, &orphan).exists());
    assert_eq!(fs::read(keg.home().join("format.json")).unwrap(), before);
    let why = |kid: Kid| report.kept.iter().find(|kept| kept.kid == kid).unwrap().clone();
    assert_eq!((why(named_kid).holder, why(named_kid).path), (Holder::Name, "/x/f".to_owned()));
    let seq = keg.head().unwrap().seq - 1;
    assert_eq!(why(older_kid).holder, Holder::Version { seq });
    assert_eq!(why(leased).holder, Holder::Lease { what: "a build".to_owned() });
    assert!(report.kept.iter().all(|kept| kept.kid != orphan));
    let text = serde_json::to_string(&report).unwrap();
    assert_eq!(serde_json::from_str::<Report>(&text).unwrap(), report);
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

#[test]
fn what_cannot_be_read_stops_the_collection() {
    for fault in [Fault::Missing, Fault::ReadError, Fault::BitFlip] {
        for healthy in [0, 1, 3, 6] {
            let (dir, keg) = new_keg();
            set_number(&keg, "/a/b/c", 1);
            set_number(&keg, "/a/d", 2);
            let (_, orphan) = large(&keg, 1);
            keg.objects().sync().unwrap();
            drop(keg);
            let store = FileStore::open(dir.path()).unwrap();
            let faulty = FaultyStore::new(store, fault, healthy);
            let keg = Keg::with_store(dir.path(), Box::new(faulty));
            let error = collect(&keg, &at_once(), &mut |_| {}).unwrap_err();
            let text = error.to_string();
            assert!(!text.is_empty(), "{fault:?} after {healthy}");
            let keg = Keg::open(dir.path()).unwrap();
            assert!(object_file(&keg, &orphan).exists(), "{fault:?} after {healthy}: {text}");
            check(&keg);
        }
    }
}

#[test]
fn one_collection_at_a_time_and_not_without_a_policy_that_is_understood() {
    let (_dir, keg) = new_keg();
    run(&keg, &Options::default());
    let lock = fs::File::open(keg.home().join("gc/lock")).unwrap();
    rustix::fs::flock(&lock, rustix::fs::FlockOperation::LockExclusive).unwrap();
    let error = collect(&keg, &Options::default(), &mut |_| {}).unwrap_err();
    assert!(matches!(error, GcError::Busy), "{error}");
    drop(lock);
    policy(&keg, "some");
    let error = collect(&keg, &Options::default(), &mut |_| {}).unwrap_err();
    assert!(error.to_string().contains("/-/gc.json"), "{error}");
    let error = collect(&Keg::in_memory(), &Options::default(), &mut |_| {}).unwrap_err();
    assert!(matches!(error, GcError::NoFiles), "{error}");
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
