//! Split directories between Kegs: part by part, what differs alone, and nothing that lies.

use super::hostile::{check, end, found, stored, tree_entry};
use super::*;
use crate::{
    Kid, directory,
    object::{
        Kind,
        shards::{Index, Node},
    },
    store::StoreError,
};

/// A directory of small files in which those at some numbers are others.
fn large(keg: &Keg, count: u64, changed: &[u64]) -> Entry {
    let mut tree = Tree::default();
    for number in 0..count {
        let seed = number + if changed.contains(&number) { 1 << 40 } else { 0 };
        let entry = keg.objects().put_bytes(&seed.to_le_bytes()).expect("a put");
        tree.entries.insert(name(&format!("n-{number:07}")), entry);
    }
    keg.objects().put_tree(&tree).expect("a tree")
}

/// All objects of a directory, the first of it first.
fn nodes(keg: &Keg, kid: &Kid) -> Vec<Vec<u8>> {
    let mut found = Vec::new();
    directory::visit(keg.objects(), kid, &mut |kid, _| {
        found.push(keg.objects().get(kid)?.bytes);
        Ok::<_, StoreError>(())
    })
    .unwrap();
    found
}

#[test]
fn a_split_directory_arrives_whole_and_then_costs_what_changes() {
    let ((_one, there), (_two, here)) = (new_keg(), new_keg());
    set(&there, "/x", large(&there, 6000, &[]));
    let mut way = Direct::to(&there);
    pull_same(&here, &mut way, "/x").unwrap();
    assert_eq!(here.get(&path("/x")).unwrap(), there.get(&path("/x")).unwrap());
    check_clean(&here);

    // Changes, also of the number of names, until it is not split any more, and back.
    for (count, changed) in
        [(6000, vec![17]), (6001, vec![17, 5000]), (4000, vec![]), (6002, vec![])]
    {
        let entry = large(&there, count, &changed);
        set(&there, "/x", entry.clone());
        (way.up, way.down) = (0, 0);
        let pulled = pull_same(&here, &mut way, "/x").unwrap();
        assert_eq!(here.get(&path("/x")).unwrap(), Some(entry));
        if !changed.is_empty() {
            assert!(way.up + way.down < 6000, "{count}: {} and {}", way.up, way.down);
            assert!(pulled.progress.objects <= 5, "{count}: {:?}", pulled.progress);
        }
    }
    check_clean(&here);
    // The other way round.
    set(&here, "/x", large(&here, 6002, &[3]));
    let mut back = Direct::to(&there);
    push_same(&here, &mut back, "/x").unwrap();
    assert!(back.up + back.down < 6000, "{} and {}", back.up, back.down);
    assert_eq!(here.get(&path("/x")).unwrap(), there.get(&path("/x")).unwrap());
    check_clean(&there);
}

#[test]
fn directories_in_split_ones_and_all_versions_are_cloned() {
    let ((_one, there), (_two, here)) = (new_keg(), new_keg());
    let small = sample(&there, 1);
    let mut tree = there.objects().tree(&large(&there, 5000, &[]).kid().unwrap()).unwrap();
    for at in ["a", "n-0002500x", "z"] {
        tree.entries.insert(name(at), small.clone());
    }
    tree.entries.insert(name("same"), large(&there, 5000, &[]));
    set(&there, "/d", there.objects().put_tree(&tree).unwrap());
    put(&there, "/d/n-0000007", b"changed");
    put(&there, "/d/same/n-0000007", b"changed");
    usually(|options| pull(&here, &mut Direct::to(&there), &path("/"), &path("/"), options))
        .unwrap();
    assert_eq!(here.head().unwrap(), there.head().unwrap());
    check_clean(&here);
}

/// An answer that gives these objects for `/x`.
fn answer(entry: &Entry, objects: &[Vec<u8>]) -> Vec<u8> {
    let mut out = found(entry);
    objects.iter().for_each(|bytes| stored(&mut out, bytes));
    end(&mut out, objects.len() as u64, 0);
    out
}

/// A directory of links, so that there are no blobs to be sent, and its objects.
fn links() -> (Index, Vec<Vec<u8>>) {
    let keg = Keg::in_memory();
    let links = (0..6000).map(|n| (name(&format!("n-{n:07}")), Entry::symlink("x")));
    let kid = keg.objects().put_tree(&Tree { entries: links.collect() }).unwrap().kid().unwrap();
    let nodes = nodes(&keg, &kid);
    let Node::Index(index) = Node::decode(&nodes[0]).unwrap() else { panic!("it is split") };
    (index, nodes)
}

/// Makes a lie of an index node.
type Lie = fn(&mut Index);

#[test]
fn index_nodes_that_lie_are_refused() {
    let lies: [(&str, Lie, &str); 5] = [
        ("sizes", |index| index.children[0].below.sums.bytes = 1 << 50, "node above says"),
        ("2^32 entries", |index| index.children[1].below.sums.entries = 1 << 32, "node above says"),
        ("2^32 names", |index| index.children[1].below.names = 1 << 32, "node above says"),
        ("a deeper one", |index| index.level = 8, "level: not one less"),
        ("a first name", |index| index.children[0].first = name("a"), "first name"),
    ];
    for (what, lie, want) in lies {
        let (mut index, mut objects) = links();
        lie(&mut index);
        objects[0] = index.encode().unwrap();
        let sums = index.extent().unwrap().sums;
        let entry = tree_entry(Kind::Tree.kid_of(&objects[0]), sums.bytes, sums.entries);
        check(what, vec![answer(&entry, &objects)], want);
    }
    // Another leaf than the one that is listed, and one that is not sent.
    let (index, mut objects) = links();
    let sums = index.extent().unwrap().sums;
    let entry = tree_entry(Kind::Tree.kid_of(&objects[0]), sums.bytes, sums.entries);
    objects.swap(1, 2);
    check("another leaf", vec![answer(&entry, &objects)], "another KID");
    objects.truncate(1);
    check("no leaves", vec![answer(&entry, &objects)], "end before");
}
