//! etcd as Debian has it, with its own defaults (each write synced before it is answered), one
//! member on loopback; its clients speak its v3 API over gRPC.

use std::{
    net::TcpListener,
    path::Path,
    process::{Child, Command, Stdio},
    time::{Duration, Instant},
};

use super::{
    SPAN, WRITERS, Written,
    grpc::{Connection, Field, bytes_in, message, number_in},
    watch::{MOVES, PAUSE, now},
};

/// Connections that the clients share.
const CONNECTIONS: usize = 8;
/// Longest start.
const START: Duration = Duration::from_secs(30);
const TXN: &str = "etcdserverpb.KV/Txn";
const WATCH: &str = "etcdserverpb.Watch/Watch";

/// A server that ends with this value.
struct Server {
    child: Child,
    port: u16,
}

impl Drop for Server {
    fn drop(&mut self) {
        // Nothing of it is needed any more.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

impl Server {
    fn start(dir: &Path) -> Self {
        std::fs::create_dir_all(dir).expect("made");
        // Two that are free now.
        let free = || TcpListener::bind("127.0.0.1:0").expect("a port");
        let (client, peer) = (free(), free());
        let port = |of: &TcpListener| of.local_addr().expect("a port").port();
        let (client, peer) = (port(&client), port(&peer));
        let url = |port: u16| format!("http://127.0.0.1:{port}");
        let child = Command::new("etcd")
            .args(["--name", "one", "--data-dir"])
            .arg(dir)
            .args(["--listen-client-urls", &url(client), "--advertise-client-urls", &url(client)])
            .args(["--listen-peer-urls", &url(peer), "--initial-advertise-peer-urls", &url(peer)])
            .args(["--initial-cluster", &format!("one={}", url(peer)), "--log-level", "error"])
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .expect("etcd starts: the package etcd-server is installed");
        Self { child, port: client }
    }

    /// A connection, once the server has elected itself.
    async fn connect(&self) -> Connection {
        let begun = Instant::now();
        loop {
            match Connection::open(self.port).await {
                Ok(connection) => return connection,
                Err(error) if begun.elapsed() > START => panic!("etcd: {error}"),
                Err(_) => tokio::time::sleep(Duration::from_millis(20)).await,
            }
        }
    }
}

fn run<T>(work: impl Future<Output = T>) -> T {
    let mut runtime = tokio::runtime::Builder::new_current_thread();
    let runtime = runtime.enable_all().build().expect("a runtime");
    tokio::task::LocalSet::new().block_on(&runtime, work)
}

/// If the key was last changed at `revision` (0: it is not there), set it; else get it.
fn swap(key: &[u8], revision: u64, value: &[u8]) -> Vec<u8> {
    const MOD: u64 = 2;
    let compare = [(2, Field::Number(MOD)), (3, Field::Bytes(key)), (6, Field::Number(revision))];
    let put = message(&[(1, Field::Bytes(key)), (2, Field::Bytes(value))]);
    let get = message(&[(1, Field::Bytes(key))]);
    message(&[
        (1, Field::Bytes(&message(&compare))),
        (2, Field::Bytes(&message(&[(2, Field::Bytes(&put))]))),
        (3, Field::Bytes(&message(&[(1, Field::Bytes(&get))]))),
    ])
}

/// The revision to expect next time, and whether this time it was made.
fn swapped(answer: &[u8]) -> (u64, bool) {
    if number_in(answer, 2) == 1 {
        return (number_in(bytes_in(answer, 1), 3), true);
    }
    let range = bytes_in(bytes_in(answer, 3), 1);
    (number_in(bytes_in(range, 2), 3), false)
}

/// 64 clients.
pub fn writers(dir: &Path, hot: bool) -> Written {
    let server = Server::start(dir);
    run(async {
        let mut connections = Vec::new();
        for _ in 0..CONNECTIONS {
            connections.push(server.connect().await);
        }
        // The first answer comes when there is a leader.
        connections[0].call(TXN, &swap(b"first", 0, b"1")).await;
        let begun = Instant::now();
        let clients: Vec<_> = (0..WRITERS)
            .map(|n| {
                let connection = connections[n % CONNECTIONS].clone();
                tokio::task::spawn_local(client(connection, n, hot, begun))
            })
            .collect();
        let mut all = Written::default();
        for client in clients {
            all.took.extend(client.await.expect("it ends"));
        }
        all.span = begun.elapsed().as_secs_f64();
        all
    })
}

async fn client(connection: Connection, n: usize, hot: bool, begun: Instant) -> Vec<f64> {
    let key = if hot { "/cas/hot".to_owned() } else { format!("/cas/{n:02}") };
    let (mut took, mut revision) = (Vec::new(), 0);
    while begun.elapsed() < SPAN {
        let start = Instant::now();
        let value = serde_json::json!([n, took.len()]).to_string();
        loop {
            let request = swap(key.as_bytes(), revision, value.as_bytes());
            let (now, made) = swapped(&connection.call(TXN, &request).await);
            revision = now;
            if made {
                break;
            }
        }
        took.push(start.elapsed().as_secs_f64());
    }
    took
}

/// Seconds from the start of each move to its event.
pub fn events(dir: &Path) -> Vec<f64> {
    let server = Server::start(dir);
    run(async {
        let (writer, watcher) = (server.connect().await, server.connect().await);
        let key = b"/watched";
        let mut revision = swapped(&writer.call(TXN, &swap(key, 0, b"0")).await).0;
        let create = message(&[(1, Field::Bytes(&message(&[(1, Field::Bytes(key))])))]);
        let mut answers = watcher.follow(WATCH, &create).await;
        let created = answers.next().await.expect("it is watched");
        assert_eq!(number_in(&created, 3), 1, "it is watched");
        let heard = tokio::task::spawn_local(async move {
            let mut heard = Vec::new();
            while (heard.len() as u64) < MOVES {
                let answer = answers.next().await.expect("events");
                if !bytes_in(&answer, 11).is_empty() {
                    heard.push(now());
                }
            }
            heard
        });
        let mut begun = Vec::new();
        for n in 0..MOVES {
            begun.push(now());
            let value = n.to_string();
            let answer = writer.call(TXN, &swap(key, revision, value.as_bytes())).await;
            let (next, made) = swapped(&answer);
            assert!(made, "nobody else writes");
            revision = next;
            tokio::time::sleep(PAUSE).await;
        }
        let heard = heard.await.expect("it ends");
        let pairs = heard.iter().zip(&begun);
        pairs.map(|(heard, begun)| (heard - begun) as f64 / 1e9).collect()
    })
}
