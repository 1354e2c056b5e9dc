//! The wire below git: compression, chunks, limits, and requests that are not git's.

use std::{
    io::{Read, Write},
    net::TcpStream,
    time::Duration,
};

use crate::{
    Test,
    world::{World, name, packet},
};

pub const TESTS: &[Test] = &[
    ("http_takes_compressed_and_chunked_bodies", compressed_and_chunked),
    ("http_survives_compression_bombs", compression_bombs),
    ("http_waits_for_expect", expect_continue),
    ("http_refuses_what_is_not_git", not_git),
    ("http_flush_is_answered_empty", flush),
    ("http_client_that_goes_away_leaves_nothing", goes_away),
];

const TYPE: &str = "Content-Type: application/x-git-receive-pack-request";
const NULL: &str = "0000000000000000000000000000000000000000";

/// Sends a request and reads the whole answer.
fn send(world: &World, request: &str, body: &[u8]) -> String {
    let mut stream = connect(world);
    let head = format!("{request}\r\nHost: localhost\r\nConnection: close\r\n\r\n");
    stream.write_all(head.as_bytes()).expect("the front reads");
    // A front that has answered already may close before it has read all.
    let _ = stream.write_all(body);
    read_all(&mut stream)
}

/// The answer to a push of `body` to the app `blog`.
pub fn receive(world: &World, body: &[u8]) -> String {
    let length = body.len();
    let post = "POST /git/blog/git-receive-pack HTTP/1.1";
    send(world, &format!("{post}\r\n{TYPE}\r\nContent-Length: {length}"), body)
}

fn connect(world: &World) -> TcpStream {
    let address = world.url.strip_prefix("http://").expect("an address");
    let stream = TcpStream::connect(address).expect("the front listens");
    stream.set_read_timeout(Some(Duration::from_secs(30))).expect("a timeout");
    stream
}

fn read_all(stream: &mut TcpStream) -> String {
    let mut answer = Vec::new();
    let _ = stream.read_to_end(&mut answer);
    String::from_utf8_lossy(&answer).into_owned()
}

fn gzip(bytes: &[u8]) -> Vec<u8> {
    let mut encoder = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
    encoder.write_all(bytes).expect("memory");
    encoder.finish().expect("memory")
}

fn chunked(bytes: &[u8]) -> Vec<u8> {
    let mut out = Vec::new();
    for chunk in bytes.chunks(100) {
        out.extend_from_slice(format!("{:x}\r\n", chunk.len()).as_bytes());
        out.extend_from_slice(chunk);
        out.extend_from_slice(b"\r\n");
    }
    out.extend_from_slice(b"0\r\n\r\n");
    out
}

fn compressed_and_chunked() {
    let world = World::new();
    let repo = world.repo("blog", &[("a", "1\n")]);
    let body = gzip(&repo.push_body(NULL, &repo.head(), &["no-wait"]));
    let post = format!("POST /git/blog/git-receive-pack HTTP/1.1\r\n{TYPE}");
    let answer = send(
        &world,
        &format!("{post}\r\nContent-Encoding: gzip\r\nTransfer-Encoding: chunked"),
        &chunked(&body),
    );
    assert!(answer.contains("ok refs/heads/main"), "{answer}");
    let answer = send(&world, &format!("{post}\r\nContent-Encoding: br\r\nContent-Length: 0"), b"");
    assert!(answer.starts_with("HTTP/1.1 415"), "{answer}");
}

fn compression_bombs() {
    let world = World::new();
    let repo = world.repo("blog", &[("a", "1\n")]);
    repo.push().expect(true, &[]);
    // 300 MB of pushes and of fetch requests in 300 KB.
    let bomb = gzip(&vec![0; 300 << 20]);
    for service in ["receive-pack", "upload-pack"] {
        let request = format!(
            "POST /git/blog/git-{service} HTTP/1.1\r\n\
             Content-Type: application/x-git-{service}-request\r\n\
             Content-Encoding: gzip\r\nContent-Length: {}",
            bomb.len()
        );
        let answer = send(&world, &request, &bomb);
        assert!(answer.starts_with("HTTP/1.1 "), "{answer}");
        assert!(!answer.contains("ok refs"), "{answer}");
    }
}

