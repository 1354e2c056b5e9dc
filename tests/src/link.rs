//! A long, narrow, lossy line between two network namespaces, as `tc netem` makes one, for kernels
//! that have no netem: a TUN device at either end, and a thread that carries the packets across.
//! TCP, its timers and its congestion control are the kernel's own at both ends.
//!
//! ```text
//! here (10.77.0.1)                                          there (10.77.0.2)
//! program ── TCP ── tun ── queue, rate, loss, delay ── tun ── TCP ── program
//! ```

mod carry;
mod relay;
mod tun;

use std::{
    process::Command,
    sync::{Arc, atomic::AtomicU64, atomic::Ordering},
    time::Duration,
};

pub use relay::Relay;

use crate::{netns::Namespace, process::run};
use carry::Carrier;

/// The address of the near end.
pub const HERE: &str = "10.77.0.1";
/// The address of the far end.
pub const THERE: &str = "10.77.0.2";
/// Packets that a device holds until they are carried: the queue that matters is the line's.
const DEVICE_QUEUE: &str = "4000";

/// What a line does to packets, the same in both directions.
#[derive(Clone, Copy, Debug)]
pub struct Quality {
    /// From one end to the other.
    pub delay: Duration,
    /// Packets lost of 10,000.
    pub loss: u64,
    /// Bytes a second.
    pub rate: u64,
    /// Bytes that wait for their turn; what comes when it is full is lost.
    pub queue: u64,
    /// Bytes of the largest packet.
    pub mtu: u32,
    /// Which packets are lost: the same ones each time.
    pub seed: u64,
}

impl Quality {
    /// Round trips of 200 ms, 1% of the packets lost, 100 Mbit/s with a queue of one round trip.
    pub const FAR: Self = Self {
        delay: Duration::from_millis(100),
        loss: 100,
        rate: 12_500_000,
        queue: 2_500_000,
        mtu: 1500,
        seed: 1,
    };

    /// A wire across the room: round trips of 1 ms, nothing lost, as fast as packets are carried.
    pub const NEAR: Self = Self {
        delay: Duration::from_micros(500),
        loss: 0,
        rate: 1 << 40,
        queue: 4 << 20,
        mtu: 9000,
        seed: 1,
    };
}

/// What a direction of a line has done so far.
#[derive(Default, Debug)]
pub struct Traffic {
    /// Packets that came to it.
    pub packets: AtomicU64,
    /// Bytes of them.
    pub bytes: AtomicU64,
    /// Packets lost by chance.
    pub lost: AtomicU64,
    /// Packets that found the queue full.
    pub dropped: AtomicU64,
}

/// The line and its two ends. It is gone when it is dropped.
pub struct Link {
    /// The near end.
    pub here: Namespace,
    /// The far end.
    pub there: Namespace,
    /// From here to there.
    pub up: Arc<Traffic>,
    /// From there to here.
    pub down: Arc<Traffic>,
    _carrier: Carrier,
}

impl Link {
    /// A line of this quality between two new namespaces.
    ///
    /// # Errors
    /// Why there can be none: `/dev/net/tun` is not there or not allowed.
    ///
    /// # Panics
    /// When namespaces cannot be made or addresses not be set: it takes root and `ip`.
    pub fn new(quality: Quality) -> Result<Self, String> {
        let (here, there) = (Namespace::new(), Namespace::new());
        let device = |end: &Namespace, own: &str, other: &str| {
            end.inside(|| {
                let tun = tun::open("line").map_err(|error| format!("/dev/net/tun: {error}"))?;
                let mtu = quality.mtu.to_string();
                let peer = format!("{other}/32");
                run(Command::new("ip").args(["addr", "add", own, "peer", &peer, "dev", "line"]))
                    .ok();
                let up = ["link", "set", "line", "up", "mtu", &mtu, "txqueuelen", DEVICE_QUEUE];
                run(Command::new("ip").args(up)).ok();
                Ok::<_, String>(tun)
            })
        };
        let ends = [device(&here, HERE, THERE)?, device(&there, THERE, HERE)?];
        let (up, down) = (Arc::<Traffic>::default(), Arc::<Traffic>::default());
        let carrier = Carrier::start(ends, quality, [Arc::clone(&up), Arc::clone(&down)]);
        Ok(Self { here, there, up, down, _carrier: carrier })
    }

    /// Lets TCP of both ends use this congestion control, if the kernel has it.
    pub fn control(&self, name: &str) -> bool {
        const FILE: &str = "/proc/sys/net/ipv4/tcp_congestion_control";
        [&self.here, &self.there]
            .iter()
            .all(|end| end.inside(|| std::fs::write(FILE, name).is_ok()))
    }

    /// Bytes that were to be carried from there to here.
    pub fn came(&self) -> u64 {
        self.down.bytes.load(Ordering::Relaxed)
    }
}
