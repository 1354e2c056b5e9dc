//! How soon another process hears of a move: from the start of the commit to its event.

use std::{
    collections::HashMap,
    io::{BufRead as _, BufReader, Read as _},
    path::Path,
    time::Duration,
};

use keg::{Keg, NamePath, Txn};
use rustix::time::{ClockId, clock_gettime};

use super::{etcd, ours};

/// Moves of one run.
pub const MOVES: u64 = 500;
/// Between two moves, so that each is heard by itself.
pub const PAUSE: Duration = Duration::from_millis(2);

/// Nanoseconds of a clock that all processes share.
pub fn now() -> i64 {
    let now = clock_gettime(ClockId::Monotonic);
    now.tv_sec * 1_000_000_000 + now.tv_nsec
}

/// A child: follows everything until the last move, then tells when it heard of which version.
pub fn child(home: &Path) {
    let keg = Keg::open(home).expect("a Keg");
    let mut watch = keg.watch(&NamePath::root(), None).expect("a watch");
    println!("ready");
    let mut heard = Vec::new();
    while (heard.len() as u64) < MOVES {
        let changes = watch.wait(Duration::from_secs(60)).expect("changes");
        assert!(!changes.is_empty(), "nothing moved for a minute");
        let now = now();
        heard.extend(changes.iter().map(|change| (change.seq, now)));
    }
    println!("{}", serde_json::json!(heard));
}

/// Half of the moves, and 99 of 100, in seconds.
pub fn keg(home: &Path) -> (f64, f64) {
    let keg = Keg::create(home).expect("a Keg");
    let mut child = ours::child(&format!("watch {}", home.display()));
    let mut out = BufReader::new(child.stdout.take().expect("a pipe"));
    out.read_line(&mut String::new()).expect("it is ready");
    let mut begun = HashMap::new();
    for n in 0..MOVES {
        let path: NamePath = "/watched".parse().expect("a path");
        let start = now();
        let made = keg.commit(Txn::new("bench", "move").set_json(path, serde_json::json!(n)));
        begun.insert(made.expect("made").seq, start);
        std::thread::sleep(PAUSE);
    }
    let mut text = String::new();
    out.read_to_string(&mut text).expect("what it heard");
    assert!(child.wait().expect("it ends").success());
    let heard: Vec<(u64, i64)> = serde_json::from_str(&text).expect("what it heard");
    let after = heard.iter().filter_map(|(seq, at)| Some(at - begun.get(seq)?));
    halves(after.map(|nanos| nanos as f64 / 1e9).collect())
}

/// The same of etcd.
pub fn etcd(dir: &Path) -> (f64, f64) {
    halves(etcd::events(dir))
}

fn halves(mut took: Vec<f64>) -> (f64, f64) {
    took.sort_by(f64::total_cmp);
    let at = |part: f64| took.get((took.len() as f64 * part) as usize).copied();
    (at(0.5).unwrap_or(f64::NAN), at(0.99).unwrap_or(f64::NAN))
}
