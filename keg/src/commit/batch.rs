//! Transactions made together: a version each, one after the other, with one append and one sync.

use std::io::Read;

use super::{TreeCache, step::step};
use crate::{
    Kid,
    kid::{KidMap, KidPrefix},
    names::{self, CommitError, Made, Planned, Version},
    object::Kind,
    store::{
        BlobRead, FileStore, Object, Objects, Root, StoreError,
        log::{Move, NewObject, Position},
    },
};

/// Why a whole batch was not made.
pub(super) enum Failed {
    /// Nothing was written.
    Unmade(StoreError),
    /// It was written but could not be synced: nothing is promised about it.
    Unsynced(StoreError),
}

impl Failed {
    /// The reason.
    pub(super) fn error(self) -> StoreError {
        match self {
            Self::Unmade(error) | Self::Unsynced(error) => error,
        }
    }
}

/// What became of a transaction.
pub(super) type Outcome = Result<Version, CommitError>;

/// Makes transactions in their order, each on what the one before has left; durable on return.
/// `noted` is told the versions that they are about to become, before anything is written.
pub(super) fn make(
    store: &FileStore,
    trees: &TreeCache,
    planned: &[&Planned<'_>],
    noted: &mut dyn FnMut(&[Outcome]),
) -> Result<Vec<Outcome>, Failed> {
    let (outcomes, end) = append(store, trees, planned, noted).map_err(Failed::Unmade)?;
    step("appended");
    store.settle(end).map_err(Failed::Unsynced)?;
    Ok(outcomes)
}

fn append(
    store: &FileStore,
    trees: &TreeCache,
    planned: &[&Planned<'_>],
    noted: &mut dyn FnMut(&[Outcome]),
) -> Result<(Vec<Outcome>, Position), StoreError> {
    let moving = store.moving()?;
    let Root { seq, commit } = moving.latest();
    let objects: &dyn Objects = store;
    let mut latest = Version { seq, commit, tree: objects.commit(&commit)?.tree };
    let mut ahead = Ahead { store, trees, made: KidMap::default() };
    let (mut outcomes, mut versions) = (Vec::new(), Vec::new());
    for planned in planned {
        let made = names::plan(&ahead, &latest, planned);
        outcomes.push(made.map(|made| {
            let Some(Made { objects, commit, tree }) = made else { return latest };
            latest = Version { seq: latest.seq + 1, commit, tree };
            let kids = objects.iter().map(|(kid, _)| *kid).collect::<Vec<_>>();
            ahead.made.extend(objects);
            versions.push((kids, Root { seq: latest.seq, commit }));
            latest
        }));
    }
    noted(&outcomes);
    let moves: Vec<Move<'_>> = versions.into_iter().map(|version| ahead.new_in(version)).collect();
    let end = moving.append(&moves)?;
    Ok((outcomes, end))
}

/// A store as it will be when the versions planned so far have been written.
struct Ahead<'a> {
    store: &'a FileStore,
    trees: &'a TreeCache,
    made: KidMap<Object>,
}

impl Ahead<'_> {
    fn new_in(&self, (kids, root): (Vec<Kid>, Root)) -> Move<'_> {
        let objects = kids.into_iter().filter_map(|kid| {
            let Object { kind, bytes } = self.made.get(&kid)?;
            Some(NewObject { kind: *kind, kid, bytes })
        });
        Move { objects: objects.collect(), root }
    }
}

impl Objects for Ahead<'_> {
    fn get(&self, kid: &Kid) -> Result<Object, StoreError> {
        self.made.get(kid).map_or_else(|| self.store.get(kid), |object| Ok(object.clone()))
    }

    fn open_blob(&self, kid: &Kid) -> Result<Box<dyn BlobRead>, StoreError> {
        self.store.open_blob(kid)
    }

    fn blob_size(&self, kid: &Kid) -> Result<u64, StoreError> {
        self.store.blob_size(kid)
    }

    fn kind(&self, kid: &Kid) -> Result<Option<Kind>, StoreError> {
        self.made.get(kid).map_or_else(|| self.store.kind(kid), |object| Ok(Some(object.kind)))
    }

    fn put(&self, kind: Kind, bytes: &[u8]) -> Result<Kid, StoreError> {
        self.store.put(kind, bytes)
    }

    fn put_blob(&self, from: &mut dyn Read) -> Result<(Kid, u64), StoreError> {
        self.store.put_blob(from)
    }

    fn rely_on(&self, kid: &Kid, size: u64) -> Result<bool, StoreError> {
        self.store.rely_on(kid, size)
    }

    fn sync(&self) -> Result<(), StoreError> {
        self.store.sync()
    }

    fn candidates(&self, prefix: &KidPrefix) -> Result<Vec<Kid>, StoreError> {
        self.store.candidates(prefix)
    }

    fn trees(&self) -> Option<&TreeCache> {
        Some(self.trees)
    }
}
