//! Killed with -9 before each system call that changes something, and in the middle of each write.

use std::path::Path;

use keg::{Keg, fsck::fsck, store::Root};

use super::{
    calls,
    each::each_job,
    jobs::{Job, acknowledged},
    place::Place,
    tracer::{Call, Ended, Verdict, Watcher, run},
};

/// Of the steps of a job so many are tried, evenly spread, unless every one is asked for.
const TRIES: usize = 12;
/// So many of the last ones are tried in any case.
const LAST: usize = 6;
/// Asks for every step.
const ALL_STEPS: &str = "KEG_FAULTS_ALL";

/// Strikes at one call.
pub struct Striker {
    /// Calls met so far.
    pub calls: usize,
    /// Which one is struck.
    pub at: usize,
    pub verdict: fn(&Call) -> Verdict,
    pub told: Vec<String>,
    /// What was struck.
    pub struck: Option<String>,
}

impl Striker {
    pub fn new(at: usize, verdict: fn(&Call) -> Verdict) -> Self {
        Self { calls: 0, at, verdict, told: Vec::new(), struck: None }
    }
}

impl Watcher for Striker {
    fn before(&mut self, call: &Call) -> Verdict {
        self.calls += 1;
        if self.calls != self.at {
            return Verdict::Go;
        }
        self.struck = Some(call.to_string());
        (self.verdict)(call)
    }

    fn told(&mut self, line: &str) {
        self.told.push(line.to_owned());
    }
}

/// How many calls a job makes when nothing strikes.
pub fn count(job: Job, place: &Place) -> usize {
    let mut striker = Striker::new(0, |_| Verdict::Go);
    let ended = run(job.name, &place.fresh(), &mut striker);
    assert_eq!(ended, Ended::Through(true), "{}: {:?}", job.name, striker.told);
    assert_eq!(striker.told.last().map(String::as_str), Some("done"), "{}", job.name);
    striker.calls
}

/// The steps to be tried of so many, the same ones each time.
pub fn steps(calls: usize, tries: usize) -> impl Iterator<Item = usize> + use<> {
    let all = std::env::var_os(ALL_STEPS).is_some() || std::env::var_os(calls::EVERY).is_some();
    let stride = if all { 1 } else { calls.div_ceil(tries) };
    // The last ones, too: there it is decided.
    (1..=calls).filter(move |step| step % stride == 1 % stride || step + LAST > calls)
}

/// The newest version of a Keg, if there is one.
pub fn newest(home: &Path) -> Option<Root> {
    let head = Keg::open(home).ok()?.head().unwrap();
    Some(Root { seq: head.seq, commit: head.commit })
}

/// It opens, a check finds nothing, and everything that was acknowledged is there.
pub fn check(home: &Path, before: Option<Root>, told: &[String], what: &str) -> Keg {
    let keg = Keg::open(home).unwrap_or_else(|error| panic!("{what}: {error}"));
    let report = fsck(&keg, &mut |_| {}).unwrap_or_else(|error| panic!("{what}: {error}"));
    assert!(report.is_clean(), "{what}: {report:?}");
    let before = before.map(|root| (root.seq, root.commit));
    for (seq, commit) in before.into_iter().chain(acknowledged(told)) {
        match keg.version(seq) {
            Ok(version) => assert_eq!(version.commit, commit, "{what}: version {seq}"),
            Err(keg::NamesError::Compacted { .. }) => {}
            Err(error) => panic!("{what}: version {seq}: {error}"),
        }
        assert!(keg.head().unwrap().seq >= seq, "{what}: version {seq}");
    }
    keg
}

/// The job succeeds when it is done again.
pub fn again(job: Job, home: &Path, what: &str) {
    let keg = Keg::open_or_create(home).unwrap_or_else(|error| panic!("{what}, again: {error}"));
    (job.run)(&keg, home.parent().unwrap()).unwrap_or_else(|e| panic!("{what}, again: {e}"));
    (job.done)(&keg);
    drop(keg);
    check(home, None, &[], &format!("{what}, done again"));
}

/// Whether the Keg of a job can be expected to be sound before it is done.
fn is_sound(job: Job, home: &Path) -> bool {
    match job.name {
        // Not one yet.
        "create" => home.join("format.json").exists(),
        // It begins with damage, which is what a repair is for.
        "repair" => false,
        _ => true,
    }
}

fn killed(job: Job, in_memory: bool, tries: usize) {
    let place = Place::prepare(job, in_memory);
    let before = newest(&place.root("base").join("keg"));
    let calls = count(job, &place);
    let mut killed = 0;
    let half: fn(&Call) -> Verdict =
        |call| if call.len() > 1 { Verdict::Tear } else { Verdict::Kill };
    for step in steps(calls, tries) {
        let verdict = if step % 2 == 0 { half } else { |_: &Call| Verdict::Kill };
        let mut striker = Striker::new(step, verdict);
        let home = place.fresh();
        killed += usize::from(run(job.name, &home, &mut striker) == Ended::Killed);
        let call = striker.struck.unwrap_or_default();
        let what = format!("{} killed at call {step} of {calls}, {call}", job.name);
        if is_sound(job, &home) {
            check(&home, before, &striker.told, &what);
        }
        if job.name == "working" {
            continue;
        }
        again(job, &home, &what);
    }
    // Names of temporary files and the order of maps make a step more or less.
    assert!(killed + 3 >= steps(calls, tries).count(), "{}: {killed} of {calls}", job.name);
}

each_job! { killed }
