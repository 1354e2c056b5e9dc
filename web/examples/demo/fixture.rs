//! A Keg with what a few days of pushes leave behind: the documents of `docs/namespace.md`.

use std::error::Error;

use keg::{
    Keg, Kid, NamePath, Txn,
    object::{Attrs, Commit, Entry, EntryName, Tree},
    time::rfc3339,
};
use serde_json::{Map, Value as Json, json};

pub type Result<T> = std::result::Result<T, Box<dyn Error>>;

/// The machine of the fixture.
pub const MACHINE: &str = "cellar";
/// The host name that the documents hold.
const ROUTER: &str = "localhost:8080";
const MINUTE: i64 = 60_000;

/// What tests ask for.
pub struct Filled {
    pub source: Kid,
    pub former_source: Kid,
    pub release: Kid,
    pub former_release: Kid,
    pub image: Kid,
    pub process: Kid,
    pub process_id: String,
    pub build: String,
    pub running_build: String,
    pub running_stream: String,
}

/// Fills an empty Keg.
pub fn fill(keg: &Keg) -> Result<Filled> {
    let now = keg::time::now_ms();
    machine(keg, now)?;
    let former = release_of(keg, &Push::former(now))?;
    let newest = release_of(keg, &Push::newest(now, former.source))?;
    config(keg)?;
    let process = processes(keg, &newest, now)?;
    failed_app(keg, now)?;
    let (running_build, running_stream) = building_app(keg, now)?;
    site(keg, now)?;
    packages(keg, now)?;
    Ok(Filled {
        source: newest.source,
        former_source: former.source,
        release: newest.release,
        former_release: former.release,
        image: newest.image,
        process: process.0,
        process_id: process.1,
        build: newest.build,
        running_build,
        running_stream,
    })
}

fn path(text: &str) -> Result<NamePath> {
    Ok(text.parse()?)
}

fn set(keg: &Keg, author: &str, message: &str, at: &str, json: Json) -> Result<()> {
    keg.commit(Txn::new(author, message).set_json(path(at)?, json))?;
    Ok(())
}

/// A tree from paths and contents; a path that ends in `*` is executable.
pub fn tree(keg: &Keg, files: &[(&str, &[u8])]) -> Result<Entry> {
    let mut here = Tree::default();
    let mut below: std::collections::BTreeMap<&str, Vec<(&str, &[u8])>> = Default::default();
    for (name, bytes) in files {
        match name.split_once('/') {
            Some((first, rest)) => below.entry(first).or_default().push((rest, bytes)),
            None => {
                let mut entry = keg.objects().put_bytes(bytes)?;
                let plain = name.trim_end_matches('*');
                if plain != *name {
                    entry.attrs = Attrs::with_mode(0o755);
                }
                here.entries.insert(EntryName::new(plain)?, entry);
            }
        }
    }
    for (name, files) in below {
        here.entries.insert(EntryName::new(name)?, tree(keg, &files)?);
    }
    Ok(keg.objects().put_tree(&here)?)
}

fn kid_of(entry: &Entry) -> Kid {
    entry.kid().expect("files and trees have KIDs")
}

fn machine(keg: &Keg, now: i64) -> Result<()> {
    set(
        keg,
        "service/up",
        "the machine",
        &format!("/machines/{MACHINE}/machine.json"),
        json!({
            "name": MACHINE, "kid": Kid::of_blob(b"cellar"), "cores": 2, "memory": 25_276_973_056_u64,
            "kernel": "6.18.3", "addresses": ["127.0.0.1", "192.0.2.17"],
            "boot_id": "6f2b1c9a-61a5-4d3c-9f1e-0d9b7f9b1c55", "started": rfc3339(now - 4000 * MINUTE),
        }),
    )
}

struct Push {
    message: &'static str,
    git: &'static str,
    app_py: &'static str,
    at: i64,
    parent: Option<Kid>,
}

impl Push {
    fn former(now: i64) -> Self {
        Self {
            message: "List posts by date\n\nThe newest comes first, as readers expect.",
            git: "3f9d2c4b8a7e6f50112233445566778899aabbcc",
            app_py: include_str!("source/app_v1.py"),
            at: now - 1500 * MINUTE,
            parent: None,
        }
    }

