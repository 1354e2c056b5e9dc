//! Names at both ends of a sync: what a path stands for, and setting it to what has come.

use super::{MAX_OBJECTS, error::SyncError};
use crate::{
    Keg, Kid,
    names::{CommitError, Expected, Txn, Version},
    object::{Entry, Kind, Value},
    path::NamePath,
    store::Objects,
    users,
};

/// How far back a path's values are looked through for one that the other Keg has, in changes.
const MAX_CHANGES: usize = 256;
/// Versions added with one sync. Other writers wait meanwhile: some 50 ms.
const EXTENDED: usize = 4096;

/// What a path stands for; `/` is its newest version, a commit after all versions before it.
pub(super) fn current(keg: &Keg, path: &NamePath) -> Result<Option<Entry>, SyncError> {
    if *path == NamePath::root() {
        return Ok(Some(Entry::commit(keg.head()?.commit)));
    }
    Ok(keg.get(path)?)
}

/// The entry for a value that is here.
pub(super) fn entry_of(keg: &Keg, kind: Kind, kid: &Kid) -> Result<Entry, SyncError> {
    let objects = keg.objects();
    Ok(match kind {
        Kind::Blob => Entry::file(*kid, objects.blob_size(kid)?),
        Kind::Tree => objects.tree_entry(kid)?,
        Kind::Commit => {
            objects.commit(kid)?;
            Entry::commit(*kid)
        }
    })
}

/// Whether `old` is `new` or one of the commits before it.
pub(super) fn follows(objects: &dyn Objects, new: &Kid, old: &Kid) -> Result<bool, SyncError> {
    let mut seen = std::collections::HashSet::from([*new]);
    let mut left = vec![*new];
    while let Some(kid) = left.pop() {
        if kid == *old {
            return Ok(true);
        }
        if seen.len() as u64 > MAX_OBJECTS {
            return Err(SyncError::TooMuch { what: "commits", limit: MAX_OBJECTS });
        }
        // What is not here is not looked through: whatever was pulled is here with its history.
        if objects.kind(&kid)? == Some(Kind::Commit) {
            left.extend(objects.commit(&kid)?.parents.into_iter().filter(|kid| seen.insert(*kid)));
        }
    }
    Ok(false)
}

/// Whether a path had this value before.
pub(super) fn was(keg: &Keg, path: &NamePath, kid: &Kid) -> Result<bool, SyncError> {
    for change in keg.history(path).take(MAX_CHANGES) {
        let change = change?;
        if change.path == *path && change.old.as_ref().and_then(Entry::kid) == Some(*kid) {
            return Ok(true);
        }
    }
    Ok(false)
}

/// Sets a path to a value that is here whole, if it still is `old`; `/` gets all versions.
pub(super) fn set(
    keg: &Keg,
    path: &NamePath,
    value: &Entry,
    old: Option<&Entry>,
    (author, message): (&str, &str),
) -> Result<Version, SyncError> {
    if *path == NamePath::root() {
        return versions(keg, value, old);
    }
    let expected = match (old, old.and_then(Entry::kid)) {
        (None, _) => Expected::Absent,
        (Some(_), Some(kid)) => Expected::Kid(kid),
        // What has no KID (a link, a pipe) cannot be told apart.
        (Some(_), None) => Expected::Any,
    };
    let txn = Txn::new(author, message).set(path.clone(), value.clone());
    Ok(users::commit(keg, txn.expect(path.clone(), expected), None)?)
}

/// Adds all versions from the current one, which must be `old`, to `value`. To a new Keg, also
/// those of one that has let go of its first versions; they get new numbers.
fn versions(keg: &Keg, value: &Entry, old: Option<&Entry>) -> Result<Version, SyncError> {
    let (objects, root) = (keg.objects(), NamePath::root());
    let here = old.and_then(Entry::kid);
    let Value::Commit { kid: newest_there } = value.value else {
        return Err(CommitError::Root.into());
    };
    let conflict = || SyncError::Conflict { path: root.clone(), here, there: Some(newest_there) };
    let start = keg.head()?;
    if Some(start.commit) != here {
        return Err(conflict());
    }
    let is_new = start.seq == 0;
    let (mut kid, mut coming) = (newest_there, Vec::new());
    while Some(kid) != here {
        coming.push(kid);
        kid = match objects.commit(&kid)?.parents.as_slice() {
            [parent] if is_new && objects.kind(parent)?.is_none() => break,
            [parent] if (coming.len() as u64) < MAX_OBJECTS => *parent,
            _ => return Err(conflict()),
        };
    }
    coming.reverse();
    let mut before = start.commit;
    for next in coming.chunks(EXTENDED) {
        let newest = keg.master().extend(&before, next)?;
        match next.last() {
            Some(last) if newest.commit == *last => before = *last,
            _ => {
                let (path, there) = (NamePath::root(), Some(newest_there));
                return Err(SyncError::Conflict { path, here: Some(newest.commit), there });
            }
        }
    }
    Ok(keg.head()?)
}
