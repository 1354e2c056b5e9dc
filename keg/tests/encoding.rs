//! The canonical bytes: golden ones that must never change, and hostile ones that must not pass.

use keg::{
    Kid,
    object::{Attrs, Commit, DecodeError, Entry, EntryName, Kind, Tree, Value, canonical_json},
};
use proptest::prelude::*;
use serde_json::json;

fn name(text: &str) -> EntryName {
    EntryName::new(text).expect(text)
}

fn kid(byte: u8) -> Kid {
    Kid::from_bytes([byte; 32])
}

/// A tree with every kind of entry.
fn full_tree() -> Tree {
    let plain = |value| Entry { value, attrs: Attrs::with_mode(0o644) };
    let mut linked = Entry::file(kid(1), 300);
    linked.attrs.link_group = 7;
    let mut owned = Entry::file(kid(2), 5);
    owned.attrs = Attrs {
        mode: 0o4755,
        uid: 1000,
        gid: 100_000,
        mtime: -1,
        mtime_nsec: 999_999_999,
        xattrs: vec![(b"user.a".to_vec(), b"\0\xff".to_vec()), (b"user.b".to_vec(), vec![])],
        link_group: 0,
    };
    let pointer = |kid| Value::Pointer {
        source: "https://example.org/keg".to_owned(),
        reference: "main".to_owned(),
        kid,
    };
    let mut dir = Entry::file(kid(3), 0);
    dir.value = Value::Tree { kid: kid(3), bytes: 1000, entries: 12 };
    dir.attrs.mode = 0o755;
    let entries = [
        ("block", plain(Value::Device { block: true, major: 8, minor: 1 })),
        ("char", plain(Value::Device { block: false, major: 1, minor: 3 })),
        ("commit", Entry::commit(kid(4))),
        ("dir", dir),
        ("fifo", plain(Value::Fifo)),
        ("file", Entry::file(kid(5), 70_000)),
        ("linked", linked),
        ("owned", owned),
        ("pointer", plain(pointer(Some(kid(6))))),
        ("pointer-open", plain(pointer(None))),
        ("symlink", Entry::symlink("../target")),
    ];
    Tree { entries: entries.into_iter().map(|(n, entry)| (name(n), entry)).collect() }
}

fn full_commit() -> Commit {
    Commit {
        tree: kid(1),
        parents: vec![kid(2), kid(3)],
        author: "Ann <ann@example.org>".to_owned(),
        time_ms: 1_769_860_800_123,
        message: "Größer\n\nund besser\n".to_owned(),
        extra: json!({"z": [1, {"b": null, "a": 1.5}], "app": "blog"})
            .as_object()
            .cloned()
            .expect("an object"),
    }
}

#[test]
fn golden_bytes_never_change() {
    let empty = Tree::default().encode().unwrap();
    let golden = [
        (Kind::Blob, b"hello\n".to_vec(), include_str!("golden/blob.txt")),
        (Kind::Tree, empty, include_str!("golden/tree-empty.txt")),
        (Kind::Tree, full_tree().encode().unwrap(), include_str!("golden/tree.txt")),
        (Kind::Commit, full_commit().encode().unwrap(), include_str!("golden/commit.txt")),
    ];
    for (kind, bytes, want) in golden {
        let text = format!("{}\n{}\n", kind.kid_of(&bytes), hex::encode(&bytes));
        assert_eq!(text, want, "a {kind}");
    }
}

#[test]
fn every_kind_of_entry_round_trips() {
    let tree = full_tree();
    assert_eq!(Tree::decode(&tree.encode().unwrap()), Ok(tree.clone()));
    let sums = tree.sums().unwrap();
    assert_eq!((sums.bytes, sums.entries), (300 + 5 + 1000 + 70_000, 11 + 12));
    let commit = full_commit();
    let decoded = Commit::decode(&commit.encode().unwrap()).unwrap();
    assert_eq!(decoded, commit);
    assert_eq!(decoded.extra.keys().collect::<Vec<_>>(), ["app", "z"], "sorted when read");
}

#[test]
fn no_two_byte_strings_are_one_value() {
    for bytes in [full_tree().encode().unwrap(), full_commit().encode().unwrap()] {
        let decode = |bytes: &[u8]| match bytes.len() {
            _ if bytes.first() != Some(&1) => Err(DecodeError::Format(0)),
            _ => Tree::decode(bytes)
                .map(|t| t.encode())
                .or_else(|_| Commit::decode(bytes).map(|c| c.encode())),
        };
        for cut in 0..bytes.len() {
            assert!(decode(&bytes[..cut]).is_err(), "cut at {cut}");
        }
        for at in 0..bytes.len() {
            for bit in 0..8 {
                let mut changed = bytes.clone();
                changed[at] ^= 1 << bit;
                if let Ok(again) = decode(&changed) {
                    assert_eq!(again, Ok(changed), "bit {bit} of byte {at}");
                }
            }
        }
    }
}

