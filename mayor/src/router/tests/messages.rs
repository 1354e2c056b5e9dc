//! What goes through: requests, bodies, other protocols.

use std::{cell::Cell, rc::Rc, time::Duration};

use bytes::Bytes;
use futures_util::stream;
use http_body_util::{BodyExt, StreamBody};
use hyper::{StatusCode, body::Frame};
use hyper_util::rt::TokioIo;
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    sync::mpsc,
    time::sleep,
};

use super::support::{App, Body, full, read_head, request, world};

#[tokio::test]
async fn connections_are_kept_on_both_sides() {
    world(async |world| {
        let app = App::start("one").await;
        world.route("blog", &[app.address]);
        let mut client = world.client().await;
        for _ in 0..20 {
            for host in ["blog.localhost", "BLOG.localhost:8080"] {
                let (status, body) = client.get(host, "/").await;
                assert_eq!((status, body.as_str()), (StatusCode::OK, "this is one"));
            }
        }
        assert_eq!(app.connections.get(), 1);
    })
    .await;
}

#[tokio::test]
async fn an_app_gets_the_request_and_who_asked() {
    world(async |world| {
        let app = App::start("one").await;
        world.route("blog", &[app.address]);
        let ask = request("POST", "blog.localhost:8080", "/headers?a=b%20c")
            .header("x-forwarded-for", "8.8.8.8")
            .header("connection", "x-secret")
            .header("x-secret", "1")
            .header("content-length", "0")
            .header("cookie", "a=b")
            .body(full(""));
        let response = world.client().await.send(ask.expect("a request")).await;
        let body = response.into_body().collect().await.expect("a body").to_bytes();
        let mut lines: Vec<_> = std::str::from_utf8(&body).expect("text").lines().collect();
        lines.sort_unstable();
        assert_eq!(
            lines,
            [
                "POST /headers?a=b%20c",
                "content-length: \"0\"",
                "cookie: \"a=b\"",
                "host: \"blog.localhost:8080\"",
                "x-forwarded-for: \"127.0.0.1\"",
                "x-forwarded-host: \"blog.localhost:8080\"",
                "x-forwarded-proto: \"http\"",
            ]
        );
    })
    .await;
}

#[tokio::test]
async fn an_absolute_url_and_http_1_0_work() {
    world(async |world| {
        let app = App::start("one").await;
        world.route("blog", &[app.address]);
        for ask in [
            "GET http://blog.localhost/ HTTP/1.1\r\nHost: other.localhost\r\nConnection: close",
            "GET / HTTP/1.0\r\nHost: blog.localhost",
            "OPTIONS * HTTP/1.1\r\nHost: blog.localhost\r\nConnection: close",
        ] {
            let answer = world.raw(format!("{ask}\r\n\r\n").as_bytes()).await;
            assert!(answer.contains(" 200 OK") && answer.ends_with("this is one"), "{answer}");
        }
        let head = b"HEAD / HTTP/1.1\r\nHost: blog.localhost\r\nConnection: close\r\n\r\n";
        let answer = world.raw(head).await;
        assert!(answer.contains("content-length: 11\r\n") && answer.ends_with("\r\n\r\n"));
    })
    .await;
}

#[tokio::test]
async fn bodies_stream_both_ways() {
    world(async |world| {
        let app = App::start("one").await;
        world.route("blog", &[app.address]);
        let (give, taken) = mpsc::channel::<&'static [u8]>(1);
        let parts = stream::unfold(taken, |mut taken| async {
            let part = taken.recv().await?;
            Some((Ok(Frame::data(Bytes::from_static(part))), taken))
        });
        let body: Body = BodyExt::boxed_unsync(StreamBody::new(parts));
        let ask = request("POST", "blog.localhost", "/echo").body(body).expect("a request");
        give.send(b"first").await.expect("the client reads");
        let mut answer = world.client().await.send(ask).await.into_body();
        for part in [&b"first"[..], b"second", b"third"] {
            if part != b"first" {
                give.send(part).await.expect("the client reads");
            }
            // Comes back before the next is there.
            let frame = answer.frame().await.expect("a frame").expect("no error");
            assert_eq!(frame.into_data().expect("data"), part);
        }
        drop(give);
        assert!(answer.frame().await.is_none());
    })
    .await;
}

#[tokio::test]
async fn a_large_body_arrives_whole() {
    world(async |world| {
        let app = App::start("one").await;
        world.route("blog", &[app.address]);
        let bytes: Vec<u8> =
            (0..8 << 20).map(|i: u32| (i.wrapping_mul(40503) >> 7) as u8).collect();
        let body = full(bytes.clone());
        let ask = request("PUT", "blog.localhost", "/echo").body(body).expect("a request");
        let answer = world.client().await.send(ask).await;
        assert_eq!(answer.headers()["content-length"], bytes.len().to_string());
        assert_eq!(answer.into_body().collect().await.expect("a body").to_bytes(), bytes);
    })
    .await;
}

#[tokio::test]
async fn another_protocol_goes_through() {
    world(async |world| {
        let app = App::start("one").await;
        world.route("blog", &[app.address]);
        let ask = request("GET", "blog.localhost", "/upgrade")
            .header("connection", "Upgrade")
            .header("upgrade", "shout")
            .body(full(""));
        let response = world.client().await.send(ask.expect("a request")).await;
        assert_eq!(response.status(), StatusCode::SWITCHING_PROTOCOLS);
        assert_eq!(response.headers()["upgrade"], "shout");
        let mut io = TokioIo::new(hyper::upgrade::on(response).await.expect("it switches"));
        for word in ["hello", "again"] {
            io.write_all(word.as_bytes()).await.expect("open");
            let mut back = [0; 8];
            let want = if word == "hello" { "welcome hello" } else { word };
            let mut got = Vec::new();
            while got.len() < want.len() {
                let read = io.read(&mut back).await.expect("open");
                assert_ne!(read, 0, "closed early");
                got.extend_from_slice(&back[..read]);
            }
            assert_eq!(got, want.as_bytes());
        }
        io.shutdown().await.expect("open");
        assert_eq!(io.read(&mut [0; 8]).await.expect("a close"), 0, "the close goes through");
    })
    .await;
}

#[tokio::test]
async fn nobody_is_switched_who_did_not_ask() {
    world(async |world| {
        let app = App::start("one").await;
        world.route("blog", &[app.address]);
        let (status, _) = world.client().await.get("blog.localhost", "/upgrade").await;
        assert_eq!(status, StatusCode::BAD_GATEWAY);
    })
    .await;
}

#[tokio::test]
async fn an_app_learns_that_its_client_has_left() {
    world(async |world| {
        let left = Rc::new(Cell::new(false));
        let told = Rc::clone(&left);
        let app = App::with(move |mut stream, _| {
            let told = Rc::clone(&told);
            async move {
                read_head(&mut stream).await.expect("a request");
                let events =
                    b"HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\n\r\ndata: 1\n\n";
                stream.write_all(events).await.expect("open");
                told.set(matches!(stream.read(&mut [0; 1]).await, Ok(0) | Err(_)));
            }
        });
        let app = app.await;
        world.route("blog", &[app.address]);
        let mut client = world.client().await;
        let ask = request("GET", "blog.localhost", "/events").body(full("")).expect("a request");
        let mut answer = client.send(ask).await.into_body();
        assert!(answer.frame().await.is_some(), "the event comes while the answer goes on");
        drop((answer, client));
        while !left.get() {
            sleep(Duration::from_millis(5)).await;
        }
    })
    .await;
}
