//! What is interrupted: operations through the public interface, each run in a child process.

use std::{
    error::Error,
    io::Read,
    path::{Path, PathBuf},
};

use keg::{
    Keg, Kid, NamePath, Txn, Version,
    fsck::fsck,
    gc::{self, Lease},
    ingest::{IngestOptions, ingest},
    mount::{Mounts, WorkingCopy},
    object::{Entry, EntryName, Tree},
    sync::{self, Body, Limits, Transport, Verb},
    testing::{at_once, noise},
};
use serde_json::json;

pub use super::packs::{JOIN, PACK, SWEEP};
use super::{
    answer::answer, child::told, killed::again, passing::AGAIN, peer::Peer, place::Place,
    tracer::tell,
};

/// How often a job is tried in one process.
const TRIES: usize = 2;

pub type Done = Result<(), Box<dyn Error>>;

/// An operation. Beside its Keg, `keg/`, the directory holds what else it needs.
#[derive(Clone, Copy)]
pub struct Job {
    pub name: &'static str,
    /// Makes `keg/` and what is beside it.
    pub prepare: fn(&Path),
    /// Does it, or finishes what is left to do.
    pub run: fn(&Keg, &Path) -> Done,
    /// Whether it has been done.
    pub done: fn(&Keg),
}

pub const COMMIT: Job =
    Job { name: "commit", prepare: new_keg, run: commit, done: |keg| expect(keg, "/n/2") };
pub const INGEST: Job =
    Job { name: "ingest", prepare: ingest_files, run: ingest_it, done: |keg| expect(keg, "/in") };
pub const MANY: Job =
    Job { name: "many", prepare: many_files, run: ingest_it, done: |keg| expect(keg, "/in") };
pub const CHANGED: Job =
    Job { name: "changed", prepare: change_file, run: ingest_changed, done: changed };
pub const GC: Job =
    Job { name: "gc", prepare: litter, run: collect, done: |keg| expect(keg, "/w") };
pub const PULL: Job =
    Job { name: "pull", prepare: two_kegs, run: pull, done: |keg| expect(keg, "/t") };
pub const PUSH: Job =
    Job { name: "push", prepare: two_kegs, run: push, done: |keg| expect(keg, "/t") };
pub const REPAIR: Job =
    Job { name: "repair", prepare: twins, run: repair, done: |keg| expect(keg, "/large") };
pub const OTHERS: Job =
    Job { name: "others", prepare: new_keg, run: others, done: |keg| expect(keg, "/log") };
pub const WORKING: Job =
    Job { name: "working", prepare: ingested, run: working, done: |keg| expect(keg, "/in") };
pub const CREATE: Job =
    Job { name: "create", prepare: |_| (), run: commit, done: |keg| expect(keg, "/n/2") };

pub const ALL: [Job; 15] = [
    COMMIT, INGEST, MANY, CHANGED, GC, PACK, JOIN, SWEEP, PULL, PUSH, REPAIR, OTHERS, WORKING,
    AGAIN, CREATE,
];

/// Left alone, each job is done. The children of other tests enter here.
#[test]
fn each_is_done() {
    if let Some(what) = told() {
        return child(&what);
    }
    // Nobody takes away what that one mounts but the end of its process.
    for job in ALL.into_iter().filter(|job| job.name != WORKING.name) {
        again(job, &Place::prepare(job, true).fresh(), job.name);
    }
}

/// The name of the test above, for children.
pub const DOOR: &str = "jobs::each_is_done";

/// Does a job: `NAME HOME`.
fn child(what: &str) {
    let (name, home) = what.split_once(' ').unwrap();
    let job = ALL.into_iter().find(|job| job.name == name).expect("a job");
    if name == WORKING.name {
        // Its mounts go when it dies, as they do when the machine does.
        Place::leave_mounts();
    }
    let home = Path::new(home);
    let (mut opened, create) = (None, name == CREATE.name);
    for _ in 0..TRIES {
        let done = match &opened {
            Some(keg) => (job.run)(keg, home.parent().unwrap()),
            None => {
                let keg = if create { Keg::open_or_create(home) } else { Keg::open(home) };
                let done = keg.map(|keg| opened.insert(keg));
                done.map_err(Into::into).and_then(|keg| (job.run)(keg, home.parent().unwrap()))
            }
        };
        match done {
            Ok(()) => return tell("done"),
            Err(error) => tell(&format!("failed {}", chain(error.as_ref()))),
        }
    }
}

