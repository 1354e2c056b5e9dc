//! The index of a sealed segment: sorted KIDs with a fan-out table, and the roots it holds.
//!
//! `magic 8 | segment size u64 | objects u32 | roots u32 | fan-out 256 × u32 |
//! objects × (KID 32, offset u32, len u32, kind u8) | roots × (seq u64, KID 32) | BLAKE3 of all
//! before, 32`.
//! It is derived: a missing or foreign one is made again from the segment.
//!
//! Whoever seals a segment writes `.idx-new` from what it has in memory and lets the others go on.
//! Later, when the disk has it, it is synced and becomes `.idx`. Until then it is believed only
//! if its checksum says so.

use std::{
    fs::File,
    io::{BufWriter, Write},
    os::unix::fs::FileExt,
    path::{Path, PathBuf},
};

use memmap2::Mmap;

use super::{
    record::{HEADER, RecordKind},
    reload::is_gone,
    segment::{MAGIC, Met, Place, Position, Trust, index_path, new_index_path, scan, segment_path},
    tail::Tail,
};
use crate::{
    Kid,
    kid::KidPrefix,
    object::Kind,
    store::{
        Root, StoreError,
        durable::{replace_file, start_writing},
        io,
    },
};

const INDEX_MAGIC: &[u8; 8] = b"keg-idx\n";
const FANOUT_AT: usize = 24;
const ROWS_AT: usize = FANOUT_AT + 256 * 4;
const ROW: usize = 32 + 4 + 4 + 1;
const ROOT: usize = 8 + 32;
const SUM: usize = 32;
/// Bytes of an index that are written at once.
const PIECE: usize = 64 << 10;

/// A sealed segment's index, mapped.
pub(crate) struct SealedIndex {
    pub(crate) segment: u32,
    map: Mmap,
    objects: usize,
    roots: usize,
}

impl SealedIndex {
    /// Opens the index of a sealed segment; makes it first if it is not there, and durable if it
    /// may not be.
    pub(crate) fn open(dir: &Path, segment: u32) -> Result<Self, StoreError> {
        if let Some(index) = Self::read(dir, segment)? {
            return Ok(index);
        }
        settle_index(dir, segment)?;
        if let Some(index) = Self::read(dir, segment)? {
            return Ok(index);
        }
        write_index(dir, segment)?;
        Self::read(dir, segment)?.ok_or_else(|| StoreError::Log {
            place: format!("segment {segment}"),
            what: "its index cannot be made".to_owned(),
        })
    }

    /// As [`SealedIndex::open`], but without waiting for one that is not durable yet.
    pub(super) fn open_new(dir: &Path, segment: u32) -> Result<Self, StoreError> {
        if let Some(index) = Self::read(dir, segment)? {
            return Ok(index);
        }
        let new = Self::read_at(dir, segment, new_index_path(dir, segment))?;
        new.filter(Self::is_whole).map_or_else(|| Self::open(dir, segment), Ok)
    }

    /// `None`: not there, or not an index of this segment.
    pub(super) fn read(dir: &Path, segment: u32) -> Result<Option<Self>, StoreError> {
        Self::read_at(dir, segment, index_path(dir, segment))
    }

    fn read_at(dir: &Path, segment: u32, path: PathBuf) -> Result<Option<Self>, StoreError> {
        let what = format!("reading {}", path.display());
        let file = match File::open(&path) {
            Ok(file) => file,
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(None),
            Err(error) => return Err(io(what)(error)),
        };
        if file.metadata().map_err(io(&what))?.len() < (ROWS_AT + SUM) as u64 {
            return Ok(None);
        }
        // SAFETY: index files are replaced by rename, never changed.
        let map = unsafe { Mmap::map(&file) }.map_err(io(&what))?;
        let size = std::fs::metadata(segment_path(dir, segment)).map_err(io(&what))?.len();
        let (objects, roots) = (number(&map, 16) as usize, number(&map, 20) as usize);
        let whole = ROWS_AT + objects * ROW + roots * ROOT + SUM;
        let fits = map[..8] == *INDEX_MAGIC && long(&map, 8) == size && map.len() == whole;
        Ok(fits.then_some(Self { segment, map, objects, roots }))
    }

    /// Where an object is, if it is in this segment.
    pub(crate) fn find(&self, kid: &Kid) -> Option<Place> {
        let first = usize::from(kid.as_bytes()[0]);
        let (from, to) = (self.fanout(first.wrapping_sub(1)), self.fanout(first));
        let (mut low, mut high) = (from, to.min(self.objects));
        while low < high {
            let middle = low + (high - low) / 2;
            match self.kid(middle).cmp(kid.as_bytes()) {
                std::cmp::Ordering::Less => low = middle + 1,
                std::cmp::Ordering::Greater => high = middle,
                std::cmp::Ordering::Equal => return self.place(middle),
            }
        }
        None
    }

