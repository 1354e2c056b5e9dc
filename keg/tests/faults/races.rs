//! Collections among pulls and mounts, and writers among each other.

use std::{
    io::Read,
    path::{Path, PathBuf},
    sync::atomic::{AtomicBool, AtomicU64, Ordering},
};

use keg::{
    CommitError, Expected, Keg, Txn,
    fsck::fsck,
    gc,
    mount::{Mounts, unmount, unmount_all_below},
    object::{Entry, EntryName, Tree},
    sync::{self, Body, Limits, Transport, Verb},
    testing::{at_once, commit_of, noise},
};
use serde_json::json;

use super::{
    answer::answer,
    jobs::{collect_at_once, path},
};

/// Files of the directories that come and go.
const FILES: u64 = 4;
/// So many bytes of an answer come between two collections.
const BETWEEN: usize = 3000;
/// How long a collection among writers waits, in milliseconds.
const GRACE_MS: u64 = 1000;
/// Most directories that are mounted until something has been swept.
const ROUNDS: u64 = 5000;

fn put_directory(keg: &Keg, seed: u64) -> Entry {
    let mut tree = Tree::default();
    for n in 0..FILES {
        let size = if n == 0 { 300 } else { 4000 };
        let entry = keg.objects().put_bytes(&noise(seed * FILES + n, size)).unwrap();
        tree.entries.insert(EntryName::new(format!("f{n}")).unwrap(), entry);
    }
    keg.objects().put_tree(&tree).unwrap()
}

fn set(keg: &Keg, entry: Entry) {
    keg.commit(Txn::new("t", "m").set(path("/x"), entry)).unwrap();
}

/// Collects at once what nothing needs.
fn collect(keg: &Keg) -> gc::Report {
    collect_at_once(keg).unwrap()
}

fn new_keg(dir: &Path) -> Keg {
    let keg = Keg::create(dir).unwrap();
    let document = json!({"keep": "1 version"});
    keg.commit(Txn::new("t", "m").set_json(path("/-/gc.json"), document)).unwrap();
    keg
}

fn check(keg: &Keg) {
    let report = fsck(keg, &mut |_| {}).unwrap();
    assert!(report.is_clean(), "{report:?}");
}

/// Another Keg, on the way to which collections run here all the time.
struct Collecting {
    there: Keg,
    here: Keg,
}

/// Collects after so many bytes of an answer.
struct Slow<'a> {
    answer: std::io::Cursor<Vec<u8>>,
    here: &'a Keg,
    collections: usize,
}

impl Read for Slow<'_> {
    fn read(&mut self, buf: &mut [u8]) -> std::io::Result<usize> {
        collect(self.here);
        self.collections += 1;
        let len = buf.len().min(BETWEEN);
        self.answer.read(&mut buf[..len])
    }
}

impl Transport for Collecting {
    fn name(&self) -> &str {
        "collecting"
    }

    fn exchange<'a>(
        &'a mut self,
        verb: Verb,
        request: Body<'_>,
    ) -> std::io::Result<Box<dyn Read + 'a>> {
        let (_, answer, served) = answer(&self.there, verb, request)?;
        served.unwrap();
        // Another process: it has a Keg of its own open.
        let here = &self.here;
        Ok(Box::new(Slow { answer: std::io::Cursor::new(answer), here, collections: 0 }))
    }
}

#[test]
fn a_pull_among_collections_brings_all_of_it() {
    let dir = tempfile::tempdir().unwrap();
    let (there, here) = (new_keg(&dir.path().join("there")), new_keg(&dir.path().join("here")));
    let mut parents = Vec::new();
    for seed in 0..4 {
        // Some of it was here, and is garbage when the pull begins.
        let old = put_directory(&here, seed);
        set(&here, old);
        here.commit(Txn::new("t", "m").remove(path("/x"))).unwrap();
        collect(&here);
        let tree = put_directory(&there, seed).kid().unwrap();
        let commit = commit_of(tree, std::mem::take(&mut parents), "m");
        parents = vec![there.objects().put_commit(&commit).unwrap()];
        set(&there, Entry::commit(parents[0]));
        let mut way = Collecting { there: there.clone(), here: Keg::open(here.home()).unwrap() };
        let (author, limits) = ("t".to_owned(), Limits::default());
        let mut options = sync::Options { author, force: true, limits, progress: &mut |_| {} };
        sync::pull(&here, &mut way, &path("/x"), &path("/x"), &mut options).unwrap();
        assert_eq!(here.get(&path("/x")).unwrap(), there.get(&path("/x")).unwrap());
        collect(&here);
        check(&here);
        check(&Keg::open(here.home()).unwrap());
    }
}

