//! The index of a pack: sorted KIDs with a fan-out table, mapped.
//!
//! `keg-pkx\n | size of the pack u64 | its BLAKE3, 32 | objects u32 | fan-out 256 × u32 |
//! objects × (KID 32, offset in the table u32) | BLAKE3 of all before, 32`
//!
//! It is derived: the objects' KIDs are the hashes of what the table makes.

use std::{fs::File, path::Path};

use memmap2::Mmap;

use super::MAX_OBJECTS;
use crate::{Kid, kid::KidPrefix};

const MAGIC: &[u8; 8] = b"keg-pkx\n";
const NAME_AT: usize = 16;
const COUNT_AT: usize = NAME_AT + 32;
const FANOUT_AT: usize = COUNT_AT + 4;
const ROWS_AT: usize = FANOUT_AT + 256 * 4;
/// Bytes that an object takes in the index.
pub(super) const ROW: usize = 32 + 4;
const SUM: usize = 32;

/// A pack's index.
pub(super) struct Index {
    map: Mmap,
    count: usize,
}

impl Index {
    /// Opens and checks an index.
    ///
    /// # Errors
    /// What is wrong with it.
    pub(super) fn open(path: &Path, name: &Kid) -> Result<Self, String> {
        let unreadable = |error| format!("its index cannot be read: {error}");
        let file = File::open(path).map_err(unreadable)?;
        let len = file.metadata().map_err(unreadable)?.len();
        if len < (ROWS_AT + SUM) as u64 || len > (ROWS_AT + MAX_OBJECTS * ROW + SUM) as u64 {
            return Err(format!("its index has {len} bytes, which no index has"));
        }
        // SAFETY: index files are replaced by rename, never changed.
        let map = unsafe { Mmap::map(&file) }.map_err(unreadable)?;
        let count = number(&map, COUNT_AT) as usize;
        let (body, sum) = map.split_at(map.len() - SUM);
        if blake3::hash(body).as_bytes() != sum {
            return Err("its index fails its checksum".to_owned());
        }
        if map[..8] != *MAGIC || body.len() != ROWS_AT + count * ROW {
            return Err("its index is not one".to_owned());
        }
        if map[NAME_AT..COUNT_AT] != *name.as_bytes() {
            return Err("its index is of another pack".to_owned());
        }
        let index = Self { map, count };
        index.check_order()?;
        Ok(index)
    }

