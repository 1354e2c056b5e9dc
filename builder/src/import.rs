//! What a build needs from outside: asked of the importer by names, awaited, told in the log.
//!
//! The builder writes `/packages/requests/<key>.json` and follows `/packages/locks/<key>.json`; it
//! never calls the importer. A lock that is done never changes, so asking again costs a look.

use std::{
    collections::BTreeMap,
    time::{Duration, Instant},
};

use keg::{
    Keg, Txn,
    kid::Kid,
    stream::{Piece, StreamReader},
};
use serde::Deserialize;
use serde_json::{Map, Value as Json, json};

use crate::{
    app::{is_key, key_of},
    documents::{AUTHOR, name},
    failure::{Failure, KEG_HINT, OrFail as _, Step},
    halt::{Halt, Wanted},
    log::{Lines, Log, Sink, counted, seconds},
};

/// Without any word from the importer for so long, the build fails.
pub const ANSWER_TIMEOUT: Duration = Duration::from_secs(60);
/// With a lock that is running but silent for so long, the build fails.
pub const SILENCE_TIMEOUT: Duration = Duration::from_secs(300);
/// Longest import.
pub const IMPORT_TIMEOUT: Duration = Duration::from_secs(3600);
/// Between two looks at the locks and their streams.
const TICK: Duration = Duration::from_millis(100);
/// When a person wonders why nothing happens.
const PATIENCE: Duration = Duration::from_secs(3);

/// Something wanted from the importer.
#[derive(Clone, Debug, PartialEq)]
pub struct Request {
    document: Json,
    /// What it is, in the log.
    what: String,
}

impl Request {
    /// Packages of Debian, as a configured root file system. None: the essential ones.
    pub fn debian(suite: &str, packages: &[String]) -> Self {
        let mut packages = packages.to_vec();
        packages.sort();
        packages.dedup();
        let what = match packages.len() {
            0 => format!("the base of Debian {suite}"),
            _ => format!("{} of Debian {suite}", packages.join(", ")),
        };
        let debian = json!({ "suite": suite, "packages": packages, "base": "essential" });
        Self { document: json!({ "debian": debian }), what }
    }

    /// Packages of PyPI.
    pub fn pypi(requirements: &str, python: &str, suite: &str) -> Self {
        let count = crate::requirements::count(requirements);
        let what = counted(count, "Python package");
        let pypi = json!({ "requirements": requirements, "python": python, "suite": suite });
        Self { document: json!({ "pypi": pypi }), what }
    }

    /// The request's key, by which its lock is found.
    pub fn key(&self) -> String {
        key_of(&self.document)
    }
}

/// What a request resolved to.
#[derive(Clone, Debug, Deserialize, PartialEq)]
pub struct Lock {
    state: LockState,
    #[serde(default)]
    stream: Option<String>,
    #[serde(default)]
    error: Option<LockError>,
    /// Debian packages and the root made of them.
    #[serde(default)]
    pub debian: Option<DebianLock>,
    /// Python packages and the tree made of them.
    #[serde(default)]
    pub pypi: Option<PypiLock>,
}

#[derive(Clone, Copy, Debug, Deserialize, PartialEq, Eq)]
#[serde(rename_all = "lowercase")]
enum LockState {
    Running,
    Done,
    Failed,
}

#[derive(Clone, Debug, Deserialize, PartialEq)]
struct LockError {
    message: String,
    #[serde(default)]
    hint: String,
}

impl Lock {
    /// The tree that came of the request, once it is done.
    pub fn tree(&self) -> Option<Kid> {
        let debian = self.debian.as_ref().map(|debian| debian.rootfs);
        let tree = debian.or(self.pypi.as_ref().map(|pypi| pypi.tree));
        tree.filter(|_| self.state == LockState::Done)
    }
}

/// Whether an import was done again since then, and became another tree. `then`: the trees of
/// locks, by their keys.
///
/// # Errors
/// The Keg's.
pub fn changed_since(keg: &Keg, then: &Map<String, Json>) -> Result<bool, Failure> {
    for (key, tree) in then.iter().filter(|(key, _)| is_key(key)) {
        let (_, now) = read(keg, key)?;
        if now.and_then(|lock| lock.tree()).is_some_and(|now| *tree != json!(now)) {
            return Ok(true);
        }
    }
    Ok(false)
}