/// A directory whose mounts go with it.
pub struct Scratch(pub tempfile::TempDir);

impl Scratch {
    pub fn dir(&self, name: &str) -> PathBuf {
        let dir = self.0.path().join(name);
        std::fs::create_dir_all(&dir).unwrap();
        dir
    }
}

impl Drop for Scratch {
    fn drop(&mut self) {
        let _ = unmount_all_below(self.0.path());
    }
}

fn reads_whole(target: &Path, seed: u64) {
    for n in 0..FILES {
        let size = if n == 0 { 300 } else { 4000 };
        let read = std::fs::read(target.join(format!("f{n}")));
        assert!(read.unwrap() == noise(seed * FILES + n, size), "f{n} of {seed}");
    }
}

#[test]
fn what_is_mounted_stays_while_it_is_among_collections() {
    if !rustix::process::geteuid().is_root() {
        eprintln!("SKIPPED: only root can mount");
        return;
    }
    // The kernel wants images on a real file system.
    let scratch = Scratch(tempfile::tempdir_in("/tmp").unwrap());
    let keg = new_keg(&scratch.dir("keg"));
    let (stop, swept) = (AtomicBool::new(false), AtomicU64::new(0));
    let mut mounted = 0;
    std::thread::scope(|scope| {
        let collector = scope.spawn(|| {
            let keg = Keg::open(keg.home()).unwrap();
            while !stop.load(Ordering::Relaxed) {
                swept.fetch_add(collect_if_free(&keg), Ordering::Relaxed);
            }
        });
        let mounts = Mounts::new(&keg);
        let target = scratch.dir("target");
        for seed in 0..ROUNDS {
            if mounted > 20 && swept.load(Ordering::Relaxed) > 0 {
                break;
            }
            let entry = put_directory(&keg, seed);
            let tree = entry.kid().unwrap();
            set(&keg, entry);
            // No name leads to it any more, and the collector is at work.
            set(&keg, Entry::symlink("elsewhere"));
            match mounts.read_only(&tree, &target) {
                // It was swept before.
                Err(_) => continue,
                Ok(()) => mounted += 1,
            }
            reads_whole(&target, seed);
            collect_if_free(&keg);
            reads_whole(&target, seed);
            unmount(&target).unwrap();
        }
        stop.store(true, Ordering::Relaxed);
        collector.join().unwrap();
        assert!(swept.load(Ordering::Relaxed) > 0, "nothing was swept");
    });
    assert!(mounted > 0, "nothing could be mounted");
    check(&keg);
}

/// With a grace period that is longer than what others take to name what they have put. Returns
/// how much it swept.
fn collect_if_free(keg: &Keg) -> u64 {
    let options = gc::Options { grace_ms: Some(GRACE_MS), ..at_once() };
    match gc::collect(keg, &options, &mut |_| {}) {
        Ok(report) => report.swept.objects,
        Err(gc::GcError::Busy) => 0,
        Err(error) => panic!("{error}"),
    }
}

#[test]
fn of_two_writers_to_one_name_one_wins_and_the_other_is_shown_both() {
    let dir = tempfile::tempdir().unwrap();
    let keg = Keg::create(dir.path()).unwrap();
    let mut at = keg.objects().put_bytes(b"the start").unwrap();
    set(&keg, at.clone());
    for round in 0..10 {
        let expected = at.kid().unwrap();
        let together = std::sync::Barrier::new(2);
        // Each with a Keg of its own, as two processes have.
        let write = |who: &str| {
            let keg = Keg::open(dir.path()).unwrap();
            let entry = keg.objects().put_bytes(format!("{who} in {round}").as_bytes()).unwrap();
            let txn = Txn::new(who, "m").expect(path("/x"), Expected::Kid(expected));
            together.wait();
            (entry.clone(), keg.commit(txn.set(path("/x"), entry)))
        };
        let (one, two) = std::thread::scope(|scope| {
            let other = scope.spawn(|| write("two"));
            (write("one"), other.join().unwrap())
        });
        let (won, lost) = if one.1.is_ok() { (one, two) } else { (two, one) };
        won.1.unwrap();
        assert_eq!(keg.get(&path("/x")).unwrap(), Some(won.0.clone()));
        let error = lost.1.unwrap_err();
        let text = error.to_string();
        let CommitError::Conflict { path: name, expected: wanted, found } = error else {
            panic!("{text}");
        };
        assert_eq!((name, wanted), (path("/x"), Expected::Kid(expected)));
        let found = found.and_then(|entry| entry.kid());
        assert_eq!(found, won.0.kid());
        for kid in [Some(expected), found].into_iter().flatten() {
            assert!(text.contains(&kid.short()), "{text} shows {kid}");
        }
        at = won.0;
    }
}
