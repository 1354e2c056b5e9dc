//! One request from beginning to end: its lock, its stream, its outcome.

#[cfg(test)]
mod tests;

use std::time::Instant;

use keg::{Keg, NamePath, Txn, stream::StreamWriter};
use serde_json::{Value as Json, json};

use crate::{
    AUTHOR, Progress, Report, Request, WORKER,
    debian::{self, import::Machine},
    error::ImportError,
    lockfile::Lockfile,
    progress::Told,
    pypi,
    request::{KEY_DIGITS, key_of},
};

/// Most streams that one key may have had.
const MAX_STREAMS: u32 = 1000;

/// Asks for packages: writes the request, unless it is done or being done, and returns its key. A
/// request that failed before is tried again.
///
/// # Errors
/// The request is none, or the Keg's.
pub fn request(keg: &Keg, request: &Request) -> Result<String, ImportError> {
    let request = request.clone().normal()?;
    let key = request.key();
    let lock = keg.get_json(&lock_path(&key))?;
    let state = lock.as_ref().and_then(|lock| lock["state"].as_str());
    match state {
        Some("done") => return Ok(key),
        Some("running") if Lockfile::attempt(keg, &key)?.is_none() => return Ok(key),
        _ => {}
    }
    let mut document = serde_json::to_value(&request).expect("because it is plain data");
    document["asked"] = keg::time::now().into();
    let mut txn =
        Txn::new(AUTHOR, &format!("request {key}")).set_json(request_path(&key), document);
    if state == Some("failed") {
        txn = txn.remove(lock_path(&key));
    }
    keg.commit(txn)?;
    Ok(key)
}

/// Requests that nobody works on: without a lock, or with one whose import died.
///
/// # Errors
/// The Keg's.
pub fn pending(keg: &Keg) -> Result<Vec<String>, ImportError> {
    let mut keys = Vec::new();
    for (name, _) in keg.list(&path("/packages/requests"))? {
        let Some(key) = name.strip_suffix(".json").filter(|key| is_key(key)) else { continue };
        let lock = keg.get_json(&lock_path(key))?;
        let state = lock.as_ref().and_then(|lock| lock["state"].as_str());
        let waits = match state {
            None => true,
            Some("running") => Lockfile::attempt(keg, key)?.is_some(),
            _ => false,
        };
        if waits {
            keys.push(key.to_owned());
        }
    }
    Ok(keys)
}

/// Imports in this process, telling `report`; returns the lock.
///
/// # Errors
/// The import failed; the lock says so too.
pub fn import_now(
    keg: &Keg,
    request: &Request,
    report: &mut Report<'_>,
) -> Result<Json, ImportError> {
    let request = request.clone().normal()?;
    import_as(&Machine::new(keg), &request.key(), &request, report)
}

/// Imports again what was imported: neither the lock nor what is remembered of the mirror and the
/// index counts, so that newer versions come in. Returns the new lock, which takes the place of the
/// old one (that stays in the name's history); builds notice where it differs.
///
/// # Errors
/// The import failed: then a lock that was done stays. A mirror or index that cannot be reached is
/// such a failure.
pub fn refresh_now(
    keg: &Keg,
    request: &Request,
    report: &mut Report<'_>,
) -> Result<Json, ImportError> {
    let request = request.clone().normal()?;
    refresh_as(&Machine::new(keg), &request.key(), &request, report)
}

/// As [`refresh_now`], for the request that is known by this key: say, one of a build's `locks`.
///
/// # Errors
/// As [`refresh_now`], and there is no such request.
pub fn refresh_key(keg: &Keg, key: &str, report: &mut Report<'_>) -> Result<Json, ImportError> {
    refresh_as(&Machine::new(keg), key, &asked(keg, key)?, report)
}

fn refresh_as(
    machine: &Machine<'_>,
    key: &str,
    request: &Request,
    report: &mut Report<'_>,
) -> Result<Json, ImportError> {
    let keg = machine.keg;
    let _held = hold(keg, key, report)?;
    let kept = done(keg, key)?.is_some();
    let started = keg::time::now();
    let anew = Anew::Yes { kept };
    Import { keg, machine, key, request, started, anew }.run(report)
}

