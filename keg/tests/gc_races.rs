//! Collections among other processes, and dying ones: nothing acknowledged is lost.

#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

#[path = "common/child.rs"]
mod child;
#[path = "common/disk.rs"]
mod disk;

use std::{
    io::{BufRead, BufReader, Write},
    path::Path,
    process::{Child, Stdio},
    time::Duration,
};

use disk::SmallDisk;
use keg::{
    Keg, NamePath, Txn,
    fsck::fsck,
    gc::{Options, collect},
    object::{Entry, EntryName, Tree, Value},
    pack::{PackOptions, Which, list, pack},
    store::Objects,
    testing::{at_once, noise},
};
use serde_json::json;

fn path(text: &str) -> NamePath {
    text.parse().expect(text)
}

fn options(grace_ms: u64) -> Options {
    Options { grace_ms: Some(grace_ms), trash_ms: Some(300), ..at_once() }
}

/// A child: `ROLE NUMBER HOME`.
fn play(what: &str) {
    let parts: Vec<&str> = what.splitn(3, ' ').collect();
    let number: u64 = parts[1].parse().unwrap();
    let keg = Keg::open(Path::new(parts[2])).unwrap();
    match parts[0] {
        "write" => write(&keg, number),
        "collect" => loop {
            collect(&keg, &options(0), &mut |_| {}).unwrap();
        },
        "nights" => {
            for turn in number.. {
                litter(&keg, turn..turn + 1);
                pack_all(&keg);
                collect(&keg, &options(0), &mut |_| {}).unwrap();
            }
        }
        "stop" => {
            let mut left = number;
            let unwaiting = Options { trash_ms: Some(0), ..options(0) };
            // The second empties the trash of the first.
            for _ in 0..2 {
                let done = collect(&keg, &unwaiting, &mut |_| {
                    if left == 0 {
                        // As if the power went: no destructor runs.
                        std::process::abort();
                    }
                    left -= 1;
                });
                done.unwrap();
            }
        }
        other => panic!("{other}"),
    }
}

/// A directory whose files come again and again, so that puts meet what is just being collected.
fn put_directory(objects: &dyn Objects, number: u64, turn: u64) -> Entry {
    let mut tree = Tree::default();
    for file in 0..6 {
        let seed = number * 1000 + (turn + file) % 9;
        let size = if file % 2 == 0 { 300 } else { 4000 };
        let entry = objects.put_bytes(&noise(seed, size)).unwrap();
        tree.entries.insert(EntryName::new(format!("f{file}")).unwrap(), entry);
    }
    objects.put_tree(&tree).unwrap()
}

fn write(keg: &Keg, number: u64) {
    let name = path(&format!("/writers/{number}"));
    let mut told = std::io::stdout().lock();
    for turn in 0.. {
        let entry = put_directory(keg.objects(), number, turn);
        if turn % 5 == 4 {
            keg.commit(Txn::new("w", "m").remove(name.clone())).unwrap();
        }
        let set = Txn::new("w", "m").set(name.clone(), entry);
        keg.commit(set.set_json(path(&format!("/turns/{number}")), json!(turn))).unwrap();
        writeln!(told, "{turn}").unwrap();
        told.flush().unwrap();
    }
}

fn spawn(role: &str, number: u64, home: &Path) -> Child {
    let door = "writers_go_on_while_garbage_is_collected_again_and_again";
    let mut command = child::command(door, &format!("{role} {number} {}", home.display()));
    command.stdout(Stdio::piped()).stderr(Stdio::null()).spawn().unwrap()
}

fn last_told(child: &mut Child) -> u64 {
    let lines = BufReader::new(child.stdout.take().unwrap()).lines().map_while(Result::ok);
    lines.filter_map(|line| line.parse().ok()).max().unwrap_or(0)
}

