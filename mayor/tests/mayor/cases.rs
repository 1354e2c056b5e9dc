//! Releases, scale, sockets: what goes right.

use std::time::{Duration, Instant};

use serde_json::json;

use crate::Case;
use crate::world::{World, alive, until};

pub const CASES: &[Case] = &[
    ("a_release_comes_alive", a_release_comes_alive),
    ("the_next_release_takes_over", the_next_release_takes_over),
    ("environment_and_user", environment_and_user),
    ("passed_socket", passed_socket),
    ("workers_and_scale", workers_and_scale),
    ("the_same_again_starts_nothing", the_same_again_starts_nothing),
    ("an_app_that_is_removed", an_app_that_is_removed),
    ("networks_are_apart", networks_are_apart),
    ("idle_memory", idle_memory),
];

fn a_release_comes_alive(world: &mut World) {
    let release = world.release("blog", &[("web", "http one")], json!({}));
    let begun = Instant::now();
    world.start_mayor(&[]);
    let app = world.until_state("blog", release, "live");
    println!("    start to live: {} ms, {}", begun.elapsed().as_millis(), app["seconds"]);
    assert_eq!(app["live"], release.to_string());
    assert_eq!(app["url"], "http://blog.localhost:8080");
    assert!(app["seconds"]["ready"].as_f64().expect("measured") < 5.0);
    assert_eq!(world.ask("blog").as_deref(), Some("one"));
    let rows = world.rows("blog");
    assert_eq!(rows.len(), 1);
    let row = &rows[0];
    assert_eq!(
        (&row["type"], &row["index"], &row["state"]),
        (&json!("web"), &json!(0), &json!("running"))
    );
    assert_eq!((&row["restarts"], &row["port"]), (&json!(0), &json!(5000)));
    assert_eq!(row["stream"], "app_blog_web_0");
    assert_eq!(row["command"], json!(["/app/program", "app", "http", "one"]));
    assert!(alive(row));
    let log = world.log("app_blog_web_0");
    assert!(log.trim_end().ends_with(" web.0 out app http one"), "{log}");
    world.end_mayor(libc::SIGTERM);
    assert!(!alive(row), "stopping stops the apps");
    assert_eq!(world.leftovers(), Vec::<String>::new());
    assert!(world.rows("blog").is_empty());
    assert_eq!(world.app("blog")["live"], release.to_string(), "what was assigned stays known");
}

fn the_next_release_takes_over(world: &mut World) {
    let first = world.release("blog", &[("web", "http one")], json!({}));
    world.start_mayor(&[]);
    world.until_state("blog", first, "live");
    let old = world.rows("blog").remove(0);
    let second = world.release("blog", &[("web", "http two")], json!({}));
    let begun = Instant::now();
    let mut gaps = 0;
    until("the second release", || {
        let answer = world.ask("blog");
        gaps += usize::from(answer.is_none());
        answer.as_deref() == Some("two")
    });
    println!("    release to answer: {} ms", begun.elapsed().as_millis());
    assert_eq!(gaps, 0, "there was always an answer");
    assert_eq!(world.app("blog")["live"], second.to_string());
    until("the old process to be gone", || !alive(&old) && world.rows("blog").len() == 1);
    let row = world.rows("blog").remove(0);
    assert_eq!((row["release"].clone(), row["state"].clone()), (json!(second), json!("running")));
}

fn environment_and_user(world: &mut World) {
    let config = json!({"env": {"COLOR": "blue", "OWN": "1"}, "check": {"path": "/x?y=1"}});
    let release = world.release("blog", &[("web", "env")], config);
    world.start_mayor(&[]);
    world.until_state("blog", release, "live");
    let text = world.ask("blog").expect("an answer");
    let wants = [
        "COLOR=blue",
        "IMAGE=yes",
        "OWN=1",
        "PORT=5000",
        "HOME=/app",
        "host=blog",
        "writes=true",
        "Uid:\t20000\t20000\t20000\t20000",
    ];
    for want in wants {
        assert!(text.lines().any(|line| line == want), "{want} in:\n{text}");
    }
    assert!(!text.contains("KEG_"), "{text}");
}

