//! Names for values of git repositories and other Kegs.

mod hostile;
mod kegs;
mod mounts;

use std::process::Command;

use keg::Keg;
use keg_tests::{Repo, World, process::run};
use serde_json::{Value as Json, json};

/// A Keg that nobody serves.
fn world() -> World {
    let world = World::down();
    Keg::create(&world.home()).expect("a Keg");
    world
}

/// A repository with directories, an executable, a link, and a file that is no text.
fn repository() -> Repo {
    let repo = Repo::new("http://127.0.0.1:1", "x");
    repo.write("README", "one\n").write("src/run", "#!/bin/sh\n").write("src/deep/er", "deep\n");
    repo.write("docs/large", &"long lines\n".repeat(9000)).write("docs/sp ace", "odd\n");
    sh(&repo, "chmod +x src/run && ln -s ../README src/link && printf 'x\\0\\377' > docs/bytes");
    repo.commit("One");
    repo
}

/// Runs a shell in a repository.
fn sh(repo: &Repo, script: &str) -> String {
    let mut command = Command::new("sh");
    command.args(["-ec", script]).current_dir(repo.path());
    command.env("GIT_CONFIG_GLOBAL", "/dev/null");
    for who in ["AUTHOR", "COMMITTER"] {
        command.env(format!("GIT_{who}_NAME"), "Ada");
        command.env(format!("GIT_{who}_EMAIL"), "ada@example.org");
    }
    run(&mut command).ok().trim().to_owned()
}

fn file_url(repo: &Repo) -> String {
    format!("git+file://{}", repo.path().display())
}

fn kid(world: &World, path: &str) -> Json {
    let (parent, name) = path.rsplit_once('/').expect("a path");
    let rows = world.json(&["ls", if parent.is_empty() { "/" } else { parent }]);
    let row = rows.as_array().expect("rows").iter().find(|row| row["name"] == name);
    row.unwrap_or_else(|| panic!("{path} in {rows}"))["kid"].clone()
}

#[test]
fn a_repository_is_pointed_at_read_and_followed() {
    let (world, repo) = (world(), repository());
    let (url, first) = (file_url(&repo), repo.git(&["rev-parse", "HEAD"]).ok());
    let first = first.trim();
    sh(&repo, "git tag -a v1 -m 'the first'");

    let pointed = world.json(&["point", "/lib/x", &url]);
    assert_eq!((&pointed["commit"], &pointed["files"]), (&json!(first), &json!(6)), "{pointed}");
    assert_eq!(world.keg(&["cat", "/lib/x/src/deep/er"]).ok(), "deep\n");
    assert_eq!(world.keg(&["cat", "/lib/x/src/link"]).ok(), "../README\n");
    let names = world.json(&["ls", "/lib/x/src"]);
    assert_eq!((&names[2]["name"], &names[2]["mode"]), (&json!("run"), &json!("0755")), "{names}");
    for (path, at) in [
        ("/lib/docs", "#main:docs"),
        ("/lib/file", "#:docs/large"),
        ("/lib/tag", "#v1"),
        ("/lib/full", "#refs/heads/main"),
        ("/lib/pin", &format!("#{first}")),
        ("/lib/pin-src", &format!("#{first}:src")),
    ] {
        world.keg(&["point", path, &format!("{url}{at}")]).ok();
    }
    assert_eq!(kid(&world, "/lib/docs"), kid(&world, "/lib/x/docs"));
    assert_eq!(kid(&world, "/lib/pin-src"), kid(&world, "/lib/x/src"));
    for same in ["/lib/tag", "/lib/full", "/lib/pin"] {
        assert_eq!(kid(&world, same), kid(&world, "/lib/x"), "{same}");
    }
    assert_eq!(world.keg(&["cat", "/lib/file"]).ok().len(), 99_000);

    let current = world.json(&["update", "/lib"]);
    assert_eq!(current["seq"], json!(null), "nothing has moved: {current}");
    repo.write("src/deep/er", "deeper\n");
    let second = repo.commit("Two");
    let moved = world.json(&["update", "/lib", "-m", "the newest"]);
    let states: Vec<_> = moved["pointers"].as_array().expect("rows").iter().collect();
    let state = |path: &str| {
        let row = states.iter().find(|row| row["path"] == path).expect("a row");
        (row["state"].as_str().expect("a state"), row["new_commit"].clone())
    };
    assert_eq!(state("/lib/x"), ("updated", json!(second)));
    // The same value, of a newer commit.
    assert_eq!(state("/lib/docs"), ("updated", json!(second)));
    assert_eq!((state("/lib/tag").0, state("/lib/pin").0), ("current", "pinned"));
    assert_eq!(world.keg(&["cat", "/lib/x/src/deep/er"]).ok(), "deeper\n");

    let log = world.keg(&["log", "/lib/x"]).ok();
    assert!(log.contains(&second[..8]) && log.contains(&first[..8]), "{log}");
    assert!(log.contains("the newest"), "{log}");
    let why = world.json(&["why", "/lib/x/src/run"]);
    assert_eq!((&why["pointer"], &why["commit"]), (&json!("/lib/x"), &json!(second)), "{why}");
    assert_eq!((&why["message"], &why["here"]), (&json!("the newest"), &json!(true)), "{why}");
    let version = pointed["version"].as_str().expect("a version");
    let old = format!("/lib/x@{version}");
    let diff = world.keg(&["diff", &old, "/lib/x"]).ok();
    assert!(diff.contains("src/deep/er") && diff.contains("+deeper"), "{diff}");
    let deep = format!("/lib/x/src/deep/er@{version}");
    assert_eq!(world.keg(&["cat", &deep]).ok(), "deep\n");

    world.keg(&["gc"]).ok();
    assert_eq!(world.keg(&["cat", &deep]).ok(), "deep\n", "kept by the version that points to it");
    let du = world.json(&["du", "/lib/x"]);
    assert!(du["total"]["apparent"].as_u64() > Some(99_000), "{du}");
    world.assert_clean();
}

