//! All stores pass one suite; faults surface as errors and lose nothing.

#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::{
    fs,
    os::unix::fs::{MetadataExt, PermissionsExt},
    path::Path,
};

use keg::{
    Keg, Kid, NamePath, Txn,
    object::Kind,
    store::{Fault, FaultyStore, FileStore, INLINE_MAX, Master, MemoryStore, Objects, StoreError},
    testing::{conforms, noise},
};
use serde_json::json;

fn path(text: &str) -> NamePath {
    text.parse().expect(text)
}

#[test]
fn the_file_store_conforms() {
    let dir = tempfile::tempdir().unwrap();
    let mut number = 0;
    conforms(&mut || {
        number += 1;
        FileStore::create(&dir.path().join(number.to_string())).unwrap()
    });
}

#[test]
fn the_memory_store_conforms() {
    conforms(&mut || MemoryStore::new("/dev/null"));
}

#[test]
fn a_faulty_store_conforms_while_it_is_healthy() {
    conforms(&mut || FaultyStore::new(MemoryStore::new("/dev/null"), Fault::BitFlip, u64::MAX));
}

#[test]
fn objects_are_raw_read_only_files_and_written_once() {
    let dir = tempfile::tempdir().unwrap();
    let store = FileStore::create(dir.path()).unwrap();
    let bytes = noise(1, INLINE_MAX + 1);
    let kid = store.put(Kind::Blob, &bytes).unwrap();
    let file = dir.path().join("objects").join(&kid.to_hex()[..2]).join(&kid.to_hex()[2..]);
    assert!(!file.exists(), "it has no name before it is durable");
    store.sync().unwrap();
    assert_eq!(fs::read(&file).unwrap(), bytes);
    let meta = fs::metadata(&file).unwrap();
    assert_eq!(meta.permissions().mode() & 0o777, 0o444);
    store.put(Kind::Blob, &bytes).unwrap();
    store.sync().unwrap();
    assert_eq!(fs::metadata(&file).unwrap().ino(), meta.ino(), "it was not written again");
    let log = dir.path().join("log/00000001.seg");
    let size = fs::metadata(&log).unwrap().len();
    store.put(Kind::Blob, b"small").unwrap();
    assert_eq!(fs::metadata(&log).unwrap().len(), size + 45 + 5, "small ones are in the log");
    store.put(Kind::Blob, b"small").unwrap();
    assert_eq!(fs::metadata(&log).unwrap().len(), size + 45 + 5);
    drop(store);
    let left = fs::read_dir(dir.path().join("tmp")).unwrap().flatten();
    assert_eq!(left.filter(|entry| entry.path().is_dir()).count(), 0, "nothing is left in tmp");
}

#[test]
fn zeros_become_holes() {
    let dir = tempfile::tempdir().unwrap();
    let store = FileStore::create(dir.path()).unwrap();
    let kid = store.put(Kind::Blob, &vec![0; 8 << 20]).unwrap();
    store.sync().unwrap();
    let file = dir.path().join("objects").join(&kid.to_hex()[..2]).join(&kid.to_hex()[2..]);
    let meta = fs::metadata(file).unwrap();
    assert_eq!(meta.len(), 8 << 20);
    assert!(meta.blocks() * 512 < 1 << 20, "{} blocks", meta.blocks());
}

#[test]
fn many_large_blobs_share_one_sync_and_survive_reopening() {
    let dir = tempfile::tempdir().unwrap();
    let store = FileStore::create(dir.path()).unwrap();
    let kids: Vec<Kid> =
        (0..100).map(|n| store.put(Kind::Blob, &noise(n, 3000)).unwrap()).collect();
    store.sync().unwrap();
    let again = FileStore::open(dir.path()).unwrap();
    for (n, kid) in kids.iter().enumerate() {
        assert_eq!(again.get(kid).unwrap().bytes, noise(n as u64, 3000));
    }
}

#[test]
fn what_was_not_synced_leaves_no_trace_that_matters() {
    let dir = tempfile::tempdir().unwrap();
    let store = FileStore::create(dir.path()).unwrap();
    let kid = store.put(Kind::Blob, &noise(1, 5000)).unwrap();
    // As if it were killed: its directory in tmp stays, unlocked.
    let orphan = dir.path().join("tmp/put-orphan");
    fs::create_dir(&orphan).unwrap();
    fs::write(orphan.join("0"), b"half").unwrap();
    let other = FileStore::open(dir.path()).unwrap();
    assert_eq!(other.kind(&kid).unwrap(), None);
    other.put(Kind::Blob, &noise(2, 5000)).unwrap();
    assert!(!orphan.exists(), "what a dead process left is removed");
    assert_eq!(store.get(&kid).unwrap().bytes, noise(1, 5000), "a living one's is not");
    store.sync().unwrap();
    assert_eq!(other.get(&kid).unwrap().bytes, noise(1, 5000));
}

