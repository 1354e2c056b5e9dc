//! The front over real connections.

use axum::routing::get;
use futures_util::{StreamExt, stream};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    sync::oneshot,
};

use super::*;

/// Long enough for anything on a busy machine, and never reached.
const NEVER: Duration = Duration::from_secs(600);
const LIMITS: Limits = Limits { connections: 8, head: NEVER, farewell: NEVER };

/// A front with routes that answer at once, when told, and never to the end.
struct World {
    address: std::net::SocketAddr,
    stop: Option<oneshot::Sender<()>>,
    release: watch::Sender<bool>,
    serving: tokio::task::JoinHandle<io::Result<()>>,
}

impl World {
    fn new(limits: Limits) -> Self {
        let listener = std::net::TcpListener::bind("127.0.0.1:0").expect("a port");
        let address = listener.local_addr().expect("an address");
        let release = watch::Sender::new(false);
        let released = release.subscribe();
        let slow = move || {
            let mut released = released.clone();
            async move {
                let first = stream::iter([Ok::<_, io::Error>("one ")]);
                let second = stream::once(async move {
                    released.wait_for(|released| *released).await.map_err(io::Error::other)?;
                    Ok("two")
                });
                Body::from_stream(first.chain(second))
            }
        };
        let endless = || async {
            let event = stream::iter([Ok::<_, Infallible>("data: one\n\n")]);
            ([(CONTENT_TYPE, ENDLESS)], Body::from_stream(event.chain(stream::pending())))
        };
        let router = Router::new()
            .route("/", get(|| async { "hello" }))
            .route("/slow", get(slow))
            .route("/endless", get(endless));
        let (stop, stopped) = oneshot::channel::<()>();
        let stopped = async { drop(stopped.await) };
        let local = serve(listener, router, limits, stopped);
        let serving = tokio::task::spawn_local(local);
        Self { address, stop: Some(stop), release, serving }
    }

    async fn connect(&self, text: &str) -> TcpStream {
        let mut stream = TcpStream::connect(self.address).await.expect("it listens");
        stream.write_all(text.as_bytes()).await.expect("it reads");
        stream
    }

    fn stop(&mut self) {
        self.stop.take().expect("told once").send(()).expect("it runs");
    }
}

fn ask(path: &str) -> String {
    format!("GET {path} HTTP/1.1\r\nHost: localhost\r\n\r\n")
}

/// Reads until the text is there.
async fn read_until(stream: &mut TcpStream, wanted: &str) -> String {
    let mut seen = Vec::new();
    loop {
        let text = String::from_utf8_lossy(&seen).into_owned();
        if text.contains(wanted) {
            return text;
        }
        let read = stream.read_buf(&mut seen).await.expect("a connection");
        assert_ne!(read, 0, "it ended before {wanted:?}: {text}");
    }
}

async fn rest(mut stream: TcpStream) -> String {
    let mut seen = Vec::new();
    // A reset ends it as well.
    let _ = stream.read_to_end(&mut seen).await;
    String::from_utf8_lossy(&seen).into_owned()
}

fn run(test: impl Future<Output = ()>) {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
    LocalSet::new().block_on(&runtime.expect("a runtime"), test);
}

#[test]
fn connections_are_kept_and_reused() {
    run(async {
        let world = World::new(LIMITS);
        let mut client = world.connect(&ask("/")).await;
        read_until(&mut client, "hello").await;
        client.write_all(ask("/").as_bytes()).await.expect("it reads");
        read_until(&mut client, "hello").await;
    });
}

#[test]
fn a_slow_head_is_cut_off_and_harms_nobody() {
    run(async {
        let world = World::new(Limits { head: Duration::from_millis(300), ..LIMITS });
        let slow = world.connect("GET / HTTP/1.1\r\nHost: loc").await;
        let silent = world.connect("").await;
        let mut other = world.connect(&ask("/")).await;
        read_until(&mut other, "hello").await;
        // Each of these ends only because the front closes it.
        assert!(!rest(slow).await.contains("hello"));
        assert_eq!(rest(silent).await, "");
        assert_eq!(rest(other).await, "", "idle for too long");
    });
}

#[test]
fn connections_beyond_the_bound_wait() {
    run(async {
        let world = World::new(Limits { connections: 2, ..LIMITS });
        let (first, second) = (world.connect(&ask("/")).await, world.connect("").await);
        let mut third = world.connect(&ask("/")).await;
        let mut first = first;
        read_until(&mut first, "hello").await;
        let mut byte = [0];
        let early = timeout(Duration::from_millis(200), third.read(&mut byte)).await;
        assert!(early.is_err(), "it was served as a third: {early:?}");
        drop(second);
        read_until(&mut third, "hello").await;
    });
}

#[test]
fn requests_under_way_end_before_the_service() {
    run(async {
        let mut world = World::new(LIMITS);
        let mut idle = world.connect(&ask("/")).await;
        read_until(&mut idle, "hello").await;
        let half = world.connect("GET / HT").await;
        let mut endless = world.connect(&ask("/endless")).await;
        read_until(&mut endless, "data: one").await;
        let mut slow = world.connect(&ask("/slow")).await;
        read_until(&mut slow, "one ").await;
        world.stop();
        assert_eq!(rest(idle).await, "");
        assert!(TcpStream::connect(world.address).await.is_err(), "it takes no more");
        assert!(!world.serving.is_finished(), "one is not done yet");
        world.release.send_replace(true);
        assert!(rest(slow).await.contains("two"));
        // Neither the endless answer nor the half request keeps it.
        world.serving.await.expect("no panic").expect("served");
        assert!(!rest(endless).await.contains("data: two"));
        assert_eq!(rest(half).await, "");
    });
}

#[test]
fn the_farewell_has_an_end() {
    run(async {
        let farewell = Duration::from_millis(100);
        let mut world = World::new(Limits { farewell, ..LIMITS });
        let mut slow = world.connect(&ask("/slow")).await;
        read_until(&mut slow, "one ").await;
        world.stop();
        world.serving.await.expect("no panic").expect("served");
        assert!(!rest(slow).await.contains("two"));
    });
}
