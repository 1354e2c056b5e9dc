//! What an app cannot do, asked from inside it.

use std::{
    net::{Ipv4Addr, SocketAddr, TcpListener},
    process::Command,
};

use keg_tests::{
    World,
    look::{runs, signal},
    process::run,
    until,
};
use serde_json::{Value as Json, json};

/// Addresses of the host that are not loopback, one for each test's own use (RFC 5737).
const OUTSIDE: [Ipv4Addr; 2] = [Ipv4Addr::new(198, 51, 100, 77), Ipv4Addr::new(198, 51, 100, 78)];

/// Bytes sent to an echo and back.
const ECHO: usize = 4 << 20;

fn with_probe(config: &Json) -> World {
    let world = World::with_python();
    if !config.is_null() {
        world.configure("blog", config);
    }
    world.probe("blog").push().ok();
    world
}

/// A server on one of [`OUTSIDE`] that sends back what it gets.
struct Outside {
    address: SocketAddr,
}

impl Outside {
    fn new(at: Ipv4Addr) -> Self {
        let prefix = format!("{at}/32");
        run(Command::new("ip").args(["address", "replace", &prefix, "dev", "lo"])).ok();
        let listener = TcpListener::bind((at, 0)).expect("an address of this machine");
        let address = listener.local_addr().expect("bound");
        #[allow(clippy::disallowed_methods, reason = "a test is no service")]
        std::thread::spawn(move || {
            for stream in listener.incoming() {
                let stream = stream.expect("a connection");
                // An error is the app having gone away.
                let _ = std::io::copy(&mut &stream, &mut &stream);
            }
        });
        Self { address }
    }
}

impl Drop for Outside {
    fn drop(&mut self) {
        let prefix = format!("{}/32", self.address.ip());
        run(Command::new("ip").args(["address", "del", &prefix, "dev", "lo"]));
    }
}

fn reach(world: &World, host: &str, port: u16) -> String {
    world.value("blog", &format!("reach('{host}', {port})"))
}

/// Addresses that no app may reach, whatever its configuration.
fn assert_closed(world: &World) {
    let (front, router) = (world.front.port(), world.router.port());
    assert_eq!(reach(world, "127.0.0.1", 5000), "answered", "its own loopback");
    for host in ["127.0.0.1", "localhost", "127.0.0.53", "0.0.0.0", "::1", "::ffff:127.0.0.1"] {
        for port in [front, router] {
            let seen = reach(world, host, port);
            assert!(seen.ends_with("Error") || seen == "closed", "{host}:{port}: {seen}");
        }
    }
    // Addresses that mean something to the host alone, such as a cloud's metadata.
    for host in ["169.254.169.254", "224.0.0.1", "255.255.255.255"] {
        let seen = reach(world, host, 80);
        assert!(seen.ends_with("Error") || seen == "closed", "{host}: {seen}");
    }
    // Nobody from outside gets in, and so no other app does: there is no interface to come by.
    let interfaces = world.value("blog", "sorted(name for _, name in socket.if_nameindex())");
    assert!(!interfaces.contains("eth") && !interfaces.contains("veth"), "{interfaces}");
}

#[test]
fn an_app_reaches_nothing_outside() {
    let world = with_probe(&Json::Null);
    let outside = Outside::new(OUTSIDE[0]);
    world.probe("other").push().ok();
    assert_closed(&world);
    let port = outside.address.port();
    let seen = reach(&world, &OUTSIDE[0].to_string(), port);
    assert!(seen == "OSError", "the network is unreachable: {seen}");
    // All apps listen on the same port of their own loopback: each reaches itself alone.
    world.value("other", "globals().update(WORD='other')");
    assert_eq!(world.get("other", "/").body, "other");
    let own = "__import__('urllib.request').request.urlopen('http://127.0.0.1:5000/').read()";
    assert_eq!(world.value("blog", own), "b'one'");
    assert_eq!(world.value("other", own), "b'other'");
}

