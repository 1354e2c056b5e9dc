//! A Keg that does not run, cannot be started, or is asked by somebody else.

use std::{
    net::TcpListener,
    process::{Command, Stdio},
};

use keg_tests::{Done, Running, World, http, world::binary};

use super::{fails, refuses};

/// Every command that needs a Keg.
const COMMANDS: [&[&str]; 12] = [
    &["ps"],
    &["apps"],
    &["logs", "blog"],
    &["ls", "/"],
    &["cat", "/source"],
    &["log", "/source"],
    &["diff", "/source", "/apps"],
    &["watch", "/"],
    &["why", "1"],
    &["rollback", "blog"],
    &["import", "pypi", "flask"],
    &["fsck"],
];

/// `keg up` with these arguments, which must end by itself.
fn up(args: &[&str]) -> Done {
    let mut command = Command::new(binary());
    command.arg("up").args(args).env_remove("KEG_HOME").env_remove("KEG_URL");
    Running::start(&mut command).wait()
}

#[test]
fn commands_without_a_keg() {
    // A directory that holds none.
    let world = World::down();
    for args in COMMANDS {
        refuses(&world, args, 3, &["is not a Keg", "keg up --home DIR"]);
    }
    let done = world.keg(&["status"]);
    assert_eq!((done.code, done.err.as_str()), (3, ""));
    assert!(done.out.contains("No Keg is running in") && done.out.contains("keg up --home"));

    // An address at which none answers.
    for args in COMMANDS.into_iter().chain([&["status"][..]]) {
        let mut command = world.keg_command(args);
        command.env_remove("KEG_HOME").env("KEG_URL", "http://127.0.0.1:9");
        let done = Running::start(&mut command).wait();
        fails(&done, 3, &["no Keg answers at http://127.0.0.1:9", "keg up"]);
    }
}

#[test]
fn commands_on_a_keg_that_is_down() {
    let mut world = World::empty();
    world.stop();
    for args in [&["ps"][..], &["logs", "blog"], &["why", "1"], &["rollback", "blog"]] {
        refuses(&world, args, 3, &["no Keg is running in", "start it with `keg up --home"]);
    }
    // What is stored can be read all the same.
    for args in [&["ls", "/"][..], &["log", "/machines"], &["fsck"], &["apps"]] {
        world.keg(args).ok();
    }
    assert_eq!(world.keg(&["status"]).code, 3);
    let mut push = Command::new("git");
    push.args(["ls-remote", &format!("{}/git/blog", world.url)]).stdin(Stdio::null());
    let done = Running::start(&mut push).wait();
    assert!(done.code != 0 && done.err.contains("onnect"), "{done:?}");
}

