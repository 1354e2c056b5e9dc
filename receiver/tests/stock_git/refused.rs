//! Pushes that are refused, and in which words.

use std::{fs, process::Stdio, time::Instant};

use crate::{
    Test,
    world::{Repo, World, name},
};

pub const TESTS: &[Test] = &[
    ("refused_refuses_other_refs", refuses_other_refs),
    ("refused_moves_main_only_forward", moves_main_only_forward),
    ("refused_unknown_options", unknown_options),
    ("refused_atomic", atomic),
    ("refused_shallow", shallow),
    ("refused_bad_names", bad_names),
    ("refused_too_many_refs", too_many_refs),
    ("refused_deep_and_bad_trees", deep_and_bad_trees),
];

fn refuses_other_refs() {
    let world = World::new();
    let repo = world.repo("blog", &[("a", "1\n")]);
    repo.git(&["branch", "feature/x"]).expect(true, &[]);
    let said = repo.git(&["push", "keg", "feature/x"]);
    said.expect(false, &["remote rejected", "git push keg feature/x:main"]);
    repo.git(&["push", "keg", "main:refs/notes/x"])
        .expect(false, &["only the branch main and tags"]);
    assert!(world.keg.get(&name("/git/blog")).expect("readable").is_none(), "nothing is stored");
    repo.push().expect(true, &[]);
    repo.git(&["push", "keg", ":main"]).expect(false, &["main cannot be deleted"]);
    repo.git(&["push", "keg", "-o", "no-wait", "feature/x:main"]).expect(true, &["up-to-date"]);
    repo.git(&["push", "keg", "main^{tree}:refs/heads/main"]).expect(false, &[]);
}

fn moves_main_only_forward() {
    let world = World::new();
    let repo = world.repo("blog", &[("a", "1\n")]);
    repo.commit("second", &[("a", "2\n")]);
    repo.push().expect(true, &[]);
    let old = repo.head();
    repo.git(&["reset", "-q", "--hard", "HEAD~1"]).expect(true, &[]);
    repo.commit("other", &[("a", "3\n")]);
    repo.push().expect(false, &["rejected"]);
    let forced = repo.git(&["push", "--force", "-o", "no-wait", "keg", "main"]);
    forced.expect(false, &["not a fast-forward", "-o force"]);
    assert_eq!(world.main("blog"), Some(old));
    let forced = repo.git(&["push", "--force", "-o", "force", "-o", "no-wait", "keg", "main"]);
    forced.expect(true, &["forced update"]);
    assert_eq!(world.main("blog"), Some(repo.head()));
}

fn unknown_options() {
    let world = World::new();
    let repo = world.repo("blog", &[("a", "1\n")]);
    let said = repo.git(&["push", "-o", "colour=red", "keg", "main"]);
    said.expect(false, &["unknown push option \"colour=red\"", "-o no-wait"]);
}

fn atomic() {
    let world = World::new();
    let repo = world.repo("blog", &[("a", "1\n")]);
    repo.git(&["tag", "v1"]).expect(true, &[]);
    let push = ["push", "--atomic", "-o", "no-wait", "keg"];
    let said = repo.git(&[&push[..], &["main", "v1", "main:refs/heads/x"]].concat());
    said.expect(false, &["another ref of this atomic push", "git push keg x:main"]);
    assert!(world.keg.get(&name("/git/blog")).expect("readable").is_none(), "nothing is stored");
    repo.git(&[&push[..], &["main", "v1"]].concat()).expect(true, &["main -> main", "v1 -> v1"]);
}

fn shallow() {
    let world = World::new();
    let repo = world.repo("blog", &[("a", "1\n")]);
    repo.commit("second", &[("a", "2\n")]);
    let clone = Repo { dir: world.path("shallow") };
    let from = format!("file://{}", repo.dir.display());
    let dir = clone.dir.display().to_string();
    repo.git(&["clone", "-q", "--depth=1", &from, &dir]).expect(true, &[]);
    let url = world.app_url("blog");
    clone.git(&["push", &url, "main"]).expect(false, &["git fetch --unshallow"]);
    clone.git(&["fetch", "-q", "--unshallow"]).expect(true, &[]);
    clone.git(&["push", "-o", "no-wait", &url, "main"]).expect(true, &["main -> main"]);
}

