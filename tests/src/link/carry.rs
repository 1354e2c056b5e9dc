//! Carrying packets: each waits for its turn, is lost or not, and comes out a while later.

use std::{
    collections::VecDeque,
    fs::File,
    io::{PipeReader, PipeWriter, Read as _, Write as _},
    os::fd::AsRawFd as _,
    sync::{Arc, atomic::Ordering},
    thread::JoinHandle,
    time::{Duration, Instant},
};

use super::{Quality, Traffic};

/// Largest packet that is carried.
const PACKET: usize = 64 << 10;
/// Packets taken from one device before the other has its turn.
const BURST: usize = 64;

/// A thread that carries, until this is dropped.
pub struct Carrier {
    /// Closed to end it.
    stop: Option<PipeWriter>,
    thread: Option<JoinHandle<()>>,
}

impl Carrier {
    /// Carries between two devices; the first direction is from the first to the second.
    pub fn start(ends: [File; 2], quality: Quality, traffic: [Arc<Traffic>; 2]) -> Self {
        let (stopped, stop) = std::io::pipe().expect("a pipe");
        let [up, down] = traffic;
        let ways = [Way::new(quality, 0, up), Way::new(quality, 1, down)];
        let carrying = move || carry(&ends, ways, &stopped);
        let thread = std::thread::Builder::new().name("line".to_owned()).spawn(carrying);
        Self { stop: Some(stop), thread: Some(thread.expect("a thread")) }
    }
}

impl Drop for Carrier {
    fn drop(&mut self) {
        self.stop = None;
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
    }
}

fn carry(ends: &[File; 2], mut ways: [Way; 2], stopped: &PipeReader) {
    let mut packet = vec![0; PACKET];
    loop {
        let mut next = None;
        for (n, way) in ways.iter_mut().enumerate() {
            for _ in 0..BURST {
                let Ok(len) = (&ends[n]).read(&mut packet) else { break };
                way.take(&packet[..len]);
            }
            way.give(&ends[1 - n]);
            let due = way.waiting.front().map(|(due, _)| *due);
            next = [next, due].into_iter().flatten().min();
        }
        if wait([&ends[0].as_raw_fd(), &ends[1].as_raw_fd(), &stopped.as_raw_fd()], next) {
            return;
        }
    }
}

/// Waits for packets or until a time; whether it is over.
fn wait(descriptors: [&i32; 3], until: Option<Instant>) -> bool {
    let mut wanted =
        descriptors.map(|fd| libc::pollfd { fd: *fd, events: libc::POLLIN, revents: 0 });
    let left = until.map(|due| due.saturating_duration_since(Instant::now()));
    let time = left.map(|left| libc::timespec {
        tv_sec: left.as_secs() as libc::time_t,
        tv_nsec: left.subsec_nanos() as libc::c_long,
    });
    let time = time.as_ref().map_or(std::ptr::null(), std::ptr::from_ref);
    // SAFETY: the array and the time live through the call.
    unsafe { libc::ppoll(wanted.as_mut_ptr(), 3, time, std::ptr::null()) };
    wanted[2].revents != 0
}

/// One direction.
struct Way {
    quality: Quality,
    random: u64,
    traffic: Arc<Traffic>,
    /// When the last packet in the queue will have been sent.
    free: Instant,
    /// When each comes out.
    waiting: VecDeque<(Instant, Vec<u8>)>,
}

impl Way {
    fn new(quality: Quality, number: u64, traffic: Arc<Traffic>) -> Self {
        let random = (quality.seed << 1 | number).wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1;
        Self { quality, random, traffic, free: Instant::now(), waiting: VecDeque::new() }
    }

    fn take(&mut self, packet: &[u8]) {
        let Quality { delay, loss, rate, queue, .. } = self.quality;
        self.traffic.packets.fetch_add(1, Ordering::Relaxed);
        self.traffic.bytes.fetch_add(packet.len() as u64, Ordering::Relaxed);
        if self.number() % 10_000 < loss {
            self.traffic.lost.fetch_add(1, Ordering::Relaxed);
            return;
        }
        let now = Instant::now();
        let time = |bytes: u64| Duration::from_secs_f64(bytes as f64 / rate as f64);
        let start = self.free.max(now);
        if start - now > time(queue) {
            self.traffic.dropped.fetch_add(1, Ordering::Relaxed);
            return;
        }
        self.free = start + time(packet.len() as u64);
        self.waiting.push_back((self.free + delay, packet.to_vec()));
    }

    fn give(&mut self, mut to: &File) {
        let now = Instant::now();
        while self.waiting.front().is_some_and(|(due, _)| *due <= now) {
            // A device that takes no more loses it, as any does.
            if let Some((_, packet)) = self.waiting.pop_front() {
                let _ = to.write(&packet);
            }
        }
    }

    /// Marsaglia's xorshift64: enough to lose packets by.
    fn number(&mut self) -> u64 {
        self.random ^= self.random << 13;
        self.random ^= self.random >> 7;
        self.random ^= self.random << 17;
        self.random >> 11
    }
}
