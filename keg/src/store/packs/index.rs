//! The index of a pack: its objects sorted by their KIDs, mapped.
//!
//! `keg-px2\n | size of the pack u64 | its BLAKE3, 32 | objects u32 | width u32 | objects × (number
//! of the KID in the pack's list, offset in the table) | BLAKE3 of all before, 32`. Numbers and
//! offsets have `width` bytes, 2 or 4.
//!
//! Of packs of the first format, which have no list of KIDs: `keg-pkx\n | size of the pack u64 | its
//! BLAKE3, 32 | objects u32 | fan-out 256 × u32 | objects × (KID 32, offset in the table u32) |
//! BLAKE3 of all before, 32`
//!
//! It is derived: the objects' KIDs are the hashes of what the table makes.

use std::{fs::File, path::Path};

use memmap2::Mmap;

use super::{MAX_OBJECTS, list::Names};
use crate::{Kid, kid::KidPrefix};

const NAME_AT: usize = 16;
const COUNT_AT: usize = NAME_AT + 32;
const FANOUT_AT: usize = COUNT_AT + 4;
/// Bytes that an object takes in the index and the list, at most.
pub(super) const ROW: usize = 32 + 8;
const SUM: usize = 32;
const NOT_IN_ORDER: &str = "its index is not in order";

/// How an index is written.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Format {
    /// With KIDs, of a pack that does not list them.
    First,
    /// With numbers in the pack's list.
    Listed,
}

/// An object of a pack.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub(super) struct Row {
    pub(super) kid: Kid,
    /// Of the KID, in the pack's list, if it has one.
    pub(super) number: u32,
    /// Of the recipe, in the table.
    pub(super) offset: u32,
}

/// A pack's index.
pub(super) struct Index {
    map: Mmap,
    format: Format,
    /// Bytes of a number, if there are numbers.
    width: usize,
    count: usize,
    /// How many objects have a KID whose first byte is at most this.
    fanout: Box<[u32; 256]>,
}

impl Format {
    fn magic(self) -> &'static [u8; 8] {
        match self {
            Self::First => b"keg-pkx\n",
            Self::Listed => b"keg-px2\n",
        }
    }

    fn rows_at(self) -> usize {
        match self {
            Self::First => FANOUT_AT + 256 * 4,
            Self::Listed => COUNT_AT + 8,
        }
    }

    fn row(self, width: usize) -> usize {
        match self {
            Self::First => 32 + 4,
            Self::Listed => 2 * width,
        }
    }
}

impl Index {
    /// Opens and checks an index, all but whether it is [in order](Index::ordered).
    ///
    /// # Errors
    /// What is wrong with it.
    pub(super) fn open(path: &Path, name: &Kid) -> Result<Self, String> {
        let unreadable = |error| format!("its index cannot be read: {error}");
        let file = File::open(path).map_err(unreadable)?;
        let len = file.metadata().map_err(unreadable)?.len();
        let most = Format::First.rows_at() + MAX_OBJECTS * Format::First.row(0) + SUM;
        if len < (Format::Listed.rows_at() + SUM) as u64 || len > most as u64 {
            return Err(format!("its index has {len} bytes, which no index has"));
        }
        // SAFETY: index files are replaced by rename, never changed.
        let map = unsafe { Mmap::map(&file) }.map_err(unreadable)?;
        let (body, sum) = map.split_at(map.len() - SUM);
        if blake3::hash(body).as_bytes() != sum {
            return Err("its index fails its checksum".to_owned());
        }
        let known = [Format::First, Format::Listed];
        let format = known.into_iter().find(|format| body.starts_with(format.magic()));
        let not_one = || "its index is not one".to_owned();
        let format = format.ok_or_else(not_one)?;
        let (count, width) = (number(body, COUNT_AT) as usize, number(body, FANOUT_AT) as usize);
        let sound = format == Format::First || matches!(width, 2 | 4);
        if !sound
            || count > MAX_OBJECTS
            || body.len() != format.rows_at() + count * format.row(width)
        {
            return Err(not_one());
        }
        if map[NAME_AT..COUNT_AT] != *name.as_bytes() {
            return Err("its index is of another pack".to_owned());
        }
        Ok(Self { map, format, width, count, fanout: Box::new([0; 256]) })
    }