fn bad_names() {
    let world = World::new();
    let repo = world.repo("blog", &[("a", "1\n")]);
    for app in ["Blog", "2blog", "blog-", "a_b", "%ff", "a.b"] {
        let url = world.app_url(app);
        let want = if app == "%ff" { "not valid UTF-8" } else { "is not an app name" };
        repo.git(&["push", &url, "main"]).expect(false, &["remote: ", want]);
    }
    repo.git(&["push", "-o", "no-wait", &world.app_url("blog.git"), "main"]).expect(true, &[]);
    assert!(world.main("blog").is_some());
}

fn too_many_refs() {
    let world = World::new();
    let repo = world.repo("blog", &[("a", "1\n")]);
    let head = repo.head();
    let mut lines: Vec<_> = (0..3000).map(|i| format!("{head} refs/tags/t{i}\n")).collect();
    lines.sort();
    let lines = lines.concat();
    let packed = format!("# pack-refs with: peeled fully-peeled sorted \n{lines}");
    fs::write(repo.dir.join(".git/packed-refs"), packed).expect("a file");
    repo.git(&["push", "keg", "--tags"]).expect(false, &["over 1000 refs at once"]);
    assert!(world.keg.get(&name("/git/blog")).expect("readable").is_none(), "nothing is stored");
    let start = Instant::now();
    // t2 and its like: 1 name of one digit, 10 of two, 100 of three, 1000 of four.
    repo.git(&["push", "-q", "keg", "refs/tags/t2*:refs/tags/t2*"]).expect(false, &["1000 refs"]);
    repo.git(&["push", "-q", "keg", "refs/tags/t3*:refs/tags/t3*"]).expect(true, &[]);
    println!("1111 and 111 tags: {:.1?}", start.elapsed());
    let refs = world.json("/git/blog/refs.json").expect("refs");
    assert_eq!(refs.as_object().map(serde_json::Map::len), Some(111));
}

fn deep_and_bad_trees() {
    let world = World::new();
    let repo = world.repo("blog", &[("a", "1\n")]);
    let write_tree = |entries: &str| {
        let mut git = repo.command(&["mktree"]);
        let mut child =
            git.stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().expect("git mktree");
        let mut stdin = child.stdin.take().expect("piped");
        std::io::Write::write_all(&mut stdin, entries.as_bytes()).expect("git reads");
        drop(stdin);
        let output = child.wait_with_output().expect("git mktree");
        String::from_utf8_lossy(&output.stdout).trim().to_owned()
    };
    let commit = |tree: &str| repo.ask(&["commit-tree", "-m", "x", tree]);
    let blob = repo.ask(&["rev-parse", "HEAD:a"]);
    // Ten names ten times at each of ten levels: 10^10 files in ten trees.
    let mut bomb =
        write_tree(&(0..10).map(|i| format!("100644 blob {blob}\tf{i}\n")).collect::<String>());
    for _ in 0..9 {
        bomb =
            write_tree(&(0..10).map(|i| format!("040000 tree {bomb}\td{i}\n")).collect::<String>());
    }
    let push = |commit: &str| {
        repo.git(&["push", "-o", "no-wait", "keg", &format!("{commit}:refs/heads/main")])
    };
    push(&commit(&bomb)).expect(false, &["over 1000000 files and directories"]);
    let mut deep = write_tree(&format!("100644 blob {blob}\tf\n"));
    for _ in 0..300 {
        deep = write_tree(&format!("040000 tree {deep}\td\n"));
    }
    push(&commit(&deep)).expect(false, &["nested over 200 deep"]);
    let long = "n".repeat(256);
    push(&commit(&write_tree(&format!("100644 blob {blob}\t{long}\n"))))
        .expect(false, &["longer than 255 bytes"]);
    let empty = repo.ask(&["hash-object", "-w", "/dev/null"]);
    push(&commit(&write_tree(&format!("120000 blob {empty}\tl\n"))))
        .expect(false, &["symbolic link l has an empty target"]);
    assert!(world.keg.get(&name("/source/blog")).expect("readable").is_none());
}
