//! Serves HTTP connections with a bound on everything a client can make us wait for or hold.
//!
//! `axum::serve` waits for a request's head as long as the client likes, so that a few hundred
//! sockets that send one byte a minute (slowloris) would take every descriptor of the service.

use std::{sync::Arc, time::Duration};

use axum::Router;
use hyper::server::conn::http1;
use hyper_util::{
    rt::{TokioIo, TokioTimer},
    service::TowerToHyperService,
};
use rustix::net::sockopt;
use tokio::{
    net::{TcpListener, TcpStream},
    sync::{OwnedSemaphorePermit, Semaphore},
    time::sleep,
};

/// Connections at a time; further ones wait to be accepted.
const MAX_CONNECTIONS: usize = 512;
/// How long a request's head may take, and how long a connection may be idle between two.
const HEAD_TIMEOUT: Duration = Duration::from_secs(30);
/// Most headers of a request: more than [`crate::guard`] lets through, as it says what is wrong.
const MAX_HEADERS: usize = 256;
/// Most bytes of a head, and of an answer that waits to be read.
const MAX_BUFFER: usize = 64 * 1024;
/// How long a client may read nothing of what is sent before its connection is closed.
const STALL: Duration = Duration::from_secs(120);
/// How long to wait when no connection can be accepted, most likely for lack of descriptors.
const PAUSE: Duration = Duration::from_millis(50);

/// Serves the routes on the listener until the future is dropped.
pub async fn serve(listener: TcpListener, routes: Router) {
    serve_within(listener, routes, HEAD_TIMEOUT).await;
}

/// [`serve`] with another time for heads.
async fn serve_within(listener: TcpListener, routes: Router, head_timeout: Duration) {
    let free = Arc::new(Semaphore::new(MAX_CONNECTIONS));
    while let Ok(permit) = Arc::clone(&free).acquire_owned().await {
        match listener.accept().await {
            Ok((stream, _)) => {
                tokio::spawn(converse(stream, routes.clone(), head_timeout, permit));
            }
            Err(_) => sleep(PAUSE).await,
        }
    }
}

/// Serves one client until either side closes the connection.
async fn converse(
    stream: TcpStream,
    routes: Router,
    head_timeout: Duration,
    _permit: OwnedSemaphorePermit,
) {
    // Without them answers are right, only slower, and a dead client is noticed later.
    let _ = stream.set_nodelay(true);
    let _ = sockopt::set_tcp_user_timeout(&stream, STALL.as_millis() as u32);
    let connection = http1::Builder::new()
        .timer(TokioTimer::new())
        .header_read_timeout(head_timeout)
        .max_headers(MAX_HEADERS)
        .max_buf_size(MAX_BUFFER)
        .serve_connection(TokioIo::new(stream), TowerToHyperService::new(routes));
    // An error is the client's own doing: it went away, or sent what is no HTTP.
    let _ = connection.await;
}

#[cfg(test)]
mod tests {
    use axum::routing::get;
    use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};

    use super::*;

    const QUICK: Duration = Duration::from_millis(200);

    async fn start() -> TcpStream {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a free port");
        let address = listener.local_addr().expect("it is bound");
        let routes = Router::new().route("/", get(|| async { "here" }));
        tokio::spawn(serve_within(listener, routes, QUICK));
        TcpStream::connect(address).await.expect("it listens")
    }

    async fn rest(stream: &mut TcpStream) -> String {
        let mut text = String::new();
        let read = tokio::time::timeout(QUICK * 20, stream.read_to_string(&mut text)).await;
        read.expect("it is closed in time").expect("it is closed orderly");
        text
    }

    #[tokio::test]
    async fn requests_are_answered_and_idle_connections_closed() {
        let mut stream = start().await;
        let request = b"GET / HTTP/1.1\r\nhost: localhost\r\n\r\n";
        stream.write_all(request).await.expect("sent");
        tokio::time::sleep(QUICK / 4).await;
        stream.write_all(request).await.expect("kept alive");
        assert_eq!(rest(&mut stream).await.matches("here").count(), 2);
    }

    #[tokio::test]
    async fn a_head_that_does_not_end_is_not_waited_for() {
        for beginning in ["", "GET / HT", "GET / HTTP/1.1\r\nhost: localhost\r\nx: "] {
            let mut stream = start().await;
            stream.write_all(beginning.as_bytes()).await.expect("sent");
            assert!(!rest(&mut stream).await.contains("here"), "{beginning}");
        }
    }
}