#[test]
fn an_app_with_egress_reaches_the_network_and_not_the_host() {
    let mut world = with_probe(&json!({ "egress": true, "scale": { "worker": 1 } }));
    let outside = Outside::new(OUTSIDE[1]);
    let (at, port) = (OUTSIDE[1].to_string(), outside.address.port());
    assert_eq!(reach(&world, &at, port), "answered");
    assert_closed(&world);
    let nobody = TcpListener::bind((OUTSIDE[1], 0)).expect("a port").local_addr().expect("bound");
    let seen = reach(&world, &at, nobody.port());
    assert!(seen.ends_with("Error") || seen == "closed", "nobody listens there: {seen}");
    // What is sent comes back whole, also more of it than any buffer holds.
    let code = format!("echo('{at}', {port}, {ECHO})");
    assert_eq!(world.value("blog", &code), ECHO.to_string());
    // What brings its connections out goes on without a mayor, and is started again when killed.
    let relay = || {
        let rows = world.json(&["ps", "--all"]);
        let rows = rows.as_array().expect("rows").iter();
        let pids =
            rows.filter(|row| row["type"] == "work/egress").filter_map(|r| r["pid"].as_i64());
        pids.map(|pid| pid as i32).filter(|pid| runs(*pid)).collect::<Vec<i32>>()
    };
    let before = until("a relay for each process", || Some(relay()).filter(|pids| pids.len() == 2));
    let mayor = world.service("mayor");
    signal(mayor, libc::SIGKILL);
    assert_eq!(reach(&world, &at, port), "answered", "there is no mayor");
    until("another mayor", || Some(world.service("mayor")).filter(|pid| *pid != mayor));
    before.iter().for_each(|pid| signal(*pid, libc::SIGKILL));
    let after = until("relays again", || Some(relay()).filter(|pids| pids.len() == 2));
    assert!(after.iter().all(|pid| !before.contains(pid)), "{before:?} {after:?}");
    until("the way out again", || (reach(&world, &at, port) == "answered").then_some(()));
    // The switch is off again: so is the network.
    world.configure("blog", &json!({ "egress": false }));
    until("the app without egress", || (reach(&world, &at, port) == "OSError").then_some(()));
    until("the relays to end with their containers", || relay().is_empty().then_some(()));
    let done = world.stop();
    assert_eq!(done.code, 0, "{}", done.err);
    world.assert_gone();
}

#[test]
fn an_app_has_no_rights() {
    let mut world = with_probe(&Json::Null);
    world.probe("other").push().ok();
    let about = |app: &str| -> Json {
        let said = world.get(app, "/about").body;
        serde_json::from_str(&said).unwrap_or_else(|error| panic!("{error}: {said}"))
    };
    let (blog, other) = (about("blog"), about("other"));
    let status = |name: &str| blog["status"][name].as_str().unwrap_or("").trim().to_owned();
    for (field, want) in [
        ("CapEff", "0000000000000000"),
        ("CapPrm", "0000000000000000"),
        ("CapInh", "0000000000000000"),
        ("CapAmb", "0000000000000000"),
        ("CapBnd", "0000000000000000"),
        ("NoNewPrivs", "1"),
        ("Seccomp", "2"),
        ("Groups", ""),
    ] {
        assert_eq!(status(field), want, "{field}");
    }
    for field in ["Uid", "Gid"] {
        let ids: Vec<String> = status(field).split_whitespace().map(str::to_owned).collect();
        assert!(ids.iter().all(|id| id.parse().is_ok_and(|id: u32| id >= 20_000)), "{ids:?}");
        assert_ne!(blog["status"][field], other["status"][field], "apps are different users");
    }
    let home = world.home().to_string_lossy().into_owned();
    for (name, value) in blog["env"].as_object().expect("variables") {
        let value = value.as_str().unwrap_or("");
        assert!(!name.starts_with("KEG") && !value.contains(&home), "{name}={value}");
    }
    let processes = "[open(f'/proc/{p}/comm').read() for p in os.listdir('/proc') if p.isdigit()]";
    let processes = world.value("blog", processes).replace("\\n", "");
    assert_eq!(processes, "['keg-init', 'python']", "its own processes");
    let devices = world.value("blog", "sorted(os.listdir('/dev'))");
    let usual = "['core', 'fd', 'full', 'mqueue', 'null', 'ptmx', 'pts', 'random', 'shm', \
                 'stderr', 'stdin', 'stdout', 'tty', 'urandom', 'zero']";
    let without_core = usual.replace("'core', ", "");
    assert!([usual, &without_core].contains(&devices.as_str()), "{devices}");
    let links = "[os.readlink(fd.path) for fd in os.scandir('/proc/self/fd') if fd.is_symlink() \
                 and os.path.lexists(fd.path)]";
    let open = world.value("blog", links);
    assert!(!open.contains(&home) && !open.contains("memfd"), "descriptors of others: {open}");
    let stopped = world.stop();
    assert_eq!(stopped.code, 0, "{}", stopped.err);
    world.assert_gone();
}

