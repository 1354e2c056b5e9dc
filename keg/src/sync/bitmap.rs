//! A bit for each blob that the trees name, in the order they do: 1 if it is missing.

use super::{
    MAX_BLOBS,
    codec::{compress, decompress},
    error::{SyncError, protocol},
    wire::Input,
};
use crate::object::wire::{put_bytes, put_varint};

/// Bits that are pushed one by one.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub(super) struct Bitmap {
    bytes: Vec<u8>,
    len: u64,
}

impl Bitmap {
    pub(super) fn push(&mut self, bit: bool) {
        if self.len.is_multiple_of(8) {
            self.bytes.push(0);
        }
        if bit {
            self.bytes[(self.len / 8) as usize] |= 1 << (self.len % 8);
        }
        self.len += 1;
    }

    pub(super) fn len(&self) -> u64 {
        self.len
    }

    /// The bit at an index; `None` beyond the end.
    pub(super) fn get(&self, index: u64) -> Option<bool> {
        let byte = self.bytes.get((index / 8) as usize).filter(|_| index < self.len)?;
        Some(byte >> (index % 8) & 1 == 1)
    }

    /// How many bits are 1.
    pub(super) fn ones(&self) -> u64 {
        self.bytes.iter().map(|byte| u64::from(byte.count_ones())).sum()
    }

    /// Appends the number of bits and the bits, compressed with zstd.
    pub(super) fn put(&self, out: &mut Vec<u8>) -> Result<(), SyncError> {
        put_varint(out, self.len);
        put_bytes(out, &compress(&self.bytes, None)?);
        Ok(())
    }

    pub(super) fn read(input: &mut Input<'_>) -> Result<Self, SyncError> {
        let len = input.number(MAX_BLOBS, "the number of bits")?;
        let size = len.div_ceil(8) as usize;
        // What zstd makes of incompressible bytes is this much longer at most.
        let packed = input.bytes(size + size / 128 + 64, "compressed bits")?;
        let bytes = decompress(&packed, None, size)?;
        let used = (len % 8) as u32;
        if used > 0 && bytes.last().is_some_and(|last| last >> used != 0) {
            return Err(protocol("bits after the last one"));
        }
        Ok(Self { bytes, len })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bits_are_where_they_were_put() {
        for len in [0, 1, 7, 8, 9, 1000] {
            let mut bits = Bitmap::default();
            (0..len).for_each(|n| bits.push(n % 3 == 1));
            assert_eq!(bits.len(), len);
            assert_eq!(bits.ones(), (0..len).filter(|n| n % 3 == 1).count() as u64);
            for n in 0..len {
                assert_eq!(bits.get(n), Some(n % 3 == 1), "{n} of {len}");
            }
            assert_eq!(bits.get(len), None);
        }
    }
}
