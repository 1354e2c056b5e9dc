//! Commands that go on, and readers that do not.

use keg_tests::{Running, until};
use serde_json::json;

use super::{blog, lines, text, without_reader};

#[test]
fn logs_are_followed() {
    let (world, _repo) = blog();
    for more in [&["-f"][..], &["-f", "--json"]] {
        let command = [&["logs", "blog"][..], more].concat();
        let mut logs = Running::start(&mut world.keg_command(&command));
        until("the past", || logs.out().contains("serving two").then_some(()));
        let marker = format!("/marker-{}", more.len());
        world.get("blog", &marker);
        until("a new line", || logs.out().contains(&marker).then_some(()));
        assert!(logs.runs());
        logs.signal(libc::SIGTERM);
        let done = logs.wait();
        assert_eq!(done.err, "");
        if more.len() == 2 {
            let lines = lines(&done.out);
            let line = lines.last().expect("a line");
            assert_eq!((text(line, "process"), text(line, "stream")), ("web.0", "err"));
            assert!(text(line, "text").contains(&marker) && text(line, "time").ends_with('Z'));
        }
    }
    // Only the newest are asked for.
    let few = world.keg(&["logs", "blog", "-n", "2"]).ok();
    assert_eq!(few.lines().count(), 2, "{few}");
    assert!(few.contains("/marker-2"), "{few}");
    assert_eq!(world.keg(&["logs", "blog", "-n", "0"]).ok(), "");
}

#[test]
fn changes_are_watched() {
    let (world, _repo) = blog();
    // The past, from a version on.
    let past = lines(&world.keg(&["watch", "/", "--since", "1", "--count", "5", "--json"]).ok());
    assert_eq!(past.len(), 5);
    assert!(past.windows(2).all(|two| two[0]["seq"].as_u64() <= two[1]["seq"].as_u64()));
    assert_eq!(past[0]["seq"], json!(2), "what comes after that version");
    assert!(past.iter().all(|row| text(row, "path").starts_with('/')), "{past:?}");

    // What is to come, below a path; two changes, then it ends by itself.
    let args = ["watch", "/apps", "--count", "2", "--json"];
    let mut watch = Running::start(&mut world.keg_command(&args));
    let mut number = 0;
    while watch.runs() {
        number += 1;
        world.configure("blog", &json!({"env": {"NUMBER": number.to_string()}}));
    }
    let rows = lines(&watch.wait().ok());
    assert_eq!(rows.len(), 2);
    for row in &rows {
        assert!(["/apps", "/apps/blog", "/apps/blog/config.json"].contains(&text(row, "path")));
        assert!(text(row, "version").starts_with("K-") && text(row, "new").starts_with("K-"));
    }
    let past = world.keg(&["watch", "/apps", "--since", "1", "--count", "1"]).ok();
    assert!(past.contains("added") && past.contains("/apps"), "{past}");

    let done = world.keg(&["watch", "/", "--since", "999999"]);
    assert_eq!(done.code, 1, "{done:?}");
    assert!(done.err.contains("999999") && done.err.contains("Hint: "), "{done:?}");
}

#[test]
fn readers_that_go_away_are_no_error() {
    let (world, _repo) = blog();
    for args in [
        &["log", "/"][..],
        &["log", "/", "--json"],
        &["ls", "/source/blog"],
        &["cat", "/source/blog/app.py"],
        &["ps", "--all"],
        &["status", "--json"],
        &["watch", "/", "--since", "0"],
        &["logs", "blog"],
        &["why", "blog"],
        &["completions", "bash"],
    ] {
        let (code, err) = without_reader(&mut world.keg_command(args));
        assert_eq!((code, err.as_str()), (Some(141), ""), "{args:?}");
    }
}
