//! What is acknowledged stays, and what is damaged is found: torn logs, flipped bits.

#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::{
    fs,
    os::unix::fs::{FileExt, symlink},
    path::Path,
};

use keg::{
    Keg, Kid, NamePath, Txn,
    fsck::{Report, fsck},
    object::Kind,
    store::StoreError,
    testing::noise,
};
use serde_json::json;

fn path(text: &str) -> NamePath {
    text.parse().expect(text)
}

fn set(keg: &Keg, name: &str, value: u64) -> u64 {
    keg.commit(Txn::new("t", "m").set_json(path(name), json!(value))).unwrap().seq
}

fn check(keg: &Keg) -> Report {
    fsck(keg, &mut |_| {}).unwrap()
}

/// A Keg with the same objects and format, and this as its log.
fn with_log(original: &Path, segment: &[u8], head: &[u8]) -> tempfile::TempDir {
    let dir = tempfile::tempdir().unwrap();
    fs::copy(original.join("format.json"), dir.path().join("format.json")).unwrap();
    symlink(original.join("objects"), dir.path().join("objects")).unwrap();
    for name in ["log", "tmp", "streams", "run", "img"] {
        fs::create_dir(dir.path().join(name)).unwrap();
    }
    fs::write(dir.path().join("log/00000001.seg"), segment).unwrap();
    fs::write(dir.path().join("log/HEAD"), head).unwrap();
    dir
}

/// The log before and after the last of some commits.
struct Grown {
    dir: tempfile::TempDir,
    head: Vec<u8>,
    before: usize,
    segment: Vec<u8>,
}

fn grown() -> Grown {
    let dir = tempfile::tempdir().unwrap();
    let keg = Keg::create(dir.path()).unwrap();
    set(&keg, "/kept", 1);
    let log = dir.path().join("log");
    let head = fs::read(log.join("HEAD")).unwrap();
    let before = fs::metadata(log.join("00000001.seg")).unwrap().len() as usize;
    set(&keg, "/last", 2);
    let segment = fs::read(log.join("00000001.seg")).unwrap();
    Grown { dir, head, before, segment }
}

fn check_recovered(dir: &Path, seq: u64, what: &str) {
    let keg = Keg::open(dir).unwrap_or_else(|error| panic!("{what}: {error}"));
    assert_eq!(keg.head().unwrap().seq, seq, "{what}");
    assert_eq!(keg.get_json(&path("/kept")).unwrap(), Some(json!(1)), "{what}");
    assert_eq!(set(&keg, "/next", 3), seq + 1, "{what}");
    let report = check(&keg);
    assert!(report.is_clean(), "{what}: {report:?}");
}

#[test]
fn a_log_torn_at_any_byte_of_the_last_commit_loses_only_that_commit() {
    let Grown { dir, head, before, segment } = grown();
    for cut in before..=segment.len() {
        let torn = with_log(dir.path(), &segment[..cut], &head);
        let seq = if cut == segment.len() { 2 } else { 1 };
        check_recovered(torn.path(), seq, &format!("cut at {cut}"));
    }
}

#[test]
fn a_last_commit_with_any_wrong_byte_is_as_if_it_was_not_made() {
    let Grown { dir, head, before, segment } = grown();
    for at in before..segment.len() {
        let mut wrong = segment.clone();
        wrong[at] ^= 0x40;
        let torn = with_log(dir.path(), &wrong, &head);
        check_recovered(torn.path(), 1, &format!("wrong at {at}"));
    }
}

#[test]
fn a_lost_head_is_found_again() {
    let Grown { dir, segment, .. } = grown();
    for head in [&[][..], &[0; 16], &[0; 7]] {
        let lost = with_log(dir.path(), &segment, head);
        check_recovered(lost.path(), 2, &format!("head {head:?}"));
    }
    let beyond = with_log(dir.path(), &segment, &[0xff; 16]);
    let error = Keg::open(beyond.path()).err().unwrap().to_string();
    assert!(error.contains("log/HEAD"), "{error}");
}

#[test]
fn a_zeroed_page_after_power_loss_is_cut_off() {
    let Grown { dir, head, mut segment, .. } = grown();
    segment.resize(segment.len() + 8192, 0);
    let torn = with_log(dir.path(), &segment, &head);
    check_recovered(torn.path(), 2, "zeros at the end");
}

/// Flips one bit of the byte at `at`.
fn flip(file: &Path, at: u64) {
    let opened = fs::OpenOptions::new().read(true).write(true).open(file).unwrap();
    let mut byte = [0];
    opened.read_exact_at(&mut byte, at).unwrap();
    opened.write_all_at(&[byte[0] ^ 0x10], at).unwrap();
}

