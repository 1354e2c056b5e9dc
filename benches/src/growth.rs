//! What a change, a mount, a diff, a collection and a watch take as the namespace grows.
//!
//! Two shapes with as many names: all in one directory, and spread over directories of a thousand.

use std::{
    path::{Path, PathBuf},
    sync::mpsc,
    time::{Duration, Instant},
};

use keg::{
    Keg, NamePath, Txn,
    gc::{self, collect},
    mount::{Mounts, unmount},
    object::{Entry, EntryName, Tree},
};
use serde_json::json;

use crate::{
    Bench,
    machine::{self, Load, Machine},
    plot::{self, Line},
    sample::{Sample, time},
    table::{Table, Unit},
    text,
};

/// Names in the namespace.
const SIZES: [u64; 4] = [1_000, 10_000, 100_000, 1_000_000];
/// The most names that are measured, for a machine that has less time; else all of [`SIZES`].
const MOST: &str = "KEG_BENCHES_NAMES";
/// Names of each directory where they are spread.
const EACH: u64 = 1000;
/// Things of a few milliseconds are done so many times as often.
const OFTEN: usize = 5;
/// Longest that an event may take.
const LATE: Duration = Duration::from_secs(60);
/// Where the plots go.
const PLOTS: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/../docs/growth");

/// What is measured: its title, the name of its plot, its unit.
const MEASURES: [(&str, &str, Unit); 7] = [
    ("one name changed, durably", "commit", Unit::Seconds),
    ("bytes appended for it", "bytes", Unit::Bytes),
    ("from the start of a commit to its event in a watch of all names", "watch", Unit::Seconds),
    ("what differs between two versions", "diff", Unit::Seconds),
    ("all names mounted, for the first time", "mount-first", Unit::Seconds),
    ("all names mounted, the version after one change", "mount-next", Unit::Seconds),
    ("a collection: all is marked, nothing is old enough to go", "gc", Unit::Seconds),
];

/// How the names lie.
#[derive(Clone, Copy, PartialEq)]
enum Shape {
    One,
    Spread,
}

impl Shape {
    fn what(self) -> &'static str {
        match self {
            Self::One => "in one directory",
            Self::Spread => "in directories of 1000",
        }
    }

    /// The path of the n-th name.
    fn path(self, number: u64) -> NamePath {
        let text = match self {
            Self::One => format!("/names/n-{number:07}"),
            Self::Spread => format!("/names/d-{:04}/n-{:03}", number / EACH, number % EACH),
        };
        text.parse().expect("a path")
    }
}

/// A table and a plot for each of [`MEASURES`].
pub fn measure(bench: &Bench) -> Vec<Table> {
    let before = machine::load();
    let mut found = Vec::new();
    let most = std::env::var(MOST).ok().and_then(|text| text.parse().ok()).unwrap_or(u64::MAX);
    for shape in [Shape::One, Shape::Spread] {
        for size in SIZES.into_iter().filter(|size| *size <= most) {
            eprintln!("measuring: growth, {size} names {}", shape.what());
            found.push((shape, size, one(bench, shape, size)));
        }
    }
    let load = [before, machine::load()];
    let measures = MEASURES.iter().enumerate();
    measures.map(|(at, (title, name, unit))| show(at, (title, name), *unit, &found, load)).collect()
}

/// What was found for one size.
type Found = (Shape, u64, [Sample; MEASURES.len()]);

fn show(
    at: usize,
    (title, name): (&str, &str),
    unit: Unit,
    found: &[Found],
    load: [Load; 2],
) -> Table {
    let mut table = Table::new(&format!("Growth: {title}"), unit);
    let mut lines = Vec::new();
    for shape in [Shape::One, Shape::Spread] {
        let mut points = Vec::new();
        for (_, size, samples) in found.iter().filter(|(of, ..)| *of == shape) {
            table.keg(&format!("{size} names {}", shape.what()), None, samples[at].clone());
            points.extend(samples[at].median().map(|median| (*size as f64, median)));
        }
        lines.push(Line { what: shape.what().to_owned(), points });
    }
    let Machine { cores, date, .. } = Machine::now();
    let day = date.get(..10).unwrap_or(&date);
    let [from, to] = load.map(text::load);
    let below = format!("names ({day}, {cores} cores, load {from} to {to}; medians)");
    std::fs::create_dir_all(PLOTS).expect("docs/ can be written");
    let path = Path::new(PLOTS).join(format!("{name}.svg"));
    plot::write(&path, title, &below, &lines, |value| text::show(value, unit));
    table
}

