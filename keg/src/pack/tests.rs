//! Chains, and mounts as root.

use std::{
    collections::{BTreeMap, BTreeSet},
    fs,
    path::Path,
    sync::Arc,
};

use super::*;
use crate::{
    NamePath, Txn,
    ingest::{IngestOptions, ingest},
    mount::{
        Mounts,
        fixture::{Scratch, assert_same, describe, fill_few, noise},
        unmount,
    },
    object::{Entry, EntryName, Tree},
    store::packs::{MAX_DEPTH, PackSet, Source},
};

fn path(text: &str) -> NamePath {
    text.parse().expect(text)
}

fn all() -> PackOptions {
    PackOptions { which: Which::All, level: 1, ..PackOptions::default() }
}

fn commit_file(keg: &Keg, bytes: &[u8]) -> Kid {
    let mut tree = Tree::default();
    let entry = keg.objects().put_bytes(bytes).unwrap();
    let kid = entry.kid().unwrap();
    tree.entries.insert(EntryName::new("file").unwrap(), entry);
    let tree = keg.objects().put_tree(&tree).unwrap();
    keg.commit(Txn::new("t", "m").set(path("/a"), tree)).unwrap();
    kid
}

fn depth(set: &Arc<PackSet>, kid: &Kid) -> u8 {
    set.find(kid).unwrap().expect("it is packed").recipe.depth()
}

#[test]
fn chains_end_at_their_bound_with_an_object_of_its_own() {
    for (size, at_once) in [(60_000, true), (60_000, false), (3 << 20, true), (3 << 20, false)] {
        let scratch = Scratch::new();
        let keg = scratch.keg();
        let (mut bytes, mut kids) = (noise(size, 1), Vec::new());
        for n in 0..20 {
            bytes[size / 2 + n] ^= 1;
            kids.push((commit_file(&keg, &bytes), bytes.clone()));
            if !at_once {
                pack(&keg, &all(), &mut |_| {}).unwrap();
            }
        }
        pack(&keg, &all(), &mut |_| {}).unwrap();
        let set = PackSet::new(keg.home());
        let depths: Vec<u8> = kids.iter().map(|(kid, _)| depth(&set, kid)).collect();
        let want: Vec<u8> = (0..20).map(|n| n % (MAX_DEPTH + 1)).collect();
        assert_eq!(depths, want, "{size} bytes, at once: {at_once}");
        for (kid, bytes) in &kids {
            assert!(keg.objects().blob(kid).unwrap() == *bytes, "{kid}");
        }
    }
}

#[test]
fn a_successor_in_a_pack_serves_as_base() {
    let scratch = Scratch::new();
    let keg = scratch.keg();
    let (old, new) = (noise(60_000, 1), [&noise(60_000, 1)[..], b"more"].concat());
    let old = commit_file(&keg, &old);
    let new = commit_file(&keg, &new);
    // As if only the new one was cold at first.
    let hidden = keg.home().join("hidden");
    let place = object_path(keg.home(), &old);
    fs::rename(&place, &hidden).unwrap();
    pack(&keg, &all(), &mut |_| {}).unwrap();
    fs::rename(&hidden, &place).unwrap();
    assert_eq!(pack(&keg, &all(), &mut |_| {}).unwrap().counts.patched, 1);
    let set = PackSet::new(keg.home());
    assert_eq!((depth(&set, &new), depth(&set, &old)), (0, 1));
    assert!(keg.objects().blob(&old).is_ok());
}

#[test]
fn strangers_at_one_path_are_not_patched() {
    let scratch = Scratch::new();
    let keg = scratch.keg();
    for size in [60_000, 3 << 20] {
        commit_file(&keg, &noise(size, 1));
        commit_file(&keg, &noise(size, 2));
    }
    let report = pack(&keg, &all(), &mut |_| {}).unwrap();
    assert_eq!((report.objects, report.counts.patched), (4, 0), "{report:?}");
}

fn take(keg: &Keg, name: &str, dir: &Path) -> Kid {
    let entry: Entry = ingest(keg.objects(), dir, &IngestOptions::default()).unwrap();
    keg.commit(Txn::new("t", "m").set(path(name), entry.clone())).unwrap();
    entry.kid().unwrap()
}