#[test]
fn every_flipped_bit_of_the_log_is_found_and_nothing_wrong_is_served() {
    let Grown { dir, segment, .. } = grown();
    let head = fs::read(dir.path().join("log/HEAD")).unwrap();
    for at in 0..segment.len() {
        let mut wrong = segment.clone();
        wrong[at] ^= 0x10;
        let damaged = with_log(dir.path(), &wrong, &head);
        let keg = match Keg::open(damaged.path()) {
            Ok(keg) => keg,
            Err(error) => {
                assert!(error.to_string().contains("damaged"), "{at}: {error}");
                continue;
            }
        };
        for (name, want) in [("/kept", 1), ("/last", 2)] {
            if let Ok(found) = keg.get_json(&path(name)) {
                assert_eq!(found, Some(json!(want)), "byte {at}");
            }
        }
        let report = check(&keg);
        assert!(!report.is_clean(), "byte {at} of the log: {report:?}");
    }
}

#[test]
fn fsck_names_damaged_objects_and_what_uses_them() {
    let dir = tempfile::tempdir().unwrap();
    let keg = Keg::create(dir.path()).unwrap();
    let large = keg.objects().put_bytes(&noise(1, 100_000)).unwrap();
    let kid = large.kid().unwrap();
    let small = keg.objects().put_bytes(b"a small document").unwrap();
    let txn = Txn::new("t", "m").set(path("/app/big.bin"), large.clone());
    keg.commit(txn.set(path("/copy"), large).set(path("/small.txt"), small.clone())).unwrap();
    keg.commit(Txn::new("t", "m").remove(path("/small.txt"))).unwrap();
    let clean = check(&keg);
    assert!(clean.is_clean(), "{clean:?}");
    assert_eq!((clean.versions, clean.unreferenced), (3, 0));
    assert!(clean.bytes > 100_000 && clean.objects >= 8, "{clean:?}");

    let file = dir.path().join("objects").join(&kid.to_hex()[..2]).join(&kid.to_hex()[2..]);
    flip(&file, 70_000);
    let log = fs::read(dir.path().join("log/00000001.seg")).unwrap();
    let find = |text: &[u8]| log.windows(text.len()).position(|w| w == text).unwrap() as u64;
    flip(&dir.path().join("log/00000001.seg"), find(b"a small document"));
    let keg = Keg::open(dir.path()).unwrap();

    let mut read = Vec::new();
    let mut reader = keg.objects().open_blob(&kid).unwrap();
    let error = std::io::Read::read_to_end(&mut reader, &mut read).unwrap_err();
    assert_eq!(error.kind(), std::io::ErrorKind::InvalidData);
    assert!(read.len() < 100_000, "the end is withheld");
    let mut reader = keg.objects().open_blob(&kid).unwrap();
    std::io::Seek::seek(&mut reader, std::io::SeekFrom::Start(5)).unwrap();
    std::io::Read::read(&mut reader, &mut [0; 8]).expect_err("checked before anything is served");
    for kid in [kid, small.kid().unwrap()] {
        let error = keg.objects().get(&kid).unwrap_err();
        assert!(matches!(error, StoreError::Corrupt { .. }), "{error}");
    }

    let report = check(&keg);
    let paths = |wanted: Kid| {
        let damage = report.damaged.iter().find(|damage| damage.kid == Some(wanted));
        damage.unwrap_or_else(|| panic!("{wanted} is not in {report:?}")).paths.clone()
    };
    let mut found = paths(kid);
    found.sort();
    assert_eq!(found, ["/app/big.bin", "/copy"]);
    let first = keg.version(1).unwrap().commit;
    assert_eq!(paths(small.kid().unwrap()), [format!("/small.txt@{first}")]);
    assert_eq!(report.damaged.len(), 2, "{report:?}");
    let json = serde_json::to_string(&report).unwrap();
    assert!(json.contains(&kid.to_string()) && json.contains("/app/big.bin"), "{json}");

    fs::remove_file(&file).unwrap();
    let report = check(&Keg::open(dir.path()).unwrap());
    let missing = report.damaged.iter().find(|damage| damage.kid == Some(kid)).unwrap();
    assert!(missing.what.contains("not in this Keg"), "{missing:?}");
    fs::write(dir.path().join("objects/00/stray"), b"x").unwrap();
    let report = check(&keg);
    assert!(report.damaged.iter().any(|d| d.place.as_deref() == Some("objects/00/stray")));
}

