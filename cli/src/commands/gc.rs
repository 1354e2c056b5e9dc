//! `keg gc`, `keg du`: what goes, what stays and why, what takes room.

use std::io::{IsTerminal, Write};

use keg::{
    gc::{
        Amount, GcError, Going, Holder, Ingest, Kept, Options, Phase, PolicyError, Progress, Report,
    },
    names::Version,
};
use serde_json::json;

use super::{change::nothing_at, locate};
use crate::{args::Output, error::CommandError, find, output};

/// Large things that a dry run lists for people; `--json` has up to 1,000.
const LISTED: usize = 20;

/// Collects garbage once, or says what would go.
pub fn collect(dry_run: bool, how: Output) -> Result<(), CommandError> {
    let keg = find::keg()?;
    let terminal = std::io::stderr().is_terminal() && !how.json;
    let options = Options { dry_run, ..Options::default() };
    let report = keg::gc::collect(&keg, &options, &mut |now| {
        if terminal {
            show(now);
        }
    })?;
    if terminal {
        eprint!("\r\x1b[K");
    }
    if how.json {
        return output::json_line(&json!(report));
    }
    tell(&report)
}

fn tell(report: &Report) -> Result<(), CommandError> {
    let amount = |what: &Amount| format!("{} objects, {}", what.objects, output::bytes(what.bytes));
    let versions = format!("versions {} to {}", report.oldest, report.newest);
    output::line(&format!("kept     {} objects of {versions}", report.needed))?;
    let would = if report.dry_run { " (nothing is changed: --dry-run)" } else { "" };
    output::line(&format!("garbage  {}{would}", amount(&report.garbage)))?;
    output::line(&format!("swept    {}", amount(&report.swept)))?;
    output::line(&format!(
        "trash    {}, removed {}",
        amount(&report.trash),
        amount(&report.removed)
    ))?;
    let (before, after) = report.log;
    if before > after {
        let (before, after) = (output::bytes(before), output::bytes(after));
        output::line(&format!("log      {before}, now {after}"))?;
    }
    let packs = &report.packs;
    if packs.removed + packs.rewritten > 0 {
        let (before, after) = (output::bytes(packs.bytes_before), output::bytes(packs.bytes_after));
        output::line(&format!("packs    {before}, now {after}"))?;
    }
    if report.packs_busy {
        output::line("packs    left for the next collection, as `keg pack` is under way")?;
    }
    if let Some(next) = report.next_ms {
        let when = keg::time::rfc3339(i64::try_from(next).unwrap_or(i64::MAX));
        output::line(&format!("What is garbage now can go from {when} on, if nobody needs it."))?;
    }
    for ingest in report.ingests.iter().filter(|ingest| ingest.files > 0).take(LISTED) {
        let (bytes, files) = (output::bytes(ingest.bytes), ingest.files);
        let noun = if files == 1 { "file" } else { "files" };
        output::line(&format!("{bytes:>9}  in {files} {noun} being put by {}", who(ingest)))?;
    }
    for going in report.going.iter().take(LISTED) {
        output::line(&format!(
            "{:>9}  {}  {}",
            output::bytes(going.bytes),
            going.kid.short(),
            goes(going)
        ))?;
    }
    for kept in report.kept.iter().take(LISTED) {
        output::line(&format!(
            "{:>9}  {}  {}",
            output::bytes(kept.bytes),
            kept.kid.short(),
            why(kept)
        ))?;
    }
    Ok(())
}

fn goes(going: &Going) -> String {
    let when = match going.at_ms {
        None => "goes now".to_owned(),
        Some(ms) => {
            let when = keg::time::rfc3339(i64::try_from(ms).unwrap_or(i64::MAX));
            format!("goes from {when} on")
        }
    };
    match (&going.path, going.seq) {
        (Some(path), Some(seq)) => format!("{when}; was {path} in version {seq}"),
        _ => format!("{when}; nothing names it: left over, or just put"),
    }
}

fn why(kept: &Kept) -> String {
    let path = &kept.path;
    match &kept.holder {
        Holder::Name => format!("stays: is {path}"),
        Holder::Version { seq } => format!("stays: was {path} in version {seq}, which is kept"),
        Holder::Pointer => format!("stays: is {path}, to which a pointer leads"),
        Holder::Lease { what } => format!("stays: leased: {what}"),
        Holder::Mount { target } => format!("stays: mounted at {target}"),
        Holder::Image => "stays: is about to be mounted".to_owned(),
        Holder::Stream { id } => format!("stays: is the log {id}"),
        Holder::Ingest(ingest) => {
            format!("stays for now: nothing names it, but it may be just put by {}", who(ingest))
        }
    }
}

/// Who puts, and since when.
fn who(ingest: &Ingest) -> String {
    let since = keg::time::rfc3339(i64::try_from(ingest.since_ms).unwrap_or(i64::MAX));
    let process = match ingest.pid {
        Some(pid) => format!("process {pid}"),
        None => "a process".to_owned(),
    };
    let what = ingest.what.as_ref().map(|what| format!(" ({what})")).unwrap_or_default();
    format!("{process}{what}, at work since {since}")
}

fn show(now: Progress) {
    let doing = match now.phase {
        Phase::Mark => "following names",
        Phase::Revive => "taking back from the trash",
        Phase::Empty => "emptying the trash",
        Phase::Condemn => "noting what is garbage",
        Phase::Sweep => "moving to the trash",
        Phase::Rewrite => "rewriting the log",
        Phase::Packs => "rewriting packs",
        Phase::Images => "deleting images",
    };
    // Progress that cannot be shown stops nothing.
    write!(std::io::stderr().lock(), "\r{doing}: {}\x1b[K", now.done).unwrap_or_default();
}

/// Says what a path takes: in all, and only because of it.
pub fn du(text: &str, how: Output) -> Result<(), CommandError> {
    let keg = find::keg()?;
    let (path, at) = locate::split(&keg, text)?;
    let version = match at {
        None => keg.head()?,
        Some(at) => {
            let commit = locate::version(&keg, at)?;
            Version { seq: 0, commit, tree: keg.objects().commit(&commit)?.tree }
        }
    };
    let du = keg::gc::du(&keg, &path, &version)?.ok_or_else(|| nothing_at(&path))?;
    if how.json {
        return output::json_line(&json!(du));
    }
    let row = |entry: &keg::gc::DuEntry, name: String| {
        let sizes = [entry.apparent, entry.unique, entry.shared, entry.disk];
        let [apparent, unique, shared, disk] = sizes.map(output::bytes);
        vec![apparent, unique, shared, disk, entry.files.to_string(), name]
    };
    let mut rows: Vec<Vec<String>> = du
        .entries
        .iter()
        .map(|entry| {
            let slash = if entry.kind == "directory" { "/" } else { "" };
            row(entry, format!("{}{slash}", entry.name))
        })
        .collect();
    rows.push(row(&du.total, path.to_string()));
    output::table(&["APPARENT", "UNIQUE", "SHARED", "DISK", "FILES", "NAME"], &rows)
}

impl From<GcError> for CommandError {
    fn from(error: GcError) -> Self {
        match error {
            GcError::Store(error) => error.into(),
            GcError::Policy(error) => error.into(),
            GcError::Unread { .. } => Self::damaged(error.to_string()),
            error => Self::user(error.to_string()),
        }
    }
}

impl From<PolicyError> for CommandError {
    fn from(error: PolicyError) -> Self {
        Self::user(error.to_string()).hint("correct it with `keg put /-/gc.json FILE`")
    }
}
