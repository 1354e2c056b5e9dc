//! The router: brings `http://<app>.localhost:PORT` to a process of the app.
//!
//! It knows apps from `/machines/<m>/routes/<app>.json`, which the mayor sets, and follows changes
//! there; the two share nothing else. Each request goes to a backend over a pooled connection into
//! the app's own network namespace ([`netns`]), and streams both ways. One thread serves all.
//!
//! - `host`: which app · `table`: its backends · `pool`, `link`: connections to one
//! - `forward`: one request · `headers`, `body`: its parts · `tunnel`: WebSockets
//! - `answer`: what we say ourselves: 404 no such app, 503 not serving, 502 broke off
//!
//! A route that is switched loses no request: what is on its way to the former process is answered
//! by it, what finds it gone is sent to the new one unless the app may already have acted on it.

mod answer;
mod body;
mod forward;
mod headers;
mod host;
mod link;
pub mod netns;
mod pool;
mod table;
mod tunnel;

use std::{convert::Infallible, io, net::SocketAddr, rc::Rc, sync::Arc, time::Duration};

use hyper::service::service_fn;
use hyper_util::rt::{TokioIo, TokioTimer};
use keg::{Keg, NamesError, watch::WatchError};
use rustix::{
    net::sockopt,
    process::{Resource, Rlimit, getrlimit, setrlimit},
};
use tokio::{
    net::{TcpListener, TcpStream},
    sync::{OwnedSemaphorePermit, Semaphore},
    task::LocalSet,
    time::{MissedTickBehavior, interval, sleep},
};

use forward::Client;
use table::Table;

/// Most connections of clients at a time, tunnels included; more wait in the listener's queue.
const MAX_CONNECTIONS: usize = 2048;
/// Open files for other things than requests, idle connections to apps among them.
const SPARE_FILES: u64 = 512;
/// How long a client may take to send the head of a request, or to keep a connection idle.
const HEAD_TIMEOUT: Duration = Duration::from_secs(30);
/// Most bytes of the head of a request or answer.
const MAX_HEAD: usize = 32 * 1024;
/// Most header lines of a request or answer.
const MAX_HEADERS: usize = 128;
/// Most bytes of a message that are in our hands at a time, in each direction.
const MAX_BUFFER: usize = 64 * 1024;
/// How long a client may leave what is sent to it unread, or not acknowledge it.
const CLIENT_STALL: Duration = Duration::from_secs(120);
/// Pause after an error that concerns all connections, such as no free file descriptor.
const PAUSE: Duration = Duration::from_millis(50);
/// Failures of the Keg in a row, a second apart, after which the router gives up.
const MAX_FAILURES: u32 = 10;

