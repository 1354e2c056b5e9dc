//! Deploys: what the person who pushed sees and hears. The tests play builder and mayor by writing
//! the documents these write.

use std::{
    io::{BufRead, BufReader, Read},
    process::{Child, ChildStderr, Stdio},
    time::Instant,
};

use keg::{
    Kid, Txn,
    object::{Commit, Entry, Tree},
};
use serde_json::{Value as Json, json};

use crate::{
    Test,
    world::{Repo, Said, World, name, until},
};

pub const TESTS: &[Test] = &[
    ("deploy_that_succeeds", succeeds),
    ("deploy_whose_build_fails", build_fails),
    ("deploy_whose_start_fails", start_fails),
    ("deploy_without_a_builder", without_a_builder),
    ("deploy_outlives_the_client", outlives_the_client),
    ("deploy_outlives_the_push_process", outlives_the_push_process),
    ("deploy_superseded_by_a_newer_push", superseded),
    ("deploy_joined_by_the_same_push", joined),
    ("deploy_joined_when_it_is_live", joined_late),
    ("deploy_waits_for_other_apps", waits_for_others),
];

/// Starts `git push keg main` and leaves it running.
fn push(repo: &Repo) -> Child {
    let mut push = repo.command(&["push", "keg", "main"]);
    push.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().expect("git")
}

fn end(push: Child) -> Said {
    crate::world::said(&push.wait_with_output().expect("git"))
}

/// Waits for the source of a git commit.
fn source_of(world: &World, head: &str) -> Kid {
    until("the source", || {
        let kid = world.keg.get(&name("/source/blog")).expect("readable")?.kid()?;
        let commit = world.keg.objects().commit(&kid).expect("readable");
        (commit.extra["git"] == head).then_some(kid)
    })
}

fn set(world: &World, path: &str, document: Json) {
    let txn = Txn::new("service/builder", "a test").set_json(name(path), document);
    world.keg.commit(txn).expect("a transaction");
}

fn deploy(world: &World, source: Kid, state: &str, more: Json) {
    let mut document = json!({"app": "blog", "source": source, "build": "b", "state": state,
        "stream": format!("build-{}", &source.to_hex()[..8])});
    let fields = document.as_object_mut().expect("an object");
    fields.extend(more.as_object().expect("an object").clone());
    set(world, "/deploys/blog.json", document);
}

fn log(world: &World, source: Kid) -> keg::stream::StreamWriter {
    let id = format!("build-{}", &source.to_hex()[..8]);
    world.keg.streams().create(&id).expect("a stream")
}

/// Sets a release as the builder does, and returns it.
fn build(world: &World, source: Kid) -> Kid {
    let objects = world.keg.objects();
    let tree = objects.put_tree(&Tree::default()).expect("a tree").kid().expect("a tree");
    let extra = json!({"app": "blog", "image": tree, "source": source});
    let commit = Commit {
        tree,
        parents: Vec::new(),
        author: "service/builder".to_owned(),
        time_ms: keg::time::now_ms(),
        message: String::new(),
        extra: extra.as_object().expect("an object").clone(),
    };
    let release = objects.put_commit(&commit).expect("a commit");
    let txn =
        Txn::new("service/builder", "a test").set(name("/oci-images/blog"), Entry::commit(release));
    world.keg.commit(txn).expect("a transaction");
    deploy(world, source, "built", json!({"release": release}));
    release
}

fn machine(world: &World, release: Kid, state: &str, more: Json) {
    let mut document = json!({"app": "blog", "release": release, "state": state,
        "url": "http://blog.localhost:8080"});
    let fields = document.as_object_mut().expect("an object");
    fields.extend(more.as_object().expect("an object").clone());
    set(world, "/machines/m/apps/blog.json", document);
}

fn state(world: &World) -> String {
    let push = world.json("/git/blog/push.json").expect("push.json");
    push["state"].as_str().expect("a state").to_owned()
}

fn succeeds() {
    let world = World::new();
    let repo = world.repo("blog", &[("a", "1\n")]);
    let mut child = push(&repo);
    let source = source_of(&world, &repo.head());
    assert_eq!(state(&world), "deploying");
    let mut log = log(&world, source);
    log.line("-----> Python app detected").expect("a line");
    deploy(&world, source, "building", json!({}));
    // Lines come while the build runs.
    let mut lines = BufReader::new(child.stderr.take().expect("piped"));
    let mut seen = String::new();
    while !seen.contains("Python app detected") {
        assert!(lines.read_line(&mut seen).expect("git") > 0, "{seen}");
    }
    let start = Instant::now();
    log.line("       pip says hello").expect("a line");
    while !seen.contains("pip says hello") {
        assert!(lines.read_line(&mut seen).expect("git") > 0, "{seen}");
    }
    println!("a log line reaches the pusher in {:.1?}", start.elapsed());
    let release = build(&world, source);
    log.line("-----> the last line").expect("a line");
    machine(&world, release, "starting", json!({}));
    machine(&world, release, "live", json!({}));
    lines.read_to_string(&mut seen).expect("git");
    let status = child.wait().expect("git");
    let said = Said { ok: status.success(), text: seen };
    let kids = [
        format!("source {}", source.short()),
        format!("release {}", release.short()),
        "=====> live at http://blog.localhost:8080".to_owned(),
        "-----> the last line".to_owned(),
    ];
    said.expect(true, &kids.each_ref().map(String::as_str));
    assert_eq!(state(&world), "done");
    assert_eq!(world.main("blog"), Some(repo.head()));
}

