//! Relying on what is there already: what a collection was about to take away is kept.

use std::fs;

use super::{
    FileStore, Object, Objects, StoreError,
    condemned::{Table, refresh},
    file::checked,
    log::read_swept,
    packs::{Found, PackedBlob, Prefer},
    pending::{Pending, object_path},
    verify::Verifying,
};
use crate::{
    Kid,
    object::{Commit, Kind, Value, shards::Node},
};

/// What became of one object.
enum Kept {
    /// It is there, and nobody is about to take it away; neither what is below it.
    Safe,
    /// A file that was condemned or swept, and is kept now.
    Large,
    /// An object of the log that was condemned or swept, to be put again; what is below it may be
    /// gone, too.
    Small(Object),
    Missing,
}

impl FileStore {
    /// Whether a large blob of this size is there, so that it need not be written again. Says so
    /// to a collection that would sweep it.
    pub(super) fn relies_on(&self, kid: &Kid, size: u64) -> Result<bool, StoreError> {
        let mut pending = self.pending();
        if pending.get(kid).is_some() {
            return Ok(true);
        }
        // Before the look: what is swept in between is listed no more, but nor is it there.
        let table = self.log().condemned().current()?;
        let path = object_path(self.home(), kid);
        let loose = match fs::metadata(&path) {
            Err(_) if self.trash().revive(kid)? => fs::metadata(&path),
            found => found,
        };
        let meta = match loose {
            Ok(meta) if meta.len() == size => meta,
            // What is condemned in a pack is written again: the pack may lose it.
            _ => return self.relies_on_packed(&mut pending, kid, size),
        };
        if let Some(since) = table.since(kid)
            && !refresh(self.home(), &path, since)?
        {
            return Ok(false);
        }
        pending.rely_on(kid, &meta);
        Ok(true)
    }

    /// The same of a small blob.
    pub(super) fn relies_on_small(&self, kid: &Kid, size: u64) -> Result<bool, StoreError> {
        match self.log().find(kid)? {
            Some(place) if place.kind != Kind::Blob || u64::from(place.len) != size => Ok(false),
            Some(_) if self.log().relies_on(kid)? => Ok(true),
            _ => self.relies_on_packed(&mut self.pending(), kid, size),
        }
    }

    /// The same of a blob of any size that is in a pack.
    fn relies_on_packed(
        &self,
        pending: &mut Pending,
        kid: &Kid,
        size: u64,
    ) -> Result<bool, StoreError> {
        let fits = |found: &Found| found.recipe.kind == Kind::Blob && found.recipe.size == size;
        let found = self.packed_safe(kid)?.filter(fits);
        Ok(found.map(|found| self.rely_on_packed(pending, &found)).is_some())
    }

    /// Whoever made a pack may have died before it, or what is in it is a difference to, had a name
    /// durably: the next sync makes sure of both.
    pub(super) fn rely_on_packed(&self, pending: &mut Pending, found: &Found) {
        pending.rely_on_packs(self.home());
        let mut next = found.recipe.base;
        while let Some(base) = next {
            if let Ok(meta) = fs::metadata(object_path(self.home(), &base.kid)) {
                pending.rely_on(&base.kid, &meta);
            }
            // One that cannot be read is found by whoever reads.
            let found = self.packs.find_less_deep(&base.kid, base.depth).ok().flatten();
            next = found.and_then(|found| found.recipe.base);
        }
    }

    /// A small object that is only in segments in the trash.
    pub(super) fn swept(&self, kid: &Kid) -> Result<Option<Object>, StoreError> {
        for run in self.trash().runs() {
            if let Some((kind, bytes)) = read_swept(&run.dir, &run.segments(), kid)? {
                return Ok(Some(Object { kind, bytes: checked(kind, kid, bytes)? }));
            }
        }
        Ok(None)
    }

