//! The power goes: every state that the disk may be in is opened.

use std::{collections::HashSet, path::PathBuf};

use keg::{fsck::fsck, store::Root};

use super::{
    disk::{Cut, Disk, Op, Recorder, State, Strike, cuts},
    jobs::{self, Job},
    killed::{again, check, newest, steps},
    place::Place,
    tracer::{Ended, run},
};

/// After so many operations of a job the power goes.
const MOMENTS: usize = 5;
/// So many states at each moment, besides the nasty ones, have what a seed says.
const RANDOM: u64 = 1;
/// Every so many states the job is done again.
const AGAIN: usize = 6;
/// So many syncs of a job fail, one at a time.
const FAILED_SYNCS: usize = 3;
/// Before so many calls of a job its process dies, before the power does.
const KILLED: usize = 4;

/// A job, what is beside its Keg, and where its Keg is put.
struct Bench {
    job: Job,
    place: Place,
    before: Option<Root>,
    seen: HashSet<[u8; 32]>,
}

impl Bench {
    fn new(job: Job) -> Self {
        let place = Place::prepare(job, true);
        let before = newest(&place.root("base").join("keg"));
        Self { job, place, before, seen: HashSet::new() }
    }

    /// Puts a state in place; `None`: it has been there before.
    fn put(&mut self, state: &State) -> Option<PathBuf> {
        if !self.seen.insert(*state.digest.as_bytes()) {
            return None;
        }
        let home = self.place.fresh();
        if home.exists() {
            std::fs::remove_dir_all(&home).unwrap();
        }
        state.disk.write_out(&home);
        Some(home)
    }

    /// Looks at the states after the first `done` operations.
    fn look(&mut self, start: &Disk, ops: &[Op], done: usize, random: u64) {
        let told: Vec<String> = ops[..done]
            .iter()
            .filter_map(|op| match op {
                Op::Told(line) => Some(line.clone()),
                _ => None,
            })
            .collect();
        for cut in cuts(done as u64, random) {
            let state = State::after(start, ops, done, cut);
            let Some(home) = self.put(&state) else { continue };
            let last = ops[..done].iter().rev().find(|op| !matches!(op, Op::Told(_)));
            let last = last.map(|op| format!("{op:?}").chars().take(200).collect::<String>());
            let (name, last) = (self.job.name, last.unwrap_or_default());
            let what = format!("{name}: {cut:?} after {done} operations, {last}");
            let is_keg = home.join("format.json").exists();
            assert!(is_keg || name == "create", "{what}: it is a Keg no more");
            if name != "repair" && is_keg {
                check(&home, self.before, &told, &what);
            }
            if self.seen.len().is_multiple_of(AGAIN) || matches!(cut, Cut::Least) {
                again(self.job, &home, &what);
            }
        }
    }
}

/// The power goes while a job runs.
fn power_cut(job: Job) {
    let mut bench = Bench::new(job);
    let home = bench.place.fresh();
    let mut recorder = Recorder::new(&home, Strike::Nothing);
    assert_eq!(run(job.name, &home, &mut recorder), Ended::Through(true), "{:?}", recorder.told);
    let Recorder { start, ops, .. } = recorder;
    for done in steps(ops.len(), MOMENTS) {
        bench.look(&start, &ops, done, RANDOM);
    }
    bench.look(&start, &ops, ops.len(), RANDOM);
    assert!(bench.seen.len() > MOMENTS, "{}: {} states", job.name, bench.seen.len());
}

/// How many calls and syncs a job makes.
fn count(bench: &Bench) -> (usize, usize) {
    let home = bench.place.fresh();
    let mut recorder = Recorder::new(&home, Strike::Nothing);
    run(bench.job.name, &home, &mut recorder);
    (recorder.calls, recorder.syncs)
}

/// Something goes wrong, the job is done again by the next process, and then the power goes:
/// whatever was acknowledged by either is there.
fn struck(bench: &mut Bench, strike: Strike) {
    let (home, name) = (bench.place.fresh(), bench.job.name);
    let mut recorder = Recorder::new(&home, strike);
    let first = run(name, &home, &mut recorder);
    let killed = matches!(strike, Strike::Kill(_)) && first == Ended::Killed;
    assert!(killed || first == Ended::Through(true), "{name}: {strike:?} {first:?}");
    assert_eq!(run(name, &home, &mut recorder), Ended::Through(true), "{name}: {strike:?}");
    assert_eq!(recorder.told.last().map(String::as_str), Some("done"), "{:?}", recorder.told);
    bench.look(&recorder.start, &recorder.ops, recorder.ops.len(), 0);
}

/// A sync fails, and the kernel drops what it should have written.
fn failed_sync(job: Job) {
    let mut bench = Bench::new(job);
    for sync in steps(count(&bench).1, FAILED_SYNCS) {
        struck(&mut bench, Strike::FailSync(sync));
    }
}

/// A process dies, and what it left is not durable yet.
fn killed_before(job: Job) {
    let mut bench = Bench::new(job);
    for call in steps(count(&bench).0, KILLED) {
        struck(&mut bench, Strike::Kill(call));
    }
}

macro_rules! power {
    ($($name:ident $job:ident),* $(,)?) => {$(
        mod $name {
            #[test]
            fn the_power_goes() {
                super::power_cut(super::jobs::$job);
            }

            #[test]
            fn a_sync_fails() {
                super::failed_sync(super::jobs::$job);
            }

            #[test]
            fn a_process_dies_and_then_the_power_goes() {
                super::killed_before(super::jobs::$job);
            }
        }
    )*};
}

power! {
    commit COMMIT,
    ingest INGEST,
    ingest_of_many MANY,
    a_large_file_that_changed CHANGED,
    collection GC,
    packing PACK,
    packs_that_become_one JOIN,
    garbage_that_leaves_packs SWEEP,
    pull PULL,
    push PUSH,
    repair REPAIR,
    stream_and_leases OTHERS,
}

#[test]
fn the_power_goes_while_a_keg_is_made() {
    power_cut(jobs::CREATE);
}

#[test]
fn a_recording_played_to_its_end_is_what_is_there() {
    let job = jobs::GC;
    let place = Place::prepare(job, true);
    let home = place.fresh();
    let mut recorder = Recorder::new(&home, Strike::Nothing);
    run(job.name, &home, &mut recorder);
    let mut ops = recorder.ops;
    ops.push(Op::SyncAll);
    let played = place.root("played");
    State::after(&recorder.start, &ops, ops.len(), Cut::Least).disk.write_out(&played);
    let listed = |home: &std::path::Path| {
        let mut left = vec![home.to_owned()];
        let mut found = Vec::new();
        while let Some(dir) = left.pop() {
            for entry in std::fs::read_dir(dir).unwrap() {
                let path = entry.unwrap().path();
                let name = path.strip_prefix(home).unwrap().to_owned();
                // Memory that processes share: who writes to it makes no calls.
                if name == std::path::Path::new("log/queue") {
                    continue;
                }
                if path.is_dir() {
                    found.push((name, None));
                    left.push(path);
                } else {
                    found.push((name, Some(std::fs::read(path).unwrap())));
                }
            }
        }
        found.sort();
        found
    };
    assert!(listed(&home) == listed(&played));
    assert!(fsck(&keg::Keg::open(&played).unwrap(), &mut |_| {}).unwrap().is_clean());
}