fn passed_socket(world: &mut World) {
    let release = world.release("blog", &[("web", "socket hi")], json!({"socket": true}));
    world.start_mayor(&[]);
    world.until_state("blog", release, "live");
    assert_eq!(world.ask("blog").as_deref(), Some("hi"));
}

fn workers_and_scale(world: &mut World) {
    let types = [("web", "http one"), ("worker", "work"), ("cron", "work")];
    let release = world.release("blog", &types, json!({"scale": {"worker": 1}}));
    world.start_mayor(&[]);
    world.until_state("blog", release, "live");
    let kinds = |world: &World| -> Vec<String> {
        let rows = world.rows("blog");
        let running = rows.iter().filter(|row| row["state"] == "running");
        running.map(|r| format!("{}.{}", r["type"].as_str().expect("a type"), r["index"])).collect()
    };
    assert_eq!(kinds(world), ["web.0", "worker.0"]);
    let web = world.rows("blog").remove(0);
    world.set("/apps/blog/config.json", json!({"scale": {"web": 2, "worker": 0, "cron": 1}}));
    until("the new scale", || kinds(world) == ["cron.0", "web.0", "web.1"]);
    let backends = |world: &World| {
        let route = world.json(&world.machine("routes/blog.json"));
        route["backends"].as_array().map_or(0, Vec::len)
    };
    until("two backends", || backends(world) == 2);
    assert!(alive(&web), "what was there is not restarted");
    world.set("/apps/blog/config.json", json!({"scale": {"web": 0}}));
    until("nothing to run", || world.rows("blog").is_empty());
    assert_eq!(backends(world), 0);
    assert!(!alive(&web));
}

fn the_same_again_starts_nothing(world: &mut World) {
    let first = world.release("blog", &[("web", "http one")], json!({}));
    world.start_mayor(&[]);
    world.until_state("blog", first, "live");
    let row = world.rows("blog").remove(0);
    std::thread::sleep(Duration::from_millis(5));
    let second = world.release("blog", &[("web", "http one")], json!({"scale": {"web": 1}}));
    assert_ne!(first, second);
    world.until_state("blog", second, "live");
    let again = world.rows("blog").remove(0);
    assert_eq!((&again["pid"], &again["process"]), (&row["pid"], &row["process"]));
    assert_eq!(again["release"], second.to_string());
    let before = world.keg.head().expect("a head").seq;
    std::thread::sleep(Duration::from_millis(200));
    assert_eq!(world.keg.head().expect("a head").seq, before, "an idle mayor writes nothing");
}

fn an_app_that_is_removed(world: &mut World) {
    let release = world.release("blog", &[("web", "http one")], json!({}));
    world.start_mayor(&[]);
    world.until_state("blog", release, "live");
    world.remove("/oci-images/blog");
    until("nothing of it", || {
        world.app("blog").is_null()
            && world.rows("blog").is_empty()
            && world.json(&world.machine("routes/blog.json")).is_null()
            && world.leftovers().is_empty()
    });
}

/// An app reaches neither the host's loopback nor another app.
fn networks_are_apart(world: &mut World) {
    let listener = std::net::TcpListener::bind("127.0.0.1:0").expect("a socket");
    let host = listener.local_addr().expect("an address");
    let other = world.release("other", &[("web", "http hi")], json!({}));
    let one = world.release("one", &[("web", &format!("reach {host}"))], json!({}));
    let two = world.release("two", &[("web", "reach 10.11.12.13:80")], json!({}));
    world.start_mayor(&[]);
    for (app, release) in [("other", other), ("one", one), ("two", two)] {
        world.until_state(app, release, "live");
    }
    for app in ["one", "two"] {
        let answer = world.ask(app).expect("an answer");
        assert!(answer.starts_with("refused: "), "{app}: {answer}");
    }
}

fn idle_memory(world: &mut World) {
    let release = world.release("blog", &[("web", "http one")], json!({}));
    world.start_mayor(&[]);
    world.until_state("blog", release, "live");
    let status = std::fs::read_to_string(format!("/proc/{}/status", world.mayor_pid()));
    let status = status.expect("a live mayor");
    let field = |name: &str| status.lines().find(|l| l.starts_with(name)).unwrap_or("").to_owned();
    println!("    {} {}", field("VmRSS:"), field("Threads:"));
    assert!(field("Threads:").ends_with("\t1"), "one thread");
}