    /// The version with this number, if this segment has it.
    pub(crate) fn root(&self, seq: u64) -> Option<Root> {
        let at = |row: usize| ROWS_AT + self.objects * ROW + row * ROOT;
        let (mut low, mut high) = (0, self.roots);
        while low < high {
            let middle = low + (high - low) / 2;
            if long(&self.map, at(middle)) < seq { low = middle + 1 } else { high = middle }
        }
        if low == self.roots || long(&self.map, at(low)) != seq {
            return None;
        }
        let bytes = self.map[at(low) + 8..].first_chunk()?;
        Some(Root { seq, commit: Kid::from_bytes(*bytes) })
    }

    /// KIDs that start with a prefix.
    pub(crate) fn candidates(&self, prefix: &KidPrefix, found: &mut Vec<Kid>, limit: usize) {
        let byte = usize::from_str_radix(&prefix.digits()[..2], 16).unwrap_or(0);
        let (from, to) = (self.fanout(byte.wrapping_sub(1)), self.fanout(byte));
        let rows = (from..to.min(self.objects)).map(|row| Kid::from_bytes(*self.kid(row)));
        found.extend(rows.filter(|kid| prefix.matches(kid)).take(limit));
    }

    /// All objects.
    pub(crate) fn objects(&self) -> impl Iterator<Item = (Kid, Option<Place>)> {
        (0..self.objects).map(|row| (Kid::from_bytes(*self.kid(row)), self.place(row)))
    }

    /// Whether the index is the one its segment gives.
    pub(crate) fn is_whole(&self) -> bool {
        let (body, sum) = self.map.split_at(self.map.len() - SUM);
        blake3::hash(body).as_bytes() == sum
    }

    fn fanout(&self, byte: usize) -> usize {
        if byte > 255 { 0 } else { number(&self.map, FANOUT_AT + byte * 4) as usize }
    }

    fn kid(&self, row: usize) -> &[u8; 32] {
        let at = ROWS_AT + row * ROW;
        self.map[at..].first_chunk().expect("rows were counted when the index was opened")
    }

    fn place(&self, row: usize) -> Option<Place> {
        let at = ROWS_AT + row * ROW + 32;
        let RecordKind::Object(kind) = RecordKind::from_code(self.map[at + 8])? else {
            return None;
        };
        let offset = number(&self.map, at);
        let at_position = Position { segment: self.segment, offset };
        Some(Place { at: at_position, kind, len: number(&self.map, at + 4) })
    }
}

/// A small object in segments that were put aside, as it is stored: the caller checks it.
pub(crate) fn read_swept(
    dir: &Path,
    segments: &[u32],
    kid: &Kid,
) -> Result<Option<(Kind, Vec<u8>)>, StoreError> {
    for number in segments {
        let Some(index) = SealedIndex::read(dir, *number).or_else(absent)? else { continue };
        let Some(place) = index.find(kid) else { continue };
        let Ok(file) = File::open(segment_path(dir, *number)) else { continue };
        let mut bytes = vec![0; place.len as usize];
        let at = u64::from(place.at.offset) + HEADER as u64;
        let what = format_args!("reading {kid} from the trash").to_string();
        file.read_exact_at(&mut bytes, at).map_err(io(what))?;
        return Ok(Some((place.kind, bytes)));
    }
    Ok(None)
}

/// All objects of a segment that was put aside; none if it is not there any more.
pub(crate) fn swept_objects(dir: &Path, segment: u32) -> Result<Vec<Kid>, StoreError> {
    let index = SealedIndex::read(dir, segment).or_else(absent)?;
    Ok(index.map_or(Vec::new(), |index| index.objects().map(|(kid, _)| kid).collect()))
}

/// A file that has been removed meanwhile is as good as one that never was.
fn absent<T>(error: StoreError) -> Result<Option<T>, StoreError> {
    if is_gone(&error) { Ok(None) } else { Err(error) }
}

/// Writes the index of a segment that is just being sealed, from what is known of it in memory.
/// The disk starts on it; [`settle_index`] makes it durable.
pub(super) fn write_new_index(dir: &Path, tail: &Tail) -> Result<(), StoreError> {
    let path = new_index_path(dir, tail.number);
    let beside = path.with_extension(format!("tmp-{}", std::process::id()));
    let roots: Vec<Root> = tail.roots.iter().map(|(root, _)| *root).collect();
    let rows = sorted(tail.objects.iter());
    let written = File::create(&beside).and_then(|file| {
        write(u64::from(tail.end), &rows, &roots, &file)?;
        start_writing(&file, 0, 0);
        std::fs::rename(&beside, &path)
    });
    written.map_err(|error| {
        // What is left beside is garbage either way; the error is the one to report.
        let _ = std::fs::remove_file(&beside);
        io(format_args!("writing {}", path.display()))(error)
    })
}