fn build_fails() {
    let world = World::new();
    let repo = world.repo("blog", &[("a", "1\n")]);
    let child = push(&repo);
    let source = source_of(&world, &repo.head());
    log(&world, source)
        .line("       no such \x1b[31mpackage; did you mean flask?")
        .expect("a line");
    let error =
        json!({"step": "import", "message": "no package flsk", "hint": "did you mean flask?"});
    deploy(&world, source, "failed", json!({"error": error}));
    end(child).expect(
        false,
        &[
            "no such package",
            "build failed: import: no package flsk",
            "did you mean flask?",
            &format!("the source is kept as {}", source.short()),
            "[remote rejected] main -> main (build failed: import: no package flsk)",
        ],
    );
    // Main was never deployed, the source is kept.
    assert_eq!(world.main("blog"), None);
    assert_eq!(state(&world), "failed");
    assert_eq!(source_of(&world, &repo.head()), source);
    // The same push again is a new attempt, and sends no objects again.
    let child = push(&repo);
    let again = until("the next source", || {
        Some(source_of(&world, &repo.head())).filter(|&again| again != source)
    });
    let release = build(&world, again);
    machine(&world, release, "live", json!({}));
    end(child).expect(true, &["received 0 objects", "0 converted", "=====> live at"]);
    assert_eq!(world.main("blog"), Some(repo.head()));
}

fn start_fails() {
    let world = World::new();
    let repo = world.repo("blog", &[("a", "1\n")]);
    let child = push(&repo);
    let source = source_of(&world, &repo.head());
    let release = build(&world, source);
    machine(&world, release, "live", json!({}));
    end(child).expect(true, &[]);
    let first = repo.head();
    let second = repo.commit("second", &[("a", "2\n")]);
    let child = push(&repo);
    let source = source_of(&world, &second);
    let release = build(&world, source);
    let error = json!({"message": "the app exited with code 1", "hint": "see keg logs blog"});
    machine(&world, release, "failed", json!({"error": error}));
    end(child).expect(false, &["start failed: the app exited with code 1", "see keg logs blog"]);
    assert_eq!(world.main("blog"), Some(first), "main is what was deployed last");
}

fn without_a_builder() {
    let world = World::new();
    let repo = world.repo("blog", &[("a", "1\n")]);
    let mut raw = std::process::Command::new(std::env::current_exe().expect("this binary"));
    raw.args(["work", "receive", "push", "raw"]).env("KEG_HOME", world.keg.home());
    let mut raw =
        raw.stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().expect("this binary starts");
    let body = repo.push_body(&"0".repeat(40), &repo.head(), &[]);
    std::io::Write::write_all(&mut raw.stdin.take().expect("piped"), &body).expect("it reads");
    repo.git(&["push", "keg", "main"]).expect(false, &["no builder answered", "start keg up"]);
    // Meanwhile the line is kept alive.
    let raw = raw.wait_with_output().expect("it ends");
    assert!(raw.stdout.windows(5).any(|bytes| bytes == b"0005\x01"), "no sign of life");
    assert_eq!(state(&world), "deploying");
    // A builder comes after all: the next one who looks finds it settled.
    let source = source_of(&world, &repo.head());
    assert_eq!(repo.ask(&["ls-remote", "keg"]).lines().count(), 2, "HEAD and main");
    let error = json!({"step": "build", "message": "nope"});
    deploy(&world, source, "failed", json!({"error": error}));
    let refs = repo.ask(&["ls-remote", "keg"]);
    assert_eq!(refs, "", "main went back: {refs}");
    assert_eq!(state(&world), "failed");
}

fn outlives_the_client() {
    let world = World::new();
    let repo = world.repo("blog", &[("a", "1\n")]);
    let mut child = push(&repo);
    let source = source_of(&world, &repo.head());
    deploy(&world, source, "building", json!({}));
    child.kill().expect("git");
    child.wait().expect("git");
    let release = build(&world, source);
    machine(&world, release, "live", json!({}));
    until("the push to be settled", || (state(&world) == "done").then_some(()));
    assert_eq!(world.main("blog"), Some(repo.head()));
}

