//! What one process knows of the log: the indexes of sealed segments, and the tail's in memory.

use std::{
    fs::{File, OpenOptions},
    os::unix::fs::FileExt,
    path::Path,
    sync::Arc,
};

use super::{
    index::SealedIndex,
    record::OVERHEAD,
    segment::{MAGIC, Met, Place, Position, Trust, scan, segment_path},
};
use crate::{
    Kid,
    kid::KidMap,
    store::{Root, StoreError, io},
};

/// The log as this process knows it.
pub(super) struct State {
    pub(super) sealed: Vec<SealedIndex>,
    pub(super) tail: Tail,
    /// Recently read sealed segments.
    pub(super) open: Vec<(u32, Arc<File>)>,
    /// The generation of the log that the indexes are at least of.
    pub(super) generation: u64,
}

/// The segment that is appended to.
pub(super) struct Tail {
    pub(super) number: u32,
    pub(super) file: Arc<File>,
    /// Up to where it is indexed.
    pub(super) end: u32,
    pub(super) objects: Places,
    /// Roots and the offsets at which their records end; the first is the segment's base.
    pub(super) roots: Vec<(Root, u32)>,
}

/// Where objects are.
pub(super) type Places = KidMap<Place>;

impl State {
    pub(super) fn end(&self) -> Position {
        Position { segment: self.tail.number, offset: self.tail.end }
    }

    pub(super) fn find(&self, kid: &Kid) -> Option<Place> {
        let tail = self.tail.objects.get(kid).copied();
        tail.or_else(|| self.sealed.iter().rev().find_map(|sealed| sealed.find(kid)))
    }
}

impl State {
    /// As [`State::find`], but only in the tail and the newest `sealed` segments.
    pub(super) fn find_recent(&self, kid: &Kid, sealed: usize) -> Option<Place> {
        let tail = self.tail.objects.get(kid).copied();
        tail.or_else(|| self.sealed.iter().rev().take(sealed).find_map(|sealed| sealed.find(kid)))
    }
}

impl Tail {
    pub(super) fn open(dir: &Path, number: u32) -> Result<Self, StoreError> {
        let path = segment_path(dir, number);
        let what = format!("opening {}", path.display());
        let file = OpenOptions::new().read(true).write(true).open(&path).map_err(io(&what))?;
        let mut magic = [0; MAGIC.len()];
        file.read_exact_at(&mut magic, 0).map_err(io(&what))?;
        if magic != *MAGIC {
            let place = format!("segment {number}");
            return Err(StoreError::Log { place, what: "it does not start as one".to_owned() });
        }
        let mut tail = Self {
            number,
            file: Arc::new(file),
            end: MAGIC.len() as u32,
            objects: Places::default(),
            roots: Vec::new(),
        };
        // The base record was there, synced, before the segment had a name.
        tail.index(MAGIC.len() as u32 + OVERHEAD as u32 + 8, Trust::Whole)?;
        Ok(tail)
    }

    /// Becomes another segment, in whose index nothing is yet. Its memory is used again: the next
    /// one has about as many objects.
    pub(super) fn give_way(&mut self, next: Self) {
        let mut objects = std::mem::replace(self, next).objects;
        objects.shrink_to(objects.len());
        objects.clear();
        objects.extend(self.objects.drain());
        self.objects = objects;
    }

    /// Takes note of what was appended, up to a new end.
    pub(super) fn grow(
        &mut self,
        end: u32,
        objects: Vec<(Kid, Place)>,
        roots: impl IntoIterator<Item = (Root, u32)>,
    ) {
        self.end = end;
        for (kid, place) in objects {
            // As `index` does it: what is there twice is looked for at its first place.
            self.objects.entry(kid).or_insert(place);
        }
        self.roots.extend(roots);
    }

    pub(super) fn size(&self) -> Result<u32, StoreError> {
        let size = self.file.metadata().map_err(io("reading the log"))?.len();
        Ok(u32::try_from(size).unwrap_or(u32::MAX))
    }

    pub(super) fn index(&mut self, to: u32, trust: Trust) -> Result<(), StoreError> {
        if to <= self.end {
            return Ok(());
        }
        let from = Position { segment: self.number, offset: self.end };
        let (objects, roots) = (&mut self.objects, &mut self.roots);
        self.end = scan(&self.file, from, to, trust, &mut |met| match met {
            Met::Object(kid, place) => {
                objects.entry(kid).or_insert(place);
            }
            Met::Root(root, end) => {
                if roots.last().is_none_or(|(last, _)| last.seq < root.seq) {
                    roots.push((root, end));
                }
            }
            Met::Damage(_) => {}
        })?;
        Ok(())
    }
}
