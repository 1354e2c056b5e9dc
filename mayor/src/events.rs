//! What the mayor waits for, as futures that each end with one event.

use std::future::Future;
use std::io;
use std::os::fd::{AsFd, OwnedFd};
use std::path::PathBuf;
use std::pin::Pin;
use std::rc::Rc;
use std::time::{Duration, Instant};

use rustix::process::{Pid, PidfdFlags, WaitId, WaitIdOptions, pidfd_open, waitid};
use sandbox::record::{self, Outcome, PidRecord};
use tokio::io::Interest;
use tokio::io::unix::AsyncFd;

use crate::plan::Slot;
use crate::ready;

/// Pause between looks at the records of a container that is being set up.
const SET_UP_LOOK: Duration = Duration::from_millis(2);
/// Longest set-up: a shim that takes longer is stuck.
const SET_UP_WITHIN: Duration = Duration::from_secs(60);
/// A process without a port that lives this long is well.
const WELL_AFTER: Duration = Duration::from_millis(500);
/// Shortest time from the change of a route to the stop of what it led to.
const DRAIN_AT_LEAST: Duration = Duration::from_millis(250);
/// Pause between looks at the connections of a process that drains.
const DRAIN_LOOK: Duration = Duration::from_millis(50);

/// Pause before a relay is started again.
const RELAY_PAUSE: Duration = Duration::from_millis(200);

/// Something that came to pass.
pub struct Event {
    /// The app; empty for [`News::Swept`].
    pub app: String,
    /// The slot.
    pub slot: Slot,
    /// The container's id: news of one that has left the slot are old.
    pub id: String,
    /// What it is.
    pub news: News,
}

/// What an [`Event`] tells.
pub enum News {
    /// The command was executed.
    Started(PidRecord),
    /// It is well.
    Ready,
    /// It was not ready in time; what was seen last.
    Late(String),
    /// The shim ended.
    Ended,
    /// It has no more requests to finish, or no more time for them.
    Drained,
    /// The pause before its restart has passed.
    Due,
    /// A directory was removed.
    Swept,
    /// The process that brings the app's connections out has ended.
    RelayEnded,
    /// It is time to start another.
    RelayDue,
}

/// A future that ends with an event.
pub type Pending = Pin<Box<dyn Future<Output = Event>>>;

/// Whose news it is.
#[derive(Clone)]
pub struct About {
    /// The app.
    pub app: String,
    /// The slot.
    pub slot: Slot,
    /// The container's id.
    pub id: String,
}

impl About {
    /// The event that tells it.
    pub fn tell(self, news: News) -> Event {
        Event { app: self.app, slot: self.slot, id: self.id, news }
    }
}

/// A handle to a process that no other process can take over.
///
/// # Errors
/// There is no such process.
pub fn handle(pid: u32) -> io::Result<Rc<OwnedFd>> {
    let pid = i32::try_from(pid).ok().and_then(Pid::from_raw);
    let pid = pid.ok_or(io::ErrorKind::InvalidInput)?;
    Ok(Rc::new(pidfd_open(pid, PidfdFlags::empty())?))
}

/// Ends when the process does; reaps it if it is a child.
pub async fn gone(handle: &OwnedFd) {
    // Where it cannot be waited for, looking now and then does.
    // SAFETY: a borrowed descriptor stays open, and the same one, for as long as it is borrowed.
    match unsafe { AsyncFd::register_with_interest(handle.as_fd(), Interest::READABLE) } {
        Ok(fd) => drop(fd.readable().await),
        Err(_) => {
            let alive = || {
                let none = rustix::event::Timespec { tv_sec: 0, tv_nsec: 0 };
                let flags = rustix::event::PollFlags::IN;
                let mut polled = [rustix::event::PollFd::new(handle, flags)];
                rustix::event::poll(&mut polled, Some(&none)) == Ok(0)
            };
            while alive() {
                tokio::time::sleep(DRAIN_LOOK).await;
            }
        }
    }
    let options = WaitIdOptions::EXITED | WaitIdOptions::NOHANG;
    // Fails for what is not our child, which somebody else reaps.
    let _ = waitid(WaitId::PidFd(handle.as_fd()), options);
}

/// [`News::Ended`], once the shim has.
pub fn ended(about: About, shim: Rc<OwnedFd>) -> Pending {
    Box::pin(async move {
        gone(&shim).await;
        about.tell(News::Ended)
    })
}

/// [`News::RelayEnded`], once it has.
pub fn relay_ended(about: About, relay: Rc<OwnedFd>) -> Pending {
    Box::pin(async move {
        gone(&relay).await;
        about.tell(News::RelayEnded)
    })
}

/// [`News::RelayDue`], after a pause.
pub fn relay_due(about: About) -> Pending {
    Box::pin(async move {
        tokio::time::sleep(RELAY_PAUSE).await;
        about.tell(News::RelayDue)
    })
}

/// [`News::Swept`], once a child that removes a directory has ended.
pub fn swept(child: std::process::Child) -> Pending {
    Box::pin(async move {
        if let Ok(handle) = handle(child.id()) {
            gone(&handle).await;
        }
        let slot = Slot { run: keg::Kid::from_bytes([0; 32]), kind: String::new(), index: 0 };
        Event { app: String::new(), slot, id: String::new(), news: News::Swept }
    })
}

/// [`News::Started`], once `records` says so. If the container never starts, [`News::Ended`] of
/// its shim comes instead, and this comes late or never.
pub fn started(about: About, records: PathBuf) -> Pending {
    Box::pin(async move {
        let until = Instant::now() + SET_UP_WITHIN;
        while Instant::now() < until {
            if let Ok(Outcome::Started(record)) = record::outcome(&records) {
                return about.tell(News::Started(record));
            }
            tokio::time::sleep(SET_UP_LOOK).await;
        }
        about.tell(News::Late("its container was not set up".into()))
    })
}

/// What a web process is asked, and how long it may take.
pub struct Question {
    /// The network namespace to ask in.
    pub namespace: Rc<OwnedFd>,
    /// The `Host` to ask for.
    pub host: String,
    /// The path to ask for.
    pub path: String,
    /// For how long.
    pub within: Duration,
}

/// [`News::Ready`] or [`News::Late`]; without a question, life alone is the sign.
pub fn well(about: About, question: Option<Question>) -> Pending {
    Box::pin(async move {
        let Some(ask) = question else {
            tokio::time::sleep(WELL_AFTER).await;
            return about.tell(News::Ready);
        };
        match ready::answers(&ask.namespace, &ask.host, &ask.path, ask.within).await {
            Ok(()) => about.tell(News::Ready),
            Err(seen) => about.tell(News::Late(seen)),
        }
    })
}

/// [`News::Drained`], once the process has no connections, at the latest after `within`.
pub fn drained(about: About, pid: i32, within: Duration) -> Pending {
    Box::pin(async move {
        let until = Instant::now() + within;
        tokio::time::sleep(DRAIN_AT_LEAST).await;
        while Instant::now() < until && ready::connections(pid) > 0 {
            tokio::time::sleep(DRAIN_LOOK).await;
        }
        about.tell(News::Drained)
    })
}

/// [`News::Due`] after a pause.
pub fn due(about: About, pause: Duration) -> Pending {
    Box::pin(async move {
        tokio::time::sleep(pause).await;
        about.tell(News::Due)
    })
}
