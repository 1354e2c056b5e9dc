//! kill -9 of each part, of everything, at any moment: what was assigned comes back, once.

use std::{
    collections::BTreeMap,
    sync::atomic::{AtomicBool, Ordering},
    time::{Duration, Instant},
};

use keg_tests::{Repo, World, http, look::runs, look::signal, repo::told, until};
use serde_json::{Value as Json, json};

/// Kills of everything in the middle of a push: of later ones, of first ones of an app, and of the
/// very first of a Keg.
const LATER: usize = 10;
const FIRST: usize = 7;
const VERY_FIRST: usize = 3;
/// Seed of the moments; printed, to be set by `KEG_TEST_SEED`.
const SEED: u64 = 20_261_123;

fn blog() -> (World, Repo) {
    let world = World::with_python();
    let repo = world.probe("blog");
    repo.push().ok();
    (world, repo)
}

fn say(repo: &Repo, word: &str) {
    let app = std::fs::read_to_string(repo.path().join("app.py")).expect("there");
    let lines = app.lines().map(|line| match line.starts_with("WORD = ") {
        true => format!("WORD = \"{word}\"\n"),
        false => format!("{line}\n"),
    });
    repo.write("app.py", &lines.collect::<String>());
    repo.commit(word);
}

fn one_row(world: &World) -> Json {
    until("one running process", || {
        let mut rows = world.ps("blog");
        let row = rows.pop().filter(|row| rows.is_empty() && row["state"] == "running");
        row.filter(|row| row["pid"].as_i64().is_some_and(|pid| runs(pid as i32)))
    })
}

#[test]
fn a_killed_mayor_leaves_the_app_alone() {
    let (world, repo) = blog();
    let before = one_row(&world);
    for round in 0..3 {
        let mayor = world.service("mayor");
        signal(mayor, libc::SIGKILL);
        until("the mayor to be gone", || (!runs(mayor)).then_some(()));
        assert_eq!(world.get("blog", "/").body, "one", "it answers without a mayor");
        assert_ne!(world.service("mayor"), mayor);
        let after = one_row(&world);
        for field in ["process", "pid", "restarts", "release", "started"] {
            assert_eq!(after[field], before[field], "{field}, round {round}");
        }
    }
    say(&repo, "two");
    repo.push().ok();
    assert_eq!(world.get("blog", "/").body, "two");
    // One that dies while there is no mayor is started again by the next.
    let app = until("the new one alone", || {
        Some(one_row(&world)).filter(|row| row["pid"] != before["pid"])
    });
    let mayor = world.service("mayor");
    signal(mayor, libc::SIGKILL);
    signal(app["pid"].as_i64().expect("a number") as i32, libc::SIGKILL);
    until("another process", || Some(one_row(&world)).filter(|row| row["pid"] != app["pid"]));
    assert_eq!(world.get("blog", "/").body, "two");
    world.assert_clean();
}

#[test]
fn killed_services_are_back_and_refuse_nobody() {
    let (world, _repo) = blog();
    for service in ["front", "router", "mayor"] {
        for _ in 0..2 {
            let before = world.service(service);
            signal(before, libc::SIGKILL);
            assert_eq!(world.get("blog", "/").body, "one", "{service}");
            assert_eq!(world.page("/?json").status, 200, "{service}");
            assert_ne!(world.service(service), before);
        }
    }
    let all = world.json(&["ps", "--all"]);
    let rows = all.as_array().expect("rows").iter();
    let dead: Vec<&Json> =
        rows.filter(|row| !row["pid"].as_i64().is_some_and(|pid| runs(pid as i32))).collect();
    assert!(dead.is_empty(), "rows of processes that are gone: {dead:?}");
}

#[test]
fn a_killed_keg_up_takes_everything_down_and_the_next_brings_it_back() {
    let (mut world, repo) = blog();
    let before = one_row(&world)["pid"].as_i64().expect("a number") as i32;
    world.kill_up();
    until("the services and the app to end", || world.pids().is_empty().then_some(()));
    assert!(!runs(before));
    world.assert_gone();
    world.start();
    until("the app to be back", || (world.get("blog", "/").body == "one").then_some(()));
    one_row(&world);
    // At once, while the services of the one before are still ending.
    world.kill_up();
    until_up(&mut world);
    until("the app to be back", || (world.get("blog", "/").body == "one").then_some(()));
    for service in ["front", "router", "mayor"] {
        world.service(service);
    }
    let row = one_row(&world);
    say(&repo, "two");
    repo.push().ok();
    assert_eq!(world.get("blog", "/").body, "two");
    until("the former to go", || (one_row(&world)["pid"] != row["pid"]).then_some(()));
    assert_eq!(world.groups().len(), 1);
    world.assert_clean();
}

/// `keg up` again, which may say for a while that its ports are in use.
fn until_up(world: &mut World) {
    until("the ports to be free", || {
        let bound = [world.front, world.router].map(|at| std::net::TcpListener::bind(at).is_ok());
        bound.into_iter().all(|free| free).then_some(())
    });
    world.start();
}

