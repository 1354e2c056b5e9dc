//! What goes wrong: with apps, with connections, with clients.

use std::{cell::Cell, rc::Rc};

use hyper::StatusCode;

use serde_json::{Value, json};
use tokio::io::AsyncWriteExt;

use super::support::{App, read_head, world};

const OK: &[u8] = b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok";

#[tokio::test]
async fn apps_that_do_not_serve_say_why() {
    world(async |world| {
        let gone = App::start("gone").await;
        world.route("gone", &[gone.address]);
        gone.stop();
        world.route("empty", &[]);
        let state = |state: &str, error: Value| json!({"state": state, "error": error});
        let error = json!({"message": "exit 3", "hint": "see the log"});
        world.set("/machines/<m>/apps/failed.json", state("failed", error));
        world.set("/machines/<m>/apps/starting.json", state("starting", Value::Null));
        world.set("/source/pushed/file.json", json!({}));
        world.set("/machines/<m>/routes/broken.json", json!({"backends": [{"address": "x"}]}));
        world.set("/machines/<m>/apps/broken.json", state("live", Value::Null));
        let mut client = world.client().await;
        let unavailable = StatusCode::SERVICE_UNAVAILABLE;
        for (host, status, says) in [
            ("nosuch.localhost", StatusCode::NOT_FOUND, "git push keg main"),
            ("localhost", StatusCode::NOT_FOUND, "git push keg main"),
            ("127.0.0.1:8080", StatusCode::NOT_FOUND, "git push keg main"),
            ("evil.example", StatusCode::NOT_FOUND, "No app is served at evil.example"),
            ("a.gone.localhost", StatusCode::NOT_FOUND, "git push keg main"),
            ("gone.localhost", unavailable, "does not accept connections"),
            ("empty.localhost", unavailable, "not serving"),
            ("failed.localhost", unavailable, "exit 3\nsee the log"),
            ("starting.localhost", unavailable, "being started"),
            ("pushed.localhost", unavailable, "nothing of it has been released"),
            ("broken.localhost", unavailable, "being started again"),
        ] {
            let (got, body) = client.get(host, "/").await;
            assert_eq!(got, status, "{host}: {body}");
            assert!(body.contains(says), "{host}: {body}");
        }
    })
    .await;
}

#[tokio::test]
async fn clients_are_told_when_to_come_back() {
    world(async |world| {
        world.route("empty", &[]);
        let ask = b"GET / HTTP/1.1\r\nHost: empty.localhost\r\nConnection: close\r\n\r\n";
        assert!(world.raw(ask).await.contains("\r\nretry-after: 1\r\n"));
    })
    .await;
}

#[tokio::test]
async fn hostile_requests_are_refused() {
    world(async |world| {
        let app = App::start("one").await;
        world.route("blog", &[app.address]);
        let long = "a".repeat(40_000);
        let many = "A: b\r\n".repeat(200);
        for (ask, status) in [
            ("GET / HTTP/1.1\r\nA: b".to_owned(), "400"),
            ("GET / HTTP/1.1\r\nHost: blog.localhost\r\nHost: other.localhost".to_owned(), "400"),
            ("GET / HTTP/1.1\r\nHost: blog.localhost\u{e9}".to_owned(), "40"),
            (format!("GET / HTTP/1.1\r\nHost: blog.localhost\r\nA: {long}"), "431"),
            (format!("GET / HTTP/1.1\r\nHost: blog.localhost\r\n{many}X: y"), "431"),
            (format!("GET /{} HTTP/1.1\r\nHost: blog.localhost", &long[..20_000]), "414"),
            ("CONNECT blog.localhost:80 HTTP/1.1\r\nHost: blog.localhost:80".to_owned(), "405"),
            ("nonsense".to_owned(), "400"),
        ] {
            let ask = format!("{ask}\r\nConnection: close\r\n\r\n");
            let answer = world.raw(ask.as_bytes()).await;
            let start = format!("HTTP/1.1 {status}");
            assert!(answer.starts_with(&start), "{:.60}: {:.80}", ask, answer);
        }
        assert_eq!(app.connections.get(), 0, "none of them reached the app");
    })
    .await;
}

/// An app that closes each connection after one answer without saying so.
async fn forgetful() -> App {
    App::with(|mut stream, _| async move {
        if read_head(&mut stream).await.is_some() {
            stream.write_all(OK).await.expect("open");
        }
    })
    .await
}

#[tokio::test]
async fn a_connection_closed_while_idle_costs_no_request() {
    world(async |world| {
        let app = forgetful().await;
        world.route("blog", &[app.address]);
        let mut client = world.client().await;
        for method in ["GET", "POST", "POST", "GET", "POST"] {
            let (status, body) = client.ask(method, "blog.localhost", "/", "").await;
            assert_eq!((status, body.as_str()), (StatusCode::OK, "ok"), "{method}");
        }
        assert_eq!(app.connections.get(), 5);
    })
    .await;
}

/// An app that takes a second request on each connection and then breaks off.
async fn fickle(requests: Rc<Cell<usize>>) -> App {
    App::with(move |mut stream, _| {
        let requests = Rc::clone(&requests);
        async move {
            for answer in [Some(OK), None] {
                if read_head(&mut stream).await.is_none() {
                    return;
                }
                requests.set(requests.get() + 1);
                if let Some(answer) = answer {
                    stream.write_all(answer).await.expect("open");
                }
            }
        }
    })
    .await
}

#[tokio::test]
async fn what_the_app_may_have_done_is_not_done_twice() {
    for (method, status, seen) in [
        ("GET", StatusCode::OK, 3),
        ("DELETE", StatusCode::OK, 3),
        ("POST", StatusCode::BAD_GATEWAY, 2),
    ] {
        world(async |world| {
            let requests = Rc::new(Cell::new(0));
            let app = fickle(Rc::clone(&requests)).await;
            world.route("blog", &[app.address]);
            let mut client = world.client().await;
            assert_eq!(client.get("blog.localhost", "/").await.0, StatusCode::OK);
            let (got, body) = client.ask(method, "blog.localhost", "/", "").await;
            assert_eq!((got, requests.get()), (status, seen), "{method}: {body}");
        })
        .await;
    }
}

#[tokio::test]
async fn an_app_that_breaks_off_or_talks_nonsense_is_a_bad_gateway() {
    for words in [&b""[..], b"HTTP/1.1 200 OK\r\nContent-Le", b"SSH-2.0-x\r\n\r\n"] {
        world(async |world| {
            let app = App::with(move |mut stream, _| async move {
                read_head(&mut stream).await;
                stream.write_all(words).await.expect("open");
            });
            let app = app.await;
            world.route("blog", &[app.address]);
            let (status, body) = world.client().await.get("blog.localhost", "/").await;
            assert_eq!(status, StatusCode::BAD_GATEWAY);
            assert!(body.contains("keg logs blog"), "{body}");
            assert_eq!(app.connections.get(), 1, "on a new connection nothing is tried again");
        })
        .await;
    }
}

#[tokio::test]
async fn half_an_answer_is_never_taken_for_a_whole_one() {
    world(async |world| {
        let app = App::with(|mut stream, _| async move {
            read_head(&mut stream).await;
            let half = b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n4\r\nhalf\r\n";
            stream.write_all(half).await.expect("open");
        });
        let app = app.await;
        world.route("blog", &[app.address]);
        let ask = b"GET / HTTP/1.1\r\nHost: blog.localhost\r\nConnection: close\r\n\r\n";
        let answer = world.raw(ask).await;
        assert!(answer.contains("half") && !answer.ends_with("0\r\n\r\n"), "{answer}");
    })
    .await;
}