/// Makes an index that was written while its segment was sealed durable and gives it its name. One
/// that cannot be, or is not whole, is removed: it will be made again.
pub(super) fn settle_index(dir: &Path, segment: u32) -> Result<(), StoreError> {
    let new = new_index_path(dir, segment);
    let Ok(file) = File::open(&new) else { return Ok(()) };
    let found = SealedIndex::read_at(dir, segment, new.clone())?;
    let sound = found.is_some_and(|index| index.is_whole()) && file.sync_all().is_ok();
    let settled = if sound {
        std::fs::rename(&new, index_path(dir, segment))
    } else {
        std::fs::remove_file(&new)
    };
    match settled {
        // Somebody else did it meanwhile.
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => Ok(()),
        settled => settled.map_err(io(format_args!("settling {}", new.display()))),
    }
}

/// Makes the index of a segment: written beside, synced, renamed.
pub(crate) fn write_index(dir: &Path, segment: u32) -> Result<(), StoreError> {
    let path = segment_path(dir, segment);
    let what = format!("indexing {}", path.display());
    let file = File::open(&path).map_err(io(&what))?;
    let (mut rows, mut roots): (Vec<(Kid, Place)>, Vec<Root>) = (Vec::new(), Vec::new());
    let size = file.metadata().map_err(io(&what))?.len();
    let start = Position { segment, offset: MAGIC.len() as u32 };
    scan(
        &file,
        start,
        u32::try_from(size).unwrap_or(u32::MAX),
        Trust::Whole,
        &mut |met| match met {
            Met::Object(kid, place) => rows.push((kid, place)),
            Met::Root(root, _) => {
                if roots.last().is_none_or(|last| last.seq < root.seq) {
                    roots.push(root);
                }
            }
            Met::Damage(_) => {}
        },
    )?;
    let rows = sorted(rows.iter().map(|(kid, place)| (kid, place)));
    let mut bytes = Vec::with_capacity(ROWS_AT + rows.len() * ROW + roots.len() * ROOT + SUM);
    write(size, &rows, &roots, &mut bytes).map_err(io(what))?;
    replace_file(&index_path(dir, segment), &bytes)
}

/// An object, and the start of its KID: nearly always it decides the order, and is less to move.
type Row<'a> = (u64, &'a Kid, &'a Place);

/// Ascending, each object once, at its first place.
fn sorted<'a>(objects: impl Iterator<Item = (&'a Kid, &'a Place)>) -> Vec<Row<'a>> {
    let start =
        |kid: &Kid| kid.as_bytes().first_chunk().map_or(0, |start| u64::from_be_bytes(*start));
    let mut rows: Vec<Row<'a>> = objects.map(|(kid, at)| (start(kid), kid, at)).collect();
    rows.sort_unstable_by(|(left, kid, place), (right, other, there)| {
        left.cmp(right).then_with(|| (kid, place.at).cmp(&(other, there.at)))
    });
    rows.dedup_by_key(|(_, kid, _)| *kid);
    rows
}

/// Not from one buffer: others wait, and memory that is new takes longer than what it is for.
fn write(size: u64, rows: &[Row<'_>], roots: &[Root], to: impl Write) -> std::io::Result<()> {
    let mut out = BufWriter::with_capacity(PIECE, Hashed { to, hasher: blake3::Hasher::new() });
    out.write_all(INDEX_MAGIC)?;
    out.write_all(&size.to_le_bytes())?;
    out.write_all(&(rows.len() as u32).to_le_bytes())?;
    out.write_all(&(roots.len() as u32).to_le_bytes())?;
    for byte in 0..=255u8 {
        let upto = rows.partition_point(|(_, kid, _)| kid.as_bytes()[0] <= byte);
        out.write_all(&(upto as u32).to_le_bytes())?;
    }
    for (_, kid, place) in rows {
        let mut row = [0; ROW];
        row[..32].copy_from_slice(kid.as_bytes());
        row[32..36].copy_from_slice(&place.at.offset.to_le_bytes());
        row[36..40].copy_from_slice(&place.len.to_le_bytes());
        row[40] = RecordKind::Object(place.kind).code();
        out.write_all(&row)?;
    }
    for root in roots {
        out.write_all(&root.seq.to_le_bytes())?;
        out.write_all(root.commit.as_bytes())?;
    }
    out.flush()?;
    let Hashed { to, hasher } = out.get_mut();
    to.write_all(hasher.finalize().as_bytes())
}

/// What is written to it is hashed on the way.
struct Hashed<W> {
    to: W,
    hasher: blake3::Hasher,
}

impl<W: Write> Write for Hashed<W> {
    fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
        let written = self.to.write(bytes)?;
        self.hasher.update(&bytes[..written]);
        Ok(written)
    }

    fn flush(&mut self) -> std::io::Result<()> {
        self.to.flush()
    }
}

fn number(bytes: &[u8], at: usize) -> u32 {
    bytes[at..].first_chunk().map_or(0, |bytes| u32::from_le_bytes(*bytes))
}

fn long(bytes: &[u8], at: usize) -> u64 {
    bytes[at..].first_chunk().map_or(0, |bytes| u64::from_le_bytes(*bytes))
}
