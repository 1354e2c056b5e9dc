//! One conformance suite for all stores: whoever implements [`Master`] passes it.
//!
//! It is compiled into the library because stores live in several crates; nothing calls it but
//! tests. A failed expectation is a panic that says which.

use std::io::{Read, Seek, SeekFrom};

use crate::{
    Kid,
    gc::Options,
    names::CommitError,
    object::{Commit, DecodeError, Entry, EntryName, Kind, Tree},
    store::{Advance, Audited, INLINE_MAX, Master, Object, Objects, Root, StoreError},
};

/// Blob sizes around everything that could treat them differently.
const SIZES: [usize; 9] = [
    0,
    1,
    INLINE_MAX - 1,
    INLINE_MAX,
    INLINE_MAX + 1,
    (1 << 20) - 1,
    1 << 20,
    (1 << 20) + 1,
    (5 << 20) / 2,
];

/// Runs the whole suite, each part on a store of its own that `make` makes.
///
/// # Panics
/// If the store does not conform.
pub fn conforms<M: Master>(make: &mut dyn FnMut() -> M) {
    blobs_of_all_sizes(&make());
    blobs_are_read_from_anywhere(&make());
    trees_and_commits(&make());
    only_canonical_bytes(&make());
    what_is_missing(&make());
    prefixes(&make());
    large_directories(&make());
    walking(&make());
    roots(&make());
    auditing(&make());
}

/// Bytes that look alike nowhere, `seed` apart from each other.
pub fn noise(seed: u64, len: usize) -> Vec<u8> {
    let mut bytes = vec![0; len];
    blake3::Hasher::new().update(&seed.to_le_bytes()).finalize_xof().fill(&mut bytes);
    bytes
}

/// A collection that takes everything at once that nothing needs, also from small logs, and has
/// nothing in the trash afterwards but that.
pub fn at_once() -> Options {
    Options {
        grace_ms: Some(0),
        trash_ms: Some(0),
        seal_from: 0,
        waste_percent: 0,
        ..Options::default()
    }
}

/// A commit of a tree, made at time 0.
pub fn commit_of(tree: Kid, parents: Vec<Kid>, message: &str) -> Commit {
    Commit {
        tree,
        parents,
        author: "Test <test@example.org>".to_owned(),
        time_ms: 0,
        message: message.to_owned(),
        extra: serde_json::Map::new(),
    }
}

fn blobs_of_all_sizes(store: &dyn Objects) {
    for (seed, size) in SIZES.into_iter().enumerate() {
        let bytes = noise(seed as u64, size);
        let kid = store.put(Kind::Blob, &bytes).expect("a put");
        assert_eq!(kid, Kid::of_blob(&bytes), "a blob's KID is its plain BLAKE3");
        check_blob(store, &kid, &bytes);
        let streamed = store.put_blob(&mut bytes.as_slice()).expect("a streamed put");
        assert_eq!(streamed, (kid, size as u64), "both puts give the same KID");
        store.sync().expect("a sync");
        check_blob(store, &kid, &bytes);
        assert_eq!(store.put(Kind::Blob, &bytes).expect("a put again"), kid);
        store.sync().expect("a sync of nothing new");
        check_blob(store, &kid, &bytes);
    }
    let zeros = vec![0; 3 << 20];
    let kid = store.put(Kind::Blob, &zeros).expect("a put of zeros");
    store.sync().expect("a sync");
    check_blob(store, &kid, &zeros);
}

fn check_blob(store: &dyn Objects, kid: &Kid, bytes: &[u8]) {
    let object = store.get(kid).expect("what was put is there");
    assert!(object == Object { kind: Kind::Blob, bytes: bytes.to_vec() }, "get gives the bytes");
    assert_eq!(store.blob_size(kid).expect("a size"), bytes.len() as u64);
    assert_eq!(store.kind(kid).expect("a kind"), Some(Kind::Blob));
    let mut read = Vec::new();
    let mut reader = store.open_blob(kid).expect("what was put can be opened");
    reader.read_to_end(&mut read).expect("a blob can be read");
    assert!(read == bytes, "a reader gives the bytes");
}

fn blobs_are_read_from_anywhere(store: &dyn Objects) {
    for size in [INLINE_MAX, 300_000] {
        let bytes = noise(7, size);
        let kid = store.put(Kind::Blob, &bytes).expect("a put");
        let mut reader = store.open_blob(&kid).expect("an opened blob");
        assert_eq!(reader.seek(SeekFrom::End(0)).expect("a seek"), size as u64);
        for at in [size / 2, 10, size - 1, 0] {
            reader.seek(SeekFrom::Start(at as u64)).expect("a seek");
            let mut byte = [0];
            reader.read_exact(&mut byte).expect("a byte");
            assert_eq!(byte[0], bytes[at], "byte {at} of {size}");
        }
        reader.seek(SeekFrom::Start(size as u64 + 5)).expect("a seek beyond the end");
        assert_eq!(reader.read(&mut [0; 4]).expect("a read beyond the end"), 0);
    }
}

