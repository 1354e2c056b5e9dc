//! Repair: damaged objects come back from a source, and what was damaged is kept aside.

#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

#[path = "common/peer.rs"]
mod peer;

use std::{
    fs,
    io::Read,
    os::unix::fs::FileExt,
    path::{Path, PathBuf},
};

use keg::{
    Keg, Kid, NamePath, Txn,
    fsck::{Report, fsck},
    gc::{RepairReport, Source, SourceError, repair},
    testing::noise,
};
use peer::Peer;
use serde_json::json;

/// A source that sends something else, or fails.
struct Liar(bool);

impl Source for Liar {
    fn name(&self) -> String {
        "liar".to_owned()
    }

    fn fetch(&self, _kid: &Kid) -> Result<Option<Box<dyn Read + '_>>, SourceError> {
        if self.0 { Err("it is asleep".into()) } else { Ok(Some(Box::new(&b"something else"[..]))) }
    }
}

fn path(text: &str) -> NamePath {
    text.parse().expect(text)
}

fn check(keg: &Keg) -> Report {
    fsck(keg, &mut |_| {}).unwrap()
}

fn fix(keg: &Keg, sources: &[&dyn Source]) -> RepairReport {
    repair(keg, &check(keg), sources, &mut |_| {}).unwrap()
}

fn flip(file: &Path, at: u64) {
    let opened = fs::OpenOptions::new().read(true).write(true).open(file).unwrap();
    let mut byte = [0];
    opened.read_exact_at(&mut byte, at).unwrap();
    opened.write_all_at(&[byte[0] ^ 0x10], at).unwrap();
}

fn find(file: &Path, text: &[u8]) -> u64 {
    let bytes = fs::read(file).unwrap();
    bytes.windows(text.len()).position(|window| window == text).unwrap() as u64
}

fn object_file(home: &Path, kid: &Kid) -> PathBuf {
    home.join("objects").join(&kid.to_hex()[..2]).join(&kid.to_hex()[2..])
}

/// The same values in two Kegs; returns a large, a small and a missing one.
fn twins() -> ([tempfile::TempDir; 2], [Keg; 2], [Kid; 3]) {
    let dirs = [tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap()];
    let kegs = [0, 1].map(|n| Keg::create(dirs[n].path()).unwrap());
    let kids = kegs.each_ref().map(|keg| {
        let large = keg.objects().put_bytes(&noise(1, 200_000)).unwrap();
        let small = keg.objects().put_bytes(b"a small document").unwrap();
        let lost = keg.objects().put_bytes(&noise(2, 3000)).unwrap();
        let kids = [large.kid().unwrap(), small.kid().unwrap(), lost.kid().unwrap()];
        let txn = Txn::new("t", "m").set(path("/large"), large).set(path("/small"), small);
        keg.commit(txn.set(path("/lost"), lost).set_json(path("/n"), json!(1))).unwrap();
        kids
    });
    assert_eq!(kids[0], kids[1]);
    (dirs, kegs, kids[0])
}

#[test]
fn damaged_and_missing_objects_come_back() {
    let (dirs, [_, peer], [large, small, lost]) = twins();
    let home = dirs[0].path();
    flip(&object_file(home, &large), 77_000);
    fs::remove_file(object_file(home, &lost)).unwrap();
    let segment = home.join("log/00000001.seg");
    flip(&segment, find(&segment, b"a small document"));
    let keg = Keg::open(home).unwrap();
    let found = check(&keg);
    assert_eq!(found.damaged.len(), 3, "{found:?}");
    let done = fix(&keg, &[&Liar(true), &Liar(false), &Peer(peer)]);
    assert!(done.is_complete(), "{done:?}");
    for one in &done.objects {
        assert_eq!((one.from.as_deref(), one.failed.len()), (Some("peer"), 2), "{one:?}");
        assert!(one.failed[0].contains("asleep") && one.failed[1].contains("another object"));
        assert!(!one.paths.is_empty(), "{one:?}");
    }
    // What was damaged is there to be looked at.
    assert_eq!(done.quarantined.len(), 2, "{done:?}");
    for kept in &done.quarantined {
        assert!(home.join(kept).exists(), "{kept:?}");
    }
    for keg in [&keg, &Keg::open(home).unwrap()] {
        let report = check(keg);
        assert!(report.is_clean(), "{report:?}");
        assert_eq!(keg.objects().blob(&large).unwrap(), noise(1, 200_000));
        assert_eq!(keg.objects().blob(&lost).unwrap(), noise(2, 3000));
        assert_eq!(keg.objects().blob(&small).unwrap(), b"a small document");
        keg.commit(Txn::new("t", "m").set_json(path("/n"), json!(2))).unwrap();
    }
    let text = serde_json::to_string(&done).unwrap();
    assert_eq!(serde_json::from_str::<RepairReport>(&text).unwrap(), done);
}