#[test]
fn a_damaged_object_of_another_size_is_healed_by_putting_it_again() {
    let dir = tempfile::tempdir().unwrap();
    let keg = Keg::create(dir.path()).unwrap();
    let kid = keg.objects().put(Kind::Blob, &noise(1, 9000)).unwrap();
    keg.objects().sync().unwrap();
    let file = dir.path().join("objects").join(&kid.to_hex()[..2]).join(&kid.to_hex()[2..]);
    fs::OpenOptions::new().write(true).open(&file).unwrap().set_len(10).unwrap();
    assert!(keg.objects().get(&kid).is_err());
    keg.objects().put(Kind::Blob, &noise(1, 9000)).unwrap();
    keg.objects().sync().unwrap();
    assert_eq!(keg.objects().blob(&kid).unwrap(), noise(1, 9000));
}

#[test]
fn segments_are_sealed_indexed_and_followed() {
    let dir = tempfile::tempdir().unwrap();
    let keg = Keg::create(dir.path()).unwrap();
    let other = Keg::open(dir.path()).unwrap();
    let mut watch = other.watch(&NamePath::root(), None).unwrap();
    let mut kids = Vec::new();
    // 40 MiB of small blobs: three segments.
    for n in 0..20_000u64 {
        kids.push(keg.objects().put(Kind::Blob, &noise(n, 2048)).unwrap());
        if n % 2000 == 0 {
            set(&keg, "/n", n);
        }
    }
    set(&keg, "/end", 1);
    let log = |name: &str| dir.path().join("log").join(name);
    assert!(log("00000001.idx").exists() && log("00000003.seg").exists());
    let changes = watch.try_next().unwrap();
    assert_eq!(changes.len(), 11, "all roots are seen, over segments");
    let again = Keg::open(dir.path()).unwrap();
    for keg in [&keg, &other, &again] {
        assert_eq!(keg.head().unwrap().seq, 11);
        assert_eq!(keg.version(3).unwrap().seq, 3);
        for (n, kid) in kids.iter().enumerate().step_by(997) {
            assert_eq!(keg.objects().blob(kid).unwrap(), noise(n as u64, 2048));
        }
    }
    let size = || fs::metadata(log("00000003.seg")).unwrap().len();
    let before = size();
    for n in (0..20_000).step_by(1999) {
        again.objects().put(Kind::Blob, &noise(n, 2048)).unwrap();
    }
    assert_eq!(size(), before, "what is in a sealed segment is not written again");
    assert!(check(&again).is_clean());

    // A lost index is made again; a wrong one is found.
    fs::remove_file(log("00000001.idx")).unwrap();
    let again = Keg::open(dir.path()).unwrap();
    assert_eq!(again.objects().blob(&kids[0]).unwrap(), noise(0, 2048));
    flip(&log("00000002.idx"), 5000);
    let report = check(&Keg::open(dir.path()).unwrap());
    assert!(
        report.damaged.iter().any(|d| d.place.as_deref() == Some("log/00000002.idx")),
        "{report:?}"
    );
}

#[test]
fn an_index_that_was_not_durable_yet_is_checked_before_it_is_believed() {
    let dir = tempfile::tempdir().unwrap();
    let log = |name: &str| dir.path().join("log").join(name);
    let keg = Keg::create(dir.path()).unwrap();
    let (follows, late) = (Keg::open(dir.path()).unwrap(), Keg::open(dir.path()).unwrap());
    let mut kids = Vec::new();
    while !log("00000002.seg").exists() {
        kids.push(keg.objects().put(Kind::Blob, &noise(kids.len() as u64, 2048)).unwrap());
    }
    set(&keg, "/end", 1);
    // As `kill -9` would: nobody makes the index durable.
    std::mem::forget(keg);
    let index = fs::read(log("00000001.idx-new")).unwrap();
    assert!(!log("00000001.idx").exists());
    let read = |keg: &Keg| {
        for (n, kid) in kids.iter().enumerate().step_by(500) {
            assert_eq!(keg.objects().blob(kid).unwrap(), noise(n as u64, 2048));
        }
    };
    let sound = |keg: &Keg| {
        read(keg);
        assert!(check(keg).is_clean());
    };
    read(&follows);
    assert!(log("00000001.idx-new").exists(), "whoever follows does not wait for it");
    sound(&follows);
    let zeros = [&index[..8192], &[0; 4096], &index[12288..]].concat();
    for found in [&index, &zeros, &index[..index.len() / 2].to_vec(), &Vec::new()] {
        fs::write(log("00000001.idx-new"), found).unwrap();
        let _ = fs::remove_file(log("00000001.idx"));
        sound(&Keg::open(dir.path()).unwrap());
        assert!(!log("00000001.idx-new").exists());
        assert_eq!(fs::read(log("00000001.idx")).unwrap(), index, "as made from the segment");
    }
    // Nor does a process believe it that had the Keg open all the time.
    fs::write(log("00000001.idx-new"), zeros).unwrap();
    fs::remove_file(log("00000001.idx")).unwrap();
    sound(&late);
}
