//! The registry over a Keg on disk, on a real socket, and a client.

use std::{net::SocketAddr, path::Path, sync::Arc};

use axum::body::Body;
use http_body_util::BodyExt as _;
use hyper::{Method, Request, StatusCode, client::conn::http1};
use hyper_util::rt::TokioIo;
use keg::Keg;
use sha2::{Digest as _, Sha256};
use tempfile::TempDir;
use tokio::net::{TcpListener, TcpStream};

/// A served Keg in a directory of its own.
pub struct World {
    pub keg: Arc<Keg>,
    pub address: SocketAddr,
    home: Arc<TempDir>,
}

/// An answer; `whole` tells whether its body came to its end.
pub struct Answer {
    pub status: StatusCode,
    pub headers: hyper::HeaderMap,
    pub body: Vec<u8>,
    pub whole: bool,
}

impl Answer {
    pub fn header(&self, name: &str) -> &str {
        self.headers.get(name).and_then(|value| value.to_str().ok()).unwrap_or("")
    }

    pub fn json(&self) -> serde_json::Value {
        let text = String::from_utf8_lossy(&self.body);
        serde_json::from_slice(&self.body).unwrap_or_else(|error| panic!("{error}: {text}"))
    }

    /// The code of the first error.
    pub fn code(&self) -> String {
        self.json()["errors"][0]["code"].as_str().unwrap_or("none").to_owned()
    }
}

impl World {
    pub async fn new() -> Self {
        let home = Arc::new(TempDir::new().expect("a directory"));
        let keg = Keg::open_or_create(&home.path().join("keg")).expect("a Keg");
        Self::serve(keg, home).await
    }

    /// The same Keg served by a new registry, as after a restart.
    pub async fn restart(&self) -> Self {
        let keg = Keg::open(self.keg.home()).expect("the Keg is there");
        Self::serve(keg, Arc::clone(&self.home)).await
    }

    async fn serve(keg: Keg, home: Arc<TempDir>) -> Self {
        let keg = Arc::new(keg);
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
        let address = listener.local_addr().expect("it is bound");
        let routes = registry::router(Arc::clone(&keg));
        tokio::spawn(async move { axum::serve(listener, routes).await });
        Self { keg, address, home }
    }

    /// A directory that vanishes with the world.
    pub fn scratch(&self) -> &Path {
        self.home.path()
    }

    pub async fn send(&self, method: Method, url: &str, headers: &[(&str, &str)]) -> Answer {
        let stream = TcpStream::connect(self.address).await.expect("it listens");
        let (mut sender, connection) =
            http1::handshake::<_, Body>(TokioIo::new(stream)).await.expect("HTTP");
        tokio::spawn(connection);
        let mut request = Request::builder().method(method).uri(url).header("host", "localhost");
        for (name, value) in headers {
            request = request.header(*name, *value);
        }
        let request = request.body(Body::empty()).expect("a request");
        let response = sender.send_request(request).await.expect("an answer");
        let (head, mut stream) = response.into_parts();
        let (mut body, mut whole) = (Vec::new(), true);
        while let Some(frame) = stream.frame().await {
            match frame {
                Ok(frame) => body.extend(frame.into_data().unwrap_or_default()),
                Err(_) => {
                    whole = false;
                    break;
                }
            }
        }
        Answer { status: head.status, headers: head.headers, body, whole }
    }

    pub async fn get(&self, url: &str) -> Answer {
        self.send(Method::GET, url, &[]).await
    }

    /// The manifest a reference names, and its digest.
    pub async fn manifest(&self, app: &str, reference: &str) -> (serde_json::Value, String) {
        let answer = self.get(&format!("/v2/{app}/manifests/{reference}")).await;
        assert_eq!(answer.status, 200, "{}", String::from_utf8_lossy(&answer.body));
        let digest = answer.header("docker-content-digest").to_owned();
        assert_eq!(digest, sha256(&answer.body));
        (answer.json(), digest)
    }
}

/// `sha256:…` of bytes.
pub fn sha256(bytes: &[u8]) -> String {
    format!("sha256:{}", hex::encode(Sha256::digest(bytes)))
}