/// The part of a lock about Debian.
#[derive(Clone, Debug, Deserialize, PartialEq)]
pub struct DebianLock {
    /// A complete, configured root.
    pub rootfs: Kid,
    /// What is in it.
    #[serde(default)]
    pub packages: Vec<Json>,
}

/// The part of a lock about PyPI.
#[derive(Clone, Debug, Deserialize, PartialEq)]
pub struct PypiLock {
    /// To be laid over the root.
    pub tree: Kid,
    /// What is in it.
    #[serde(default)]
    pub packages: Vec<Json>,
}

/// The locks of some requests, in their order, waiting for those that are not there.
///
/// # Errors
/// The importer fails or does not answer, or the build is no longer wanted.
pub fn obtain<S: Sink>(
    keg: &Keg,
    by: &str,
    requests: &[Request],
    wanted: &mut Wanted<'_>,
    log: &mut Log<S>,
) -> Result<Vec<Lock>, Halt> {
    let mut locks: BTreeMap<String, Lock> = BTreeMap::new();
    let mut waiting = Vec::new();
    for request in requests {
        let key = request.key();
        if locks.contains_key(&key) || waiting.iter().any(|w: &Waiting| w.key == key) {
            continue;
        }
        match read(keg, &key)? {
            (_, Some(lock)) if lock.state == LockState::Done => {
                locks.insert(key, lock);
            }
            (old, _) => waiting.push(Waiting::new(key, request, old)),
        }
    }
    if !waiting.is_empty() {
        ask(keg, by, &waiting)?;
        for done in await_all(keg, waiting, wanted, log)? {
            locks.insert(done.0, done.1);
        }
    }
    let found = requests.iter().map(|request| locks.get(&request.key()).cloned());
    Ok(found.map(|lock| lock.expect("because every key was found or awaited")).collect())
}

/// A request without a lock yet.
struct Waiting<'a> {
    key: String,
    request: &'a Request,
    /// A lock that was there before this was asked: a failure or a crash of earlier times.
    stale: Option<Kid>,
    reader: Option<(String, StreamReader)>,
    lines: Lines,
    /// When the importer last gave a sign.
    heard: Instant,
    answered: bool,
}

impl<'a> Waiting<'a> {
    fn new(key: String, request: &'a Request, stale: Option<Kid>) -> Self {
        let (reader, lines, heard) = (None, Lines::default(), Instant::now());
        Self { key, request, stale, reader, lines, heard, answered: false }
    }

    /// Copies what the import printed since the last time.
    fn follow<S: Sink>(&mut self, keg: &Keg, stream: &str, log: &mut Log<S>) {
        if self.reader.as_ref().is_none_or(|(id, _)| id != stream) {
            self.reader = keg.streams().open(stream).ok().map(|r| (stream.to_owned(), r));
        }
        let Some((_, reader)) = &mut self.reader else { return };
        while let Ok(Piece::Bytes(bytes)) = reader.try_next() {
            self.heard = Instant::now();
            self.lines.feed(&bytes, |line| copy(line, log));
        }
    }

    fn overdue(&self, started: Instant) -> Option<Failure> {
        let (what, silent) = (&self.request.what, self.heard.elapsed());
        let text = |text: String, hint: &str| Some(Failure::new(Step::Import, text, hint));
        if !self.answered && silent > ANSWER_TIMEOUT {
            let message = format!(
                "no importer answered within {} s to the request for {what}",
                ANSWER_TIMEOUT.as_secs()
            );
            return text(message, "see with `keg ps` whether the Keg runs, then push again");
        }
        if silent > SILENCE_TIMEOUT || started.elapsed() > IMPORT_TIMEOUT {
            let message = format!(
                "the import of {what} has said nothing for {} s, or takes more than {} s in all",
                SILENCE_TIMEOUT.as_secs(),
                IMPORT_TIMEOUT.as_secs()
            );
            return text(message, "check the network to the package sources, then push again");
        }
        None
    }
}

