//! Releases that fail, go back, scale, crash, and outlive `keg up`.

use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};

use keg_tests::{Repo, World, http, look::runs, netns, until};
use serde_json::{Value as Json, json};

/// Port of web processes inside their own network.
const PORT: u16 = 5000;

/// An app whose first release, with the word "one", is live.
fn blog(world: &World) -> Repo {
    let repo = world.probe("blog");
    repo.push().ok();
    repo
}

fn edit(repo: &Repo, from: &str, to: &str) {
    let app = std::fs::read_to_string(repo.path().join("app.py")).expect("there");
    assert!(app.contains(from), "{from:?}");
    repo.write("app.py", &app.replace(from, to));
    repo.commit(to);
}

fn process(world: &World) -> Json {
    let rows = world.ps("blog");
    assert_eq!(rows.len(), 1, "{rows:?}");
    rows[0]["process"].clone()
}

/// Asks again and again while `work` runs; each answer is 200. Gives how many there were.
fn without_a_refusal(world: &World, work: impl FnOnce()) -> usize {
    let (over, count) = (AtomicBool::new(false), AtomicUsize::new(0));
    std::thread::scope(|scope| {
        scope.spawn(|| {
            while !over.load(Ordering::Relaxed) {
                let answer = world.get("blog", "/");
                assert_eq!(answer.status, 200, "{answer:?}");
                count.fetch_add(1, Ordering::Relaxed);
            }
        });
        work();
        over.store(true, Ordering::Relaxed);
    });
    count.into_inner()
}

#[test]
fn a_failed_build_leaves_the_running_release() {
    let world = World::with_python();
    let repo = blog(&world);
    let before = process(&world);
    repo.write("Procfile", "web python app.py\n");
    repo.commit("Broken");
    repo.push().refused(&["Procfile", "line 1"]);
    assert_eq!(world.get("blog", "/").body, "one");
    assert_eq!(process(&world), before);
    // What was pushed is kept as source, and the next push that builds is deployed.
    assert_eq!(world.keg(&["cat", "/source/blog/Procfile"]).ok(), "web python app.py\n");
    repo.write("Procfile", "web: python app.py\n");
    edit(&repo, "WORD = \"one\"", "WORD = \"two\"");
    repo.push().ok();
    assert_eq!(world.get("blog", "/").body, "two");
}

#[test]
fn a_release_that_does_not_come_up_leaves_the_old_one_serving() {
    let world = World::with_python();
    let repo = blog(&world);
    world.configure("blog", &json!({ "check": { "timeout": 8 } }));
    let machine = machine(&world);
    until("the new configuration to be live, and the former process gone", || {
        let read = |path: &str| -> Option<Json> {
            serde_json::from_str(&world.keg(&["cat", path]).out).ok()
        };
        let app = read(&format!("/machines/{machine}/apps/blog.json"))?;
        let deploy = read("/deploys/blog.json")?;
        let live = deploy["release"] == app["live"] && !deploy["config"].is_null();
        (live && world.ps("blog").len() == 1).then_some(())
    });
    let before = process(&world);
    let good = std::fs::read_to_string(repo.path().join("app.py")).expect("there");
    for (app, words) in [
        ("raise SystemExit('no database')\n", ["no database", "exited with code 1"]),
        ("import time\ntime.sleep(1000)\n", ["did not answer within 8 s", "nothing listens"]),
        ("import nothing_of_that_name\n", ["ModuleNotFoundError", "exited with code 1"]),
    ] {
        repo.write("app.py", app);
        repo.commit("Broken");
        repo.push().refused(&words);
        assert_eq!(world.get("blog", "/").body, "one", "{app}");
        assert_eq!(process(&world), before, "{app}");
        let status = world.json(&["apps"]).to_string();
        assert!(status.contains(words[0]), "keg apps says why: {status}");
    }
    repo.write("app.py", &good.replace("WORD = \"one\"", "WORD = \"two\""));
    repo.commit("Mended");
    repo.push().ok();
    assert_eq!(world.get("blog", "/").body, "two");
    world.assert_clean();
}

/// This machine's name.
fn machine(world: &World) -> String {
    let status = world.json(&["ls", "/machines"]);
    status[0]["name"].as_str().expect("a machine").trim_end_matches('/').to_owned()
}

