//! Being woken when a file changes: inotify, without a thread, for blocking and async readers.

use std::{
    io,
    mem::MaybeUninit,
    os::fd::{AsFd, OwnedFd},
    path::Path,
    sync::{
        OnceLock,
        atomic::{AtomicU64, Ordering},
    },
    time::{Duration, Instant},
};

use rustix::{
    event::{PollFd, PollFlags, Timespec, poll},
    fs::inotify::{self, CreateFlags, Reader, WatchFlags},
    io::Errno,
};
use tokio::io::unix::AsyncFd;

/// Room for the events of one read.
const EVENTS: usize = 4096;

/// Wakes whoever waits when a file has been written to. What has changed is for the file to tell:
/// look at it after every wake-up, and before the first. Any number may wait at one bell: it counts
/// its rings, so that nobody misses one that another has heard.
pub(crate) struct Bell {
    fd: OwnedFd,
    /// The same, known to tokio: only once it is awaited, so that blocking users need no runtime.
    awaited: OnceLock<AsyncFd<OwnedFd>>,
    rings: AtomicU64,
}

impl Bell {
    /// Watches one file for writes, changes of its attributes, and its removal.
    pub(crate) fn on(path: &Path) -> io::Result<Self> {
        let fd = inotify::init(CreateFlags::CLOEXEC | CreateFlags::NONBLOCK)?;
        let flags = WatchFlags::MODIFY
            | WatchFlags::ATTRIB
            | WatchFlags::DELETE_SELF
            | WatchFlags::MOVE_SELF;
        inotify::add_watch(&fd, path, flags)?;
        Ok(Self { fd, awaited: OnceLock::new(), rings: AtomicU64::new(0) })
    }

    /// How often it has been heard: ask before looking at the file.
    pub(crate) fn rings(&self) -> u64 {
        self.rings.load(Ordering::SeqCst)
    }

    /// Waits until it has rung more often than `heard`, at most `timeout`; returns whether it did.
    pub(crate) fn wait(&self, heard: u64, timeout: Duration) -> io::Result<bool> {
        let until = Instant::now().checked_add(timeout);
        while self.rings() == heard {
            let left = until.map(|until| until.saturating_duration_since(Instant::now()));
            let left = left.and_then(|left| Timespec::try_from(left).ok());
            let mut polled = [PollFd::new(&self.fd, PollFlags::IN)];
            match poll(&mut polled, left.as_ref()) {
                Ok(0) => return Ok(false),
                Ok(_) => self.hear()?,
                Err(Errno::INTR) => {}
                Err(error) => return Err(error.into()),
            }
        }
        Ok(true)
    }

    /// Waits until it has rung more often than `heard`. Dropping the future loses nothing.
    pub(crate) async fn rung(&self, heard: u64) -> io::Result<()> {
        while self.rings() == heard {
            let mut ready = self.awaited()?.readable().await?;
            self.hear()?;
            ready.clear_ready();
        }
        Ok(())
    }

    fn awaited(&self) -> io::Result<&AsyncFd<OwnedFd>> {
        if let Some(awaited) = self.awaited.get() {
            return Ok(awaited);
        }
        // SAFETY: an owned descriptor stays open, and the same one, until it is dropped.
        let registered = unsafe { AsyncFd::register(self.fd.try_clone()?) }?;
        Ok(self.awaited.get_or_init(|| registered))
    }

    fn hear(&self) -> io::Result<()> {
        if drain(&self.fd)? {
            self.rings.fetch_add(1, Ordering::SeqCst);
        }
        Ok(())
    }
}

/// Reads all events there are; returns whether there were any.
fn drain(fd: impl AsFd) -> io::Result<bool> {
    let mut room = [const { MaybeUninit::uninit() }; EVENTS];
    let mut reader = Reader::new(fd, &mut room);
    let mut any = false;
    loop {
        match reader.next() {
            Ok(_) => any = true,
            Err(Errno::INTR) => {}
            Err(Errno::AGAIN) => return Ok(any),
            Err(error) => return Err(error.into()),
        }
    }
}
