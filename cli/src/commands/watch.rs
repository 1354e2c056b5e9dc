//! `keg watch`: each change below a path, as it happens.

use std::time::Duration;

use serde_json::json;

use crate::{args::Output, error::CommandError, find, output};

/// How long one wait lasts; there is no other work, so only for the kernel's sake.
const WAIT: Duration = Duration::from_secs(3600);

/// Prints changes until interrupted, or until `count` were printed.
pub fn run(
    path: &str,
    since: Option<u64>,
    count: Option<usize>,
    how: Output,
) -> Result<(), CommandError> {
    let keg = find::keg()?;
    let mut watch = keg.watch(&path.parse()?, since)?;
    let mut left = count.unwrap_or(usize::MAX);
    while left > 0 {
        for change in watch.wait(WAIT)?.into_iter().take(left) {
            left -= 1;
            let old = change.old.as_ref().and_then(|entry| entry.kid());
            let new = change.new.as_ref().and_then(|entry| entry.kid());
            if how.json {
                output::json_line(&json!({
                    "seq": change.seq, "version": change.commit,
                    "path": change.path.as_str(), "old": old, "new": new,
                }))?;
                continue;
            }
            let word = match (&change.old, &change.new) {
                (None, _) => "added",
                (_, None) => "removed",
                _ => "changed",
            };
            let kid = new.map_or(String::new(), |kid| kid.short());
            output::line(&format!("{:>6}  {word:<8} {}  {kid}", change.seq, change.path))?;
        }
    }
    Ok(())
}