fn new_keg() -> (tempfile::TempDir, Keg) {
    let dir = tempfile::tempdir().unwrap();
    let keg = Keg::create(dir.path()).unwrap();
    let document = json!({"keep": "2 versions", "paths": {"/x": "1 version"}});
    keg.commit(Txn::new("t", "m").set_json(path("/-/gc.json"), document)).unwrap();
    (dir, keg)
}

/// Reads every file below a name.
fn read_all(keg: &Keg, name: &str) -> usize {
    let Some(entry) = keg.get(&path(name)).unwrap() else { return 0 };
    let objects = keg.objects();
    let mut left = vec![entry];
    let mut files = 0;
    while let Some(entry) = left.pop() {
        match entry.value {
            Value::Tree { kid, .. } => {
                left.extend(objects.tree(&kid).unwrap().entries.into_values())
            }
            Value::File { kid, size } => {
                assert_eq!(objects.blob(&kid).unwrap().len() as u64, size);
                files += 1;
            }
            _ => {}
        }
    }
    files
}

fn check(keg: &Keg, what: &str) {
    let report = fsck(keg, &mut |_| {}).unwrap();
    assert!(report.is_clean(), "{what}: {report:?}");
}

#[test]
fn writers_go_on_while_garbage_is_collected_again_and_again() {
    if let Some(what) = child::told() {
        return play(&what);
    }
    let (dir, keg) = new_keg();
    let mut writers: Vec<Child> = (0..2).map(|n| spawn("write", n, dir.path())).collect();
    let (mut swept, mut rewritten, mut removed) = (0, 0, 0);
    for round in 0..25 {
        std::thread::sleep(Duration::from_millis(120));
        let report = collect(&keg, &options(250), &mut |_| {}).unwrap();
        swept += report.swept.objects;
        rewritten += report.log.0 - report.log.1;
        removed += report.removed.objects;
        if round % 8 == 7 {
            check(&keg, &format!("round {round}"));
        }
    }
    for writer in &mut writers {
        assert!(writer.try_wait().unwrap().is_none(), "a writer failed");
        writer.kill().unwrap();
    }
    assert!(swept > 50 && rewritten > 1000 && removed > 20, "{swept} {rewritten} {removed}");
    for (number, writer) in writers.iter_mut().enumerate() {
        let told = last_told(writer);
        writer.wait().unwrap();
        let turn = keg.get_json(&path(&format!("/turns/{number}"))).unwrap().unwrap();
        assert!(turn.as_u64().unwrap() >= told && told > 20, "{turn} {told}");
    }
    for keg in [&keg, &Keg::open(dir.path()).unwrap()] {
        assert!(read_all(keg, "/writers") > 0);
        check(keg, "at the end");
    }
}

/// Some turns of writing, so that there is garbage of every kind.
fn litter(keg: &Keg, turns: std::ops::Range<u64>) {
    for turn in turns {
        let entry = put_directory(keg.objects(), 7, turn);
        keg.commit(Txn::new("w", "m").set(path("/writers/7"), entry)).unwrap();
    }
}

fn pack_all(keg: &Keg) {
    let options = PackOptions { which: Which::All, level: 1, ..PackOptions::default() };
    pack(keg, &options, &mut |_| {}).unwrap();
}

/// Kills a child after some milliseconds: not the same in two rounds, but in each of two runs, so
/// that a failure comes again.
fn kill(mut child: Child, round: u64, after: std::ops::Range<u64>) {
    let moment = u64::from_le_bytes(noise(round, 8).try_into().unwrap());
    let moment = after.start + moment % (after.end - after.start);
    std::thread::sleep(Duration::from_millis(moment));
    child.kill().unwrap();
    child.wait().unwrap();
}

/// What is named is there, for who has known the Keg for long and for who opens it now; returns it
/// newly opened.
fn both_whole(keg: &Keg, what: &str) -> Keg {
    let fresh = Keg::open(keg.home()).unwrap();
    for keg in [keg, &fresh] {
        assert_eq!(read_all(keg, "/writers/7"), 6, "{what}");
    }
    check(&fresh, what);
    fresh
}

