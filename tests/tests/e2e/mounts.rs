//! Values, working copies and the live namespace as ordinary files, by the command line.

use std::{
    fs,
    path::{Path, PathBuf},
    process::Command,
};

use keg::Keg;
use keg_tests::{
    World,
    process::{Running, run},
    until,
};
use serde_json::{Value as Json, json};

fn world() -> World {
    let world = World::down();
    Keg::create(&world.home()).expect("a Keg");
    world
}

fn dir(world: &World, name: &str) -> PathBuf {
    let path = world.scratch().join(name);
    fs::create_dir_all(&path).expect("made");
    path
}

fn text(path: &Path) -> String {
    path.display().to_string()
}

/// A directory with small and large files, links and a name that is put as `/a/tree`.
fn put_tree(world: &World) -> PathBuf {
    let source = dir(world, "source");
    fs::create_dir(source.join("below")).expect("made");
    for number in 0..20 {
        let line = format!("{number}\n");
        fs::write(source.join(format!("below/{number}")), line.repeat(1000)).expect("written");
        fs::write(source.join(format!("small-{number}")), line).expect("written");
    }
    fs::hard_link(source.join("small-1"), source.join("hard")).expect("linked");
    std::os::unix::fs::symlink("below/1", source.join("link")).expect("linked");
    world.keg(&["put", "/a/tree", &text(&source)]).ok();
    source
}

fn nothing_left(world: &World, target: &Path) {
    assert_eq!(fs::read_dir(target).expect("there").count(), 0, "nothing is at {target:?}");
    let table = fs::read_to_string("/proc/self/mountinfo").expect("the table");
    let scratch = text(world.scratch());
    assert!(!table.contains(&scratch), "nothing is mounted:\n{table}");
    for kept in ["work", "run/live"] {
        let names = fs::read_dir(world.home().join(kept)).into_iter().flatten().flatten();
        let names: Vec<_> = names.map(|e| e.file_name()).filter(|name| name != "lock").collect();
        assert!(names.is_empty(), "{kept}: {names:?}");
    }
}

#[test]
fn a_value_is_mounted_and_taken_away() {
    let world = world();
    let (source, target) = (put_tree(&world), dir(&world, "target"));
    let at = text(&target);
    let first = world.json(&["log", "/a/tree"]);
    let version = first["version"].as_str().expect("a version").to_owned();
    world.keg(&["rm", "/a/tree/below/7"]).ok();
    for (path, same) in [(format!("/a/tree@{version}"), true), ("/a/tree".to_owned(), false)] {
        world.keg(&["mount", &at, &path]).ok();
        let diff =
            run(Command::new("diff").args(["-r", "--no-dereference"]).arg(&source).arg(&target));
        assert_eq!(diff.code == 0, same, "{diff:?}");
        let again = world.keg(&["mount", &at, &path]);
        assert!(again.code == 1 && again.err.contains("keg unmount"), "{again:?}");
        assert!(fs::write(target.join("new"), "").is_err(), "read-only");
        world.keg(&["unmount", &at]).ok();
        nothing_left(&world, &target);
    }
    for (wrong, words) in [
        (&["unmount", &at][..], "no Keg is mounted"),
        (&["mount", &at, "/a/tree/small-1"], "not a directory"),
        (&["mount", &at, "/nothing"], "there is nothing at"),
        (&["mount", "/no/such/dir", "/a/tree"], "cannot mount at"),
        (&["mount", "--rw", "/a/tree", "/no/such/dir"], "cannot be a mount point"),
    ] {
        let done = world.keg(wrong);
        assert!(done.code == 1, "{wrong:?}: {done:?}");
        let said = format!("{} {}", done.out, done.err);
        assert!(said.contains(words) || said.contains("cannot be used"), "{wrong:?}: {said}");
    }
    world.assert_clean();
}