    fn check_order(&self) -> Result<(), String> {
        let sorted = (1..self.count).all(|row| self.bytes(row - 1) < self.bytes(row));
        let fits = (0..256).all(|byte| {
            let upto = self.fanout(byte);
            upto <= self.count
                && (upto == 0 || usize::from(self.bytes(upto - 1)[0]) <= byte)
                && (upto == self.count || usize::from(self.bytes(upto)[0]) > byte)
        });
        if sorted && fits { Ok(()) } else { Err("its index is not in order".to_owned()) }
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
    pub(super) fn find(&self, kid: &Kid) -> Option<u32> {
        let first = usize::from(kid.as_bytes()[0]);
        let (mut low, mut high) = (self.start(first), self.fanout(first));
        while low < high {
            let middle = low + (high - low) / 2;
            match self.bytes(middle).cmp(kid.as_bytes()) {
                std::cmp::Ordering::Less => low = middle + 1,
                std::cmp::Ordering::Greater => high = middle,
                std::cmp::Ordering::Equal => return Some(self.offset(middle)),
            }
        }
        None
    }

    /// KIDs that start with a prefix.
    pub(super) fn candidates(&self, prefix: &KidPrefix, found: &mut Vec<Kid>, limit: usize) {
        let byte = usize::from_str_radix(&prefix.digits()[..2], 16).unwrap_or(0);
        let rows = (self.start(byte)..self.fanout(byte)).map(|row| self.kid(row));
        found.extend(rows.filter(|kid| prefix.matches(kid)).take(limit));
    }

    /// All objects, with their places in the table.
    pub(super) fn rows(&self) -> impl Iterator<Item = (Kid, u32)> {
        (0..self.count).map(|row| (self.kid(row), self.offset(row)))
    }

    fn fanout(&self, byte: usize) -> usize {
        number(&self.map, FANOUT_AT + byte * 4) as usize
    }

    fn start(&self, byte: usize) -> usize {
        if byte == 0 { 0 } else { self.fanout(byte - 1) }
    }

    fn bytes(&self, row: usize) -> &[u8; 32] {
        let at = ROWS_AT + row * ROW;
        self.map[at..].first_chunk().expect("rows were counted when the index was opened")
    }

    fn kid(&self, row: usize) -> Kid {
        Kid::from_bytes(*self.bytes(row))
    }

    fn offset(&self, row: usize) -> u32 {
        number(&self.map, ROWS_AT + row * ROW + 32)
    }
}

/// The bytes of an index; `rows` in any order, an object twice counts once.
pub(super) fn encode(size: u64, name: &Kid, mut rows: Vec<(Kid, u32)>) -> Vec<u8> {
    rows.sort_unstable();
    rows.dedup_by_key(|(kid, _)| *kid);
    let mut out = Vec::with_capacity(ROWS_AT + rows.len() * ROW + SUM);
    out.extend_from_slice(MAGIC);
    out.extend_from_slice(&size.to_le_bytes());
    out.extend_from_slice(name.as_bytes());
    out.extend_from_slice(&(rows.len() as u32).to_le_bytes());
    for byte in 0..=255u8 {
        let upto = rows.partition_point(|(kid, _)| kid.as_bytes()[0] <= byte);
        out.extend_from_slice(&(upto as u32).to_le_bytes());
    }
    for (kid, offset) in &rows {
        out.extend_from_slice(kid.as_bytes());
        out.extend_from_slice(&offset.to_le_bytes());
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

    fn open(bytes: &[u8], name: &Kid) -> Result<Index, String> {
        let file = tempfile::NamedTempFile::new().unwrap();
        std::fs::write(file.path(), bytes).unwrap();
        Index::open(file.path(), name)
    }

    #[test]
    fn an_index_finds_what_it_has() {
        let name = Kid::of_blob(b"pack");
        let kids: Vec<Kid> = (0..2000u64).map(|n| Kid::of_blob(&noise(n, 8))).collect();
        let rows: Vec<(Kid, u32)> = kids.iter().copied().zip(0..).collect();
        let index = open(&encode(77, &name, rows.clone()), &name).unwrap();
        assert_eq!((index.len(), index.pack_size()), (2000, 77));
        for (kid, offset) in &rows {
            assert_eq!(index.find(kid), Some(*offset));
        }
        assert_eq!(index.find(&name), None);
        let mut found = Vec::new();
        index.candidates(&kids[5].short().parse().unwrap(), &mut found, 20);
        assert_eq!(found, [kids[5]]);
        assert_eq!(index.rows().count(), 2000);
        assert_eq!(open(&encode(1, &name, vec![]), &name).unwrap().find(&name), None);
    }

    #[test]
    fn damaged_and_lying_indexes_are_refused() {
        let name = Kid::of_blob(b"pack");
        let rows: Vec<(Kid, u32)> = (0..5u64).map(|n| (Kid::of_blob(&noise(n, 8)), 0)).collect();
        let good = encode(77, &name, rows);
        for at in 0..good.len() {
            let mut wrong = good.clone();
            wrong[at] ^= 1;
            assert!(open(&wrong, &name).is_err(), "byte {at}");
            assert!(open(&good[..at], &name).is_err(), "cut at {at}");
        }
        let check = |change: &dyn Fn(&mut Vec<u8>), want: &str| {
            let mut lying = good[..good.len() - SUM].to_vec();
            change(&mut lying);
            let sum = blake3::hash(&lying);
            lying.extend_from_slice(sum.as_bytes());
            let error = open(&lying, &name).err().expect(want);
            assert!(error.contains(want), "{want}: {error}");
        };
        check(&|bytes| bytes[0] ^= 1, "not one");
        check(&|bytes| bytes[COUNT_AT + 3] = 0xff, "not one");
        check(&|bytes| bytes[NAME_AT] ^= 1, "another pack");
        check(&|bytes| bytes[FANOUT_AT + 40] = 200, "not in order");
        check(&|bytes| bytes[ROWS_AT + ROW..ROWS_AT + 2 * ROW].fill(0), "not in order");
    }
}
