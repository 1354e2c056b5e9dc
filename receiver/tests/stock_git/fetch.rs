//! Clones and fetches, by stock git on both ends.

use std::{fs, time::Instant};

use crate::{
    Test,
    push::clone_equals,
    world::{Repo, World},
};

pub const TESTS: &[Test] = &[
    ("fetch_clones_what_was_pushed", clones),
    ("fetch_speaks_every_protocol", protocols),
    ("fetch_sees_new_pushes", new_pushes),
    ("fetch_of_nothing", of_nothing),
];

fn clones() {
    let world = World::new();
    let repo = world.repo("blog", &[("a", "1\n"), ("b/c", "2\n")]);
    for i in 0..4 {
        repo.commit("edit", &[("a", &format!("{i}\n"))]);
        repo.push().expect(true, &[]);
    }
    repo.git(&["tag", "-a", "-m", "one", "v1"]).expect(true, &[]);
    repo.git(&["push", "keg", "v1"]).expect(true, &[]);
    let start = Instant::now();
    clone_equals(&world, &repo, "blog");
    println!("clone and fsck: {:.1?}", start.elapsed());
    let views = fs::read_dir(world.keg.run_dir().join("git/blog")).expect("views").count();
    assert_eq!(views, 1, "one version, one view");
}

fn protocols() {
    let world = World::new();
    let repo = world.repo("blog", &[("a", "1\n")]);
    for i in 0..60 {
        repo.commit("edit", &[("a", &format!("{i}\n"))]);
    }
    repo.push().expect(true, &[]);
    for version in ["0", "1", "2"] {
        let clone = Repo { dir: world.path(&format!("v{version}")) };
        let dir = clone.dir.display().to_string();
        let protocol = format!("protocol.version={version}");
        let url = world.app_url("blog");
        repo.git(&["-c", &protocol, "clone", "-q", &url, &dir]).expect(true, &[]);
        assert_eq!(clone.head(), repo.head());
    }
    let shallow = Repo { dir: world.path("shallow") };
    let dir = shallow.dir.display().to_string();
    repo.git(&["clone", "-q", "--depth=3", &world.app_url("blog"), &dir]).expect(true, &[]);
    assert_eq!(shallow.ask(&["rev-list", "--count", "HEAD"]), "3");
    // And a repository that has nothing yet; more of the history comes when it is asked for.
    let one = Repo { dir: world.path("one") };
    let dir = one.dir.display().to_string();
    repo.git(&["init", "-q", &dir]).expect(true, &[]);
    let url = world.app_url("blog");
    one.git(&["fetch", "-q", "--depth=1", &url, "main"]).expect(true, &[]);
    assert_eq!(one.ask(&["rev-list", "--count", "FETCH_HEAD"]), "1");
    one.git(&["fetch", "-q", "--deepen=4", &url, "main"]).expect(true, &[]);
    assert_eq!(one.ask(&["rev-list", "--count", "FETCH_HEAD"]), "5");
    one.git(&["fetch", "-q", "--unshallow", &url, "main"]).expect(true, &[]);
    assert_eq!(one.ask(&["rev-list", "--count", "FETCH_HEAD"]), "61");
    let blobless = Repo { dir: world.path("blobless") };
    let dir = blobless.dir.display().to_string();
    let filter = "--filter=blob:none";
    repo.git(&["clone", "-q", "-n", filter, &world.app_url("blog"), &dir]).expect(true, &[]);
}

fn new_pushes() {
    let world = World::new();
    let repo = world.repo("blog", &[("a", "1\n")]);
    repo.push().expect(true, &[]);
    let clone = Repo { dir: world.path("clone") };
    let dir = clone.dir.display().to_string();
    repo.git(&["clone", "-q", &world.app_url("blog"), &dir]).expect(true, &[]);
    // Many local commits make the request long enough for git to compress it.
    for i in 0..100 {
        clone.commit("local", &[("b", &format!("{i}\n"))]);
    }
    let head = repo.commit("remote", &[("a", "2\n")]);
    repo.push().expect(true, &[]);
    clone.git(&["fetch", "-q"]).expect(true, &[]);
    assert_eq!(clone.ask(&["rev-parse", "origin/main"]), head);
}

fn of_nothing() {
    let world = World::new();
    let repo = world.repo("blog", &[("a", "1\n")]);
    let said = repo.git(&["clone", &world.app_url("nobody"), "x"]);
    said.expect(false, &["there is no app nobody here", "git push keg main"]);
    repo.git(&["fetch", &world.app_url("Bad_Name")]).expect(false, &["is not an app name"]);
}