    fn newest(now: i64, parent: Kid) -> Self {
        Self {
            message: "Greet readers by name",
            git: "9b1e77d0c2f34a5b6c7d8e9f00112233445566aa",
            app_py: include_str!("source/app_v2.py"),
            at: now - 3 * MINUTE,
            parent: Some(parent),
        }
    }
}

struct Made {
    source: Kid,
    release: Kid,
    image: Kid,
    build: String,
}

const ADA: &str = "Ada Byron <ada@example.org>";

fn release_of(keg: &Keg, push: &Push) -> Result<Made> {
    let (source, source_tree) = push_source(keg, push)?;
    let build = keg::Kid::of_blob(push.git.as_bytes()).to_hex()[..16].to_owned();
    let started = rfc3339(push.at + 120);
    let finished = rfc3339(push.at + 1490);
    let stream = format!("build-{build}-1");
    let deploy = json!({
        "app": "blog", "source": source, "build": build, "stream": stream, "cached": false,
        "state": "building", "started": started,
    });
    set(keg, "service/builder", "building blog", "/deploys/blog.json", deploy.clone())?;
    let image = image(keg, push)?;
    let build_json = build_document(&build, source, source_tree, image, push.at, &stream);
    let log = include_str!("source/build.log");
    let log = keg.objects().put_bytes(log.as_bytes())?;
    let mut release = Tree::default();
    let mut put = |name: &str, entry: Entry| release.entries.insert(EntryName::new(name).expect("a name"), entry);
    put("image", keg.objects().tree_entry(&image)?);
    put("build.json", keg.objects().put_json(&build_json)?);
    put("source.json", keg.objects().put_json(&json!({
        "kid": source, "git": push.git, "author": ADA, "message": push.message, "app": "blog",
    }))?);
    put("config.json", keg.objects().put_json(&json!({ "suite": "trixie" }))?);
    put("processes.json", keg.objects().put_json(&json!({
        "web": { "command": ["gunicorn", "--bind", "0.0.0.0:$PORT", "app:app"], "shell": false },
        "worker": { "command": "python3 worker.py | tee -a worker.log", "shell": true },
    }))?);
    let tree = keg.objects().put_tree(&release)?;
    let extra = json!({ "app": "blog", "image": image, "source": source, "build": build });
    let release = keg.objects().put_commit(&Commit {
        tree: kid_of(&tree),
        parents: Vec::new(),
        author: "service/builder".to_owned(),
        time_ms: push.at + 1480,
        message: format!("blog: {}", push.message.lines().next().unwrap_or("")),
        extra: fields(extra),
    })?;
    let mut done = fields(deploy);
    done.insert("state".to_owned(), "built".into());
    done.insert("release".to_owned(), release.to_string().into());
    done.insert("finished".to_owned(), finished.into());
    let txn = Txn::new("service/builder", "blog is built")
        .set_json(path(&format!("/builds/{build}/build.json"))?, build_json)
        .set(path(&format!("/builds/{build}/log"))?, log)
        .set(path("/oci-images/blog")?, Entry::commit(release))
        .set_json(path("/deploys/blog.json")?, Json::Object(done));
    keg.commit(txn)?;
    Ok(Made { source, release, image, build })
}

fn fields(json: Json) -> Map<String, Json> {
    json.as_object().cloned().unwrap_or_default()
}

fn push_source(keg: &Keg, push: &Push) -> Result<(Kid, Kid)> {
    let mut files: Vec<(&str, &[u8])> = vec![
        ("app.py", push.app_py.as_bytes()),
        ("requirements.txt", b"flask==3.1.2\ngunicorn==23.0.0\n"),
        ("Procfile", b"web: gunicorn --bind 0.0.0.0:$PORT app:app\nworker: python3 worker.py\n"),
        (".python-version", b"3.13\n"),
        ("README.md", include_bytes!("source/README.md")),
        ("bin/migrate*", b"#!/bin/sh\nset -e\n# Runs once before a release.\nexec python3 -m blog.migrate \"$@\"\n"),
        ("templates/index.html", include_bytes!("source/index.html")),
        ("static/style.css", b"body { font: 18px/1.6 serif; max-width: 40em; margin: auto }\n"),
        ("static/logo.svg", include_bytes!("../../assets/icon.svg")),
        ("worker.py", b"import time\n\nwhile True:\n    time.sleep(60)\n"),
    ];
    files.push(("config.toml", b"# The blog's own settings.\n[blog]\ntitle = \"Notes\"\nposts = 20\n"));
    let tree = tree(keg, &files)?;
    let extra = json!({ "git": push.git, "ref": "refs/heads/main", "app": "blog" });
    let source = keg.objects().put_commit(&Commit {
        tree: kid_of(&tree),
        parents: push.parent.into_iter().collect(),
        author: ADA.to_owned(),
        time_ms: push.at,
        message: push.message.to_owned(),
        extra: fields(extra),
    })?;
    let txn = Txn::new(ADA, &format!("push to blog: {}", push.message.lines().next().unwrap_or("")));
    keg.commit(txn.set(path("/source/blog")?, Entry::commit(source)))?;
    Ok((source, kid_of(&tree)))
}

