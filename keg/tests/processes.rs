//! Many processes at once: nothing acknowledged is lost when they race, are killed, or the disk is
//! full.

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
    CommitError, Expected, Keg, NamePath, Txn,
    fsck::{Report, fsck},
    testing::noise,
};
use serde_json::json;

fn path(text: &str) -> NamePath {
    text.parse().expect(text)
}

fn set(keg: &Keg, name: &str, value: u64) -> u64 {
    keg.commit(Txn::new("t", "m").set_json(path(name), json!(value))).unwrap().seq
}

fn check(keg: &Keg) -> Report {
    fsck(keg, &mut |_| {}).unwrap()
}

/// A child: commits until it is killed, and tells how often it did. `NUMBER HOME`.
fn commit_for_ever(what: &str) {
    let (number, home) = what.split_once(' ').unwrap();
    let keg = Keg::open(Path::new(home)).unwrap();
    let name = path(&format!("/children/{number}.json"));
    let seed = number.parse::<u64>().unwrap() << 32;
    let mut n = keg.get_json(&name).unwrap().map_or(0, |value| value["n"].as_u64().unwrap());
    let mut acknowledged = std::io::stdout().lock();
    loop {
        n += 1;
        let before = keg.get(&name).unwrap().and_then(|entry| entry.kid());
        let expected = before.map_or(Expected::Absent, Expected::Kid);
        let large = keg.objects().put_bytes(&noise(seed + n, 3000)).unwrap();
        let txn = Txn::new("child", "n")
            .set_json(name.clone(), json!({ "n": n }))
            .set(path(&format!("/children/{number}.bin")), large)
            .expect(name.clone(), expected);
        keg.commit(txn).unwrap();
        writeln!(acknowledged, "{n}").unwrap();
        acknowledged.flush().unwrap();
    }
}

fn spawn_child(home: &Path, number: usize) -> Child {
    let door = "what_killed_processes_were_told_is_there";
    let mut command = child::command(door, &format!("{number} {}", home.display()));
    command.stdout(Stdio::piped()).stderr(Stdio::inherit()).spawn().unwrap()
}

/// The highest number a killed child has told.
fn last_told(child: &mut Child) -> u64 {
    let lines = BufReader::new(child.stdout.take().unwrap()).lines().map_while(Result::ok);
    lines.filter_map(|line| line.parse().ok()).max().unwrap_or(0)
}

#[test]
fn what_killed_processes_were_told_is_there() {
    if let Some(what) = child::told() {
        return commit_for_ever(&what);
    }
    let dir = tempfile::tempdir().unwrap();
    let keg = Keg::create(dir.path()).unwrap();
    let mut told = [0; 3];
    for round in 0..20u64 {
        let mut children: Vec<Child> = (0..3).map(|n| spawn_child(dir.path(), n)).collect();
        // Not the same moment twice; the seed is fixed, so that a failure comes again.
        let moment = u64::from_le_bytes(noise(round, 8).try_into().unwrap()) % 120;
        std::thread::sleep(Duration::from_millis(30 + moment));
        for child in &mut children {
            child.kill().unwrap();
        }
        for (number, child) in children.iter_mut().enumerate() {
            told[number] = last_told(child).max(told[number]);
            child.wait().unwrap();
        }
        let reopened = Keg::open(dir.path()).unwrap();
        for keg in [&keg, &reopened] {
            for (number, told) in told.iter().enumerate() {
                let stored = keg.get_json(&path(&format!("/children/{number}.json"))).unwrap();
                let stored = stored.map_or(0, |value| value["n"].as_u64().unwrap());
                assert!(stored >= *told, "round {round}: {number} was told {told}, is {stored}");
            }
        }
        let report = check(&reopened);
        assert!(report.is_clean(), "round {round}: {report:?}");
    }
    assert!(told.iter().all(|told| *told > 5), "each child made some commits: {told:?}");
    let versions = keg.head().unwrap().seq;
    assert!(versions >= told.iter().sum::<u64>(), "{versions} versions, told {told:?}");
}

#[test]
fn processes_that_change_one_name_never_lose_an_update() {
    let dir = tempfile::tempdir().unwrap();
    let home = dir.path();
    Keg::create(home).unwrap();
    let count = |keg: &Keg, add: u64| loop {
        let name = path("/counter.json");
        let before = keg.get(&name).unwrap();
        let value = keg.get_json(&name).unwrap().map_or(0, |value| value.as_u64().unwrap());
        let expected = before.and_then(|entry| entry.kid()).map_or(Expected::Absent, Expected::Kid);
        let txn = Txn::new("t", "m").set_json(name.clone(), json!(value + add));
        match keg.commit(txn.expect(name, expected)) {
            Ok(_) => return,
            Err(CommitError::Conflict { .. }) => {}
            Err(error) => panic!("{error}"),
        }
    };
    std::thread::scope(|scope| {
        for _ in 0..4 {
            scope.spawn(move || {
                // Its own descriptors and locks, as another process has.
                let keg = Keg::open(home).unwrap();
                (0..25).for_each(|_| count(&keg, 1));
            });
        }
        let shared = Keg::open(home).unwrap();
        for _ in 0..2 {
            let keg = shared.clone();
            scope.spawn(move || (0..25).for_each(|_| count(&keg, 1)));
        }
    });
    let keg = Keg::open(home).unwrap();
    assert_eq!(keg.get_json(&path("/counter.json")).unwrap(), Some(json!(150)));
    assert_eq!(keg.head().unwrap().seq, 150);
    assert!(check(&keg).is_clean());
}

#[test]
fn a_full_disk_is_one_clear_error_and_nothing_is_lost() {
    let Some(disk) = SmallDisk::mount(2 << 20) else {
        eprintln!("not root: the full disk is only tested by the faulty store");
        return;
    };
    let keg = Keg::create(disk.path()).unwrap();
    set(&keg, "/kept", 1);
    let mut made = 1;
    let error = loop {
        let txn = Txn::new("t", &"x".repeat(5000)).set_json(path("/n"), json!(made + 1));
        match keg.commit(txn) {
            Ok(version) => made = version.seq,
            Err(error) => break error,
        }
    };
    assert!(error.to_string().contains("the disk is full"), "{error}");
    let large = keg.objects().put_bytes(&noise(1, 4 << 20)).unwrap_err();
    assert!(large.to_string().contains("the disk is full"), "{large}");
    assert_eq!(keg.head().unwrap().seq, made, "the failed commit is not there");
    assert!(check(&keg).is_clean());
    let again = Keg::open(disk.path()).unwrap();
    assert_eq!(again.head().unwrap().seq, made);
    assert_eq!(again.get_json(&path("/kept")).unwrap(), Some(json!(1)));
}