    /// Checks that its objects are in order and their KIDs in the pack's list. Only then anything
    /// is found in it.
    ///
    /// # Errors
    /// They are not.
    pub(super) fn ordered(mut self, names: Names<'_>) -> Result<Self, String> {
        let listed = self.format == Format::Listed;
        if listed != matches!(names, Names::Listed(_)) {
            return Err("its index is of another format".to_owned());
        }
        let mut last: Option<Kid> = None;
        for row in 0..self.count {
            let kid = self.row_kid(row, names).ok_or(NOT_IN_ORDER)?;
            if last.is_some_and(|last| last >= kid) {
                return Err(NOT_IN_ORDER.to_owned());
            }
            self.fanout[usize::from(kid.as_bytes()[0])] += 1;
            last = Some(kid);
        }
        let mut upto = 0;
        for objects in self.fanout.iter_mut() {
            upto += *objects;
            *objects = upto;
        }
        let said = |byte: usize| number(&self.map, FANOUT_AT + byte * 4);
        if !listed && (0..256).any(|byte| said(byte) != self.fanout[byte]) {
            return Err(NOT_IN_ORDER.to_owned());
        }
        Ok(self)
    }

    /// How many bytes the pack has.
    pub(super) fn pack_size(&self) -> u64 {
        self.map[8..].first_chunk().map_or(0, |bytes| u64::from_le_bytes(*bytes))
    }

    /// Number of objects.
    pub(super) fn len(&self) -> usize {
        self.count
    }

    /// Where an object is in the table, if it is in this pack.
    pub(super) fn find(&self, kid: &Kid, names: Names<'_>) -> Option<u32> {
        let (mut low, mut high) = self.range(kid.as_bytes()[0]);
        while low < high {
            let middle = low + (high - low) / 2;
            match self.row_kid(middle, names)?.cmp(kid) {
                std::cmp::Ordering::Less => low = middle + 1,
                std::cmp::Ordering::Greater => high = middle,
                std::cmp::Ordering::Equal => return Some(self.offset(middle)),
            }
        }
        None
    }

    /// KIDs that start with a prefix.
    pub(super) fn candidates(
        &self,
        prefix: &KidPrefix,
        names: Names<'_>,
        found: &mut Vec<Kid>,
        limit: usize,
    ) {
        let byte = u8::from_str_radix(&prefix.digits()[..2], 16).unwrap_or(0);
        let (from, to) = self.range(byte);
        let rows = (from..to).filter_map(|row| self.row_kid(row, names));
        found.extend(rows.filter(|kid| prefix.matches(kid)).take(limit));
    }

    /// All objects, with their places in the table.
    pub(super) fn rows<'a>(&'a self, names: Names<'a>) -> impl Iterator<Item = (Kid, u32)> + 'a {
        let row = move |row| Some((self.row_kid(row, names)?, self.offset(row)));
        (0..self.count).filter_map(row)
    }

    /// The rows of KIDs with this first byte.
    fn range(&self, byte: u8) -> (usize, usize) {
        let upto = |byte: u8| self.fanout[usize::from(byte)] as usize;
        (byte.checked_sub(1).map_or(0, upto), upto(byte))
    }

    fn row_kid(&self, row: usize, names: Names<'_>) -> Option<Kid> {
        match self.format {
            Format::First => {
                self.map[self.row_at(row)..].first_chunk().copied().map(Kid::from_bytes)
            }
            Format::Listed => names.get(self.field(self.row_at(row))),
        }
    }

    fn offset(&self, row: usize) -> u32 {
        match self.format {
            Format::First => number(&self.map, self.row_at(row) + 32),
            Format::Listed => self.field(self.row_at(row) + self.width),
        }
    }

    /// A number of two or four bytes.
    fn field(&self, at: usize) -> u32 {
        match self.width {
            2 => self.map[at..].first_chunk().map_or(0, |bytes| u16::from_le_bytes(*bytes).into()),
            _ => number(&self.map, at),
        }
    }

    fn row_at(&self, row: usize) -> usize {
        self.format.rows_at() + row * self.format.row(self.width)
    }
}

/// The bytes of an index; `rows` in any order, an object twice counts once.
pub(super) fn encode(size: u64, name: &Kid, mut rows: Vec<Row>, format: Format) -> Vec<u8> {
    rows.sort_unstable();
    rows.dedup_by_key(|row| row.kid);
    let largest = rows.iter().map(|row| row.number.max(row.offset)).max().unwrap_or(0);
    let width = if largest <= u32::from(u16::MAX) { 2 } else { 4 };
    let mut out = Vec::with_capacity(format.rows_at() + rows.len() * format.row(width) + SUM);
    out.extend_from_slice(format.magic());
    out.extend_from_slice(&size.to_le_bytes());
    out.extend_from_slice(name.as_bytes());
    out.extend_from_slice(&(rows.len() as u32).to_le_bytes());
    match format {
        Format::First => {
            for byte in 0..=255u8 {
                let upto = rows.partition_point(|row| row.kid.as_bytes()[0] <= byte);
                out.extend_from_slice(&(upto as u32).to_le_bytes());
            }
            for row in &rows {
                out.extend_from_slice(row.kid.as_bytes());
                out.extend_from_slice(&row.offset.to_le_bytes());
            }
        }
        Format::Listed => {
            out.extend_from_slice(&(width as u32).to_le_bytes());
            for field in rows.iter().flat_map(|row| [row.number, row.offset]) {
                out.extend_from_slice(&field.to_le_bytes()[..width]);
            }
        }
    }
    let sum = blake3::hash(&out);
    out.extend_from_slice(sum.as_bytes());
    out
}

