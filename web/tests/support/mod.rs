//! The web over a made-up Keg, on a real socket, and a small client.

#![allow(dead_code, missing_docs)]

#[path = "../../examples/demo/fixture/mod.rs"]
pub mod fixture;

use std::{collections::HashMap, net::SocketAddr, sync::Arc, time::Duration};

use fixture::Filled;
use keg::Keg;
use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::{TcpListener, TcpStream},
};

/// A served Keg.
pub struct World {
    pub keg: Keg,
    pub filled: Filled,
    pub address: SocketAddr,
}

/// An answer.
pub struct Answer {
    pub status: u16,
    pub headers: HashMap<String, String>,
    pub body: Vec<u8>,
}

impl Answer {
    pub fn text(&self) -> String {
        String::from_utf8_lossy(&self.body).into_owned()
    }

    pub fn json(&self) -> serde_json::Value {
        serde_json::from_slice(&self.body).unwrap_or_else(|e| panic!("{e}: {}", self.text()))
    }

    pub fn header(&self, name: &str) -> &str {
        self.headers.get(name).map_or("", String::as_str)
    }
}

impl World {
    pub async fn new() -> Self {
        let keg = Keg::in_memory();
        let filled = fixture::fill(&keg).expect("the fixture is valid");
        Self::serve(keg, filled).await
    }

    pub async fn serve(keg: Keg, filled: Filled) -> Self {
        Self::serve_few(keg, filled, 256).await
    }

    /// At most so many may follow changes.
    pub async fn serve_few(keg: Keg, filled: Filled, followers: usize) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a free port");
        let address = listener.local_addr().expect("it is bound");
        let routes = web::guard(web::router(Arc::new(keg.clone()), followers));
        tokio::spawn(async move { axum::serve(listener, routes).await });
        Self { keg, filled, address }
    }

    /// Sends a request and reads the whole answer.
    pub async fn send(
        &self,
        method: &str,
        url: &str,
        headers: &[(&str, &str)],
        body: &[u8],
    ) -> Answer {
        let mut stream = self.open(method, url, headers, body).await;
        let mut bytes = Vec::new();
        let all = tokio::time::timeout(Duration::from_secs(20), stream.read_to_end(&mut bytes));
        all.await.expect("an answer in time").expect("an answer");
        parse(&bytes)
    }

    pub async fn get(&self, url: &str) -> Answer {
        self.send("GET", url, &[], b"").await
    }

    /// A page that must be there.
    pub async fn page(&self, url: &str) -> String {
        let answer = self.get(url).await;
        assert_eq!(answer.status, 200, "{url}: {}", answer.text());
        answer.text()
    }

    /// Data that must be there.
    pub async fn json(&self, url: &str) -> serde_json::Value {
        let answer = self.send("GET", url, &[("accept", "application/json")], b"").await;
        assert_eq!(answer.status, 200, "{url}: {}", answer.text());
        assert_eq!(answer.header("content-type"), "application/json", "{url}");
        answer.json()
    }

    /// Sends a request; the answer is read by the caller.
    pub async fn open(
        &self,
        method: &str,
        url: &str,
        headers: &[(&str, &str)],
        body: &[u8],
    ) -> TcpStream {
        let mut head = format!("{method} {url} HTTP/1.1\r\nconnection: close\r\n");
        if !headers.iter().any(|(name, _)| *name == "host") {
            head.push_str(&format!("host: {}\r\n", self.address));
        }
        if !body.is_empty() {
            head.push_str(&format!("content-length: {}\r\n", body.len()));
        }
        for (name, value) in headers {
            head.push_str(&format!("{name}: {value}\r\n"));
        }
        head.push_str("\r\n");
        let mut stream = TcpStream::connect(self.address).await.expect("it listens");
        stream.write_all(head.as_bytes()).await.expect("it reads");
        // A server that refuses by the headers alone may close before it has read the body.
        let _ = stream.write_all(body).await;
        stream
    }

    /// Opens an event stream.
    pub async fn events(&self, url: &str, headers: &[(&str, &str)]) -> Events {
        Events { stream: self.open("GET", url, headers, b"").await, seen: Vec::new() }
    }
}

/// An event stream that is read bit by bit.
pub struct Events {
    stream: TcpStream,
    seen: Vec<u8>,
}

impl Events {
    /// Reads until the text has come, and gives everything up to it.
    pub async fn until(&mut self, text: &str) -> String {
        let wait = async {
            loop {
                let seen = String::from_utf8_lossy(&self.seen).into_owned();
                if let Some(at) = seen.find(text) {
                    self.seen.drain(..at + text.len());
                    return seen[..at + text.len()].to_owned();
                }
                let mut bytes = [0; 4096];
                let read = self.stream.read(&mut bytes).await.expect("it is open");
                assert!(read > 0, "the stream ended before {text:?}: {seen}");
                self.seen.extend_from_slice(&bytes[..read]);
            }
        };
        tokio::time::timeout(Duration::from_secs(10), wait).await.expect("the event in time")
    }
}

fn parse(bytes: &[u8]) -> Answer {
    let end = bytes.windows(4).position(|w| w == b"\r\n\r\n").expect("a whole head");
    let head = String::from_utf8_lossy(&bytes[..end]).into_owned();
    let mut lines = head.split("\r\n");
    let status = lines.next().and_then(|l| l.split(' ').nth(1)).and_then(|s| s.parse().ok());
    let headers: HashMap<String, String> = lines
        .filter_map(|line| line.split_once(": "))
        .map(|(name, value)| (name.to_lowercase(), value.to_owned()))
        .collect();
    let mut body = bytes[end + 4..].to_vec();
    if headers.get("transfer-encoding").is_some_and(|v| v == "chunked") {
        body = dechunk(&body);
    }
    Answer { status: status.expect("a status"), headers, body }
}

fn dechunk(mut rest: &[u8]) -> Vec<u8> {
    let mut out = Vec::new();
    while let Some(end) = rest.windows(2).position(|w| w == b"\r\n") {
        let size = std::str::from_utf8(&rest[..end]).expect("hex");
        let size = usize::from_str_radix(size, 16).expect("hex");
        out.extend_from_slice(&rest[end + 2..end + 2 + size]);
        rest = &rest[end + 4 + size..];
        if size == 0 {
            break;
        }
    }
    out
}
