//! Pointers as directories of mounts.

use std::{fs, path::Path};

use keg::{
    Keg, Txn,
    object::{Attrs, Entry, Value},
};
use keg_tests::{Running, until};

use super::{file_url, repository, world};

#[test]
fn a_pointer_is_a_directory_of_a_mount_while_its_value_is_here() {
    let (world, repo) = (world(), repository());
    let url = file_url(&repo);
    world.keg(&["point", "/lib/x", &url]).ok();
    let keg = Keg::open(&world.home()).expect("a Keg");
    let elsewhere = Value::Pointer {
        source: "keg+http://127.0.0.1:1".to_owned(),
        reference: "/a".to_owned(),
        kid: Some(keg::Kid::of_blob(b"away")),
    };
    let entry = Entry { value: elsewhere, attrs: Attrs::with_mode(0o755) };
    let away = "/other/away".parse().expect("a path");
    keg.commit(Txn::new("test", "away").set(away, entry)).expect("set");

    let (value, live) = (world.scratch().join("value"), world.scratch().join("live"));
    for dir in [&value, &live] {
        fs::create_dir(dir).expect("made");
    }
    let text = |path: &Path| path.display().to_string();
    world.keg(&["mount", &text(&value), "/lib"]).ok();
    let read = |path: &Path| fs::read_to_string(path).unwrap_or_default();
    assert_eq!(read(&value.join("x/README")), "one\n");
    assert_eq!(read(&value.join("x/docs/large")).len(), 99_000);
    assert_eq!(fs::read_link(value.join("x/src/link")).expect("a link"), Path::new("../README"));

    let mut command = world.keg_command(&["mount", &text(&live), "--json"]);
    let mut mount = Running::start(&mut command);
    until("the live mount", || (mount.out().lines().count() > 0).then_some(()));
    until("its first version", || live.join("lib/x/README").exists().then_some(()));
    // What is away keeps nothing else from being shown.
    let link = fs::read_link(live.join("other/away")).expect("a link");
    assert_eq!(link, Path::new("keg+http://127.0.0.1:1#/a"));
    repo.write("README", "two\n");
    repo.commit("Two");
    world.keg(&["update", "/lib"]).ok();
    until("the flip", || (read(&live.join("lib/x/README")) == "two\n").then_some(()));
    assert_eq!(read(&value.join("x/README")), "one\n", "a value is what it was");

    // A working copy: who writes below a pointer has a directory of their own instead.
    let copy = world.scratch().join("copy");
    fs::create_dir(&copy).expect("made");
    world.keg(&["mount", "--rw", "/lib", &text(&copy)]).ok();
    fs::write(copy.join("beside"), "new\n").expect("written");
    world.keg(&["commit", &text(&copy), "/lib"]).ok();
    assert_eq!(world.json(&["ls", "/lib"])[1]["kind"], "pointer", "it was not touched");
    fs::write(copy.join("x/README"), "ours\n").expect("written");
    world.keg(&["commit", &text(&copy), "/lib"]).ok();
    assert_eq!(world.json(&["ls", "/lib"])[1]["kind"], "tree");
    assert_eq!(world.keg(&["cat", "/lib/x/README"]).ok(), "ours\n");
    assert_eq!(world.keg(&["cat", "/lib/x/src/deep/er"]).ok(), "deep\n");

    mount.signal(libc::SIGINT);
    assert_eq!(mount.wait().code, 0);
    for dir in [&value, &copy] {
        world.keg(&["unmount", &text(dir)]).ok();
    }
    world.assert_clean();
}
