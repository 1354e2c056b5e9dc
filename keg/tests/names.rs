//! The namespace on files: commits, conflicts, histories, watches, streams.

#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::{io::Write, time::Duration};

use keg::{CommitError, Expected, Keg, NamePath, Txn, object::Entry, stream::Piece};
use serde_json::json;

fn path(text: &str) -> NamePath {
    text.parse().expect(text)
}

fn new_keg() -> (tempfile::TempDir, Keg) {
    let dir = tempfile::tempdir().unwrap();
    let keg = Keg::create(dir.path()).unwrap();
    (dir, keg)
}

fn both(check: impl Fn(&Keg)) {
    let (_dir, keg) = new_keg();
    check(&keg);
    check(&Keg::in_memory());
}

#[test]
fn what_is_set_is_there_at_once_and_after_reopening() {
    let (dir, keg) = new_keg();
    let version = keg
        .commit(
            Txn::new("test", "two")
                .set_json(path("/a/b.json"), json!({"x": 1}))
                .set(path("/c"), Entry::symlink("a")),
        )
        .unwrap();
    assert_eq!(version.seq, 1);
    let again = Keg::open(dir.path()).unwrap();
    for keg in [&keg, &again] {
        assert_eq!(keg.get_json(&path("/a/b.json")).unwrap(), Some(json!({"x": 1})));
        let names: Vec<_> = keg.list(&NamePath::root()).unwrap().into_iter().map(|n| n.0).collect();
        assert_eq!(names, ["a", "c"]);
        assert_eq!(keg.head().unwrap(), version);
        assert_eq!(keg.get(&path("/none/x")).unwrap(), None);
    }
}

#[test]
fn another_process_sees_a_commit_without_reopening() {
    let (dir, keg) = new_keg();
    let other = Keg::open(dir.path()).unwrap();
    for n in 0..5 {
        keg.commit(Txn::new("t", "m").set_json(path("/n.json"), json!(n))).unwrap();
        assert_eq!(other.get_json(&path("/n.json")).unwrap(), Some(json!(n)));
        other.commit(Txn::new("t", "m").set_json(path("/m.json"), json!(n))).unwrap();
        assert_eq!(keg.get_json(&path("/m.json")).unwrap(), Some(json!(n)));
    }
    assert_eq!(keg.head().unwrap().seq, 10);
}

#[test]
fn expectations_decide_whether_a_transaction_is_made() {
    both(|keg| {
        let set = |n: i32, expected| {
            let txn = Txn::new("t", "m").set_json(path("/d/x.json"), json!(n));
            keg.commit(txn.expect(path("/d/x.json"), expected))
        };
        set(1, Expected::Absent).unwrap();
        let Err(CommitError::Conflict { path: at, expected, found }) = set(2, Expected::Absent)
        else {
            panic!("the name is there")
        };
        assert_eq!((at, expected), (path("/d/x.json"), Expected::Absent));
        let kid = found.unwrap().kid().unwrap();
        set(2, Expected::Kid(kid)).unwrap();
        let text = set(3, Expected::Kid(kid)).unwrap_err().to_string();
        assert!(text.contains("/d/x.json") && text.contains(&kid.to_string()), "{text}");
        assert_eq!(keg.get_json(&path("/d/x.json")).unwrap(), Some(json!(2)));
    });
}

#[test]
fn directories_appear_and_vanish() {
    both(|keg| {
        let set = |p: &str| keg.commit(Txn::new("t", "m").set_json(path(p), json!(1))).unwrap();
        let remove = |p: &str| keg.commit(Txn::new("t", "m").remove(path(p))).unwrap();
        set("/a/b/c/d");
        set("/a/x");
        remove("/a/b/c/d");
        assert_eq!(keg.get(&path("/a/b")).unwrap(), None);
        assert!(keg.get(&path("/a/x")).unwrap().is_some());
        let before = keg.head().unwrap();
        assert_eq!(remove("/nothing/here"), before, "what changes nothing makes no version");
        remove("/a");
        assert_eq!(keg.list(&NamePath::root()).unwrap(), []);
        set("/f");
        let below = keg.commit(Txn::new("t", "m").set_json(path("/f/g"), json!(1)));
        assert!(matches!(below, Err(CommitError::NotADirectory { .. })), "{below:?}");
        let root = keg.commit(Txn::new("t", "m").remove(NamePath::root()));
        assert!(matches!(root, Err(CommitError::Root)), "{root:?}");
    });
}