/// An error with what it came from.
fn chain(error: &dyn Error) -> String {
    let (mut text, mut cause) = (error.to_string(), error.source());
    while let Some(error) = cause {
        text = format!("{text}: {error}");
        cause = error.source();
    }
    text.replace('\n', " ")
}

pub fn path(text: &str) -> NamePath {
    text.parse().expect(text)
}

pub fn expect(keg: &Keg, name: &str) {
    assert!(keg.get(&path(name)).unwrap().is_some(), "{name} is there");
}

/// Says that a version is acknowledged.
fn acknowledge(version: &Version) {
    tell(&format!("version {} {}", version.seq, version.commit));
}

/// The versions that a child was told are there, and durable.
pub fn acknowledged(told: &[String]) -> impl Iterator<Item = (u64, Kid)> {
    told.iter().filter_map(|line| {
        let (seq, kid) = line.strip_prefix("version ")?.split_once(' ')?;
        Some((seq.parse().unwrap(), kid.parse().unwrap()))
    })
}

pub fn commit_txn(keg: &Keg, txn: Txn) -> Done {
    acknowledge(&keg.commit(txn)?);
    Ok(())
}

fn new_keg(root: &Path) {
    let keg = Keg::create(&root.join("keg")).unwrap();
    let txn = Txn::new("t", "m").set_json(path("/before"), json!("all of it"));
    keg.commit(txn).unwrap();
}

/// Small documents, put and named, in three versions; one name goes.
fn commit(keg: &Keg, _: &Path) -> Done {
    for n in 0..3 {
        let entry = keg.objects().put_bytes(format!("document {n}").as_bytes())?;
        let txn = Txn::new("t", "m").set(path(&format!("/n/{n}")), entry);
        commit_txn(keg, txn.set_json(path("/count"), json!(n)).remove(path("/n/0")))?;
    }
    Ok(())
}

fn write_files(dir: &Path, sizes: impl Iterator<Item = usize>) {
    std::fs::create_dir_all(dir.join("below")).unwrap();
    for (n, size) in sizes.enumerate() {
        let place = if n % 2 == 0 { dir.to_owned() } else { dir.join("below") };
        std::fs::write(place.join(format!("f{n}")), noise(n as u64, size)).unwrap();
    }
}

fn ingest_files(root: &Path) {
    new_keg(root);
    write_files(&root.join("dir"), [10, 2048, 2049, 9000, 70_000, 9000].into_iter());
}

/// So many that they are synced together.
fn many_files(root: &Path) {
    new_keg(root);
    write_files(&root.join("dir"), (0..70).map(|n| 3000 + n));
}

fn ingest_it(keg: &Keg, root: &Path) -> Done {
    let entry = ingest(keg.objects(), &root.join("dir"), &IngestOptions::default())?;
    commit_txn(keg, Txn::new("t", "m").set(path("/in"), entry))
}

/// A file that is stored as a difference when it has changed. Most of it is a hole.
fn large(version: u8) -> Vec<u8> {
    let mut bytes = vec![0; (8 << 20) + 5000];
    bytes[5_000_000..5_100_000].copy_from_slice(&noise(1, 100_000));
    bytes[5_050_000] = version;
    bytes[17] = version;
    bytes
}

fn change_file(root: &Path) {
    new_keg(root);
    std::fs::create_dir(root.join("dir")).unwrap();
    std::fs::write(root.join("dir/large"), large(1)).unwrap();
    ingest_it(&Keg::open(&root.join("keg")).unwrap(), root).unwrap();
    std::fs::write(root.join("dir/large"), large(2)).unwrap();
}