fn expect_continue() {
    let world = World::new();
    let repo = world.repo("blog", &[("a", "1\n")]);
    let body = repo.push_body(NULL, &repo.head(), &["no-wait"]);
    let mut stream = connect(&world);
    let head = format!(
        "POST /git/blog/git-receive-pack HTTP/1.1\r\nHost: localhost\r\n{TYPE}\r\n\
         Expect: 100-continue\r\nConnection: close\r\nContent-Length: {}\r\n\r\n",
        body.len()
    );
    stream.write_all(head.as_bytes()).expect("the front reads");
    let mut go = [0; 12];
    stream.read_exact(&mut go).expect("an answer");
    assert_eq!(&go, b"HTTP/1.1 100");
    stream.write_all(&body).expect("the front reads");
    let answer = read_all(&mut stream);
    assert!(answer.contains("ok refs/heads/main"), "{answer}");
}

fn not_git() {
    let world = World::new();
    for (request, want) in [
        ("GET /git/blog/info/refs HTTP/1.1", "HTTP/1.1 400"),
        ("GET /git/blog/info/refs?service=git-x HTTP/1.1", "HTTP/1.1 400"),
        ("GET /git/..%2fx/info/refs?service=git-receive-pack HTTP/1.1", "HTTP/1.1 404"),
        ("GET /git/nobody/info/refs?service=git-upload-pack HTTP/1.1", "HTTP/1.1 404"),
        ("POST /git/blog/git-receive-pack HTTP/1.1\r\nContent-Length: 0", "HTTP/1.1 415"),
        ("GET /git/blog/git-receive-pack HTTP/1.1", "HTTP/1.1 405"),
    ] {
        let answer = send(&world, request, b"");
        assert!(answer.starts_with(want), "{request}: {answer}");
    }
    let post = format!("POST /git/blog/git-receive-pack HTTP/1.1\r\n{TYPE}");
    let answer = send(&world, &format!("{post}\r\nContent-Length: 5000000000"), b"");
    assert!(answer.starts_with("HTTP/1.1 413"), "{answer}");
    for body in ["hello world", "00", "zzzz", "0032want", "ffff"] {
        let answer =
            send(&world, &format!("{post}\r\nContent-Length: {}", body.len()), body.as_bytes());
        assert!(answer.starts_with("HTTP/1.1 200"), "{body}: {answer}");
    }
    assert!(world.keg.get(&name("/git")).expect("readable").is_none(), "nothing is stored");
}

fn flush() {
    let world = World::new();
    let post = format!("POST /git/blog/git-receive-pack HTTP/1.1\r\n{TYPE}\r\nContent-Length: 4");
    let answer = send(&world, &post, b"0000");
    assert!(answer.starts_with("HTTP/1.1 200"), "{answer}");
}

fn goes_away() {
    let world = World::new();
    let repo = world.repo("blog", &[("a", "1\n")]);
    let body = repo.push_body(NULL, &repo.head(), &["no-wait"]);
    let mut stream = connect(&world);
    let head = format!(
        "POST /git/blog/git-receive-pack HTTP/1.1\r\nHost: localhost\r\n{TYPE}\r\n\
         Content-Length: {}\r\n\r\n",
        body.len()
    );
    stream.write_all(head.as_bytes()).expect("the front reads");
    stream.write_all(&body[..body.len() - 10]).expect("the front reads");
    drop(stream);
    // The front is well, and what was cut off is not there.
    let command = packet(&format!("{NULL} {} refs/tags/x\0report-status", repo.head()));
    let post = format!("POST /git/blog/git-receive-pack HTTP/1.1\r\n{TYPE}");
    let cut = [command, b"0000".to_vec()].concat();
    let answer = send(&world, &format!("{post}\r\nContent-Length: {}", cut.len()), &cut);
    assert!(answer.contains("ng refs/tags/x"), "{answer}");
    assert!(world.keg.get(&name("/source/blog")).expect("readable").is_none());
    repo.push().expect(true, &[]);
}
