//! Packs: what is in them reads as before, whatever happens meanwhile, and is never lost.

#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

#[path = "../common/child.rs"]
mod child;
mod damage;
#[path = "../common/disk.rs"]
mod disk;
mod joins;
#[path = "../common/peer.rs"]
mod peer;
mod processes;
mod small;
mod trees;

use std::{
    collections::BTreeMap,
    io::{Read, Seek, SeekFrom},
    path::{Path, PathBuf},
};

use keg::{
    Keg, Kid, NamePath, Txn,
    fsck::{Report, fsck},
    object::{Entry, EntryName, Kind, Tree},
    pack::{PackOptions, Phase, Which, list, pack, packed, rehydrate, restore},
    store::{Fault, FaultyStore, FileStore, StoreError},
    testing::{commit_of, noise},
};

fn path(text: &str) -> NamePath {
    text.parse().expect(text)
}

fn check(keg: &Keg) -> Report {
    fsck(keg, &mut |_| {}).unwrap()
}

fn options(which: Which) -> PackOptions {
    PackOptions { which, level: 1, ..PackOptions::default() }
}

fn pack_all(keg: &Keg) -> keg::pack::Report {
    pack(keg, &options(Which::All), &mut |_| {}).unwrap()
}

fn loose(home: &Path, kid: &Kid) -> PathBuf {
    home.join("objects").join(&kid.to_hex()[..2]).join(&kid.to_hex()[2..])
}

fn put_tree(keg: &Keg, files: &BTreeMap<String, Vec<u8>>) -> Entry {
    let mut tree = Tree::default();
    for (name, bytes) in files {
        let entry = keg.objects().put_bytes(bytes).unwrap();
        tree.entries.insert(EntryName::new(name.as_str()).unwrap(), entry);
    }
    keg.objects().put_tree(&tree).unwrap()
}

/// A Keg with some versions of a directory `/app`, and every large object they have.
struct Sample {
    dir: tempfile::TempDir,
    keg: Keg,
    objects: BTreeMap<Kid, Vec<u8>>,
    trees: Vec<Kid>,
}

impl Sample {
    /// `versions` versions: small files that change a little, one of 3 MiB that does, one that is
    /// new each time, two large ones that are alike, one that stays.
    fn new(versions: u64) -> Self {
        let dir = tempfile::tempdir().unwrap();
        let keg = Keg::create(dir.path()).unwrap();
        let mut files = BTreeMap::new();
        let twin = noise(77, 2 << 20);
        files.insert("a-stays".to_owned(), noise(1, 30_000));
        files.insert("b-small".to_owned(), noise(2, 50_000));
        files.insert("c-large".to_owned(), noise(3, 3 << 20));
        files.insert("d-twin".to_owned(), twin.clone());
        files.insert("e-twin".to_owned(), [&twin[..], &noise(4, 100_000)].concat());
        files.insert("f-text".to_owned(), "all work and no play\n".repeat(10_000).into());
        files.insert("g-inline".to_owned(), b"inline".to_vec());
        let (mut objects, mut trees) = (BTreeMap::new(), Vec::new());
        for version in 0..versions {
            for (name, at) in [("b-small", 17), ("c-large", 1_500_000)] {
                files.get_mut(name).unwrap()[at] = version as u8;
            }
            files.insert("h-new".to_owned(), noise(100 + version, 5000));
            let entry = put_tree(&keg, &files);
            trees.push(entry.kid().unwrap());
            keg.commit(Txn::new("t", "m").set(path("/app"), entry)).unwrap();
            let large = files.values().filter(|bytes| bytes.len() > 2048);
            objects.extend(large.map(|bytes| (Kid::of_blob(bytes), bytes.clone())));
        }
        Self { dir, keg, objects, trees }
    }

    fn home(&self) -> &Path {
        self.dir.path()
    }

    fn reopened(&self) -> Keg {
        Keg::open(self.home()).unwrap()
    }

    fn loose(&self) -> usize {
        self.objects.keys().filter(|kid| loose(self.home(), kid).exists()).count()
    }

    /// Everything reads as it was put, in every way.
    fn check_reads(&self, keg: &Keg, what: &str) {
        let objects = keg.objects();
        for (kid, bytes) in &self.objects {
            let got = objects.get(kid).unwrap_or_else(|error| panic!("{what}: {error}"));
            assert!(got.kind == Kind::Blob && got.bytes == *bytes, "{what}: {kid}");
            assert_eq!(objects.blob_size(kid).unwrap(), bytes.len() as u64);
            assert_eq!(objects.kind(kid).unwrap(), Some(Kind::Blob));
            assert_eq!(objects.candidates(&kid.short().parse().unwrap()).unwrap(), [*kid]);
            let mut read = Vec::new();
            objects.open_blob(kid).unwrap().read_to_end(&mut read).unwrap();
            assert!(read == *bytes, "{what}: {kid} as a stream");
            let mut reader = objects.open_blob(kid).unwrap();
            for at in [bytes.len() / 2, 3, bytes.len() - 1] {
                reader.seek(SeekFrom::Start(at as u64)).unwrap();
                let mut byte = [0];
                reader.read_exact(&mut byte).unwrap();
                assert_eq!(byte[0], bytes[at], "{what}: byte {at} of {kid}");
            }
        }
    }
}