#[test]
fn a_watch_sees_every_change_in_order_and_can_be_resumed() {
    both(|keg| {
        let mut watch = keg.watch(&path("/w"), None).unwrap();
        assert_eq!(watch.try_next().unwrap(), []);
        for n in 0..3 {
            keg.commit(Txn::new("t", "m").set_json(path("/w/x"), json!(n))).unwrap();
            keg.commit(Txn::new("t", "m").set_json(path("/other"), json!(n))).unwrap();
        }
        keg.commit(Txn::new("t", "m").remove(path("/w/x"))).unwrap();
        let changes = watch.wait(Duration::from_secs(1)).unwrap();
        let seqs: Vec<_> =
            changes.iter().map(|c| (c.seq, c.old.is_some(), c.new.is_some())).collect();
        assert_eq!(seqs, [(1, false, true), (3, true, true), (5, true, true), (7, true, false)]);
        let mut resumed = keg.watch(&path("/w"), Some(3)).unwrap();
        assert_eq!(resumed.try_next().unwrap(), changes[2..]);
        assert_eq!(resumed.seq(), 7);
        assert!(keg.watch(&path("/w"), Some(99)).is_err());
    });
}

#[tokio::test]
async fn a_watch_wakes_when_another_process_commits() {
    let (dir, keg) = new_keg();
    let other = Keg::open(dir.path()).unwrap();
    let mut watch = keg.watch(&NamePath::root(), None).unwrap();
    let nothing = tokio::time::timeout(Duration::from_millis(20), watch.next()).await;
    assert!(nothing.is_err());
    let (changes, _) = tokio::join!(watch.next(), async {
        tokio::time::sleep(Duration::from_millis(20)).await;
        other.commit(Txn::new("t", "m").set_json(path("/x"), json!(1))).unwrap()
    });
    assert_eq!(changes.unwrap()[0].path, path("/x"));
}

#[tokio::test]
async fn a_stream_is_followed_to_its_seal() {
    let (_dir, keg) = new_keg();
    let streams = keg.streams();
    let mut writer = streams.create("build-1").unwrap();
    let mut reader = streams.open("build-1").unwrap();
    assert_eq!(reader.try_next().unwrap(), Piece::Pending);
    writer.line("one").unwrap();
    assert_eq!(reader.next().await.unwrap(), Some(b"one\n".to_vec()));
    writer.write_all(b"two\n").unwrap();
    let (next, entry) = tokio::join!(reader.next(), async { streams.seal("build-1").unwrap() });
    assert_eq!(next.unwrap(), Some(b"two\n".to_vec()));
    assert_eq!(reader.next().await.unwrap(), None);
    assert_eq!(keg.objects().blob(&entry.kid().unwrap()).unwrap(), b"one\ntwo\n");
    assert!(streams.create("build-1").is_err());
    assert_eq!(streams.seal("build-1").unwrap(), entry);
    let mut tail = streams.open("build-1").unwrap().from_last_lines(1).unwrap();
    assert_eq!(tail.try_next().unwrap(), Piece::Bytes(b"two\n".to_vec()));
    for bad in ["", "../x", "a.b", "A", &"a".repeat(81)] {
        assert!(streams.create(bad).is_err(), "{bad}");
    }
}

#[test]
fn histories_are_newest_first() {
    both(|keg| {
        for n in 0..4 {
            keg.commit(Txn::new("t", "m").set_json(path("/h"), json!(n))).unwrap();
            keg.commit(Txn::new("t", "m").set_json(path("/i"), json!(n))).unwrap();
        }
        let seqs: Vec<u64> = keg.history(&path("/h")).map(|c| c.unwrap().seq).collect();
        assert_eq!(seqs, [7, 5, 3, 1]);
    });
}

#[test]
fn large_and_small_blobs_round_trip_and_are_not_written_twice() {
    both(|keg| {
        for size in [0, 1, 2048, 2049, 1 << 20, (1 << 20) + 1, 3 << 20] {
            let bytes: Vec<u8> = (0..size).map(|n| (n / 7) as u8).collect();
            let entry = keg.objects().put_bytes(&bytes).unwrap();
            let kid = entry.kid().unwrap();
            assert_eq!(keg.objects().blob(&kid).unwrap(), bytes, "{size}");
            keg.objects().sync().unwrap();
            assert_eq!(keg.objects().put_bytes(&bytes).unwrap(), entry);
            assert_eq!(keg.objects().blob_size(&kid).unwrap(), size as u64);
            let mut read = Vec::new();
            keg.objects().open_blob(&kid).unwrap().read_to_end(&mut read).unwrap();
            assert_eq!(read, bytes);
            let prefix = kid.short().parse().unwrap();
            assert_eq!(keg.resolve(&prefix).unwrap(), kid);
        }
    });
}
