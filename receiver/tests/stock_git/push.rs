//! Pushes: what lands, and where.

use keg::object::{EntryName, Value};

use crate::{
    Test,
    world::{World, name},
};

pub const TESTS: &[Test] = &[
    ("the_first_push_makes_the_app", the_first_push_makes_the_app),
];

fn the_first_push_makes_the_app() {
    let world = World::new();
    let repo = world.repo("blog", &[("app.py", "print(1)\n"), ("static/a.css", "a{}\n")]);
    std::os::unix::fs::symlink("app.py", repo.dir.join("link")).expect("a link");
    std::fs::write(repo.dir.join("run"), "#!/bin/sh\n").expect("a file");
    let mode = std::os::unix::fs::PermissionsExt::from_mode(0o755);
    std::fs::set_permissions(repo.dir.join("run"), mode).expect("a mode");
    let head = repo.commit("second\n\nwith a body", &[]);
    let said = repo.push();
    println!("{}", said.text);
    said.expect(true, &["-----> Source stored K-", "4 converted"]);

    let entry = world.keg.get(&name("/source/blog")).expect("readable").expect("a source");
    let commit = world.keg.objects().commit(&entry.kid().expect("a commit")).expect("readable");
    assert_eq!(commit.author, "Ada Lovelace <ada@example.com>");
    assert_eq!(commit.message, "second\n\nwith a body\n");
    assert_eq!(commit.extra["git"], head.as_str());
    assert_eq!(commit.extra["ref"], "refs/heads/main");
    assert_eq!(world.main("blog").as_deref(), Some(head.as_str()));
    let tree = world.keg.objects().tree(&commit.tree).expect("a tree");
    let get = |path: &str| tree.entries[&EntryName::new(path).expect("a name")].clone();
    assert_eq!(get("run").attrs.mode, 0o755);
    assert_eq!(get("app.py").attrs.mode, 0o644);
    assert_eq!(get("link").value, Value::Symlink { target: b"app.py".to_vec() });
    let css = world.keg.get(&name("/source/blog/static/a.css")).expect("readable");
    let css = css.expect("a file").kid().expect("a blob");
    assert_eq!(world.keg.objects().blob(&css).expect("readable"), b"a{}\n");
}
