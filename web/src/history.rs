//! In which versions a path changed, looked through a bounded piece at a time.

use keg::{
    Keg, Kid,
    names::Version,
    object::{Commit, Entry},
};

use crate::{error::Fault, location::Location, view::View};

/// Most versions looked through for one answer; the next page goes on from there.
const MAX_VERSIONS: u64 = 20_000;

/// How far back to look.
#[derive(Clone, Copy, Debug)]
pub struct Reach {
    /// Most changes.
    pub changes: usize,
    /// Most versions looked through for them.
    pub versions: u64,
}

impl Reach {
    /// As far as one answer goes, for this many changes.
    pub const fn far(changes: usize) -> Self {
        Self { changes, versions: MAX_VERSIONS }
    }
}

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

/// The versions in which a path changed, within `reach`, from version `from` (or the newest) back.
///
/// # Errors
/// A failure inside.
pub async fn of_path(
    view: &View,
    path: &Location,
    from: Option<u64>,
    reach: Reach,
) -> Result<Changes, Fault> {
    let keg = view.keg();
    let failed = |error| Fault::inside("Reading the history", &error);
    let newest = keg.head().map_err(failed)?.seq;
    let start = match (from, &view.version) {
        (Some(from), _) => from.min(newest),
        (None, Some((kid, _))) => number_of(view, kid, newest).await?,
        (None, None) => newest,
    };
    let mut changes = Vec::new();
    let mut version = keg.version(start).map_err(failed)?;
    let mut new = trail(keg, path, version.tree, None)?;
    let oldest = start.saturating_sub(reach.versions);
    for seq in (oldest..start).rev() {
        if seq % PACE == 0 {
            tokio::task::yield_now().await;
        }
        let before: Version = keg.version(seq).map_err(failed)?;
        let old = trail(keg, path, before.tree, Some(&new))?;
        if old.entry != new.entry {
            let (seq, version) = (seq + 1, version.commit);
            changes.push(Change { seq, version, old: old.entry.clone(), new: new.entry });
            if changes.len() >= reach.changes {
                return Ok(Changes { changes, next: (seq > 1).then_some(seq - 1) });
            }
        }
        (version, new) = (before, old);
    }
    Ok(Changes { changes, next: (oldest > 0).then_some(oldest) })
}

/// What a path is in a version, and what its first name is: where that is the same in another
/// version, so is everything below it.
#[derive(Clone)]
struct Trail {
    first: Option<Entry>,
    entry: Option<Entry>,
}

/// Follows a path below a tree. Not through the view's cache: each version is read once.
fn trail(keg: &Keg, path: &Location, tree: Kid, known: Option<&Trail>) -> Result<Trail, Fault> {
    let objects = keg.objects();
    let failed = |error| Fault::inside("Reading the history", &error);
    let [first, rest @ ..] = path.names() else {
        let entry = Some(objects.tree_entry(&tree).map_err(failed)?);
        return Ok(Trail { first: entry.clone(), entry });
    };
    let first = objects.name_in(&tree, first.as_bytes()).map_err(failed)?;
    if let Some(known) = known.filter(|known| known.first == first) {
        return Ok(known.clone());
    }
    let mut entry = first.clone();
    for name in rest {
        let Some(found) = &entry else { break };
        entry = match objects.directory_of(found).map_err(failed)? {
            Some(kid) => objects.name_in(&kid, name.as_bytes()).map_err(failed)?,
            None => None,
        };
    }
    Ok(Trail { first, entry })
}

/// The number of a version, if it is not too long ago; else of the newest.
async fn number_of(view: &View, kid: &Kid, newest: u64) -> Result<u64, Fault> {
    for seq in (newest.saturating_sub(MAX_VERSIONS)..=newest).rev() {
        if seq % PACE == 0 {
            tokio::task::yield_now().await;
        }
        let version = view.keg().version(seq);
        if version.map_err(|error| Fault::inside("Reading the history", &error))?.commit == *kid {
            return Ok(seq);
        }
    }
    Ok(newest)
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