fn number(bytes: &[u8], at: usize) -> u32 {
    bytes[at..].first_chunk().map_or(0, |bytes| u32::from_le_bytes(*bytes))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::noise;

    fn open(bytes: &[u8], name: &Kid, names: Names<'_>) -> Result<Index, String> {
        let file = tempfile::NamedTempFile::new().unwrap();
        std::fs::write(file.path(), bytes).unwrap();
        Index::open(file.path(), name)?.ordered(names)
    }

    /// So many objects, and their KIDs in a list.
    fn objects(count: u64, spread: u32) -> (Vec<Row>, Vec<u8>) {
        let row = |n: u64| Row {
            kid: Kid::of_blob(&noise(n, 8)),
            number: n as u32,
            offset: n as u32 * spread,
        };
        let rows: Vec<Row> = (0..count).map(row).collect();
        let list = rows.iter().flat_map(|row| *row.kid.as_bytes()).collect();
        (rows, list)
    }

    #[test]
    fn an_index_finds_what_it_has() {
        let name = Kid::of_blob(b"pack");
        for (format, spread) in [(Format::First, 3), (Format::Listed, 3), (Format::Listed, 99)] {
            let (rows, list) = objects(2000, spread);
            let names = match format {
                Format::First => Names::InPlace,
                Format::Listed => Names::Listed(&list),
            };
            let index = open(&encode(77, &name, rows.clone(), format), &name, names).unwrap();
            assert_eq!((index.len(), index.pack_size()), (2000, 77));
            for row in &rows {
                assert_eq!(index.find(&row.kid, names), Some(row.offset));
            }
            assert_eq!(index.find(&name, names), None);
            let (mut found, prefix) = (Vec::new(), rows[5].kid.short().parse().unwrap());
            index.candidates(&prefix, names, &mut found, 20);
            assert_eq!(found, [rows[5].kid]);
            assert_eq!(index.rows(names).count(), 2000);
            let empty = open(&encode(1, &name, vec![], format), &name, names).unwrap();
            assert_eq!(empty.find(&name, names), None);
        }
    }

    /// Damage is found, and what `change` says is refused although its checksum fits.
    fn refused(good: &[u8], names: Names<'_>, change: &dyn Fn(&mut Vec<u8>), want: &str) {
        let name = Kid::of_blob(b"pack");
        let mut lying = good[..good.len() - SUM].to_vec();
        change(&mut lying);
        let sum = blake3::hash(&lying);
        lying.extend_from_slice(sum.as_bytes());
        let error = open(&lying, &name, names).err().expect(want);
        assert!(error.contains(want), "{want}: {error}");
    }

    #[test]
    fn damaged_and_lying_indexes_are_refused() {
        let name = Kid::of_blob(b"pack");
        let (rows, list) = objects(5, 1);
        let listed = Names::Listed(&list);
        for (format, names) in [(Format::First, Names::InPlace), (Format::Listed, listed)] {
            let good = encode(77, &name, rows.clone(), format);
            for at in 0..good.len() {
                let mut wrong = good.clone();
                wrong[at] ^= 1;
                assert!(open(&wrong, &name, names).is_err(), "byte {at}");
                assert!(open(&good[..at], &name, names).is_err(), "cut at {at}");
            }
            let check = |change: &dyn Fn(&mut Vec<u8>), want| refused(&good, names, change, want);
            check(&|bytes| bytes[0] ^= 1, "not one");
            check(&|bytes| bytes[COUNT_AT + 3] = 0xff, "not one");
            check(&|bytes| bytes[NAME_AT] ^= 1, "another pack");
            let (from, row) = (format.rows_at(), format.row(2));
            check(&|bytes| bytes.copy_within(from..from + row, from + row), "not in order");
        }
        let first = encode(77, &name, rows.clone(), Format::First);
        refused(&first, Names::InPlace, &|bytes| bytes[FANOUT_AT + 40] = 200, "not in order");
        refused(&first, listed, &|_| {}, "another format");
        let second = encode(77, &name, rows, Format::Listed);
        refused(&second, Names::InPlace, &|_| {}, "another format");
        refused(&second, listed, &|bytes| bytes[FANOUT_AT] = 3, "not one");
        refused(&second, Names::Listed(&list[32..]), &|_| {}, "not in order");
    }
}