#[test]
fn what_no_tree_may_hold_is_refused_both_ways() {
    let with = |change: &dyn Fn(&mut Entry)| {
        let mut entry = Entry::file(kid(1), 1);
        change(&mut entry);
        Tree { entries: [(name("x"), entry)].into() }.encode()
    };
    assert!(with(&|_| {}).is_ok());
    let x = |n: &[u8]| (n.to_vec(), Vec::new());
    let attrs: [&dyn Fn(&mut Entry); 9] = [
        &|e| e.attrs.mode = 0o10000,
        &|e| e.attrs.mtime_nsec = 1_000_000_000,
        &|e| e.attrs.xattrs = vec![x(b"b"), x(b"a")],
        &|e| e.attrs.xattrs = vec![x(b"a"), x(b"a")],
        &|e| e.attrs.xattrs = vec![x(b"")],
        &|e| e.attrs.xattrs = vec![(b"a".to_vec(), vec![0; 65537])],
        &|e| e.value = Value::Symlink { target: vec![] },
        &|e| e.value = Value::Symlink { target: vec![b'a'; 4096] },
        &|e| e.value = Value::Symlink { target: b"a\0b".to_vec() },
    ];
    for (index, change) in attrs.into_iter().enumerate() {
        assert!(with(change).is_err(), "case {index}");
    }
    let sums = Tree {
        entries: [(name("a"), Entry::file(kid(1), u64::MAX)), (name("b"), Entry::file(kid(1), 1))]
            .into(),
    };
    assert!(sums.encode().is_err(), "sums that do not fit");
    let parents = Commit { parents: vec![kid(1); 65], ..full_commit() };
    assert!(parents.encode().is_err(), "too many parents");
}

#[test]
fn crafted_trees_are_refused() {
    // format, bytes, entries, rows, (row), count, entries…
    let row = [0xa4, 3, 0, 0, 0, 0, 0];
    let entry = |name: &[u8], row: u8| [&[name.len() as u8], name, &[8, row]].concat();
    let tree = |bytes: u8, below: u8, rows: &[&[u8]], entries: &[Vec<u8>]| {
        let mut out = vec![1, bytes, below, rows.len() as u8];
        rows.iter().for_each(|row| out.extend_from_slice(row));
        out.push(entries.len() as u8);
        entries.iter().for_each(|entry| out.extend_from_slice(entry));
        out
    };
    let good = tree(0, 1, &[&row], &[entry(b"a", 0)]);
    assert!(Tree::decode(&good).is_ok(), "{:?}", Tree::decode(&good));
    let other = [0xa5, 3, 0, 0, 0, 0, 0];
    let cases = [
        ("sum of entries", tree(0, 2, &[&row], &[entry(b"a", 0)])),
        ("sum of bytes", tree(1, 1, &[&row], &[entry(b"a", 0)])),
        ("a row outside", tree(0, 1, &[&row], &[entry(b"a", 1)])),
        ("a row unused", tree(0, 1, &[&row, &other], &[entry(b"a", 0)])),
        ("rows unsorted", tree(0, 2, &[&other, &row], &[entry(b"a", 0), entry(b"b", 1)])),
        ("a row twice", tree(0, 2, &[&row, &row], &[entry(b"a", 0), entry(b"b", 1)])),
        ("names unsorted", tree(0, 2, &[&row], &[entry(b"b", 0), entry(b"a", 0)])),
        ("a name twice", tree(0, 2, &[&row], &[entry(b"a", 0), entry(b"a", 0)])),
        ("the name ..", tree(0, 1, &[&row], &[entry(b"..", 0)])),
        ("the name a/b", tree(0, 1, &[&row], &[entry(b"a/b", 0)])),
        ("an empty name", tree(0, 1, &[&row], &[entry(b"", 0)])),
        ("an unknown kind", tree(0, 1, &[&row], &[vec![1, b'a', 9, 0]])),
        ("link group 0", tree(0, 1, &[&row], &[vec![1, b'a', 0x88, 0, 0]])),
        ("a sharded directory", [vec![2], good[1..].to_vec()].concat()),
    ];
    for (what, bytes) in cases {
        assert!(Tree::decode(&bytes).is_err(), "{what}");
    }
}

