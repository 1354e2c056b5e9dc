//! In which versions a path changed, looked through a bounded piece at a time.

use keg::{
    Kid,
    names::Version,
    object::{Commit, Entry},
    path::NamePath,
};

use crate::{error::Fault, view::View};

/// Most versions looked through for one answer; the next page goes on from there.
const MAX_VERSIONS: u64 = 20_000;
/// Versions looked at before other requests get their turn.
const PACE: u64 = 16;

/// A version in which a path changed.
pub struct Change {
    /// The version's number.
    pub seq: u64,
    /// The version.
    pub version: Kid,
    /// What the path was before.
    pub old: Option<Entry>,
    /// What it is since.
    pub new: Option<Entry>,
}

/// Changes, newest first.
pub struct Changes {
    /// The changes.
    pub changes: Vec<Change>,
    /// Where to go on: versions up to this number have not been looked at.
    pub next: Option<u64>,
}

/// The versions in which a path changed, at most `limit`, from version `from` (or the newest) back.
///
/// # Errors
/// A failure inside.
pub async fn of_path(
    view: &View,
    path: &NamePath,
    from: Option<u64>,
    limit: usize,
) -> Result<Changes, Fault> {
    let keg = view.keg();
    let failed = |error| Fault::inside("Reading the history", &error);
    let newest = keg.head().map_err(failed)?.seq;
    let start = from.unwrap_or(newest).min(newest);
    let mut changes = Vec::new();
    let mut version = keg.version(start).map_err(failed)?;
    let mut new = keg.get_at(path, &version).map_err(failed)?;
    let oldest = start.saturating_sub(MAX_VERSIONS);
    for seq in (oldest..start).rev() {
        if seq % PACE == 0 {
            tokio::task::yield_now().await;
        }
        let before: Version = keg.version(seq).map_err(failed)?;
        let old = keg.get_at(path, &before).map_err(failed)?;
        if old != new {
            let change = Change { seq: seq + 1, version: version.commit, old: old.clone(), new };
            changes.push(change);
            if changes.len() >= limit {
                return Ok(Changes { changes, next: (seq > 0).then_some(seq) });
            }
        }
        (version, new) = (before, old);
    }
    Ok(Changes { changes, next: (oldest > 0).then_some(oldest) })
}

/// A change with the commit that made it: who, when, why.
///
/// # Errors
/// A failure inside.
pub async fn commits(view: &View, changes: Vec<Change>) -> Result<Vec<(Change, Commit)>, Fault> {
    let mut out = Vec::with_capacity(changes.len());
    for change in changes {
        let commit = view.commit(&change.version).await?;
        out.push((change, commit));
    }
    Ok(out)
}
