//! A store in memory: for tests, and for values that need no disk.

use std::{
    collections::HashMap,
    io::{Cursor, Read},
    path::{Path, PathBuf},
    sync::{Mutex, MutexGuard, PoisonError},
};

use super::{
    Advance, Audited, BlobRead, INLINE_MAX, MAX_CANDIDATES, MAX_IN_MEMORY, Master, Object, Objects,
    Plan, Root, StoreError,
    canonical::{check_canonical, genesis},
    io,
};
use crate::{Kid, kid::KidPrefix, names::CommitError, object::Kind};

/// Objects and roots in memory.
pub struct MemoryStore {
    objects: Mutex<HashMap<Kid, Object>>,
    roots: Mutex<Vec<Root>>,
    /// Held while the root moves: planning reads objects.
    advancing: Mutex<()>,
    bell: PathBuf,
}

impl MemoryStore {
    /// An empty store whose bell is `bell` (a file that exists, or nowhere).
    pub fn new(bell: impl Into<PathBuf>) -> Self {
        let store = Self {
            objects: Mutex::default(),
            roots: Mutex::default(),
            advancing: Mutex::default(),
            bell: bell.into(),
        };
        let genesis = genesis();
        if let Some(last) = genesis.last() {
            let commit = last.kind.kid_of(&last.bytes);
            lock(&store.roots).push(Root { seq: 0, commit });
        }
        store.keep(genesis);
        store
    }

    fn keep(&self, objects: Vec<Object>) {
        let mut kept = lock(&self.objects);
        for object in objects {
            kept.entry(object.kind.kid_of(&object.bytes)).or_insert(object);
        }
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Objects for MemoryStore {
    fn get(&self, kid: &Kid) -> Result<Object, StoreError> {
        let found = lock(&self.objects).get(kid).cloned();
        let object = found.ok_or(StoreError::Missing { kid: *kid })?;
        let bytes = object.bytes.len() as u64;
        if bytes > MAX_IN_MEMORY {
            return Err(StoreError::TooBig { bytes, limit: MAX_IN_MEMORY });
        }
        if object.kind.kid_of(&object.bytes) != *kid {
            let what = "its bytes hash to another KID".to_owned();
            return Err(StoreError::Corrupt { kid: *kid, what });
        }
        Ok(object)
    }

    fn open_blob(&self, kid: &Kid) -> Result<Box<dyn BlobRead>, StoreError> {
        let found = lock(&self.objects).get(kid).cloned();
        match found.ok_or(StoreError::Missing { kid: *kid })? {
            Object { kind: Kind::Blob, bytes } => Ok(Box::new(Cursor::new(bytes))),
            Object { kind: found, .. } => {
                Err(StoreError::WrongKind { kid: *kid, expected: Kind::Blob, found })
            }
        }
    }

    fn blob_size(&self, kid: &Kid) -> Result<u64, StoreError> {
        match lock(&self.objects).get(kid) {
            None => Err(StoreError::Missing { kid: *kid }),
            Some(Object { kind: Kind::Blob, bytes }) => Ok(bytes.len() as u64),
            Some(Object { kind: found, .. }) => {
                Err(StoreError::WrongKind { kid: *kid, expected: Kind::Blob, found: *found })
            }
        }
    }

    fn kind(&self, kid: &Kid) -> Result<Option<Kind>, StoreError> {
        Ok(lock(&self.objects).get(kid).map(|object| object.kind))
    }

    fn put(&self, kind: Kind, bytes: &[u8]) -> Result<Kid, StoreError> {
        check_canonical(kind, bytes)?;
        self.keep(vec![Object { kind, bytes: bytes.to_vec() }]);
        Ok(kind.kid_of(bytes))
    }

    fn put_blob(&self, from: &mut dyn Read) -> Result<(Kid, u64), StoreError> {
        let mut bytes = Vec::with_capacity(INLINE_MAX);
        let size = from.read_to_end(&mut bytes).map_err(io("reading what is to be stored"))?;
        Ok((self.put(Kind::Blob, &bytes)?, size as u64))
    }

    fn rely_on(&self, kid: &Kid, size: u64) -> Result<bool, StoreError> {
        let objects = lock(&self.objects);
        let here = objects.get(kid).filter(|object| object.kind == Kind::Blob);
        Ok(here.is_some_and(|object| object.bytes.len() as u64 == size))
    }

    fn sync(&self) -> Result<(), StoreError> {
        Ok(())
    }

    fn candidates(&self, prefix: &KidPrefix) -> Result<Vec<Kid>, StoreError> {
        let objects = lock(&self.objects);
        let mut found: Vec<Kid> =
            objects.keys().filter(|kid| prefix.matches(kid)).copied().collect();
        found.sort_unstable();
        found.truncate(MAX_CANDIDATES);
        Ok(found)
    }
}

impl Master for MemoryStore {
    fn latest(&self) -> Result<Root, StoreError> {
        Ok(*lock(&self.roots).last().expect("a store is made with version 0"))
    }

    fn root(&self, seq: u64) -> Result<Option<Root>, StoreError> {
        let index = usize::try_from(seq).unwrap_or(usize::MAX);
        Ok(lock(&self.roots).get(index).copied())
    }

    fn advance(&self, plan: &mut Plan<'_>) -> Result<Root, CommitError> {
        let _alone = lock(&self.advancing);
        let latest = self.latest()?;
        let Some(Advance { objects, commit }) = plan(self, latest)? else { return Ok(latest) };
        self.keep(objects);
        let root = Root { seq: latest.seq + 1, commit };
        lock(&self.roots).push(root);
        // Only a wake-up: whoever misses it sees the root with the next one.
        let _ = std::fs::write(&self.bell, root.seq.to_le_bytes());
        Ok(root)
    }

    fn audit(&self, visit: &mut dyn FnMut(Audited)) -> Result<(), StoreError> {
        for (kid, Object { kind, bytes }) in lock(&self.objects).iter() {
            let wrong = kind.kid_of(bytes) != *kid;
            let damage = wrong.then(|| "its bytes hash to another KID".to_owned());
            visit(Audited::Object { kid: *kid, kind: *kind, bytes: bytes.len() as u64, damage });
        }
        Ok(())
    }

    fn bell(&self) -> &Path {
        &self.bell
    }
}
