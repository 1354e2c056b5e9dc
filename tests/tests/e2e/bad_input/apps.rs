//! Apps that cannot be built, crash, or never answer; and what git keeps in ways of its own.

use std::{
    io::{Read as _, Write as _},
    net::TcpListener,
    os::unix::fs::{PermissionsExt as _, symlink},
    path::PathBuf,
};

use keg_tests::{Repo, World, http};
use serde_json::json;

/// Pushes a first version that runs, then lets `spoil` break it; the push must fail with these
/// words, the source be kept and the former release answer.
#[track_caller]
fn check(world: &World, app: &str, spoil: impl Fn(&Repo), words: &[&str]) {
    let repo = world.probe(app);
    repo.push().ok();
    let before = world.ps(app).remove(0);
    spoil(&repo);
    let git = repo.commit("Broken");
    let kept = ["the source is kept as K-", "what ran before still runs", "[remote rejected]"];
    repo.push().refused(words).refused(&kept);
    let source = world.json(&["cat", &format!("/source/{app}")]);
    assert_eq!(source["extra"]["git"], json!(git));
    assert_eq!(world.get(app, "/").body, "one");
    let after = world.ps(app);
    assert_eq!((after.len(), &after[0]["process"]), (1, &before["process"]));
    let apps = world.json(&["apps"]);
    let apps = apps.as_array().map(Vec::as_slice).unwrap_or_default();
    let row = apps.iter().find(|row| row["app"] == app).expect("a row");
    assert_eq!((&row["state"], &row["live"]), (&json!("failed"), &before["release"]));
    world.assert_clean();
}

#[test]
fn a_procfile_with_a_syntax_error() {
    let words = [
        "Procfile line 2: \"worker python app.py\" has no \":\" between type and command",
        "correct that line of the Procfile",
        "build failed: detect:",
    ];
    let spoil = |repo: &Repo| {
        repo.write("Procfile", "web: python app.py\nworker python app.py\n");
    };
    check(&World::with_python(), "blog", spoil, &words);
}

#[test]
fn a_package_that_does_not_exist() {
    let mut world = World::with_python();
    world.set_variable("PIP_INDEX_URL", &empty_index());
    let words = [
        "requirements asks for no-such-package-of-keg, but the index has no such package",
        "check the name: a package's name may differ from the module that is imported",
        "build failed: import:",
    ];
    // The importer is started by keg up, which has to know the index.
    world.stop();
    world.start();
    let spoil = |repo: &Repo| {
        repo.write("requirements.txt", "no-such-package-of-keg==1\n");
    };
    check(&world, "blog", spoil, &words);
}

/// An index on loopback that has no package.
#[expect(clippy::disallowed_methods, reason = "a server for a test, beside it")]
fn empty_index() -> String {
    let listener = TcpListener::bind("127.0.0.1:0").expect("a port");
    let address = listener.local_addr().expect("an address");
    std::thread::spawn(move || {
        for stream in listener.incoming() {
            let Ok(mut stream) = stream else { continue };
            let mut request = [0; 4096];
            let _ = stream.read(&mut request);
            let answer = "HTTP/1.1 404 Not Found\r\nContent-Length: 0\r\nConnection: close\r\n\r\n";
            let _ = stream.write_all(answer.as_bytes());
        }
    });
    format!("http://{address}/simple")
}

#[test]
fn registry_a_package_that_does_not_exist() {
    if !keg_tests::network() {
        return;
    }
    let world = World::with_python();
    let words = ["asks for no-such-package-of-keg", "no such package", "check the name"];
    let spoil = |repo: &Repo| {
        repo.write("requirements.txt", "no-such-package-of-keg\n");
    };
    check(&world, "blog", spoil, &words);
}

#[test]
fn an_app_that_crashes_at_start() {
    let app = "import sys\nprint('reading settings', flush=True)\n\
               sys.exit('SettingsError: DATABASE_URL is not set')\n";
    let words = [
        "start failed: web.0 ended while starting: it exited with code 1. Its last lines:",
        "reading settings",
        "SettingsError: DATABASE_URL is not set",
        "correct what its last lines say, and push again",
    ];
    let world = World::with_python();
    check(
        &world,
        "blog",
        |repo| {
            repo.write("app.py", app);
        },
        &words,
    );
    // Its words are in the logs as well, and the router's answer names them for an app that never
    // ran.
    let logs = world.keg(&["logs", "blog"]).ok();
    assert!(logs.contains("SettingsError"), "{logs}");
    let repo = world.probe("new");
    repo.write("app.py", app);
    repo.commit("Broken from the start");
    repo.push().refused(&words);
    let answer = world.get("new", "/");
    assert_eq!(answer.status, 503, "{answer:?}");
    assert!(answer.body.contains("SettingsError") && answer.body.contains("keg logs new"));
}

#[test]
fn a_command_that_does_not_exist() {
    let words = ["start failed: web.0", "127", "check the command in the Procfile"];
    let spoil = |repo: &Repo| {
        repo.write("Procfile", "web: gunicorm app:app\n");
    };
    check(&World::with_python(), "blog", spoil, &words);
}

