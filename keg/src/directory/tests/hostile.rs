//! Nodes that lie: each is refused by who stores it, or by who reads the directory.

use super::*;
use crate::{
    object::{
        DecodeError, Sums,
        cuts::{Cutter, MAX_LEVEL},
        shards::{Extent, Index, Shard},
        wire::{put_bytes, put_varint},
    },
    store::StoreError,
};

/// The index node of a directory of 6000 names, and what it is made of.
fn index() -> (Keg, Index) {
    let keg = Keg::in_memory();
    let kid = put(keg.objects(), &numbered(6000)).unwrap().kid;
    match super::super::node(keg.objects(), &kid).unwrap() {
        Node::Index(index) => (keg, index),
        Node::Leaf(_) => panic!("6000 names are split"),
    }
}

/// Stores an index node as it is.
fn store(keg: &Keg, index: &Index) -> Result<Kid, StoreError> {
    keg.objects().put(Kind::Tree, &index.encode().map_err(super::super::invalid)?)
}

/// What reading a directory with this index node says.
fn refusal(keg: &Keg, index: &Index) -> String {
    let read = store(keg, index).and_then(|kid| keg.objects().tree(&kid));
    read.expect_err("it must be refused").to_string()
}

/// Puts a leaf in the place of one of the index node, with the sums that fit.
fn replace_leaf(keg: &Keg, index: &mut Index, at: usize, leaf: Tree) {
    let bytes = leaf.encode().unwrap();
    let kid = keg.objects().put(Kind::Tree, &bytes).unwrap();
    let first = leaf.entries.keys().next().unwrap().clone();
    let below = Node::Leaf(leaf).extent().unwrap();
    index.children[at] = Shard { first, kid, below };
}

fn leaf(keg: &Keg, index: &Index, at: usize) -> Tree {
    match super::super::node(keg.objects(), &index.children[at].kid).unwrap() {
        Node::Leaf(leaf) => leaf,
        Node::Index(_) => panic!("a leaf is below level 1"),
    }
}

#[test]
fn what_is_right_passes() {
    let (keg, index) = index();
    let kid = store(&keg, &index).unwrap();
    assert_eq!(keg.objects().tree(&kid).unwrap(), numbered(6000));
}

/// Says something else of what is below.
type Lie = fn(&mut Extent);

#[test]
fn sums_that_lie_are_refused() {
    let change: [(&str, Lie); 4] = [
        ("bytes", |below| below.sums.bytes += 1),
        ("entries", |below| below.sums.entries = 1 << 32),
        ("names", |below| below.names -= 1),
        ("weight", |below| below.weight += 1),
    ];
    for (what, change) in change {
        let (keg, mut index) = index();
        change(&mut index.children[3].below);
        let said = refusal(&keg, &index);
        assert!(said.contains("not what the node above says"), "{what}: {said}");
    }
    let (keg, mut index) = index();
    index.children[0].below.sums.bytes = u64::MAX;
    index.children[1].below.sums.bytes = u64::MAX;
    assert!(refusal(&keg, &index).contains("2^64"));
    // More names than anybody reads at once, in so many words and no more.
    let (keg, mut index) = super::hostile::index();
    index.children[5].below.names = 1 << 32;
    assert!(refusal(&keg, &index).contains("more names than"));
}

#[test]
fn directories_cut_elsewhere_are_refused() {
    // Two leaves in one.
    let (keg, mut index) = index();
    let (mut first, mut second) = (leaf(&keg, &index, 0), leaf(&keg, &index, 1));
    first.entries.append(&mut second.entries);
    replace_leaf(&keg, &mut index, 0, first);
    index.children.remove(1);
    assert!(refusal(&keg, &index).contains("belong into another part"));
    // A leaf in two.
    let (keg, mut index) = super::hostile::index();
    let mut first = leaf(&keg, &index, 0);
    let middle = first.entries.keys().nth(70).unwrap().clone();
    let rest = Tree { entries: first.entries.split_off(&middle) };
    index.children.insert(1, index.children[0].clone());
    replace_leaf(&keg, &mut index, 0, first);
    replace_leaf(&keg, &mut index, 1, rest);
    let said = refusal(&keg, &index);
    assert!(said.contains("cut where its names do not say so") || said.contains("another node"));
    // Names of the next leaf.
    let (keg, mut index) = super::hostile::index();
    let mut first = leaf(&keg, &index, 0);
    first.entries.pop_last();
    first.entries.insert(name("n-0005000"), file(1));
    replace_leaf(&keg, &mut index, 0, first);
    assert!(refusal(&keg, &index).contains("later part"));
    // Another first name than the leaf's.
    let (keg, mut index) = super::hostile::index();
    index.children[0].first = name("n");
    assert!(refusal(&keg, &index).contains("first name"));
    // Out of order, and twice the same.
    let (keg, mut index) = super::hostile::index();
    index.children.swap(1, 2);
    assert!(refusal(&keg, &index).contains("not sorted"));
    let (keg, mut index) = super::hostile::index();
    index.children[1] = index.children[0].clone();
    assert!(refusal(&keg, &index).contains("not sorted"));
    // Index nodes with more children than one may have.
    let (keg, mut index) = super::hostile::index();
    let child = index.children[0].clone();
    index.children =
        (0..300).map(|n| Shard { first: name(format_args!("{n:04}")), ..child.clone() }).collect();
    assert!(refusal(&keg, &index).contains("belong into another node"));
}

