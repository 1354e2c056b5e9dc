//! `keg fsck`: every object, the log and every version, checked.

use std::io::{IsTerminal, Write};

use serde_json::json;

use crate::{args::Output, error::CommandError, find, output};

/// Checks the Keg, running or not; exit code 4 when something is damaged.
pub fn run(how: Output) -> Result<(), CommandError> {
    let keg = find::keg()?;
    let terminal = std::io::stderr().is_terminal() && !how.json;
    let report = keg::fsck::fsck(&keg, &mut |progress| {
        if terminal {
            let mut err = std::io::stderr().lock();
            let (objects, versions) = (progress.objects, progress.versions);
            let read = output::bytes(progress.bytes);
            write!(err, "\r{objects} objects, {read}, {versions} versions\x1b[K")
                .unwrap_or_default();
        }
    })?;
    if terminal {
        eprintln!();
    }
    if how.json {
        output::json_line(&json!(report))?;
    } else {
        for damage in &report.damaged {
            let place = damage.kid.map(|kid| kid.to_string()).or_else(|| damage.place.clone());
            let used =
                if damage.paths.is_empty() { "nothing".into() } else { damage.paths.join(" ") };
            let place = place.unwrap_or_default();
            output::line(&format!("damaged: {place}: {} (used by {used})", damage.what))?;
        }
        output::line(&format!(
            "{}: {} objects, {}, {} versions checked in {:.1} s",
            if report.is_clean() { "clean" } else { "damaged" },
            report.objects,
            output::bytes(report.bytes),
            report.versions,
            report.seconds
        ))?;
    }
    if report.is_clean() {
        return Ok(());
    }
    let count = report.damaged.len();
    let values = if count == 1 { "value" } else { "values" };
    Err(CommandError::damaged(format!("{count} damaged {values} found"))
        .hint("each line names a value and the paths that use it; push or import those again"))
}
