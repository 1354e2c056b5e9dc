//! Being woken when a file changes: inotify, without a thread, for blocking and async readers.

use std::{
    io,
    mem::MaybeUninit,
    os::fd::{AsFd, OwnedFd},
    path::Path,
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
/// look at it after every wake-up, and before the first.
pub(crate) struct Bell {
    fd: Descriptor,
}

/// Registered with tokio only when first awaited, so that blocking users need no runtime.
enum Descriptor {
    Plain(OwnedFd),
    Registered(AsyncFd<OwnedFd>),
    /// Only while it is being registered, or when that failed.
    Lost,
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
        Ok(Self { fd: Descriptor::Plain(fd) })
    }

    /// Waits until it rings, at most `timeout`; returns whether it did.
    pub(crate) fn wait(&self, timeout: Duration) -> io::Result<bool> {
        let fd = match &self.fd {
            Descriptor::Plain(fd) => fd,
            Descriptor::Registered(fd) => fd.get_ref(),
            Descriptor::Lost => return Err(lost()),
        };
        let until = Instant::now().checked_add(timeout);
        loop {
            let left = until.map(|until| until.saturating_duration_since(Instant::now()));
            let left = left.and_then(|left| Timespec::try_from(left).ok());
            let mut polled = [PollFd::new(fd, PollFlags::IN)];
            match poll(&mut polled, left.as_ref()) {
                Ok(0) => return Ok(false),
                Ok(_) => {
                    drain(fd)?;
                    return Ok(true);
                }
                Err(Errno::INTR) => {}
                Err(error) => return Err(error.into()),
            }
        }
    }

    /// Waits until it rings. Dropping the future loses nothing.
    pub(crate) async fn rung(&mut self) -> io::Result<()> {
        if let Descriptor::Plain(_) = self.fd {
            let Descriptor::Plain(fd) = std::mem::replace(&mut self.fd, Descriptor::Lost) else {
                return Err(lost());
            };
            // SAFETY: an owned descriptor stays open, and the same one, until it is dropped.
            self.fd = Descriptor::Registered(unsafe { AsyncFd::register(fd) }?);
        }
        let Descriptor::Registered(fd) = &self.fd else { return Err(lost()) };
        let mut ready = fd.readable().await?;
        drain(fd.get_ref())?;
        ready.clear_ready();
        Ok(())
    }
}

fn lost() -> io::Error {
    io::Error::other("the watch could not be registered with the runtime")
}

/// Reads all events there are.
fn drain(fd: impl AsFd) -> io::Result<()> {
    let mut room = [const { MaybeUninit::uninit() }; EVENTS];
    let mut reader = Reader::new(fd, &mut room);
    loop {
        match reader.next() {
            Ok(_) | Err(Errno::INTR) => {}
            Err(Errno::AGAIN) => return Ok(()),
            Err(error) => return Err(error.into()),
        }
    }
}
