//! Changes as events, made once for all who follow the same path.
//!
//! Each path that somebody follows has one watch and the newest pieces of its events. A follower is
//! a version number: it takes the piece that comes next, which all share. Whoever is further behind
//! than the pieces go catches up by a watch of its own; only a few may do so at a time, so that what
//! is made for slow readers alone is bounded.

use std::{
    collections::{HashMap, VecDeque},
    sync::{
        Arc, Mutex, MutexGuard, PoisonError, Weak,
        atomic::{AtomicUsize, Ordering::Relaxed},
    },
};

use bytes::Bytes;
use keg::{
    Change, Keg, NamePath,
    watch::{Rings, Watch, WatchError},
};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};

/// What may be kept for followers.
#[derive(Clone, Copy)]
struct Limits {
    /// Bytes of events of a path, but for the newest piece.
    path: usize,
    /// Bytes of events of all paths.
    all: usize,
    /// Followers that catch up at a time.
    catching_up: usize,
}

const LIMITS: Limits = Limits { path: 1 << 20, all: 64 << 20, catching_up: 32 };

/// The feeds of all paths that are followed.
pub struct Feeds {
    feeds: Mutex<HashMap<NamePath, Weak<Mutex<Feed>>>>,
    limits: Limits,
    /// Bytes of the pieces of all feeds.
    kept: Arc<AtomicUsize>,
    catching_up: Arc<Semaphore>,
}

impl Default for Feeds {
    fn default() -> Self {
        Self::new(LIMITS)
    }
}

impl Feeds {
    fn new(limits: Limits) -> Self {
        let catching_up = Arc::new(Semaphore::new(limits.catching_up));
        Self { feeds: Mutex::default(), limits, kept: Arc::default(), catching_up }
    }

    /// Follows a path after version `since`, or from now on.
    ///
    /// # Errors
    /// As [`Keg::watch`].
    pub fn follow(
        &self,
        keg: &Keg,
        path: &NamePath,
        since: Option<u64>,
    ) -> Result<Follower, WatchError> {
        let rings = keg.rings()?;
        // Whether it can be followed from there.
        let seq = keg.watch(path, since)?.seq();
        let feed = self.feed(keg, path)?;
        let catching_up = Arc::clone(&self.catching_up);
        Ok(Follower { keg: keg.clone(), feed, rings, seq, own: None, catching_up })
    }

    fn feed(&self, keg: &Keg, path: &NamePath) -> Result<Arc<Mutex<Feed>>, WatchError> {
        let mut feeds = lock(&self.feeds);
        if let Some(feed) = feeds.get(path).and_then(Weak::upgrade) {
            return Ok(feed);
        }
        // Those that nobody follows any more, before there would be more room for them.
        if feeds.len() == feeds.capacity() {
            feeds.retain(|_, feed| feed.strong_count() > 0);
        }
        let watch = keg.watch(path, None)?;
        let gone = watch.seq();
        let (limits, all) = (self.limits, Arc::clone(&self.kept));
        let feed = Feed { watch, pieces: VecDeque::new(), kept: 0, gone, limits, all };
        let feed = Arc::new(Mutex::new(feed));
        feeds.insert(path.clone(), Arc::downgrade(&feed));
        Ok(feed)
    }
}

/// The events of one path.
struct Feed {
    watch: Watch,
    pieces: VecDeque<Piece>,
    /// Bytes of the pieces.
    kept: usize,
    /// The version up to which pieces have been let go of.
    gone: u64,
    limits: Limits,
    /// Bytes of the pieces of all feeds.
    all: Arc<AtomicUsize>,
}

impl Drop for Feed {
    fn drop(&mut self) {
        self.all.fetch_sub(self.kept, Relaxed);
    }
}

/// What happened after one version up to another.
struct Piece {
    from: u64,
    to: u64,
    text: Bytes,
}

