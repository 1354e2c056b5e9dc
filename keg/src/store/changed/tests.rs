//! Large files that change in places: what is written, that it reads as it should, and what keeps
//! it readable.

use std::{
    fs::{self, File},
    io::Write,
    path::Path,
};

use super::LEAST;
use crate::{
    Keg, Kid, Txn,
    fsck::fsck,
    gc,
    ingest::{IngestOptions, ingest},
    mount::{
        Mounts,
        fixture::{Scratch, noise},
        unmount,
    },
    object::Entry,
    pack::{PackOptions, Which, pack},
    store::packs::{Found, PackSet},
    store::pending::object_path,
};

const SIZE: usize = LEAST as usize + 300_000;

/// A Keg with a large blob, its bytes and its KID.
fn started() -> (Scratch, Keg, Vec<u8>, Kid) {
    let scratch = Scratch::new();
    let keg = scratch.keg();
    let bytes = noise(SIZE, 1);
    let kid = keg.objects().put_bytes(&bytes).expect("stored").kid().expect("a blob");
    keg.objects().sync().expect("synced");
    (scratch, keg, bytes, kid)
}

fn put(keg: &Keg, bytes: &[u8], before: &Kid) -> Kid {
    let mut file = tempfile::tempfile().expect("a file");
    file.write_all(bytes).expect("written");
    std::io::Seek::rewind(&mut file).expect("at its start");
    let (kid, size) = keg.objects().put_changed(&mut file, before).expect("stored");
    assert_eq!((kid, size), (Kid::of_blob(bytes), bytes.len() as u64));
    assert!(keg.objects().blob(&kid).expect("read") == bytes, "it reads as it was written");
    kid
}

fn difference(keg: &Keg, kid: &Kid) -> Option<Found> {
    let found = PackSet::new(keg.home()).find(kid).expect("no damage");
    found.filter(|found| found.recipe.base.is_some() && !object_path(keg.home(), kid).exists())
}

fn name(keg: &Keg, kid: Kid, size: usize) {
    let entry = Entry::file(kid, size as u64);
    let txn = Txn::new("t", "m").set("/file".parse().expect("a path"), entry);
    keg.commit(txn).expect("a version");
}

fn assert_clean(keg: &Keg) {
    let report = fsck(keg, &mut |_| {}).expect("checked");
    assert!(report.is_clean(), "{report:?}");
}

#[test]
fn what_is_new_is_written_and_the_rest_is_what_was() {
    type Change = dyn Fn(&mut Vec<u8>);
    let check = |what: &str, change: &Change, most: Option<u64>| {
        let (_scratch, keg, mut bytes, before) = started();
        change(&mut bytes);
        let kid = put(&keg, &bytes, &before);
        let found = difference(&keg, &kid);
        assert_eq!(found.is_some(), most.is_some(), "{what}");
        if let Some(most) = most {
            let size = PackSet::new(keg.home()).disk_bytes(&kid).expect("read").expect("packed");
            assert!(size <= most, "{what}: {size} bytes");
        }
        name(&keg, kid, bytes.len());
        let again = Keg::open(keg.home()).expect("it opens");
        assert!(again.objects().blob(&kid).expect("read") == bytes, "{what}");
        assert_clean(&again);
    };
    check("in the middle", &|bytes| bytes[5_000_000..5_000_008].fill(7), Some(200));
    check("the first byte", &|bytes| bytes[0] ^= 1, Some(200));
    check("the last byte", &|bytes| *bytes.last_mut().expect("one") ^= 1, Some(200));
    check("over a piece's end", &|bytes| bytes[131_000..131_200].fill(7), Some(400));
    check("longer", &|bytes| bytes.extend(noise(1000, 2)), Some(1300));
    check("shorter", &|bytes| bytes.truncate(SIZE - 100_001), Some(200));
    check("at the end of a group", &|bytes| bytes.truncate(LEAST as usize), Some(200));
    let places: &Change = &|bytes| (0..SIZE).step_by(9999).for_each(|at| bytes[at] ^= 1);
    check("in many places", places, Some(60_000));
    check("a shifted file", &|bytes| bytes.insert(0, 1), None);
    check("too much of it", &|bytes| bytes[..SIZE / 8].fill(7), None);
    check("much longer", &|bytes| bytes.extend(noise(SIZE / 8, 2)), None);
    check("a small one", &|bytes| bytes.truncate(100_000), None);
}

#[test]
fn a_file_that_is_what_it_was_is_not_written() {
    let (_scratch, keg, bytes, before) = started();
    assert_eq!(put(&keg, &bytes, &before), before);
    assert!(!keg.home().join("packs").exists());
}

#[test]
fn what_is_condemned_is_written_whole() {
    let (_scratch, keg, mut bytes, before) = started();
    name(&keg, before, SIZE);
    bytes[5_000_000] ^= 1;
    let kid = put(&keg, &bytes, &before);
    assert!(difference(&keg, &kid).is_some());
    // No name has it.
    gc::collect(&keg, &gc::Options::default(), &mut |_| {}).expect("collected");
    put(&keg, &bytes, &before);
    keg.objects().sync().expect("synced");
    assert!(object_path(keg.home(), &kid).exists(), "the pack may go with it");
}