#[test]
fn homes_that_cannot_be_one() {
    let world = World::down();
    let home = world.home();
    let text = home.to_string_lossy().into_owned();
    let anywhere = ["--listen", "127.0.0.1:0", "--router", "127.0.0.1:0"];
    let at = |home: &str| up(&[&["--home", home], &anywhere[..]].concat());

    fails(&up(&anywhere), 2, &["which directory is the Keg to live in", "--home DIR"]);
    fails(&at("/proc/keg"), 3, &["cannot make /proc/keg", "--home DIR"]);

    std::fs::create_dir(&home).expect("made");
    std::fs::write(home.join("thesis.txt"), "years of work").expect("written");
    fails(&at(&text), 3, &["it holds \"thesis.txt\" already", "--home"]);
    let left: Vec<_> = std::fs::read_dir(&home).expect("there").flatten().collect();
    assert_eq!(left.len(), 1, "nothing was added: {left:?}");
    fails(&at(&format!("{text}/thesis.txt")), 3, &["cannot make", "--home DIR"]);

    // A format of another time.
    std::fs::remove_file(home.join("thesis.txt")).expect("removed");
    std::fs::write(home.join("format.json"), r#"{"format":"keg","version":99}"#).expect("written");
    fails(&at(&text), 3, &["cannot be opened", "99"]);
}

#[test]
fn the_same_home_twice() {
    let world = World::empty();
    let home = world.home().to_string_lossy().into_owned();
    let done = up(&["--home", &home, "--listen", "127.0.0.1:0", "--router", "127.0.0.1:0"]);
    fails(&done, 3, &["a Keg is already running in", "keg status", "--home"]);
    assert_eq!(world.json(&["status"])["running"], true);
    assert_eq!(world.page("/").status, 200);
}

#[test]
fn ports_in_use() {
    let world = World::down();
    let home = world.home().to_string_lossy().into_owned();
    let listener = TcpListener::bind("127.0.0.1:0").expect("a port");
    let taken = listener.local_addr().expect("an address").to_string();
    for (listen, router, option) in
        [(taken.as_str(), "127.0.0.1:0", "--listen"), ("127.0.0.1:0", taken.as_str(), "--router")]
    {
        let done = up(&["--home", &home, "--listen", listen, "--router", router]);
        let hint = format!("choose another port with {option} 127.0.0.1:PORT");
        fails(&done, 3, &[&format!("cannot listen on {taken}"), "in use", &hint]);
    }
    world.assert_gone();
}

#[test]
fn addresses_that_others_reach() {
    for option in ["--listen", "--router"] {
        for address in ["0.0.0.0:7070", "[::]:7070", "192.0.2.1:7070"] {
            let done = up(&["--home", "/tmp/keg-never-made", option, address]);
            fails(&done, 3, &[address, "no access tokens yet", &format!("{option} 127.0.0.1:")]);
        }
    }
    assert!(!std::path::Path::new("/tmp/keg-never-made").exists());
    let done = up(&["--home", "/tmp/keg-never-made", "--listen", "here"]);
    assert_eq!(done.code, 2, "{done:?}");
    assert!(done.err.contains("invalid value 'here' for '--listen"), "{done:?}");
}

#[test]
fn without_root() {
    let world = World::down();
    let home = world.home();
    let up = |drop: &[&str]| {
        let mut command = Command::new("setpriv");
        command.args(drop).arg(binary()).args(["up", "--home"]).arg(&home);
        Running::start(&mut command).wait()
    };
    let done = up(&["--bounding-set=-all", "--inh-caps=-all"]);
    fails(&done, 3, &["keg up needs root: missing CAP_SYS_ADMIN", "CAP_NET_ADMIN", "sudo"]);
    // One line says all that is missing.
    assert_eq!(done.err.lines().filter(|line| line.starts_with("Error: ")).count(), 1);
    assert_eq!(done.err.lines().count(), 2, "{}", done.err);
    let done = up(&["--bounding-set=-mknod", "--inh-caps=-all"]);
    fails(&done, 3, &["missing CAP_MKNOD"]);
    assert!(!done.err.contains("CAP_SYS_ADMIN"), "{}", done.err);
    assert!(!home.exists(), "nothing was made");
}

#[test]
fn requests_from_elsewhere() {
    let world = World::empty();
    let host = world.front.to_string();
    let own = format!("http://{host}");
    let ask = |method: &str, path: &str, headers: &[(&str, &str)], body: &str| {
        http::ask(world.front, method, path, headers, body.as_bytes()).expect("an answer")
    };
    for path in ["/", "/git/blog/info/refs?service=git-upload-pack", "/v2/", "/-/keg.json"] {
        let answer = ask("GET", path, &[("Host", "evil.example")], "");
        assert_eq!(answer.status, 421, "{path}: {answer:?}");
        assert!(answer.body.contains("answers only to localhost"), "{answer:?}");
        assert_eq!(ask("GET", path, &[], "").status, 400, "{path} without a Host");
    }
    let config = "/apps/blog/config.json";
    for origin in ["http://evil.example", "null", "http://blog.localhost:8080"] {
        for (method, path) in [("PUT", config), ("POST", "/git/blog/git-receive-pack")] {
            let headers = [
                ("Host", host.as_str()),
                ("Origin", origin),
                ("Content-Type", "application/json"),
                ("If-None-Match", "*"),
            ];
            let answer = ask(method, path, &headers, "{}");
            assert_eq!(answer.status, 403, "{origin} {path}: {answer:?}");
            assert!(answer.body.contains("other sites"), "{answer:?}");
        }
    }
    assert_eq!(world.page(&format!("{config}?json")).status, 404, "nothing was set");
    let same = [
        ("Host", host.as_str()),
        ("Origin", own.as_str()),
        ("Content-Type", "application/json"),
        ("If-None-Match", "*"),
    ];
    assert!(ask("PUT", config, &same, "{}").status < 300);
}
