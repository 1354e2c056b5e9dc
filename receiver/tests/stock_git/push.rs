//! Pushes: what lands, and where.

use std::{fs, os::unix::fs::PermissionsExt, process::Stdio, time::Instant};

use keg::object::{EntryName, Value};

use crate::{
    Test,
    world::{Repo, World, name, said, until},
};

pub const TESTS: &[Test] = &[
    ("push_makes_the_app", makes_the_app),
    ("push_converts_only_what_changed", converts_only_what_changed),
    ("push_without_news_is_quick", without_news_is_quick),
    ("push_of_thin_packs", thin_packs),
    ("push_of_large_files", large_files),
    ("push_of_tags", tags),
    ("push_by_twelve_at_once", twelve_at_once),
    ("push_with_submodules_and_lfs", submodules_and_lfs),
    ("push_of_nothing", nothing),
    ("push_killed_anywhere", killed_anywhere),
    ("push_merges_packs", merges_packs),
    ("push_one_commit_timing", one_commit_timing),
];

fn makes_the_app() {
    let world = World::new();
    let repo = world.repo("blog", &[("app.py", "print(1)\n"), ("static/a.css", "a{}\n")]);
    std::os::unix::fs::symlink("app.py", repo.dir.join("link")).expect("a link");
    fs::write(repo.dir.join("run"), "#!/bin/sh\n").expect("a file");
    fs::set_permissions(repo.dir.join("run"), fs::Permissions::from_mode(0o755)).expect("a mode");
    let head = repo.commit("second\n\nwith a body", &[]);
    repo.push().expect(true, &["-----> Source stored K-", "5 converted", "main -> main"]);

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

fn converts_only_what_changed() {
    let world = World::new();
    let paths: Vec<String> = (0..200).map(|i| format!("d{}/e{}/f{i}", i % 10, i % 3)).collect();
    let files: Vec<(&str, &str)> = paths.iter().map(|path| (path.as_str(), "x\n")).collect();
    let repo = world.repo("blog", &files);
    repo.push().expect(true, &["240 files and directories", "240 converted"]);
    repo.commit("edit", &[("d3/e0/f3", "y\n")]);
    // The ten names of the root, three of d3, and seven of d3/e0.
    repo.push().expect(true, &["240 files and directories", "20 converted"]);
    let text = world.keg.get(&name("/source/blog/d3/e0/f3")).expect("readable").expect("there");
    assert_eq!(world.keg.objects().blob(&text.kid().expect("a blob")).expect("readable"), b"y\n");
    let source = world.keg.get(&name("/source/blog")).expect("readable").expect("a source");
    let source = world.keg.objects().commit(&source.kid().expect("a commit")).expect("readable");
    assert_eq!(source.parents.len(), 1);
    // Going back to the first tree finds all of it known.
    repo.git(&["revert", "--no-edit", "HEAD"]).expect(true, &[]);
    repo.push().expect(true, &["0 converted"]);
}

fn without_news_is_quick() {
    let world = World::new();
    let repo = world.repo("blog", &[("a", "1\n")]);
    repo.push().expect(true, &[]);
    let start = Instant::now();
    repo.git(&["push", "keg", "main"]).expect(true, &["Everything up-to-date"]);
    let took = start.elapsed();
    println!("no-op push: {took:.1?}");
    assert!(took.as_millis() < 1000, "a push without news took {took:?}");
}

fn thin_packs() {
    let world = World::new();
    let lines: Vec<String> = (0..5000).map(|i| format!("line {i} {}", i * 7919 % 1000)).collect();
    let repo = world.repo("blog", &[("big", &lines.join("\n"))]);
    repo.push().expect(true, &[]);
    for round in 0..5 {
        let mut lines = lines.clone();
        lines[round * 100] = "changed".to_owned();
        repo.commit("edit", &[("big", &lines.join("\n"))]);
        // Three objects: a commit, a tree, and a delta on a base that only the Keg has.
        repo.push().expect(true, &["received 4 objects"]);
    }
    clone_equals(&world, &repo, "blog");
}

fn large_files() {
    let world = World::new();
    let repo = world.repo("blog", &[]);
    // Above the sizes that are held on the heap, and does not compress.
    let mut bytes = Vec::with_capacity(20 << 20);
    let mut state = 1u64;
    while bytes.len() < 20 << 20 {
        state = state.wrapping_mul(6364136223846793005).wrapping_add(1442695040888963407);
        bytes.extend_from_slice(&state.to_le_bytes());
    }
    fs::write(repo.dir.join("big.bin"), &bytes).expect("a file");
    fs::write(repo.dir.join("zeros.bin"), vec![0; 30 << 20]).expect("a file");
    repo.commit("large", &[]);
    repo.push().expect(true, &["Source stored"]);
    bytes[10 << 20] ^= 1;
    fs::write(repo.dir.join("big.bin"), &bytes).expect("a file");
    repo.commit("a delta of a large file", &[]);
    repo.push().expect(true, &["Source stored"]);
    let big = world.keg.get(&name("/source/blog/big.bin")).expect("readable").expect("a file");
    assert_eq!(big.kid(), Some(keg::Kid::of_blob(&bytes)));
    clone_equals(&world, &repo, "blog");
}

fn tags() {
    let world = World::new();
    let repo = world.repo("blog", &[("a", "1\n")]);
    repo.git(&["tag", "light"]).expect(true, &[]);
    repo.git(&["tag", "-a", "-m", "annotated", "heavy"]).expect(true, &[]);
    let source = || world.keg.get(&name("/source/blog")).expect("readable");
    repo.git(&["push", "keg", "--tags"]).expect(true, &["heavy -> heavy", "light -> light"]);
    assert!(source().is_none(), "tags deploy nothing");
    repo.push().expect(true, &["main -> main"]);
    repo.git(&["push", "keg", ":light"]).expect(true, &["[deleted]"]);
    let refs = world.json("/git/blog/refs.json").expect("refs");
    let names: Vec<&String> = refs.as_object().expect("an object").keys().collect();
    assert_eq!(names, ["refs/heads/main", "refs/tags/heavy"]);
    let said = repo.git(&["push", "keg", "main:refs/tags/heavy/x"]);
    said.expect(false, &["conflicts with the ref refs/tags/heavy"]);
}

fn twelve_at_once() {
    let world = World::new();
    let repo = world.repo("blog", &[("a", "0\n")]);
    repo.push().expect(true, &[]);
    let clones: Vec<Repo> = (0..12)
        .map(|i| {
            let clone = Repo { dir: world.path(&format!("clone-{i}")) };
            let dir = clone.dir.display().to_string();
            repo.git(&["clone", "-q", &world.app_url("blog"), &dir]).expect(true, &[]);
            clone.commit(&format!("from {i}"), &[("a", &format!("{i}\n"))]);
            clone
        })
        .collect();
    let spawn = |clone: &Repo| {
        let mut push = clone.command(&["push", "-o", "no-wait", "origin", "main"]);
        push.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().expect("git")
    };
    let children: Vec<_> = clones.iter().map(spawn).collect();
    let mut winners = Vec::new();
    for (child, clone) in children.into_iter().zip(&clones) {
        let said = said(&child.wait_with_output().expect("git"));
        match said.ok {
            true => winners.push(clone.head()),
            false => assert!(
                said.text.contains("changed by another push") || said.text.contains("fetch first"),
                "{}",
                said.text
            ),
        }
    }
    assert_eq!(winners.len(), 1, "one wins");
    assert_eq!(world.main("blog").as_ref(), winners.first());
}

fn submodules_and_lfs() {
    let world = World::new();
    let modules = "[submodule \"lib\"]\n\tpath = vendor/lib\n\turl = https://example.com/lib.git\n";
    let pointer = "version https://git-lfs.github.com/spec/v1\noid sha256:00\nsize 12\n";
    let repo = world.repo("blog", &[(".gitmodules", modules), ("a/b/big.bin", pointer)]);
    fs::create_dir_all(repo.dir.join("vendor/lib")).expect("a directory");
    let link = format!("160000,{},vendor/lib", repo.head());
    repo.git(&["update-index", "--add", "--cacheinfo", &link]).expect(true, &[]);
    repo.git(&["commit", "-q", "-m", "submodule"]).expect(true, &[]);
    let warnings = [
        "submodule vendor/lib (https://example.com/lib.git) is kept as a pointer",
        "a/b/big.bin is a Git LFS pointer",
    ];
    repo.push().expect(true, &warnings);
    let entry = world.keg.get(&name("/source/blog/vendor/lib")).expect("readable");
    let Some(Value::Pointer { source, reference, kid: None }) = entry.map(|entry| entry.value)
    else {
        panic!("a submodule is a pointer");
    };
    assert_eq!(source, "https://example.com/lib.git");
    assert_eq!(reference.len(), 40);
    // Said again, though nothing about them changed.
    repo.commit("edit", &[("c", "1\n")]);
    repo.push().expect(true, &warnings);
}

fn nothing() {
    let world = World::new();
    let repo = Repo { dir: world.path("empty") };
    fs::create_dir_all(&repo.dir).expect("a directory");
    repo.git(&["init", "-q", "-b", "main"]).expect(true, &[]);
    let url = world.app_url("blog");
    repo.git(&["push", &url, "main"]).expect(false, &["src refspec main does not match any"]);
    repo.git(&["push", &url, "--tags"]).expect(true, &["Everything up-to-date"]);
    let commit = repo.commit("empty", &[]);
    repo.git(&["push", "-o", "no-wait", &url, "main"]).expect(true, &["0 files and directories"]);
    assert_eq!(world.main("blog"), Some(commit));
}

fn killed_anywhere() {
    let world = World::new();
    let repo = world.repo("blog", &[("a", "0\n")]);
    repo.push().expect(true, &[]);
    let exe = std::env::current_exe().expect("this binary");
    let mut landed = 0;
    let mut heads = vec![repo.head()];
    for round in 0..20u64 {
        let before = world.main("blog").expect("main");
        let files: Vec<(String, String)> =
            (0..50).map(|i| (format!("d{i}/f"), format!("{round} {i}\n"))).collect();
        let files: Vec<(&str, &str)> =
            files.iter().map(|(path, text)| (path.as_str(), text.as_str())).collect();
        let head = repo.commit(&format!("round {round}"), &files);
        let body = repo.push_body(&before, &head, &["no-wait"]);
        let mut child = std::process::Command::new(&exe)
            .args(["work", "receive", "push", "blog"])
            .env("KEG_HOME", world.keg.home())
            .stdin(Stdio::piped())
            .stdout(Stdio::null())
            .spawn()
            .expect("this binary starts");
        let mut stdin = child.stdin.take().expect("piped");
        std::io::Write::write_all(&mut stdin, &body).expect("the child reads");
        drop(stdin);
        std::thread::sleep(std::time::Duration::from_micros(1000 + round * 7919 % 24_000));
        child.kill().expect("a child");
        child.wait().expect("a child");
        // All of it or nothing, and the next push works.
        let main = world.main("blog").expect("main");
        // A transaction that was killed before its answer may come to light with the next one.
        heads.push(head.clone());
        assert!(heads.contains(&main), "main is half there: {main}");
        landed += usize::from(main == head);
        let source = world.keg.get(&name("/source/blog")).expect("readable").expect("a source");
        let source = world.keg.objects().commit(&source.kid().expect("a commit")).expect("there");
        assert_eq!(source.extra["git"], main.as_str(), "source and main belong together");
    }
    println!("{landed} of 20 landed before they were killed");
    let report = keg::fsck::fsck(&world.keg, &mut |_| {}).expect("a readable Keg");
    assert!(report.is_clean(), "{report:?}");
    repo.commit("after all", &[]);
    if !repo.push().ok {
        repo.push().expect(true, &[]);
    }
    assert_eq!(world.main("blog"), Some(repo.head()));
    clone_equals(&world, &repo, "blog");
}

fn merges_packs() {
    let world = World::new();
    let repo = world.repo("blog", &[("a", "0\n"), ("d/b", "0\n")]);
    let count = || {
        let files = world.keg.list(&name("/git/blog/packs")).expect("readable");
        files.iter().filter(|(file, _)| file.ends_with(".pack")).count()
    };
    for round in 0..60 {
        repo.commit("edit", &[("a", &format!("{round}\n"))]);
        repo.push().expect(true, &[]);
    }
    until("the packs to be merged", || (count() < 20).then_some(()));
    let packs = count();
    // What was converted before is still known, and all objects are there.
    repo.commit("edit", &[("a", "new\n")]);
    repo.push().expect(true, &["2 converted"]);
    assert!(count() <= packs + 1);
    clone_equals(&world, &repo, "blog");
}

fn one_commit_timing() {
    let world = World::new();
    let paths: Vec<String> = (0..100).map(|i| format!("dir{}/file{i}.py", i % 7)).collect();
    let files: Vec<(&str, &str)> = paths.iter().map(|path| (path.as_str(), "x = 1\n")).collect();
    let repo = world.repo("blog", &files);
    repo.push().expect(true, &[]);
    let mut times = Vec::new();
    for round in 0..9 {
        repo.commit("edit", &[("dir3/file3.py", &format!("x = {round}\n"))]);
        let start = Instant::now();
        let said = repo.push();
        times.push(start.elapsed());
        said.expect(true, &["Source stored"]);
        let line = said.text.lines().find(|line| line.contains("Source stored")).map(str::trim);
        println!("{:.1?} {}", start.elapsed(), line.unwrap_or_default());
    }
    times.sort();
    println!("one-commit push over HTTP, median: {:.1?}", times[times.len() / 2]);
}

/// Asserts that a clone has what the repository has, and that git finds no fault in it.
pub fn clone_equals(world: &World, repo: &Repo, app: &str) {
    let clone = Repo { dir: world.path(&format!("clone-of-{app}")) };
    let dir = clone.dir.display().to_string();
    repo.git(&["clone", "-q", &world.app_url(app), &dir]).expect(true, &[]);
    assert_eq!(clone.head(), repo.head());
    assert_eq!(clone.ask(&["rev-parse", "HEAD^{tree}"]), repo.ask(&["rev-parse", "HEAD^{tree}"]));
    clone.git(&["fsck", "--strict", "--full"]).expect(true, &[]);
    clone.git(&["status", "--porcelain"]).expect(true, &[]);
}