fn ingest_changed(keg: &Keg, root: &Path) -> Done {
    let before = keg.get(&path("/in"))?.and_then(|entry| entry.kid());
    let options = IngestOptions { before, ..IngestOptions::default() };
    let entry = ingest(keg.objects(), &root.join("dir"), &options)?;
    commit_txn(keg, Txn::new("t", "m").set(path("/in"), entry))
}

fn changed(keg: &Keg) {
    let entry = keg.get(&path("/in/large")).unwrap().unwrap();
    assert!(keg.objects().blob(&entry.kid().unwrap()).unwrap() == large(2));
}

fn ingested(root: &Path) {
    ingest_files(root);
    ingest_it(&Keg::open(&root.join("keg")).unwrap(), root).unwrap();
    std::fs::create_dir(root.join("target")).unwrap();
}

pub fn put_directory(keg: &Keg, seed: u64, sizes: &[usize]) -> Result<Entry, Box<dyn Error>> {
    let mut tree = Tree::default();
    for (n, size) in sizes.iter().enumerate() {
        let entry = keg.objects().put_bytes(&noise(seed + n as u64, *size))?;
        tree.entries.insert(EntryName::new(format!("f{n}"))?, entry);
    }
    Ok(keg.objects().put_tree(&tree)?)
}

/// Versions of a directory, of which a collection keeps two.
fn litter(root: &Path) {
    let keg = Keg::create(&root.join("keg")).unwrap();
    let document = json!({"keep": "2 versions", "paths": {"/x": "1 version"}});
    keg.commit(Txn::new("t", "m").set_json(path("/-/gc.json"), document)).unwrap();
    for seed in 0..6 {
        let entry = put_directory(&keg, seed, &[300, 4000, 5000]).unwrap();
        keg.commit(Txn::new("t", "m").set(path("/w"), entry)).unwrap();
    }
}

/// Condemns, sweeps, empties the trash; a version comes between.
fn collect(keg: &Keg, _: &Path) -> Done {
    for turn in 0..3 {
        collect_at_once(keg)?;
        let entry = put_directory(keg, turn, &[300, 4000])?;
        commit_txn(keg, Txn::new("t", "m").set(path("/w"), entry))?;
    }
    Ok(())
}

/// Collects at once.
pub fn collect_at_once(keg: &Keg) -> Result<gc::Report, gc::GcError> {
    collect_with(keg, &at_once())
}

/// Collects. A process that another test is starting may have the lock for a moment.
pub fn collect_with(keg: &Keg, options: &gc::Options) -> Result<gc::Report, gc::GcError> {
    let mut tries = 0;
    loop {
        match gc::collect(keg, options, &mut |_| {}) {
            Err(gc::GcError::Busy) if tries < 100_000 => std::thread::yield_now(),
            collected => return collected,
        }
        tries += 1;
    }
}

/// A Keg, and another one with a value.
fn two_kegs(root: &Path) {
    new_keg(root);
    let peer = Keg::create(&root.join("peer")).unwrap();
    let sizes = [10, 2000, 3000, 9000, (1 << 20) + 5000];
    let entry = put_directory(&peer, 1, &sizes).unwrap();
    peer.commit(Txn::new("t", "m").set(path("/t"), entry)).unwrap();
}

/// A way to a Keg in this process.
struct Direct(Keg);

impl Transport for Direct {
    fn name(&self) -> &str {
        "direct"
    }

    fn exchange<'a>(
        &'a mut self,
        verb: Verb,
        request: Body<'_>,
    ) -> std::io::Result<Box<dyn Read + 'a>> {
        let (_, answer, _) = answer(&self.0, verb, request)?;
        Ok(Box::new(std::io::Cursor::new(answer)))
    }
}

fn peer(root: &Path) -> Result<Keg, Box<dyn Error>> {
    Ok(Keg::open(&root.join("peer"))?)
}

