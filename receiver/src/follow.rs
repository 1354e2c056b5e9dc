//! Watching a deploy for the person who pushed: the build's log, then the start.

use std::time::Duration;

use keg::{
    Keg, Kid,
    path::AppName,
    stream::{Piece, StreamError, StreamReader},
    watch::{Watch, WatchError},
};
use tokio::time::{Instant, Interval, MissedTickBehavior, interval_at};

use crate::{
    answer::Answer,
    plain::Plain,
    settle::{self, Failure, Running, SettleError, Stage},
};

/// How often something is sent while nothing happens.
const KEEP_ALIVE: Duration = Duration::from_secs(5);
/// How long a builder may take to take a source while it has nothing else to do.
const ANSWER: Duration = Duration::from_secs(10);
/// How long a mayor may take to take a release.
const START: Duration = Duration::from_secs(30);
/// How long the builds before ours may take.
const QUEUED: Duration = Duration::from_secs(30 * 60);
/// How long a deploy is watched at all.
const MAX_DEPLOY: Duration = Duration::from_secs(4 * 3600);

/// Why a deploy could not be watched.
#[derive(Debug, thiserror::Error)]
pub(crate) enum FollowError {
    /// The namespace.
    #[error(transparent)]
    Settle(#[from] SettleError),
    /// The watch.
    #[error("the deploy cannot be followed: {0}")]
    Watch(#[from] WatchError),
    /// The process table.
    #[error("the deploy cannot be followed: {0}")]
    Process(#[from] keg::process::ProcessError),
    /// The log.
    #[error("the build log cannot be read: {0}")]
    Stream(#[from] StreamError),
    /// The event loop.
    #[error("the deploy cannot be followed: {0}")]
    Runtime(#[source] std::io::Error),
}

/// How a deploy ended, as far as it was watched.
#[derive(Debug)]
pub(crate) enum Outcome {
    /// It runs.
    Live(Running),
    /// It failed; whether the log has told why.
    Failed(Failure, bool),
    /// A newer push took its place.
    Superseded,
    /// Nobody builds.
    NoBuilder,
    /// It is built, but nobody runs it.
    NoMayor(Kid),
    /// It takes longer than is waited for.
    TooLong,
}

/// Follows the deploy of `source` to its end, showing its log.
///
/// # Errors
/// The Keg's.
pub(crate) async fn follow(
    keg: &Keg,
    app: &AppName,
    source: &Kid,
    answer: &mut Answer<'_>,
) -> Result<Outcome, FollowError> {
    let start = Instant::now();
    let mut ticks = interval_at(start + KEEP_ALIVE, KEEP_ALIVE);
    ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    let mut follower = Follower {
        // Everything that tells how far it is lies in few places, so the root is watched.
        names: keg.watch(&keg::NamePath::root(), None)?,
        log: Log::default(),
        ticks,
        stage: Stage::Waiting,
        since: start,
        told_to_wait: false,
    };
    loop {
        let stage = settle::stage(keg, app, source)?;
        if std::mem::discriminant(&stage) != std::mem::discriminant(&follower.stage) {
            follower.since = Instant::now();
        }
        if stage == Stage::Queued && follower.stage != Stage::Queued {
            answer.say("       waiting for the build of the push before this one");
        }
        follower.stage = stage;
        follower.show_log(keg, answer)?;
        match &follower.stage {
            Stage::Live(_, running) => return Ok(Outcome::Live(running.clone())),
            Stage::Failed(_, failure) => {
                return Ok(Outcome::Failed(failure.clone(), follower.log.shown));
            }
            Stage::Superseded => return Ok(Outcome::Superseded),
            Stage::Waiting if follower.since.elapsed() > ANSWER => {
                if !builds(keg)? {
                    return Ok(Outcome::NoBuilder);
                }
                if start.elapsed() > QUEUED {
                    return Ok(Outcome::TooLong);
                }
                // Between two builds there may be none.
                follower.since = Instant::now();
                if !std::mem::replace(&mut follower.told_to_wait, true) {
                    answer.say("       waiting for builds of other apps");
                }
                follower.wait(answer).await?;
            }
            Stage::Queued if follower.since.elapsed() > QUEUED => return Ok(Outcome::TooLong),
            Stage::Built(_, release) if follower.since.elapsed() > START => {
                return Ok(Outcome::NoMayor(*release));
            }
            _ if start.elapsed() > MAX_DEPLOY => return Ok(Outcome::TooLong),
            _ => follower.wait(answer).await?,
        }
    }
}

/// What is being watched.
struct Follower {
    names: Watch,
    log: Log,
    ticks: Interval,
    stage: Stage,
    since: Instant,
    told_to_wait: bool,
}

/// Whether anything is being built on this machine, for whichever app.
fn builds(keg: &Keg) -> Result<bool, FollowError> {
    let rows = keg::process::rows(keg)?;
    Ok(rows.iter().any(|row| row["type"] == "work/build"))
}

impl Follower {
    /// Waits until something may have changed.
    async fn wait(&mut self, answer: &mut Answer<'_>) -> Result<(), FollowError> {
        tokio::select! {
            changes = self.names.next() => drop(changes?),
            piece = next_piece(&mut self.log.reader) => match piece? {
                Some(bytes) => self.log.show(&bytes, answer),
                None => self.log.reader = None,
            },
            _ = self.ticks.tick() => answer.keep_alive(),
        }
        Ok(())
    }

    /// Shows what the log has now.
    fn show_log(&mut self, keg: &Keg, answer: &mut Answer<'_>) -> Result<(), FollowError> {
        let stream = match &self.stage {
            Stage::Building(stream)
            | Stage::Built(stream, _)
            | Stage::Starting(stream, _)
            | Stage::Live(stream, _)
            | Stage::Failed(stream, _) => stream.clone(),
            Stage::Waiting | Stage::Queued | Stage::Superseded => None,
        };
        let Some(id) = stream else { return Ok(()) };
        if self.log.id.as_ref() != Some(&id) {
            self.log.reader = match keg.streams().open(&id) {
                Ok(reader) => Some(reader),
                // Not written yet, or long gone: the outcome is told in any case.
                Err(StreamError::Missing(_)) => None,
                Err(error) => return Err(error.into()),
            };
            if self.log.reader.is_some() {
                self.log.id = Some(id);
            }
        }
        while let Some(reader) = &mut self.log.reader {
            match reader.try_next()? {
                Piece::Bytes(bytes) => self.log.show(&bytes, answer),
                Piece::Pending => break,
                Piece::End => self.log.reader = None,
            }
        }
        Ok(())
    }
}

/// The log being shown.
#[derive(Default)]
struct Log {
    id: Option<String>,
    reader: Option<StreamReader>,
    plain: Plain,
    shown: bool,
}

impl Log {
    /// Shows a piece of it.
    fn show(&mut self, piece: &[u8], answer: &mut Answer<'_>) {
        answer.text(&self.plain.filter(piece));
        self.shown = true;
    }
}

/// The next bytes of the log; never, if there is none.
async fn next_piece(reader: &mut Option<StreamReader>) -> Result<Option<Vec<u8>>, StreamError> {
    match reader {
        Some(reader) => reader.next().await,
        None => std::future::pending().await,
    }
}