#[test]
fn an_app_cannot_leave_its_container() {
    let world = with_probe(&Json::Null);
    for (code, want) in [
        ("open('/x', 'w')", "PermissionError"),
        ("open('/etc/passwd', 'a')", "PermissionError"),
        ("open('/usr/bin/env', 'a')", "PermissionError"),
        ("os.rename('/usr', '/was')", "PermissionError"),
        ("open('/proc/sys/kernel/hostname', 'w')", "Error"),
        ("open('/proc/sysrq-trigger', 'w')", "Error"),
        ("open('/sys/fs/cgroup/x', 'w')", "Error"),
        ("os.mknod('/tmp/disk', 0o60600, os.makedev(8, 0))", "PermissionError"),
        ("os.chroot('/tmp')", "PermissionError"),
        ("os.setuid(0)", "PermissionError"),
        ("os.setgroups([0])", "PermissionError"),
        (
            "os.sethostname('x') if hasattr(os, 'sethostname') else socket.sethostname('x')",
            "PermissionError",
        ),
        ("os.nice(-5)", "PermissionError"),
        ("os.kill(-1, 0)", ""),
        ("socket.socket(socket.AF_PACKET, socket.SOCK_RAW)", "Error"),
        ("socket.socket(socket.AF_INET, socket.SOCK_RAW, 1)", "PermissionError"),
        ("socket.socket(socket.AF_INET).bind(('0.0.0.0', 80))", "PermissionError"),
        ("open('/proc/kcore', 'rb').read(1)", ""),
        ("open('/proc/1/mem', 'r+b')", "PermissionError"),
    ] {
        let seen = world.value("blog", code);
        assert!(seen.contains(want), "{code}: {seen}");
    }
    let core = world.value("blog", "open('/proc/kcore', 'rb').read(1)");
    assert!(core == "b''" || core.starts_with("FileNotFoundError"), "it is masked: {core}");
    for code in ["open('/tmp/x', 'w').write('x')", "open('kept', 'w').write('x')"] {
        assert_eq!(world.value("blog", code), "1", "{code}");
    }
    assert_eq!(world.get("blog", "/").body, "one", "all that has hurt nobody");
    world.assert_clean();
}

#[test]
fn limits_bite() {
    let world = with_probe(&json!({ "limits": { "memory": 67_108_864, "pids": 24 } }));
    let threads = "[threading.Thread(target=time.sleep, args=(2,)).start() for _ in range(60)]";
    let seen = world.value("blog", threads);
    assert!(seen.starts_with("RuntimeError"), "{seen}");
    until("its threads to end", || (world.get("blog", "/").body == "one").then_some(()));
    world.get("blog", "/eat");
    let row = until("another process", || {
        world.ps("blog").pop().filter(|row| row["restarts"] != 0 && row["state"] == "running")
    });
    assert_eq!(row["exit"]["oom"], true, "{row}");
    let log = world.keg(&["logs", "blog"]).ok();
    assert!(log.contains("it ran out of memory"), "{log}");
    assert_eq!(world.get("blog", "/").body, "one");
}