fn usually<T>(with: impl FnOnce(&mut sync::Options<'_>) -> T) -> T {
    let (author, limits) = ("t".to_owned(), Limits::default());
    with(&mut sync::Options { author, force: false, limits, progress: &mut |_| {} })
}

fn pull(keg: &Keg, root: &Path) -> Done {
    let mut from = Direct(peer(root)?);
    usually(|options| sync::pull(keg, &mut from, &path("/t"), &path("/t"), options))?;
    acknowledge(&keg.head()?);
    Ok(())
}

/// The Keg is the one that is pushed to.
fn push(keg: &Keg, root: &Path) -> Done {
    let mut to = Direct(keg.clone());
    let from = peer(root)?;
    usually(|options| sync::push(&from, &mut to, &path("/t"), &path("/t"), options))?;
    acknowledge(&keg.head()?);
    Ok(())
}

/// The same values in two Kegs; in one some are damaged and one is lost.
fn twins(root: &Path) {
    let mut lost = PathBuf::new();
    for name in ["peer", "keg"] {
        let keg = Keg::create(&root.join(name)).unwrap();
        let large = keg.objects().put_bytes(&noise(1, 20_000)).unwrap();
        let gone = keg.objects().put_bytes(&noise(2, 3000)).unwrap();
        let small = keg.objects().put_bytes(b"a small document").unwrap();
        lost = object_file(keg.home(), &gone.kid().unwrap());
        let txn = Txn::new("t", "m").set(path("/large"), large).set(path("/small"), small);
        keg.commit(txn.set(path("/gone"), gone)).unwrap();
    }
    std::fs::remove_file(lost).unwrap();
    flip(&object_file(&root.join("keg"), &Kid::of_blob(&noise(1, 20_000))), 7000, 4);
    let segment = root.join("keg/log/00000001.seg");
    let bytes = std::fs::read(&segment).unwrap();
    let found = bytes.windows(16).position(|window| window == b"a small document").unwrap();
    flip(&segment, found as u64, 4);
}

/// Flips bits of a byte of a file.
pub fn flip(file: &Path, at: u64, bits: u8) {
    use std::os::unix::fs::FileExt;
    let opened = std::fs::OpenOptions::new().read(true).write(true).open(file).unwrap();
    let mut byte = [0];
    opened.read_exact_at(&mut byte, at).unwrap();
    opened.write_all_at(&[byte[0] ^ bits], at).unwrap();
}

pub fn object_file(home: &Path, kid: &Kid) -> PathBuf {
    home.join("objects").join(&kid.to_hex()[..2]).join(&kid.to_hex()[2..])
}

fn repair(keg: &Keg, root: &Path) -> Done {
    let peer = Peer(peer(root)?);
    let report = gc::repair(keg, &fsck(keg, &mut |_| {})?, &[&peer], &mut |_| {})?;
    if !report.is_complete() {
        return Err(format!("{report:?}").into());
    }
    Ok(())
}

/// What is neither a name nor an object: a stream that ends, and leases.
fn others(keg: &Keg, _: &Path) -> Done {
    let streams = keg.streams();
    match streams.create("build") {
        Ok(mut stream) => (0..3).try_for_each(|n| stream.line(&format!("line {n}")))?,
        Err(keg::stream::StreamError::Sealed(_)) => {}
        Err(error) => return Err(error.into()),
    }
    let log = streams.seal("build")?;
    let held = keg.objects().put_bytes(&noise(9, 5000))?.kid().ok_or("a blob has a KID")?;
    keg.objects().sync()?;
    let _lease = Lease::hold(keg, "a job", &[held])?;
    let until = u64::try_from(keg::time::now_ms())? + 3_600_000;
    Lease::until(keg, "an hour", until, &[held])?;
    commit_txn(keg, Txn::new("t", "m").set(path("/log"), log))
}

/// A working copy, written, committed and discarded.
fn working(keg: &Keg, root: &Path) -> Done {
    let (mounts, target) = (Mounts::new(keg), root.join("target"));
    keg::mount::sweep(keg)?;
    let mut copy = WorkingCopy::mount(&mounts, &path("/in"), &target)?;
    std::fs::write(target.join("new"), noise(5, 6000))?;
    let committed = copy.commit("t", "m", true)?;
    acknowledge(&committed.version);
    copy.discard()?;
    Ok(())
}