#[test]
fn what_is_packed_reads_as_before() {
    let sample = Sample::new(4);
    let before = sample.reopened();
    let mut phases = Vec::new();
    let report = pack(&sample.keg, &options(Which::All), &mut |told| {
        if phases.last() != Some(&told.phase) {
            phases.push(told.phase);
        }
        assert!(told.of_objects == 0 || told.objects <= told.of_objects, "{told:?}");
    });
    let report = report.unwrap();
    assert_eq!(phases, [Phase::Looking, Phase::Packing, Phase::Checking, Phase::Removing]);
    assert_eq!(report.objects, sample.objects.len() as u64);
    assert_eq!((report.removed, report.hot, report.already), (report.objects, 0, 0));
    assert!(report.counts.solid >= 4 && report.counts.chunked >= 3, "{report:?}");
    assert_eq!(report.counts.patched, 6, "two files changed three times");
    assert!(report.packed_bytes < 6 << 20, "{report:?}");
    assert_eq!(sample.loose(), 0);
    for (keg, what) in
        [(&sample.keg, "packing"), (&before, "opened before"), (&sample.reopened(), "after")]
    {
        sample.check_reads(keg, what);
    }
    for bytes in sample.objects.values() {
        before.objects().put(Kind::Blob, bytes).unwrap();
    }
    before.objects().sync().unwrap();
    assert_eq!(sample.loose(), 0, "what is packed is not written again");
    let fsck = check(&before);
    assert!(fsck.is_clean(), "{fsck:?}");
    assert_eq!(fsck.unreferenced, 0);
    let json = serde_json::to_value(&report).unwrap();
    assert_eq!(json["counts"]["patched"], 6);
    let infos = list(&sample.keg).unwrap();
    assert_eq!((infos.len(), infos[0].objects), (1, report.objects));
    assert_eq!(infos[0].bytes, report.packed_bytes);
    assert!(packed(&sample.keg).unwrap().iter().eq(sample.objects.keys()));
}

#[test]
fn only_what_is_cold_is_packed_by_default() {
    let sample = Sample::new(2);
    let cold = pack(&sample.keg, &PackOptions::default(), &mut |_| {}).unwrap();
    assert_eq!((cold.objects, cold.hot), (3, 7), "{cold:?}");
    assert_eq!(sample.loose(), 7);
    sample.check_reads(&sample.keg, "cold");
    let again = pack(&sample.keg, &PackOptions::default(), &mut |_| {}).unwrap();
    assert_eq!((again.objects, again.removed, again.packs.len()), (0, 0, 0));
    let mut keep = options(Which::All);
    keep.keep = vec![sample.trees[1]];
    let kept = pack(&sample.keg, &keep, &mut |_| {}).unwrap();
    assert_eq!((kept.objects, kept.hot), (0, 7), "{kept:?}");
    assert_eq!(pack_all(&sample.keg).objects, 7);
    sample.check_reads(&sample.reopened(), "two packs");
    assert!(check(&sample.keg).is_clean());
}

#[test]
fn an_increment_is_small_and_built_on_the_pack_before() {
    let sample = Sample::new(1);
    pack_all(&sample.keg);
    let next = sample.keg.clone();
    let mut files = BTreeMap::new();
    let mut large = noise(3, 3 << 20);
    large[1_500_000..1_500_008].fill(9);
    let mut small = noise(2, 50_000);
    small[17] = 200;
    files.insert("c-large".to_owned(), large.clone());
    files.insert("b-small".to_owned(), small.clone());
    let entry = put_tree(&next, &files);
    next.commit(Txn::new("t", "m").set(path("/app"), entry)).unwrap();
    let report = pack_all(&next);
    assert_eq!((report.objects, report.counts.patched), (2, 2), "{report:?}");
    assert!(report.packed_bytes < 2000, "{report:?}");
    for bytes in [large, small] {
        assert!(sample.reopened().objects().blob(&Kid::of_blob(&bytes)).unwrap() == bytes);
    }
    sample.check_reads(&sample.reopened(), "both packs");
    assert!(check(&sample.keg).is_clean());
}