fn image(keg: &Keg, push: &Push) -> Result<Kid> {
    let shell = vec![0x7f; 150_000];
    let base = tree(keg, &[
        ("bin/sh*", &shell),
        ("etc/debian_version", b"13.2\n"),
        ("etc/passwd", b"root:x:0:0:root:/root:/bin/sh\n"),
        ("usr/share/doc/libc6/copyright", b"GPL\n"),
    ])?;
    let packages = tree(keg, &[("usr/bin/python3.13*", &vec![1; 600_000])])?;
    let wheels = tree(keg, &[
        ("usr/local/lib/python3.13/dist-packages/flask/__init__.py", b"# flask\n"),
        ("usr/local/bin/gunicorn*", b"#!/usr/bin/python3\n"),
    ])?;
    let app = tree(keg, &[("app/app.py", push.app_py.as_bytes())])?;
    let mut layers = Tree::default();
    for (name, entry) in
        [("00-base", &base), ("10-packages", &packages), ("20-wheels", &wheels), ("30-app", &app)]
    {
        layers.entries.insert(EntryName::new(name)?, entry.clone());
    }
    let config = json!({
        "architecture": "amd64", "os": "linux",
        "config": {
            "Env": ["PATH=/usr/local/bin:/usr/bin:/bin", "PORT=5000", "PYTHONUNBUFFERED=1"],
            "Cmd": ["gunicorn", "app:app"], "WorkingDir": "/app", "User": "1000:1000",
        },
    });
    let mut image = Tree::default();
    image.entries.insert(EntryName::new("layers")?, keg.objects().put_tree(&layers)?);
    image.entries.insert(EntryName::new("rootfs")?, base);
    image.entries.insert(EntryName::new("config.json")?, keg.objects().put_json(&config)?);
    Ok(kid_of(&keg.objects().put_tree(&image)?))
}

const WHEELS: &[(&str, &str)] = &[
    ("blinker", "1.9.0"), ("click", "8.3.1"), ("flask", "3.1.2"), ("gunicorn", "23.0.0"),
    ("itsdangerous", "2.2.0"), ("jinja2", "3.1.6"), ("markupsafe", "3.0.3"), ("werkzeug", "3.1.4"),
];

const DEBIAN: &[(&str, &str)] = &[
    ("base-files", "13.8+deb13u2"), ("bash", "5.2.37-2+b5"), ("ca-certificates", "20250419"),
    ("coreutils", "9.7-3"), ("dash", "0.5.12-12"), ("debianutils", "5.23.2"), ("diffutils", "1:3.10-4"),
    ("dpkg", "1.22.21"), ("findutils", "4.10.0-3"), ("grep", "3.11-4"), ("gzip", "1.13-1"),
    ("libc6", "2.41-12"), ("libexpat1", "2.7.1-2"), ("libffi8", "3.4.8-2"), ("libpython3.13-stdlib", "3.13.5-2"),
    ("libsqlite3-0", "3.46.1-7"), ("libssl3t64", "3.5.4-1"), ("libzstd1", "1.5.7+dfsg-1"),
    ("media-types", "13.0.0"), ("openssl", "3.5.4-1"), ("perl-base", "5.40.1-6"), ("python3", "3.13.5-1"),
    ("python3.13", "3.13.5-2"), ("python3.13-minimal", "3.13.5-2"), ("sed", "4.9-2"), ("tar", "1.35+dfsg-3.1"),
    ("tzdata", "2025b-4"), ("util-linux", "2.41-5"), ("zlib1g", "1:1.3.dfsg+really1.3.1-1+b1"),
];