#[test]
fn mounting_a_packed_tree_makes_it_loose_and_what_is_mounted_stays() {
    let scratch = Scratch::new();
    let (keg, dir, target) = (scratch.keg(), scratch.dir("tree"), scratch.dir("mounted"));
    fill_few(&dir);
    let want = describe(&dir);
    let tree = take(&keg, "/tree", &dir);
    let first = pack(&keg, &all(), &mut |_| {}).unwrap();
    assert!(first.removed >= 4, "{first:?}");
    let mounts = Mounts::new(&keg);
    mounts.read_only(&tree, &target).unwrap();
    assert_same(&describe(&target), &want);
    let busy = pack(&keg, &all(), &mut |_| {}).unwrap();
    assert_eq!((busy.removed, busy.objects, busy.hot), (0, 0, first.removed), "{busy:?}");
    assert_same(&describe(&target), &want);
    unmount(&target).unwrap();
    // Loose still, so the second mount has nothing to do; then everything.
    mounts.read_only(&tree, &target).unwrap();
    unmount(&target).unwrap();
    let idle = pack(&keg, &all(), &mut |_| {}).unwrap();
    assert_eq!((idle.removed, idle.already), (first.removed, first.removed));
    let upper = scratch.dir("upper");
    mounts.writable(&tree, &upper, &target).unwrap();
    assert_same(&describe(&target), &want);
    fs::write(target.join("file-100000"), "changed").unwrap();
    assert_eq!(fs::read(target.join("file-100000")).unwrap(), b"changed");
    unmount(&target).unwrap();
    assert!(crate::fsck::fsck(&keg, &mut |_| {}).unwrap().is_clean());
}

#[test]
fn a_mount_that_was_ready_before_packing_is_made_ready_again() {
    let scratch = Scratch::new();
    let (keg, target) = (scratch.keg(), scratch.dir("mounted"));
    let bytes = noise(50_000, 1);
    commit_file(&keg, &bytes);
    let kid = Kid::of_blob(&bytes);
    let entry = keg.get(&path("/a")).unwrap().unwrap();
    let tree = entry.kid().unwrap();
    let mounts = Mounts::new(&keg);
    for round in 0..3 {
        assert_eq!(object_path(keg.home(), &kid).exists(), round == 0);
        mounts.read_only(&tree, &target).unwrap();
        assert!(fs::read(target.join("file")).unwrap() == bytes, "round {round}");
        unmount(&target).unwrap();
        pack(&keg, &all(), &mut |_| {}).unwrap();
    }
    // A damaged pack is an error of the mount, not of the first read.
    let pack = fs::read_dir(keg.home().join("packs")).unwrap().flatten();
    let file =
        pack.map(|entry| entry.path()).find(|path| path.extension() == Some("pack".as_ref()));
    let file = file.unwrap();
    let mut wrong = fs::read(&file).unwrap();
    wrong[50] ^= 1;
    fs::remove_file(&file).unwrap();
    fs::write(&file, wrong).unwrap();
    let error = mounts.read_only(&tree, &target).unwrap_err();
    let cause = std::error::Error::source(&error).unwrap().to_string();
    assert!(cause.contains("checksum") && cause.contains(&kid.to_string()), "{cause}");
}

#[test]
fn history_gives_each_object_its_predecessor() {
    let keg = Keg::in_memory();
    let mut kids = BTreeMap::new();
    for n in 0..3u64 {
        kids.insert(n, commit_file(&keg, &noise(5000, n)));
    }
    // Back to the first: it keeps its place.
    commit_file(&keg, &noise(5000, 0));
    let history = History::of(&keg, &|_, kind, _| kind == Kind::Blob, &mut |_| {}).unwrap();
    let item = |n: u64| history.items[&kids[&n]];
    assert_eq!((item(0).before, item(0).after), (None, Some(kids[&1])));
    assert_eq!((item(1).before, item(1).after), (Some(kids[&0]), Some(kids[&2])));
    assert_eq!((item(2).before, item(2).after), (Some(kids[&1]), None));
    assert!(item(0).order < item(1).order && item(1).order < item(2).order);
}

#[test]
fn small_files_are_in_a_frame_of_their_own() {
    let scratch = Scratch::new();
    let keg = scratch.keg();
    let (mut tree, mut kids) = (Tree::default(), [Vec::new(), Vec::new()]);
    for n in 0..400u64 {
        let small = usize::from(n % 2 == 0);
        let entry = keg.objects().put_bytes(&noise([9000, 2000][small], n)).unwrap();
        kids[small].push(entry.kid().unwrap());
        tree.entries.insert(EntryName::new(format!("{n:03}")).unwrap(), entry);
    }
    let entry = keg.objects().put_tree(&tree).unwrap();
    keg.commit(Txn::new("t", "m").set(path("/a"), entry)).unwrap();
    assert_eq!(pack(&keg, &all(), &mut |_| {}).unwrap().counts.small, 200);
    let set = PackSet::new(keg.home());
    let blocks = |kids: &[Kid]| -> BTreeSet<u64> {
        let found = kids.iter().map(|kid| set.find(kid).unwrap().expect("it is packed"));
        let block = |source| match source {
            Source::Slice { block, .. } => block,
            other => panic!("{other:?}"),
        };
        found.flat_map(|found| found.recipe.pieces).map(|piece| block(piece.source)).collect()
    };
    let [large, small] = kids.each_ref().map(|kids| blocks(kids));
    assert!(small.len() == 1 && large.is_disjoint(&small), "{large:?} {small:?}");
}

