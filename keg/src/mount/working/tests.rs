//! Working copies, as root, with real mounts.

use std::fs;
use std::path::Path;

use super::{WorkingCopy, WorkingError, sweep};
use crate::ingest::{IngestOptions, ingest};
use crate::mount::fixture::{Scratch, assert_same, describe, fill_few, noise};
use crate::mount::{MountError, Mounts, unmount};
use crate::names::{CommitError, Txn};
use crate::{Keg, NamePath};

fn path(text: &str) -> NamePath {
    text.parse().expect("a path")
}

fn put(keg: &Keg, at: &str, dir: &Path) {
    let entry = ingest(keg.objects(), dir, &IngestOptions::default()).expect("ingest");
    keg.commit(Txn::new("test", "put").set(path(at), entry)).expect("commit");
}

fn copies(keg: &Keg) -> usize {
    fs::read_dir(keg.home().join("work"))
        .unwrap()
        .filter(|e| e.as_ref().unwrap().path().is_dir())
        .count()
}

#[test]
fn what_is_written_becomes_the_next_version_and_the_mount_goes_on() {
    let scratch = Scratch::new();
    let (source, target) = (scratch.dir("source"), scratch.dir("target"));
    fill_few(&source);
    let keg = scratch.keg();
    put(&keg, "/a/b", &source);
    let mounts = Mounts::new(&keg);
    let mut copy = WorkingCopy::mount(&mounts, &path("/a/b"), &target).expect("mount");
    assert!(!copy.is_changed().unwrap() && copy.is_mounted().unwrap());
    let open = fs::File::create(target.join("new")).unwrap();
    fs::remove_dir_all(target.join("deep")).unwrap();
    fs::rename(target.join("file-4096"), target.join("moved")).unwrap();
    for round in 0..3 {
        fs::write(target.join(format!("round-{round}")), noise(5000, round)).unwrap();
        assert!(copy.is_changed().unwrap());
        let done = copy.commit("test", "changes", false).expect("commit");
        assert_eq!(done.entry.kid(), keg.get(&path("/a/b")).unwrap().unwrap().kid());
        assert!(!copy.is_changed().unwrap());
        let shown = scratch.dir(&format!("shown-{round}"));
        mounts.read_only(&done.entry.kid().unwrap(), &shown).unwrap();
        assert_same(&describe(&target), &describe(&shown));
    }
    assert!(matches!(
        WorkingCopy::mount(&mounts, &path("/a/b"), &target),
        Err(WorkingError::Target { .. })
    ));
    let busy = WorkingCopy::at(&keg, &target).unwrap().expect("a copy").discard();
    assert!(matches!(busy, Err(WorkingError::Mount(MountError::Busy { .. }))), "it is open");
    drop(open);
    copy.discard().expect("discard");
    assert_eq!((copies(&keg), fs::read_dir(&target).unwrap().count()), (0, 0), "nothing is left");
}

#[test]
fn a_name_that_moved_meanwhile_is_a_conflict_that_shows_both() {
    let scratch = Scratch::new();
    let (source, target) = (scratch.dir("source"), scratch.dir("target"));
    fs::write(source.join("file"), "1").unwrap();
    let keg = scratch.keg();
    put(&keg, "/a", &source);
    let before = keg.get(&path("/a")).unwrap().unwrap().kid().unwrap();
    let mut copy = WorkingCopy::mount(&Mounts::new(&keg), &path("/a"), &target).unwrap();
    fs::write(target.join("file"), "ours").unwrap();
    fs::write(source.join("file"), "theirs").unwrap();
    put(&keg, "/a", &source);
    let theirs = keg.get(&path("/a")).unwrap().unwrap().kid().unwrap();
    let error = copy.commit("test", "ours", false).expect_err("a conflict");
    assert!(matches!(error, WorkingError::Commit(CommitError::Conflict { .. })), "{error:?}");
    let text = error.to_string();
    assert!(text.contains(&before.to_string()) && text.contains(&theirs.to_string()), "{text}");
    assert_eq!(fs::read_to_string(target.join("file")).unwrap(), "ours", "nothing is lost");
    copy.commit("test", "ours", true).expect("by force");
    let found = keg.objects().walk(&keg.head().unwrap().tree, "a/file").unwrap().unwrap();
    assert_eq!(keg.objects().blob(&found.kid().unwrap()).unwrap(), b"ours");
    copy.discard().unwrap();
}

#[test]
fn a_new_name_starts_empty_and_a_file_is_none() {
    let scratch = Scratch::new();
    let target = scratch.dir("target");
    let keg = scratch.keg();
    let mounts = Mounts::new(&keg);
    let mut copy = WorkingCopy::mount(&mounts, &path("/new"), &target).expect("mount");
    fs::write(target.join("file"), "1").unwrap();
    copy.commit("test", "new", false).expect("commit");
    copy.discard().unwrap();
    assert!(keg.get(&path("/new/file")).unwrap().is_some());
    let error = WorkingCopy::mount(&mounts, &path("/new/file"), &target).err().expect("a file");
    assert!(matches!(error, WorkingError::NotADirectory { .. }), "{error:?}");
    let error = WorkingCopy::mount(&mounts, &path("/new"), Path::new("/no/such")).err();
    assert!(matches!(error, Some(WorkingError::Target { .. })), "{error:?}");
    assert_eq!(copies(&keg), 0);
}

#[test]
fn a_sweep_removes_what_nobody_wrote_to_and_keeps_what_somebody_did() {
    let scratch = Scratch::new();
    let keg = scratch.keg();
    let mounts = Mounts::new(&keg);
    let (clean, dirty) = (scratch.dir("clean"), scratch.dir("dirty"));
    for target in [&clean, &dirty] {
        WorkingCopy::mount(&mounts, &path("/a"), target).expect("mount");
    }
    fs::write(dirty.join("file"), "mine").unwrap();
    assert_eq!(sweep(&keg).unwrap(), 0, "both are mounted");
    // As a crash of the machine does, and one before there was a record.
    unmount(&clean).unwrap();
    unmount(&dirty).unwrap();
    fs::create_dir_all(keg.home().join("work/0123456789abcdef/work")).unwrap();
    assert_eq!(sweep(&keg).unwrap(), 2);
    assert_eq!(copies(&keg), 1);
    let taken = WorkingCopy::mount(&mounts, &path("/other"), &dirty).err();
    assert!(matches!(taken, Some(WorkingError::Taken { .. })), "{taken:?}");
    let held = super::held(keg.home());
    assert!(held.iter().any(|(_, target)| Path::new(target) == dirty), "no collection takes it");
    let copy = WorkingCopy::mount(&mounts, &path("/a"), &dirty).expect("again");
    assert_eq!(fs::read_to_string(dirty.join("file")).unwrap(), "mine");
    assert!(copy.is_changed().unwrap());
    copy.discard().unwrap();
}
