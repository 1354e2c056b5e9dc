//! A package index on loopback, with hand-made wheels, for tests.

use std::{
    collections::HashMap,
    io::{BufRead, BufReader, Write},
    net::{TcpListener, TcpStream},
    sync::{Arc, Mutex},
};

use serde_json::{Value as Json, json};
use sha2::{Digest, Sha256};

use super::{config::PipConfig, wheel::testing::WheelMaker};

/// How the index answers.
#[derive(Clone, Copy, PartialEq, Eq)]
pub enum Style {
    /// JSON with metadata files (PEP 691, 658).
    Json,
    /// JSON without them.
    Bare,
    /// HTML (PEP 503).
    Html,
}

type Pages = Arc<Mutex<HashMap<String, Vec<u8>>>>;
/// Paths, with the `Authorization` if there was one.
type Asked = Arc<Mutex<Vec<(String, Option<String>)>>>;

/// A running index; it serves until the test process ends.
pub struct TestIndex {
    style: Style,
    pages: Pages,
    /// Rows of files by project.
    files: Mutex<HashMap<String, Vec<Json>>>,
    /// What it was asked for.
    pub asked: Asked,
    port: u16,
}

impl TestIndex {
    /// Starts an empty index.
    #[allow(clippy::disallowed_methods)]
    pub fn new(style: Style) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").expect("a port");
        let port = listener.local_addr().expect("bound").port();
        let (pages, asked) = (Pages::default(), Asked::default());
        let (served, log) = (pages.clone(), asked.clone());
        std::thread::spawn(move || {
            for stream in listener.incoming().flatten() {
                let (pages, log) = (served.clone(), log.clone());
                std::thread::spawn(move || serve(stream, &pages, &log));
            }
        });
        Self { style, pages, files: Mutex::default(), asked, port }
    }

    /// What pip would be configured with.
    pub fn config(&self) -> PipConfig {
        self.config_as("")
    }

    /// The same with `user:password@` in the address.
    pub fn config_as(&self, user: &str) -> PipConfig {
        PipConfig { index: format!("http://{user}127.0.0.1:{}/simple", self.port), proxy: None }
    }

    /// Offers a wheel; `change` may spoil its row.
    pub fn publish(&self, project: &str, maker: &WheelMaker, change: impl FnOnce(&mut Json)) {
        let (file, bytes) = (maker.file(), maker.build());
        let metadata = maker.metadata_text().into_bytes();
        let digest = |bytes: &[u8]| hex::encode(Sha256::digest(bytes));
        let mut row = json!({
            "filename": file, "url": format!("../../files/{file}"),
            "hashes": {"sha256": digest(&bytes)}, "size": bytes.len(),
            "upload-time": "2026-01-01T00:00:00Z", "yanked": false,
        });
        if self.style == Style::Json {
            row["core-metadata"] = json!({ "sha256": digest(&metadata) });
        }
        change(&mut row);
        self.put(&format!("/files/{file}"), bytes);
        self.put(&format!("/files/{file}.metadata"), metadata);
        let mut files = self.files.lock().expect("no test panicked here");
        let rows = files.entry(project.to_owned()).or_default();
        rows.push(row);
        self.put(&format!("/simple/{project}/"), page(self.style, project, rows));
    }

    /// Serves these bytes.
    pub fn put(&self, path: &str, bytes: Vec<u8>) {
        self.pages.lock().expect("no test panicked here").insert(path.to_owned(), bytes);
    }

    /// How often it was asked for a path that ends so.
    pub fn count(&self, suffix: &str) -> usize {
        let asked = self.asked.lock().expect("no test panicked here");
        asked.iter().filter(|(path, _)| path.ends_with(suffix)).count()
    }
}

fn page(style: Style, project: &str, rows: &[Json]) -> Vec<u8> {
    if style != Style::Html {
        let page = json!({"meta": {"api-version": "1.1"}, "name": project, "files": rows});
        return page.to_string().into_bytes();
    }
    let mut text = String::from("<!DOCTYPE html><html><body>\n");
    for row in rows {
        let get = |name: &str| row[name].as_str().unwrap_or_default().to_owned();
        let digest = row["hashes"]["sha256"].as_str().unwrap_or_default();
        text +=
            &format!("<a href=\"{}#sha256={digest}\">{}</a><br/>\n", get("url"), get("filename"));
    }
    text.into_bytes()
}

fn serve(stream: TcpStream, pages: &Pages, log: &Asked) {
    let mut reader = BufReader::new(stream.try_clone().expect("a second handle"));
    let mut stream = stream;
    loop {
        let mut lines = Vec::new();
        loop {
            let mut line = String::new();
            match reader.read_line(&mut line) {
                Ok(0) | Err(_) => return,
                Ok(_) if line.trim().is_empty() => break,
                Ok(_) => lines.push(line.trim().to_owned()),
            }
        }
        let path = lines.first().and_then(|l| l.split(' ').nth(1)).unwrap_or("").to_owned();
        let secret = lines.iter().find_map(|line| {
            let (name, value) = line.split_once(':')?;
            name.eq_ignore_ascii_case("authorization").then(|| value.trim().to_owned())
        });
        log.lock().expect("no test panicked here").push((path.clone(), secret));
        let found = pages.lock().expect("no test panicked here").get(&path).cloned();
        let (status, body) = match found {
            Some(body) => ("200 OK", body),
            None => ("404 Not Found", Vec::new()),
        };
        let head = format!("HTTP/1.1 {status}\r\nContent-Length: {}\r\n\r\n", body.len());
        if stream.write_all(head.as_bytes()).and_then(|()| stream.write_all(&body)).is_err() {
            return;
        }
    }
}