/// Why the router cannot run, or not any longer. What goes wrong with a request is told to its
/// client.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The listener cannot be used.
    #[error("the router cannot use its listener: {0}")]
    Listener(#[source] io::Error),
    /// The way back from the apps' networks is missing.
    #[error("the router cannot open its own network namespace, is /proc mounted? {0}")]
    Namespace(#[source] io::Error),
    /// The machine's name does not fit the namespace.
    #[error(transparent)]
    Machine(#[from] keg::path::PathError),
    /// The routes cannot be read.
    #[error("the router cannot read the routes: {0}")]
    Names(#[from] NamesError),
    /// The routes cannot be followed.
    #[error("the router cannot follow the routes: {0}")]
    Watch(#[from] WatchError),
}

/// Routes requests that come in at `listener` until the future is dropped, which closes all
/// connections. Needs a runtime of one thread with time and I/O, and the right to enter network
/// namespaces (`CAP_SYS_ADMIN`).
///
/// # Errors
/// [`Error`], if it cannot start, or the Keg cannot be read for some seconds.
pub async fn serve(keg: Arc<Keg>, listener: std::net::TcpListener) -> Result<(), Error> {
    listener.set_nonblocking(true).map_err(Error::Listener)?;
    let listener = TcpListener::from_std(listener).map_err(Error::Listener)?;
    netns::home().map_err(Error::Namespace)?;
    let table = Rc::new(Table::new(Arc::clone(&keg))?);
    let clients = Arc::new(Semaphore::new(affordable()));
    let tasks = LocalSet::new();
    let work = async {
        tokio::select! {
            error = follow(&keg, &table) => Err(error),
            () = accept(&listener, &table, &clients) => Ok(()),
            () = sweep(&table) => Ok(()),
        }
    };
    tasks.run_until(work).await
}

/// How many clients the limit on open files allows, after raising it: each may need two.
fn affordable() -> usize {
    let Rlimit { current, maximum } = getrlimit(Resource::Nofile);
    let wanted = 2 * MAX_CONNECTIONS as u64 + SPARE_FILES;
    let wanted = maximum.map_or(wanted, |maximum| maximum.min(wanted));
    let enough = current.is_none_or(|current| current >= wanted);
    let raised =
        enough || setrlimit(Resource::Nofile, Rlimit { current: Some(wanted), maximum }).is_ok();
    let files = if raised { wanted } else { current.unwrap_or(wanted) };
    let clients = usize::try_from(files.saturating_sub(SPARE_FILES) / 2).unwrap_or(usize::MAX);
    clients.clamp(1, MAX_CONNECTIONS)
}

/// Keeps the table as the Keg says. Returns once that has failed too often in a row.
async fn follow(keg: &Keg, table: &Table) -> Error {
    let mut failures = 0;
    loop {
        let error = match follow_until_error(keg, table, &mut failures).await {
            Ok(never) => match never {},
            Err(error) => error,
        };
        failures += 1;
        if failures >= MAX_FAILURES {
            return error;
        }
        sleep(Duration::from_secs(1)).await;
    }
}

async fn follow_until_error(
    keg: &Keg,
    table: &Table,
    failures: &mut u32,
) -> Result<Infallible, Error> {
    // Watching first: what changes between the two is seen twice, not missed.
    let mut watch = keg.watch(table.path(), None)?;
    loop {
        table.refresh()?;
        *failures = 0;
        watch.next().await?;
    }
}

async fn sweep(table: &Table) {
    let mut ticks = interval(pool::IDLE_TIMEOUT);
    ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    loop {
        ticks.tick().await;
        table.sweep();
    }
}

async fn accept(listener: &TcpListener, table: &Rc<Table>, clients: &Arc<Semaphore>) {
    while let Ok(permit) = Arc::clone(clients).acquire_owned().await {
        match listener.accept().await {
            Ok((stream, peer)) => {
                tokio::task::spawn_local(converse(Rc::clone(table), stream, peer, permit));
            }
            // Most likely no file descriptor is free: some will be.
            Err(_) => sleep(PAUSE).await,
        }
    }
}

/// Serves one client until either side closes the connection.
async fn converse(
    table: Rc<Table>,
    stream: TcpStream,
    peer: SocketAddr,
    permit: OwnedSemaphorePermit,
) {
    // Without them answers are right, only slower, and a dead client is noticed later.
    let _ = stream.set_nodelay(true);
    let _ = sockopt::set_tcp_user_timeout(&stream, CLIENT_STALL.as_millis() as u32);
    let client = Client { peer, permit: Rc::new(permit) };
    let service = service_fn(|request| {
        let (table, client) = (Rc::clone(&table), client.clone());
        async move { Ok::<_, Infallible>(forward::answer(&table, client, request).await) }
    });
    let connection = hyper::server::conn::http1::Builder::new()
        .timer(TokioTimer::new())
        .header_read_timeout(HEAD_TIMEOUT)
        .max_header_size(MAX_HEAD)
        .max_headers(MAX_HEADERS)
        .max_buf_size(MAX_BUFFER)
        .serve_connection(TokioIo::new(stream), service)
        .with_upgrades();
    // An error is the client's own doing, or that of the app, whose log tells more.
    let _ = connection.await;
}

#[cfg(test)]
mod tests;
