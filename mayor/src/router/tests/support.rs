//! A router on a Keg in memory, apps in the test's own network namespace, and clients.

use std::{
    cell::{Cell, RefCell},
    convert::Infallible,
    net::{Ipv4Addr, SocketAddr},
    rc::Rc,
    sync::Arc,
    time::Duration,
};

use bytes::Bytes;
use http_body_util::{BodyExt, Either, Full};
use hyper::{
    Request, Response, StatusCode,
    body::Incoming,
    client::conn::http1::SendRequest,
    header::{CONNECTION, HOST, UPGRADE},
    service::service_fn,
};
use hyper_util::rt::TokioIo;
use keg::{Keg, Txn};
use serde_json::json;
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::{TcpListener, TcpStream},
    sync::watch,
    task::{JoinHandle, LocalSet, spawn_local},
    time::timeout,
};

const OWN_NETNS: &str = "/proc/thread-self/ns/net";

/// Everything a test does must be over by then.
const PATIENCE: Duration = Duration::from_secs(20);

pub(super) struct World {
    pub(super) keg: Arc<Keg>,
    pub(super) address: SocketAddr,
}

/// Runs a test against a router.
pub(super) async fn world<T>(test: impl AsyncFnOnce(&World) -> T) -> T {
    let run = async {
        let keg = Arc::new(Keg::in_memory());
        let listener = std::net::TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).expect("a port");
        let address = listener.local_addr().expect("it listens");
        let router = spawn_local(super::super::serve(Arc::clone(&keg), listener));
        let result = test(&World { keg, address }).await;
        assert!(!router.is_finished(), "the router runs on");
        router.abort();
        result
    };
    timeout(PATIENCE, LocalSet::new().run_until(run)).await.expect("the test ends in time")
}

impl World {
    pub(super) fn set(&self, path: &str, document: serde_json::Value) {
        let path = path.replace("<m>", &keg::machine::name()).parse().expect("a path");
        let txn = Txn::new("service/mayor", "test").set_json(path, document);
        self.keg.commit(txn).expect("nothing is expected of the names");
    }

    /// Routes an app to where its processes listen.
    pub(super) fn route(&self, app: &str, addresses: &[SocketAddr]) {
        let backend = |address: &SocketAddr| {
            let process = format!("K-{address}");
            json!({"process": process, "netns": OWN_NETNS, "address": address})
        };
        let backends: Vec<_> = addresses.iter().map(backend).collect();
        let host = format!("{app}.localhost");
        let document = json!({"app": app, "host": host, "backends": backends});
        self.set(&format!("/machines/<m>/routes/{app}.json"), document);
    }

    pub(super) async fn client(&self) -> Client {
        let stream = TcpStream::connect(self.address).await.expect("the router listens");
        let (sender, connection) =
            hyper::client::conn::http1::handshake(TokioIo::new(stream)).await.expect("no I/O");
        spawn_local(connection.with_upgrades());
        Client { sender }
    }

    /// Sends bytes as they are and reads until the router closes the connection.
    pub(super) async fn raw(&self, bytes: &[u8]) -> String {
        let mut stream = TcpStream::connect(self.address).await.expect("the router listens");
        // It may close before it has read all.
        let _ = stream.write_all(bytes).await;
        let mut answer = Vec::new();
        let _ = stream.read_to_end(&mut answer).await;
        String::from_utf8_lossy(&answer).into_owned()
    }
}

/// One connection to the router.
pub(super) struct Client {
    sender: SendRequest<Body>,
}

pub(super) type Body = http_body_util::combinators::UnsyncBoxBody<Bytes, Infallible>;

pub(super) fn full(bytes: impl Into<Bytes>) -> Body {
    Full::from(bytes.into()).boxed_unsync()
}

pub(super) fn request(method: &str, host: &str, path: &str) -> hyper::http::request::Builder {
    Request::builder().method(method).uri(path).header(HOST, host)
}

impl Client {
    pub(super) async fn send(&mut self, request: Request<Body>) -> Response<Incoming> {
        self.sender.ready().await.expect("the connection is kept");
        self.sender.send_request(request).await.expect("an answer")
    }

