//! A reader that never serves bytes which are not the KID's.

use std::{
    fs::File,
    io::{self, Read, Seek, SeekFrom},
    os::unix::fs::FileExt,
};

use crate::Kid;

/// How much is read at once when a blob is checked whole.
const CHUNK: usize = 256 << 10;

/// Bytes that can be read at any offset.
pub(crate) trait ReadAt {
    /// Reads some bytes at an offset; 0 at the end.
    fn read_at(&mut self, buf: &mut [u8], at: u64) -> io::Result<usize>;
}

impl ReadAt for File {
    fn read_at(&mut self, buf: &mut [u8], at: u64) -> io::Result<usize> {
        FileExt::read_at(self, buf, at)
    }
}

/// Hashes a blob's bytes while they are read in order; checks them whole when they are not.
pub(crate) struct Verifying<S> {
    source: S,
    kid: Kid,
    size: u64,
    at: u64,
    hashed: u64,
    hasher: Box<blake3::Hasher>,
    verified: bool,
}

impl<S: ReadAt> Verifying<S> {
    pub(crate) fn new(source: S, kid: Kid, size: u64) -> Self {
        let hasher = Box::new(blake3::Hasher::new());
        Self { source, kid, size, at: 0, hashed: 0, hasher, verified: false }
    }

    fn finish(&mut self) -> io::Result<()> {
        if Kid::from(self.hasher.finalize()) != self.kid {
            let text = format!("{} is damaged: its bytes hash to another KID", self.kid);
            return Err(io::Error::new(io::ErrorKind::InvalidData, text));
        }
        self.verified = true;
        Ok(())
    }

    fn verify_whole(&mut self) -> io::Result<()> {
        self.hasher.reset();
        hash_all(&mut self.source, &mut self.hasher)?;
        self.finish()
    }
}

/// Feeds all of it to a hasher, in bounded memory; returns its size in bytes.
pub(crate) fn hash_all(source: &mut impl ReadAt, hasher: &mut blake3::Hasher) -> io::Result<u64> {
    let (mut chunk, mut at) = (vec![0; CHUNK], 0);
    loop {
        match source.read_at(&mut chunk, at)? {
            0 => return Ok(at),
            n => {
                hasher.update(&chunk[..n]);
                at += n as u64;
            }
        }
    }
}

impl<S: ReadAt> Read for Verifying<S> {
    fn read(&mut self, buf: &mut [u8]) -> io::Result<usize> {
        if buf.is_empty() {
            return Ok(0);
        }
        if !self.verified && self.at != self.hashed {
            self.verify_whole()?;
        }
        let n = self.source.read_at(buf, self.at)?;
        if !self.verified {
            self.hasher.update(&buf[..n]);
            self.hashed += n as u64;
            // The last bytes are withheld, too, when they do not fit the KID.
            if n == 0 || self.hashed >= self.size {
                self.finish()?;
            }
        }
        self.at += n as u64;
        Ok(n)
    }
}

impl<S: ReadAt> Seek for Verifying<S> {
    fn seek(&mut self, to: SeekFrom) -> io::Result<u64> {
        let target = match to {
            SeekFrom::Start(offset) => Some(offset),
            SeekFrom::End(offset) => self.size.checked_add_signed(offset),
            SeekFrom::Current(offset) => self.at.checked_add_signed(offset),
        };
        let negative = || io::Error::new(io::ErrorKind::InvalidInput, "a seek before the start");
        self.at = target.ok_or_else(negative)?;
        Ok(self.at)
    }
}
