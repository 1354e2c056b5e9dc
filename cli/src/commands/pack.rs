//! `keg pack`: what is cold moves into packs.

use std::io::{IsTerminal, Write};

use keg::pack::{PackError, PackOptions, Phase, Progress, Report, Which};
use serde_json::json;

use crate::{args::Output, error::CommandError, find, output};

/// Packs, with progress, and says what became smaller.
pub fn run(all: bool, level: i32, how: Output) -> Result<(), CommandError> {
    let keg = find::keg()?;
    let which = if all { Which::All } else { Which::Cold };
    let terminal = std::io::stderr().is_terminal() && !how.json;
    let options = PackOptions { which, level, ..PackOptions::default() };
    let report = keg::pack::pack(&keg, &options, &mut |now| {
        if terminal {
            show(now);
        }
    })?;
    if terminal {
        eprint!("\r\x1b[K");
    }
    if how.json {
        output::json_line(&json!(report))?;
    } else {
        tell(&report)?;
    }
    match report.damaged.len() {
        0 => Ok(()),
        count => Err(CommandError::damaged(format!("{count} damaged objects were left alone"))
            .hint("`keg fsck` names them and the paths that use them")),
    }
}

fn tell(report: &Report) -> Result<(), CommandError> {
    output::line(&format!(
        "packed {} objects, {} into {}, in {:.1} s",
        report.objects,
        output::bytes(report.bytes),
        output::bytes(report.packed_bytes),
        report.seconds
    ))?;
    let counts = &report.counts;
    for (count, bytes, how) in [
        (counts.solid, counts.solid_bytes, "together, by path"),
        (counts.patched, counts.patched_bytes, "as differences to what was there before"),
        (counts.chunked, counts.chunked_bytes, "in chunks"),
        (report.removed, report.removed_bytes, "loose files removed"),
    ] {
        if count > 0 {
            output::line(&format!("  {count:>8}  {:>9}  {how}", output::bytes(bytes)))?;
        }
    }
    for (count, bytes, what) in [
        (counts.small, counts.small_bytes, "small files"),
        (counts.trees, counts.tree_bytes, "directories"),
    ] {
        if count > 0 {
            let bytes = output::bytes(bytes);
            output::line(&format!("  {count:>8}  {bytes:>9}  of these, {what}"))?;
        }
    }
    let joined = &report.joined;
    if joined.packs > 0 {
        let (before, after) = (joined.bytes_before, joined.bytes_after);
        output::line(&format!(
            "  {:>8}  {:>9}  packs joined into {}, {}",
            joined.packs,
            output::bytes(before),
            joined.into,
            output::bytes(after)
        ))?;
    }
    let (before, after) = report.log;
    if before > after {
        let (before, after) = (output::bytes(before), output::bytes(after));
        output::line(&format!("            log      {before}, now {after}"))?;
    }
    output::line(&format!("  {:>8}  in packs before, {} in use", report.already, report.hot))
}

fn show(progress: Progress) {
    let doing = match progress.phase {
        Phase::Looking => "looking",
        Phase::Packing => "packing",
        Phase::Checking => "checking",
        Phase::Removing => "removing loose files",
        Phase::Unpacking => "unpacking",
        Phase::Joining => "joining packs",
    };
    let of = match progress.of_bytes {
        0 => String::new(),
        bytes => format!(" of {}", output::bytes(bytes)),
    };
    let done = output::bytes(progress.bytes);
    // Progress that cannot be shown stops nothing.
    write!(std::io::stderr().lock(), "\r{doing}: {} objects, {done}{of}\x1b[K", progress.objects)
        .unwrap_or_default();
}

impl From<PackError> for CommandError {
    fn from(error: PackError) -> Self {
        match error {
            PackError::Busy => {
                Self::user(error.to_string()).hint("run it again later; nothing was changed")
            }
            PackError::Store(error) => error.into(),
            PackError::Names(error) => error.into(),
        }
    }
}