#[test]
fn a_working_copy_is_written_committed_and_taken_away() {
    let world = world();
    put_tree(&world);
    let target = dir(&world, "copy");
    let at = text(&target);
    world.keg(&["mount", "--rw", "/a/tree", &at]).ok();
    fs::write(target.join("new"), "new\n").expect("written");
    fs::remove_file(target.join("below/3")).expect("removed");
    fs::rename(target.join("below/4"), target.join("moved")).expect("moved");
    let kept = world.keg(&["unmount", &at]);
    assert!(kept.code == 1 && kept.err.contains("--discard"), "{kept:?}");
    let done = world.json(&["commit", &at, "/a/tree", "-m", "mine"]);
    assert_eq!(done["working_copy"], json!(true));
    assert_eq!(world.keg(&["cat", "/a/tree/new"]).ok(), "new\n");
    assert_eq!(world.keg(&["cat", "/a/tree/moved"]).ok(), "4\n".repeat(1000));
    assert_eq!(world.keg(&["cat", "/a/tree/below/3"]).code, 1);

    fs::write(target.join("new"), "newer\n").expect("written");
    let theirs = dir(&world, "theirs").join("x");
    fs::write(&theirs, "theirs\n").expect("written");
    world.keg(&["put", "/a/tree/theirs", &text(&theirs)]).ok();
    let conflict = world.keg(&["commit", &at, "/a/tree"]);
    assert!(conflict.code == 1 && conflict.err.contains("has changed meanwhile"), "{conflict:?}");
    let words: Vec<&str> = conflict.err.split('`').nth(1).expect("a hint").split(' ').collect();
    let diff = world.keg(&words[1..]).ok();
    assert!(diff.contains("theirs"), "{diff}");
    world.keg(&["commit", &at, "/a/mine"]).ok();
    assert_eq!(world.keg(&["cat", "/a/mine/new"]).ok(), "newer\n");
    assert_eq!(world.keg(&["cat", "/a/tree/new"]).ok(), "new\n");
    let listed = world.json(&["mount"]);
    assert_eq!((&listed["path"], &listed["changed"]), (&json!("/a/tree"), &json!(true)));
    world.keg(&["unmount", &at, "--discard"]).ok();
    nothing_left(&world, &target);
    world.assert_clean();
}

fn live(world: &World, target: &Path) -> Running {
    let mut live = Running::start(&mut world.keg_command(&["mount", &text(target), "--json"]));
    until("the live mount", || (live.out().lines().count() > 0).then_some(()));
    live
}

#[test]
fn the_live_namespace_follows_each_name() {
    let world = world();
    let source = put_tree(&world);
    let target = dir(&world, "live");
    let mut live = live(&world, &target);
    assert_eq!(fs::read_to_string(target.join("a/tree/small-3")).expect("read"), "3\n");
    for round in 0..5 {
        fs::write(source.join("small-1"), format!("round {round}\n")).expect("written");
        world.keg(&["put", "/a/one", &text(&source.join("small-1")), "--force"]).ok();
        until("the flip", || {
            let read = fs::read_to_string(target.join("a/one"));
            read.is_ok_and(|read| read == format!("round {round}\n")).then_some(())
        });
    }
    let flips: Vec<Json> =
        live.out().lines().skip(1).map(|l| serde_json::from_str(l).expect("JSON")).collect();
    assert!(flips.iter().all(|flip| flip["tree"].is_string()), "{flips:?}");
    world.keg(&["unmount", &text(&target)]).ok();
    assert_eq!(live.wait().code, 0);
    nothing_left(&world, &target);
}

#[test]
fn the_next_start_takes_away_what_a_killed_one_left() {
    let world = world();
    put_tree(&world);
    let target = dir(&world, "live");
    for next in [&["mount"][..], &["unmount", &text(&target)]] {
        let live = live(&world, &target);
        live.signal(libc::SIGKILL);
        live.wait();
        assert!(target.join("a/tree/small-3").exists(), "it is still there");
        world.keg(next).ok();
        nothing_left(&world, &target);
    }
    world.assert_clean();
}

/// Killed at any moment: the next start has a clean Keg, and what was mounted can be taken away.
#[test]
fn killed_at_any_moment() {
    let world = world();
    let source = put_tree(&world);
    let targets = ["value", "copy", "live"].map(|name| dir(&world, name));
    let [value, copy, live_at] = targets.each_ref().map(|target| text(target));
    let commands = [
        vec!["mount", &value, "/a/tree"],
        vec!["mount", "--rw", "/a/tree", &copy],
        vec!["mount", &live_at],
    ];
    for round in 0..30_u64 {
        let command = &commands[round as usize % 3];
        let started = Running::start(&mut world.keg_command(command));
        if round % 3 == 2 && round > 15 {
            // Until it flips.
            std::thread::sleep(std::time::Duration::from_millis(40));
            world.keg(&["put", "/a/one", &text(&source.join("below/1")), "--force"]).ok();
        }
        std::thread::sleep(std::time::Duration::from_micros(round * 7919 % 40_000));
        started.signal(libc::SIGKILL);
        started.wait();
        world.keg(&["mount"]).ok();
        for target in [&value, &copy] {
            let done = world.keg(&["unmount", target]);
            let nothing = done.err.contains("no Keg is mounted");
            assert!(done.code == 0 || nothing, "round {round}: {done:?}");
        }
        targets.iter().for_each(|target| nothing_left(&world, target));
        let undone = world.keg(&["mount", &value, "/a/tree"]);
        assert_eq!(undone.code, 0, "round {round}: {undone:?}");
        assert_eq!(fs::read_dir(targets[0].join("below")).expect("there").count(), 20);
        world.keg(&["unmount", &value]).ok();
    }
    world.assert_clean();
}