/// Everything, for a namespace of one size and shape.
fn one(bench: &Bench, shape: Shape, size: u64) -> [Sample; MEASURES.len()] {
    let dir = tempfile::tempdir().expect("a directory");
    let home = dir.path().join("keg");
    let keg = Keg::create(&home).expect("a new Keg");
    fill(&keg, shape, size);
    let often = bench.runs * OFTEN;
    let mut changes = Changes { shape, size, next: 0 };
    let [mut commits, mut bytes, mut diffs] = <[Sample; 3]>::default();
    for _ in 0..often {
        let before = appended(&home);
        commits.push(changes.commit(&keg).as_secs_f64());
        bytes.push((appended(&home) - before) as f64);
        diffs.push(diff(&keg).as_secs_f64());
    }
    let watched = watched(&keg, &home, &mut changes, often);
    let (first, next) = mounted(&keg, dir.path(), &mut changes, bench.runs);
    let collected = Sample::of(bench.runs.min(3), |_| collected(&keg));
    [commits, bytes, watched, diffs, first, next, collected]
}

/// Sets all names at once, each to a small file of its own.
fn fill(keg: &Keg, shape: Shape, size: u64) {
    let objects = keg.objects();
    let name = |text: String| EntryName::new(text).expect("a name");
    let put =
        |number: u64| objects.put_bytes(format!("value {number}\n").as_bytes()).expect("a put");
    let tree = |tree: Tree| objects.put_tree(&tree).expect("a tree");
    let names: Entry = match shape {
        Shape::One => {
            tree(Tree { entries: (0..size).map(|n| (name(format!("n-{n:07}")), put(n))).collect() })
        }
        Shape::Spread => {
            let below = |dir: u64| {
                let each =
                    (0..EACH.min(size)).map(|n| (name(format!("n-{n:03}")), put(dir * EACH + n)));
                tree(Tree { entries: each.collect() })
            };
            let dirs =
                (0..size.div_ceil(EACH)).map(|dir| (name(format!("d-{dir:04}")), below(dir)));
            tree(Tree { entries: dirs.collect() })
        }
    };
    let path = "/names".parse().expect("a path");
    keg.commit(Txn::new("bench", "names").set(path, names)).expect("a commit");
}

/// Changes of one name after the other, all over the namespace.
struct Changes {
    shape: Shape,
    size: u64,
    next: u64,
}

impl Changes {
    /// Changes a name; how long it took.
    fn commit(&mut self, keg: &Keg) -> Duration {
        self.next += 1;
        // A prime: no name twice, and neighbours far from each other.
        let path = self.shape.path(self.next * 7919 % self.size);
        let txn = Txn::new("bench", "a change").set_json(path, json!({ "change": self.next }));
        time(|| keg.commit(txn).expect("a commit")).1
    }
}

/// Bytes in the log's segments.
fn appended(home: &Path) -> u64 {
    let files = std::fs::read_dir(home.join("log")).expect("a Keg has a log").flatten();
    let segments = files.filter(|file| file.path().extension().is_some_and(|ext| ext == "seg"));
    segments.map(|file| file.metadata().expect("it is there").len()).sum()
}

/// The newest version compared with the one before it.
fn diff(keg: &Keg) -> Duration {
    let newest = keg.head().expect("a version").seq;
    let (found, took) = time(|| {
        let mut watch = keg.watch(&NamePath::root(), Some(newest - 1)).expect("a watch");
        watch.try_next().expect("changes")
    });
    assert_eq!(found.len(), 1, "one name has changed");
    took
}

/// From the start of a commit until who watches the whole namespace by an opened Keg of its own
/// has the event.
#[expect(clippy::disallowed_methods, reason = "a bench may wait for an event beside its commits")]
fn watched(keg: &Keg, home: &Path, changes: &mut Changes, runs: usize) -> Sample {
    let other = Keg::open(home).expect("the Keg opens");
    let mut watch = other.watch(&NamePath::root(), None).expect("a watch");
    let (send, events) = mpsc::channel();
    let watcher = std::thread::spawn(move || {
        for _ in 0..runs {
            let found = watch.wait(LATE).expect("the watch goes on");
            send.send((found.len(), Instant::now())).expect("somebody listens");
        }
    });
    let mut sample = Sample::default();
    for _ in 0..runs {
        let begun = Instant::now();
        changes.commit(keg);
        let (count, at) = events.recv().expect("the watcher lives");
        assert_eq!(count, 1, "one name has changed");
        sample.push(at.saturating_duration_since(begun).as_secs_f64());
    }
    watcher.join().expect("the watcher ends");
    sample
}

/// All names mounted: the first time, and then each version after a change.
fn mounted(keg: &Keg, dir: &Path, changes: &mut Changes, runs: usize) -> (Sample, Sample) {
    let target: PathBuf = dir.join("mounted");
    std::fs::create_dir(&target).expect("a new directory");
    let mounts = Mounts::new(keg);
    let mount = || {
        let tree = keg.head().expect("a version").tree;
        let ((), took) = time(|| mounts.read_only(&tree, &target).expect("it can be mounted"));
        unmount(&target).expect("it is mounted");
        took
    };
    let first = Sample::of(1, |_| mount());
    let next = Sample::of(runs, |_| {
        changes.commit(keg);
        mount()
    });
    (first, next)
}

fn collected(keg: &Keg) -> Duration {
    let options = gc::Options::default();
    time(|| collect(keg, &options, &mut |_| {}).expect("a collection")).1
}
