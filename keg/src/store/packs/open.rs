//! One pack, open for reading.
//!
//! The data file: `keg-pk2\n`, blocks, the list (KIDs that are mentioned, 32 bytes each), the table
//! (recipes, one after the other), then 48 bytes: offset of the list u64, number of KIDs u64,
//! length of the table u64, number of recipes u64, the first 8 bytes of BLAKE3 of list and table,
//! `keg-en2\n`.
//!
//! The first format has no list: `keg-pak\n`, blocks, the table, then 40 bytes: offset of the table
//! u64, its length u64, number of recipes u64, checksum, `keg-end\n`.

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
    list::Names,
    recipe::{Base, Recipe},
    set::Found,
};
use crate::{Kid, kid::KidPrefix};

/// Begins a data file: the first format, and what is written now.
pub(super) const MAGICS: [&[u8; 8]; 2] = [b"keg-pak\n", b"keg-pk2\n"];
/// Ends it.
pub(super) const ENDS: [&[u8; 8]; 2] = [b"keg-end\n", b"keg-en2\n"];
/// Bytes after the table.
pub(super) const FOOTERS: [usize; 2] = [40, 48];
/// Bytes of each magic.
pub(super) const MAGIC: usize = 8;
/// Bytes of a KID in the list.
const NAME: usize = 32;

/// The data of a pack: blocks, list and table.
pub(crate) struct Data {
    file: File,
    size: u64,
    /// Where the blocks end.
    end: u64,
    /// List and table.
    map: Option<Mmap>,
    /// Bytes of the list; `None`: the first format.
    list: Option<usize>,
    recipes: usize,
}

/// What the end of a data file says.
struct Footer {
    /// Where the blocks end.
    at: u64,
    names: u64,
    table: u64,
    recipes: u64,
    sum: [u8; 8],
}

impl Footer {
    /// From the last bytes of a file of either format.
    fn read(format: usize, bytes: &[u8]) -> Self {
        let part = |n: usize| bytes[n * 8..].first_chunk().copied().unwrap_or_default();
        let long = |n| u64::from_le_bytes(part(n));
        match format {
            0 => Self { at: long(0), names: 0, table: long(1), recipes: long(2), sum: part(3) },
            _ => {
                Self { at: long(0), names: long(1), table: long(2), recipes: long(3), sum: part(4) }
            }
        }
    }

