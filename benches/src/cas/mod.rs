//! Names moved by compare-and-swap by many writers, and how soon a watcher hears of it; beside
//! etcd, on the same disk in the same run.

mod disk;
mod etcd;
mod grpc;
mod ours;
mod watch;

use std::{
    path::Path,
    time::{Duration, Instant},
};

use crate::{
    Bench, kegs,
    sample::Sample,
    table::{Table, Unit},
};

pub use ours::is_child;

/// Writers at the same time.
const WRITERS: usize = 64;
/// Most runs of each.
const FEW: usize = 5;
/// How long the writers of one run write.
const SPAN: Duration = Duration::from_secs(2);
/// Moves per second that are wanted, and in what time 99 of 100 are to be durable, in seconds.
const GOAL: (f64, f64) = (50_000.0, 0.005);
/// How soon a watcher is to hear of half of all moves, in seconds.
const HEARD: f64 = 0.000_3;

/// What the writers of one run did.
#[derive(Default)]
pub struct Written {
    /// Seconds from the start of each move, its retries among them, to its acknowledgement.
    pub took: Vec<f64>,
    /// How long they wrote, in seconds.
    pub span: f64,
}

/// Rate, median and the 99th of 100, over runs.
#[derive(Default)]
struct Series([Sample; 3]);

impl Series {
    fn push(&mut self, mut written: Written) {
        written.took.sort_by(f64::total_cmp);
        let at = |part: f64| {
            let index = (written.took.len() as f64 * part) as usize;
            written.took.get(index).copied().unwrap_or(f64::NAN)
        };
        self.0[0].push(written.took.len() as f64 / written.span);
        self.0[1].push(at(0.5));
        self.0[2].push(at(0.99));
    }
}

/// Who is measured, with what.
type Measured = (&'static str, fn(&Path) -> Written);

/// One name each, and one name for all.
const OWN: [Measured; 4] = [
    ("64 processes, a name each", |home| ours::processes(home, false)),
    ("one process, 64 tasks, a name each", |home| ours::tasks(home, false)),
    ("64 processes, one name, with retries", |home| ours::processes(home, true)),
    ("one process, 64 tasks, one name, with retries", |home| ours::tasks(home, true)),
];
const ETCD: [Measured; 2] = [
    ("etcd: 64 clients, a key each (gRPC, 8 connections)", |dir| etcd::writers(dir, false)),
    ("etcd: 64 clients, one key, with retries", |dir| etcd::writers(dir, true)),
];

/// Rates, latencies, events.
pub fn measure(bench: &Bench) -> Vec<Table> {
    let runs = bench.runs.min(FEW);
    let place = tempfile::tempdir_in(kegs::place()).expect("a directory");
    let (mut ours, mut theirs) = (<[Series; 4]>::default(), <[Series; 2]>::default());
    let [mut syncs, mut batches] = <[Sample; 2]>::default();
    let [mut heard, mut heard_late, mut told, mut told_late] = <[Sample; 4]>::default();
    for run in 0..runs {
        let fresh = |name: &str| place.path().join(format!("{name}-{run}"));
        for (n, (series, (_, write))) in ours.iter_mut().zip(OWN).enumerate() {
            series.push(write(&fresh(&format!("keg-{n}"))));
        }
        for (n, (series, (_, write))) in theirs.iter_mut().zip(ETCD).enumerate() {
            series.push(write(&fresh(&format!("etcd-{n}"))));
        }
        syncs.push(disk::syncs(place.path(), 4096));
        batches.push(disk::syncs(place.path(), WRITERS * disk::MOVE_BYTES));
        let (half, most) = watch::keg(&fresh("keg-watch"));
        heard.push(half);
        heard_late.push(most);
        let (half, most) = watch::etcd(&fresh("etcd-watch"));
        told.push(half);
        told_late.push(most);
    }
    let mut rates = Table::new("Names moved by compare-and-swap, each durable", Unit::PerSecond);
    let mut delays = Table::new("… from the first try to durable: half, 99 of 100", Unit::Seconds);
    let [own, tasks, hot, hot_tasks] = ours;
    let [etcd, etcd_hot] = theirs;
    for (pair, peer, n) in [([own, tasks], etcd, 0), ([hot, hot_tasks], etcd_hot, 1)] {
        let goal = |value: f64| (n == 0).then_some(value);
        for (Series([rate, half, most]), (name, _)) in pair.into_iter().zip(&OWN[n * 2..]) {
            rates.keg(name, goal(GOAL.0), rate);
            delays.keg(&format!("{name}: half"), None, half);
            delays.keg(&format!("{name}: 99 of 100"), goal(GOAL.1), most);
        }
        let Series([rate, half, most]) = peer;
        rates.peer(ETCD[n].0, rate);
        delays.peer(&format!("{}: half", ETCD[n].0), half);
        delays.peer(&format!("{}: 99 of 100", ETCD[n].0), most);
    }
    rates.machine("4 kB appended, fdatasync", syncs);
    rates.machine("the bytes of 64 moves appended, fdatasync (64 moves each)", batches);
    let mut events =
        Table::new("From the start of a durable move to its event elsewhere", Unit::Seconds);
    events.keg("half", Some(HEARD), heard).peer("etcd: half", told);
    events.keg("99 of 100", None, heard_late).peer("etcd: 99 of 100", told_late);
    vec![rates, delays, events]
}

/// Counts moves until the time is over.
fn until_over(mut step: impl FnMut()) -> Written {
    let begun = Instant::now();
    let mut written = Written::default();
    while begun.elapsed() < SPAN {
        let start = Instant::now();
        step();
        written.took.push(start.elapsed().as_secs_f64());
    }
    written.span = begun.elapsed().as_secs_f64();
    written
}