/// Where a follower is.
enum Place {
    /// Before a piece: what to send, and where that leads.
    Before(Bytes, u64),
    /// Nothing has happened since.
    Newest,
    /// Between pieces, or before the first.
    Behind,
}

impl Feed {
    /// Looks what is new, and where a version is then.
    fn place(&mut self, seq: u64) -> Result<Place, WatchError> {
        loop {
            let from = self.watch.seq();
            let changes = self.watch.try_next()?;
            if changes.is_empty() {
                break;
            }
            let (to, text) = (self.watch.seq(), Bytes::from(events(&changes)));
            self.keep(Piece { from, to, text });
            if to > seq {
                break;
            }
        }
        if seq < self.gone {
            return Ok(Place::Behind);
        }
        Ok(match self.pieces.iter().find(|piece| piece.to > seq) {
            None => Place::Newest,
            Some(piece) if piece.from < seq => Place::Behind,
            Some(piece) => Place::Before(piece.text.clone(), piece.to),
        })
    }

    /// Adds a piece and lets go of old ones, or of all where all feeds together have too much.
    fn keep(&mut self, piece: Piece) {
        self.kept += piece.text.len();
        self.all.fetch_add(piece.text.len(), Relaxed);
        self.pieces.push_back(piece);
        while self.kept > self.limits.path && self.pieces.len() > 1
            || self.all.load(Relaxed) > self.limits.all
        {
            let Some(piece) = self.pieces.pop_front() else { break };
            self.kept -= piece.text.len();
            self.all.fetch_sub(piece.text.len(), Relaxed);
            self.gone = piece.to;
        }
    }
}

/// Somebody who follows a path.
pub struct Follower {
    keg: Keg,
    feed: Arc<Mutex<Feed>>,
    rings: Rings,
    /// The version up to which everything was handed out.
    seq: u64,
    /// While it catches up.
    own: Option<(Watch, OwnedSemaphorePermit)>,
    catching_up: Arc<Semaphore>,
}

impl Follower {
    /// The version up to which everything was handed out.
    pub fn seq(&self) -> u64 {
        self.seq
    }

    /// Waits for changes; their events, of which there are some. Dropping the future loses nothing.
    ///
    /// # Errors
    /// As [`Watch::next`].
    pub async fn next(&mut self) -> Result<Bytes, WatchError> {
        loop {
            let heard = self.rings.heard();
            let place = lock(&self.feed).place(self.seq)?;
            match place {
                Place::Before(text, to) => {
                    (self.seq, self.own) = (to, None);
                    return Ok(text);
                }
                Place::Newest => {
                    self.own = None;
                    self.rings.after(heard).await?;
                }
                Place::Behind => {
                    let changes = self.catch_up().await?;
                    if !changes.is_empty() {
                        return Ok(Bytes::from(events(&changes)));
                    }
                }
            }
        }
    }

    /// Goes on by itself for a bit.
    async fn catch_up(&mut self) -> Result<Vec<Change>, WatchError> {
        let (watch, _) = match &mut self.own {
            Some(own) => own,
            none => {
                let places = Arc::clone(&self.catching_up);
                let place = places.acquire_owned().await;
                let place = place.expect("because the semaphore is never closed");
                let path = lock(&self.feed).watch.path().clone();
                none.insert((self.keg.watch(&path, Some(self.seq))?, place))
            }
        };
        let changes = watch.try_next()?;
        self.seq = watch.seq();
        Ok(changes)
    }
}

fn lock<T>(shared: &Mutex<T>) -> MutexGuard<'_, T> {
    shared.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Changes as server-sent events.