#[test]
fn nothing_is_built_upon_damage() {
    let (_scratch, keg, mut bytes, before) = started();
    let mut damaged = bytes.clone();
    damaged[77] ^= 1;
    fs::write(object_path(keg.home(), &before), &damaged).expect("damaged");
    bytes[5_000_000] ^= 1;
    let kid = put(&keg, &bytes, &before);
    assert!(difference(&keg, &kid).is_none(), "it is written whole");
}

#[test]
fn a_line_of_versions_is_built_upon_what_is_loose_and_stays_readable() {
    let (_scratch, keg, mut bytes, first) = started();
    name(&keg, first, SIZE);
    let mut line = vec![(first, bytes.clone())];
    for n in 0..3 {
        bytes[1000 * n] ^= 1;
        let kid = put(&keg, &bytes, &line[n].0);
        let base = difference(&keg, &kid).expect("a difference").recipe.base.expect("a base");
        assert_eq!((base.kid, base.depth), (first, 1), "all stand on the one that is loose");
        name(&keg, kid, SIZE);
        line.push((kid, bytes.clone()));
    }
    let whole = |keg: &Keg| {
        line.iter().for_each(|(kid, bytes)| {
            assert!(keg.objects().blob(kid).expect("read") == *bytes, "{kid}");
        });
        assert_clean(keg);
    };
    // What the newest is built upon is as little cold as it is.
    let options = PackOptions { level: 1, ..PackOptions::default() };
    pack(&keg, &options, &mut |_| {}).expect("packed");
    assert!(object_path(keg.home(), &first).exists(), "the base stays loose");
    whole(&keg);
    let all = PackOptions { which: Which::All, ..options };
    pack(&keg, &all, &mut |_| {}).expect("packed");
    assert!(!object_path(keg.home(), &first).exists(), "all of it is packed");
    whole(&keg);
}

#[test]
fn what_a_difference_is_built_upon_is_no_garbage() {
    let (_scratch, keg, mut bytes, before) = started();
    name(&keg, before, SIZE);
    bytes[5_000_000] ^= 1;
    let kid = put(&keg, &bytes, &before);
    name(&keg, kid, SIZE);
    let policy = serde_json::json!({ "keep": "1 version", "paths": {} });
    let txn = Txn::new("t", "m").set_json("/-/gc.json".parse().expect("a path"), policy);
    keg.commit(txn).expect("a version");
    let options = gc::Options {
        grace_ms: Some(0),
        trash_ms: Some(0),
        seal_from: 0,
        waste_percent: 0,
        ..gc::Options::default()
    };
    for _ in 0..3 {
        gc::collect(&keg, &options, &mut |_| {}).expect("a collection");
        std::thread::sleep(std::time::Duration::from_millis(5));
    }
    assert!(keg.objects().blob(&kid).expect("read") == bytes);
    assert!(object_path(keg.home(), &before).exists());
}

#[test]
fn a_directory_taken_in_again_and_mounted() {
    let scratch = Scratch::new();
    let (keg, dir, target) = (scratch.keg(), scratch.dir("tree"), scratch.dir("mounted"));
    let mut bytes = noise(SIZE, 1);
    fs::create_dir(dir.join("below")).expect("a directory");
    fs::write(dir.join("below/large"), &bytes).expect("written");
    let take = |before: Option<Kid>| {
        let options = IngestOptions { before, ..IngestOptions::default() };
        let entry = ingest(keg.objects(), &dir, &options).expect("taken in");
        let path = "/tree".parse().expect("a path");
        keg.commit(Txn::new("t", "m").set(path, entry.clone())).expect("a version");
        entry.kid().expect("a tree")
    };
    let large = |tree: &Kid| {
        let found = keg.objects().walk(tree, "below/large").expect("read").expect("it is there");
        found.kid().expect("a blob")
    };
    let first = take(None);
    let before = bytes.clone();
    bytes[5_000_000] ^= 1;
    // In the place of the old one, so that only the path says what it was.
    fs::write(dir.join("below/new"), &bytes).expect("written");
    fs::rename(dir.join("below/new"), dir.join("below/large")).expect("renamed");
    let second = take(Some(first));
    assert!(difference(&keg, &large(&second)).is_some());
    let mounts = Mounts::new(&keg).like(&first);
    for (tree, want) in [(first, before), (second, bytes)] {
        mounts.read_only(&tree, &target).expect("mounted");
        let shown = fs::read(target.join("below/large")).expect("read");
        unmount(&target).expect("unmounted");
        assert!(shown == want, "who mounts has a loose file");
        assert!(object_path(keg.home(), &large(&tree)).exists());
    }
}

#[test]
fn while_somebody_packs_it_is_written_whole() {
    let (_scratch, keg, mut bytes, before) = started();
    let _packing = locked(&keg.home().join("tmp/packing"));
    bytes[5_000_000] ^= 1;
    let kid = put(&keg, &bytes, &before);
    assert!(difference(&keg, &kid).is_none());
}

fn locked(path: &Path) -> File {
    let file = File::create(path).expect("a file");
    let how = rustix::fs::FlockOperation::NonBlockingLockExclusive;
    rustix::fs::flock(&file, how).expect("locked");
    file
}