fn outlives_the_push_process() {
    let world = World::new();
    let repo = world.repo("blog", &[("a", "1\n")]);
    let child = push(&repo);
    let source = source_of(&world, &repo.head());
    deploy(&world, source, "building", json!({}));
    let row = until("the process table", || {
        let rows = world.keg.list(&name("/machines")).expect("readable");
        let machine = rows.iter().map(|(machine, _)| format!("/machines/{machine}/processes"));
        let rows = machine.flat_map(|path| {
            let rows = world.keg.list(&name(&path)).expect("readable");
            rows.into_iter().map(move |(row, _)| format!("{path}/{row}"))
        });
        rows.filter_map(|row| world.json(&row)).find(|row| row["type"] == "work/receive")
    });
    let pid = row["pid"].as_i64().and_then(|pid| i32::try_from(pid).ok()).expect("a pid");
    rustix::process::kill_process(
        rustix::process::Pid::from_raw(pid).expect("a pid"),
        rustix::process::Signal::KILL,
    )
    .expect("the child is there");
    end(child).expect(false, &[]);
    let release = build(&world, source);
    machine(&world, release, "live", json!({}));
    repo.git(&["push", "keg", "main"]).expect(true, &["Everything up-to-date"]);
    assert_eq!(state(&world), "done");
}

fn superseded() {
    let world = World::new();
    let repo = world.repo("blog", &[("a", "1\n")]);
    let first = push(&repo);
    let source = source_of(&world, &repo.head());
    deploy(&world, source, "building", json!({}));
    repo.commit("second", &[("a", "2\n")]);
    let second = push(&repo);
    let newer = source_of(&world, &repo.head());
    deploy(&world, newer, "building", json!({}));
    end(first).expect(true, &["a newer push took over"]);
    let error = json!({"step": "build", "message": "nope"});
    deploy(&world, newer, "failed", json!({"error": error}));
    end(second).expect(false, &["build failed: build: nope"]);
    // The first never ran either, so nothing is deployed.
    assert_eq!(world.main("blog"), None);
}

/// A second push of what is being deployed hears how that ends, instead of "up to date".
fn joined() {
    let world = World::new();
    let repo = world.repo("blog", &[("a", "1\n")]);
    let first = push(&repo);
    let source = source_of(&world, &repo.head());
    deploy(&world, source, "building", json!({}));
    let second = push(&repo);
    // A commit beside it is not taken for one that follows it.
    let other = world.repo("other", &[("b", "1\n")]);
    other.git(&["push", &world.app_url("blog"), "main"]).expect(false, &["not a fast-forward"]);
    let second = Joined::new(second);
    let error = json!({"step": "build", "message": "nope"});
    deploy(&world, source, "failed", json!({"error": error}));
    end(first).expect(false, &["build failed: build: nope"]);
    second.end().expect(false, &["build failed: build: nope"]);
    assert_eq!(world.main("blog"), None);

    // Nothing of the failure stands in the way of a third attempt, which two wait for again.
    let (first, again) = (push(&repo), || Some(source_of(&world, &repo.head())));
    let newer = until("the next source", || again().filter(|again| *again != source));
    let release = build(&world, newer);
    let second = push(&repo);
    let second = Joined::new(second);
    machine(&world, release, "live", json!({}));
    end(first).expect(true, &["=====> live at"]);
    second.end().expect(true, &["=====> live at"]);
    repo.git(&["push", "keg", "main"]).expect(true, &["Everything up-to-date"]);
    assert_eq!(world.main("blog"), Some(repo.head()));
    assert_eq!(source_of(&world, &repo.head()), newer, "no source was made by joining");
}

/// A push that has said that it follows another one's deploy.
struct Joined {
    push: Child,
    lines: BufReader<ChildStderr>,
    seen: String,
}

impl Joined {
    fn new(mut push: Child) -> Self {
        let mut lines = BufReader::new(push.stderr.take().expect("piped"));
        let mut seen = String::new();
        while !seen.contains("was pushed already") {
            assert!(lines.read_line(&mut seen).expect("git") > 0, "{seen}");
        }
        Self { push, lines, seen }
    }

    fn end(mut self) -> Said {
        self.lines.read_to_string(&mut self.seen).expect("git");
        let status = self.push.wait().expect("git");
        Said { ok: status.success(), text: self.seen }
    }
}

/// A push that saw the refs before another one moved them, and comes when that one is live.
fn joined_late() {
    let world = World::new();
    let repo = world.repo("blog", &[("a", "1\n")]);
    let child = push(&repo);
    let source = source_of(&world, &repo.head());
    let release = build(&world, source);
    machine(&world, release, "live", json!({}));
    end(child).expect(true, &["=====> live at"]);
    let none = "0".repeat(40);
    let body = repo.push_body(&none, &repo.head(), &[]);
    let said = crate::http::receive(&world, &body);
    for text in ["was pushed already", "=====> live at http://blog.localhost:8080", "unpack ok"] {
        assert!(said.contains(text), "no {text:?} in:\n{said}");
    }
    assert_eq!(source_of(&world, &repo.head()), source, "no source was made by joining");
}

fn waits_for_others() {
    let world = World::new();
    let building = keg::process::register(&world.keg, "work/build", "other").expect("a row");
    let repo = world.repo("blog", &[("a", "1\n")]);
    let child = push(&repo);
    let source = source_of(&world, &repo.head());
    // Longer than a builder with nothing to do may take.
    std::thread::sleep(std::time::Duration::from_secs(11));
    drop(building);
    deploy(&world, source, "failed", json!({"error": {"step": "build", "message": "nope"}}));
    end(child).expect(false, &["waiting for builds of other apps", "build failed: build: nope"]);
}
