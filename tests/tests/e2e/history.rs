//! Names moved, values put and taken out, everything undone: on a Keg that nobody serves.

use std::{fs, process::Command};

use keg::Keg;
use keg_tests::{World, process::run};
use serde_json::{Value as Json, json};

fn world() -> World {
    let world = World::down();
    Keg::create(&world.home()).expect("a Keg");
    world
}

fn write(world: &World, name: &str, text: &str) -> String {
    let path = world.scratch().join(name);
    fs::create_dir_all(path.parent().expect("a directory")).expect("made");
    fs::write(&path, text).expect("written");
    path.display().to_string()
}

#[test]
fn values_come_and_go_and_come_back() {
    let world = world();
    let first = write(&world, "first", "one\n");
    let second = write(&world, "second", "two\n");
    let put = world.json(&["put", "/notes/a", &first, "-m", "the first"]);
    assert_eq!(put["changes"][0]["old"], Json::Null);
    world.keg(&["put", "/notes/a", &second]).ok();
    let log = world.keg(&["log", "/notes/a", "--json"]).ok();
    let log: Vec<Json> = log.lines().map(|l| serde_json::from_str(l).expect("JSON")).collect();
    assert_eq!(log.len(), 2);
    assert_eq!(log[1]["message"], "the first");

    let version = log[1]["version"].as_str().expect("a KID").to_owned();
    let at = |path: &str| format!("{path}@{version}");
    assert_eq!(world.keg(&["cat", &at("/notes/a")]).ok(), "one\n");
    // By the number as well, unless a name ends so itself.
    let numbered = format!("/notes/a@{}", log[1]["seq"]);
    assert_eq!(world.keg(&["cat", &numbered]).ok(), "one\n");
    assert_eq!(world.keg(&["cat", "/notes/a@999"]).code, 1);
    world.keg(&["put", &numbered, &second]).ok();
    assert_eq!(world.keg(&["cat", &numbered]).ok(), "two\n");
    world.keg(&["rm", &numbered]).ok();
    let diff = world.keg(&["diff", &at("/notes/a"), "/notes/a"]).ok();
    assert!(diff.contains("-one\n+two"), "{diff}");
    world.keg(&["revert", &at("/notes/a")]).ok();
    assert_eq!(world.keg(&["cat", "/notes/a"]).ok(), "one\n");

    world.keg(&["mv", "/notes/a", "/kept/b"]).ok();
    assert_eq!(world.keg(&["cat", "/notes/a"]).code, 1);
    world.keg(&["cp", "/kept/b", "/kept/c"]).ok();
    let again = world.keg(&["cp", "/kept/b", "/kept/c"]);
    assert!(again.code == 1 && again.err.contains("--force"), "{again:?}");
    world.keg(&["cp", &at("/notes/a"), "/kept/c", "--force"]).ok();

    let gone = world.keg(&["rm", "/kept/c"]).ok();
    let hint = gone.split('`').nth(1).expect("how to bring it back").to_owned();
    let words: Vec<&str> = hint.split(' ').skip(1).collect();
    world.keg(&words).ok();
    assert_eq!(world.keg(&["cat", "/kept/c"]).ok(), "one\n");
    for (wrong, word) in [
        (&["rm", "/nothing/here"][..], "there is nothing at"),
        (&["mv", "/kept", "/kept/below"], "into itself"),
        (&["revert", "/kept/c"], "which version"),
        (&["put", "/kept/d", "/no/such/file"], "cannot read"),
    ] {
        let done = world.keg(wrong);
        assert_eq!(done.code, 1, "{wrong:?}: {done:?}");
        assert!(done.err.contains(word), "{wrong:?}: {}", done.err);
    }
    world.assert_clean();
}

#[test]
fn whoever_changes_something_gets_a_document_by_that_change() {
    let mut world = world();
    // What the environment says of the account counts for nothing.
    world.set_variable("USER", "somebody-else");
    world.set_variable("LOGNAME", "somebody-else");
    let account = run(Command::new("id").arg("-un")).ok().trim().to_owned();
    let file = write(&world, "file", "one\n");
    let put = world.json(&["put", "/notes/a", &file]);
    assert_eq!(put["seq"], 1);
    let users = world.json(&["ls", "/users"]);
    let [user] = users.as_array().expect("a list").as_slice() else { panic!("{users}") };
    let name = user["name"].as_str().expect("a name").trim_end_matches(".json").to_owned();
    let document = world.json(&["cat", &format!("/users/{name}.json")])["value"].clone();
    let text = format!("{account}@{}", keg::machine::name());
    assert_eq!((&document["author"], &document["accounts"]), (&json!(text), &json!([text])));
    let log = |path: &str| -> Vec<Json> {
        let lines = world.keg(&["log", path, "--json"]).ok();
        lines.lines().map(|line| serde_json::from_str(line).expect("JSON")).collect()
    };
    let first = log("/notes/a").remove(0);
    assert_eq!((&first["author"], &first["user"]), (&json!(text), &user["kid"]));

    // They say more of themselves, which stays; and from then on are called what they say.
    let mut more = document;
    more["author"] = json!("Ada <ada@example.org>");
    more["likes"] = json!(["barrels"]);
    let own = write(&world, "user.json", &more.to_string());
    world.keg(&["put", &format!("/users/{name}.json"), &own]).ok();
    world.keg(&["rm", "/notes/a"]).ok();
    let last = log("/notes/a").remove(0);
    let users = world.json(&["ls", "/users"]);
    assert_eq!((&last["author"], &last["user"]), (&more["author"], &users[0]["kid"]));
    assert_eq!(users.as_array().map(Vec::len), Some(1), "{users}");
    let kept = world.json(&["cat", &format!("/users/{name}.json")]);
    assert_eq!(kept["value"], more);
    world.assert_clean();
}