#[test]
fn a_release_can_be_taken_back_without_a_refused_request() {
    let world = World::with_python();
    let repo = blog(&world);
    edit(&repo, "WORD = \"one\"", "WORD = \"two\"");
    repo.push().ok();
    let second =
        world.ps("blog").iter().find(|row| row["state"] == "running").expect("runs")["release"]
            .as_str()
            .expect("a KID")
            .to_owned();
    let asked = without_a_refusal(&world, || {
        let back = world.json(&["rollback", "blog"]);
        assert_eq!((&back["app"], &back["state"]), (&json!("blog"), &json!("live")));
        assert_eq!(world.get("blog", "/").body, "one");
    });
    assert!(asked > 0);
    // By KID, also a short one, and to where it is already.
    without_a_refusal(&world, || {
        assert!(world.keg(&["rollback", "blog", &second[..14]]).ok().contains("live at http"));
        assert_eq!(world.get("blog", "/").body, "two");
    });
    for (release, words) in [("K-00000000", "K-00000000"), ("nonsense", "nonsense")] {
        let done = world.keg(&["rollback", "blog", release]);
        assert_eq!(done.code, 1, "{done:?}");
        assert!(done.err.contains(words), "{}", done.err);
    }
    assert_eq!(world.get("blog", "/").body, "two");
    // A push after it is a push as any other.
    edit(&repo, "WORD = \"two\"", "WORD = \"three\"");
    repo.push().ok();
    assert_eq!(world.get("blog", "/").body, "three");
    world.assert_clean();
}

#[test]
fn types_scale_by_configuration() {
    let world = World::with_python();
    let repo = blog(&world);
    let first = process(&world);
    let running = |want: &[&str]| {
        until(&format!("{want:?}"), || {
            let rows = world.ps("blog");
            let all = rows.iter().all(|row| row["state"] == "running");
            let name =
                |row: &Json| format!("{}.{}", row["type"].as_str().unwrap_or(""), row["index"]);
            let mut names: Vec<String> = rows.iter().map(name).collect();
            names.sort_unstable();
            (all && names == want).then_some(rows)
        })
    };
    world.configure("blog", &json!({ "scale": { "web": 2, "worker": 1 } }));
    let rows = running(&["web.0", "web.1", "worker.0"]);
    assert!(rows.iter().any(|row| row["process"] == first), "the first one goes on: {rows:?}");
    until("both to be asked", || {
        let ask = |_| world.value("blog", "[line for line in open('/proc/self/mountinfo')][0]");
        let roots: Vec<String> = (0..8).map(ask).collect();
        roots.iter().any(|root| *root != roots[0]).then_some(())
    });
    until("the worker's log", || {
        world.keg(&["logs", "blog"]).out.contains("worker.0 out working").then_some(())
    });
    // The next release has the same scale.
    edit(&repo, "WORD = \"one\"", "WORD = \"two\"");
    repo.push().ok();
    running(&["web.0", "web.1", "worker.0"]);
    world.configure("blog", &json!({ "scale": { "web": 1 } }));
    running(&["web.0"]);
    assert_eq!(world.get("blog", "/").body, "two");
}

#[test]
fn what_an_app_prints_is_kept_and_shown() {
    let world = World::with_python();
    blog(&world);
    let (out, err) = ("web.0 out serving one", "web.0 err a line on standard error");
    until("both lines in keg logs", || {
        let log = world.keg(&["logs", "blog"]).ok();
        (log.contains(out) && log.contains(err)).then_some(())
    });
    let rows = world.keg(&["logs", "blog", "--json"]).ok();
    let rows: Vec<Json> =
        rows.lines().map(|line| serde_json::from_str(line).expect("JSON")).collect();
    assert!(
        rows.iter().any(|row| row["stream"] == "err" && row["text"] == "a line on standard error")
    );
    let id = &world.ps("blog")[0]["process"].as_str().expect("a KID")[2..18].to_owned();
    let page = world.page(&format!("/machines/{}/processes/{id}.json", machine(&world)));
    assert!(page.body.contains("serving one"), "the process's page shows its log: {}", page.body);
}

#[test]
fn a_process_that_dies_is_started_again_with_growing_pauses() {
    let world = World::with_python();
    blog(&world);
    for restarts in 1..=3 {
        let before = world.ps("blog").remove(0);
        let answer = world.get("blog", "/die");
        assert!([502, 503].contains(&answer.status), "{answer:?}");
        let after = until("another process to answer", || {
            let row = world.ps("blog").pop()?;
            (row["restarts"] == restarts && row["state"] == "running").then_some(row)
        });
        assert_eq!(world.get("blog", "/").body, "one");
        assert_ne!(before["pid"], after["pid"]);
        assert_ne!(before["process"], after["process"]);
        assert_eq!(after["exit"]["code"], 7, "how the one before it ended: {after}");
    }
    let log = world.keg(&["logs", "blog"]).ok();
    assert_eq!(log.matches("it exited with code 7").count(), 3, "the log says so: {log}");
    world.assert_clean();
}