/// Imports a request under the key that it is known by, with a machine's configuration.
fn import_as(
    machine: &Machine<'_>,
    key: &str,
    request: &Request,
    report: &mut Report<'_>,
) -> Result<Json, ImportError> {
    let keg = machine.keg;
    if let Some(lock) = done(keg, key)? {
        return Ok(lock);
    }
    let _held = hold(keg, key, report)?;
    if let Some(lock) = done(keg, key)? {
        return Ok(lock);
    }
    let started = keg::time::now();
    Import { keg, machine, key, request, started, anew: Anew::No }.run(report)
}

/// Holds the request's lock file, for one import at a time.
fn hold(keg: &Keg, key: &str, report: &mut Report<'_>) -> Result<Lockfile, ImportError> {
    if let Some(held) = Lockfile::attempt(keg, key)? {
        return Ok(held);
    }
    report(Progress::Phase("Waiting for another import of the same".into()));
    Ok(Lockfile::wait(keg, key)?)
}

/// The request that is known by `key`. Whoever wrote it may have written it otherwise than we
/// would: its key stays.
fn asked(keg: &Keg, key: &str) -> Result<Request, ImportError> {
    let found = if is_key(key) { keg.get_json(&request_path(key))? } else { None };
    let document = found.filter(|document| key_of(document) == key);
    let request = document.and_then(|document| serde_json::from_value::<Request>(document).ok());
    Ok(request.ok_or_else(|| ImportError::no_request(key))?.normal()?)
}

/// The child process that does the request with this key, or, for [`WORKER`], packages for another
/// import. Returns the exit code.
pub fn work_import(keg: &Keg, key: &str) -> i32 {
    if key == WORKER {
        return debian::pool::serve(keg);
    }
    let done = asked(keg, key)
        .and_then(|request| import_as(&Machine::new(keg), key, &request, &mut |_| {}));
    match done {
        Ok(_) => 0,
        Err(error) => {
            eprintln!("import {key}: {}", error.message());
            1
        }
    }
}

struct Import<'a> {
    keg: &'a Keg,
    machine: &'a Machine<'a>,
    key: &'a str,
    request: &'a Request,
    started: String,
    anew: Anew,
}

/// Whether what is there already counts.
#[derive(Clone, Copy, PartialEq, Eq)]
pub enum Anew {
    /// It does.
    No,
    /// It does not.
    Yes {
        /// There is a lock that is done, which stays until another one takes its place.
        kept: bool,
    },
}