fn package_rows() -> Vec<Json> {
    let kid = |name: &str| Kid::of_blob(name.as_bytes());
    let wheels = WHEELS.iter().map(|(name, version)| {
        json!({ "name": name, "version": version, "kid": kid(name), "from": "pypi",
                "file": format!("{name}-{version}-py3-none-any.whl") })
    });
    let debian = DEBIAN.iter().map(|(name, version)| {
        json!({ "name": name, "version": version, "kid": kid(name), "from": "debian", "arch": "amd64" })
    });
    wheels.chain(debian).collect()
}

fn build_document(key: &str, source: Kid, tree: Kid, image: Kid, at: i64, stream: &str) -> Json {
    json!({
        "key": key, "app": "blog", "state": "done", "stream": stream,
        "inputs": {
            "source": source, "tree": tree, "pack": Kid::of_blob(b"pack python"), "pack_name": "python",
            "suite": "trixie", "locks": [LOCK], "packages": package_rows(),
        },
        "image": image, "started": rfc3339(at + 120), "finished": rfc3339(at + 1480),
        "seconds": { "detect": 0.021, "import": 0.318, "build": 0.874, "image": 0.147 },
    })
}

fn config(keg: &Keg) -> Result<()> {
    set(keg, ADA, "blog: more room", "/apps/blog/config.json", json!({
        "suite": "trixie", "env": { "BLOG_TITLE": "Notes from the cellar" },
        "scale": { "web": 2, "worker": 1 }, "limits": { "memory": 268_435_456, "cpus": 0.5, "pids": 128 },
        "check": { "path": "/health", "timeout": 20 },
    }))
}

fn processes(keg: &Keg, made: &Made, now: i64) -> Result<(Kid, String)> {
    let mut txn = Txn::new("service/mayor", "blog runs");
    let mut first = None;
    for (kind, index, pid, restarts, state) in
        [("web", 0, 4242, 0, "running"), ("web", 1, 4250, 0, "running"), ("worker", 0, 4261, 2, "backoff")]
    {
        let kid = keg::process::process_kid(MACHINE, "boot", pid, 77, &format!("{kind}{index}"));
        let id = kid.to_hex()[..16].to_owned();
        let command = match kind {
            "web" => json!(["gunicorn", "--bind", "0.0.0.0:5000", "app:app"]),
            _ => json!(["/bin/sh", "-c", "python3 worker.py | tee -a worker.log"]),
        };
        let exit = if state == "backoff" { json!({ "code": 1 }) } else { Json::Null };
        let row = json!({
            "process": kid, "pid": pid, "app": "blog", "type": kind, "index": index, "state": state,
            "image": made.image, "release": made.release, "source": made.source, "build": made.build,
            "user": Kid::of_blob(b"ada"), "started": rfc3339(now - 2 * MINUTE), "restarts": restarts,
            "exit": exit, "port": 5000 + index, "command": command, "stream": format!("app-blog-{kind}-{index}"),
        });
        txn = txn.set_json(path(&format!("/machines/{MACHINE}/processes/{id}.json"))?, row);
        first.get_or_insert((kid, id));
    }
    for (kind, pid) in [("service/front", 4100), ("service/mayor", 4101), ("service/router", 4102)] {
        let kid = keg::process::process_kid(MACHINE, "boot", pid, 77, kind);
        let row = json!({
            "process": kid, "pid": pid, "app": null, "type": kind, "index": 0, "state": "running",
            "started": rfc3339(now - 4000 * MINUTE), "restarts": 0, "exit": null,
            "command": ["keg", "serve", kind.trim_start_matches("service/")],
        });
        txn = txn.set_json(path(&format!("/machines/{MACHINE}/processes/{}.json", &kid.to_hex()[..16]))?, row);
    }
    txn = txn.set_json(path(&format!("/machines/{MACHINE}/apps/blog.json"))?, json!({
        "app": "blog", "release": made.release, "live": made.release, "state": "live", "error": null,
        "url": format!("http://blog.{ROUTER}"), "changed": rfc3339(now - 2 * MINUTE),
        "seconds": { "start": 0.031, "ready": 0.412 },
    }));
    keg.commit(txn)?;
    app_log(keg, now)?;
    Ok(first.expect("there are three"))
}

