//! The pack as it comes off the wire: entry headers and inflated bytes, while everything that is
//! read is spooled, counted and hashed.

use std::{
    io::{ErrorKind, Read},
    path::Path,
};

use flate2::Crc;
use gix_hash::{Hasher, ObjectId};
use gix_pack::data::{Entry, header};

use super::{Budget, MAX_OBJECTS, PackError, inflate::Inflater, spool::Spool};

/// Bytes read from the wire at once.
const WINDOW: usize = 64 << 10;
/// No valid entry header is longer: 10 bytes of size, then 20 of a base's id or 10 of a distance.
const MAX_HEADER: usize = 32;
/// Bytes of the SHA-1 that ends a pack.
const TRAILER: usize = 20;

/// A pack being read.
pub(super) struct Input<'a> {
    source: &'a mut dyn Read,
    window: Box<[u8]>,
    start: usize,
    end: usize,
    offset: u64,
    hash: Hasher,
    crc: Crc,
    inflater: Inflater,
    chunk: Box<[u8]>,
    /// What was read.
    pub(super) spool: Spool,
    /// The work this pack may cause.
    pub(super) budget: Budget,
}

impl<'a> Input<'a> {
    /// Starts reading; the spool may use files in `scratch`.
    pub(super) fn new(source: &'a mut dyn Read, scratch: &Path) -> Self {
        Self {
            source,
            window: vec![0; WINDOW].into_boxed_slice(),
            start: 0,
            end: 0,
            offset: 0,
            hash: gix_hash::hasher(gix_hash::Kind::Sha1),
            crc: Crc::new(),
            inflater: Inflater::new(),
            chunk: vec![0; WINDOW].into_boxed_slice(),
            spool: Spool::new(scratch),
            budget: Budget::new(),
        }
    }

    /// Reads the pack's header: the number of objects it promises. `None`: nothing was sent.
    pub(super) fn header(&mut self) -> Result<Option<u32>, PackError> {
        self.fill(header::SIZE)?;
        if self.start == self.end {
            return Ok(None);
        }
        let bytes = self.window[self.start..self.end].first_chunk::<{ header::SIZE }>();
        let bytes = bytes.ok_or(PackError::Truncated(self.offset))?;
        let (_, count) = header::decode(bytes).map_err(|_| PackError::Signature)?;
        if count > MAX_OBJECTS {
            return Err(PackError::TooManyObjects { count });
        }
        self.consume(header::SIZE)?;
        Ok(Some(count))
    }

    /// Reads the header of the next entry.
    pub(super) fn entry(&mut self) -> Result<Entry, PackError> {
        self.fill(MAX_HEADER)?;
        let offset = self.offset;
        if self.start == self.end {
            return Err(PackError::Truncated(offset));
        }
        let bytes = &self.window[self.start..self.end.min(self.start + MAX_HEADER)];
        let entry = Entry::from_bytes(bytes, offset, gix_hash::Kind::Sha1)
            .map_err(|_| PackError::Header { offset })?;
        self.crc = Crc::new();
        self.consume(entry.header_size())?;
        Ok(entry)
    }

    /// Inflates the entry whose header was just read, chunk by chunk; returns the CRC-32 of its
    /// bytes in the pack.
    pub(super) fn inflate(
        &mut self,
        entry: &Entry,
        sink: &mut dyn FnMut(&[u8]) -> Result<(), PackError>,
    ) -> Result<u32, PackError> {
        let offset = entry.pack_offset();
        let mut left = entry.decompressed_size;
        self.inflater.reset();
        loop {
            if self.start == self.end {
                self.fill(1)?;
            }
            let input = &self.window[self.start..self.end];
            let (consumed, produced, ended) =
                self.inflater.step(input, &mut self.chunk).ok_or(PackError::Inflate { offset })?;
            let at_end = input.is_empty();
            self.budget.spend(produced as u64)?;
            left = left.checked_sub(produced as u64).ok_or(PackError::Size { offset })?;
            sink(&self.chunk[..produced])?;
            self.consume(consumed)?;
            if ended {
                return if left == 0 {
                    Ok(self.crc.sum())
                } else {
                    Err(PackError::Size { offset })
                };
            }
            if at_end && produced == 0 {
                return Err(PackError::Truncated(self.offset));
            }
        }
    }

    /// Reads and checks the SHA-1 after the last entry, and that nothing follows it.
    pub(super) fn trailer(&mut self) -> Result<ObjectId, PackError> {
        self.fill(TRAILER + 1)?;
        let found = &self.window[self.start..self.end];
        if found.len() < TRAILER {
            return Err(PackError::Truncated(self.offset + found.len() as u64));
        }
        let hash = std::mem::replace(&mut self.hash, gix_hash::hasher(gix_hash::Kind::Sha1));
        let want = hash.try_finalize().map_err(|_| PackError::Collision)?;
        if found[..TRAILER] != *want.as_slice() {
            return Err(PackError::Checksum);
        }
        if found.len() > TRAILER {
            return Err(PackError::Trailing);
        }
        Ok(want)
    }

    /// Makes `want` bytes available in the window, or all there are.
    fn fill(&mut self, want: usize) -> Result<(), PackError> {
        if self.end - self.start >= want {
            return Ok(());
        }
        self.window.copy_within(self.start..self.end, 0);
        self.end -= self.start;
        self.start = 0;
        while self.end < want {
            match self.source.read(&mut self.window[self.end..]) {
                Ok(0) => break,
                Ok(count) => self.end += count,
                Err(error) if error.kind() == ErrorKind::Interrupted => {}
                Err(error) => return Err(PackError::io("receiving the pack")(error)),
            }
        }
        Ok(())
    }

    /// Moves past `count` bytes of the window.
    fn consume(&mut self, count: usize) -> Result<(), PackError> {
        let bytes = &self.window[self.start..self.start + count];
        self.hash.update(bytes);
        self.crc.update(bytes);
        self.spool.write_all(bytes).map_err(PackError::io("storing the pack"))?;
        self.budget.earn(count as u64);
        self.start += count;
        self.offset += count as u64;
        Ok(())
    }
}