#[test]
fn nights_killed_at_any_moment_leave_a_whole_keg() {
    let (dir, keg) = new_keg();
    litter(&keg, 0..3);
    let mut packs = 0;
    for round in 0..12u64 {
        let night = spawn("nights", round * 3, dir.path());
        kill(night, round, 50..650);
        let fresh = both_whole(&keg, &format!("round {round}"));
        packs = packs.max(list(&fresh).unwrap().len());
    }
    assert!(packs > 0, "none of the nights packed anything");
    pack_all(&keg);
    finish(&keg);
    assert_eq!(read_all(&Keg::open(dir.path()).unwrap(), "/writers/7"), 6);
}

#[test]
fn a_collection_that_stops_after_any_step_leaves_a_whole_keg() {
    for packed in [true, false] {
        let (dir, keg) = new_keg();
        let mut steps = 0;
        loop {
            litter(&keg, steps * 3..steps * 3 + 3);
            for file in 0..3 {
                keg.objects().put_bytes(&noise(steps * 3 + file, 100_000)).unwrap();
            }
            if packed {
                pack_all(&keg);
            }
            let mut child = spawn("stop", steps, dir.path());
            let ended = child.wait().unwrap().success();
            both_whole(&keg, &format!("after {steps} steps, packed: {packed}"));
            if ended {
                break;
            }
            steps += 1;
        }
        assert!(steps > 12, "it was stopped only {steps} times; packed: {packed}");
        finish(&keg);
    }
}

#[test]
fn a_collection_killed_at_any_moment_leaves_a_whole_keg() {
    let (dir, keg) = new_keg();
    for round in 0..15u64 {
        litter(&keg, round * 3..round * 3 + 3);
        kill(spawn("collect", 0, dir.path()), round, 10..160);
        both_whole(&keg, &format!("round {round}"));
    }
    finish(&keg);
}

/// In the end everything goes that nothing needs.
fn finish(keg: &Keg) {
    let last = Options { trash_ms: Some(0), ..options(0) };
    for _ in 0..3 {
        collect(keg, &last, &mut |_| {}).unwrap();
    }
    let report = collect(keg, &last, &mut |_| {}).unwrap();
    assert_eq!((report.garbage.objects, report.trash.objects), (0, 0), "{report:?}");
    let report = fsck(keg, &mut |_| {}).unwrap();
    assert!(report.is_clean() && report.unreferenced < 40, "{report:?}");
}

#[test]
fn a_full_disk_stops_a_collection_and_nothing_is_lost() {
    let Some(disk) = SmallDisk::mount(8 << 20) else {
        eprintln!("not root: the full disk is not tested");
        return;
    };
    full_disk(disk.path());
}

fn full_disk(home: &Path) {
    let keg = Keg::create(home).unwrap();
    litter(&keg, 0..3);
    for seed in 0..200 {
        if keg.objects().put_bytes(&noise(seed, 9000)).and_then(|_| keg.objects().sync()).is_err() {
            break;
        }
    }
    let filler = home.join("filler");
    let mut failed = 0;
    for pages in [0, 1, 2, 3, 5, 8, 12, 20] {
        let mut file = std::fs::File::create(&filler).unwrap();
        while file.write_all(&[1; 4096]).is_ok() {}
        let full = file.metadata().unwrap().len();
        file.set_len(full.saturating_sub(pages * 4096)).unwrap();
        drop(file);
        if let Err(error) = collect(&keg, &options(0), &mut |_| {}) {
            assert!(error.to_string().contains("the disk is full"), "{error}");
            failed += 1;
        }
        check(&keg, &format!("with {pages} pages left"));
        assert_eq!(read_all(&keg, "/writers/7"), 6);
        std::fs::remove_file(&filler).unwrap();
        litter(&keg, pages..pages + 2);
        pack_all(&keg);
    }
    assert!(failed > 2, "{failed}");
    finish(&keg);
    assert_eq!(read_all(&keg, "/writers/7"), 6);
}