fn app_log(keg: &Keg, now: i64) -> Result<()> {
    let mut log = keg.streams().create("app-blog-web-0")?;
    let lines = [
        ("err", "[7] [INFO] Starting gunicorn 23.0.0"),
        ("err", "[7] [INFO] Listening at: http://0.0.0.0:5000 (7)"),
        ("err", "[9] [INFO] Booting worker with pid: 9"),
        ("out", "GET / 200 12 ms"),
        ("out", "GET /posts/keg 200 8 ms"),
        ("err", "WARNING <script>alert(1)</script> in a comment was escaped"),
        ("out", "GET /posts/missing 404 2 ms"),
    ];
    for (at, (channel, text)) in lines.iter().enumerate() {
        let time = rfc3339(now - 2 * MINUTE + at as i64 * 731);
        log.line(&format!("{time} web.0 {channel} {text}"))?;
    }
    Ok(())
}

/// An app whose newest push did not build, and that never ran.
fn failed_app(keg: &Keg, now: i64) -> Result<()> {
    let tree = tree(keg, &[("requirements.txt", b"flsk==3\n"), ("app.py", b"import flask\n")])?;
    let git = "00d1f7aa3b5c6d7e8f90a1b2c3d4e5f607182930";
    let source = keg.objects().put_commit(&Commit {
        tree: kid_of(&tree),
        parents: Vec::new(),
        author: "Grace <grace@example.org>".to_owned(),
        time_ms: now - 55 * MINUTE,
        message: "First try".to_owned(),
        extra: fields(json!({ "git": git, "ref": "refs/heads/main", "app": "shop" })),
    })?;
    let build = Kid::of_blob(git.as_bytes()).to_hex()[..16].to_owned();
    let stream = format!("build-{build}-1");
    let mut log = keg.streams().create(&stream)?;
    for line in ["-----> Python", "       Resolving requirements.txt", " !     There is no package called flsk."] {
        log.line(line)?;
    }
    let log = keg.streams().seal(&stream)?;
    let error = json!({
        "step": "import", "message": "There is no package called \"flsk\" on the package index.",
        "hint": "Check its spelling in requirements.txt, line 1. Did you mean flask?",
    });
    let (started, finished) = (rfc3339(now - 55 * MINUTE), rfc3339(now - 55 * MINUTE + 640));
    let txn = Txn::new("service/builder", "shop was not built")
        .set(path("/source/shop")?, Entry::commit(source))
        .set(path(&format!("/builds/{build}/log"))?, log)
        .set_json(path(&format!("/builds/{build}/build.json"))?, json!({
            "key": build, "app": "shop", "state": "failed", "stream": stream,
            "inputs": { "source": source, "tree": kid_of(&tree), "pack_name": "python", "suite": "trixie", "locks": [], "packages": [] },
            "error": error, "started": started, "finished": finished, "seconds": { "detect": 0.02, "import": 0.6 },
        }))
        .set_json(path("/deploys/shop.json")?, json!({
            "app": "shop", "source": source, "build": build, "stream": stream, "cached": false,
            "state": "failed", "error": error, "started": started, "finished": finished,
        }));
    keg.commit(txn)?;
    Ok(())
}

/// An app that is being built now.
fn building_app(keg: &Keg, now: i64) -> Result<(String, String)> {
    let tree = tree(keg, &[("index.html", b"<h1>Map</h1>\n"), ("data/tiles.bin", b"\0\x01")])?;
    let source = keg.objects().put_commit(&Commit {
        tree: kid_of(&tree),
        parents: Vec::new(),
        author: ADA.to_owned(),
        time_ms: now - 8000,
        message: "A map of the cellar".to_owned(),
        extra: fields(json!({ "git": "77aa".repeat(10), "ref": "refs/heads/main", "app": "atlas" })),
    })?;
    let build = Kid::of_blob(b"atlas").to_hex()[..16].to_owned();
    let stream = format!("build-{build}-1");
    let mut log = keg.streams().create(&stream)?;
    log.line("-----> Static site")?;
    log.line("       index.html, 1 other file")?;
    let txn = Txn::new("service/builder", "building atlas")
        .set(path("/source/atlas")?, Entry::commit(source))
        .set_json(path(&format!("/builds/{build}/build.json"))?, json!({
            "key": build, "app": "atlas", "state": "running", "stream": stream,
            "inputs": { "source": source, "tree": kid_of(&tree), "pack_name": "static", "suite": "trixie" },
            "started": rfc3339(now - 7000), "seconds": { "detect": 0.01 },
        }))
        .set_json(path("/deploys/atlas.json")?, json!({
            "app": "atlas", "source": source, "build": build, "stream": stream, "cached": false,
            "state": "building", "started": rfc3339(now - 7000),
        }));
    keg.commit(txn)?;
    Ok((build, stream))
}

