//! The namespace on files: commits, conflicts, histories, watches, streams.

#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::{io::Write, time::Duration};

use keg::{
    CommitError, Expected, Keg, Kid, NamePath, NamesError, Txn,
    object::{Entry, EntryName, Tree, Value},
    stream::Piece,
    testing::commit_of,
};
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
fn nothing_is_set_or_removed_below_a_value_that_stays_as_it_is() {
    both(|keg| {
        let tree = tree_of(keg, &[(b"f", "text")]);
        let commit = commit_of(tree.kid().unwrap(), Vec::new(), "first");
        let source = keg.objects().put_commit(&commit).unwrap();
        let (kid, reference) = (Some(source), "/x".into());
        let value = Value::Pointer { source: "keg+http://there".into(), reference, kid };
        let pointer = Entry { value, ..Entry::commit(source) };
        let txn = Txn::new("t", "m").set(path("/a/c"), Entry::commit(source));
        keg.commit(txn.set(path("/a/p"), pointer).set_json(path("/a/f"), json!(1))).unwrap();
        let before = keg.head().unwrap();
        for (name, at, found) in [
            ("/a/c/f", "/a/c", "commit"),
            ("/a/c/not/there", "/a/c", "commit"),
            ("/a/p/f", "/a/p", "pointer"),
        ] {
            let error = keg.commit(Txn::new("t", "m").remove(path(name))).unwrap_err();
            let want = format!(
                "{name} cannot be removed: {at} is a {found}, which stays as it is; remove {at} \
                 whole, or set it to another value"
            );
            assert_eq!(error.to_string(), want);
            let error = keg.commit(Txn::new("t", "m").set_json(path(name), json!(1))).unwrap_err();
            let want = format!("{name} cannot be set: {at} is a {found}, not a directory");
            assert_eq!(error.to_string(), want);
        }
        // All or nothing.
        let txn = Txn::new("t", "m").remove(path("/a/f")).remove(path("/a/c/f"));
        assert!(matches!(keg.commit(txn), Err(CommitError::Below { .. })));
        // Where nothing can be, nothing is to be removed.
        keg.commit(Txn::new("t", "m").remove(path("/a/f/below"))).unwrap();
        assert_eq!(keg.head().unwrap(), before);
        // Whole, they go; and then there is nothing below.
        let whole = Txn::new("t", "m").remove(path("/a/c")).remove(path("/a/c/f"));
        keg.commit(whole.remove(path("/a/p"))).unwrap();
        assert_eq!(keg.get(&path("/a/c")).unwrap(), None);
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

#[test]
fn a_prefix_that_could_be_two_is_refused_with_both() {
    both(|keg| {
        // Their KIDs share the first eight digits.
        let kids = ["41092", "52490"].map(|text| keg.objects().put_bytes(text.as_bytes()).unwrap());
        let mut kids = kids.map(|entry| entry.kid().unwrap());
        kids.sort();
        let Err(NamesError::Ambiguous { candidates, .. }) =
            keg.resolve(&"K-ca89fb24".parse().unwrap())
        else {
            panic!("two objects start so")
        };
        assert_eq!(candidates, kids);
        let longer = format!("K-{}", &kids[0].to_hex()[..20]);
        assert_eq!(keg.resolve(&longer.parse().unwrap()).unwrap(), kids[0]);
        let error = keg.resolve(&"K-00000000".parse().unwrap()).unwrap_err();
        assert!(matches!(error, NamesError::Unknown { .. }), "{error}");
    });
}

#[test]
fn only_values_that_are_here_can_be_set() {
    both(|keg| {
        let set = |entry| keg.commit(Txn::new("t", "m").set(path("/x"), entry)).map(|v| v.seq);
        let absent = set(Entry::file(Kid::of_blob(b"absent"), 6));
        assert!(matches!(absent, Err(CommitError::MissingValue { .. })), "{absent:?}");
        let blob = keg.objects().put_bytes(b"a blob").unwrap();
        let wrong = set(Entry::commit(blob.kid().unwrap()));
        assert!(matches!(wrong, Err(CommitError::Store(_))), "{wrong:?}");
        assert_eq!(keg.head().unwrap().seq, 0);
        assert_eq!(set(blob).unwrap(), 1);
    });
}

fn tree_of(keg: &Keg, names: &[(&[u8], &str)]) -> Entry {
    let entries = names.iter().map(|(name, text)| {
        let file = keg.objects().put_bytes(text.as_bytes()).unwrap();
        (EntryName::new(*name).unwrap(), file)
    });
    keg.objects().put_tree(&Tree { entries: entries.collect() }).unwrap()
}

#[test]
fn changes_are_leaves_below_trees_and_whole_values_else() {
    both(|keg| {
        let mut watch = keg.watch(&NamePath::root(), None).unwrap();
        let mut changed = |entry: Entry, at: &str| {
            keg.commit(Txn::new("t", "m").set(path(at), entry)).unwrap();
            let changes = watch.try_next().unwrap();
            changes.into_iter().map(|change| change.path.to_string()).collect::<Vec<_>>()
        };
        let old = tree_of(keg, &[(b"a", "1"), (b"b", "2"), (b"gone", "3")]);
        let new = tree_of(keg, &[(b"a", "1"), (b"b", "two"), (b"new", "3")]);
        assert_eq!(changed(old.clone(), "/d/t"), ["/d"], "a whole new tree is one change");
        assert_eq!(changed(new.clone(), "/d/t"), ["/d/t/b", "/d/t/gone", "/d/t/new"]);
        let mut attrs = new.clone();
        attrs.attrs.uid = 7;
        assert_eq!(changed(attrs, "/d/t"), ["/d/t"]);
        let odd = tree_of(keg, &[(b"a", "1"), (b"\xff", "2")]);
        assert_eq!(changed(odd, "/d/t"), ["/d/t"], "a name that no path can say");
        for tree in [old, new] {
            let commit = commit_of(tree.kid().unwrap(), vec![], "m");
            let commit = keg.objects().put_commit(&commit).unwrap();
            assert_eq!(changed(Entry::commit(commit), "/d/c"), ["/d/c"], "commits are values");
        }
        assert!(keg.get(&path("/d/c/new")).unwrap().is_some(), "but are walked through");
        let below = keg.commit(Txn::new("t", "m").remove(path("/d/c/new")));
        assert!(below.unwrap_err().to_string().contains("/d/c is a commit"), "but not changed");
        let below = keg.commit(Txn::new("t", "m").set_json(path("/d/c/new"), json!(1)));
        assert!(below.unwrap_err().to_string().contains("/d/c is a commit"));
    });
}

#[test]
fn one_transaction_is_one_version_with_its_reason() {
    both(|keg| {
        let large = json!({"text": "x".repeat(5000)});
        let txn = Txn::new("Ann <ann@example.org>", "why")
            .set_json(path("/a"), json!(1))
            .set_json(path("/a"), json!(2))
            .set_json(path("/big.json"), large.clone())
            .extra("by", json!("test"));
        let version = keg.commit(txn).unwrap();
        assert_eq!(version.seq, 1);
        assert_eq!(keg.get_json(&path("/a")).unwrap(), Some(json!(2)), "the later step wins");
        assert_eq!(keg.get_json(&path("/big.json")).unwrap(), Some(large));
        let commit = keg.objects().commit(&version.commit).unwrap();
        assert_eq!(
            (commit.author.as_str(), commit.message.as_str()),
            ("Ann <ann@example.org>", "why")
        );
        assert_eq!(commit.extra["by"], "test");
        assert_eq!(commit.parents, [keg.version(0).unwrap().commit]);
        let wrong = keg.read_json::<Vec<u8>>(&path("/a")).unwrap_err();
        assert!(wrong.to_string().starts_with("/a is not the JSON document"), "{wrong}");
        assert!(keg.get_json(&NamePath::root()).unwrap_err().to_string().contains("directory"));
    });
}

#[test]
fn histories_follow_a_path_into_commits_and_through_gaps() {
    both(|keg| {
        let set = |at: &str, entry: Entry| {
            keg.commit(Txn::new("t", "m").set(path(at), entry)).unwrap().seq
        };
        let release = |text: &str| {
            let tree = tree_of(keg, &[(b"x", text), (b"same", "same")]);
            let commit = commit_of(tree.kid().unwrap(), vec![], text);
            Entry::commit(keg.objects().put_commit(&commit).unwrap())
        };
        let seqs = |at: &str| -> Vec<u64> {
            keg.history(&path(at)).map(|change| change.unwrap().seq).collect()
        };
        let first = set("/app/r", release("1"));
        set("/app/other", release("1"));
        let second = set("/app/r", release("2"));
        let gone = keg.commit(Txn::new("t", "m").remove(path("/app"))).unwrap().seq;
        set("/else", release("1"));
        let back = set("/app/r", release("2"));
        assert_eq!(seqs("/app/r/x"), [back, gone, second, first]);
        assert_eq!(seqs("/app/r/same"), [back, gone, first]);
        assert_eq!(seqs("/app/r"), [back, gone, second, first]);
        assert_eq!(seqs("/").len(), 6);
        assert_eq!(seqs("/nothing/there"), [] as [u64; 0]);
        let error = keg.version(99).unwrap_err().to_string();
        assert!(error.contains("no version number 99"), "{error}");
    });
}
