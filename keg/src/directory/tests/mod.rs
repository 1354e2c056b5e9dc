//! The same entries make the same directory, however they came; and a change touches little.

mod hostile;

use std::{cell::Cell, collections::BTreeMap};

use proptest::prelude::*;

use super::{Changes, Directory, differing, put, visit, whole};
use crate::{
    Keg, Kid,
    object::{
        Entry, EntryName, Kind, Tree,
        shards::{Node, is_index},
    },
    store::{Objects, StoreError},
};

fn name(text: impl std::fmt::Display) -> EntryName {
    EntryName::new(text.to_string()).unwrap()
}

fn file(seed: u64) -> Entry {
    Entry::file(Kid::of_blob(&seed.to_le_bytes()), seed % 5000)
}

/// A directory with the names `n-0000000`, `n-0000001`, ….
fn numbered(count: u64) -> Tree {
    let entries = (0..count).map(|number| (name(format_args!("n-{number:07}")), file(number)));
    Tree { entries: entries.collect() }
}

/// Changes a directory; returns its KID, and how many objects and bytes were written.
fn edit(objects: &dyn Objects, kid: &Kid, changes: Changes) -> (Kid, usize, usize) {
    let (count, bytes) = (Cell::new(0), Cell::new(0));
    let mut keep = |_, made: Vec<u8>| {
        count.set(count.get() + 1);
        bytes.set(bytes.get() + made.len());
        objects.put(Kind::Tree, &made).map(drop)
    };
    let made = Directory::open(objects, kid).unwrap().edit(changes, &mut keep).unwrap();
    assert_eq!(made.sums, super::sums(objects, &made.kid).unwrap());
    (made.kid, count.get(), bytes.get())
}

fn levels(objects: &dyn Objects, kid: &Kid) -> BTreeMap<u8, usize> {
    let mut found = BTreeMap::new();
    visit(objects, kid, &mut |_, node| {
        *found.entry(node.level()).or_default() += 1;
        Ok::<_, StoreError>(())
    })
    .unwrap();
    found
}

#[test]
fn a_part_of_a_directory_is_what_the_whole_has_there() {
    let keg = Keg::in_memory();
    for count in [0, 1, 3, 4096, 30_000] {
        let tree = numbered(count);
        let kid = put(keg.objects(), &tree).unwrap().kid;
        let all: Vec<_> = tree.entries.into_iter().collect();
        for (after, limit) in
            [(None, 1), (None, 1000), (Some(0), 2), (Some(4095), 1000), (Some(29_998), 5)]
        {
            let start = after.map_or(0, |after: usize| (after + 1).min(all.len()));
            // Between two names as well as at one.
            for after in [after.map(|n| format!("n-{n:07}")), after.map(|n| format!("n-{n:07}x"))] {
                let after = after.map(name);
                let page = keg.objects().names_after(&kid, after.as_ref(), limit).unwrap();
                let end = (start + limit).min(all.len());
                assert_eq!(page.entries, all[start..end], "{count} {after:?} {limit}");
                assert_eq!((page.total, page.more), (count, end < all.len()));
            }
        }
        assert_eq!(keg.objects().names_after(&kid, None, 0).unwrap().more, count > 0);
        for (name, entry) in all.iter().step_by(999) {
            let found = keg.objects().name_in(&kid, name.as_bytes()).unwrap();
            assert_eq!(found.as_ref(), Some(entry));
        }
        assert_eq!(keg.objects().name_in(&kid, b"nowhere").unwrap(), None);
    }
}

#[test]
fn large_directories_are_split_and_read_like_others() {
    let keg = Keg::in_memory();
    let objects = keg.objects();
    for count in [0, 1, 4096, 4097, 30_000] {
        let tree = numbered(count);
        let entry = objects.put_tree(&tree).unwrap();
        let kid = entry.kid().unwrap();
        let split = is_index(&objects.get(&kid).unwrap().bytes);
        assert_eq!(split, count > 4096, "{count} names");
        assert_eq!(objects.tree(&kid).unwrap(), tree);
        assert_eq!(objects.tree_entry(&kid).unwrap(), entry);
        let directory = Directory::open(objects, &kid).unwrap();
        assert_eq!(directory.names(), count);
        for name in ["", "a", "n-0000000", "n-0004096", "n-00040960", "n-0029999", "z"] {
            assert_eq!(directory.get(name.as_bytes()).unwrap().as_ref(), tree.get(name.as_bytes()));
        }
    }
    // Heavy entries count for more.
    let target = vec![b'x'; 4000];
    let links = (0..400).map(|number| (name(number), Entry::symlink(target.clone())));
    let kid = objects.put_tree(&Tree { entries: links.collect() }).unwrap().kid().unwrap();
    assert!(levels(objects, &kid)[&0] > 10, "leaves of 128 KiB");
}