#[test]
fn commits_within_a_version_have_predecessors_too() {
    let dir = tempfile::tempdir().unwrap();
    let keg = Keg::create(dir.path()).unwrap();
    let (mut parents, mut bytes) = (Vec::new(), noise(5, 40_000));
    for n in 0..5 {
        bytes[n * 1000] ^= 1;
        let tree = put_tree(&keg, &BTreeMap::from([("file".to_owned(), bytes.clone())]));
        let commit = commit_of(tree.kid().unwrap(), parents, "pushed");
        parents = vec![keg.objects().put_commit(&commit).unwrap()];
    }
    keg.commit(Txn::new("t", "m").set(path("/source"), Entry::commit(parents[0]))).unwrap();
    let report = pack(&keg, &PackOptions::default(), &mut |_| {}).unwrap();
    assert_eq!((report.objects, report.hot), (4, 1), "{report:?}");
    assert_eq!(report.counts.patched, 3, "{report:?}");
    assert!(check(&keg).is_clean());
}

#[test]
fn rehydrated_trees_are_loose_again() {
    let sample = Sample::new(3);
    pack_all(&sample.keg);
    let keg = sample.reopened();
    let mut last = 0;
    let done = rehydrate(&keg, &sample.trees[1], &mut |told| {
        assert_eq!(told.phase, Phase::Unpacking);
        last = told.bytes;
    });
    let done = done.unwrap();
    assert_eq!((done.needed, done.objects, done.bytes), (7, 7, last), "{done:?}");
    assert_eq!(sample.loose(), 7);
    assert_eq!(rehydrate(&keg, &sample.trees[1], &mut |_| {}).unwrap().objects, 0);
    for (kid, bytes) in &sample.objects {
        if let Ok(found) = std::fs::read(loose(sample.home(), kid)) {
            assert!(found == *bytes, "{kid}");
        }
    }
    let again = pack_all(&keg);
    assert_eq!((again.objects, again.already, again.removed), (0, 7, 7));
    let one = *sample.objects.keys().next().unwrap();
    assert_eq!(restore(&keg, &[one]).unwrap().objects, 1);
    assert!(loose(sample.home(), &one).exists());
    let missing = restore(&keg, &[Kid::of_blob(b"never stored")]).unwrap_err().to_string();
    assert!(missing.contains("not in this Keg"), "{missing}");
    sample.check_reads(&keg, "rehydrated");
    assert!(check(&keg).is_clean());
}

#[test]
fn several_small_packs_are_as_good_as_one() {
    let sample = Sample::new(4);
    let mut small = options(Which::All);
    small.max_pack = 1 << 20;
    let report = pack(&sample.keg, &small, &mut |_| {}).unwrap();
    assert!(report.packs.len() >= 3, "{report:?}");
    assert_eq!((report.removed, sample.loose()), (report.objects, 0));
    assert_eq!(report.counts.patched, 6, "bases in other packs count");
    sample.check_reads(&sample.reopened(), "many packs");
    assert!(check(&sample.keg).is_clean());
}

#[test]
fn a_keg_with_packs_says_so_before_it_has_any() {
    let sample = Sample::new(1);
    let format = || std::fs::read_to_string(sample.home().join("format.json")).unwrap();
    assert!(!format().contains("packs"));
    for _ in 0..2 {
        pack_all(&sample.keg);
        let features = r#""incompat":["kid-checks","listed-packs","packs","wide-frames"]"#;
        assert!(format().contains(features), "{}", format());
    }
    std::fs::write(
        sample.home().join("format.json"),
        r#"{"format":"keg","version":1,"compat":[],"ro_compat":[],"incompat":["packs","warp"]}"#,
    )
    .unwrap();
    let error = Keg::open(sample.home()).err().unwrap().to_string();
    assert!(error.contains("(warp)"), "{error}");
}

#[test]
fn a_store_that_fails_loses_nothing() {
    for fault in [Fault::ReadError, Fault::Missing, Fault::BitFlip, Fault::WriteError] {
        for healthy in 0..12 {
            let sample = Sample::new(2);
            let store = FileStore::open(sample.home()).unwrap();
            let faulty = FaultyStore::new(store, fault, healthy);
            let keg = Keg::with_store(sample.home(), Box::new(faulty));
            match pack(&keg, &options(Which::All), &mut |_| {}) {
                Ok(report) => assert!(report.damaged.is_empty(), "{report:?}"),
                Err(error) => assert!(!error.to_string().is_empty()),
            }
            sample.check_reads(&sample.reopened(), &format!("{fault:?} after {healthy}"));
            assert!(check(&sample.keg).is_clean(), "{fault:?} after {healthy}");
        }
    }
}

#[test]
fn a_keg_in_memory_has_nothing_to_pack() {
    let keg = Keg::in_memory();
    let entry = keg.objects().put_bytes(&noise(1, 5000)).unwrap();
    keg.commit(Txn::new("t", "m").set(path("/a"), entry)).unwrap();
    let report = pack_all(&keg);
    assert_eq!((report.objects, report.packs.len()), (0, 0));
    assert_eq!(list(&keg).unwrap(), []);
    let missing = keg.objects().get(&Kid::of_blob(b"none")).unwrap_err();
    assert!(matches!(missing, StoreError::Missing { .. }));
}