    /// Keeps a value, whole; `false`: it is not here, or not whole.
    pub(super) fn retain_whole(&self, kid: &Kid) -> Result<bool, StoreError> {
        let mut left = vec![(*kid, false)];
        let mut seen = std::collections::HashSet::new();
        let mut small: Vec<(Kind, Vec<u8>)> = Vec::new();
        while let Some((kid, lent)) = left.pop() {
            if !seen.insert((kid, lent)) {
                continue;
            }
            match self.retain_one(&kid)? {
                Kept::Safe => {}
                // Of what a pointer leads to, what is not here is elsewhere.
                Kept::Missing if lent => {}
                Kept::Missing => return Ok(false),
                Kept::Large => {}
                Kept::Small(object) => {
                    below((object.kind, &object.bytes), lent, &mut left)?;
                    small.push((object.kind, object.bytes));
                }
            }
        }
        // What is below goes first: a tree that is put again is taken for whole.
        for (kind, bytes) in small.iter().rev() {
            self.put_small(*kind, bytes)?;
        }
        Ok(true)
    }

    fn retain_one(&self, kid: &Kid) -> Result<Kept, StoreError> {
        let table = self.log().fresh_condemned()?;
        if let Some(place) = self.log().find(kid)? {
            if !table.covers(kid, place.at.segment) {
                return Ok(Kept::Safe);
            }
            return Ok(Kept::Small(self.get(kid)?));
        }
        match self.retain_large(kid, &table)? {
            Kept::Missing => {}
            kept => return Ok(kept),
        }
        Ok(self.swept(kid)?.map_or(Kept::Missing, Kept::Small))
    }

    fn retain_large(&self, kid: &Kid, table: &Table) -> Result<Kept, StoreError> {
        let Some((path, _)) = self.large(kid)? else {
            if self.trash().revive(kid)? {
                return Ok(Kept::Large);
            }
            return self.retain_packed(kid, table);
        };
        if let Ok(meta) = fs::metadata(&path) {
            // Whoever gave it its name may have died before that was durable.
            self.pending().rely_on(kid, &meta);
        }
        match table.since(kid) {
            Some(since) if path == object_path(self.home(), kid) => {
                if refresh(self.home(), &path, since)? || self.trash().revive(kid)? {
                    return Ok(Kept::Large);
                }
                Ok(Kept::Missing)
            }
            _ => Ok(Kept::Safe),
        }
    }
}

impl FileStore {
    /// A packed object that is condemned leaves its pack: it becomes a loose file, or a record of
    /// the log, and its pack may lose it.
    fn retain_packed(&self, kid: &Kid, table: &Table) -> Result<Kept, StoreError> {
        let found = match self.packs.find_now(kid)? {
            None if self.trash().revive_any(kid)? => self.packs.find_now(kid)?,
            found if table.since(kid).is_some() => found,
            Some(found) => {
                self.rely_on_packed(&mut self.pending(), &found);
                return Ok(Kept::Safe);
            }
            None => return Ok(Kept::Missing),
        };
        let Some(found) = found else { return Ok(Kept::Missing) };
        let mut blob = PackedBlob::new(&self.packs, *kid, found, Prefer::Loose);
        if blob.kind() != Kind::Blob {
            return Ok(Kept::Small(Object { kind: blob.kind(), bytes: blob.read_whole()? }));
        }
        let size = blob.size();
        let (made, _) = self.put_blob(&mut Verifying::new(blob, *kid, size))?;
        Ok(if made == *kid { Kept::Large } else { Kept::Missing })
    }
}

/// What an object needs. The versions before a commit are not part of it.
fn below(
    (kind, bytes): (Kind, &[u8]),
    lent: bool,
    left: &mut Vec<(Kid, bool)>,
) -> Result<(), StoreError> {
    let invalid = |source| StoreError::Invalid { kind, source };
    match kind {
        Kind::Tree => match Node::decode(bytes).map_err(invalid)? {
            Node::Leaf(tree) => left.extend(tree.entries.values().filter_map(|entry| {
                let pointer = matches!(entry.value, Value::Pointer { .. });
                Some((entry.kid()?, lent || pointer))
            })),
            Node::Index(index) => {
                left.extend(index.children.iter().map(|part| (part.kid, lent)));
            }
        },
        Kind::Commit => left.push((Commit::decode(bytes).map_err(invalid)?.tree, lent)),
        Kind::Blob => {}
    }
    Ok(())
}