#[test]
fn what_is_not_needed_leaves_the_packs_and_what_is_stays_readable() {
    let scratch = Scratch::new();
    let keg = scratch.keg();
    let mut bytes = noise(60_000, 1);
    let mut kids = Vec::new();
    for n in 0..3 {
        bytes[n] ^= 1;
        kids.push((commit_file(&keg, &bytes), bytes.clone()));
        pack(&keg, &all(), &mut |_| {}).unwrap();
    }
    let aside = scratch.dir("aside");
    let sweep = |needed: &dyn Fn(&Kid) -> bool| {
        let packs = PackSet::new(keg.home()).all().unwrap().0;
        let packs = packs.iter().map(|pack| *pack.name()).collect();
        let due = |kid: &Kid| !needed(kid);
        let what = Sweep { due: &due, packs: &packs, aside: &aside, waste_percent: 25 };
        super::sweep(keg.home(), &what, &mut |_| {}).unwrap().expect("nobody packs")
    };
    let depths = || kids.iter().map(|(kid, _)| depth(&PackSet::new(keg.home()), kid)).collect();
    let now: Vec<u8> = depths();
    assert_eq!((now, list(&keg).unwrap().len()), (vec![0, 1, 2], 3));
    // The last needs all before it; nothing goes.
    let none = sweep(&|kid| *kid == kids[2].0);
    assert_eq!((none.packs, none.removed, none.rewritten), (3, 0, 0), "{none:?}");
    let some = sweep(&|kid| *kid == kids[1].0);
    assert_eq!((some.removed, some.rewritten), (1, 0), "{some:?}");
    let set = PackSet::new(keg.home());
    assert!(set.find(&kids[2].0).is_ok_and(|found| found.is_none()));
    for (kid, bytes) in &kids[..2] {
        assert!(keg.objects().blob(kid).unwrap() == *bytes);
    }
    let rest = sweep(&|_| false);
    assert_eq!((rest.removed, list(&keg).unwrap().len()), (2, 0));
    assert_eq!(fs::read_dir(&aside).unwrap().count(), 6, "three packs with their indexes");
}

#[test]
fn a_base_that_lost_its_pack_is_packed_again_less_deep_than_what_is_built_upon_it() {
    let scratch = Scratch::new();
    let keg = scratch.keg();
    let mut bytes = noise(60_000, 1);
    let mut kids = Vec::new();
    for n in 0..3 {
        bytes[n] ^= 1;
        kids.push(commit_file(&keg, &bytes));
    }
    // The second alone, then the third upon it.
    let hide = |kid: &Kid| {
        let hidden = keg.home().join("hidden");
        fs::rename(object_path(keg.home(), kid), &hidden).unwrap();
        hidden
    };
    let third = keg.home().join("third");
    fs::rename(object_path(keg.home(), &kids[2]), &third).unwrap();
    let first = hide(&kids[0]);
    pack(&keg, &all(), &mut |_| {}).unwrap();
    let base_pack = list(&keg).unwrap()[0].name.clone();
    fs::rename(&third, object_path(keg.home(), &kids[2])).unwrap();
    pack(&keg, &all(), &mut |_| {}).unwrap();
    // Its pack goes, as a repair may have it, and now there is a predecessor to build upon.
    restore(&keg, &[kids[1]]).unwrap();
    for kind in ["idx", "pack"] {
        fs::remove_file(keg.home().join("packs").join(format!("{base_pack}.{kind}"))).unwrap();
    }
    fs::rename(&first, object_path(keg.home(), &kids[0])).unwrap();
    let again = pack(&keg, &all(), &mut |_| {}).unwrap();
    assert_eq!((again.objects, again.removed), (2, 2), "{again:?}");
    let set = PackSet::new(keg.home());
    assert_eq!((depth(&set, &kids[1]), depth(&set, &kids[2])), (0, 1));
    assert!(crate::fsck::fsck(&keg, &mut |_| {}).unwrap().is_clean());
}
