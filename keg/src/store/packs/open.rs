//! One pack, open for reading.
//!
//! The data file: `keg-pak\n`, blocks, the table (recipes, one after the other), then 40 bytes:
//! offset of the table u64, its length u64, number of recipes u64, the first 8 bytes of BLAKE3 of
//! the table, `keg-end\n`.

use std::{
    fs::File,
    os::unix::fs::FileExt,
    path::{Path, PathBuf},
    sync::Arc,
};

use memmap2::{Mmap, MmapOptions};

use super::{
    MAX_OBJECTS, MAX_TABLE,
    block::Stored,
    directory,
    index::Index,
    recipe::{Base, Recipe},
    set::Found,
};
use crate::{Kid, kid::KidPrefix};

pub(super) const MAGIC: &[u8; 8] = b"keg-pak\n";
pub(super) const END: &[u8; 8] = b"keg-end\n";
/// Bytes after the table.
pub(super) const FOOTER: usize = 40;

/// The data of a pack: blocks and table.
pub(crate) struct Data {
    file: File,
    size: u64,
    table_at: u64,
    table: Option<Mmap>,
    recipes: usize,
}

/// A pack: data and index.
pub(crate) struct Pack {
    name: Kid,
    data: Arc<Data>,
    index: Index,
}

/// Where a pack's data is.
pub(crate) fn data_path(home: &Path, name: &Kid) -> PathBuf {
    directory(home).join(format!("{}.pack", name.to_hex()))
}

/// Where a pack's index is.
pub(super) fn index_path(home: &Path, name: &Kid) -> PathBuf {
    directory(home).join(format!("{}.idx", name.to_hex()))
}

impl Data {
    /// Opens a pack's data file and checks all of it but the blocks.
    ///
    /// # Errors
    /// What is wrong with it.
    pub(super) fn open(path: &Path) -> Result<Self, String> {
        let unreadable = |error| format!("it cannot be read: {error}");
        let file = File::open(path).map_err(unreadable)?;
        let size = file.metadata().map_err(unreadable)?.len();
        if size < (MAGIC.len() + FOOTER) as u64 {
            return Err(format!("it has {size} bytes, fewer than any pack"));
        }
        let (mut magic, mut footer) = ([0; MAGIC.len()], [0; FOOTER]);
        file.read_exact_at(&mut magic, 0).map_err(unreadable)?;
        file.read_exact_at(&mut footer, size - FOOTER as u64).map_err(unreadable)?;
        if magic != *MAGIC || footer[32..] != *END {
            return Err("it does not begin or end like a pack; it may be cut off".to_owned());
        }
        let long =
            |at: usize| footer[at..].first_chunk().map_or(0, |bytes| u64::from_le_bytes(*bytes));
        let (table_at, len, recipes) = (long(0), long(8), long(16));
        let end = size - FOOTER as u64;
        if table_at < MAGIC.len() as u64
            || table_at.checked_add(len) != Some(end)
            || len > MAX_TABLE as u64
            || recipes > (MAX_OBJECTS as u64).min(len)
        {
            return Err("its table is not where it says".to_owned());
        }
        let table = (len > 0)
            // SAFETY: data files never change after they have their name.
            .then(|| unsafe { MmapOptions::new().offset(table_at).len(len as usize).map(&file) })
            .transpose()
            .map_err(unreadable)?;
        let data = Self { file, size, table_at, table, recipes: recipes as usize };
        if blake3::hash(data.table()).as_bytes()[..8] != footer[24..32] {
            return Err("its table fails its checksum".to_owned());
        }
        Ok(data)
    }

    fn table(&self) -> &[u8] {
        self.table.as_deref().unwrap_or_default()
    }

    /// Size of the file.
    pub(super) fn size(&self) -> u64 {
        self.size
    }

    pub(super) fn file(&self) -> &File {
        &self.file
    }

    /// The recipe at an offset of the table.
    ///
    /// # Errors
    /// What is wrong with it.
    pub(super) fn recipe(&self, offset: u32) -> Result<Recipe, String> {
        let bytes = self.table().get(offset as usize..).unwrap_or_default();
        Recipe::decode(bytes).map_err(|error| format!("its recipe at {offset}: {error}"))
    }