#[test]
fn a_pushed_repository_and_one_pointed_at_are_one_value() {
    let mut source = World::with_python();
    let repo = source.probe("blog");
    repo.write("odd/na me", "x").write("odd/exec", "#!/bin/sh\n");
    sh(&repo, "chmod +x odd/exec && ln -s exec odd/link");
    repo.commit("Odd");
    repo.push().ok();
    let world = world();
    let url = format!("git+{}/git/blog", source.url);
    world.keg(&["point", "/lib/blog", &format!("{url}#main")]).ok();
    let pushed =
        source.json(&["cat", &kid(&source, "/source/blog").as_str().expect("a KID")[..20]]);
    assert_eq!(kid(&world, "/lib/blog"), pushed["tree"], "{pushed}");
    world.keg(&["point", "/lib/odd", &format!("{url}#main:odd")]).ok();
    assert_eq!(kid(&world, "/lib/odd"), kid(&world, "/lib/blog/odd"));

    // The remote goes away: what is here is served, and what is not is named with its remote.
    source.stop();
    assert_eq!(world.keg(&["cat", "/lib/blog/odd/na me"]).ok(), "x");
    let update = world.keg(&["update", "/lib/blog"]);
    assert!(update.code == 5 && update.err.contains(&url), "{update:?}");
    assert!(update.err.contains("Hint: ") && update.err.contains("connect"), "{update:?}");
    let away = world.keg(&["point", "/lib/y", &url, "--json"]);
    let error: Json = serde_json::from_str(&away.err).expect("one line of JSON");
    assert!(away.code == 5 && error["error"]["hint"].is_string(), "{away:?}");
    assert_eq!(world.keg(&["ls", "/lib/y"]).code, 1, "nothing was set");
    world.assert_clean();
}

#[test]
fn names_below_a_pointer_are_not_ours_to_set() {
    let (world, repo) = (world(), repository());
    let url = file_url(&repo);
    world.keg(&["point", "/lib/x", &url]).ok();
    for args in [
        &["point", "/lib/x/y", url.as_str()][..],
        &["put", "/lib/x/README", "/etc/hostname"],
        &["rm", "/lib/x/README"],
        &["update", "/lib/x/src"],
        &["update", "/nowhere"],
        &["update", "/lib/x/README"],
    ] {
        let done = world.keg(args);
        assert!(done.code == 1 && done.err.contains("Hint: "), "{args:?}: {done:?}");
    }
    assert_eq!(world.keg(&["cat", "/lib/x/README"]).ok(), "one\n");

    // A pointer is copied as one, what is below it as what it is.
    world.keg(&["cp", "/lib/x", "/lib/again"]).ok();
    world.keg(&["cp", "/lib/x/src", "/ours"]).ok();
    let kinds = [kid(&world, "/lib/again"), kid(&world, "/lib/x")];
    assert_eq!(kinds[0], kinds[1]);
    world.keg(&["put", "/ours/run", "/etc/hostname"]).ok();
    let again = world.json(&["update", "/lib/again"]);
    assert_eq!(again["pointers"][0]["state"], json!("current"), "{again}");

    // Something else is replaced only with --force, a pointer by another one without.
    let taken = world.keg(&["point", "/ours", &url]);
    assert!(taken.code == 1 && taken.err.contains("--force"), "{taken:?}");
    world.keg(&["point", "/ours", &url, "--force"]).ok();
    world.keg(&["point", "/ours", &format!("{url}#:src")]).ok();
    assert_eq!(kid(&world, "/ours"), kid(&world, "/lib/x/src"));
    let out = world.scratch().join("out").display().to_string();
    world.keg(&["checkout", "/lib", &out]).ok();
    let diff = run(Command::new("diff")
        .args(["-r", "--no-dereference", "-x", ".git"])
        .arg(repo.path())
        .arg(format!("{out}/x")));
    assert_eq!(diff.code, 0, "{diff:?}");
    world.assert_clean();
}