#[test]
fn after_a_kill_of_everything_what_was_assigned_comes_back_once() {
    let (mut world, _repo) = blog();
    world.configure("blog", &json!({ "scale": { "web": 2, "worker": 1 } }));
    let all = |world: &World| {
        let rows = world.ps("blog");
        let alive = |row: &Json| row["pid"].as_i64().is_some_and(|pid| runs(pid as i32));
        let well = rows.iter().all(|row| row["state"] == "running" && alive(row));
        (rows.len() == 3 && well).then_some(rows)
    };
    until("three processes", || all(&world));
    for round in 0..3 {
        world.kill_everything();
        assert_eq!(world.pids(), Vec::<i32>::new());
        world.assert_clean();
        world.start();
        let rows = until("three processes", || all(&world));
        assert_eq!(world.get("blog", "/").body, "one", "round {round}");
        assert!(rows.iter().all(|row| row["restarts"] == 0), "{rows:?}");
        until("the former groups to be gone", || (world.groups().len() == 3).then_some(()));
        let roots = || world.mounts_of(world.service("mayor"));
        let roots = || roots().into_iter().filter(|at| at.contains("/run/mayor/")).count();
        until("the former roots to be gone", || (roots() == 3).then_some(()));
        let dirs = std::fs::read_dir(world.home().join("run/mayor")).expect("there").flatten();
        let dirs = dirs.filter(|entry| entry.path().is_dir()).count();
        assert_eq!(dirs, 3, "one directory for each process");
        let rows = world.json(&["ps", "--all"]);
        for row in rows.as_array().expect("rows") {
            assert!(row["pid"].as_i64().is_some_and(|pid| runs(pid as i32)), "stale: {row}");
        }
    }
    let done = world.stop();
    assert_eq!(done.code, 0, "{}", done.err);
    world.assert_gone();
}

/// Moments of a push, spread over how long one takes, each a little off by chance.
struct Moments {
    state: u64,
}

impl Moments {
    fn new() -> Self {
        let seed = std::env::var("KEG_TEST_SEED").ok().and_then(|seed| seed.parse().ok());
        let state = seed.unwrap_or(SEED);
        println!("KEG_TEST_SEED={state}");
        Self { state }
    }

    /// The moment `at` of `of`, of something that takes `whole`.
    fn next(&mut self, at: usize, of: usize, whole: Duration) -> Duration {
        // xorshift64*, whose numbers are the same everywhere.
        self.state ^= self.state >> 12;
        self.state ^= self.state << 25;
        self.state ^= self.state >> 27;
        let chance =
            (self.state.wrapping_mul(0x2545_f491_4f6c_dd1d) >> 40) as f64 / (1 << 24) as f64;
        whole.mul_f64((at as f64 + chance) / of as f64)
    }
}

/// Kills everything so long after a push began, then does what a person would.
fn kill_in_mid_push(world: &mut World, repo: &Repo, word: &str, after: Duration) {
    let begun = Instant::now();
    let push = repo.start_push(&["keg", "main"]);
    std::thread::sleep(after.saturating_sub(begun.elapsed()));
    world.kill_everything();
    let cut = told(push.wait());
    let what = format!("{word}, killed after {after:?}, git ended with {}", cut.code);
    println!("{what}");
    let fsck = world.keg(&["fsck"]);
    assert_eq!(fsck.code, 0, "{what}: {}{}", fsck.out, fsck.err);
    world.start();
    let push = repo.push();
    assert_eq!(
        push.code, 0,
        "{what}; the same push again says:\n{}\nbefore:\n{}",
        push.said, cut.said
    );
    until(&format!("{what}: the app to answer"), || {
        (world.get(&repo.app, "/").body == word).then_some(())
    });
    let done = world.keg(&["fsck"]);
    assert_eq!(done.code, 0, "{what}: {}{}", done.out, done.err);
}

#[test]
fn a_push_survives_a_kill_of_everything_at_any_moment() {
    let mut moments = Moments::new();
    let begun = Instant::now();
    let (mut world, repo) = blog();
    println!("a Keg with a first push: {:?}", begun.elapsed());
    say(&repo, "measured");
    let later = repo.push().ok().took;
    for at in 0..LATER {
        let word = format!("word{at}");
        say(&repo, &word);
        let after = moments.next(at, LATER, later);
        kill_in_mid_push(&mut world, &repo, &word, after);
    }
    let measured = world.probe("measured");
    let first = measured.push().ok().took;
    for at in 0..FIRST {
        let repo = world.probe(&format!("first{at}"));
        let after = moments.next(at, FIRST, first);
        kill_in_mid_push(&mut world, &repo, "one", after);
    }
    drop(world);
    for at in 0..VERY_FIRST {
        let mut world = World::with_python();
        let repo = world.probe("blog");
        let after = moments.next(at, VERY_FIRST, first);
        kill_in_mid_push(&mut world, &repo, "one", after);
    }
}

#[test]
fn every_process_of_keg_has_one_thread() {
    let (world, repo) = blog();
    let mut most: BTreeMap<String, usize> = BTreeMap::new();
    let over = AtomicBool::new(false);
    std::thread::scope(|scope| {
        scope.spawn(|| {
            for word in ["two", "three"] {
                say(&repo, word);
                repo.push().ok();
                world.get("blog", "/");
            }
            over.store(true, Ordering::Relaxed);
        });
        while !over.load(Ordering::Relaxed) {
            for (process, threads) in world.threads() {
                let seen = most.entry(process).or_default();
                *seen = threads.max(*seen);
            }
        }
    });
    for part in [
        " up --json",
        "keg service front",
        "keg service mayor",
        "keg service router",
        "keg work build",
        "receive",
    ] {
        assert!(
            most.keys().any(|process| process.contains(part)),
            "{part} was not seen: {most:#?}"
        );
    }
    let many: Vec<_> = most.iter().filter(|(_, threads)| **threads != 1).collect();
    assert!(many.is_empty(), "more than one thread: {many:?}");
    let answer =
        http::ask(world.front, "GET", "/?json", &[("Host", &world.front.to_string())], b"");
    assert_eq!(answer.expect("an answer").status, 200);
}