impl Import<'_> {
    fn run(&self, report: &mut Report<'_>) -> Result<Json, ImportError> {
        let mut stream = self.stream()?;
        self.begin(stream.id())?;
        let id = stream.id().to_owned();
        let mut told = Told::default();
        let result = self.parts(&mut |news| {
            // A stream that cannot be written must not stop the import.
            if let Some(line) = told.line(&news, Instant::now()) {
                drop(stream.line(&line));
            }
            report(news);
        });
        if let Err(error) = &result {
            drop(stream.line(&format!("failed: {}", error.message())));
        }
        drop(stream);
        // Without its log an import is still what it is.
        let log = self.keg.streams().seal(&id).ok().and_then(|entry| entry.kid());
        let told = Log { stream: &id, kid: log };
        let finished = result.and_then(|(lock, names)| self.finish(told, lock, names));
        if let Err(error) = &finished {
            // A full disk may keep even this from being written: what is told is the first cause,
            // and an import that stays "running" without a process is pending again.
            drop(self.fail(told, error));
        }
        finished
    }

    /// A stream that is not sealed: an import that failed before has sealed its own.
    fn stream(&self) -> Result<StreamWriter, ImportError> {
        let streams = self.keg.streams();
        for n in 1..MAX_STREAMS {
            let id = match n {
                1 => format!("import-{}", self.key),
                n => format!("import-{}-{n}", self.key),
            };
            if streams.sealed(&id)?.is_none() {
                return Ok(streams.create(&id)?);
            }
        }
        Err(ImportError::no_request(self.key))
    }

    /// Whether the lock of an earlier import stays as long as this one is not done.
    fn keeps(&self) -> bool {
        self.anew == Anew::Yes { kept: true }
    }

    fn begin(&self, stream: &str) -> Result<(), ImportError> {
        let mut txn = Txn::new(AUTHOR, &format!("import {} begins", self.key));
        if !self.keeps() {
            txn = txn.set_json(lock_path(self.key), self.document("running", stream));
        }
        if self.keg.get(&request_path(self.key))?.is_none() {
            let request = serde_json::to_value(self.request).expect("because it is plain data");
            txn = txn.set_json(request_path(self.key), request);
        }
        self.keg.commit(txn)?;
        Ok(())
    }

    /// The parts of the lock, and the names to set with it.
    fn parts(&self, report: &mut Report<'_>) -> Result<Parts, ImportError> {
        let mut lock = json!({});
        let mut names = Vec::new();
        if let Some(want) = &self.request.debian {
            let done = self.machine.import(want, self.key, self.anew, report)?;
            lock["debian"] = done.lock;
            names.extend(done.names);
        }
        if let Some(want) = &self.request.pypi {
            let done = pypi::import(self.keg, want, self.key, self.anew, report)?;
            lock["pypi"] = done.lock;
            names.extend(done.names);
        }
        Ok((lock, names))
    }

    fn finish(&self, log: Log<'_>, parts: Json, names: Names) -> Result<Json, ImportError> {
        let mut lock = self.ended("done", log);
        for part in ["debian", "pypi"] {
            if let Some(value) = parts.get(part) {
                lock[part] = value.clone();
            }
        }
        let mut txn = Txn::new(AUTHOR, &format!("import {} is done", self.key))
            .set_json(lock_path(self.key), lock.clone());
        for (path, entry) in names {
            txn = txn.set(path, entry);
        }
        self.keg.commit(txn)?;
        Ok(lock)
    }

    fn fail(&self, log: Log<'_>, error: &ImportError) -> Result<(), ImportError> {
        if self.keeps() {
            return Ok(());
        }
        let mut lock = self.ended("failed", log);
        lock["error"] = json!({ "message": error.message(), "hint": error.hint() });
        let txn = Txn::new(AUTHOR, &format!("import {} failed", self.key))
            .set_json(lock_path(self.key), lock);
        self.keg.commit(txn)?;
        Ok(())
    }

    fn ended(&self, state: &str, log: Log<'_>) -> Json {
        let mut lock = self.document(state, log.stream);
        lock["finished"] = keg::time::now().into();
        if let Some(kid) = log.kid {
            lock["log"] = kid.to_string().into();
        }
        lock
    }

    fn document(&self, state: &str, stream: &str) -> Json {
        json!({
            "state": state,
            "request": self.key,
            "stream": stream,
            "started": self.started,
        })
    }
}

/// What an import told: its stream, and the blob that became of it.
#[derive(Clone, Copy)]
struct Log<'a> {
    stream: &'a str,
    kid: Option<keg::Kid>,
}

type Names = Vec<(NamePath, keg::object::Entry)>;
type Parts = (Json, Names);

/// The lock, if it is done.
fn done(keg: &Keg, key: &str) -> Result<Option<Json>, ImportError> {
    let lock = keg.get_json(&lock_path(key))?;
    Ok(lock.filter(|lock| lock["state"] == "done"))
}

fn is_key(key: &str) -> bool {
    key.len() == KEY_DIGITS && key.bytes().all(|b| matches!(b, b'0'..=b'9' | b'a'..=b'f'))
}

fn request_path(key: &str) -> NamePath {
    path(&format!("/packages/requests/{key}.json"))
}

fn lock_path(key: &str) -> NamePath {
    path(&format!("/packages/locks/{key}.json"))
}

fn path(text: &str) -> NamePath {
    text.parse().expect("because keys are path components")
}
