//! Pushes: what lands, and where; what is refused, and in which words.

use std::{fs, os::unix::fs::PermissionsExt, process::Stdio, time::Instant};

use keg::object::{EntryName, Value};

use crate::{
    Test,
    world::{Repo, World, name, said},
};

pub const TESTS: &[Test] = &[
    ("push_makes_the_app", makes_the_app),
    ("push_converts_only_what_changed", converts_only_what_changed),
    ("push_without_news_is_quick", without_news_is_quick),
    ("push_of_thin_packs", thin_packs),
    ("push_of_large_files", large_files),
    ("push_of_tags", tags),
    ("push_refuses_other_refs", refuses_other_refs),
    ("push_moves_main_only_forward", moves_main_only_forward),
    ("push_of_unknown_options", unknown_options),
    ("push_atomic", atomic),
    ("push_by_twelve_at_once", twelve_at_once),
    ("push_with_submodules_and_lfs", submodules_and_lfs),
    ("push_from_a_shallow_clone", shallow),
    ("push_of_nothing", nothing),
    ("push_to_bad_names", bad_names),
    ("push_of_too_many_refs", too_many_refs),
    ("push_of_deep_and_bad_trees", deep_and_bad_trees),
    ("push_killed_anywhere", killed_anywhere),
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

fn killed_anywhere() {
    let world = World::new();
    let repo = world.repo("blog", &[("a", "0\n")]);
    repo.push().expect(true, &[]);
    let exe = std::env::current_exe().expect("this binary");
    let mut landed = 0;
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
        std::thread::sleep(std::time::Duration::from_micros(3000 + round * 5000));
        child.kill().expect("a child");
        child.wait().expect("a child");
        // All of it or nothing, and the next push works.
        let main = world.main("blog").expect("main");
        assert!(main == before || main == head, "main is half there: {main}");
        landed += usize::from(main == head);
        let source = world.keg.get(&name("/source/blog")).expect("readable").expect("a source");
        let source = world.keg.objects().commit(&source.kid().expect("a commit")).expect("there");
        assert_eq!(source.extra["git"], main.as_str(), "source and main belong together");
    }
    println!("{landed} of 20 landed before they were killed");
    repo.git(&["push", "-o", "no-wait", "keg", "main"]).expect(true, &[]);
    assert_eq!(world.main("blog"), Some(repo.head()));
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