#[test]
fn a_directory_is_only_taken_for_what_it_is() {
    let dir = tempfile::tempdir().unwrap();
    let home = dir.path().join("keg");
    let message = |result: Result<FileStore, StoreError>| match result {
        Ok(_) => panic!("it was opened"),
        Err(error) => error.to_string(),
    };
    assert!(message(FileStore::open(&home)).contains("there is no Keg"));
    fs::create_dir(&home).unwrap();
    fs::write(home.join("letter.txt"), b"dear").unwrap();
    assert!(message(FileStore::open_or_create(&home)).contains("letter.txt"));
    fs::remove_file(home.join("letter.txt")).unwrap();
    FileStore::open_or_create(&home).unwrap();
    assert!(message(FileStore::create(&home)).contains("already"));
    let format = home.join("format.json");
    let good = fs::read_to_string(&format).unwrap();
    for (text, want) in [
        (good.replace(":1,", ":2,"), "version 2"),
        (good.replace("\"kid-checks\"", "\"mirrors\""), "mirrors"),
        ("{".to_owned(), "unreadable"),
        (good.replace("\"keg\"", "\"git\""), "\"git\""),
    ] {
        fs::write(&format, text).unwrap();
        let error = message(FileStore::open(&home));
        assert!(error.contains(want), "{error}");
    }
    fs::write(&format, good.replace("\"ro_compat\":[]", "\"ro_compat\":[\"packs\"]")).unwrap();
    let store = FileStore::open(&home).unwrap();
    assert!(store.latest().is_ok());
    assert!(store.put(Kind::Blob, b"x").unwrap_err().to_string().contains("packs"));
}

#[test]
fn an_interrupted_creation_is_finished_by_the_next() {
    let dir = tempfile::tempdir().unwrap();
    FileStore::create(dir.path()).unwrap();
    fs::remove_file(dir.path().join("format.json")).unwrap();
    for gone in ["log/HEAD", "objects/7f"] {
        let gone = dir.path().join(gone);
        if gone.is_dir() { fs::remove_dir(&gone) } else { fs::remove_file(&gone) }.unwrap();
    }
    let store = FileStore::open_or_create(dir.path()).unwrap();
    assert_eq!(store.latest().unwrap().seq, 0);
}

fn faulty(fault: Fault, healthy: u64) -> (tempfile::TempDir, Keg) {
    let dir = tempfile::tempdir().unwrap();
    let store = FileStore::create(dir.path()).unwrap();
    let keg = Keg::with_store(dir.path(), Box::new(FaultyStore::new(store, fault, healthy)));
    (dir, keg)
}

#[test]
fn write_faults_surface_and_lose_nothing() {
    for (fault, want) in [(Fault::DiskFull, "disk is full"), (Fault::WriteError, "Input/output")] {
        let (dir, keg) = faulty(fault, 1);
        keg.commit(Txn::new("t", "m").set_json(path("/kept"), json!(1))).unwrap();
        let error = keg.commit(Txn::new("t", "m").set_json(path("/lost"), json!(1)));
        let error = error.unwrap_err().to_string();
        assert!(error.contains(want), "{error}");
        for put in [keg.objects().put_bytes(&[0; 5000]).err(), keg.objects().sync().err()] {
            assert!(put.unwrap().to_string().contains(want));
        }
        drop(keg);
        check_sound(dir.path());
    }
}

#[test]
fn read_faults_surface() {
    for fault in [Fault::ReadError, Fault::Missing, Fault::BitFlip, Fault::Truncated] {
        let (dir, keg) = faulty(fault, 40);
        for n in 0..3 {
            keg.commit(Txn::new("t", "m").set_json(path("/kept"), json!(n))).unwrap();
        }
        let mut error = None;
        for _ in 0..40 {
            error = keg.get_json(&path("/kept")).err().or(error);
        }
        error.unwrap_or_else(|| panic!("{fault:?} was not noticed"));
        let kid = Kid::of_blob(b"2");
        assert!(keg.objects().get(&kid).is_err(), "{fault:?}");
        assert!(!keg::fsck::fsck(&keg, &mut |_| {}).is_ok_and(|r| r.is_clean()), "{fault:?}");
        drop(keg);
        check_sound(dir.path());
    }
}

fn check_sound(home: &Path) {
    let keg = Keg::open(home).unwrap();
    assert!(keg.get_json(&path("/kept")).unwrap().is_some());
    let report = keg::fsck::fsck(&keg, &mut |_| {}).unwrap();
    assert!(report.is_clean(), "{report:?}");
}

/// The kinds of the records of a Keg's first segment, as they are in the file.
fn record_kinds(home: &Path) -> Vec<u8> {
    let log = fs::read(home.join("log/00000001.seg")).unwrap();
    let (mut kinds, mut at) = (Vec::new(), 8);
    while at < log.len() {
        kinds.push(log[at + 4]);
        at += 45 + u32::from_le_bytes(log[at..at + 4].try_into().unwrap()) as usize;
    }
    kinds
}

#[test]
fn a_keg_of_an_older_program_stays_as_older_programs_read_it() {
    let dir = tempfile::tempdir().unwrap();
    let commit = |value: u64| {
        let keg = Keg::open(dir.path()).unwrap();
        keg.commit(Txn::new("t", "m").set_json(path("/a"), json!(value))).unwrap();
    };
    drop(FileStore::create(dir.path()).unwrap());
    // Who finishes what an older program began to make, and the other way round, reads it.
    assert!(record_kinds(dir.path()).iter().all(|kind| [2, 3, 17].contains(kind)));
    commit(1);
    assert!(record_kinds(dir.path()).ends_with(&[0x21, 0x22, 0x23, 16]));
    let format = dir.path().join("format.json");
    let new = fs::read_to_string(&format).unwrap();
    fs::write(&format, new.replace("\"kid-checks\"", "")).unwrap();
    commit(2);
    assert!(record_kinds(dir.path()).ends_with(&[1, 2, 3, 16]));
    fs::write(&format, new).unwrap();
    commit(3);
    assert!(record_kinds(dir.path()).ends_with(&[0x21, 0x22, 0x23, 16]));
    let keg = Keg::open(dir.path()).unwrap();
    assert_eq!(keg.get_json(&path("/a")).unwrap(), Some(json!(3)));
    assert!(keg::fsck::fsck(&keg, &mut |_| {}).unwrap().is_clean());
}
