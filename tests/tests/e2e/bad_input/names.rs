//! Apps, paths, KIDs and names that are not there, or are none.

use std::process::Command;

use keg_tests::{Running, World, http};
use serde_json::json;

use super::refuses;

#[test]
fn unknown_apps_and_paths() {
    let world = World::empty();
    for (args, words) in [
        (&["logs", "nope"][..], &["there is no app nope", "keg apps"][..]),
        (&["rollback", "nope"], &["nope has no release", "git push keg main"]),
        (&["why", "nope"], &["no running process belongs to nope", "keg ps"]),
        (&["why", "http://nope.localhost:8080/"], &["nope.localhost", "keg ps"]),
        (&["why", "4194999"], &["no running process belongs to 4194999"]),
        (&["why", "K-00112233"], &["no running process belongs to K-00112233"]),
        (&["why", "K-0011"], &["64 digits", "KIDs look like"]),
        (&["why", "K-xyz"], &["digits 0-9 and a-f", "KIDs look like"]),
        (&["logs", "Not_An_App"], &["is not an app name", "keg apps"]),
        (&["ls", "/source/nope"], &["there is nothing at /source/nope", "keg ls /source"]),
        (&["cat", "/nope"], &["there is nothing at /nope", "keg ls /"]),
        (&["cat", "/machines"], &["/machines is a directory", "keg ls /machines"]),
        (&["cat", "K-00112233"], &["K-00112233", "keg ls"]),
        (&["log", "/nope"], &["/nope has no history", "keg ls /"]),
        (&["diff", "/nope", "/machines"], &["there is nothing at /nope"]),
        (&["diff", "/machines", "/nope"], &["there is nothing at /nope"]),
        (&["ls", "nope"], &["does not start with /", "paths look like"]),
        (&["watch", "nope"], &["does not start with /", "paths look like"]),
        (&["ls", "/a//b"], &["is not a path"]),
        (&["ls", "/../etc"], &["is not a path"]),
    ] {
        refuses(&world, args, 1, words);
    }
    world.assert_clean();
}

#[test]
fn unknown_apps_and_paths_over_http() {
    let world = World::empty();
    let clone = |app: &str| {
        let url = format!("{}/git/{app}", world.url);
        world.repo("x").git(&["clone", "-q", &url, "copy"])
    };
    let done = clone("nope");
    assert_eq!(done.code, 128, "{done:?}");
    assert!(done.err.contains("there is no app nope here; the first push makes it"), "{done:?}");
    let done = clone("NOPE");
    assert!(done.code == 128 && done.err.contains("is not an app name"), "{done:?}");

    let answer = world.get("nope", "/");
    assert_eq!(answer.status, 404);
    assert!(answer.body.contains("no app nope") && answer.body.contains("git push"), "{answer:?}");
    let host = ("Host", "elsewhere.example");
    let answer = http::ask(world.router, "GET", "/", &[host], b"").expect("an answer");
    assert_eq!(answer.status, 404);
    assert!(answer.body.contains("No app is served at elsewhere.example"), "{answer:?}");

    for path in ["/nope", "/source/nope", "/oci-images/nope", "/K-00112233", "/%ff%fe"] {
        let answer = world.page(&format!("{path}?json"));
        assert!([400, 404].contains(&answer.status), "{path}: {answer:?}");
        let document: serde_json::Value = serde_json::from_str(&answer.body).expect("JSON");
        let message = document["error"]["message"].as_str().unwrap_or_default();
        assert!(message.len() > 5, "{path}: {document}");
        let page = world.page(path);
        assert_eq!(page.status, answer.status, "{path}");
        assert!(page.body.starts_with("<!DOCTYPE html>"), "{path}: {}", page.body);
    }
}

#[test]
fn names_that_are_not_utf_8() {
    use std::os::unix::ffi::OsStrExt as _;
    let world = World::with_python();
    let repo = world.probe("blog");
    let name = std::ffi::OsStr::from_bytes(b"caf\xe9.txt");
    std::fs::write(repo.path().join(name), "latin\n").expect("written");
    repo.write("esc\u{1b}[2Jape", "x");
    repo.commit("Names of another time");
    repo.push().ok();

    // They are kept as they are: in listings, in clones, and in the container.
    let rows = world.json(&["ls", "/source/blog"]);
    let row = rows.as_array().and_then(|rows| rows.iter().find(|row| row["name_hex"].is_string()));
    let row = row.unwrap_or_else(|| panic!("{rows}"));
    assert_eq!(row["name_hex"], json!("636166e92e747874"));
    let kid = row["kid"].as_str().expect("a KID");
    assert_eq!(world.keg(&["cat", kid]).ok(), "latin\n");
    let listed = world.keg(&["ls", "/source/blog"]).ok();
    assert!(!listed.contains('\u{1b}') && listed.contains("esc\\u{1b}[2Jape"), "{listed}");
    let url = format!("{}/git/blog", world.url);
    repo.git(&["clone", "-q", &url, "copy"]).ok();
    assert_eq!(std::fs::read(repo.path().join("copy").join(name)).expect("cloned"), b"latin\n");
    let pid = world.ps("blog")[0]["pid"].as_u64().expect("a pid");
    let inside = std::path::PathBuf::from(format!("/proc/{pid}/root/app")).join(name);
    assert_eq!(std::fs::read(inside).expect("in the container"), b"latin\n");

    // A command line that is none is refused, and says so.
    let mut command = world.keg_command(&["cat"]);
    command.arg(std::ffi::OsStr::from_bytes(b"/source/blog/caf\xe9.txt"));
    let done = Running::start(&mut command).wait();
    assert_eq!(done.code, 2, "{done:?}");
    assert!(done.err.contains("invalid UTF-8"), "{done:?}");
    assert_eq!(world.page("/source/blog").status, 200);
    world.assert_clean();
}

#[test]
fn names_that_no_file_system_takes() {
    let world = World::with_python();
    let repo = world.probe("blog");
    repo.push().ok();
    let blob = repo.git(&["hash-object", "-w", "app.py"]).ok();
    for (name, word) in [("..", "hasDotdot"), (".git", "hasDotgit"), (".GIT", "hasDotgit")] {
        // git writes such trees only when it is not asked to check them.
        let line = format!("printf '100644 blob {}\\t{name}\\n' | git mktree", blob.trim());
        let mut command = Command::new("sh");
        command.current_dir(repo.path()).args(["-c", &line]);
        let tree = Running::start(&mut command).wait().ok();
        let commit = repo.git(&["commit-tree", "-p", "HEAD", "-m", "x", tree.trim()]).ok();
        let push = repo.push_with(&["keg", &format!("{}:refs/heads/main", commit.trim())]);
        push.refused(&["[remote rejected]", "is malformed", word, "rewrite the commits"]);
        assert_eq!(world.get("blog", "/").body, "one");
    }
    world.assert_clean();
}