fn read(keg: &Keg, key: &str) -> Result<(Option<Kid>, Option<Lock>), Failure> {
    let path = name(&format!("/packages/locks/{key}.json"));
    let Some(kid) = keg.get(&path).or_fail(Step::Import, KEG_HINT)?.and_then(|e| e.kid()) else {
        return Ok((None, None));
    };
    let bytes = keg.objects().blob(&kid).or_fail(Step::Import, KEG_HINT)?;
    let hint = format!("remove {path} and push again");
    let lock = serde_json::from_slice(&bytes).or_fail(Step::Import, &hint)?;
    Ok((Some(kid), Some(lock)))
}

/// Sets the requests, each with the time of asking, so that the importer sees a change even where
/// the same was asked (and failed) before.
fn ask(keg: &Keg, by: &str, waiting: &[Waiting<'_>]) -> Result<(), Failure> {
    let what: Vec<&str> = waiting.iter().map(|w| w.request.what.as_str()).collect();
    let mut txn = Txn::new(AUTHOR, &format!("request {} for {by}", what.join("; ")));
    for one in waiting {
        let mut document = one.request.document.clone();
        document["by"] = json!(by);
        document["asked"] = json!(keg::time::now());
        txn = txn.set_json(name(&format!("/packages/requests/{}.json", one.key)), document);
    }
    keg.commit(txn).or_fail(Step::Import, KEG_HINT)?;
    Ok(())
}

fn await_all<S: Sink>(
    keg: &Keg,
    mut waiting: Vec<Waiting<'_>>,
    wanted: &mut Wanted<'_>,
    log: &mut Log<S>,
) -> Result<Vec<(String, Lock)>, Halt> {
    for one in &waiting {
        log.step(&format!("Importing {}", one.request.what));
    }
    let mut watch = keg.watch(&name("/packages/locks"), None).or_fail(Step::Import, KEG_HINT)?;
    let (started, mut patient, mut done) = (Instant::now(), true, Vec::new());
    while !waiting.is_empty() {
        wanted.check()?;
        let mut next = Vec::new();
        for mut one in waiting {
            let (kid, lock) = read(keg, &one.key)?;
            if let Some(stream) = lock.as_ref().and_then(|lock| lock.stream.as_deref())
                && kid != one.stale
            {
                one.follow(keg, stream, log);
            }
            match lock {
                Some(lock) if lock.state == LockState::Done => {
                    one.lines.finish(|line| copy(line, log));
                    done.push((one.key, lock));
                    continue;
                }
                Some(lock) if lock.state == LockState::Failed && kid != one.stale => {
                    return Err(refused(&one.request.what, lock).into());
                }
                Some(_) if kid != one.stale && !one.answered => {
                    one.answered = true;
                    one.heard = Instant::now();
                }
                _ => {}
            }
            if let Some(failure) = one.overdue(started) {
                return Err(failure.into());
            }
            next.push(one);
        }
        waiting = next;
        if patient && started.elapsed() > PATIENCE && waiting.iter().any(|w| !w.answered) {
            log.detail("waiting for the importer");
            patient = false;
        }
        if !waiting.is_empty() {
            watch.wait(TICK).or_fail(Step::Import, KEG_HINT)?;
        }
    }
    log.detail(&format!("imported in {}", seconds(started.elapsed())));
    Ok(done)
}

fn refused(what: &str, lock: Lock) -> Failure {
    let LockError { message, hint } = lock.error.unwrap_or_else(|| LockError {
        message: "the importer does not say why".to_owned(),
        hint: String::new(),
    });
    let hint = match hint.as_str() {
        "" => "correct what the app asks for, or push again to retry",
        hint => hint,
    };
    Failure::new(Step::Import, format!("cannot import {what}: {message}"), hint)
}

/// A line of the importer, but for what packages' scripts printed and for its failure: that is in
/// the lock's error, with the end of what was printed.
fn copy<S: Sink>(line: &[u8], log: &mut Log<S>) {
    let ours = [&b"| "[..], b"failed: "].iter().any(|mark| line.starts_with(mark));
    if !ours && !line.trim_ascii().is_empty() {
        log.copy_detail(line);
    }
}

#[cfg(test)]
mod tests;