fn small_tree(store: &dyn Objects) -> (Tree, Entry) {
    let mut tree = Tree::default();
    let file = store.put_bytes(b"hello\n").expect("a put");
    tree.entries.insert(EntryName::new("file").expect("a name"), file);
    tree.entries.insert(EntryName::new("link").expect("a name"), Entry::symlink("file"));
    let entry = store.put_tree(&tree).expect("a tree");
    (tree, entry)
}

fn trees_and_commits(store: &dyn Objects) {
    let (tree, entry) = small_tree(store);
    let kid = entry.kid().expect("a tree has a KID");
    assert_eq!(store.tree(&kid).expect("the tree"), tree);
    assert_eq!(store.tree_entry(&kid).expect("its entry"), entry);
    let commit = commit_of(kid, vec![], "first");
    let first = store.put_commit(&commit).expect("a commit");
    assert_eq!(store.commit(&first).expect("the commit"), commit);
    store.sync().expect("a sync");
    assert_eq!(store.commit(&first).expect("the commit after a sync"), commit);
    let wrong = [store.commit(&kid).err(), store.tree(&first).err(), store.blob(&kid).err()];
    for error in wrong {
        assert!(matches!(error, Some(StoreError::WrongKind { .. })), "{error:?}");
    }
    for kid in [&kid, &first] {
        let errors = [store.open_blob(kid).err(), store.blob_size(kid).err()];
        for error in errors {
            assert!(matches!(error, Some(StoreError::WrongKind { .. })), "{error:?}");
        }
    }
    // The bytes of a tree are a fine blob, with another KID.
    let bytes = store.get(&kid).expect("the tree").bytes;
    assert_ne!(store.put(Kind::Blob, &bytes).expect("a put"), kid, "no blob passes for a tree");
}

fn large_directories(store: &dyn Objects) {
    let name = |number: u32| EntryName::new(format!("link-{number:05}")).expect("a name");
    let links = (0..5000).map(|number| (name(number), Entry::symlink("x")));
    let mut tree = Tree { entries: links.collect() };
    let entry = store.put_tree(&tree).expect("a large tree");
    let kid = entry.kid().expect("a tree has a KID");
    assert_eq!(store.tree(&kid).expect("the tree"), tree);
    assert_eq!(store.tree_entry(&kid).expect("its entry"), entry);
    let found = store.walk(&kid, "link-04321").expect("a walk");
    assert_eq!(found, Some(Entry::symlink("x")));
    tree.entries.remove(&name(77));
    let less = store.put_tree(&tree).expect("a tree").kid().expect("a KID");
    let (before, after) = store.differing(&kid, &less).expect("what differs");
    assert!(before.entries.len() < 4096, "only some of its parts are read");
    assert_eq!(before.entries.len(), after.entries.len() + 1);
    let mut bytes = store.get(&kid).expect("its first node").bytes;
    bytes.push(0);
    let error = store.put(Kind::Tree, &bytes).expect_err("bytes that are not canonical");
    assert!(matches!(error, StoreError::Invalid { .. }), "{error:?}");
}

fn only_canonical_bytes(store: &dyn Objects) {
    let mut trailing = Tree::default().encode().expect("an empty tree");
    trailing.push(0);
    let cases: [(Kind, &[u8]); 5] = [
        (Kind::Tree, b""),
        (Kind::Tree, b"hello"),
        (Kind::Tree, &trailing),
        (Kind::Commit, b""),
        (Kind::Commit, &trailing),
    ];
    for (kind, bytes) in cases {
        let error = store.put(kind, bytes).expect_err("bytes that are not canonical");
        assert!(matches!(error, StoreError::Invalid { .. }), "{error:?}");
    }
    assert_eq!(Tree::decode(&trailing), Err(DecodeError::Trailing(1)));
}

fn what_is_missing(store: &dyn Objects) {
    let kid = Kid::of_blob(b"never stored");
    let errors = [store.get(&kid).err(), store.open_blob(&kid).err(), store.blob_size(&kid).err()];
    for error in errors {
        assert!(matches!(error, Some(StoreError::Missing { kid: k }) if k == kid), "{error:?}");
    }
    assert_eq!(store.kind(&kid).expect("a kind"), None);
    let mut broken = Broken(3);
    store.put_blob(&mut broken).expect_err("a reader that fails");
    assert_eq!(store.kind(&kid).expect("a kind"), None);
}

