//! Random trees: what the kernel shows of the image must be the tree.

use std::collections::BTreeMap;

use proptest::collection::{btree_map, vec};
use proptest::prelude::*;
use proptest::sample::select;

use super::{image_of, passes_fsck};
use crate::Keg;
use crate::ingest::{IngestOptions, ingest};
use crate::mount::fixture::Scratch;
use crate::mount::{Mounts, unmount};
use crate::object::{Attrs, Entry, EntryName, Tree, Value};
use crate::store::Objects;

const CASES: u32 = 48;

/// A tree before its blobs have KIDs.
#[derive(Clone, Debug)]
pub(crate) enum Plan {
    File(Vec<u8>, Attrs),
    Other(Value, Attrs),
    Directory(BTreeMap<Vec<u8>, Plan>, Attrs),
}

pub(crate) fn name() -> impl Strategy<Value = Vec<u8>> {
    let byte = any::<u8>().prop_filter("not in names", |byte| !matches!(byte, 0 | b'/'));
    let bytes = prop_oneof![9 => vec(byte.clone(), 1..20), 1 => vec(byte, 200..256)];
    bytes.prop_filter("not a name", |name| name != b"." && name != b"..")
}

fn xattrs() -> impl Strategy<Value = Vec<(Vec<u8>, Vec<u8>)>> {
    let prefix = select(vec!["user.", "trusted.", "trusted.overlay."]);
    let name =
        (prefix, "[a-z]{1,30}").prop_map(|(prefix, rest)| (prefix.to_owned() + &rest).into());
    // Few values of few bytes, so that inodes share some; and some that cross blocks.
    let value = prop_oneof![4 => vec(0..2_u8, 0..3), 1 => vec(any::<u8>(), 0..6000)];
    let several = btree_map(name, value, 0..6).prop_map(|all| all.into_iter().collect());
    prop_oneof![2 => Just(Vec::new()), 1 => several]
}

pub(crate) fn attrs() -> impl Strategy<Value = Attrs> {
    let id = || prop_oneof![3 => Just(0), 1 => 0..u32::MAX];
    let time = prop_oneof![2 => Just((0, 0)), 1 => (any::<i64>(), 0..1_000_000_000_u32)];
    (0..=0o7777_u32, id(), id(), time, xattrs()).prop_map(
        |(mode, uid, gid, (mtime, mtime_nsec), xattrs)| Attrs {
            mode,
            uid,
            gid,
            mtime,
            mtime_nsec,
            xattrs,
            link_group: 0,
        },
    )
}

pub(crate) fn leaf() -> impl Strategy<Value = Plan> {
    let sizes = select(vec![0, 1, 100, 2047, 2048, 2049, 4096, 10_000]);
    let content = (sizes, any::<u8>()).prop_map(|(size, fill)| vec![fill; size]);
    let target = prop_oneof![4 => 1..100_usize, 1 => 2900..4096_usize];
    let other = prop_oneof![
        4 => target.prop_map(|len| Value::Symlink { target: vec![b'x'; len] }),
        1 => Just(Value::Fifo),
        1 => (any::<bool>(), 1..4096_u32, 0..1_u32 << 20)
            .prop_map(|(block, major, minor)| Value::Device { block, major, minor }),
    ];
    prop_oneof![
        (content, attrs()).prop_map(|(content, attrs)| Plan::File(content, attrs)),
        (other, attrs()).prop_map(|(value, mut attrs)| {
            if matches!(value, Value::Symlink { .. }) {
                attrs.mode = 0o777;
                // The kernel keeps these for files and directories only.
                attrs.xattrs.retain(|(name, _)| !name.starts_with(b"user."));
            } else {
                attrs.xattrs.retain(|(name, _)| name.starts_with(b"trusted."));
            }
            Plan::Other(value, attrs)
        }),
    ]
}

pub(crate) fn plan() -> impl Strategy<Value = Plan> {
    leaf().prop_recursive(4, 200, 40, |inner| {
        (btree_map(name(), inner, 0..40), attrs())
            .prop_map(|(entries, attrs)| Plan::Directory(entries, attrs))
    })
}

pub(crate) fn store(objects: &dyn Objects, plan: &Plan) -> Entry {
    match plan {
        Plan::File(content, attrs) => {
            Entry { attrs: attrs.clone(), ..objects.put_bytes(content).unwrap() }
        }
        Plan::Other(value, attrs) => Entry { value: value.clone(), attrs: attrs.clone() },
        Plan::Directory(entries, attrs) => {
            let mut tree = Tree::default();
            for (name, plan) in entries {
                tree.entries.insert(EntryName::new(name.clone()).unwrap(), store(objects, plan));
            }
            Entry { attrs: attrs.clone(), ..objects.put_tree(&tree).unwrap() }
        }
    }
}

fn check(keg: &Keg, scratch: &Scratch, plan: &Plan) -> Result<(), TestCaseError> {
    let root = Plan::Directory(BTreeMap::from([(b"root".to_vec(), plan.clone())]), attrs_of_root());
    let entry = store(keg.objects(), &root);
    let tree = entry.kid().expect("a tree");
    prop_assert!(passes_fsck(&image_of(keg.objects(), &tree), &scratch.dir("images")));
    let target = scratch.dir("target");
    Mounts::new(keg).read_only(&tree, &target).expect("mount");
    let seen = ingest(keg.objects(), &target, &IngestOptions::default());
    unmount(&target).expect("unmount");
    prop_assert_eq!(seen.expect("read the mount").kid(), entry.kid());
    Ok(())
}

fn attrs_of_root() -> Attrs {
    Attrs::with_mode(0o755)
}

#[test]
fn the_kernel_shows_the_tree() {
    let scratch = Scratch::new();
    let keg = scratch.keg();
    let config =
        ProptestConfig { cases: CASES, failure_persistence: None, ..ProptestConfig::default() };
    let mut runner = proptest::test_runner::TestRunner::new(config);
    if let Err(error) = runner.run(&plan(), |plan| check(&keg, &scratch, &plan)) {
        panic!("{error}");
    }
}
