//! A tunnel's end, as of `ssh -L`: it takes connections in one namespace and passes them on there.
//! It counts what it passes, and cuts.

use std::{
    io::{Read as _, Write as _},
    net::{Shutdown, SocketAddr, TcpListener, TcpStream},
    sync::{
        Arc, Condvar, Mutex, PoisonError,
        atomic::{AtomicU64, Ordering},
    },
};

use crate::netns::Namespace;

/// Bytes passed on at once.
const CHUNK: usize = 64 << 10;
/// How a request of Kegs begins.
const REQUEST: &[u8] = b"POST /-/sync/";
/// No cut.
const NEVER: u64 = u64::MAX;

/// A tunnel's end, until the test's process ends.
#[derive(Clone)]
pub struct Relay {
    /// Where it listens.
    pub address: SocketAddr,
    counts: Arc<Counts>,
}

#[derive(Default)]
struct Counts {
    requests: AtomicU64,
    up: AtomicU64,
    down: AtomicU64,
    /// All connections are cut when so many bytes have come down.
    cut: AtomicU64,
    /// No more than so many bytes come down.
    hold: Mutex<u64>,
    released: Condvar,
}

impl Counts {
    fn wait(&self, bytes: u64) {
        let hold = self.hold.lock().unwrap_or_else(PoisonError::into_inner);
        drop(self.released.wait_while(hold, |hold| bytes > *hold));
    }
}

impl Relay {
    /// Listens at `ip` in a namespace, and passes on to `to`, which is reached from there.
    ///
    /// # Panics
    /// When it cannot listen.
    pub fn new(inside: &Namespace, ip: &str, to: SocketAddr) -> Self {
        let listen = || TcpListener::bind((ip, 0)).expect("a port");
        let listener = inside.inside(listen);
        let address = listener.local_addr().expect("an address");
        let counts =
            Arc::new(Counts { cut: NEVER.into(), hold: NEVER.into(), ..Counts::default() });
        let (shared, namespace) = (Arc::clone(&counts), inside.clone());
        spawn(move || {
            namespace.enter();
            for client in listener.incoming().flatten() {
                if let Ok(server) = TcpStream::connect(to) {
                    pass(client, server, &shared);
                }
            }
        });
        Self { address, counts }
    }

    /// Its address, as one of a Keg.
    pub fn url(&self) -> String {
        format!("http://{}", self.address)
    }

    /// Requests of Kegs so far, bytes to the other end, and bytes from there.
    pub fn count(&self) -> (u64, u64, u64) {
        let get = |counter: &AtomicU64| counter.load(Ordering::Relaxed);
        (get(&self.counts.requests), get(&self.counts.up), get(&self.counts.down))
    }

    /// Cuts all connections when so many more bytes have come from the other end.
    pub fn cut_after(&self, bytes: u64) {
        let down = self.counts.down.load(Ordering::Relaxed);
        self.counts.cut.store(down.saturating_add(bytes), Ordering::Relaxed);
    }

    /// Passes on no more than so many bytes from the other end, until it is mended.
    pub fn hold_after(&self, bytes: u64) {
        let down = self.counts.down.load(Ordering::Relaxed);
        self.set_hold(down.saturating_add(bytes));
    }

    /// Cuts and holds no more.
    pub fn mend(&self) {
        self.counts.cut.store(NEVER, Ordering::Relaxed);
        self.set_hold(NEVER);
    }

    fn set_hold(&self, at: u64) {
        *self.counts.hold.lock().unwrap_or_else(PoisonError::into_inner) = at;
        self.counts.released.notify_all();
    }
}

fn spawn(work: impl FnOnce() + Send + 'static) {
    let thread = std::thread::Builder::new().name("relay".to_owned()).spawn(work);
    drop(thread.expect("a thread"));
}

fn pass(client: TcpStream, server: TcpStream, counts: &Arc<Counts>) {
    let twice = |stream: &TcpStream| stream.try_clone().expect("a descriptor");
    let _ = (client.set_nodelay(true), server.set_nodelay(true));
    let (from, to, counted) = (twice(&client), twice(&server), Arc::clone(counts));
    spawn(move || {
        copy(from, to, |bytes| {
            let found = bytes.windows(REQUEST.len()).filter(|text| *text == REQUEST).count();
            counted.requests.fetch_add(found as u64, Ordering::Relaxed);
            counted.up.fetch_add(bytes.len() as u64, Ordering::Relaxed);
            true
        });
    });
    let counted = Arc::clone(counts);
    spawn(move || {
        copy(server, client, |bytes| {
            let len = bytes.len() as u64;
            let before = counted.down.load(Ordering::Relaxed);
            counted.wait(before + len);
            if before + len > counted.cut.load(Ordering::Relaxed) {
                return false;
            }
            counted.down.store(before + len, Ordering::Relaxed);
            true
        });
    });
}

fn copy(mut from: TcpStream, mut to: TcpStream, mut may: impl FnMut(&[u8]) -> bool) {
    let mut chunk = vec![0; CHUNK];
    let cut = loop {
        match from.read(&mut chunk) {
            Ok(0) => break false,
            Ok(len) if may(&chunk[..len]) && to.write_all(&chunk[..len]).is_ok() => {}
            _ => break true,
        }
    };
    let how = if cut { Shutdown::Both } else { Shutdown::Write };
    let _ = to.shutdown(how);
    if cut {
        let _ = from.shutdown(Shutdown::Both);
    }
}
