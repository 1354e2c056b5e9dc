//! Directories above 4096 names in a Keg: their bytes, and everything that follows references.

#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::{
    fs,
    io::{Cursor, Read},
    os::unix::fs::FileExt,
    path::Path,
};

use keg::{
    Keg, Kid, NamePath, Txn,
    fsck::fsck,
    gc::{self, collect},
    object::{Entry, EntryName, Kind, Tree},
    pack::{PackOptions, Which, pack},
    store::{Master, MemoryStore, Objects},
    testing::{at_once, noise},
    union::{Edit, edit},
};

fn path(text: &str) -> NamePath {
    text.parse().expect(text)
}

fn name(number: u64) -> EntryName {
    EntryName::new(format!("n-{number:07}")).unwrap()
}

/// Files that need not be there.
fn numbered(count: u64) -> Tree {
    let file = |number: u64| Entry::file(Kid::from_bytes([number as u8; 32]), number);
    Tree { entries: (0..count).map(|number| (name(number), file(number))).collect() }
}

/// A directory of files that are there, as `/big`.
fn big(keg: &Keg, count: u64) -> Entry {
    let put = |number: u64| keg.objects().put_bytes(&number.to_le_bytes()).unwrap();
    let tree = Tree { entries: (0..count).map(|number| (name(number), put(number))).collect() };
    keg.objects().put_tree(&tree).unwrap()
}

fn set(keg: &Keg, at: &str, entry: Entry) {
    keg.commit(Txn::new("t", "m").set(path(at), entry)).unwrap();
}

fn put(keg: &Keg, at: &str, bytes: &[u8]) {
    let entry = keg.objects().put_bytes(bytes).unwrap();
    set(keg, at, entry);
}

fn new_keg() -> (tempfile::TempDir, Keg) {
    let dir = tempfile::tempdir().unwrap();
    let keg = Keg::create(dir.path()).unwrap();
    (dir, keg)
}

fn check(keg: &Keg) {
    let report = fsck(keg, &mut |_| {}).unwrap();
    assert!(report.is_clean(), "{report:?}");
}

fn index_nodes(objects: &dyn Objects, kid: &Kid) -> Option<Vec<u8>> {
    Some(objects.get(kid).unwrap().bytes).filter(|bytes| bytes[0] == 2)
}

#[test]
fn golden_bytes_never_change() {
    let keg = Keg::in_memory();
    let mut text = String::new();
    for count in [4096, 4097, 60_000] {
        let kid = keg.objects().put_tree(&numbered(count)).unwrap().kid().unwrap();
        text += &format!("{count} {kid}\n");
        if count == 4097 {
            let bytes = index_nodes(keg.objects(), &kid).expect("it is split");
            text += &format!("{}\n", hex::encode(bytes));
        }
    }
    assert_eq!(text, include_str!("golden/shards.txt"));
}

/// Stores of both kinds, changed name by name and edited as values.
#[test]
fn both_stores_split_alike() {
    let bell = tempfile::NamedTempFile::new().unwrap();
    let dir = tempfile::tempdir().unwrap();
    let memory = MemoryStore::new(bell.path());
    let file = keg::store::FileStore::create(dir.path()).unwrap();
    let stores: [Box<dyn Master>; 2] = [Box::new(memory), Box::new(file)];
    let mut kids = Vec::new();
    for store in stores {
        let keg = Keg::with_store(dir.path(), store);
        let objects = keg.objects();
        let entry = big(&keg, 4096);
        set(&keg, "/big", entry);
        put(&keg, "/big/m", b"the 4097th");
        put(&keg, "/big/n-0001234", b"another");
        let split = keg.get(&path("/big")).unwrap().unwrap().kid().unwrap();
        assert!(index_nodes(objects, &split).is_some());
        assert_eq!(keg.list(&path("/big")).unwrap().len(), 4097);
        let edits = [("m", Edit::Remove), ("n-0001234", Edit::Remove)];
        let edited = edit(objects, &split, edits).unwrap().kid().unwrap();
        keg.commit(Txn::new("t", "m").remove(path("/big/m"))).unwrap();
        keg.commit(Txn::new("t", "m").remove(path("/big/n-0001234"))).unwrap();
        let whole = keg.get(&path("/big")).unwrap().unwrap().kid().unwrap();
        assert_eq!(whole, edited);
        assert!(index_nodes(objects, &whole).is_none(), "one object again");
        let changes: Vec<_> = keg.history(&path("/big/m")).map(|change| change.unwrap()).collect();
        assert_eq!(changes.len(), 2);
        kids.push((split, whole));
        keg.commit(Txn::new("t", "m").remove(path("/big"))).unwrap();
        assert_eq!(keg.get(&path("/big")).unwrap(), None);
        check(&keg);
    }
    assert_eq!(kids[0], kids[1]);
}

