//! State moved between Kegs: backup and restore, pull and push.

use std::path::Path;

use keg::{Keg, Txn, testing::noise};
use keg_tests::{Running, World, link::Relay, netns::Namespace, until};
use serde_json::json;

#[test]
fn a_clone_is_a_backup_that_runs() {
    let mut world = World::with_python();
    let repo = world.probe("blog");
    repo.push().ok();
    let mut backup = World::down();
    let home = backup.home().display().to_string();
    let clone = backup.json(&["clone", &world.url, &home]);
    assert!(clone["seq"].as_u64() > Some(0), "{clone}");
    backup.assert_clean();

    // An incremental backup later fetches only what is new.
    let app = std::fs::read_to_string(repo.path().join("app.py")).expect("there");
    repo.write("app.py", &app.replace("WORD = \"one\"", "WORD = \"two\""));
    repo.commit("Two");
    repo.push().ok();
    let again = backup.json(&["clone", &world.url, &home]);
    let sizes = [&clone, &again].map(|done| done["received"].as_u64().expect("bytes"));
    assert!(sizes[1] * 10 < sizes[0], "{sizes:?}");

    // The machine is lost; the backup serves in its place.
    world.stop();
    backup.start();
    until("the app to be live again", || (backup.get("blog", "/").body == "two").then_some(()));
    let why = backup.json(&["why", &backup.app_url("blog")]);
    assert_eq!(why["source"]["message"].as_str().map(str::trim), Some("Two"));
    backup.assert_clean();
}

#[test]
fn paths_move_between_kegs_and_conflicts_show_both() {
    let here = World::empty();
    let there = World::empty();
    let file = here.scratch().join("file").display().to_string();
    let put = |world: &World, text: &str| {
        std::fs::write(&file, text).expect("written");
        world.keg(&["put", "/notes/a", &file]).ok();
    };
    put(&here, "one");
    here.keg(&["push", &there.url, "/notes/a"]).ok();
    assert_eq!(there.keg(&["cat", "/notes/a"]).ok(), "one");
    let again = here.json(&["push", &there.url, "/notes/a"]);
    assert_eq!(again["seq"], json!(null), "nothing was to be done");

    put(&there, "two");
    here.keg(&["pull", &there.url, "/notes/a"]).ok();
    assert_eq!(here.keg(&["cat", "/notes/a"]).ok(), "two");
    here.keg(&["pull", &there.url, "/notes", "--to", "/theirs"]).ok();
    assert_eq!(here.keg(&["cat", "/theirs/a"]).ok(), "two");

    put(&there, "three");
    put(&here, "four");
    for command in ["pull", "push"] {
        let done = here.keg(&[command, &there.url, "/notes/a"]);
        assert_eq!(done.code, 1, "{done:?}");
        let kids = done.err.matches("K-").count();
        assert!(done.err.contains("both sides") && kids >= 2, "{}", done.err);
    }
    here.keg(&["push", &there.url, "/notes/a", "--force"]).ok();
    assert_eq!(there.keg(&["cat", "/notes/a"]).ok(), "four");

    for (url, code, word) in [("http://127.0.0.1:1", 5, "connection"), ("nonsense", 1, "address")] {
        for command in ["pull", "push"] {
            let done = here.keg(&[command, url, "/notes/a"]);
            assert!(done.code == code && done.err.contains(word), "{done:?}");
        }
    }
    let absent = here.keg(&["pull", &there.url, "/nothing/here"]);
    assert!(absent.code == 1 && absent.err.contains("there is nothing at"), "{absent:?}");
    here.assert_clean();
    there.assert_clean();
}

/// A backup that is made while the Keg is written to is the Keg as it was at some version.
#[test]
fn a_clone_of_a_keg_that_is_written_to() {
    let there = World::empty();
    let dir = there.scratch().join("backups");
    std::fs::create_dir(&dir).expect("made");
    let source = Keg::open(&there.home()).expect("it is up");
    let write = |n: u64| {
        let entry = source.objects().put_bytes(&noise(n, 50_000)).expect("put");
        let path = format!("/data/{}", n % 10).parse().expect("a path");
        source.commit(Txn::new("Test", "write").set(path, entry)).expect("committed");
    };
    write(0);
    let clone = |name: &str| {
        let home = dir.join(name);
        there.keg(&["clone", &there.url, &home.display().to_string()]).ok();
        let backup = Keg::open(&home).expect("a Keg");
        let report = keg::fsck::fsck(&backup, &mut |_| {}).expect("checked");
        assert!(report.is_clean(), "{report:?}");
        let head = backup.head().expect("a version");
        assert_eq!(source.version(head.seq).expect("it had it"), head);
        head.seq
    };
    let done = std::sync::atomic::AtomicBool::new(false);
    let seen = std::thread::scope(|scope| {
        let writing = scope.spawn(|| {
            let mut n = 1;
            while !done.load(std::sync::atomic::Ordering::Relaxed) {
                write(n);
                n += 1;
            }
        });
        let seen: Vec<u64> = ["a", "b", "a", "a"].iter().map(|name| clone(name)).collect();
        done.store(true, std::sync::atomic::Ordering::Relaxed);
        writing.join().expect("written");
        seen
    });
    assert!(seen.is_sorted_by(|a, b| a < b), "it was written to meanwhile: {seen:?}");
    assert_eq!(clone("a"), source.head().expect("a version").seq);
    there.assert_clean();
}

