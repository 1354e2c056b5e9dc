//! Two versions in packs, one pulled after the other, and back to loose files.

use std::path::Path;

use keg::{
    Keg, Kid, NamePath,
    pack::{PackOptions, Which, pack, rehydrate},
};
use keg_tests::World;
use serde_json::Value as Json;

use super::{commits::Taken, disk, tools, tree::Versions};
use crate::{
    machine,
    sample::{Sample, time},
    table::{Table, Unit},
};

/// Bytes for the second version.
const MORE_GOAL: f64 = 40e3;
/// Bytes for both.
const BOTH_GOAL: f64 = 240e6;
/// How hard zstd tries, for who has the time.
const HARDER: i32 = 16;
/// Bytes each second when packed objects become files.
const REHYDRATE_GOAL: f64 = 0.8e9;

/// What was found of Keg.
pub struct Cold {
    packed: Sample,
    more: [Sample; 3],
    both: Sample,
    harder: Sample,
    packing: [Sample; 2],
    pulled: Sample,
    first_pull: Sample,
    rehydrated: Sample,
}

/// One Keg that serves both versions, one that pulls them. It takes a minute, so it is done once:
/// bytes are the same each time.
pub fn measure(versions: &Versions, place: &Path) -> Cold {
    eprintln!("  packs, pull");
    let mut world = World::empty();
    let (tree, home) = (versions.dir.to_str().expect("UTF-8"), world.home());
    let commit = |version| {
        versions.put(&versions.dir, version);
        tools::keg(&home, &["commit", tree, "/tree"]);
    };
    let other = place.join("pulled");
    Keg::create(&other).expect("a Keg");
    commit(0);
    let pull = |world: &World| -> Json {
        let text = tools::keg(&other, &["pull", &world.url, "/tree", "--json"]);
        serde_json::from_str(&text).expect("JSON")
    };
    machine::touch(versions.bytes);
    let (_, took) = time(|| pull(&world));
    let first_pull = one(versions.bytes as f64 / took.as_secs_f64());
    world.stop().ok();
    let (_, packing) = time(|| shrink(&home, PackOptions::default().level));
    let packed = disk::bytes(&home);
    let (packs, log) = (disk::bytes(&home.join("packs")), disk::bytes(&home.join("log")));
    commit(1);
    let more_log = || (disk::bytes(&home.join("log")) as f64 - log as f64).max(0.0);
    let before = more_log();
    world.start();
    let pulled = one(pull(&world)["received"].as_f64().unwrap_or(f64::NAN));
    world.stop().ok();
    shrink(&home, PackOptions::default().level);
    let packs = disk::bytes(&home.join("packs")) - packs;
    let more = [packs as f64, before, more_log()].map(one);
    let (packed, both) = (one(packed as f64), one(disk::bytes(&home) as f64));
    let (harder, hard) = packed_harder(versions, place);
    let packing = [packing.as_secs_f64(), hard].map(one);
    let rehydrated = unpacked(&home, versions.bytes);
    Cold { packed, more, both, harder, packing, pulled, first_pull, rehydrated }
}

/// Bytes of another Keg with both versions, packed with a higher level, and seconds for the first.
fn packed_harder(versions: &Versions, place: &Path) -> (Sample, f64) {
    let (home, mut seconds) = (place.join("harder"), Vec::new());
    Keg::create(&home).expect("a Keg");
    for version in [0, 1] {
        versions.put(&versions.dir, version);
        tools::keg(&home, &["commit", versions.dir.to_str().expect("UTF-8"), "/tree"]);
        seconds.push(time(|| shrink(&home, HARDER)).1.as_secs_f64());
    }
    (one(disk::bytes(&home) as f64), seconds[0])
}

/// All of it into packs, what current names need, too.
fn shrink(home: &Path, level: i32) {
    let keg = Keg::open(home).expect("a Keg");
    let options = PackOptions { which: Which::All, level, ..PackOptions::default() };
    pack(&keg, &options, &mut |_| {}).expect("packed");
}

/// Bytes each second of the newest version, durably.
fn unpacked(home: &Path, bytes: u64) -> Sample {
    let keg = Keg::open(home).expect("a Keg");
    let path: NamePath = "/tree".parse().expect("a path");
    let tree: Kid = keg.get(&path).expect("read").and_then(|e| e.kid()).expect("a tree");
    machine::touch(bytes);
    let (done, took) = time(|| rehydrate(&keg, &tree, &mut |_| {}));
    one(done.expect("unpacked").bytes as f64 / took.as_secs_f64())
}

fn one(value: f64) -> Sample {
    [value].into_iter().collect()
}

/// Bytes of all tools, and how fast they come back.
pub fn tables(cold: Cold, all: &[Taken]) -> Vec<Table> {
    let mut more = Table::new("Bytes that the second version adds", Unit::Bytes);
    let [packs, before, after] = cold.more;
    more.keg("in packs: keg pack --all", Some(MORE_GOAL), packs);
    growth(&mut more, all);
    more.keg("on the wire: keg pull of it, to who has the first", Some(MORE_GOAL), cold.pulled);
    growth(&mut more, all);
    more.keg("in the log: changed directories and small files, before packing", None, before);
    more.part("once packed: commits, and small files until there are more", after);
    more.note("Of peers: what their stores grow by, which is what a copy of them would be sent.");
    let mut both =
        Table::new("Bytes of both versions, as small as each tool makes them", Unit::Bytes);
    both.keg("the whole Keg with all in packs", Some(BOTH_GOAL), cold.both);
    both.part("the first version alone", cold.packed);
    both.keg(&format!("…with keg pack --level {HARDER}"), Some(BOTH_GOAL), cold.harder);
    for taken in peers(all) {
        let after = if taken.tool.shrink.is_empty() { "" } else { ", after gc" };
        both.peer(&format!("{}{after}", taken.tool.name), taken.least.clone());
    }
    let mut packing = Table::new("How long that takes, for the first version", Unit::Seconds);
    let [usual, harder] = cold.packing;
    packing.keg(&format!("keg pack --all --level {HARDER}"), None, harder);
    packing.keg("keg pack --all", None, usual);
    for taken in peers(all).filter(|taken| taken.shrunk.len() > 0) {
        packing.peer(&format!("{} gc, of both", taken.tool.name), taken.shrunk.clone());
    }
    let mut back = Table::new("Whole versions moved", Unit::BytesPerSecond);
    back.keg("packed objects made loose, durable", Some(REHYDRATE_GOAL), cold.rehydrated);
    back.keg("keg pull of the first version, loopback, durable", None, cold.first_pull);
    vec![more, both, packing, back]
}

fn growth(table: &mut Table, all: &[Taken]) {
    for taken in peers(all) {
        table.peer(taken.tool.name, taken.growth.clone());
    }
}

fn peers(all: &[Taken]) -> impl Iterator<Item = &Taken> {
    all.iter().filter(|taken| taken.tool.name != tools::KEG.name)
}