#[test]
fn older_programs_are_kept_out_from_the_first_split_directory_on() {
    let (dir, keg) = new_keg();
    let format = || fs::read_to_string(dir.path().join("format.json")).unwrap();
    set(&keg, "/big", big(&keg, 4096));
    assert!(!format().contains("shards"), "{}", format());
    put(&keg, "/big/one-more", b"x");
    assert!(format().contains(r#""incompat":["kid-checks","shards"]"#), "{}", format());
    check(&Keg::open(dir.path()).unwrap());
    let (other, keg) = new_keg();
    keg.objects().put_tree(&numbered(4097)).unwrap();
    let format = fs::read_to_string(other.path().join("format.json")).unwrap();
    assert!(format.contains(r#""incompat":["kid-checks","shards"]"#), "{format}");
}

/// A change deep in a namespace of 200,000 names costs its part of the directory.
#[test]
fn a_change_among_200_000_names_writes_little() {
    let (dir, keg) = new_keg();
    let tree = keg.objects().put_tree(&numbered(200_000)).unwrap();
    set(&keg, "/a/b/big", tree);
    keg.objects().sync().unwrap();
    let size = || {
        let log = fs::read_dir(dir.path().join("log")).unwrap();
        let segments =
            log.flatten().filter(|file| file.path().extension().is_some_and(|e| e == "seg"));
        segments.map(|file| file.metadata().unwrap().len()).sum::<u64>()
    };
    for (at, number) in [("/a/b/big/n-0123456", 1), ("/a/b/big/new", 2), ("/a/b/big/n-0000000", 3)]
    {
        let before = size();
        put(&keg, at, format!("value {number}").as_bytes());
        let wrote = size() - before;
        assert!(wrote < 128 << 10, "{at}: {wrote} bytes");
    }
}

/// Overwrites some bytes of the record that holds an object.
fn damage(home: &Path, bytes: &[u8]) {
    for file in fs::read_dir(home.join("log")).unwrap().flatten() {
        let whole = fs::read(file.path()).unwrap();
        let found = whole.windows(64).position(|window| window == &bytes[bytes.len() - 64..]);
        if let Some(at) = found {
            let open = fs::OpenOptions::new().write(true).open(file.path()).unwrap();
            open.write_all_at(b"damage", at as u64).unwrap();
            return;
        }
    }
    panic!("the object is not in the log");
}

#[test]
fn damaged_parts_are_named_with_the_paths_that_need_them_and_come_back() {
    let ((dir, keg), (_other, peer)) = (new_keg(), new_keg());
    for keg in [&keg, &peer] {
        set(keg, "/x/big", big(keg, 6000));
    }
    let kid = keg.get(&path("/x/big")).unwrap().unwrap().kid().unwrap();
    let index = index_nodes(keg.objects(), &kid).unwrap();
    // The last KID of the index node is that of the last leaf.
    let leaf = Kid::from_bytes(*index.last_chunk().unwrap());
    let bytes = keg.objects().get(&leaf).unwrap().bytes;
    drop(keg);
    damage(dir.path(), &bytes);
    let keg = Keg::open(dir.path()).unwrap();
    let report = fsck(&keg, &mut |_| {}).unwrap();
    let bad = report.damaged.iter().find(|damage| damage.kid == Some(leaf)).expect("the leaf");
    assert_eq!(bad.paths, ["/x/big"], "{report:?}");
    assert!(keg.list(&path("/x/big")).is_err(), "never served");
    assert!(keg.get(&path("/x/big/n-0000000")).unwrap().is_some(), "other parts are there");
    assert!(keg.get(&path("/x/big/n-0005999")).is_err());
    let repaired = gc::repair(&keg, &report, &[&Peer(peer)], &mut |_| {}).unwrap();
    assert!(repaired.is_complete(), "{repaired:?}");
    check(&keg);
    assert_eq!(keg.list(&path("/x/big")).unwrap().len(), 6000);
}

/// Another Keg, as a source of trees.
struct Peer(Keg);

impl gc::Source for Peer {
    fn name(&self) -> String {
        "peer".to_owned()
    }

    fn fetch(&self, kid: &Kid) -> Result<Option<Box<dyn Read + '_>>, gc::SourceError> {
        Ok(Some(Box::new(Cursor::new(self.0.objects().get(kid)?.bytes))))
    }
}

#[test]
fn garbage_goes_and_what_is_split_stays() {
    let (_dir, keg) = new_keg();
    let policy = serde_json::json!({"keep": "1 version"});
    keg.commit(Txn::new("t", "m").set_json(path("/-/gc.json"), policy)).unwrap();
    set(&keg, "/big", big(&keg, 6000));
    let old = keg.get(&path("/big")).unwrap().unwrap().kid().unwrap();
    for turn in 0..5u8 {
        put(&keg, "/big/n-0003000", &[turn; 50]);
    }
    let now = keg.get(&path("/big")).unwrap().unwrap().kid().unwrap();
    for _ in 0..3 {
        collect(&keg, &at_once(), &mut |_| {}).unwrap();
        check(&keg);
    }
    assert_eq!(keg.objects().tree(&now).unwrap().entries.len(), 6000);
    assert_eq!(keg.objects().kind(&old).unwrap(), None, "the old version's own nodes are gone");
    assert_eq!(keg.list(&path("/big")).unwrap().len(), 6000);
    let du = gc::du(&keg, &path("/big"), &keg.head().unwrap()).unwrap().unwrap();
    assert_eq!((du.total.files, du.entries.len()), (6000, 6000));
}

#[test]
fn large_files_of_split_directories_are_packed_against_their_predecessors() {
    let (_dir, keg) = new_keg();
    let mut tree = numbered(5000);
    let mut text = noise(1, 40_000);
    for turn in 0..3u8 {
        text[20_000] = turn;
        let entry = keg.objects().put_bytes(&text).unwrap();
        tree.entries.insert(name(2500), entry);
        for (_, entry) in tree.entries.iter_mut().filter(|(at, _)| **at != name(2500)) {
            *entry = Entry::symlink("x");
        }
        let entry = keg.objects().put_tree(&tree).unwrap();
        set(&keg, "/big", entry);
    }
    let options = PackOptions { which: Which::All, level: 1, ..PackOptions::default() };
    let report = pack(&keg, &options, &mut |_| {}).unwrap();
    assert_eq!((report.objects, report.counts.patched), (3, 2), "{report:?}");
    check(&keg);
    let entry = keg.get(&path("/big/n-0002500")).unwrap().unwrap();
    assert_eq!(keg.objects().blob(&entry.kid().unwrap()).unwrap(), text);
    assert_eq!(keg.objects().kind(&entry.kid().unwrap()).unwrap(), Some(Kind::Blob));
}