    /// A request without a body, or with one, and its whole answer.
    pub(super) async fn ask(
        &mut self,
        method: &str,
        host: &str,
        path: &str,
        body: &'static str,
    ) -> (StatusCode, String) {
        let request = request(method, host, path).body(full(body)).expect("a request");
        let response = self.send(request).await;
        let status = response.status();
        let body = response.into_body().collect().await.expect("a whole body").to_bytes();
        (status, String::from_utf8_lossy(&body).into_owned())
    }

    pub(super) async fn get(&mut self, host: &str, path: &str) -> (StatusCode, String) {
        self.ask("GET", host, path, "").await
    }
}

/// An app with one process.
pub(super) struct App {
    pub(super) address: SocketAddr,
    /// Connections it has accepted.
    pub(super) connections: Rc<Cell<usize>>,
    stop: watch::Sender<bool>,
    listening: JoinHandle<()>,
}

impl App {
    /// Answers as [`respond`] does.
    pub(super) async fn start(name: &'static str) -> Self {
        Self::with(move |stream, mut stop| async move {
            let service = service_fn(move |request| respond(name, request));
            let server = hyper::server::conn::http1::Builder::new();
            let connection = server.serve_connection(TokioIo::new(stream), service).with_upgrades();
            let mut connection = std::pin::pin!(connection);
            tokio::select! {
                _ = connection.as_mut() => return,
                _ = stop.wait_for(|stop| *stop) => connection.as_mut().graceful_shutdown(),
            }
            let _ = connection.await;
        })
        .await
    }

    /// Treats each connection as `serve` does.
    pub(super) async fn with<F: Future<Output = ()> + 'static>(
        serve: impl Fn(TcpStream, watch::Receiver<bool>) -> F + 'static,
    ) -> Self {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await.expect("a port");
        let address = listener.local_addr().expect("it listens");
        let connections = Rc::new(Cell::new(0));
        let (stop, stopped) = watch::channel(false);
        let count = Rc::clone(&connections);
        let listening = spawn_local(async move {
            while let Ok((stream, _)) = listener.accept().await {
                count.set(count.get() + 1);
                spawn_local(serve(stream, stopped.clone()));
            }
        });
        Self { address, connections, stop, listening }
    }

    /// As on SIGTERM: accepts no more, closes idle connections, ends what it is at.
    pub(super) fn stop(self) {
        self.listening.abort();
        self.stop.send_replace(true);
    }
}

type Answered = Result<Response<Either<Incoming, Full<Bytes>>>, Infallible>;

/// `/headers`: what it got. `/echo`: the body as it comes. `/upgrade`: an echo of another
/// protocol. Anything else: its name.
async fn respond(name: &'static str, mut request: Request<Incoming>) -> Answered {
    let text = |text: String| Ok(Response::new(Either::Right(Full::from(text))));
    match request.uri().path() {
        "/headers" => {
            let line = format!("{} {:?}\n", request.method(), request.uri());
            let headers = request.headers().iter();
            let headers = headers.map(|(name, value)| format!("{name}: {value:?}\n"));
            text(line + &headers.collect::<String>())
        }
        "/echo" => Ok(Response::new(Either::Left(request.into_body()))),
        "/upgrade" => {
            let upgrade = hyper::upgrade::on(&mut request);
            spawn_local(async move {
                let mut io = TokioIo::new(upgrade.await.expect("the client switches too"));
                io.write_all(b"welcome ").await.expect("open");
                let (mut read, mut write) = tokio::io::split(io);
                let _ = tokio::io::copy(&mut read, &mut write).await;
                let _ = write.shutdown().await;
            });
            let response = Response::builder().status(StatusCode::SWITCHING_PROTOCOLS);
            let response = response.header(CONNECTION, "Upgrade").header(UPGRADE, "shout");
            Ok(response.body(Either::Right(Full::default())).expect("a response"))
        }
        _ => text(format!("this is {name}")),
    }
}

/// Reads one request without a body; `None`: the connection was closed.
pub(super) async fn read_head(stream: &mut TcpStream) -> Option<String> {
    let mut head = Vec::new();
    while !head.ends_with(b"\r\n\r\n") {
        head.push(stream.read_u8().await.ok()?);
    }
    String::from_utf8(head).ok()
}

/// A list that tasks of a test add to.
pub(super) type Shared<T> = Rc<RefCell<Vec<T>>>;
