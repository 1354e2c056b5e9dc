//! Whole collections pass between two calls of a process that puts and names what is condemned.

use std::{
    path::{Path, PathBuf},
    time::{Duration, SystemTime},
};

use keg::{
    Keg, Kid, Txn, gc,
    pack::{PackOptions, Which, pack},
    testing::{at_once, noise},
};
use serde_json::json;

use super::{
    jobs::{Done, Job, collect_with, commit_txn, expect, path, put_directory},
    killed::check,
    place::Place,
    tracer::{Call, Ended, Verdict, Watcher, run},
};

/// How long what is garbage stays, in milliseconds.
const GRACE: u64 = 3_600_000;
/// How long ago everything in a Keg was condemned: it is due.
const AGO: u64 = 2 * GRACE;
/// Locks of a Keg. While the child holds one, a collection may have to wait for it.
const LOCKS: [&str; 6] =
    ["gc/sweep", "log/lock", "log/synclock", "log/queue", "objects/lock", "tmp/lock"];

/// Calls before which collections pass: those that look at a name or change one.
const NAMING: [&str; 5] = ["open", "statx", "newfstatat", "rename", "getdents"];

/// Names again what was named.
pub const AGAIN: Job =
    Job { name: "again", prepare: named, run: name_again, done: |keg| expect(keg, "/x") };

/// A directory with a name.
fn named(root: &Path) {
    let keg = Keg::create(&root.join("keg")).unwrap();
    let document = json!({"keep": "1 version"});
    keg.commit(Txn::new("t", "m").set_json(path("/-/gc.json"), document)).unwrap();
    name_again(&keg, root).unwrap();
}

/// Takes its name away.
fn let_go(keg: &Keg) {
    keg.commit(Txn::new("t", "m").remove(path("/x"))).unwrap();
}

/// Looks what there is of the directory, puts all of it, and names it.
fn name_again(keg: &Keg, _: &Path) -> Done {
    const SIZES: [usize; 3] = [300, 4000, 5000];
    for (n, size) in SIZES.into_iter().enumerate() {
        keg.objects().kind(&Kid::of_blob(&noise(n as u64, size)))?;
    }
    let entry = put_directory(keg, 0, &SIZES)?;
    commit_txn(keg, Txn::new("t", "m").set(path("/x"), entry))
}

/// Whether nobody has a lock.
fn is_free(home: &Path) -> bool {
    LOCKS.iter().all(|name| {
        let Ok(file) = std::fs::File::open(home.join(name)) else { return true };
        rustix::fs::flock(&file, rustix::fs::FlockOperation::NonBlockingLockExclusive).is_ok()
    })
}

fn collect(home: &Path, grace: u64) {
    let keg = Keg::open(home).unwrap();
    let options = gc::Options { grace_ms: Some(grace), ..at_once() };
    collect_with(&keg, &options).unwrap();
}

/// Condemns what nothing needs, and makes that long ago.
fn condemn(home: &Path) {
    collect(home, GRACE);
    let path = home.join("gc/condemned");
    let mut bytes = std::fs::read(&path).unwrap();
    let end = bytes.len() - 32;
    assert!(end > 24, "nothing is condemned");
    for row in bytes[24..end].chunks_exact_mut(40) {
        let since = u64::from_le_bytes(row[32..].try_into().unwrap());
        row[32..].copy_from_slice(&(since - AGO).to_le_bytes());
    }
    let sum = Kid::of_blob(&bytes[..end]);
    bytes[end..].copy_from_slice(sum.as_bytes());
    std::fs::write(&path, bytes).unwrap();
    let before = SystemTime::now() - Duration::from_millis(2 * AGO);
    for dir in std::fs::read_dir(home.join("objects")).unwrap().flatten() {
        for file in std::fs::read_dir(dir.path()).into_iter().flatten().flatten() {
            std::fs::File::open(file.path()).unwrap().set_modified(before).unwrap();
        }
    }
}

/// Lets collections pass before one call.
struct Passing {
    home: PathBuf,
    calls: usize,
    at: usize,
    passed: Option<String>,
    told: Vec<String>,
}

impl Watcher for Passing {
    fn looks(&self) -> bool {
        true
    }

    fn before(&mut self, call: &Call) -> Verdict {
        // By its names only it sees what others do; what it has open stays as it is.
        if !NAMING.iter().any(|start| call.name().starts_with(start)) {
            return Verdict::Go;
        }
        self.calls += 1;
        if self.calls == self.at && is_free(&self.home) {
            self.passed = Some(call.to_string());
            // What the first takes the second knows nothing of.
            collect(&self.home, GRACE);
            collect(&self.home, GRACE);
        }
        Verdict::Go
    }

    fn told(&mut self, line: &str) {
        self.told.push(line.to_owned());
    }
}

fn passing(job: Job, packed: bool) {
    let place = Place::prepare(job, true);
    let base = place.root("base").join("keg");
    if packed {
        let options = PackOptions { which: Which::All, level: 1, ..PackOptions::default() };
        let keg = Keg::open(&base).unwrap();
        // So much that the log is sealed, and the small ones are packed, too.
        let much = put_directory(&keg, 1000, &[2000; 140]).unwrap();
        keg.commit(Txn::new("t", "m").set(path("/much"), much)).unwrap();
        assert!(pack(&keg, &options, &mut |_| {}).unwrap().counts.small > 140);
    }
    let_go(&Keg::open(&base).unwrap());
    condemn(&base);
    let pass = |at: usize| {
        let home = place.fresh();
        let (passed, told) = (None, Vec::new());
        let mut watcher = Passing { home: home.clone(), calls: 0, at, passed, told };
        let ended = run(job.name, &home, &mut watcher);
        let call = watcher.passed.clone().unwrap_or_default();
        let what = format!("{}, collections before call {at}, {call}", job.name);
        assert_eq!(ended, Ended::Through(true), "{what}: {:?}", watcher.told);
        assert_eq!(watcher.told.last().map(String::as_str), Some("done"), "{what}");
        check(&home, None, &watcher.told, &what);
        (job.done)(&Keg::open(&home).unwrap());
        for _ in 0..3 {
            collect(&home, 0);
        }
        check(&home, None, &watcher.told, &format!("{what}, and three more"));
        watcher
    };
    let calls = pass(0).calls;
    let passed = (1..=calls).filter(|at| pass(*at).passed.is_some()).count();
    assert!(passed > calls / 4, "{passed} of {calls}");
}

#[test]
fn what_is_put_again_stays() {
    passing(AGAIN, false);
}

#[test]
fn what_is_put_again_and_is_in_packs_stays() {
    passing(AGAIN, true);
}
