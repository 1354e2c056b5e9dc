//! Crashes, kills and restarts: what goes wrong, and what is kept.

use std::time::Duration;

use serde_json::json;

use crate::Case;
use crate::world::{World, alive, until};

pub const CASES: &[Case] = &[
    ("a_crash_at_start", a_crash_at_start),
    ("an_app_that_never_listens", an_app_that_never_listens),
    ("an_app_that_answers_500", an_app_that_answers_500),
    ("a_missing_command", a_missing_command),
    ("a_release_that_is_none", a_release_that_is_none),
    ("a_configuration_that_is_wrong", a_configuration_that_is_wrong),
    ("replaced_in_mid_flight", replaced_in_mid_flight),
    ("a_crash_later", a_crash_later),
    ("a_killed_mayor", a_killed_mayor),
    ("a_mayor_killed_at_any_moment", a_mayor_killed_at_any_moment),
    ("everything_killed", everything_killed),
    ("kept", kept),
    ("a_failed_release_stays_failed", a_failed_release_stays_failed),
];

fn message(app: &serde_json::Value) -> String {
    format!("{} | {}", app["error"]["message"].as_str().unwrap_or(""), app["error"]["hint"])
}

/// A release that fails leaves the one before it as it was.
fn fails(world: &mut World, words: &str, config: serde_json::Value, wants: &[&str]) {
    let good = world.release("blog", &[("web", "http good")], json!({}));
    world.start_mayor(&[]);
    world.until_state("blog", good, "live");
    let row = world.rows("blog").remove(0);
    let bad = world.release("blog", &[("web", words)], config);
    let app = world.until_state("blog", bad, "failed");
    assert_eq!(app["live"], good.to_string());
    for want in wants {
        assert!(message(&app).contains(want), "{want} in {}", message(&app));
    }
    until("only the good one", || world.rows("blog").len() == 1);
    assert!(alive(&row));
    assert_eq!(world.rows("blog").remove(0)["process"], row["process"]);
    assert_eq!(world.ask("blog").as_deref(), Some("good"));
    until("one container", || world.containers() == 1);
}

fn a_crash_at_start(world: &mut World) {
    let wants = ["web.0 ended while starting", "code 3", "ImportError: no module named flask"];
    fails(world, "crash flask", json!({}), &wants);
}

fn an_app_that_never_listens(world: &mut World) {
    let config = json!({"check": {"timeout": 0.7}});
    let wants = ["did not answer within 0.7 s", "nothing listens on port 5000", "$PORT"];
    fails(world, "silent", config, &wants);
}

fn an_app_that_answers_500(world: &mut World) {
    let config = json!({"check": {"timeout": 0.7, "path": "/health"}});
    fails(world, "status 503", config, &["it answers GET /health with 503"]);
}

fn a_missing_command(world: &mut World) {
    world.program = "/app/programm";
    let bad = world.release("blog", &[("web", "x")], json!({}));
    world.start_mayor(&[]);
    let app = world.until_state("blog", bad, "failed");
    assert!(message(&app).contains("the command /app/programm does not exist"), "{app}");
    assert_eq!(app["live"], json!(null));
    until("nothing left", || world.leftovers().is_empty());
}

fn a_release_that_is_none(world: &mut World) {
    let good = world.release("blog", &[("web", "http good")], json!({}));
    world.start_mayor(&[]);
    world.until_state("blog", good, "live");
    let o = world.keg.objects();
    let mut commit = o.commit(&good).expect("there");
    commit.tree = o.put_tree(&Default::default()).expect("stored").kid().expect("a KID");
    let empty = o.put_commit(&commit).expect("stored");
    world.point("blog", empty);
    let app = world.until_state("blog", empty, "failed");
    assert!(message(&app).contains("not a whole release: image is missing"), "{}", message(&app));
    assert_eq!(world.ask("blog").as_deref(), Some("good"));
}

fn a_configuration_that_is_wrong(world: &mut World) {
    fails(world, "http x", json!({"limits": {"cpus": -1}}), &["limits.cpus"]);
}

fn replaced_in_mid_flight(world: &mut World) {
    let good = world.release("blog", &[("web", "http good")], json!({}));
    world.start_mayor(&[]);
    world.until_state("blog", good, "live");
    let never = world.release("blog", &[("web", "silent")], json!({}));
    world.until_state("blog", never, "starting");
    let third = world.release("blog", &[("web", "http third")], json!({}));
    world.until_state("blog", third, "live");
    assert_eq!(world.ask("blog").as_deref(), Some("third"));
    until("only the third", || {
        let rows = world.rows("blog");
        rows.len() == 1 && rows[0]["release"] == third.to_string()
    });
}

