//! State moved between Kegs: backup and restore, pull and push.

use keg_tests::{World, until};
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

    for (url, word) in [("http://127.0.0.1:1", "connection"), ("nonsense", "address")] {
        let done = here.keg(&["pull", url, "/notes/a"]);
        assert!(done.code == 1 && done.err.contains(word), "{done:?}");
    }
    let absent = here.keg(&["pull", &there.url, "/nothing/here"]);
    assert!(absent.code == 1 && absent.err.contains("there is nothing at"), "{absent:?}");
    here.assert_clean();
    there.assert_clean();
}
