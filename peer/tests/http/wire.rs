//! What a change costs on the line: bytes with all headers, and round trips.

use std::{
    path::Path,
    time::{Duration, Instant},
};

use keg::{
    Keg,
    ingest::{IngestOptions, ingest},
    object::{Entry, EntryName, Tree, Value},
    testing::noise,
};

use crate::{
    Outcome,
    ends::{Server, run},
    line::Line,
    runs::{Place, files, path, set},
};

/// The goal for one percent of a tree, in bytes.
const GOAL: u64 = 40_000;

pub fn one_line_costs_a_few_bytes() {
    let (there, here) = (Place::new(), Place::new());
    let objects = there.keg.objects();
    let server = Server::start(there.home());
    let line_to = Line::to(server.port, Duration::ZERO, None);
    let text: String = (0..900).map(|n| format!("    let x{n} = {n};\n")).collect();
    for (n, line) in ["let x7 = 7;", "let x7 = 8;"].into_iter().enumerate() {
        let mut tree = objects.tree(&files(&there.keg, 1, 300, 4000).kid().unwrap()).unwrap();
        let entry = objects.put_bytes(text.replace("let x7 = 7;", line).as_bytes()).unwrap();
        tree.entries.insert(EntryName::new("main.rs").unwrap(), entry);
        set(&there.keg, "/app", objects.put_tree(&tree).unwrap());
        run("pull", &line_to.url, here.home(), "/app").unwrap();
        let (requests, bytes) = line_to.take();
        if n == 1 {
            println!("  one line of one file: {bytes} bytes, {requests} requests");
            assert!(bytes < 1500 && requests == 2, "{bytes} bytes, {requests} requests");
        }
    }
}

/// Changes every `each`th file a little; returns the tree, and how many files it changed.
fn change(keg: &Keg, tree: &Tree, each: u64, seen: &mut u64, changed: &mut u64) -> Entry {
    let objects = keg.objects();
    let mut new = tree.clone();
    for (name, entry) in &mut new.entries {
        let value = match &entry.value {
            Value::Tree { kid, .. } => {
                let below = objects.tree(kid).unwrap();
                change(keg, &below, each, seen, changed).value
            }
            Value::File { kid, size } if *size > 0 && name.as_bytes() != b"big" => {
                *seen += 1;
                if !seen.is_multiple_of(each) {
                    continue;
                }
                *changed += 1;
                let mut bytes = objects.blob(kid).unwrap();
                let at = bytes.len() / 2;
                bytes.splice(at..at, format!("change {seen:05}").bytes());
                objects.put_bytes(&bytes).unwrap().value
            }
            _ => continue,
        };
        entry.value = value;
    }
    objects.put_tree(&new).unwrap()
}

/// Pulls a tree, then one with 1% of its files and 8 bytes of its largest changed.
fn one_percent(there: &Place, mut tree: Tree, big: usize, each: u64) -> u64 {
    let objects = there.keg.objects();
    let mut bytes = noise(77, big);
    let name = EntryName::new("big").unwrap();
    tree.entries.insert(name.clone(), objects.put_bytes(&bytes).unwrap());
    set(&there.keg, "/tree", objects.put_tree(&tree).unwrap());
    let here = Place::new();
    let server = Server::start(there.home());
    let line = Line::to(server.port, Duration::ZERO, None);
    let start = Instant::now();
    run("pull", &line.url, here.home(), "/tree").unwrap();
    let (requests, whole) = line.take();
    println!("  whole: {whole} bytes, {requests} requests, {:.1?}", start.elapsed());
    bytes[big / 2..big / 2 + 8].copy_from_slice(b"changed!");
    tree.entries.insert(name, objects.put_bytes(&bytes).unwrap());
    let (mut seen, mut changed) = (0, 0);
    let new = change(&there.keg, &tree, each, &mut seen, &mut changed);
    set(&there.keg, "/tree", new);
    let start = Instant::now();
    run("pull", &line.url, here.home(), "/tree").unwrap();
    let (requests, bytes) = line.take();
    let time = start.elapsed();
    println!("  {changed} of {seen} files, 8 bytes of {big}: {bytes} bytes, {requests} requests");
    println!("  in {time:.1?}");
    assert_eq!(requests, 2);
    let at = path("/tree");
    assert_eq!(Keg::open(here.home()).unwrap().get(&at).unwrap(), there.keg.get(&at).unwrap());
    here.check_clean();
    bytes
}

pub fn one_percent_of_a_tree_costs_little() {
    let there = Place::new();
    let tree = files(&there.keg, 1, 6000, 1500).kid().unwrap();
    let tree = there.keg.objects().tree(&tree).unwrap();
    let bytes = one_percent(&there, tree, 24 << 20, 100);
    assert!(bytes < 16_000, "{bytes} bytes for 60 files");
}

/// The tree of the goal, made from what this machine has; run by name, for it takes its time.
pub fn one_percent_of_the_large_tree() -> Outcome {
    if !std::env::args().any(|arg| arg.contains("large_tree")) {
        return Outcome::Skipped("it takes minutes; run it with its name: large_tree".to_owned());
    }
    let there = Place::new();
    let dir = Path::new("/usr/share");
    if !dir.is_dir() {
        return Outcome::Skipped("there is no /usr/share".to_owned());
    }
    let entry = ingest(there.keg.objects(), dir, &IngestOptions::default()).unwrap();
    let Value::Tree { kid, bytes, entries } = entry.value else { panic!("a tree") };
    println!("  {bytes} bytes in {entries} entries");
    let tree = there.keg.objects().tree(&kid).unwrap();
    // As many files as 1% of the goal's tree: 211.
    let bytes = one_percent(&there, tree, 100 << 20, (entries / 240).max(1));
    assert!(bytes < GOAL, "{bytes} bytes");
    Outcome::Passed
}

pub fn latency_is_paid_twice() {
    let (there, here) = (Place::new(), Place::new());
    set(&there.keg, "/x", files(&there.keg, 1, 400, 20_000));
    let server = Server::start(there.home());
    let line = Line::to(server.port, Duration::from_millis(100), None);
    let start = Instant::now();
    run("pull", &line.url, here.home(), "/x").unwrap();
    let time = start.elapsed();
    let (requests, bytes) = line.take();
    println!("  200 ms round trips: {bytes} bytes in {time:.1?}, {requests} requests");
    assert_eq!(requests, 2);
}
