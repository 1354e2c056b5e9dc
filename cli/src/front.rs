//! The front's connections: HTTP/1.1 for git, the registry, REST and web on one thread, with a
//! bound on everything a client may take: connections, the size of a request's head, patience.
//!
//! Told to stop, it takes no more connections and lets requests under way finish for a short while,
//! since a push is worth waiting for. Streams of events have no end and are not waited for.

use std::{cell::RefCell, convert::Infallible, io, rc::Rc, sync::Arc, time::Duration};

use axum::{Router, body::Body, extract::Request};
use hyper::{
    Response,
    body::Incoming,
    header::CONTENT_TYPE,
    service::{Service as _, service_fn},
};
use hyper_util::{
    rt::{TokioIo, TokioTimer},
    service::TowerToHyperService,
};
use rustix::{
    net::sockopt,
    process::{Resource, Rlimit, getrlimit, setrlimit},
};
use tokio::{
    net::{TcpListener, TcpStream},
    sync::{OwnedSemaphorePermit, Semaphore, watch},
    task::LocalSet,
    time::{sleep, timeout},
};

/// Most bytes of a request's head; the guard of the routes allows less, and says so.
const MAX_HEAD: usize = 64 * 1024;
/// Most header lines of a request.
const MAX_HEADERS: usize = 128;
/// Most bytes of a message that are in our hands at a time, in each direction.
const MAX_BUFFER: usize = 128 * 1024;
/// Open files for other things than connections: the store, pipes of processes, watches.
const SPARE_FILES: u64 = 2048;
/// Connections that are kept for requests that end.
const FOR_REQUESTS: usize = 1024;
/// How long a client may leave what is sent to it unread, or not acknowledge it.
const CLIENT_STALL: Duration = Duration::from_secs(120);
/// Pause after an error that concerns all connections, such as no free file descriptor.
const PAUSE: Duration = Duration::from_millis(50);
/// Answers of this media type go on until the client leaves.
const ENDLESS: &str = "text/event-stream";

/// What clients may take.
#[derive(Clone, Copy)]
pub struct Limits {
    /// Connections at a time; more wait in the listener's queue, where it does not take long, as
    /// only those have no end that [`Limits::followers`] counts.
    pub connections: usize,
    /// For the head of a request, and for a connection without one.
    pub head: Duration,
    /// For requests under way when the service is to stop.
    pub farewell: Duration,
}

impl Limits {
    /// Those of a running Keg.
    pub const USUAL: Self = Self {
        connections: 11_264,
        head: Duration::from_secs(30),
        farewell: Duration::from_secs(10),
    };

    /// The same with no more connections than this process may have open files. It is allowed as
    /// many as are needed, as far as the machine lets it.
    pub fn fitting(self) -> Self {
        let wanted = self.connections as u64 + SPARE_FILES;
        let Rlimit { mut current, maximum } = getrlimit(Resource::Nofile);
        let most = maximum.map_or(wanted, |maximum| maximum.min(wanted));
        if current.is_some_and(|current| current < most)
            && setrlimit(Resource::Nofile, Rlimit { current: Some(most), maximum }).is_ok()
        {
            current = Some(most);
        }
        let files = current.map_or(wanted, |current| current.min(wanted));
        let fit = files.saturating_sub(SPARE_FILES.min(files / 2));
        Self { connections: usize::try_from(fit).unwrap_or(self.connections), ..self }
    }

    /// How many connections may be event streams: the others are for requests that end.
    pub fn followers(&self) -> usize {
        self.connections - FOR_REQUESTS.min(self.connections / 2)
    }
}

