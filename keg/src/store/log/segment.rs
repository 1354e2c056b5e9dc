//! Segments: files of records, and the place of a record in them.

use std::{
    fs::File,
    ops::Range,
    path::{Path, PathBuf},
};

use memmap2::Mmap;

use super::record::{Record, RecordKind};
use crate::{
    Kid,
    object::Kind,
    store::{Root, StoreError, io},
};

/// What a segment starts with.
pub(crate) const MAGIC: &[u8; 8] = b"keg-log\n";
/// A segment that has this many bytes is sealed before the next append: 16 MiB.
pub(crate) const ROLL_AT: u64 = 16 << 20;

/// A place in the log: segment number and offset, ordered.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug, Default)]
pub(crate) struct Position {
    pub(crate) segment: u32,
    pub(crate) offset: u32,
}

impl Position {
    pub(crate) fn to_u64(self) -> u64 {
        u64::from(self.segment) << 32 | u64::from(self.offset)
    }

    pub(crate) fn from_u64(raw: u64) -> Self {
        Self { segment: (raw >> 32) as u32, offset: raw as u32 }
    }
}

impl std::fmt::Display for Position {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "segment {} offset {}", self.segment, self.offset)
    }
}

/// Where an object is: its record's start, its kind and its size in bytes.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) struct Place {
    pub(crate) at: Position,
    pub(crate) kind: Kind,
    pub(crate) len: u32,
}

/// What a walk over records meets.
pub(crate) enum Met {
    Object(Kid, Place),
    /// A root, and the offset at which its record ends.
    Root(Root, u32),
    /// Bytes that are no record.
    Damage(Range<u32>),
}

/// How far the bytes of a segment are to be believed.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum Trust {
    /// All of it was once written whole: what is no record now is damage, and is skipped.
    Whole,
    /// It may end in a record that was never finished: the first that is not whole ends it.
    MayBeTorn,
}

/// `log/00000001.seg`.
pub(crate) fn segment_path(dir: &Path, number: u32) -> PathBuf {
    dir.join(format!("{number:08}.seg"))
}

/// `log/00000001.idx`.
pub(crate) fn index_path(dir: &Path, number: u32) -> PathBuf {
    dir.join(format!("{number:08}.idx"))
}

/// `log/00000001.idx-new`: an index that may not be durable yet.
pub(crate) fn new_index_path(dir: &Path, number: u32) -> PathBuf {
    dir.join(format!("{number:08}.idx-new"))
}

/// The numbers of all segments, ascending. Collected segments leave gaps.
pub(crate) fn segments(dir: &Path) -> Result<Vec<u32>, StoreError> {
    let list = std::fs::read_dir(dir).map_err(io(format_args!("listing {}", dir.display())))?;
    let mut numbers: Vec<u32> = Vec::new();
    for entry in list {
        let name = entry.map_err(io(format_args!("listing {}", dir.display())))?.file_name();
        let number = name.to_str().and_then(|name| name.strip_suffix(".seg")?.parse::<u32>().ok());
        numbers.extend(number);
    }
    numbers.sort_unstable();
    Ok(numbers)
}

/// Walks the records of a segment that start at `from` or later and before `to`, and returns where
/// the last one ends. Checksums of objects are looked at only where a record may be torn: whoever
/// reads an object checks it against its KID. Those of roots always are.
pub(crate) fn scan(
    file: &File,
    from: Position,
    to: u32,
    trust: Trust,
    met: &mut dyn FnMut(Met),
) -> Result<u32, StoreError> {
    if to <= from.offset {
        return Ok(from.offset);
    }
    let what = || format!("reading the log at {from}");
    let size = file.metadata().map_err(io(what()))?.len();
    // SAFETY: segments only ever grow below the end that the head or the append lock vouches for;
    // a cut happens above it, under the lock, and by the process that scans.
    let map = unsafe { Mmap::map(file) }.map_err(io(what()))?;
    let to = to.min(u32::try_from(size).unwrap_or(u32::MAX)) as usize;
    let mut at = from.offset as usize;
    // A record that begins before `to` belongs to it, also where `to` is not the end of one.
    while at < to {
        match record_at(&map, at, trust) {
            Some(record) => {
                meet(&record, Position { segment: from.segment, offset: at as u32 }, met);
                at += record.size();
            }
            None if trust == Trust::MayBeTorn => break,
            None => {
                let next = next_whole(&map, at + 1).unwrap_or(to);
                met(Met::Damage(at as u32..next as u32));
                at = next;
            }
        }
    }
    Ok(at as u32)
}

fn record_at(bytes: &[u8], at: usize, trust: Trust) -> Option<Record<'_>> {
    let record = Record::parse(bytes.get(at..)?)?;
    let object = matches!(record.kind, RecordKind::Object(_));
    let believed = object && trust == Trust::Whole;
    (believed || record.is_whole()).then_some(record)
}

fn meet(record: &Record<'_>, at: Position, met: &mut dyn FnMut(Met)) {
    match record.kind {
        RecordKind::Object(kind) => {
            met(Met::Object(record.kid, Place { at, kind, len: record.payload.len() as u32 }));
        }
        RecordKind::Root | RecordKind::Base => {
            let end = at.offset + record.size() as u32;
            met(Met::Root(Root { seq: record.seq(), commit: record.kid }, end));
        }
    }
}

/// Where the next whole record starts.
fn next_whole(bytes: &[u8], from: usize) -> Option<usize> {
    let whole = |at: &usize| Record::parse(&bytes[*at..]).is_some_and(|record| record.is_whole());
    (from..bytes.len()).find(whole)
}
