//! Pointers from one Keg to another.

use keg_tests::World;
use serde_json::json;

use super::{kid, world};

fn put(world: &World, path: &str, text: &str) {
    let file = world.scratch().join("file");
    std::fs::write(&file, text).expect("written");
    world.keg(&["put", path, &file.display().to_string()]).ok();
}

#[test]
fn another_keg_is_pointed_at_and_goes_away() {
    let mut there = World::empty();
    let here = world();
    put(&there, "/notes/deep/a", "one\n");
    let first = there.json(&["log", "/notes"])["version"].clone();
    let url = format!("keg+{}", there.url);
    here.keg(&["point", "/peer/notes", &format!("{url}/notes")]).ok();
    here.keg(&["point", "/peer/a", &format!("{url}/notes/deep/a")]).ok();
    assert_eq!(here.keg(&["cat", "/peer/notes/deep/a"]).ok(), "one\n");
    assert_eq!(here.keg(&["cat", "/peer/a"]).ok(), "one\n");
    assert_eq!(kid(&here, "/peer/notes"), kid(&there, "/notes"));

    put(&there, "/notes/deep/a", "two\n");
    let pinned = format!("{url}/notes@{}", &first.as_str().expect("a version")[..20]);
    here.keg(&["point", "/peer/then", &pinned]).ok();
    let moved = here.json(&["update", "/peer"]);
    let states: Vec<_> =
        moved["pointers"].as_array().expect("rows").iter().map(|row| &row["state"]).collect();
    assert_eq!(states, [&json!("updated"), &json!("updated"), &json!("pinned")], "{moved}");
    let read = ["/peer/a", "/peer/notes/deep/a", "/peer/then/deep/a"];
    assert_eq!(read.map(|path| here.keg(&["cat", path]).ok()), ["two\n", "two\n", "one\n"]);

    for (path, code) in [("/none", 1), ("/notes@K-0123abcd", 5)] {
        let done = here.keg(&["point", "/peer/x", &format!("{url}{path}")]);
        assert!(done.code == code && done.err.contains("Hint: "), "{path}: {done:?}");
    }

    // Only the pointer comes, not what it leads to: reading fetches that, and says so.
    let third = world();
    let pointer = keg::Keg::open(&here.home()).expect("a Keg");
    let entry = pointer.get(&"/peer/notes".parse().expect("a path")).expect("read").expect("there");
    let keg = keg::Keg::open(&third.home()).expect("a Keg");
    let txn = keg::Txn::new("test", "from elsewhere").set("/n".parse().expect("a path"), entry);
    keg.commit(txn).expect("set");
    third.assert_clean();
    third.keg(&["gc"]).ok();
    let read = third.keg(&["cat", "/n/deep/a"]);
    assert_eq!(read.out, "two\n", "{read:?}");
    assert!(read.err.contains("fetched K-") && read.err.contains(&there.url), "{read:?}");
    let again = third.keg(&["cat", "/n/deep/a"]);
    assert_eq!((again.out.as_str(), again.err.as_str()), ("two\n", ""));

    there.stop();
    assert_eq!(third.keg(&["cat", "/n/deep/a"]).ok(), "two\n");
    assert_eq!(here.keg(&["update", "/peer"]).code, 5);
    assert_eq!(here.keg(&["cat", "/peer/notes/deep/a"]).ok(), "two\n");
    let fourth = world();
    let keg = keg::Keg::open(&fourth.home()).expect("a Keg");
    let entry = pointer.get(&"/peer/notes".parse().expect("a path")).expect("read").expect("there");
    keg.commit(keg::Txn::new("test", "x").set("/n".parse().expect("a path"), entry)).expect("set");
    for args in [&["cat", "/n/deep/a"][..], &["ls", "/n"], &["checkout", "/n", "/tmp/nowhere"]] {
        let away = fourth.keg(args);
        assert!(away.code == 5 && away.err.contains(&there.url), "{args:?}: {away:?}");
        assert!(away.err.contains("Caused by: ") && away.err.contains("Hint: "), "{away:?}");
    }
    there.start();
    assert_eq!(fourth.keg(&["cat", "/n/deep/a"]).ok(), "two\n", "it is back");
    for world in [&here, &third, &fourth] {
        world.assert_clean();
    }
}

#[test]
fn pointers_of_two_kegs_to_each_other_end() {
    let (a, b) = (World::empty(), World::empty());
    put(&a, "/start/f", "x\n");
    let (at_a, at_b) = (format!("keg+{}", a.url), format!("keg+{}", b.url));
    b.keg(&["point", "/y", &format!("{at_a}/start")]).ok();
    a.keg(&["point", "/x", &format!("{at_b}/y")]).ok();
    b.keg(&["point", "/y", &format!("{at_a}/x")]).ok();
    for _ in 0..2 {
        for (world, path) in [(&a, "/x"), (&b, "/y")] {
            let done = world.json(&["update", path]);
            assert_eq!(done["pointers"][0]["state"], json!("current"), "{done}");
        }
    }
    assert_eq!(b.keg(&["cat", "/y/f"]).ok(), "x\n");
    let own = a.keg(&["point", "/self", &format!("{at_a}/self")]);
    assert!(own.code == 1 && own.err.contains("nothing at /self"), "{own:?}");
    // What a pull brings is whole: the pointer, and what it leads to.
    let c = world();
    c.keg(&["pull", &b.url, "/y"]).ok();
    assert_eq!(kid(&c, "/y"), kid(&b, "/y"));
    let cat = c.keg(&["cat", "/y/f"]);
    assert_eq!((cat.out.as_str(), cat.err.as_str()), ("x\n", ""), "nothing was to be fetched");
    let backup = World::down();
    backup.keg(&["clone", &b.url, &backup.home().display().to_string()]).ok();
    let cat = backup.keg(&["cat", "/y/f"]);
    assert_eq!((cat.out.as_str(), cat.err.as_str()), ("x\n", ""), "nothing was to be fetched");
    let page = b.page("/y/f");
    assert!(page.status == 200 && page.body.contains('x'), "{page:?}");
    let page = b.page("/y?json");
    assert!(page.status == 200 && page.body.contains("\"name\":\"f\""), "{page:?}");
}
