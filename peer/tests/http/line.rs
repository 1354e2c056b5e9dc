//! The line between two ends: a proxy that counts, delays and cuts.

use std::{
    io::{Read, Write},
    net::{Shutdown, TcpListener, TcpStream},
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
        mpsc,
    },
    thread,
    time::{Duration, Instant},
};

/// A line to a port. It ends with the test's process.
pub struct Line {
    pub url: String,
    pub up: Arc<AtomicU64>,
    pub down: Arc<AtomicU64>,
    pub requests: Arc<AtomicU64>,
}

impl Line {
    /// A line that takes `delay` in each direction and, if asked to, breaks all connections after
    /// `cut` bytes of answers.
    pub fn to(port: u16, delay: Duration, cut: Option<u64>) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").expect("a port");
        let url = format!("http://{}", listener.local_addr().expect("an address"));
        let counter = || Arc::new(AtomicU64::new(0));
        let line = Self { url, up: counter(), down: counter(), requests: counter() };
        let (up, down, requests) = (line.up.clone(), line.down.clone(), line.requests.clone());
        thread::spawn(move || {
            for client in listener.incoming().flatten() {
                let server = TcpStream::connect(("127.0.0.1", port)).expect("the server is there");
                let twice = |stream: &TcpStream| stream.try_clone().expect("a descriptor");
                let (from, to) = (twice(&client), twice(&server));
                let (count, posts) = (up.clone(), requests.clone());
                thread::spawn(move || {
                    carry(from, to, delay, &mut |bytes| {
                        let posted = bytes.windows(14).filter(|text| {
                            text == b"POST /-/sync/t"
                                || text == b"POST /-/sync/p"
                                || text == b"POST /-/sync/o"
                        });
                        posts.fetch_add(posted.count() as u64, Ordering::Relaxed);
                        count.fetch_add(bytes.len() as u64, Ordering::Relaxed);
                        true
                    });
                });
                let count = down.clone();
                thread::spawn(move || {
                    carry(server, client, delay, &mut |bytes| {
                        let len = bytes.len() as u64;
                        let all = count.fetch_add(len, Ordering::Relaxed) + len;
                        cut.is_none_or(|cut| all <= cut)
                    });
                });
            }
        });
        line
    }

    /// Requests, and bytes both ways with all headers, since the last time.
    pub fn take(&self) -> (u64, u64) {
        let take = |counter: &AtomicU64| counter.swap(0, Ordering::Relaxed);
        (take(&self.requests), take(&self.up) + take(&self.down))
    }
}

/// Carries bytes from one end to the other, each `delay` after it came.
fn carry(
    mut from: TcpStream,
    mut to: TcpStream,
    delay: Duration,
    pass: &mut dyn FnMut(&[u8]) -> bool,
) {
    let (send, receive) = mpsc::sync_channel::<(Instant, Vec<u8>)>(4096);
    let mut reading = from.try_clone().expect("a descriptor");
    let reader = thread::spawn(move || {
        let mut chunk = vec![0; 64 << 10];
        while let Ok(n @ 1..) = reading.read(&mut chunk) {
            if send.send((Instant::now() + delay, chunk[..n].to_vec())).is_err() {
                break;
            }
        }
    });
    for (due, bytes) in receive {
        thread::sleep(due.saturating_duration_since(Instant::now()));
        if !pass(&bytes) || to.write_all(&bytes).is_err() {
            let _ = from.shutdown(Shutdown::Both);
            let _ = to.shutdown(Shutdown::Both);
            break;
        }
    }
    let _ = to.shutdown(Shutdown::Write);
    let _ = from.flush();
    let _ = reader.join();
}
