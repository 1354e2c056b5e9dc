//! HTTP through the router, from a client that says exactly what a test wants.

use std::{
    io::{Read as _, Write as _},
    process::{Command, Stdio},
    time::Duration,
};

use keg_tests::{World, http, look::signal, until};
use serde_json::json;

/// Bytes of the large upload.
const UPLOAD: usize = 50 << 20;
/// What the router may take more of memory for it, in KiB.
const ROOM: u64 = 8 << 10;
/// Longest wait for a part of an answer.
const PATIENCE: Duration = Duration::from_secs(20);

fn blog() -> World {
    let world = World::with_python();
    world.probe("blog").push().ok();
    world
}

#[test]
fn connections_are_kept() {
    let world = blog();
    let mut stream = http::connect(world.router).expect("the router");
    for (path, want) in [("/", "one"), ("/pid", "{"), ("/", "one")] {
        let ask = format!("GET {path} HTTP/1.1\r\nHost: blog.localhost\r\n\r\n");
        stream.write_all(ask.as_bytes()).expect("open");
        let answer = http::read_one(&mut stream).expect("an answer");
        assert!(answer.status == 200 && answer.body.starts_with(want), "{answer:?}");
    }
    // Two at once are answered in order.
    let ask = "GET / HTTP/1.1\r\nHost: blog.localhost\r\n\r\n\
               GET /pid HTTP/1.1\r\nHost: blog.localhost\r\n\r\n";
    stream.write_all(ask.as_bytes()).expect("open");
    assert_eq!(http::read_one(&mut stream).expect("an answer").body, "one");
    assert!(http::read_one(&mut stream).expect("an answer").body.starts_with('{'));
}

#[test]
fn answers_stream() {
    let world = blog();
    let mut stream = http::connect(world.router).expect("the router");
    let ask = b"GET /stream HTTP/1.1\r\nHost: blog.localhost\r\nConnection: close\r\n\r\n";
    stream.write_all(ask).expect("open");
    let (mut seen, mut part) = (String::new(), [0; 512]);
    let mut chunks = Vec::new();
    loop {
        let read = stream.read(&mut part).expect("more");
        if read == 0 {
            break;
        }
        seen.push_str(&String::from_utf8_lossy(&part[..read]));
        chunks.push((seen.contains("one"), seen.contains("three")));
    }
    assert!(chunks.contains(&(true, false)), "the first came before the last: {chunks:?}");
    assert!(
        seen.contains("two") && seen.contains("three") && seen.ends_with("0\r\n\r\n"),
        "{seen}"
    );
}

#[test]
fn a_large_upload_passes_through_a_small_router() {
    let world = blog();
    assert_eq!(world.get("blog", "/").status, 200);
    let peak = || {
        let status = std::fs::read_to_string(format!("/proc/{}/status", world.service("router")));
        let status = status.expect("it runs");
        let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:")).expect("a peak");
        line.trim().trim_end_matches(" kB").parse::<u64>().expect("a number")
    };
    let before = peak();
    let part: Vec<u8> =
        (0..1 << 20).map(|n: u32| (n.wrapping_mul(2_654_435_761) >> 24) as u8).collect();
    let mut stream = http::connect(world.router).expect("the router");
    let head =
        format!("POST / HTTP/1.1\r\nHost: blog.localhost\r\nContent-Length: {UPLOAD}\r\n\r\n");
    stream.write_all(head.as_bytes()).expect("open");
    let mut sum = Command::new("sha256sum")
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .expect("sha256sum");
    let mut into = sum.stdin.take().expect("a pipe");
    for _ in 0..UPLOAD / part.len() {
        stream.write_all(&part).expect("it takes more");
        into.write_all(&part).expect("it takes more");
    }
    drop(into);
    let sum = String::from_utf8(sum.wait_with_output().expect("its sum").stdout).expect("hex");
    let answer = http::read_one(&mut stream).expect("an answer");
    assert_eq!(answer.body, format!("{UPLOAD} {}", &sum[..64]));
    let more = peak() - before;
    assert!(more < ROOM, "the router took {more} KiB more for {UPLOAD} bytes");
}