#[test]
fn an_app_can_take_a_passed_socket() {
    let world = World::with_python();
    world.configure("blog", &json!({ "socket": true }));
    blog(&world);
    assert!(world.get("blog", "/pid").body.contains("\"passed\": true"));
    world.configure("hello", &json!({ "socket": true }));
    let repo = world.repo("hello");
    repo.copy(&Repo::project("examples/hello-socket"));
    repo.write(".python-version", &keg_tests::python_version());
    repo.commit("The example");
    repo.push().ok();
    let answer = world.get("hello", "/").body;
    assert!(
        answer.starts_with("Hello from process") && answer.contains("a passed socket"),
        "{answer}"
    );
}

#[test]
fn without_keep_everything_stops() {
    let mut world = World::with_python();
    blog(&world);
    let pid = pid(&world);
    let done = world.stop();
    assert_eq!(done.code, 0, "{}", done.err);
    assert!(!runs(pid));
    world.assert_gone();
    // What was assigned comes back.
    world.start();
    until("the app to be back", || (world.get("blog", "/").body == "one").then_some(()));
    let rows = world.ps("blog");
    assert_eq!(rows.len(), 1, "{rows:?}");
}

#[test]
fn an_app_that_does_not_want_to_end_is_ended() {
    let mut world = World::with_python();
    world.configure("blog", &json!({ "grace": 600 }));
    let repo = world.probe("blog");
    edit(&repo, "lambda *_: os._exit(0)", "signal.SIG_IGN");
    repo.push().ok();
    let pid = pid(&world);
    let done = world.stop();
    assert_eq!(done.code, 0, "{}", done.err);
    assert!(!runs(pid));
    world.assert_gone();
}

fn pid(world: &World) -> i32 {
    world.ps("blog")[0]["pid"].as_i64().expect("a number") as i32
}

#[test]
fn kept_apps_go_on_without_keg_and_are_taken_over() {
    let mut world = World::down();
    world.lend_python();
    world.start_with(&["--keep"]);
    blog(&world);
    world.configure("blog", &json!({ "scale": { "web": 1, "worker": 1 } }));
    let pids = |world: &World| {
        let rows = world.ps("blog");
        let mut pids: Vec<i64> = rows.iter().filter_map(|row| row["pid"].as_i64()).collect();
        pids.sort_unstable();
        let running = rows.iter().all(|row| row["state"] == "running");
        (running && pids.len() == 2).then_some(pids)
    };
    let before = until("both processes", || pids(&world));
    let web = pid_of(&world, "web");
    let done = world.stop();
    assert_eq!(done.code, 0, "{}", done.err);
    assert!(before.iter().all(|pid| runs(*pid as i32)), "they go on");
    let ask = || {
        let inside = ([127, 0, 0, 1], PORT).into();
        http::ask(inside, "GET", "/", &[("Host", "blog.localhost")], b"")
    };
    let answer = netns::inside(web, ask).expect("it answers without Keg");
    assert_eq!((answer.status, answer.body.as_str()), (200, "one"));
    world.start_with(&["--keep"]);
    assert_eq!(until("both processes", || pids(&world)), before, "the same processes");
    assert!(world.ps("blog").iter().all(|row| row["restarts"] == 0));
    assert_eq!(world.get("blog", "/").body, "one");
    // One that dies while nobody looks is started again.
    world.stop();
    netns::inside(web, || {
        let inside = ([127, 0, 0, 1], PORT).into();
        http::ask(inside, "GET", "/die", &[("Host", "blog.localhost")], b"")
    })
    .expect("it was asked");
    until("it to die", || (!runs(web)).then_some(()));
    world.start();
    let after =
        until("another process in its place", || pids(&world).filter(|after| *after != before));
    assert_eq!(after.iter().filter(|pid| before.contains(pid)).count(), 1, "{before:?} {after:?}");
    assert_eq!(world.get("blog", "/").body, "one");
    let done = world.stop();
    assert_eq!(done.code, 0, "{}", done.err);
    world.assert_gone();
}

fn pid_of(world: &World, kind: &str) -> i32 {
    let rows = world.ps("blog");
    let row = rows.iter().find(|row| row["type"] == kind).expect("such a process");
    row["pid"].as_i64().expect("a number") as i32
}