    /// Bytes of list and table, if they fill what is before `end`.
    fn bytes(&self, end: u64) -> Option<usize> {
        let len = self.names.checked_mul(NAME as u64)?.checked_add(self.table)?;
        let fits = self.at >= MAGIC as u64
            && self.at.checked_add(len) == Some(end)
            && len <= MAX_TABLE as u64
            && self.recipes <= (MAX_OBJECTS as u64).min(self.table);
        fits.then_some(len as usize)
    }
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
        let (mut magic, mut footer) = ([0; MAGIC], [0; FOOTERS[1]]);
        if size < (MAGIC + FOOTERS[0]) as u64 {
            return Err(format!("it has {size} bytes, fewer than any pack"));
        }
        file.read_exact_at(&mut magic, 0).map_err(unreadable)?;
        let known = MAGICS.iter().position(|known| **known == magic);
        let format = known.filter(|format| size >= (MAGIC + FOOTERS[*format]) as u64);
        let wrong = || "it does not begin or end like a pack; it may be cut off".to_owned();
        let format = format.ok_or_else(wrong)?;
        let footer = &mut footer[..FOOTERS[format]];
        let end = size - footer.len() as u64;
        file.read_exact_at(footer, end).map_err(unreadable)?;
        if !footer.ends_with(ENDS[format]) {
            return Err(wrong());
        }
        let footer = Footer::read(format, footer);
        let len = footer.bytes(end).ok_or("its table is not where it says")?;
        let map = (len > 0)
            // SAFETY: data files never change after they have their name.
            .then(|| unsafe { MmapOptions::new().offset(footer.at).len(len).map(&file) })
            .transpose()
            .map_err(unreadable)?;
        let list = (format > 0).then_some(footer.names as usize * NAME);
        let data = Self { file, size, end: footer.at, map, list, recipes: footer.recipes as usize };
        if blake3::hash(data.mapped()).as_bytes()[..8] != footer.sum {
            return Err("its table fails its checksum".to_owned());
        }
        Ok(data)
    }

    fn mapped(&self) -> &[u8] {
        self.map.as_deref().unwrap_or_default()
    }

    fn table(&self) -> &[u8] {
        &self.mapped()[self.list.unwrap_or(0)..]
    }

    /// The KIDs that are mentioned.
    pub(super) fn names(&self) -> Names<'_> {
        match self.list {
            Some(len) => Names::Listed(&self.mapped()[..len]),
            None => Names::InPlace,
        }
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
        self.recipe_and_len(offset).map(|(recipe, _)| recipe)
    }

    fn recipe_and_len(&self, offset: u32) -> Result<(Recipe, usize), String> {
        let bytes = self.table().get(offset as usize..).unwrap_or_default();
        let decoded = Recipe::decode(bytes, self.names());
        decoded.map_err(|error| format!("its recipe at {offset}: {error}"))
    }

    /// All recipes with their offsets, in the order in which they were packed: a base that is in
    /// the same pack comes before what is a difference to it. Ends after the first that is wrong.
    pub(super) fn recipes(&self) -> impl Iterator<Item = Result<(u32, Recipe), String>> {
        let (mut at, mut left) = (0u32, self.recipes);
        std::iter::from_fn(move || {
            left = left.checked_sub(1)?;
            Some(match self.recipe_and_len(at) {
                Ok((recipe, len)) => {
                    let found = Ok((at, recipe));
                    at = at.saturating_add(len as u32);
                    found
                }
                Err(what) => {
                    left = 0;
                    Err(what)
                }
            })
        })
    }

    /// The block at an offset, read into `memory`.
    ///
    /// # Errors
    /// What is wrong with it.
    pub(super) fn block(&self, at: u64, memory: Vec<u8>) -> Result<Stored, String> {
        if at < MAGIC as u64 {
            return Err(format!("there is no block at {at}"));
        }
        Stored::read(&self.file, at, self.end, memory)
    }
}

impl Pack {
    /// Opens a pack and checks its index and its table.
    ///
    /// # Errors
    /// What is wrong with it.
    pub(crate) fn open(home: &Path, name: &Kid) -> Result<Self, String> {
        Self::open_in(&directory(home), name)
    }

    /// As [`Pack::open`], in any directory.
    ///
    /// # Errors
    /// As there.
    pub(super) fn open_in(dir: &Path, name: &Kid) -> Result<Self, String> {
        let path = |kind| dir.join(format!("{}.{kind}", name.to_hex()));
        let index = Index::open(&path("idx"), name)?;
        let data = Data::open(&path("pack"))?;
        if index.pack_size() != data.size {
            return Err(format!(
                "it has {} bytes, but its index says {}",
                data.size,
                index.pack_size()
            ));
        }
        let index = index.ordered(data.names())?;
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

    /// Bytes of its table, with the KIDs that it mentions.
    pub(crate) fn table_bytes(&self) -> usize {
        self.data.mapped().len()
    }

    /// Bytes on disk: data and index.
    pub(crate) fn disk_bytes(&self, home: &Path) -> u64 {
        let index = std::fs::metadata(index_path(home, &self.name)).map_or(0, |meta| meta.len());
        self.data.size + index
    }

    /// How an object is made; `None`: it is not in this pack.
    pub(crate) fn find(&self, kid: &Kid) -> Option<Result<Recipe, String>> {
        self.index.find(kid, self.data.names()).map(|offset| self.data.recipe(offset))
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
        self.index.candidates(prefix, self.data.names(), found, limit);
    }

    /// All objects, with their places in the table.
    pub(super) fn rows(&self) -> impl Iterator<Item = (Kid, u32)> {
        self.index.rows(self.data.names())
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