#[test]
fn websockets_pass() {
    let world = blog();
    let mut stream = http::connect(world.router).expect("the router");
    let ask = "GET /websocket HTTP/1.1\r\nHost: blog.localhost\r\nConnection: Upgrade\r\n\
               Upgrade: websocket\r\nSec-WebSocket-Version: 13\r\n\
               Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n";
    stream.write_all(ask.as_bytes()).expect("open");
    let answer = http::read_one(&mut stream).expect("an answer");
    assert_eq!(answer.status, 101, "{answer:?}");
    // RFC 6455, section 1.3.
    assert!(answer.head.contains("s3pPLMBiTxaQ9kYGzzhZRbK+xOo="), "{answer:?}");
    let mask = [1, 2, 3, 4];
    let masked: Vec<u8> = b"hello".iter().zip(mask.iter().cycle()).map(|(b, m)| b ^ m).collect();
    stream.write_all(&[&[0x81, 0x85][..], &mask, &masked].concat()).expect("open");
    let mut echo = [0; 7];
    stream.read_exact(&mut echo).expect("an echo");
    assert_eq!(&echo, b"\x81\x05hello");
}

#[test]
fn what_is_not_served_is_explained() {
    let world = blog();
    let ask = |host: &str| {
        let headers = [("Host", host)];
        http::ask(world.router, "GET", "/", &headers, b"").expect("the router answers")
    };
    for host in ["nosuch.localhost", "localhost", "example.org", "127.0.0.1", "a.blog.localhost"] {
        let answer = ask(host);
        assert_eq!(answer.status, 404, "{host}: {answer:?}");
        assert!(answer.body.contains("git push keg main"), "{host}: {answer:?}");
    }
    // Broken off in the middle of a request that may have done something: never asked twice.
    let answer = world.value("blog", "os._exit(3)");
    assert!(answer.contains("broke off") && answer.contains("keg logs blog"), "{answer}");
    until("it to be back", || (world.get("blog", "/").status == 200).then_some(()));
    world.configure("blog", &json!({ "scale": { "web": 0 } }));
    let answer =
        until("it to be down", || Some(world.get("blog", "/")).filter(|a| a.status != 200));
    assert_eq!(answer.status, 503, "{answer:?}");
    assert!(
        answer.head.contains("retry-after") && answer.body.contains("keg logs blog"),
        "{answer:?}"
    );
}

#[test]
fn headers_of_one_hop_end_here_and_forwarded_ones_are_ours() {
    let world = blog();
    let host = format!("blog.localhost:{}", world.router.port());
    let headers = [
        ("Host", host.as_str()),
        ("Connection", "X-Secret, keep-alive"),
        ("X-Secret", "leaked"),
        ("Keep-Alive", "leaked"),
        ("Proxy-Connection", "leaked"),
        ("Proxy-Authorization", "leaked"),
        ("TE", "leaked"),
        ("X-Forwarded-For", "203.0.113.9"),
        ("X-Forwarded-Proto", "https"),
        ("X-Forwarded-Host", "evil.example"),
        ("X_Forwarded_For", "203.0.113.9"),
        ("X-Real-IP", "203.0.113.9"),
        ("Forwarded", "for=203.0.113.9"),
        ("Accept-Language", "cy"),
    ];
    let head = http::ask(world.router, "GET", "/head", &headers, b"").expect("an answer").body;
    let head = head.to_ascii_lowercase();
    for gone in ["leaked", "203.0.113.9", "evil.example", "https"] {
        assert!(!head.contains(gone), "{gone} in:\n{head}");
    }
    for there in [
        "get /head http/1.1".to_owned(),
        format!("host: {host}"),
        "x-forwarded-for: 127.0.0.1".to_owned(),
        "x-forwarded-proto: http\n".to_owned(),
        format!("x-forwarded-host: {host}"),
        "accept-language: cy".to_owned(),
    ] {
        assert!(head.contains(&there), "{there} is missing in:\n{head}");
    }
}