fn events(changes: &[Change]) -> String {
    let mut text = String::new();
    for (at, change) in changes.iter().enumerate() {
        let json = serde_json::json!({
            "seq": change.seq,
            "commit": change.commit,
            "path": change.path.as_str(),
            "old": change.old.as_ref().map(crate::data::value),
            "new": change.new.as_ref().map(crate::data::value),
        });
        // Only the last change of a version moves the id: who reconnects misses none.
        if changes.get(at + 1).is_none_or(|next| next.seq != change.seq) {
            text.push_str(&format!("id: {}\n", change.seq));
        }
        text.push_str(&format!("event: change\ndata: {json}\n\n"));
    }
    text
}

#[cfg(test)]
mod tests {
    use keg::Txn;
    use serde_json::json;

    use super::*;

    const SMALL: Limits = Limits { path: 1500, all: 4000, catching_up: 1 };

    fn path(text: &str) -> NamePath {
        text.parse().expect(text)
    }

    /// Version `n` changes `/a/n` or, every third one, `/b/n`.
    fn change(keg: &Keg, n: u64) {
        let name = path(&format!("/{}/{n}.json", if n.is_multiple_of(3) { "b" } else { "a" }));
        let made = keg.commit(Txn::new("t", "m").set_json(name, json!(n))).expect("made");
        assert_eq!(made.seq, n);
    }

    /// The versions that events tell of.
    fn told(text: &[u8]) -> Vec<u64> {
        let text = String::from_utf8_lossy(text);
        text.lines().filter_map(|line| line.strip_prefix("id: ")?.parse().ok()).collect()
    }

    /// Takes what there is.
    async fn take(follower: &mut Follower, got: &mut Vec<u64>) {
        while let Ok(text) = tokio::time::timeout(std::time::Duration::ZERO, follower.next()).await
        {
            got.extend(told(&text.expect("events")));
        }
    }

    #[tokio::test]
    async fn everybody_gets_each_version_once_however_far_behind() {
        let keg = Keg::in_memory();
        for limits in [LIMITS, SMALL, Limits { all: 0, ..SMALL }] {
            let feeds = Feeds::new(limits);
            let begun = keg.head().expect("a version").seq;
            let mut followers = Vec::new();
            for n in begun + 1..=begun + 24 {
                change(&keg, n);
                for since in [None, Some(begun), Some(begun + (n - begun) / 2)] {
                    let joined = feeds.follow(&keg, &path("/a"), since).expect("a follower");
                    followers.push((joined.seq(), joined, Vec::new()));
                }
                // Some take all at once, some seldom, some not before the end.
                for (number, (_, follower, got)) in followers.iter_mut().enumerate() {
                    if number % 4 != 3 && n % (number as u64 % 4 * 4 + 1) == 0 {
                        take(follower, got).await;
                    }
                }
            }
            let newest = begun + 24;
            for (since, follower, got) in &mut followers {
                take(follower, got).await;
                let want: Vec<u64> = (*since + 1..=newest).filter(|n| n % 3 != 0).collect();
                assert_eq!(*got, want, "since {since}");
                assert!(follower.own.is_none(), "it has caught up");
            }
            let kept = feeds.kept.load(Relaxed);
            assert!(kept <= limits.all, "{kept} bytes");
            drop(followers);
            assert_eq!(feeds.kept.load(Relaxed), 0);
        }
    }

    #[tokio::test]
    async fn followers_of_a_path_share_its_events() {
        let keg = Keg::in_memory();
        let feeds = Feeds::default();
        let follow = || feeds.follow(&keg, &path("/a"), None).expect("a follower");
        let (mut one, mut other) = (follow(), follow());
        change(&keg, 1);
        let (first, second) = (one.next().await.expect("it"), other.next().await.expect("it"));
        assert_eq!(told(&first), [1]);
        assert_eq!((first.as_ptr(), first.len()), (second.as_ptr(), second.len()));
        // Paths that nobody follows any more take no room.
        for n in 0..1000 {
            drop(feeds.follow(&keg, &path(&format!("/{n}")), None).expect("a follower"));
        }
        assert!(lock(&feeds.feeds).len() < 10);
        drop((one, other));
    }
}
