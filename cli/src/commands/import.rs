//! `keg import`: packages into the Keg, in this process, with progress.

use std::io::{IsTerminal, Read, Write};

use importer::{Base, DebianWant, Progress, PypiWant, Request};

use super::who;
use crate::{
    args::{Import, Output},
    error::CommandError,
    find, output,
};

/// Largest requirements file read, bytes.
const MAX_REQUIREMENTS: u64 = 1 << 20;

/// Resolves, fetches, verifies and seals.
pub fn run(args: Import) -> Result<(), CommandError> {
    let keg = find::keg()?;
    crate::up::own_mounts()?;
    let (request, refresh, how) = request(args)?;
    let terminal = std::io::stderr().is_terminal();
    let mut report = |progress: Progress| {
        if !how.json {
            show(&progress, terminal);
        }
    };
    let import = if refresh { importer::refresh_now } else { importer::import_now };
    let lock = import(&keg, &request, &mut report)?;
    if terminal && !how.json {
        eprint!("\r\x1b[K");
    }
    if how.json {
        return output::json_line(&lock);
    }
    for (kind, tree) in [("debian", "rootfs"), ("pypi", "tree")] {
        let part = &lock[kind];
        if let Some(packages) = part["packages"].as_array() {
            let count = packages.len();
            output::line(&format!("{kind}: {count} packages, {}", output::short(part, tree)))?;
        }
    }
    Ok(())
}

/// What is wanted, whether anew, and how to tell of it.
fn request(args: Import) -> Result<(Request, bool, Output), CommandError> {
    let by = Some(format!("keg import by {}", who::author()));
    match args {
        Import::Debian { suite, packages, base, refresh, output } => {
            let base = match base.as_str() {
                "none" => Base::None,
                _ => Base::Essential,
            };
            let debian = Some(DebianWant { suite, packages, base });
            Ok((Request { debian, pypi: None, by }, refresh, output))
        }
        Import::Pypi { requirements, file, suite, refresh, output } => {
            let requirements = match file {
                Some(path) => read(&path)?,
                None => requirements.join("\n") + "\n",
            };
            let python = importer::pypi::python_of(&suite).ok_or_else(|| {
                CommandError::user(format!("there is no Python known for the suite {suite}"))
                    .hint("use --suite trixie (Python 3.13) or --suite bookworm (Python 3.11)")
            })?;
            let pypi = Some(PypiWant { requirements, python, suite });
            Ok((Request { debian: None, pypi, by }, refresh, output))
        }
    }
}

fn read(path: &std::path::Path) -> Result<String, CommandError> {
    let fail = |error: std::io::Error| {
        CommandError::user(format!("cannot read {}", path.display()))
            .because(error)
            .hint("give a requirements file as pip reads them, in UTF-8")
    };
    let mut text = String::new();
    let file = std::fs::File::open(path).map_err(fail)?;
    file.take(MAX_REQUIREMENTS).read_to_string(&mut text).map_err(fail)?;
    Ok(text)
}

/// A phase is a line; counts overwrite one another on a terminal and are left out elsewhere.
fn show(progress: &Progress, terminal: bool) {
    let mut err = std::io::stderr().lock();
    let clear = if terminal { "\r\x1b[K" } else { "" };
    let written = match progress {
        Progress::Phase(text) => writeln!(err, "{clear}{text}"),
        Progress::Count { done, total, total_bytes: 0, .. } if terminal => {
            write!(err, "{clear}  {done}/{total}")
        }
        Progress::Count { done, total, bytes, total_bytes } if terminal => write!(
            err,
            "{clear}  {done}/{total}, {} of {}",
            output::bytes(*bytes),
            output::bytes(*total_bytes)
        ),
        _ => Ok(()),
    };
    // Progress that cannot be shown stops nothing.
    written.unwrap_or_default();
}