#[test]
fn no_request_hides_in_another() {
    let world = blog();
    let inner = "GET /smuggled HTTP/1.1\r\nHost: blog.localhost\r\n\r\n";
    let chunked = format!("{:x}\r\n{inner}\r\n0\r\n\r\n", inner.len());
    let start = "POST / HTTP/1.1\r\nHost: blog.localhost\r\nConnection: close\r\n";
    let whole = inner.len();
    for (what, headers, body, refused) in [
        ("both lengths", "Content-Length: 4\r\nTransfer-Encoding: chunked", chunked.clone(), false),
        ("both lengths", "Transfer-Encoding: chunked\r\nContent-Length: 4", chunked.clone(), false),
        (
            "two lengths",
            &format!("Content-Length: {whole}\r\nContent-Length: 0"),
            inner.to_owned(),
            true,
        ),
        ("two in one", &format!("Content-Length: {whole}, 0"), inner.to_owned(), true),
        ("a signed length", "Content-Length: +0", inner.to_owned(), true),
        ("a negative length", "Content-Length: -1", inner.to_owned(), true),
        ("a hexadecimal length", "Content-Length: 0x0", inner.to_owned(), true),
        ("a folded header", "X: a\r\n Transfer-Encoding: chunked", chunked.clone(), true),
        ("a space before the colon", "Transfer-Encoding : chunked", chunked.clone(), true),
        ("an unknown coding", "Transfer-Encoding: xchunked", chunked.clone(), true),
        ("chunked not last", "Transfer-Encoding: chunked, gzip", chunked.clone(), true),
        ("a chunk of no size", "Transfer-Encoding: chunked", format!("zz\r\n{inner}"), true),
        ("a negative chunk", "Transfer-Encoding: chunked", format!("-1\r\n{inner}"), true),
        (
            "a chunk too large",
            "Transfer-Encoding: chunked",
            format!("ffffffffffffffff1\r\n{inner}"),
            true,
        ),
        ("a chunk not ended", "Transfer-Encoding: chunked", format!("1\r\nab\r\n{inner}"), true),
    ] {
        let ask = format!("{start}{headers}\r\n\r\n{body}");
        let answer = http::exchange(world.router, ask.as_bytes(), PATIENCE).expect("a connection");
        let ok = answer.contains("HTTP/1.1 200");
        assert!(!(ok && refused), "{what}: {answer}");
        assert!(answer.matches("HTTP/1.1 ").count() <= 1, "{what}: one answer at most: {answer}");
    }
    assert_eq!(world.get("blog", "/").body, "one");
    let log = world.keg(&["logs", "blog"]).ok();
    assert!(!log.contains("smuggled"), "{log}");
}

#[test]
fn whoever_dawdles_is_sent_away_and_keeps_nobody_waiting() {
    let world = blog();
    let mut stream = http::connect(world.router).expect("the router");
    stream.write_all(b"GET / HTTP/1.1\r\nHost: ").expect("open");
    stream.set_read_timeout(Some(Duration::from_millis(500))).expect("set");
    let mut byte = [0];
    until("the slow one to be sent away", || {
        assert_eq!(world.get("blog", "/").status, 200, "others are served");
        let sent = stream.write_all(b"a");
        match stream.read(&mut byte) {
            Err(error) if error.kind() == std::io::ErrorKind::WouldBlock => sent.err().map(|_| ()),
            _ => Some(()),
        }
    });
}

#[test]
fn a_killed_router_refuses_nobody() {
    let world = blog();
    let before = world.service("router");
    signal(before, libc::SIGKILL);
    // The listening socket is held by `keg up`: connections wait for the next router.
    assert_eq!(world.get("blog", "/").body, "one");
    assert_ne!(world.service("router"), before);
}
