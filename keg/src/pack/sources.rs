//! Where the bytes come from that are packed: loose files, the log, packs.

use std::{
    fs::File,
    io::{Read, Write},
    path::Path,
    sync::Arc,
};

use memmap2::Mmap;

use super::{
    encode::LARGE,
    select::{Item, Sort},
};
use crate::{
    Kid,
    object::Kind,
    store::{
        Objects, StoreError, io,
        packs::{MAX_BLOCK, PackSet, PackedBlob, Prefer},
        pending::object_path,
        verify::Verifying,
    },
};

/// A Keg's objects, as far as packing needs them.
pub(super) struct Sources<'a> {
    pub(super) home: &'a Path,
    pub(super) set: &'a Arc<PackSet>,
    pub(super) objects: &'a dyn Objects,
}

/// An object's bytes.
pub(super) enum Bytes {
    Held(Vec<u8>),
    Mapped(Mmap),
}

impl std::ops::Deref for Bytes {
    type Target = [u8];

    fn deref(&self) -> &[u8] {
        match self {
            Self::Held(bytes) => bytes,
            Self::Mapped(map) => map,
        }
    }
}

impl Sources<'_> {
    /// What is to be packed: a loose file, or an object of the log. `None`: it is gone.
    pub(super) fn object(&self, item: &Item) -> Result<Option<Bytes>, StoreError> {
        if item.sort() == Sort::Large {
            return self.loose(&item.kid);
        }
        match self.objects.get(&item.kid) {
            Ok(object) => Ok(Some(Bytes::Held(object.bytes))),
            // What is damaged has no bytes.
            Err(StoreError::Corrupt { .. }) => Ok(Some(Bytes::Held(Vec::new()))),
            Err(StoreError::Missing { .. }) => Ok(None),
            Err(error) => Err(error),
        }
    }

    /// The bytes of a base, loose or packed; checked. `None`: it cannot be read.
    pub(super) fn base(&self, kid: &Kid) -> Result<Option<Bytes>, StoreError> {
        if let Some(bytes) = self.loose(kid)? {
            return Ok((Kid::of_blob(&bytes) == *kid).then_some(bytes));
        }
        let Ok(Some(found)) = self.set.find(kid) else {
            // One of the log that is packed in this run; those in packs are found.
            return Ok(self.objects.get(kid).ok().map(|object| Bytes::Held(object.bytes)));
        };
        let mut blob = PackedBlob::new(self.set, *kid, found, Prefer::Loose);
        let size = blob.size();
        if size < LARGE || blob.kind() != Kind::Blob {
            return Ok(blob.read_whole().ok().map(Bytes::Held));
        }
        let scratch = self.home.join("tmp");
        let what = format!("unpacking {kid} to {}", scratch.display());
        let mut file = tempfile::tempfile_in(&scratch).map_err(io(&what))?;
        let mut from = Verifying::new(blob, *kid, size);
        let mut chunk = vec![0; MAX_BLOCK];
        loop {
            match from.read(&mut chunk) {
                Ok(0) => break,
                Ok(n) => file.write_all(&chunk[..n]).map_err(io(&what))?,
                Err(_) => return Ok(None),
            }
        }
        map(&file).map(Some).map_err(io(what))
    }

    /// The bytes of a loose object; `None`: there is none.
    fn loose(&self, kid: &Kid) -> Result<Option<Bytes>, StoreError> {
        let what = || format!("reading {kid}");
        match File::open(object_path(self.home, kid)) {
            Ok(mut file) => {
                let size = file.metadata().map_err(io(what()))?.len();
                if size >= LARGE {
                    return map(&file).map(Some).map_err(io(what()));
                }
                let mut bytes = Vec::with_capacity(size as usize);
                (&mut file).take(LARGE).read_to_end(&mut bytes).map_err(io(what()))?;
                Ok(Some(Bytes::Held(bytes)))
            }
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => Ok(None),
            Err(error) => Err(io(what())(error)),
        }
    }
}

fn map(file: &File) -> std::io::Result<Bytes> {
    // SAFETY: loose objects never change, they are only replaced by renaming or removed, and
    // nobody else has the temporary files.
    unsafe { Mmap::map(file) }.map(Bytes::Mapped)
}
