//! `keg pull`, `keg push`, `keg clone`: state moved between Kegs.

use std::path::Path;

use keg::{
    Keg, NamePath,
    object::Entry,
    sync::{Limits, Options, Progress, SyncError},
};
use peer::{Peer, PeerError, pointer::Completed};
use serde_json::json;

use super::who::author;
use crate::{
    args::{Output, Sync},
    error::CommandError,
    find, output,
    progress::Meter,
};

/// Fetches a path from another Keg, and sets it here.
pub fn pull(args: &Sync) -> Result<(), CommandError> {
    let keg = find::keg()?;
    let (from, to) = paths(args)?;
    let mut peer = Peer::new(&args.url)?;
    let (pulled, seconds) = metered(args.output, |show| {
        keg::sync::pull(&keg, &mut peer, &from, &to, &mut options(args.force, show))
    })?;
    complete(&keg, &args.url, &pulled.value);
    let kid = pulled.value.kid();
    let blobs = pulled.progress.blobs;
    if args.output.json {
        return output::json_line(&json!({
            "path": to.as_str(), "kid": kid, "changed": pulled.changed, "blobs": blobs,
            "bytes": pulled.progress.bytes, "received": pulled.received, "seconds": seconds,
        }));
    }
    let what = if pulled.changed { "is now" } else { "was already" };
    let short = kid.map_or_else(|| "-".to_owned(), |kid| kid.short());
    output::line(&format!(
        "{to} {what} {short}: {blobs} files, {} received{}",
        output::bytes(pulled.received),
        rate(pulled.received, seconds)
    ))
}

/// Sends a path to another Keg, and sets it there.
pub fn push(args: &Sync) -> Result<(), CommandError> {
    let keg = find::keg()?;
    let (from, to) = paths(args)?;
    let mut peer = Peer::new(&args.url)?;
    let (pushed, seconds) = metered(args.output, |show| {
        keg::sync::push(&keg, &mut peer, &from, &to, &mut options(args.force, show))
    })?;
    let kid = pushed.value.kid();
    if args.output.json {
        return output::json_line(&json!({
            "path": to.as_str(), "kid": kid, "seq": pushed.seq, "blobs": pushed.blobs,
            "sent": pushed.sent, "seconds": seconds,
        }));
    }
    let what = if pushed.seq.is_some() { "is now" } else { "was already" };
    let short = kid.map_or_else(|| "-".to_owned(), |kid| kid.short());
    output::line(&format!(
        "{to} there {what} {short}: {} files, {} sent{}",
        pushed.blobs,
        output::bytes(pushed.sent),
        rate(pushed.sent, seconds)
    ))
}

/// Makes a new Keg that has everything another one has: a backup, or its restoration.
pub fn clone(url: &str, dir: &Path, how: Output) -> Result<(), CommandError> {
    let mut peer = Peer::new(url)?;
    let ((keg, pulled), seconds) =
        metered(how, |show| keg::sync::clone(dir, &mut peer, &mut options(false, show)))?;
    let head = keg.head()?;
    complete(&keg, url, &keg.objects().tree_entry(&head.tree)?);
    if how.json {
        return output::json_line(&json!({
            "home": dir, "version": head.commit, "seq": head.seq, "received": pulled.received,
            "seconds": seconds,
        }));
    }
    output::line(&format!(
        "{} has all {} versions up to {}, {} received{}",
        dir.display(),
        head.seq,
        head.commit.short(),
        output::bytes(pulled.received),
        rate(pulled.received, seconds)
    ))
}

/// Brings what pointers in a value lead to, as far as the other Keg has it. What it has not, or
/// does not send now, is fetched when it is read.
fn complete(keg: &Keg, url: &str, value: &Entry) {
    match peer::pointer::complete(keg, url, value) {
        Ok(Completed { left: 0, .. }) => {}
        Ok(Completed { left, .. }) => {
            eprintln!("{left} pointers lead to what is not there; it is fetched when it is read");
        }
        Err(error) => eprintln!("what pointers lead to did not come: {error}"),
    }
}

/// Runs something that says how far it is; its result, and how many seconds it took.
fn metered<T>(
    how: Output,
    run: impl FnOnce(&mut dyn FnMut(Progress)) -> Result<T, SyncError>,
) -> Result<(T, f64), CommandError> {
    let mut meter = Meter::new(how.json);
    let done = run(&mut |progress| meter.show(&progress));
    meter.clear();
    Ok((done?, meter.seconds()))
}

/// What is worth saying of something that took its time.
fn rate(bytes: u64, seconds: f64) -> String {
    if seconds < 1.0 {
        return String::new();
    }
    format!(" in {seconds:.1} s, {}/s", output::bytes((bytes as f64 / seconds) as u64))
}

fn paths(args: &Sync) -> Result<(NamePath, NamePath), CommandError> {
    let from: NamePath = args.path.parse()?;
    let to = args.to.as_ref().map_or(Ok(from.clone()), |to| to.parse())?;
    Ok((from, to))
}

fn options<'a>(force: bool, progress: &'a mut dyn FnMut(Progress)) -> Options<'a> {
    Options { author: author(), force, limits: Limits::default(), progress }
}

impl From<PeerError> for CommandError {
    fn from(error: PeerError) -> Self {
        Self::user(error.to_string()).hint("give the address that `keg up` printed over there")
    }
}

impl From<SyncError> for CommandError {
    fn from(error: SyncError) -> Self {
        let hint = match &error {
            SyncError::Store(_) | SyncError::Names(_) | SyncError::Commit(_) => "",
            SyncError::Connection { .. } => {
                "run it again: what has come is kept; `keg status` over there shows whether it is \
                 up"
            }
            SyncError::NotAKeg { .. } => "give the address that `keg up` printed over there",
            SyncError::Version { .. } => "use the same release of keg on both sides",
            SyncError::Conflict { path, .. } if *path == NamePath::root() => {
                "`/` is taken over whole, by a Keg without versions of its own: clone into another \
                 directory, or pull the paths you want"
            }
            SyncError::Conflict { .. } => {
                "look at both, then pull or push with --force to replace the one that is not \
                 needed: its versions stay"
            }
            SyncError::Absent { path } => {
                let hint = format!("`keg ls {}` shows what is there", parent(path));
                return Self::user(error.to_string()).hint(hint);
            }
            SyncError::Refused { message } if message.contains("there is nothing at") => {
                "`keg ls` over there shows what is there"
            }
            SyncError::Refused { .. } => "the log of `keg up` over there may say more",
            _ => "run it again; what has come is kept",
        };
        match error {
            SyncError::Store(error) => error.into(),
            SyncError::Names(error) => error.into(),
            SyncError::Commit(error) => error.into(),
            SyncError::Connection { source } => {
                Self::away("the connection to the other Keg failed").because(source).hint(hint)
            }
            // It does not answer as a Keg, or not with that.
            error @ (SyncError::NotAKeg { .. }
            | SyncError::Protocol { .. }
            | SyncError::Wrong { .. }
            | SyncError::Invalid { .. }) => Self::away(error.to_string()).hint(hint),
            SyncError::Io { source, .. } => source.into(),
            error => Self::user(error.to_string()).hint(hint),
        }
    }
}

fn parent(path: &NamePath) -> NamePath {
    path.parent().unwrap_or_else(NamePath::root)
}
