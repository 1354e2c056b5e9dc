//! Memory of an idle Keg with one app.

use std::{fs, thread::sleep, time::Duration};

use keg_tests::World;

use crate::{
    Bench, kegs,
    peers::Hook,
    sample::Sample,
    table::{Table, Unit},
    trial::{self, Place},
};

/// Bytes resident in all of Keg's processes together.
const GOAL: f64 = 60e6;
/// What is in flight after a deploy has gone by then.
const REST: Duration = Duration::from_secs(5);
/// Kegs that are looked at: the values hardly differ.
const KEGS: usize = 3;
/// How a process that watches a container calls itself.
const SHIM: &str = "keg: container";

/// What a process takes, in bytes.
#[derive(Clone, Copy, Default)]
struct Memory {
    resident: f64,
    proportional: f64,
    private: f64,
}

/// All processes of Keg, the app's own not counted.
pub fn measure(bench: &Bench) -> Vec<Table> {
    let mut total = <[Sample; 3]>::default();
    let mut each: Vec<(String, Sample)> = Vec::new();
    let mut peer = Sample::default();
    for _ in 0..KEGS {
        let world = bench.template.up();
        let repo = world.repo("blog");
        kegs::flask(&repo, "Idle");
        trial::push(&repo, "keg", &Place::routed(&world, "blog"), "Idle");
        sleep(REST);
        let found = processes(&world);
        let sum = |of: fn(&Memory) -> f64| found.iter().map(|(_, memory)| of(memory)).sum();
        for (sample, of) in total.iter_mut().zip([
            (|m| m.resident) as fn(&Memory) -> f64,
            |m| m.proportional,
            |m| m.private,
        ]) {
            sample.push(sum(of));
        }
        for (name, memory) in &found {
            match each.iter_mut().find(|(known, _)| known == name) {
                Some((_, sample)) => sample.push(memory.resident),
                None => each.push((name.clone(), Sample::from_iter([memory.resident]))),
            }
        }
        let podman = Hook::podman(&world, "blog");
        podman.push_edited("Idle");
        peer.push(podman.pid().map_or(f64::NAN, |pid| memory(pid).resident));
    }
    let [resident, proportional, private] = total;
    let mut table = Table::new("Idle Keg with one app, the app's own not counted", Unit::Bytes);
    table.keg("resident (RSS), all processes together", Some(GOAL), resident);
    let mut shims = Sample::default();
    for (name, sample) in each {
        if name == SHIM {
            shims = sample.clone();
        }
        table.part(&name, sample);
    }
    table.keg("proportional (PSS): what is shared counted once", None, proportional);
    table.keg("private and written to: what would be free without Keg", None, private);
    table.keg("for each container, resident", None, shims);
    table.peer("podman's conmon, for each container", peer);
    table.note("RSS counts the one binary's pages in each of its processes; PSS does not.");
    table.note("podman has no service for git, builds, routing, registry or web to compare.");
    vec![table]
}

/// Keg's own processes below `keg up`: a container's PID 1 is ours too, what it starts is not.
fn processes(world: &World) -> Vec<(String, Memory)> {
    let mut found = Vec::new();
    let mut waiting = vec![(world.pid(), "keg up".to_owned())];
    while let Some((pid, name)) = waiting.pop() {
        found.push((name.clone(), memory(pid)));
        if name == "init" {
            continue;
        }
        for child in children(pid) {
            let called = if name == SHIM { "init".to_owned() } else { call(child) };
            waiting.push((child, called));
        }
    }
    found
}

/// What a process calls itself: a service by its first three words, a shim by its kind.
fn call(pid: i32) -> String {
    let line = fs::read(format!("/proc/{pid}/cmdline")).unwrap_or_default();
    let line = String::from_utf8_lossy(&line).replace('\0', " ");
    if line.starts_with(SHIM) {
        return SHIM.to_owned();
    }
    line.split(' ').take(3).collect::<Vec<_>>().join(" ")
}

fn children(pid: i32) -> Vec<i32> {
    let path = format!("/proc/{pid}/task/{pid}/children");
    let text = fs::read_to_string(path).unwrap_or_default();
    text.split_whitespace().filter_map(|child| child.parse().ok()).collect()
}

fn memory(pid: i32) -> Memory {
    let text = fs::read_to_string(format!("/proc/{pid}/smaps_rollup")).unwrap_or_default();
    let field = |name: &str| {
        let line = text.lines().find(|line| line.starts_with(name)).unwrap_or_default();
        let kib = line.split_whitespace().nth(1).and_then(|value| value.parse::<f64>().ok());
        kib.unwrap_or(0.0) * 1024.0
    };
    Memory {
        resident: field("Rss:"),
        proportional: field("Pss:"),
        private: field("Private_Dirty:"),
    }
}
