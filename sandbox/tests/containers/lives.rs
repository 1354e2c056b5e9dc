//! How containers are watched over: signals, logs, limits, and the death of supervisors.

use std::fs;
use std::net::TcpListener;
use std::os::fd::AsRawFd;
use std::process::Child;
use std::time::{Duration, Instant};

use sandbox::record::{self, Outcome, PidRecord};
use sandbox::{Exit, Network, Output, Spec, netns};

use crate::Case;
use crate::world::{World, eventually};

pub const CASES: &[Case] = &[
    ("under_init", under_init),
    ("term_ignored", term_ignored),
    ("stopped_in_set_up", stopped_in_set_up),
    ("lines", lines),
    ("lines_turn_over", lines_turn_over),
    ("no_line_is_lost_at_the_end", no_line_is_lost_at_the_end),
    ("memory_limit", memory_limit),
    ("process_limit", process_limit),
    ("processor_limit", processor_limit),
    ("small_supervisor", small_supervisor),
    ("death_of_the_supervisor", death_of_the_supervisor),
    ("passed_socket", passed_socket),
    ("joined_network", joined_network),
    ("many_at_once", many_at_once),
];

fn signal(pid: u32, signal: i32) {
    // SAFETY: plain system call; the process is ours and not reaped.
    unsafe { libc::kill(pid as i32, signal) };
}

fn started(spec: &Spec) -> (Child, PidRecord) {
    let shim = sandbox::spawn(spec).expect("it starts");
    let mut found = None;
    eventually("a pid record", || {
        if let Ok(Outcome::Started(record)) = record::outcome(&spec.dir()) {
            found = Some(record);
        }
        found.is_some()
    });
    (shim, found.expect("just found"))
}

fn ended(mut shim: Child, spec: &Spec) -> Exit {
    shim.wait().expect("the shim ends");
    match record::outcome(&spec.dir()).expect("records") {
        Outcome::Exited(exit) => exit,
        other => panic!("{other:?}"),
    }
}

/// Output as lines of a log in the file `log`.
fn logged(world: &World, mut spec: Spec) -> Spec {
    let to = |tag: &str| Output::Lines { path: world.path("log"), tag: tag.into() };
    (spec.stdout, spec.stderr) = (to("web.0 out"), to("web.0 err"));
    spec
}

fn under_init(world: &World) {
    let run = |script: &str| {
        let mut spec = world.spec(script);
        spec.init = true;
        world.run(&spec)
    };
    let (exit, text) = run("echo $$; cat /proc/1/comm; exit 4");
    assert_eq!((exit.code, text.as_str()), (Some(4), "2\nkeg-init\n"));
    // The signal comes through although PID 1 itself cannot die of it.
    let (exit, _) = run("kill -KILL $$");
    assert_eq!(exit, Exit { code: None, signal: Some(9), oom: false });
    // Orphans are reaped: only init, the shell and ps itself are left.
    let (_, text) = run("(true & true); sleep 0.1; ls /proc | grep -c '^[0-9]'");
    assert_eq!(text, "4\n");
    let mut spec = world.spec("sleep 100");
    spec.init = true;
    spec.args = vec!["sleep".into(), "100".into()];
    let (shim, _) = started(&spec);
    std::thread::sleep(Duration::from_millis(20));
    signal(shim.id(), libc::SIGTERM);
    assert_eq!(ended(shim, &spec).signal, Some(libc::SIGTERM));
}

fn term_ignored(world: &World) {
    for (how, want_ms) in [(libc::SIGTERM, 900..2900), (libc::SIGQUIT, 0..900)] {
        let mut spec = world.spec("trap '' TERM; echo up; while :; do sleep 0.1; done");
        spec.grace = 1;
        let (shim, _) = started(&spec);
        eventually("output", || world.output().contains("up"));
        let begun = Instant::now();
        signal(shim.id(), how);
        assert_eq!(ended(shim, &spec).signal, Some(libc::SIGKILL));
        let took = begun.elapsed().as_millis();
        assert!(want_ms.contains(&took), "signal {how}: {took} ms");
    }
}