    /// All recipes with their offsets, in the order in which they were packed: a base that is in
    /// the same pack comes before what is a difference to it. Ends after the first that is wrong.
    pub(super) fn recipes(&self) -> impl Iterator<Item = Result<(u32, Recipe), String>> {
        let (mut at, mut left) = (0u32, self.recipes);
        let mut again = Vec::new();
        std::iter::from_fn(move || {
            left = left.checked_sub(1)?;
            let recipe = match self.recipe(at) {
                Ok(recipe) => recipe,
                Err(what) => {
                    left = 0;
                    return Some(Err(what));
                }
            };
            again.clear();
            recipe.encode(&mut again);
            let found = Ok((at, recipe));
            at = at.saturating_add(again.len() as u32);
            Some(found)
        })
    }

    /// The block at an offset, read into `memory`.
    ///
    /// # Errors
    /// What is wrong with it.
    pub(super) fn block(&self, at: u64, memory: Vec<u8>) -> Result<Stored, String> {
        if at < MAGIC.len() as u64 {
            return Err(format!("there is no block at {at}"));
        }
        Stored::read(&self.file, at, self.table_at, memory)
    }
}

impl Pack {
    /// Opens a pack and checks its index and its table.
    ///
    /// # Errors
    /// What is wrong with it.
    pub(crate) fn open(home: &Path, name: &Kid) -> Result<Self, String> {
        let index = Index::open(&index_path(home, name), name)?;
        let data = Data::open(&data_path(home, name))?;
        if index.pack_size() != data.size {
            return Err(format!(
                "it has {} bytes, but its index says {}",
                data.size,
                index.pack_size()
            ));
        }
        Ok(Self { name: *name, data: Arc::new(data), index })
    }

    /// The BLAKE3 of its data file.
    pub(crate) fn name(&self) -> &Kid {
        &self.name
    }

    /// Number of objects.
    pub(crate) fn len(&self) -> usize {
        self.index.len()
    }

    pub(super) fn data(&self) -> &Arc<Data> {
        &self.data
    }

    /// Bytes of its data file.
    pub(crate) fn data_bytes(&self) -> u64 {
        self.data.size
    }

    /// Bytes of its table.
    pub(crate) fn table_bytes(&self) -> usize {
        self.data.table().len()
    }

    /// Bytes on disk: data and index.
    pub(crate) fn disk_bytes(&self, home: &Path) -> u64 {
        let index = std::fs::metadata(index_path(home, &self.name)).map_or(0, |meta| meta.len());
        self.data.size + index
    }

    /// How an object is made; `None`: it is not in this pack.
    pub(crate) fn find(&self, kid: &Kid) -> Option<Result<Recipe, String>> {
        self.index.find(kid).map(|offset| self.data.recipe(offset))
    }

    /// Every object, and how it is made.
    pub(crate) fn recipes(&self) -> impl Iterator<Item = (Kid, Result<Recipe, String>)> {
        self.rows().map(|(kid, offset)| (kid, self.data.recipe(offset)))
    }

    /// An object of this very pack.
    ///
    /// # Errors
    /// What is wrong with its recipe.
    pub(crate) fn found(&self, kid: &Kid) -> Result<Option<Found>, String> {
        let Some(recipe) = self.find(kid) else { return Ok(None) };
        Ok(Some(Found { pack: self.name, data: self.data.clone(), recipe: recipe? }))
    }

    /// A block as it is in the file, its checksum checked.
    ///
    /// # Errors
    /// What is wrong with it.
    pub(crate) fn stored(&self, at: u64) -> Result<Stored, String> {
        self.data.block(at, Vec::new())
    }

    /// KIDs that start with a prefix.
    pub(super) fn candidates(&self, prefix: &KidPrefix, found: &mut Vec<Kid>, limit: usize) {
        self.index.candidates(prefix, found, limit);
    }

    /// All objects, with their places in the table.
    pub(super) fn rows(&self) -> impl Iterator<Item = (Kid, u32)> {
        self.index.rows()
    }

    /// What its objects are built upon.
    pub(crate) fn bases(&self) -> impl Iterator<Item = Base> {
        self.rows().filter_map(|(_, offset)| self.data.recipe(offset).ok()?.base)
    }

    /// The KIDs of all objects, sorted.
    pub(crate) fn kids(&self) -> impl Iterator<Item = Kid> {
        self.rows().map(|(kid, _)| kid)
    }
}