#[test]
fn an_app_that_never_listens() {
    let world = World::with_python();
    world.configure("blog", &json!({"check": {"timeout": 2}}));
    let words = [
        "start failed: web.0 did not answer within 2 s: nothing listens on port",
        "listen on the port in $PORT",
        "raise check.timeout",
    ];
    let spoil = |repo: &Repo| {
        repo.write("Procfile", "web: sleep 1000\n");
    };
    check(&world, "blog", spoil, &words);
}

#[test]
fn a_configuration_that_is_none() {
    let world = World::with_python();
    let repo = world.probe("blog");
    repo.push().ok();
    let host = world.front.to_string();
    let headers =
        [("Host", host.as_str()), ("Content-Type", "application/json"), ("If-None-Match", "*")];
    for (config, word) in [
        ("{\"scale\": {\"web\": \"many\"}}", "scale must be"),
        ("{\"env\": {\"A\": 1}}", "env must be"),
        ("[]", "must be a JSON object"),
        ("{", "not JSON"),
    ] {
        let path = "/apps/blog/config.json";
        let answer = http::ask(world.front, "PUT", path, &headers, config.as_bytes());
        let answer = answer.expect("an answer");
        assert!([400, 422].contains(&answer.status), "{config}: {answer:?}");
        assert!(answer.body.contains(word), "{config}: {answer:?}");
    }
    assert_eq!(world.page("/apps/blog/config.json?json").status, 404, "nothing was set");

    // One that got in by another way fails as a deploy does, and can be mended.
    let keg = keg::Keg::open(&world.home()).expect("a Keg");
    let set = |config| {
        let path = "/apps/blog/config.json".parse().expect("a path");
        keg.commit(keg::Txn::new("test", "configuration").set_json(path, config)).expect("set");
    };
    set(json!({"limits": {"memory": 1}}));
    let row = app_in_state(&world, "failed");
    let text = |field: &str| row["error"][field].as_str().unwrap_or_default().to_owned();
    assert!(text("message").contains("limits.memory: at least 4194304 bytes"), "{row}");
    assert!(!text("hint").is_empty(), "{row}");
    assert_eq!(world.get("blog", "/").body, "one");
    set(json!({}));
    app_in_state(&world, "live");
    assert_eq!(world.get("blog", "/").body, "one");
}

/// Waits for the only app to be in a state.
fn app_in_state(world: &World, state: &str) -> serde_json::Value {
    keg_tests::until(state, || {
        let row = world.json(&["apps"])[0].clone();
        (row["state"] == state).then_some(row)
    })
}

#[test]
fn what_git_keeps_in_ways_of_its_own_is_right_in_the_container() {
    let world = World::with_python();
    let library = Repo::new("http://127.0.0.1:1", "lib");
    library.write("lib.c", "int x;\n").commit("A library");
    let repo = world.probe("blog");
    symlink("app.py", repo.path().join("link")).expect("a link");
    symlink("/nowhere/at/all", repo.path().join("dangling")).expect("a link");
    repo.write("bin/run", "#!/bin/sh\n").write("bin/data", "x\n");
    let mode = std::fs::Permissions::from_mode(0o755);
    std::fs::set_permissions(repo.path().join("bin/run"), mode).expect("executable");
    let pointer = "version https://git-lfs.github.com/spec/v1\noid sha256:00\nsize 12\n";
    repo.write("big.bin", pointer);
    let path = library.path().to_string_lossy().into_owned();
    let add = ["-c", "protocol.file.allow=always", "submodule", "add", "-q", &path, "vendor/lib"];
    repo.git(&add).ok();
    repo.commit("All kinds");
    let push = repo.push().ok();
    for line in [
        "!     submodule vendor/lib",
        "the build sees an empty directory there",
        "git subtree add",
        "!     big.bin is a Git LFS pointer",
        "git lfs migrate export --include=\"big.bin\"",
    ] {
        assert!(push.said.contains(line), "{line:?} in\n{}", push.said);
    }
    let pid = world.ps("blog")[0]["pid"].as_u64().expect("a pid");
    let app = PathBuf::from(format!("/proc/{pid}/root/app"));
    let link = |name: &str| std::fs::read_link(app.join(name)).expect("a link");
    assert_eq!(link("link"), PathBuf::from("app.py"));
    assert_eq!(link("dangling"), PathBuf::from("/nowhere/at/all"));
    let mode = |name: &str| app.join(name).metadata().expect("there").permissions().mode() & 0o777;
    assert_eq!((mode("bin/run"), mode("bin/data")), (0o755, 0o644));
    assert_eq!(std::fs::read_to_string(app.join("big.bin")).expect("there"), pointer);
    let vendored = std::fs::read_dir(app.join("vendor/lib")).expect("a directory").count();
    assert_eq!(vendored, 0);
    world.assert_clean();
}