/// Told to stop at any moment of its start, a container ends and leaves nothing.
fn stopped_in_set_up(world: &World) {
    for ms in 0..12 {
        let mut spec = world.spec("sleep 100");
        (spec.init, spec.grace) = (true, 1);
        let mut shim = sandbox::spawn(&spec).expect("it starts");
        std::thread::sleep(Duration::from_millis(ms));
        signal(shim.id(), libc::SIGTERM);
        shim.wait().expect("the shim ends");
        eventually("an empty group", || sandbox::cgroup::pids(&spec.id).is_empty());
    }
}

fn lines(world: &World) {
    let script = "echo one; echo two >&2; printf 'bin\\0\\377\\n'; head -c 9000 /dev/zero | tr \
                  '\\0' x; echo; printf 'no end'";
    let spec = logged(world, world.spec(script));
    assert!(sandbox::run(&spec).expect("it runs").success());
    let log = fs::read(world.path("log")).expect("a log");
    let text = String::from_utf8_lossy(&log);
    let mut out: Vec<&str> = Vec::new();
    for line in text.lines() {
        let (time, rest) = line.split_at(24);
        assert!(time.starts_with("20") && time.ends_with('Z'), "{line}");
        match rest.strip_prefix(" web.0 err ") {
            Some(error) => assert_eq!(error, "two"),
            None => out.push(rest.strip_prefix(" web.0 out ").expect("a tag")),
        }
    }
    let long = "x".repeat(8192);
    assert_eq!(out[0], "one");
    assert!(out[1].starts_with("bin\0"), "{}", out[1]);
    assert_eq!(&out[2..], [long.as_str(), &long[..9000 - 8192], "no end"]);
}

fn lines_turn_over(world: &World) {
    let spec = logged(world, world.spec("seq -f '%0100.0f' 100000; echo last"));
    assert!(sandbox::run(&spec).expect("it runs").success());
    let (new, old) = (world.path("log"), world.path("log.1"));
    let (size, old_size) =
        (fs::metadata(new).expect("a log").len(), fs::metadata(old).expect("a log").len());
    assert!((sandbox::LINES_LIMIT..sandbox::LINES_LIMIT + (1 << 17)).contains(&old_size));
    assert!(size < sandbox::LINES_LIMIT, "{size}");
    let lines = 100_001 * (101 + "2026-01-01T00:00:00.000Z web.0 out ".len() as u64);
    assert_eq!(size + old_size, lines - (101 - 5));
}

fn no_line_is_lost_at_the_end(world: &World) {
    for _ in 0..5 {
        let _ = fs::remove_file(world.path("log"));
        let spec = logged(world, world.spec("seq 600; kill -9 $$"));
        sandbox::run(&spec).expect("it runs");
        let log = fs::read_to_string(world.path("log")).expect("a log");
        assert_eq!(log.lines().count(), 600);
    }
}

fn memory_limit(world: &World) {
    let mut spec = world.spec("exec dd if=/dev/zero of=/dev/null bs=200M count=1");
    (spec.limits.memory, spec.init) = (Some(32 << 20), true);
    let (exit, _) = world.run(&spec);
    assert_eq!(exit, Exit { code: None, signal: Some(9), oom: true });
    let spec = world.spec("kill -9 $$; exit 137");
    assert!(!world.run(&spec).0.oom, "code 137 alone says nothing about memory");
}

fn process_limit(world: &World) {
    let mut spec = world.spec("bomb() { bomb | bomb & }; bomb; sleep 0.3; echo survived");
    (spec.limits.pids, spec.init) = (Some(32), true);
    let begun = Instant::now();
    let (_, _) = world.run(&spec);
    assert!(begun.elapsed() < Duration::from_secs(10), "a fork bomb ends with its container");
}

fn processor_limit(world: &World) {
    let mut spec = world.spec("while :; do :; done");
    spec.limits.cpus = Some(0.1);
    let (shim, _) = started(&spec);
    let throttled = || {
        let stats = sandbox::cgroup::dirs(&spec.id).into_iter().map(|dir| dir.join("cpu.stat"));
        let text: String = stats.filter_map(|path| fs::read_to_string(path).ok()).collect();
        text.lines().any(|line| {
            let count = line.strip_prefix("nr_throttled ").and_then(|count| count.parse().ok());
            count.is_some_and(|count: u64| count > 1)
        })
    };
    eventually("it is held back", throttled);
    signal(shim.id(), libc::SIGQUIT);
    assert_eq!(ended(shim, &spec).signal, Some(libc::SIGKILL));
}

