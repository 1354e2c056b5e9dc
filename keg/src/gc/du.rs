//! What a path takes: apparent, unique and shared bytes, by entry.

use std::os::unix::fs::MetadataExt;

use serde::{Deserialize, Serialize};

use super::kids::KidMap;
use crate::{
    Keg, Kid, NamePath, NamesError, Version, directory,
    names::noun,
    object::{Entry, Value},
    pointer,
    store::{FileStore, INLINE_MAX, Objects, StoreError, pending::object_path},
};

/// Something below the path.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct DuEntry {
    /// Its name; bytes that are not UTF-8 show as U+FFFD. Empty for the path itself.
    pub name: String,
    /// `directory`, `file`, ….
    pub kind: String,
    /// Bytes of all files in it, each time they appear.
    pub apparent: u64,
    /// Bytes that only this leads to, in this version of the namespace: what removing it would
    /// free, once history lets go of it.
    pub unique: u64,
    /// Bytes that something else leads to, too.
    pub shared: u64,
    /// Distinct files in it.
    pub files: u64,
    /// Bytes that these take on the disk; one that is packed, in its pack.
    pub disk: u64,
}

/// What a path takes.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct Du {
    /// Which version of the namespace this is about.
    pub seq: u64,
    /// The path itself.
    pub total: DuEntry,
    /// What is directly below it, the largest unique first, then the largest apparent.
    pub entries: Vec<DuEntry>,
}

/// What `stat` counts in, bytes.
const BLOCK: u64 = 512;
/// Who leads to an object.
const OUTSIDE: u32 = 0;
/// More than one entry below the path does, nothing outside.
const SEVERAL: u32 = u32::MAX;

/// A file or directory that was met.
struct Met {
    /// Who leads to it: [`OUTSIDE`], the number of an entry (from 1), or [`SEVERAL`].
    owner: u32,
    /// The entry on whose behalf it was last visited.
    visit: u32,
    /// Bytes of a file; `None`: a directory.
    bytes: Option<u64>,
    /// Bytes that a file takes on the disk.
    disk: u64,
}

/// Measures a path in a version of the namespace. Files' bytes count; trees and commits, which are
/// small, do not. Each directory is read once, and once more for each entry that shares it.
///
/// `None`: nothing is there.
///
/// # Errors
/// The store's.
pub fn du(keg: &Keg, path: &NamePath, at: &Version) -> Result<Option<Du>, NamesError> {
    let Some(entry) = keg.get_at(path, at)? else { return Ok(None) };
    let objects = keg.objects();
    let mut walk = Walk { objects, files: keg.master().files(), met: KidMap::default() };
    walk.outside(path, &at.tree)?;
    let children: Vec<(String, Entry)> = match objects.directory_of(&entry)? {
        Some(tree) => {
            let entries = objects.tree(&tree)?.entries.into_iter();
            entries.map(|(name, entry)| (name.to_string_lossy(), entry)).collect()
        }
        None => vec![(String::new(), entry.clone())],
    };
    let mut distinct = Vec::with_capacity(children.len());
    for (index, (_, child)) in children.iter().enumerate() {
        distinct.push(walk.follow(child, index as u32 + 1)?);
    }
    Ok(Some(walk.sum(at.seq, &entry, &children, &distinct)?))
}

struct Walk<'a> {
    objects: &'a dyn Objects,
    /// `None`: nothing is on a disk.
    files: Option<&'a FileStore>,
    met: KidMap<Met>,
}

/// Distinct files and their bytes.
#[derive(Clone, Copy, Default)]
struct Distinct {
    files: u64,
    bytes: u64,
    disk: u64,
}