#[test]
fn a_log_begins_at_the_version_that_was_asked_for() {
    let world = world();
    for (path, text) in [("/a", "1"), ("/b", "1"), ("/a", "2"), ("/b", "2"), ("/a", "3")] {
        let file = write(&world, "file", text);
        world.keg(&["put", path, &file]).ok();
    }
    let log = |path: &str| -> Vec<Json> {
        let lines = world.keg(&["log", path, "--json"]).ok();
        lines.lines().map(|line| serde_json::from_str(line).expect("JSON")).collect()
    };
    let seqs = |path: &str| log(path).iter().map(|row| row["seq"].as_u64()).collect::<Vec<_>>();
    let all = log("/");
    let at = |index: usize| format!("/a@{}", all[index]["version"].as_str().expect("a KID"));
    let (five, three, one) = (Some(5), Some(3), Some(1));
    for (path, want) in [
        ("/a".to_owned(), vec![five, three, one]),
        ("/a@4".to_owned(), vec![three, one]),
        ("/a@3".to_owned(), vec![three, one]),
        ("/a@2".to_owned(), vec![one]),
        (at(1), vec![three, one]),
        (at(4), vec![one]),
    ] {
        assert_eq!(seqs(&path), want, "{path}");
    }
    for wrong in ["/a@6", "/a@K-0123abcd"] {
        let done = world.keg(&["log", wrong]);
        assert!(done.code == 1 && done.err.contains("Hint: "), "{wrong}: {done:?}");
    }
}

#[test]
fn what_a_commit_holds_is_not_removed_by_itself() {
    let world = world();
    let keg = Keg::open(&world.home()).expect("a Keg");
    let file = write(&world, "dir/below/file", "one");
    let dir = world.scratch().join("dir").display().to_string();
    world.keg(&["put", "/tree", &dir]).ok();
    let path = |text: &str| -> keg::NamePath { text.parse().expect("a path") };
    let tree = keg.get(&path("/tree")).expect("read").and_then(|entry| entry.kid());
    let commit = keg::testing::commit_of(tree.expect("a tree"), Vec::new(), "first");
    let kid = keg.objects().put_commit(&commit).expect("stored");
    let txn = keg::Txn::new("t", "m").set(path("/source/x"), keg::object::Entry::commit(kid));
    keg.commit(txn).expect("set");
    let before = keg.head().expect("a version");
    for args in [
        &["rm", "/source/x/below/file"][..],
        &["rm", "/source/x/below"],
        &["mv", "/source/x/below", "/elsewhere"],
        &["put", "/source/x/below/file", &file, "--force"],
    ] {
        let done = world.keg(args);
        assert!(done.code == 1 && done.err.contains("/source/x is a commit"), "{args:?}: {done:?}");
        assert!(done.err.contains("Hint: "), "{args:?}: {done:?}");
    }
    assert_eq!(keg.head().expect("a version"), before);
    world.keg(&["rm", "/source/x"]).ok();
    world.keg(&["rm", "/tree/below/file"]).ok();
    assert!(keg.list(&path("/tree")).expect("read").is_empty());
}

#[test]
fn a_directory_is_committed_and_checked_out() {
    let world = world();
    for number in 0..50 {
        write(&world, &format!("dir/below/{number}"), &format!("{number}\n").repeat(1000));
    }
    std::os::unix::fs::symlink("below/1", world.scratch().join("dir/link")).expect("linked");
    let dir = world.scratch().join("dir").display().to_string();
    std::thread::sleep(std::time::Duration::from_millis(50));
    let first = world.json(&["commit", &dir, "/photos"]);
    assert_eq!((&first["entries"], &first["unchanged_files"]), (&json!(52), &json!(0)));
    write(&world, "dir/below/7", "changed\n");
    let second = world.json(&["commit", &dir, "/photos"]);
    assert_eq!(second["unchanged_files"], 49);

    let out = world.scratch().join("out").display().to_string();
    world.keg(&["checkout", "/photos", &out]).ok();
    run(Command::new("diff").args(["-r", "--no-dereference", &dir, &out])).ok();
    let again = world.keg(&["checkout", "/photos", &out]);
    assert!(again.code == 1 && again.err.contains("is not empty"), "{again:?}");

    let before = format!("/photos@{}", first["version"].as_str().expect("a KID"));
    let diff = world.json(&["diff", &before, "/photos"]);
    assert_eq!(diff.as_array().map(Vec::len), Some(1), "{diff}");
    assert_eq!((&diff[0]["path"], &diff[0]["change"]), (&json!("below/7"), &json!("changed")));
    world.assert_clean();
}