fn memory_of(pid: i32, field: &str) -> u64 {
    let path = format!("/proc/{pid}/smaps_rollup");
    let text = fs::read_to_string(path).expect("a live process");
    let line = text.lines().find(|l| l.starts_with(field)).expect("the field");
    line.split_whitespace().nth(1).and_then(|n| n.parse().ok()).expect("a number")
}

fn small_supervisor(world: &World) {
    let mut spec = logged(world, world.spec("echo up; sleep 100"));
    spec.init = true;
    let (shim, record) = started(&spec);
    eventually("output", || fs::read_to_string(world.path("log")).is_ok());
    for (what, pid) in [("waiter", record.shim), ("PID 1", record.pid)] {
        let (rss, private) = (memory_of(pid, "Rss:"), memory_of(pid, "Private_Dirty:"));
        println!("    {what}: {rss} kB resident, {private} kB of its own");
        assert!(rss <= 200, "{what}: {rss} kB");
        assert!(private <= 100, "{what}: {private} kB");
    }
    signal(shim.id(), libc::SIGQUIT);
    ended(shim, &spec);
}

/// Whoever kills the supervisor ends the container; how it ended is unknown, not 0.
fn death_of_the_supervisor(world: &World) {
    let mut spec = world.spec("sleep 100");
    spec.init = true;
    let (mut shim, record) = started(&spec);
    signal(shim.id(), libc::SIGKILL);
    shim.wait().expect("the shim ends");
    eventually("the end of the container", || !record.alive());
    let outcome = record::outcome(&spec.dir()).expect("records");
    assert!(matches!(outcome, Outcome::Started(_)), "{outcome:?}");
    eventually("an empty group", || sandbox::cgroup::pids(&spec.id).is_empty());
    assert!(sandbox::cgroup::remove(&spec.id));
}

fn passed_socket(world: &World) {
    for (init, pid) in [(false, "1"), (true, "2")] {
        let listener = TcpListener::bind("127.0.0.1:0").expect("a socket");
        let mut spec = world.spec(
            "echo $$ $LISTEN_FDS $LISTEN_PID; readlink /proc/self/fd/3 | cut -c1-7; \
             [ -e /proc/1/fd/3 ] && echo held by 1",
        );
        (spec.init, spec.fds) = (init, vec![(listener.as_raw_fd(), 3)]);
        let held = if init { "" } else { "held by 1\n" };
        assert_eq!(world.run(&spec).1, format!("{pid} 1 {pid}\nsocket:\n{held}"));
    }
}

fn joined_network(world: &World) {
    let namespace = netns::create().expect("a namespace");
    let listener = netns::within(&namespace, || TcpListener::bind("127.0.0.1:8765"));
    let listener = listener.expect("entered").expect("a free port");
    let mut spec = world.spec("grep -c 0100007F:223D /proc/net/tcp; sleep 100");
    spec.network = Network::Join(netns::path_of(&namespace));
    let (shim, record) = started(&spec);
    eventually("it sees the socket of its namespace", || world.output() == "1\n");
    let seen = netns::of_process(record.shim).and_then(|seen| netns::number(&seen));
    assert_eq!(seen.expect("alive"), netns::number(&namespace).expect("held"));
    signal(shim.id(), libc::SIGQUIT);
    ended(shim, &spec);
    assert_eq!(world.sh("grep -c 0100007F:223D /proc/net/tcp"), "0\n", "others do not");
    let outside = std::net::TcpStream::connect(listener.local_addr().expect("an address"));
    assert!(outside.is_err(), "nor does the host");
}

fn many_at_once(world: &World) {
    const COUNT: usize = 40;
    let begun = Instant::now();
    let started: Vec<(Child, Spec)> = (0..COUNT)
        .map(|_| {
            let mut spec = world.spec("exit 7");
            spec.stdout = Output::Inherit;
            (sandbox::spawn(&spec).expect("it starts"), spec)
        })
        .collect();
    for (shim, spec) in started {
        assert_eq!(ended(shim, &spec).code, Some(7));
        assert!(sandbox::cgroup::dirs(&spec.id).is_empty());
    }
    println!("    {COUNT} containers in {} ms", begun.elapsed().as_millis());
}
