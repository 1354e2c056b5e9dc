//! Bytes of an object: on the heap when small, in an unlinked file when large.

use std::{ops::Deref, path::Path, rc::Rc};

use memmap2::{Mmap, MmapMut};

use super::{HEAP_BUFFER, PackError};

/// The bytes of an object; cloning shares them.
#[derive(Clone)]
pub(crate) enum Buffer {
    /// On the heap.
    Heap(Rc<Vec<u8>>),
    /// In an unlinked file, which the kernel may write out when memory is short.
    File(Rc<Mmap>),
}

impl Buffer {
    /// A buffer of `len` bytes, filled by `fill`; large ones go to an unlinked file in `scratch`.
    ///
    /// # Errors
    /// What `fill` says, or the disk's.
    pub(crate) fn filled(
        len: usize,
        scratch: &Path,
        fill: impl FnOnce(&mut [u8]) -> Result<(), PackError>,
    ) -> Result<Self, PackError> {
        if len <= HEAP_BUFFER {
            let mut bytes = vec![0; len];
            fill(&mut bytes)?;
            return Ok(Self::Heap(Rc::new(bytes)));
        }
        let failed = || PackError::io("making room for a large object");
        let file = tempfile::tempfile_in(scratch).map_err(failed())?;
        // Allocated rather than sparse: a full disk is an error here, not a SIGBUS later.
        rustix::fs::fallocate(&file, rustix::fs::FallocateFlags::empty(), 0, len as u64)
            .map_err(|errno| failed()(errno.into()))?;
        // SAFETY: the file is unlinked and known to this process alone.
        let mut map = unsafe { MmapMut::map_mut(&file) }.map_err(failed())?;
        fill(&mut map)?;
        Ok(Self::File(Rc::new(map.make_read_only().map_err(failed())?)))
    }

    /// Takes bytes as they are.
    pub(crate) fn from_vec(bytes: Vec<u8>) -> Self {
        Self::Heap(Rc::new(bytes))
    }
}

impl Deref for Buffer {
    type Target = [u8];

    fn deref(&self) -> &[u8] {
        match self {
            Self::Heap(bytes) => bytes,
            Self::File(map) => map,
        }
    }
}