#[test]
fn small_directories_that_are_split_are_refused() {
    let keg = Keg::in_memory();
    let tree = numbered(4096);
    let mut cutter = Cutter::new(0);
    let mut leaves = vec![Tree::default()];
    for (name, entry) in tree.entries {
        if cutter.ends_before(&name) {
            leaves.push(Tree::default());
            cutter = Cutter::new(0);
        }
        cutter.take(80);
        leaves.last_mut().unwrap().entries.insert(name, entry);
    }
    let (_, mut index) = index();
    index.children.truncate(leaves.len());
    for (at, leaf) in leaves.into_iter().enumerate() {
        replace_leaf(&keg, &mut index, at, leaf);
    }
    assert!(refusal(&keg, &index).contains("split without need"));
    // A node over one other.
    let (keg, mut below) = super::hostile::index();
    let kid = store(&keg, &below).unwrap();
    let shard =
        Shard { first: below.children[0].first.clone(), kid, below: below.extent().unwrap() };
    below = Index { level: 2, children: vec![shard] };
    assert!(refusal(&keg, &below).contains("split without need"));
}

#[test]
fn levels_that_lie_or_never_end_are_refused() {
    let (keg, mut index) = index();
    index.level = 2;
    let said = refusal(&keg, &index);
    assert!(said.contains("level") || said.contains("another node"), "{said}");
    for level in [0, MAX_LEVEL + 1, 255] {
        let (keg, mut index) = super::hostile::index();
        index.level = level;
        assert!(refusal(&keg, &index).contains("between 1 and 8"), "{level}");
    }
    let bytes = |level: u64, count: u64| {
        let mut bytes = vec![2];
        for number in [0, 0, level, 0, 0, count] {
            put_varint(&mut bytes, number);
        }
        bytes
    };
    let refused = |bytes: &[u8], want: &str| {
        let said = Node::decode(bytes).unwrap_err().to_string();
        assert!(said.contains(want), "{said}");
    };
    refused(&bytes(1 << 40, 1), "between 1 and 8");
    refused(&bytes(1, 0), "none");
    refused(&bytes(1, 1 << 32), "inside number of parts");
    // A part of nothing.
    let mut empty = bytes(1, 1);
    put_bytes(&mut empty, b"a");
    empty.extend([0; 4]);
    empty.extend([7; 32]);
    refused(&empty, "a part has none");
}

#[test]
fn no_two_byte_strings_are_one_node() {
    let (_, mut index) = index();
    index.children.truncate(3);
    let bytes = index.encode().unwrap();
    for cut in 0..bytes.len() {
        assert!(Node::decode(&bytes[..cut]).is_err(), "cut at {cut}");
    }
    for at in 1..bytes.len() {
        for bit in 0..8 {
            let mut changed = bytes.clone();
            changed[at] ^= 1 << bit;
            if let Ok(Node::Index(again)) = Node::decode(&changed) {
                assert_eq!(again.encode(), Ok(changed), "bit {bit} of byte {at}");
            }
        }
    }
    let trailing = [&bytes[..], &[0]].concat();
    assert_eq!(Node::decode(&trailing), Err(DecodeError::Trailing(1)));
}

#[test]
fn one_large_object_of_an_older_keg_is_read_and_split_when_it_changes() {
    let keg = Keg::in_memory();
    let objects = keg.objects();
    let mut tree = numbered(5000);
    let old = objects.put(Kind::Tree, &tree.encode().unwrap()).unwrap();
    assert_eq!(objects.tree(&old).unwrap(), tree);
    let sums: Sums = tree.sums().unwrap();
    assert_eq!(super::super::sums(objects, &old).unwrap(), sums);
    let (now, ..) = edit(objects, &old, [(name("new"), Some(file(1)))].into());
    tree.entries.insert(name("new"), file(1));
    assert_eq!(now, put(objects, &tree).unwrap().kid);
    let (before, after) = differing(objects, &old, &now).unwrap();
    assert_eq!((before.entries.len(), after.entries.len()), (5000, 5001));
}

/// Names chosen so that none ends a leaf, or each does, make leaves of bounded size.
#[test]
fn chosen_names_make_no_giant_and_no_tiny_parts() {
    let ends = |name: &EntryName| {
        let hash = blake3::hash(name.as_bytes());
        hash.as_bytes()[0] == 0
    };
    let keg = Keg::in_memory();
    for (want, count) in [(false, 6000), (true, 4200)] {
        let names = (0..).map(|number: u64| name(format_args!("{number:09}")));
        let chosen = names.filter(|name| ends(name) == want).take(count);
        let tree = Tree { entries: chosen.map(|name| (name, file(1))).collect() };
        let kid = put(keg.objects(), &tree).unwrap().kid;
        let mut leaves = Vec::new();
        visit(keg.objects(), &kid, &mut |_, node| {
            if let Node::Leaf(leaf) = node {
                leaves.push(leaf.entries.len());
            }
            Ok::<_, StoreError>(())
        })
        .unwrap();
        let expected = if want { 64 } else { 1024 };
        let last = leaves.pop().unwrap();
        assert!(last <= expected && leaves.iter().all(|len| *len == expected), "{leaves:?}");
    }
}