/// A live static app with odd names in its source.
fn site(keg: &Keg, now: i64) -> Result<()> {
    let mut source = Tree::default();
    let html = keg.objects().put_bytes(b"<!doctype html><script>alert('site')</script><h1>Hello</h1>\n")?;
    source.entries.insert(EntryName::new("index.html")?, html);
    let odd = keg.objects().put_bytes(b"any bytes may be a name\n")?;
    source.entries.insert(EntryName::new(b"caf\xe9 \"<b>\".txt".to_vec())?, odd);
    source.entries.insert(EntryName::new("latest")?, Entry::symlink("index.html"));
    let tree = keg.objects().put_tree(&source)?;
    let commit = keg.objects().put_commit(&Commit {
        tree: kid_of(&tree),
        parents: Vec::new(),
        author: "Grace <grace@example.org>".to_owned(),
        time_ms: now - 6000 * MINUTE,
        message: "Opening <hours> & directions".to_owned(),
        extra: fields(json!({ "git": "c0ffee".repeat(7)[..40].to_owned(), "ref": "refs/heads/main", "app": "tavern" })),
    })?;
    keg.commit(Txn::new("Grace <grace@example.org>", "push to tavern").set(path("/source/tavern")?, Entry::commit(commit)))?;
    Ok(())
}

const LOCK: &str = "a1b2c3d4e5f60718";

fn packages(keg: &Keg, now: i64) -> Result<()> {
    let flask = tree(keg, &[
        ("flask/__init__.py", b"from .app import Flask as Flask\n"),
        ("flask/app.py", b"class Flask:\n    pass\n"),
        ("flask-3.1.2.dist-info/METADATA", b"Name: flask\nVersion: 3.1.2\n"),
    ])?;
    let libc = tree(keg, &[("usr/lib/x86_64-linux-gnu/libc.so.6*", &vec![7; 90_000]), ("usr/share/doc/libc6/changelog", b"glibc (2.41-12)\n")])?;
    let debian: Vec<Json> = package_rows().into_iter().filter(|row| row["from"] == "debian").collect();
    let pypi: Vec<Json> = package_rows().into_iter().filter(|row| row["from"] == "pypi").collect();
    let txn = Txn::new("service/importer", "imported for blog")
        .set(path("/packages/pypi/wheels/flask-3.1.2-py3-none-any.whl")?, flask)
        .set(path("/packages/debian/trixie/pool/libc6_2.41-12_amd64")?, libc)
        .set_json(path(&format!("/packages/requests/{LOCK}.json"))?, json!({
            "debian": { "suite": "trixie", "packages": ["python3", "ca-certificates"], "base": "essential" },
            "pypi": { "requirements": "flask==3.1.2\ngunicorn==23.0.0\n", "python": "3.13", "suite": "trixie" },
            "by": "build blog",
        }))
        .set_json(path(&format!("/packages/locks/{LOCK}.json"))?, json!({
            "state": "done", "request": LOCK, "stream": format!("import-{LOCK}"),
            "started": rfc3339(now - 1501 * MINUTE), "finished": rfc3339(now - 1500 * MINUTE),
            "debian": { "suite": "trixie", "snapshot": Kid::of_blob(b"snapshot"), "rootfs": Kid::of_blob(b"rootfs"), "recipe": 1, "packages": debian },
            "pypi": { "python": "3.13", "tree": Kid::of_blob(b"wheels"), "packages": pypi },
        }));
    keg.commit(txn)?;
    Ok(())
}
