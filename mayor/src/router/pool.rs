//! A backend, and the connections to it that wait for the next request.

use std::{
    cell::{Cell, RefCell},
    io,
    net::SocketAddr,
    path::PathBuf,
    rc::Rc,
    time::Duration,
};

use hyper::client::conn::http1::{Builder, SendRequest};
use hyper_util::rt::TokioIo;
use tokio::time::{Instant, timeout};

use super::{
    MAX_BUFFER, MAX_HEAD, MAX_HEADERS,
    body::Upload,
    link::{Gauge, link},
    netns,
};

/// Most idle connections kept for one backend.
const MAX_IDLE: usize = 64;

/// How long a connection may be idle. Short, since an app with one worker serves nobody else
/// while it waits on a connection of ours.
pub(super) const IDLE_TIMEOUT: Duration = Duration::from_secs(5);

/// How long the app's kernel may take to accept a connection: only a full backlog takes any time.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(5);

/// Where one process of an app listens.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(super) struct Place {
    pub(super) process: String,
    pub(super) netns: PathBuf,
    pub(super) address: SocketAddr,
}

/// One process of an app, and the idle connections to it, the youngest last.
pub(super) struct Backend {
    place: Place,
    idle: RefCell<Vec<Idle>>,
    retired: Cell<bool>,
}

/// A connection to a backend, ready for one request.
pub(super) struct Connection {
    pub(super) sender: SendRequest<Upload>,
    gauge: Gauge,
    /// Whether it has served a request before, and so may have been closed meanwhile.
    pub(super) reused: bool,
}

struct Idle {
    connection: Connection,
    since: Instant,
}

impl Backend {
    pub(super) fn new(place: Place) -> Self {
        Self { place, idle: RefCell::default(), retired: Cell::new(false) }
    }

    pub(super) fn place(&self) -> &Place {
        &self.place
    }

    /// Whether it is not in the routes any more.
    pub(super) fn is_retired(&self) -> bool {
        self.retired.get()
    }

    /// A connection that is idle and still open.
    pub(super) fn pooled(&self) -> Option<Connection> {
        let mut idle = self.idle.borrow_mut();
        while let Some(Idle { connection, since }) = idle.pop() {
            let young = since.elapsed() < IDLE_TIMEOUT;
            if young && connection.sender.is_ready() && connection.gauge.is_quiet() {
                return Some(connection);
            }
        }
        None
    }

    /// A new connection.
    pub(super) async fn connect(&self) -> io::Result<Connection> {
        let connected = timeout(CONNECT_TIMEOUT, async {
            let stream = netns::connect(&self.place.netns, self.place.address).await?;
            let (stream, gauge) = link(stream);
            let shake = Builder::new()
                .max_buf_size(MAX_BUFFER)
                .max_header_size(MAX_HEAD)
                .max_headers(MAX_HEADERS)
                .handshake(TokioIo::new(stream));
            let (sender, connection) = shake.await.map_err(io::Error::other)?;
            // What goes wrong on it is told to the request that is on it.
            tokio::task::spawn_local(async move {
                let _ = connection.with_upgrades().await;
            });
            Ok(Connection { sender, gauge, reused: false })
        });
        connected.await.map_err(|_| io::Error::from(io::ErrorKind::TimedOut))?
    }

    /// Takes a connection back once the answer on it has been read to its end. Until then its
    /// request belongs to one of our clients, whose number is limited.
    pub(super) fn recycle(self: &Rc<Self>, mut connection: Connection) {
        let backend = Rc::downgrade(self);
        tokio::task::spawn_local(async move {
            if connection.sender.ready().await.is_ok()
                && let Some(backend) = backend.upgrade()
            {
                connection.reused = true;
                backend.put(connection);
            }
        });
    }

    fn put(&self, connection: Connection) {
        let mut idle = self.idle.borrow_mut();
        if !self.retired.get() && idle.len() < MAX_IDLE {
            idle.push(Idle { connection, since: Instant::now() });
        }
    }

    /// Closes the connections that have been idle too long.
    pub(super) fn sweep(&self) {
        let fresh = |idle: &mut Idle| {
            idle.since.elapsed() < IDLE_TIMEOUT && !idle.connection.sender.is_closed()
        };
        self.idle.borrow_mut().retain_mut(fresh);
    }

    /// Closes the idle connections and keeps no more: the backend is not in the routes any more.
    /// What is being answered is answered to its end.
    pub(super) fn retire(&self) {
        self.retired.set(true);
        self.idle.borrow_mut().clear();
    }
}