fn a_crash_later(world: &mut World) {
    let release = world.release("blog", &[("web", "later 300")], json!({}));
    world.start_mayor(&[]);
    world.until_state("blog", release, "live");
    until("three restarts", || {
        world.rows("blog").first().is_some_and(|row| row["restarts"].as_u64() >= Some(3))
    });
    let row = world.rows("blog").remove(0);
    assert_eq!(row["exit"]["code"], 4, "{row}");
    let app = world.app("blog");
    assert_eq!(app["state"], "live", "a release that worked does not become a failed one");
    let log = world.log("app_blog_web_0");
    assert!(log.matches("app later 300").count() >= 3, "{log}");
}

fn a_killed_mayor(world: &mut World) {
    let types = [("web", "http one"), ("worker", "work")];
    let release = world.release("blog", &types, json!({"scale": {"worker": 2}}));
    world.start_mayor(&[]);
    world.until_state("blog", release, "live");
    let before = world.rows("blog");
    world.end_mayor(libc::SIGKILL);
    std::thread::sleep(Duration::from_millis(50));
    assert!(before.iter().all(alive), "apps do not need the mayor");
    assert_eq!(world.ask("blog").as_deref(), Some("one"));
    // One that ends while no mayor is there is noticed, and only it is started again.
    let worker = before[2]["pid"].as_i64().expect("a pid") as i32;
    // SAFETY: plain system call on a process of this test.
    unsafe { libc::kill(worker, libc::SIGKILL) };
    until("its end", || !alive(&before[2]));
    world.start_mayor(&[]);
    until("three processes", || {
        let rows = world.rows("blog");
        rows.len() == 3 && rows.iter().all(|row| row["state"] == "running" && alive(row))
    });
    let after = world.rows("blog");
    assert_eq!(before[..2], after[..2], "not touched, and described as before");
    assert_ne!(before[2]["pid"], after[2]["pid"]);
    let second = world.release("blog", &[("web", "http two")], json!({}));
    world.until_state("blog", second, "live");
    until("the adopted ones to be gone", || !before[..2].iter().any(alive));
}

fn a_mayor_killed_at_any_moment(world: &mut World) {
    let mut last = world.release("blog", &[("web", "http zero")], json!({}));
    for round in 0..15 {
        world.start_mayor(&[]);
        std::thread::sleep(Duration::from_millis(7 * round));
        world.end_mayor(libc::SIGKILL);
        last = world.release("blog", &[("web", &format!("http {round}"))], json!({}));
    }
    world.start_mayor(&[]);
    world.until_state("blog", last, "live");
    assert_eq!(world.ask("blog").as_deref(), Some("14"));
    until("one process", || world.rows("blog").len() == 1 && world.containers() == 1);
    world.end_mayor(libc::SIGTERM);
    assert_eq!(world.leftovers(), Vec::<String>::new());
}

/// As after a power cut: nothing runs, records and mounts are stale.
fn everything_killed(world: &mut World) {
    let release = world.release("blog", &[("web", "http one")], json!({}));
    world.start_mayor(&[]);
    world.until_state("blog", release, "live");
    let row = world.rows("blog").remove(0);
    world.end_mayor(libc::SIGKILL);
    sandbox::cgroup::kill(row["container"].as_str().expect("a container"));
    until("the end of the app", || !alive(&row));
    world.start_mayor(&[]);
    until("a new process", || {
        let rows = world.rows("blog");
        rows.len() == 1 && alive(&rows[0]) && rows[0]["state"] == "running"
    });
    assert_eq!(world.ask("blog").as_deref(), Some("one"));
}

fn kept(world: &mut World) {
    let release = world.release("blog", &[("web", "http one")], json!({}));
    world.start_mayor(&["--keep"]);
    world.until_state("blog", release, "live");
    let row = world.rows("blog").remove(0);
    world.end_mayor(libc::SIGTERM);
    assert!(alive(&row));
    assert_eq!(world.ask("blog").as_deref(), Some("one"));
    world.start_mayor(&[]);
    std::thread::sleep(Duration::from_millis(300));
    assert_eq!(world.rows("blog"), std::slice::from_ref(&row));
    world.end_mayor(libc::SIGTERM);
    assert!(!alive(&row));
}

fn a_failed_release_stays_failed(world: &mut World) {
    let good = world.release("blog", &[("web", "http good")], json!({}));
    world.start_mayor(&[]);
    world.until_state("blog", good, "live");
    let bad = world.release("blog", &[("web", "crash x")], json!({}));
    let failed = world.until_state("blog", bad, "failed");
    world.end_mayor(libc::SIGTERM);
    world.start_mayor(&[]);
    until("the good one", || world.ask("blog").as_deref() == Some("good"));
    assert_eq!(world.app("blog"), failed, "it is not tried again, and the reason is still there");
    // The same thing released once more is a new attempt.
    std::thread::sleep(Duration::from_millis(5));
    let again = world.release("blog", &[("web", "crash x")], json!({}));
    assert_ne!(again, bad);
    world.until_state("blog", again, "failed");
    let back = world.release("blog", &[("web", "http good")], json!({}));
    world.until_state("blog", back, "live");
}
