//! The bytes of a pack while it arrives: in memory first, in an unlinked file when it grows.

use std::{
    fs::File,
    io::{self, BufWriter, Seek, SeekFrom, Write},
    ops::Deref,
    path::{Path, PathBuf},
};

use memmap2::Mmap;

/// Packs up to this size stay in memory.
const IN_MEMORY: usize = 8 << 20;

/// A pack being written.
pub(crate) struct Spool {
    scratch: PathBuf,
    memory: Vec<u8>,
    file: Option<BufWriter<File>>,
    len: u64,
}

impl Spool {
    /// An empty spool that moves to an unlinked file in `scratch` when it grows. A killed process
    /// leaves nothing behind.
    pub(crate) fn new(scratch: &Path) -> Self {
        Self { scratch: scratch.to_owned(), memory: Vec::new(), file: None, len: 0 }
    }

    /// Appends bytes.
    ///
    /// # Errors
    /// The disk's.
    pub(crate) fn write_all(&mut self, bytes: &[u8]) -> io::Result<()> {
        self.len += bytes.len() as u64;
        if let Some(file) = &mut self.file {
            return file.write_all(bytes);
        }
        if self.memory.len() + bytes.len() <= IN_MEMORY {
            self.memory.extend_from_slice(bytes);
            return Ok(());
        }
        let mut file = BufWriter::with_capacity(1 << 18, tempfile::tempfile_in(&self.scratch)?);
        file.write_all(&self.memory)?;
        file.write_all(bytes)?;
        self.memory = Vec::new();
        self.file = Some(file);
        Ok(())
    }

    /// Bytes written so far.
    pub(crate) fn len(&self) -> u64 {
        self.len
    }

    /// Overwrites bytes at the start.
    ///
    /// # Errors
    /// The disk's.
    pub(crate) fn overwrite_start(&mut self, bytes: &[u8]) -> io::Result<()> {
        match &mut self.file {
            None => self.memory[..bytes.len()].copy_from_slice(bytes),
            Some(file) => {
                file.seek(SeekFrom::Start(0))?;
                file.write_all(bytes)?;
                file.seek(SeekFrom::End(0))?;
            }
        }
        Ok(())
    }

    /// What was written so far, for reading. More may be appended after it is dropped.
    ///
    /// # Errors
    /// The disk's.
    pub(crate) fn view(&mut self) -> io::Result<View<'_>> {
        match &mut self.file {
            None => Ok(View::Memory(&self.memory)),
            Some(file) => {
                file.flush()?;
                // SAFETY: the file is unlinked and known to this process alone.
                Ok(View::File(unsafe { Mmap::map(file.get_ref()) }?))
            }
        }
    }

    /// Ends the writing.
    ///
    /// # Errors
    /// The disk's.
    pub(crate) fn finish(mut self) -> io::Result<PackBytes> {
        match &mut self.file {
            None => Ok(PackBytes::Memory(self.memory)),
            Some(file) => {
                file.flush()?;
                // SAFETY: as above.
                Ok(PackBytes::Map(unsafe { Mmap::map(file.get_ref()) }?))
            }
        }
    }
}

/// A look at a [`Spool`].
pub(crate) enum View<'a> {
    /// It is still in memory.
    Memory(&'a [u8]),
    /// It is in a file.
    File(Mmap),
}

impl Deref for View<'_> {
    type Target = [u8];

    fn deref(&self) -> &[u8] {
        match self {
            Self::Memory(bytes) => bytes,
            Self::File(map) => map,
        }
    }
}

/// The bytes of a whole pack or index.
pub(crate) enum PackBytes {
    /// In memory.
    Memory(Vec<u8>),
    /// In a file.
    Map(Mmap),
}

impl Deref for PackBytes {
    type Target = [u8];

    fn deref(&self) -> &[u8] {
        match self {
            Self::Memory(bytes) => bytes,
            Self::Map(map) => map,
        }
    }
}
