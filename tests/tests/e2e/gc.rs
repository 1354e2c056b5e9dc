//! Garbage is collected and damage mended while apps run and pushes come.

use std::{fs, path::PathBuf, thread::sleep, time::Duration};

use keg_tests::{Repo, World, process::run};
use serde_json::{Value as Json, json};

use super::policies::policy;

/// Longer than the grace period set here.
const GRACE: Duration = Duration::from_millis(1200);

fn edit(repo: &Repo, word: &str) {
    let app = fs::read_to_string(repo.path().join("app.py")).expect("there");
    let line = app.lines().find(|line| line.starts_with("WORD = ")).expect("a word").to_owned();
    repo.write("app.py", &app.replace(&line, &format!("WORD = \"{word}\"")));
    // Above what lives in the log, so that each version has a large object of its own.
    repo.write("large.txt", &format!("{word}\n").repeat(5000));
    repo.commit(word);
}

fn collect(world: &World) -> Json {
    world.json(&["gc"]);
    sleep(GRACE);
    world.json(&["gc"])
}

#[test]
fn old_versions_go_and_everything_else_goes_on() {
    let mut world = World::with_python();
    let rules = ["/", "2 versions", "/machines", "default", "--grace", "1 second"];
    run(&mut policy(&world, "keep", &[&rules[..], &["--trash", "0 seconds"]].concat())).ok();
    let repo = world.probe("blog");
    for word in ["a", "b", "c", "d", "e", "f"] {
        edit(&repo, word);
        repo.push().ok();
    }
    let running = keg_tests::until("the last release alone", || {
        let mut rows = world.ps("blog");
        (rows.len() == 1).then(|| rows.remove(0))
    });
    // Builds are named, so they stay until somebody lets go of them.
    let current = world.json(&["why", "blog"])["build"].as_str().expect("a key").to_owned();
    let pruned = run(&mut policy(&world, "prune-builds", &["--newest", "1"])).ok();
    let pruned: Json = serde_json::from_str(&pruned).expect("JSON");
    let pruned = pruned.as_array().expect("a list");
    assert!(pruned.len() >= 4 && pruned.iter().all(|gone| gone["build"] != *current), "{pruned:?}");
    assert!(pruned.iter().all(|gone| gone["app"] == "blog"), "{pruned:?}");
    let before = world.json(&["gc", "--dry-run"]);
    assert!(before["garbage"]["objects"].as_u64() > Some(0), "{}", before["garbage"]);
    let report = collect(&world);
    assert!(report["swept"]["objects"].as_u64() > Some(0), "{report}");
    assert!(report["oldest"].as_u64() > Some(0), "{}", report["oldest"]);
    world.assert_clean();

    assert_eq!(world.get("blog", "/").body, "f");
    assert_eq!(world.ps("blog")[0]["process"], running["process"], "it was not touched");
    let log = world.keg(&["log", "/source/blog"]);
    assert!(log.code == 0 && log.err.contains("were let go of"), "{log:?}");
    let never = world.keg(&["log", "/source/never-there"]);
    assert!(never.code == 1 && never.err.contains("has no history"), "{never:?}");
    world.keg(&["why", "blog"]).ok();

    // What was collected can be pushed again, and is whole.
    edit(&repo, "a");
    repo.push().ok();
    assert_eq!(world.get("blog", "/").body, "a");
    // What is cold moves into packs, and collections go on around them.
    let packed = world.json(&["pack"]);
    assert!(packed["objects"].as_u64() > Some(0), "{packed}");
    collect(&world);
    world.assert_clean();
    world.kill_everything();
    world.start();
    keg_tests::until("the app to come back", || (world.get("blog", "/").body == "a").then_some(()));
    // Of what was let go of, nothing can be had back, which is said in words.
    let back = world.keg(&["rollback", "blog"]);
    assert!(back.code == 1 && back.err.contains("no earlier release"), "{back:?}");
    assert_eq!(world.get("blog", "/").body, "a");
    world.assert_clean();
}

#[test]
fn du_tells_what_only_one_path_needs() {
    let world = World::empty();
    let dir = world.scratch().join("dir");
    fs::create_dir_all(dir.join("below")).expect("made");
    fs::write(dir.join("below/own"), "o".repeat(30_000)).expect("written");
    fs::write(dir.join("twice"), "t".repeat(20_000)).expect("written");
    let dir = dir.display().to_string();
    world.keg(&["put", "/a", &dir]).ok();
    world.keg(&["cp", "/a/twice", "/b"]).ok();
    let du = world.json(&["du", "/a"]);
    let total = &du["total"];
    assert_eq!((&total["apparent"], &total["unique"]), (&json!(50_000), &json!(30_000)), "{du}");
    assert!(world.keg(&["du", "/a"]).ok().contains("below/"));
    assert_eq!(world.keg(&["du", "/none"]).code, 1);
}

#[test]
fn damage_is_mended_from_another_keg() {
    let world = World::empty();
    let text = "a text that matters\n".repeat(1000);
    let file = world.scratch().join("text").display().to_string();
    fs::write(&file, &text).expect("written");
    world.keg(&["put", "/text", &file]).ok();
    let backup = World::empty();
    backup.keg(&["pull", &world.url, "/text"]).ok();

    let kid = world.json(&["ls", "/text"]);
    let kid = kid["kid"].as_str().or(kid[0]["kid"].as_str()).expect("a KID").to_owned();
    let object = object_path(&world, &kid);
    let mut bytes = fs::read(&object).expect("read");
    bytes[5000] ^= 1;
    fs::remove_file(&object).expect("removed");
    fs::write(&object, &bytes).expect("written");
    let found = world.keg(&["fsck"]);
    assert!(found.code == 4 && found.out.contains("/text"), "{found:?}");
    let alone = world.keg(&["fsck", "--repair"]);
    assert_eq!(alone.code, 4, "{alone:?}");

    let mended = world.keg(&["fsck", "--repair", "--from", &backup.url]);
    assert_eq!(mended.code, 0, "{mended:?}");
    assert_eq!(world.keg(&["cat", "/text"]).ok(), text);
    let kept = fs::read_dir(world.home().join("quarantine")).expect("there").count();
    assert!(kept > 0, "damaged bytes are kept");
    world.assert_clean();
}

fn object_path(world: &World, kid: &str) -> PathBuf {
    let hex = kid.trim_start_matches("K-");
    world.home().join("objects").join(&hex[..2]).join(&hex[2..])
}