impl Walk<'_> {
    /// Everything that paths outside lead to.
    fn outside(&mut self, path: &NamePath, root: &Kid) -> Result<(), StoreError> {
        let mut at = *root;
        for part in path.components() {
            let tree = self.objects.tree(&at)?;
            let mut next = None;
            for (name, entry) in &tree.entries {
                if name.as_bytes() == part.as_bytes() {
                    next = self.objects.directory_of(entry)?;
                } else {
                    self.follow(entry, OUTSIDE)?;
                }
            }
            match next {
                Some(next) => at = next,
                None => break,
            }
        }
        Ok(())
    }

    /// Follows an entry on behalf of `number`; returns what it leads to.
    fn follow(&mut self, start: &Entry, number: u32) -> Result<Distinct, StoreError> {
        let mut found = Distinct::default();
        let mut left: Vec<Kid> = Vec::new();
        self.meet(start, number, &mut found, &mut left)?;
        while let Some(tree) = left.pop() {
            let tree = match self.objects.tree(&tree) {
                // What a pointer leads to may be elsewhere in part; what is damaged is for fsck.
                Err(StoreError::Missing { .. }) => continue,
                tree => tree?,
            };
            for entry in tree.entries.values() {
                self.meet(entry, number, &mut found, &mut left)?;
            }
        }
        Ok(found)
    }

    fn meet(
        &mut self,
        entry: &Entry,
        number: u32,
        found: &mut Distinct,
        left: &mut Vec<Kid>,
    ) -> Result<(), StoreError> {
        let (kid, bytes) = match &pointer::seen(self.objects, entry)?.value {
            Value::File { kid, size } => (*kid, Some(*size)),
            Value::Tree { kid, .. } => (*kid, None),
            Value::Commit { kid } => (self.objects.commit(kid)?.tree, None),
            _ => return Ok(()),
        };
        let disk = match self.met.get_mut(&kid) {
            Some(met) if met.visit == number => return Ok(()),
            Some(met) => {
                met.visit = number;
                if met.owner != OUTSIDE {
                    met.owner = SEVERAL;
                }
                met.disk
            }
            None => {
                let disk = self.on_disk(&kid, bytes)?;
                self.met.insert(kid, Met { owner: number, visit: number, bytes, disk });
                disk
            }
        };
        match bytes {
            None => left.push(kid),
            Some(bytes) => {
                found.files += 1;
                found.bytes += bytes;
                found.disk += disk;
            }
        }
        Ok(())
    }

    fn on_disk(&self, kid: &Kid, bytes: Option<u64>) -> Result<u64, StoreError> {
        let (Some(files), Some(bytes)) = (self.files, bytes) else { return Ok(0) };
        if bytes <= INLINE_MAX as u64 && files.log().find(kid)?.is_some() {
            return Ok(bytes);
        }
        match std::fs::metadata(object_path(files.home(), kid)) {
            Ok(meta) => Ok(meta.blocks() * BLOCK),
            // What is not here takes nothing.
            Err(_) => Ok(files.packs().disk_bytes(kid)?.unwrap_or(0)),
        }
    }

    fn sum(
        &self,
        seq: u64,
        entry: &Entry,
        children: &[(String, Entry)],
        distinct: &[Distinct],
    ) -> Result<Du, StoreError> {
        let mut unique = vec![0; children.len() + 1];
        let mut inside = Distinct::default();
        let mut shared = 0;
        for met in self.met.values().filter(|met| met.visit != OUTSIDE) {
            let Some(bytes) = met.bytes else { continue };
            inside.files += 1;
            inside.disk += met.disk;
            match met.owner {
                OUTSIDE => shared += bytes,
                SEVERAL => inside.bytes += bytes,
                number => unique[number as usize] += bytes,
            }
        }
        inside.bytes += unique.iter().sum::<u64>();
        let mut entries = Vec::with_capacity(children.len());
        for (index, (name, child)) in children.iter().enumerate() {
            let (Distinct { files, bytes, disk }, unique) = (distinct[index], unique[index + 1]);
            entries.push(DuEntry {
                name: name.clone(),
                kind: noun(child).to_owned(),
                apparent: self.apparent(child)?,
                unique,
                shared: bytes.saturating_sub(unique),
                files,
                disk,
            });
        }
        let total = DuEntry {
            name: String::new(),
            kind: noun(entry).to_owned(),
            apparent: self.apparent(entry)?,
            unique: inside.bytes,
            shared,
            files: inside.files,
            disk: inside.disk,
        };
        entries.sort_by(|left, right| {
            let size = |entry: &DuEntry| (entry.unique, entry.apparent);
            size(right).cmp(&size(left)).then_with(|| left.name.cmp(&right.name))
        });
        Ok(Du { seq, total, entries })
    }

    fn apparent(&self, entry: &Entry) -> Result<u64, StoreError> {
        Ok(match &pointer::seen(self.objects, entry)?.value {
            Value::File { size, .. } => *size,
            Value::Tree { bytes, .. } => *bytes,
            Value::Commit { kid } => {
                let tree = self.objects.commit(kid)?.tree;
                directory::sums(self.objects, &tree)?.bytes
            }
            _ => 0,
        })
    }
}
