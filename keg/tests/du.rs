//! Sizes: apparent, unique and shared bytes.

#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

use keg::{
    Keg, Txn,
    gc::{Du, du},
    object::{Entry, EntryName, Tree},
    pack::{PackOptions, Which, pack},
    testing::{commit_of, noise},
};

fn tree(keg: &Keg, files: &[(&str, u64, usize)]) -> Entry {
    let mut tree = Tree::default();
    for (name, seed, size) in files {
        let entry = keg.objects().put_bytes(&noise(*seed, *size)).unwrap();
        tree.entries.insert(EntryName::new(*name).unwrap(), entry);
    }
    keg.objects().put_tree(&tree).unwrap()
}

fn measure(keg: &Keg, path: &str) -> Du {
    du(keg, &path.parse().unwrap(), &keg.head().unwrap()).unwrap().unwrap()
}

#[test]
fn what_only_a_path_leads_to_is_told_from_what_is_shared() {
    let keg = Keg::in_memory();
    let one = tree(&keg, &[("a", 1, 1000), ("b", 2, 200), ("again", 1, 1000)]);
    let two = tree(&keg, &[("b", 2, 200), ("c", 3, 30)]);
    let outside = tree(&keg, &[("c", 3, 30), ("d", 4, 4)]);
    let commit = commit_of(two.kid().unwrap(), vec![], "m");
    let commit = Entry::commit(keg.objects().put_commit(&commit).unwrap());
    let set = |name: &str| format!("/x/{name}").parse().unwrap();
    let txn = Txn::new("t", "m").set(set("one"), one).set(set("two"), two).set(set("rel"), commit);
    keg.commit(txn.set("/y".parse().unwrap(), outside)).unwrap();

    let found = measure(&keg, "/x");
    let row = |name: &str| found.entries.iter().find(|entry| entry.name == name).unwrap();
    let numbers = |name: &str| {
        let row = row(name);
        (row.apparent, row.unique, row.shared, row.files)
    };
    assert_eq!(numbers("one"), (2200, 1000, 200, 2));
    assert_eq!(numbers("two"), (230, 0, 230, 2));
    assert_eq!(numbers("rel"), (230, 0, 230, 2));
    assert_eq!((found.total.unique, found.total.shared, found.total.files), (1200, 30, 3));
    // As in a tree's header: what commits hold is not counted.
    assert_eq!(found.total.apparent, 2430);
    let names: Vec<&str> = found.entries.iter().map(|entry| entry.name.as_str()).collect();
    assert_eq!(names, ["one", "rel", "two"]);

    let all = measure(&keg, "/");
    assert_eq!((all.total.unique, all.total.shared), (1234, 0));
    let file = measure(&keg, "/x/two/c");
    assert_eq!((file.total.unique, file.total.shared, file.entries.len()), (0, 30, 1));
    let inner = measure(&keg, "/x/one");
    assert_eq!((inner.total.unique, inner.total.shared), (1000, 200));
    assert!(du(&keg, &"/none".parse().unwrap(), &keg.head().unwrap()).unwrap().is_none());
    let text = serde_json::to_string(&all).unwrap();
    assert_eq!(serde_json::from_str::<Du>(&text).unwrap(), all);
}

#[test]
fn a_big_tree_that_is_there_often_is_read_once_for_each_entry() {
    let keg = Keg::in_memory();
    let files: Vec<(String, u64)> = (0..500).map(|n| (format!("f{n}"), n)).collect();
    let files: Vec<(&str, u64, usize)> =
        files.iter().map(|(name, n)| (name.as_str(), *n, 10)).collect();
    let mut entry = tree(&keg, &files);
    // 2^20 paths, but 20 directories.
    for _ in 0..20 {
        let mut above = Tree::default();
        above.entries.insert(EntryName::new("l").unwrap(), entry.clone());
        above.entries.insert(EntryName::new("r").unwrap(), entry);
        entry = keg.objects().put_tree(&above).unwrap();
    }
    keg.commit(Txn::new("t", "m").set("/big".parse().unwrap(), entry)).unwrap();
    let started = std::time::Instant::now();
    let found = measure(&keg, "/big");
    assert!(started.elapsed().as_secs() < 5);
    assert_eq!(found.total.unique, 5000);
    assert_eq!(found.total.apparent, 5000 << 20);
}

#[test]
fn a_packed_file_takes_what_it_has_in_its_pack() {
    let dir = tempfile::tempdir().unwrap();
    let keg = Keg::create(dir.path()).unwrap();
    let alike = noise(1, 60_000);
    let mut changed = alike.clone();
    changed[30_000] ^= 1;
    let put = |bytes: &[u8]| {
        let mut tree = Tree::default();
        let entry = keg.objects().put_bytes(bytes).unwrap();
        tree.entries.insert(EntryName::new("f").unwrap(), entry);
        let entry = keg.objects().put_tree(&tree).unwrap();
        keg.commit(Txn::new("t", "m").set("/d".parse().unwrap(), entry)).unwrap();
    };
    put(&alike);
    put(&changed);
    let old = keg.version(1).unwrap();
    let disk = |at: &keg::Version| du(&keg, &"/d".parse().unwrap(), at).unwrap().unwrap().total;
    assert_eq!(disk(&old).disk, 61_440, "whole blocks of the file system");
    let all = PackOptions { which: Which::All, ..PackOptions::default() };
    pack(&keg, &all, &mut |_| {}).unwrap();
    let (first, second) = (disk(&old), disk(&keg.head().unwrap()));
    assert_eq!((first.apparent, second.apparent), (60_000, 60_000));
    assert!((60_000..60_300).contains(&first.disk), "noise does not pack: {first:?}");
    assert!((50..300).contains(&second.disk), "a difference: {second:?}");
}