/// Serves until `stop`, then for as long as requests that are under way need, within the limit.
///
/// # Errors
/// The listener cannot be used.
pub async fn serve(
    listener: std::net::TcpListener,
    router: Router,
    limits: Limits,
    stop: impl Future<Output = ()>,
) -> io::Result<()> {
    listener.set_nonblocking(true)?;
    let listener = TcpListener::from_std(listener)?;
    let front = Front { router, limits, stopping: watch::Sender::new(false) };
    let busy = watch::Sender::new(0);
    let farewell = async {
        tokio::select! {
            never = front.accept(&listener, &busy) => match never {},
            () = stop => {}
        }
        drop(listener);
        front.stopping.send_replace(true);
        let mut busy = busy.subscribe();
        // Whoever is not done by then is cut off, as any client of a service that ends.
        let _ = timeout(limits.farewell, busy.wait_for(|count| *count == 0)).await;
    };
    LocalSet::new().run_until(farewell).await;
    Ok(())
}

struct Front {
    router: Router,
    limits: Limits,
    stopping: watch::Sender<bool>,
}

impl Front {
    async fn accept(&self, listener: &TcpListener, busy: &watch::Sender<usize>) -> Infallible {
        let places = Arc::new(Semaphore::new(self.limits.connections));
        loop {
            let permit = Arc::clone(&places).acquire_owned().await;
            match (permit, listener.accept().await) {
                (Ok(permit), Ok((stream, _))) => {
                    let work = Work { busy: busy.clone(), counted: RefCell::new(None) };
                    tokio::task::spawn_local(self.converse(stream, permit, work));
                }
                // Most likely no file descriptor is free: some will be.
                _ => sleep(PAUSE).await,
            }
        }
    }

    /// Serves one client until either side closes the connection.
    fn converse(
        &self,
        stream: TcpStream,
        permit: OwnedSemaphorePermit,
        work: Work,
    ) -> impl Future<Output = ()> + 'static {
        // Without them answers are right, only slower, and a dead client is noticed later.
        let _ = stream.set_nodelay(true);
        let _ = sockopt::set_tcp_user_timeout(&stream, CLIENT_STALL.as_millis() as u32);
        let routes = TowerToHyperService::new(self.router.clone());
        let mut stopping = self.stopping.subscribe();
        let work = Rc::new(work);
        let service = service_fn(move |request: Request<Incoming>| {
            work.begin();
            let (answer, work) = (routes.call(request), Rc::clone(&work));
            async move {
                let answer: Response<Body> = answer.await?;
                if answer.headers().get(CONTENT_TYPE).is_some_and(|kind| kind == ENDLESS) {
                    work.end();
                }
                Ok::<_, Infallible>(answer)
            }
        });
        let connection = hyper::server::conn::http1::Builder::new()
            .timer(TokioTimer::new())
            .header_read_timeout(self.limits.head)
            .max_header_size(MAX_HEAD)
            .max_headers(MAX_HEADERS)
            .max_buf_size(MAX_BUFFER)
            .serve_connection(TokioIo::new(stream), service);
        async move {
            let _permit = permit;
            tokio::pin!(connection);
            // An error is the client's own doing, or told by the handler already.
            tokio::select! {
                _ = &mut connection => return,
                _ = stopping.wait_for(|stopping| *stopping) => {}
            }
            connection.as_mut().graceful_shutdown();
            let _ = connection.await;
        }
    }
}

/// Whether a connection has something to finish: from its first request to its end. One that is
/// idle in between is closed at once when the service stops, so it need not be told apart.
struct Work {
    busy: watch::Sender<usize>,
    counted: RefCell<Option<Counted>>,
}

impl Work {
    fn begin(&self) {
        self.counted.borrow_mut().get_or_insert_with(|| {
            self.busy.send_modify(|count| *count += 1);
            Counted(self.busy.clone())
        });
    }

    fn end(&self) {
        self.counted.borrow_mut().take();
    }
}

struct Counted(watch::Sender<usize>);

impl Drop for Counted {
    fn drop(&mut self) {
        self.0.send_modify(|count| *count -= 1);
    }
}

#[cfg(test)]
#[path = "front_tests.rs"]
mod tests;