#[test]
fn extra_is_canonical_json() {
    let value = json!({"b": {"d": 1, "c": [2, {"f": 1, "e": "\u{1}é"}]}, "a": -0.5});
    assert_eq!(
        canonical_json(&value),
        "{\"a\":-0.5,\"b\":{\"c\":[2,{\"e\":\"\\u0001é\",\"f\":1}],\"d\":1}}"
    );
    let commit = full_commit().encode().unwrap();
    let start = commit.windows(6).position(|bytes| bytes == b"{\"app\"").unwrap();
    let extra = |json: &str| {
        let mut bytes = commit[..start - 1].to_vec();
        bytes.push(json.len() as u8);
        bytes.extend_from_slice(json.as_bytes());
        Commit::decode(&bytes)
    };
    assert!(extra("{}").is_ok());
    let deep = format!("{{\"a\":{}1{}}}", "[".repeat(60), "]".repeat(60));
    for bad in ["", "{ }", "[]", "{\"b\":1,\"a\":2}", "{\"a\":1,\"a\":1}", "{\"a\":1.0e0}", "null"]
    {
        assert!(extra(bad).is_err(), "{bad}");
    }
    assert!(extra(&deep).is_ok());
}

fn any_attrs() -> impl Strategy<Value = Attrs> {
    let xattrs = proptest::collection::btree_map("[a-z.]{1,8}", any::<Vec<u8>>(), 0..3);
    (0..0o10000u32, any::<(u32, u32, i64)>(), 0..1_000_000_000u32, xattrs, any::<u64>()).prop_map(
        |(mode, (uid, gid, mtime), mtime_nsec, xattrs, link_group)| Attrs {
            mode,
            uid,
            gid,
            mtime,
            mtime_nsec,
            xattrs: xattrs.into_iter().map(|(n, v)| (n.into_bytes(), v)).collect(),
            link_group,
        },
    )
}

fn any_value() -> impl Strategy<Value = Value> {
    let kid = any::<[u8; 32]>().prop_map(Kid::from_bytes);
    prop_oneof![
        (kid.clone(), any::<u32>())
            .prop_map(|(kid, size)| Value::File { kid, size: u64::from(size) }),
        (kid.clone(), any::<(u32, u32)>()).prop_map(|(kid, (bytes, entries))| Value::Tree {
            kid,
            bytes: u64::from(bytes),
            entries: u64::from(entries)
        }),
        kid.clone().prop_map(|kid| Value::Commit { kid }),
        "[a-z/]{1,40}".prop_map(|target| Value::Symlink { target: target.into_bytes() }),
        (".{0,20}", ".{0,20}", proptest::option::of(kid))
            .prop_map(|(source, reference, kid)| { Value::Pointer { source, reference, kid } }),
        any::<(bool, u32, u32)>().prop_map(|(block, major, minor)| Value::Device {
            block,
            major,
            minor
        }),
        Just(Value::Fifo),
    ]
}

fn any_tree() -> impl Strategy<Value = Tree> {
    let name = proptest::collection::vec(any::<u8>(), 1..20)
        .prop_filter_map("not a name", |bytes| EntryName::new(bytes).ok());
    let entry = (any_value(), any_attrs()).prop_map(|(value, attrs)| Entry { value, attrs });
    proptest::collection::btree_map(name, entry, 0..12).prop_map(|entries| Tree { entries })
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn any_tree_round_trips(tree in any_tree()) {
        let bytes = tree.encode().unwrap();
        prop_assert_eq!(Tree::decode(&bytes), Ok(tree));
    }

    #[test]
    fn any_bytes_are_refused_or_canonical(
        bytes in any::<Vec<u8>>(), tree in any_tree(), at in any::<usize>()
    ) {
        for mut bytes in [bytes, tree.encode().unwrap()] {
            if let (1.., Some(byte)) = (bytes.len(), bytes.get(at % bytes.len().max(1)).copied()) {
                let len = bytes.len();
                bytes[at % len] = byte.wrapping_add(1);
            }
            if let Ok(tree) = Tree::decode(&bytes) {
                prop_assert_eq!(tree.encode().unwrap(), bytes.clone());
            }
            if let Ok(commit) = Commit::decode(&bytes) {
                prop_assert_eq!(commit.encode().unwrap(), bytes);
            }
        }
    }
}
