//! The mayor keeps apps' processes running; the router brings requests to them.
//!
//! ```text
//! /oci-images/<app>  ─► mayor ─► a shim per process (sandbox) ─► the app, in its own network
//! /apps/<app>/config.json          │
//!                                  └► /machines/<m>/{apps,routes,processes}
//!                                            │
//! a browser ─► router ◄──────────────────────┘ connects inside the app's network namespace
//! ```
//!
//! The mayor is one loop in one thread. It derives what to do from what should be and what is
//! ([`plan`]), and derives its documents from what it knows (`publish`). Containers do not need
//! it: each has a supervisor of its own that also writes its log. A mayor that comes later, after
//! a kill or an upgrade, finds them by their notes in `run/mayor/<container>/` and goes on.
//!
//! ```text
//! run/mayor/lock                  held by the mayor
//! run/mayor/users.json            user ids of apps
//! run/mayor/<container>/          one process
//!     note.json                   what it is (see `place`)
//!     root/  upper/  work/        its root, and what it wrote into it
//!     egress.json                 what brings its connections out (see `egress`)
//!     <container>/                the sandbox's records: pid.json, exit.json, error.json
//! ```

mod adopt;
mod app;
mod backoff;
pub mod config;
mod egress;
mod ending;
mod events;
mod groups;
mod mayor;
mod news;
mod place;
pub mod plan;
mod problem;
mod publish;
mod ready;
mod release;
mod room;
pub mod router;
mod start;
mod steps;
mod users;

use std::fs::{File, OpenOptions};
use std::future::Future;
use std::io;
use std::path::Path;
use std::pin::Pin;
use std::sync::Arc;
use std::time::Duration;

use keg::Keg;
use rustix::fs::{FlockOperation, flock};
use rustix::io::Errno;

pub use publish::PublishError;

/// File that the one mayor of a Keg holds locked.
const LOCK: &str = "lock";
/// Pause between looks at it.
const LOCK_LOOK: Duration = Duration::from_millis(20);

/// How a mayor is to work.
pub struct Options {
    /// This machine's name in the namespace.
    pub machine: String,
    /// Where apps are reached; `{app}` stands for the app.
    pub apps_url: String,
    /// Leave the apps running when the mayor is told to stop.
    pub keep: bool,
    /// Ends when the mayor is to stop.
    pub shutdown: Pin<Box<dyn Future<Output = ()>>>,
}

impl Options {
    /// From its parts.
    pub fn new(
        machine: impl Into<String>,
        apps_url: impl Into<String>,
        keep: bool,
        shutdown: impl Future<Output = ()> + 'static,
    ) -> Options {
        Options {
            machine: machine.into(),
            apps_url: apps_url.into(),
            keep,
            shutdown: Box::pin(shutdown),
        }
    }
}

/// Why a mayor stopped before it was told to.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// Its directory cannot be used.
    #[error("the mayor's directory cannot be used")]
    Directory(#[source] std::io::Error),
    /// The namespace cannot be read.
    #[error("the releases cannot be read")]
    Names(#[from] keg::NamesError),
    /// The namespace cannot be followed.
    #[error("the releases cannot be followed")]
    Watch(#[from] keg::watch::WatchError),
    /// A path cannot be made.
    #[error("a name cannot stand in a path")]
    Path(#[from] keg::path::PathError),
    /// Its documents cannot be read.
    #[error(transparent)]
    Publish(#[from] PublishError),
}

/// Keeps the processes of all apps of a Keg until told to stop; then ends them, or leaves them to
/// the next mayor with [`Options::keep`].
///
/// # Errors
/// The Keg or the mayor's directory cannot be used.
pub async fn serve(keg: Arc<Keg>, options: Options) -> Result<(), Error> {
    let mut options = options;
    let dir = keg.run_dir().join("mayor");
    let alone = alone(&dir);
    let _lock = tokio::select! {
        lock = alone => lock.map_err(Error::Directory)?,
        () = &mut options.shutdown => return Ok(()),
    };
    mayor::Mayor::new(&keg, &options)?.run(options).await
}

/// Waits until no other mayor of this Keg runs: one whose `keg up` was killed may still be ending
/// its apps, and would take ours for them.
async fn alone(dir: &Path) -> io::Result<File> {
    std::fs::create_dir_all(dir)?;
    let file = OpenOptions::new().create(true).append(true).open(dir.join(LOCK))?;
    loop {
        match flock(&file, FlockOperation::NonBlockingLockExclusive) {
            Ok(()) => return Ok(file),
            Err(Errno::WOULDBLOCK | Errno::INTR) => tokio::time::sleep(LOCK_LOOK).await,
            Err(errno) => return Err(errno.into()),
        }
    }
}

/// Entry of the process that brings one app's connections out: `keg work egress APP`. Gives its
/// exit code.
pub fn work_egress() -> i32 {
    egress::main()
}