#[test]
fn one_change_in_a_large_directory_writes_its_part_alone() {
    let keg = Keg::in_memory();
    let objects = keg.objects();
    let tree = numbered(200_000);
    let kid = put(objects, &tree).unwrap().kid;
    let nodes = levels(objects, &kid);
    assert_eq!(nodes.keys().max(), Some(&2), "{nodes:?}");
    assert!((400..1200).contains(&nodes[&0]), "{nodes:?}");
    let (first, last) = ("n-0000000", "n-0199999");
    let cases: [(&str, Option<Entry>); 7] = [
        ("n-0123456", Some(file(7))),
        ("n-0123456", None),
        ("n-0123456x", Some(file(8))),
        ("a", Some(file(9))),
        ("z", Some(file(10))),
        (first, None),
        (last, None),
    ];
    for (changed, entry) in cases {
        let changes = [(name(changed), entry)].into();
        let (now, count, bytes) = edit(objects, &kid, changes);
        assert!(count <= 6 && bytes <= 128 << 10, "{changed}: {count} objects, {bytes} bytes");
        let (old, new) = differing(objects, &kid, &now).unwrap();
        assert!(old.entries.len() <= 4096 && new.entries.len() <= 4096, "{changed}");
        let differ = old.get(changed.as_bytes()) != new.get(changed.as_bytes());
        assert!(differ && now != kid, "{changed}");
    }
    let same = [(name(first), Some(file(0))), (name("not-there"), None)].into();
    assert_eq!(edit(objects, &kid, same), (kid, 0, 0), "nothing changes");
}

#[test]
fn directories_grow_and_shrink_over_all_sizes() {
    let keg = Keg::in_memory();
    let objects = keg.objects();
    let all = numbered(40_000);
    let mut kid = objects.put_tree(&Tree::default()).unwrap().kid().unwrap();
    let mut sizes = vec![4095, 4096, 4097, 40_000, 4097, 4096, 100, 5000, 0];
    let mut before = 0;
    sizes.push(1);
    for size in sizes {
        let (low, high) = (before.min(size), before.max(size));
        let touched = all.entries.iter().skip(low).take(high - low);
        let changes = touched
            .map(|(name, entry)| (name.clone(), (size > before).then(|| entry.clone())))
            .collect();
        kid = edit(objects, &kid, changes).0;
        let want = Tree {
            entries: all.entries.iter().take(size).map(|(n, e)| (n.clone(), e.clone())).collect(),
        };
        assert_eq!(kid, put(objects, &want).unwrap().kid, "{before} → {size}");
        before = size;
    }
}

/// Which names an edit touches and whether they stay: a run of them, or some here and there.
#[derive(Clone, Debug)]
struct Touch {
    from: u16,
    count: u16,
    step: u16,
    gone: bool,
    seed: u64,
}

fn touches() -> impl Strategy<Value = Touch> {
    (0..12_000u16, 1..3000u16, 1..40u16, any::<bool>(), any::<u64>())
        .prop_map(|(from, count, step, gone, seed)| Touch { from, count, step, gone, seed })
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 12, ..ProptestConfig::default() })]

    /// The heart of it: the form depends on what is there, never on how it came.
    #[test]
    fn edits_in_any_order_make_what_making_it_at_once_makes(
        start in 0..9000u64,
        edits in prop::collection::vec(touches(), 1..6),
    ) {
        let keg = Keg::in_memory();
        let objects = keg.objects();
        let mut tree = numbered(start);
        let mut kid = put(objects, &tree).unwrap().kid;
        for touch in edits {
            let mut changes = Changes::new();
            for at in 0..u64::from(touch.count / touch.step) {
                let number = u64::from(touch.from) + at * u64::from(touch.step);
                let entry = (!touch.gone).then(|| file(touch.seed.wrapping_add(number)));
                changes.insert(name(format_args!("n-{number:07}")), entry);
            }
            let before = (kid, tree.clone());
            for (name, entry) in &changes {
                match entry {
                    Some(entry) => tree.entries.insert(name.clone(), entry.clone()),
                    None => tree.entries.remove(name),
                };
            }
            kid = edit(objects, &kid, changes).0;
            prop_assert_eq!(kid, put(objects, &tree).unwrap().kid);
            prop_assert_eq!(&whole(objects, &kid).unwrap(), &tree);
            let (old, new) = differing(objects, &before.0, &kid).unwrap();
            for name in before.1.entries.keys().chain(tree.entries.keys()) {
                let (was, is) = (before.1.entries.get(name), tree.entries.get(name));
                let (found_was, found_is) = (old.entries.get(name), new.entries.get(name));
                if was != is {
                    prop_assert_eq!((found_was, found_is), (was, is));
                } else {
                    prop_assert_eq!(found_was, found_is);
                }
            }
        }
    }
}
