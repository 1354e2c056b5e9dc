//! `keg log`: the versions in which a path changed.

use keg::{Keg, NamePath, object::Entry};
use serde_json::json;

use super::{locate, point};
use crate::{args::Output, error::CommandError, find, output};

/// Prints at most `limit` versions, newest first; of `PATH@V` those up to V.
pub fn run(path: &str, limit: usize, how: Output) -> Result<(), CommandError> {
    let keg = find::keg()?;
    let (path, at) = locate::split(&keg, path)?;
    let mut found = false;
    let mut history = keg.history(&path);
    if let Some(at) = at {
        history = history.up_to(number(&keg, &path, at)?);
    }
    for change in history.by_ref().take(limit) {
        let change = change?;
        found = true;
        let commit = keg.objects().commit(&change.commit)?;
        let (old, new) = (
            change.old.as_ref().and_then(|entry| entry.kid()),
            change.new.as_ref().and_then(|entry| entry.kid()),
        );
        let time = keg::time::rfc3339(commit.time_ms);
        if how.json {
            output::json_line(&json!({
                "seq": change.seq, "version": change.commit, "time": time,
                "author": commit.author, "user": commit.extra.get("user"),
                "message": commit.message, "old": old, "new": new,
                "pointer": change.new.as_ref().and_then(point::facts),
            }))?;
            continue;
        }
        let mut what = new.map_or("removed".to_owned(), |kid| kid.short());
        if let Some(to) = change.new.as_ref().and_then(point::words) {
            what = format!("{what} → {to}");
        }
        output::line(&format!(
            "{}  {:>6}  {}  {what}  {}: {}",
            change.commit.short(),
            change.seq,
            time,
            commit.author,
            commit.message.lines().next().unwrap_or_default()
        ))?;
    }
    // A path that is there and has not changed since the oldest version is known, too.
    if let Some(oldest) = history.compacted()
        && (found || keg.get(&path)?.is_some())
    {
        // A note, as it is no version.
        eprintln!("Older versions than {oldest} were let go of by `keg gc`");
        return Ok(());
    }
    if found {
        return Ok(());
    }
    let hint = "`keg ls /` shows what is there";
    Err(CommandError::user(format!("{path} has no history in this Keg")).hint(hint))
}

/// The number of the version that an `@…` stands for: of the namespace, or, of a release or source
/// commit, the one that set the path to it.
fn number(keg: &Keg, path: &NamePath, at: &str) -> Result<u64, CommandError> {
    let kid = locate::version(keg, at)?;
    if let Some(seq) = keg.number_of(&kid)? {
        return Ok(seq);
    }
    for change in keg.history(path) {
        let change = change?;
        if change.new.as_ref().and_then(Entry::kid) == Some(kid) {
            return Ok(change.seq);
        }
    }
    Err(CommandError::user(format!("{} is no version of {path}", kid.short()))
        .hint(format!("`keg log {path}` lists them")))
}