/// Either side is killed at any moment: what is on the disk is not sent again, and checks find
/// nothing wrong meanwhile.
#[test]
fn killed_pulls_and_killed_answers_go_on() {
    // More than all rounds bring, frames and full buffers of sockets on the way included: an answer
    // that has been sent cannot be killed.
    const SIZE: u64 = 80 << 20;
    const GROUP: u64 = 1 << 20;
    // A frame that has not come whole is of no use; and some for heads.
    const FRAME: u64 = (4 << 20) + (64 << 10);
    let there = World::empty();
    let here = World::down();
    Keg::create(&here.home()).expect("a Keg");
    let file = there.scratch().join("large");
    std::fs::write(&file, noise(1, SIZE as usize)).expect("written");
    there.keg(&["put", "/large", &file.display().to_string()]).ok();
    let line = Relay::new(&Namespace::of(there.pid()), "127.0.0.1", there.front);
    let mut kept = 0;
    for (round, stop) in [3, 5, 2, 7].into_iter().enumerate() {
        line.hold_after(stop * GROUP + FRAME);
        let pull = here.keg_command(&["pull", &line.url(), "/large"]);
        let mut pull = Running::start(&mut { pull });
        let wanted = kept + stop * GROUP;
        until("some of it to come", || (part(&here.home()) >= wanted).then_some(()));
        match round % 2 {
            0 => pull.signal(libc::SIGKILL),
            _ => kill_answers(there.pid()),
        }
        line.mend();
        until("its end", || (!pull.runs()).then_some(()));
        let done = pull.wait();
        assert!(done.code == 137 || done.err.contains("run it again"), "{done:?}");
        here.assert_clean();
        let now = part(&here.home()) / GROUP * GROUP;
        assert!(now >= kept && now < SIZE, "{kept} bytes, now {now}");
        kept = now;
    }
    let before = line.count();
    here.keg(&["pull", &line.url(), "/large"]).ok();
    let came = line.count().2 - before.2;
    assert!(came < SIZE - kept + 20_000, "{came} bytes for the last {}", SIZE - kept);
    assert_eq!(part(&here.home()), 0, "nothing is left");
    let path = "/large".parse().expect("a path");
    let entries = [&here, &there].map(|world| Keg::open(&world.home()).expect("a Keg").get(&path));
    let [ours, theirs] = entries.map(|entry| entry.expect("names"));
    assert_eq!(ours, theirs);
    here.assert_clean();
    there.assert_clean();
}

/// Bytes of the part of a file that is coming.
fn part(home: &Path) -> u64 {
    let list = std::fs::read_dir(home.join("tmp")).expect("there").flatten();
    let parts = list.filter(|entry| entry.file_name().to_string_lossy().starts_with("sync-"));
    parts.filter_map(|entry| entry.metadata().ok()).map(|meta| meta.len()).sum()
}

/// Kills the processes that answer Kegs, below a `keg up`.
fn kill_answers(up: i32) {
    let children = |pid: i32| {
        let list = std::fs::read_to_string(format!("/proc/{pid}/task/{pid}/children"));
        let list = list.unwrap_or_default();
        list.split_whitespace().filter_map(|pid| pid.parse().ok()).collect::<Vec<i32>>()
    };
    let mut left = vec![up];
    while let Some(pid) = left.pop() {
        let command = std::fs::read_to_string(format!("/proc/{pid}/cmdline")).unwrap_or_default();
        if command.contains("work\0sync\0") {
            // SAFETY: a plain system call on a process of this test's.
            unsafe { libc::kill(pid, libc::SIGKILL) };
        }
        left.extend(children(pid));
    }
}
