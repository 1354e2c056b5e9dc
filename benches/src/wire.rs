//! Kegs that send values to each other: far apart and next to each other; on one machine, a backup.

mod far;
mod near;
mod plain;

use std::{fs, path::Path};

use keg::testing::noise;
use keg_tests::{Done, World};
use serde_json::Value as Json;

use crate::{Bench, table::Table};

/// Far, near.
pub fn measure(bench: &Bench) -> Vec<Table> {
    far::measure(bench)
}

/// Here.
pub fn backup(bench: &Bench) -> Vec<Table> {
    near::measure(bench)
}

/// Makes a directory with one file that cannot be compressed, and a hundred small ones.
fn make(dir: &Path, seed: u64, bytes: usize) {
    fs::create_dir(dir).expect("made");
    for n in 0..100 {
        fs::write(dir.join(format!("small-{n}")), noise(seed ^ n << 8, 4000)).expect("written");
    }
    fs::write(dir.join("large"), noise(seed, bytes)).expect("written");
}

fn put(world: &World, path: &str, from: &Path) {
    world.keg(&["put", path, &text(from)]).ok();
}

fn text(path: &Path) -> String {
    path.to_str().expect("because temporary directories are UTF-8").to_owned()
}

/// Seconds that a command took, which must have succeeded, and what it printed.
fn seconds(done: Done) -> (f64, Json) {
    let took = done.took.as_secs_f64();
    (took, serde_json::from_str(&done.ok()).expect("because it was run with --json"))
}
