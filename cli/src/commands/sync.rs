//! `keg pull`, `keg push`, `keg clone`: state moved between Kegs.

use std::{
    io::{IsTerminal, Write},
    path::Path,
};

use keg::{
    Keg, NamePath,
    object::Entry,
    sync::{Limits, Options, Progress, SyncError},
};
use peer::{Peer, PeerError, pointer::Completed};
use serde_json::json;

use super::change::author;
use crate::{
    args::{Output, Sync},
    error::CommandError,
    find, output,
};

/// Fetches a path from another Keg, and sets it here.
pub fn pull(args: &Sync) -> Result<(), CommandError> {
    let keg = find::keg()?;
    let (from, to) = paths(args)?;
    let mut show = shower(args.output);
    let mut options = options(args.force, &mut show);
    let pulled = keg::sync::pull(&keg, &mut Peer::new(&args.url)?, &from, &to, &mut options)?;
    done(args.output);
    complete(&keg, &args.url, &pulled.value);
    let kid = pulled.value.kid();
    let blobs = pulled.progress.blobs;
    if args.output.json {
        return output::json_line(&json!({
            "path": to.as_str(), "kid": kid, "changed": pulled.changed, "blobs": blobs,
            "received": pulled.received,
        }));
    }
    let what = if pulled.changed { "is now" } else { "was already" };
    let short = kid.map_or_else(|| "-".to_owned(), |kid| kid.short());
    output::line(&format!(
        "{to} {what} {short}: {blobs} blobs, {} received",
        output::bytes(pulled.received)
    ))
}

/// Sends a path to another Keg, and sets it there.
pub fn push(args: &Sync) -> Result<(), CommandError> {
    let keg = find::keg()?;
    let (from, to) = paths(args)?;
    let mut show = shower(args.output);
    let mut options = options(args.force, &mut show);
    let pushed = keg::sync::push(&keg, &mut Peer::new(&args.url)?, &from, &to, &mut options)?;
    done(args.output);
    let kid = pushed.value.kid();
    if args.output.json {
        return output::json_line(&json!({
            "path": to.as_str(), "kid": kid, "seq": pushed.seq, "blobs": pushed.blobs,
        }));
    }
    let what = if pushed.seq.is_some() { "is now" } else { "was already" };
    let short = kid.map_or_else(|| "-".to_owned(), |kid| kid.short());
    output::line(&format!("{to} there {what} {short}: {} blobs sent", pushed.blobs))
}

/// Makes a new Keg that has everything another one has: a backup, or its restoration.
pub fn clone(url: &str, dir: &Path, how: Output) -> Result<(), CommandError> {
    let mut show = shower(how);
    let mut options = options(false, &mut show);
    let (keg, pulled) = keg::sync::clone(dir, &mut Peer::new(url)?, &mut options)?;
    done(how);
    let head = keg.head()?;
    complete(&keg, url, &keg.objects().tree_entry(&head.tree)?);
    if how.json {
        return output::json_line(&json!({
            "home": dir, "version": head.commit, "seq": head.seq, "received": pulled.received,
        }));
    }
    output::line(&format!(
        "{} has all {} versions up to {}, {} received",
        dir.display(),
        head.seq,
        head.commit.short(),
        output::bytes(pulled.received)
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

fn paths(args: &Sync) -> Result<(NamePath, NamePath), CommandError> {
    let from: NamePath = args.path.parse()?;
    let to = args.to.as_ref().map_or(Ok(from.clone()), |to| to.parse())?;
    Ok((from, to))
}

fn options<'a>(force: bool, progress: &'a mut dyn FnMut(Progress)) -> Options<'a> {
    Options { author: author(), force, limits: Limits::default(), progress }
}

fn shower(how: Output) -> impl FnMut(Progress) {
    let terminal = std::io::stderr().is_terminal() && !how.json;
    move |now: Progress| {
        if terminal {
            let (bytes, total) = (output::bytes(now.bytes), output::bytes(now.bytes_total));
            let text = format!(
                "{} trees, {} of {} blobs, {bytes} of {total}",
                now.objects, now.blobs, now.blobs_total
            );
            // Progress that cannot be shown stops nothing.
            write!(std::io::stderr().lock(), "\r{text}\x1b[K").unwrap_or_default();
        }
    }
}

fn done(how: Output) {
    if std::io::stderr().is_terminal() && !how.json {
        eprint!("\r\x1b[K");
    }
}

impl From<PeerError> for CommandError {
    fn from(error: PeerError) -> Self {
        Self::user(error.to_string()).hint("give the address that `keg up` printed over there")
    }
}

impl From<SyncError> for CommandError {
    fn from(error: SyncError) -> Self {
        match error {
            SyncError::Store(error) => error.into(),
            SyncError::Names(error) => error.into(),
            SyncError::Commit(error) => error.into(),
            SyncError::Connection { source } => {
                Self::user("the connection to the other Keg failed").because(source).hint(
                    "run it again: what has come is kept; `keg status` over there shows whether \
                     it is up",
                )
            }
            SyncError::Absent { ref path, remote } => {
                let there = if remote { " over there" } else { "" };
                let hint = format!("`keg ls {}`{there} shows what is there", parent(path));
                Self::user(error.to_string()).hint(hint)
            }
            error => Self::user(error.to_string()),
        }
    }
}

fn parent(path: &NamePath) -> NamePath {
    path.parent().unwrap_or_else(NamePath::root)
}