/// Gives some megabytes, then fails.
struct Broken(usize);

impl Read for Broken {
    fn read(&mut self, bytes: &mut [u8]) -> std::io::Result<usize> {
        self.0 = self.0.checked_sub(1).ok_or_else(|| std::io::Error::other("a torn cable"))?;
        Ok(bytes.len())
    }
}

fn prefixes(store: &dyn Objects) {
    for size in [10, INLINE_MAX + 1] {
        let kid = store.put(Kind::Blob, &noise(9, size)).expect("a put");
        for digits in [8, 20, 64] {
            let prefix = format!("K-{}", &kid.to_hex()[..digits]).parse().expect("a prefix");
            assert_eq!(store.candidates(&prefix).expect("candidates"), [kid], "{size} {digits}");
        }
        store.sync().expect("a sync");
        let prefix = kid.short().parse().expect("a prefix");
        assert_eq!(store.candidates(&prefix).expect("candidates"), [kid]);
    }
    let none = Kid::of_blob(b"never stored").short().parse().expect("a prefix");
    assert_eq!(store.candidates(&none).expect("candidates"), []);
}

fn walking(store: &dyn Objects) {
    let (_, below) = small_tree(store);
    let tree = below.kid().expect("a KID");
    let commit = store.put_commit(&commit_of(tree, vec![], "m")).expect("a commit");
    let mut top = Tree::default();
    top.entries.insert(EntryName::new("dir").expect("a name"), below.clone());
    top.entries.insert(EntryName::new("commit").expect("a name"), Entry::commit(commit));
    let top = store.put_tree(&top).expect("a tree");
    let kid = top.kid().expect("a KID");
    let file = Some(Kid::of_blob(b"hello\n"));
    for (path, want) in [
        ("", Some(kid)),
        ("dir", Some(tree)),
        ("commit", Some(commit)),
        ("dir/file", file),
        ("/commit/file", file),
        ("dir/none", None),
        ("dir/file/below", None),
        ("none/below", None),
    ] {
        let found = store.walk(&kid, path).expect("a walk");
        assert_eq!(found.and_then(|entry| entry.kid()), want, "{path:?}");
    }
}

fn roots(store: &dyn Master) {
    let first = store.latest().expect("a new store has version 0");
    let objects: &dyn Objects = store;
    assert_eq!(first.seq, 0);
    let empty = objects.commit(&first.commit).expect("version 0 is there").tree;
    assert_eq!(objects.tree(&empty).expect("its tree is there"), Tree::default());
    for seq in 1..=3 {
        let moved = store.advance(&mut |objects, root| next(objects, root)).expect("a move");
        assert_eq!(moved.seq, seq);
        assert_eq!(store.latest().expect("the latest"), moved);
        assert_eq!(store.root(seq).expect("a root"), Some(moved));
        objects.commit(&moved.commit).expect("what moved the root is there");
    }
    let latest = store.latest().expect("the latest");
    let kept = store.advance(&mut |_, _| Ok(None)).expect("a plan that changes nothing");
    assert_eq!(kept, latest);
    let refused = store.advance(&mut |_, _| Err(CommitError::Root));
    assert!(matches!(refused, Err(CommitError::Root)), "{refused:?}");
    assert_eq!(store.latest().expect("the latest"), latest, "a refused plan moves nothing");
    assert_eq!(store.root(0).expect("a root"), Some(first));
    assert_eq!(store.root(4).expect("no root"), None);
}

/// A version like the one before, with another message.
fn next(objects: &dyn Objects, root: Root) -> Result<Option<Advance>, CommitError> {
    let before = objects.commit(&root.commit)?;
    let commit = commit_of(before.tree, vec![root.commit], &format!("after {}", root.seq));
    let invalid = |source| StoreError::Invalid { kind: Kind::Commit, source };
    let bytes = commit.encode().map_err(invalid)?;
    let kid = Kind::Commit.kid_of(&bytes);
    Ok(Some(Advance { objects: vec![Object { kind: Kind::Commit, bytes }], commit: kid }))
}

fn auditing(store: &dyn Master) {
    let mut kids = vec![store.latest().expect("version 0").commit];
    for size in [5, INLINE_MAX + 1] {
        kids.push(store.put(Kind::Blob, &noise(3, size)).expect("a put"));
    }
    store.sync().expect("a sync");
    let mut found = Vec::new();
    let visit = &mut |audited| match audited {
        Audited::Object { kid, damage: None, .. } => found.push(kid),
        other => panic!("a new store is sound, but has {other:?}"),
    };
    store.audit(visit).expect("an audit");
    for kid in kids {
        assert!(found.contains(&kid), "{kid} was not read");
    }
}
