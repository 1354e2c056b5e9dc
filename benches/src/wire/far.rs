//! Over a line of 200 ms and 1% loss, and one of 1 ms: how near Keg is to what TCP gives there.

use std::time::Duration;

use keg::Keg;
use keg_tests::{
    World,
    link::{HERE, Link, Quality, Relay, THERE},
};

use super::{make, plain, put, seconds, text};
use crate::{
    Bench,
    sample::Sample,
    table::{Table, Unit},
};

/// Most runs: each takes seconds to minutes.
const FEW: usize = 3;
/// Congestion controls, and the bytes that each can send in some seconds over such a line.
const FAR: [(&str, usize); 3] = [("bbr", 24 << 20), ("cubic", 1 << 20), ("reno", 1 << 20)];
/// Of these the first that the kernel has: without loss they do not differ.
const NEAR_CONTROLS: [&str; 2] = ["cubic", "reno"];
/// Bytes over the near line.
const NEAR: usize = 256 << 20;

pub fn measure(bench: &Bench) -> Vec<Table> {
    let runs = bench.runs.min(FEW);
    let mut far = Table::new("Far: 200 ms there and back, 1% lost, 100 Mbit/s", Unit::Seconds);
    let mut near = Table::new("Near: 1 ms there and back, packets of 9000 bytes", Unit::Seconds);
    for (control, bytes) in FAR {
        over(&mut far, Quality::FAR, &[control], bytes, runs);
    }
    over(&mut near, Quality::NEAR, &NEAR_CONTROLS, NEAR, runs);
    far.note(
        "plain TCP: one connection between the same namespaces, as many bytes as Keg received",
    )
    .note("bytes cannot be compressed; each run has a new Keg; both ends make them durable");
    near.note("the line is a thread that copies packets: it is the limit of both");
    vec![far, near]
}

#[derive(Default)]
struct Found {
    pull: Sample,
    push: Sample,
    clone: Sample,
    line: Sample,
    down: Sample,
    up: Sample,
    requests: u64,
}

/// Measures with the first of some congestion controls that the kernel has.
fn over(table: &mut Table, quality: Quality, controls: &[&str], bytes: usize, runs: usize) {
    let (mut found, mut control) = (Found::default(), "");
    for run in 0..runs {
        let why = match Link::new(Quality { seed: run as u64 + 1, ..quality }) {
            Ok(link) => match controls.iter().find(|control| link.control(control)) {
                Some(has) => {
                    control = has;
                    once(&mut found, &link, bytes);
                    continue;
                }
                None => format!("this kernel has no {}", controls.join(" and no ")),
            },
            Err(why) => format!("not measured: {why}"),
        };
        table.note(&why);
        return;
    }
    let megabytes = bytes as f64 / 1e6;
    let row = |what: &str| format!("{what} of {megabytes:.1} MB, {control}");
    table
        .keg(&row("pull"), None, found.pull)
        .peer("plain TCP", found.down.clone())
        .keg(&row("clone"), None, found.clone)
        .peer("plain TCP", found.down)
        .keg(&row("push"), None, found.push)
        .peer("plain TCP", found.up)
        .keg("pull of one changed file of 4 kB", None, found.line);
    let trips = Sample::of(1, |_| quality.delay * 2 * 3);
    table.machine("three round trips: connect, trees, pack", trips);
    table.note(&format!("{control}: {} requests for a pull, a push and a clone", found.requests));
}

/// A Keg there and one here, made anew.
fn once(found: &mut Found, link: &Link, bytes: usize) {
    let mut there = World::down();
    there.move_to(&link.there);
    there.start();
    let mut here = World::down();
    here.move_to(&link.here);
    Keg::create(&here.home()).expect("a Keg");
    let far = Relay::new(&link.there, THERE, there.front);
    let near = Relay::new(&link.here, "127.0.0.1", far.address);
    let url = near.url();
    let [theirs, ours] = [&there, &here].map(|world| world.scratch().join("data"));
    make(&theirs, 1, bytes);
    make(&ours, 2, bytes);
    put(&there, "/theirs", &theirs);
    rustix::fs::sync();
    let (took, pulled) = seconds(here.keg(&["pull", &url, "/theirs", "--json"]));
    found.pull.push(took);
    let received = pulled["received"].as_u64().expect("bytes");
    let backup = text(&here.scratch().join("backup"));
    found.clone.push(seconds(here.keg(&["clone", &url, &backup, "--json"])).0);
    put(&here, "/ours", &ours);
    rustix::fs::sync();
    // Known to be nothing there: a push to a new name asks first.
    found.push.push(seconds(here.keg(&["push", &url, "/ours", "--json"])).0);
    found.requests = near.count().0;
    std::fs::write(theirs.join("small-7"), [7; 4000]).expect("written");
    put(&there, "/theirs/small-7", &theirs.join("small-7"));
    found.line.push(seconds(here.keg(&["pull", &url, "/theirs", "--json"])).0);
    let plain = |took: Duration| took.as_secs_f64();
    found.down.push(plain(plain::transfer(&link.there, THERE, &link.here, received)));
    found.up.push(plain(plain::transfer(&link.here, HERE, &link.there, received)));
    drop(there.stop());
}