#[test]
fn without_a_source_nothing_changes_and_nothing_is_lost() {
    let (dirs, [_, peer], [large, small, _]) = twins();
    let home = dirs[0].path();
    flip(&object_file(home, &large), 5);
    let segment = home.join("log/00000001.seg");
    flip(&segment, find(&segment, b"a small document"));
    let damaged = fs::read(object_file(home, &large)).unwrap();
    let keg = Keg::open(home).unwrap();
    for sources in [&[] as &[&dyn Source], &[&Liar(false)]] {
        let done = fix(&keg, sources);
        assert!(!done.is_complete() && done.quarantined.is_empty(), "{done:?}");
        assert_eq!(fs::read(object_file(home, &large)).unwrap(), damaged);
        let found = check(&keg);
        let kids: Vec<Option<Kid>> = found.damaged.iter().map(|one| one.kid).collect();
        assert!(kids.contains(&Some(large)) && kids.contains(&Some(small)), "{found:?}");
    }
    assert!(fix(&keg, &[&Peer(peer)]).is_complete());
    assert!(check(&keg).is_clean());
}

#[test]
fn any_flipped_bit_of_an_object_in_the_log_is_repaired() {
    let (dirs, kegs, _) = twins();
    let segment = dirs[0].path().join("log/00000001.seg");
    let (whole, head) = (fs::read(&segment).unwrap(), dirs[0].path().join("log/HEAD"));
    let head = fs::read(head).unwrap();
    let peer = Peer(kegs[1].clone());
    // The two Kegs differ in their commits alone; those that are only here are not lost.
    let first = find(&segment, b"a small document");
    for at in (first..whole.len() as u64).step_by(23) {
        let dir = tempfile::tempdir().unwrap();
        copy_keg(dirs[0].path(), dir.path(), &whole, &head);
        flip(&dir.path().join("log/00000001.seg"), at);
        let Ok(keg) = Keg::open(dir.path()) else { continue };
        let done = fix(&keg, &[&peer]);
        // What is no object, such as the record of a root, has no source.
        if !done.objects.is_empty() && done.is_complete() {
            let report = check(&Keg::open(dir.path()).unwrap());
            assert!(report.is_clean(), "byte {at}: {done:?} {report:?}");
        }
    }
}

fn copy_keg(from: &Path, to: &Path, segment: &[u8], head: &[u8]) {
    fs::copy(from.join("format.json"), to.join("format.json")).unwrap();
    for name in ["log", "tmp", "streams", "run", "img", "objects"] {
        fs::create_dir(to.join(name)).unwrap();
    }
    for fan in fs::read_dir(from.join("objects")).unwrap().flatten() {
        let fan_to = to.join("objects").join(fan.file_name());
        fs::create_dir(&fan_to).unwrap();
        for object in fs::read_dir(fan.path()).unwrap().flatten() {
            fs::copy(object.path(), fan_to.join(object.file_name())).unwrap();
        }
    }
    fs::write(to.join("log/00000001.seg"), segment).unwrap();
    fs::write(to.join("log/HEAD"), head).unwrap();
}
