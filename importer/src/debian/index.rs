//! A suite's packages as a compiled index: opened in milliseconds, read only where it is needed.
//!
//! The index is a tree: `table`, and `chunk-00000`, … of a few dozen KiB. `table` holds, all
//! numbers little-endian:
//!
//! | bytes | what |
//! |---|---|
//! | 16 | [`MAGIC`] |
//! | 4 × 3 | number of packages, number of provided names, bytes of names |
//! | 16 each | packages in byte order of their names: name, chunk (4), offset in it (4), … |
//! | 12 each | provided names in byte order: name, number of the package (4), … |
//! | … | the names |
//!
//! A package's row is the offset of its name (4), chunk (4), offset in the chunk (4), length of the
//! name (2), flags (1), origin (1); a provided name's is the offset of the name (4), number of the
//! package (4), length of the name (2), zero (2).
//!
//! A chunk is deb822: the stanzas of `Packages`, cut down to [`KEPT`]. Where several origins have a
//! package, the highest version is kept, the first origin among equals, as apt's candidate is.

mod compile;
mod near;
mod package;
#[cfg(test)]
mod tests;

use std::{
    cell::RefCell,
    collections::{HashMap, btree_map::BTreeMap},
    rc::Rc,
};

use keg::{
    Kid,
    store::{Objects, StoreError},
};

pub use compile::{Compiler, KEPT};
pub use package::{MAX_DEB, Package, Provided};

use super::deb822;

/// First bytes of a table.
pub const MAGIC: &[u8; 16] = b"keg-deb-index-1\n";
const HEADER: usize = 28;
const PACKAGE: usize = 16;
const PROVIDED: usize = 12;

/// The package is `Essential: yes`.
const ESSENTIAL: u8 = 0x80;
/// Where the priority is: 0 required, 1 important, 2 standard, 3 optional, 4 extra.
const PRIORITY: u8 = 0x07;

/// Why an index cannot be made or read.
#[derive(Debug, thiserror::Error)]
pub enum IndexError {
    /// A stanza of `Packages` that is none.
    #[error("the package index has a malformed stanza ({package}): {reason}")]
    Stanza {
        /// The package, if it says so.
        package: String,
        /// What is wrong.
        reason: String,
    },
    /// A compiled index that is none.
    #[error("the compiled package index {0} is damaged; import the suite again with --refresh")]
    Damaged(&'static str),
    /// More than the format holds.
    #[error("the package index is too large: {0}")]
    TooLarge(&'static str),
    /// The Keg's.
    #[error(transparent)]
    Store(#[from] StoreError),
}

/// The number of a package in its index.
pub type Id = u32;

/// An open index.
pub struct Index<'a> {
    objects: &'a dyn Objects,
    table: Vec<u8>,
    packages: usize,
    provided: usize,
    chunks: Vec<Kid>,
    texts: RefCell<HashMap<u32, Rc<Vec<u8>>>>,
    parsed: RefCell<HashMap<Id, Rc<Package>>>,
}

impl<'a> Index<'a> {
    /// Opens the index whose tree is `kid`.
    ///
    /// # Errors
    /// It is not there or damaged.
    pub fn open(objects: &'a dyn Objects, kid: &Kid) -> Result<Self, IndexError> {
        let mut entries: BTreeMap<_, _> = objects.tree(kid)?.entries;
        let table = entries.remove(&b"table"[..]).and_then(|entry| entry.kid());
        let table = objects.blob(&table.ok_or(IndexError::Damaged("has no table"))?)?;
        let chunks = entries.values().filter_map(|entry| entry.kid()).collect();
        let number = |at: usize| read_u32(&table, at).map(|n| n as usize);
        let counts = (number(16), number(20), number(24));
        let (Some(packages), Some(provided), Some(names)) = counts else {
            return Err(IndexError::Damaged("has no header"));
        };
        let expected = packages
            .checked_mul(PACKAGE)
            .zip(provided.checked_mul(PROVIDED))
            .and_then(|(a, b)| a.checked_add(b)?.checked_add(names)?.checked_add(HEADER));
        if !table.starts_with(MAGIC) || expected != Some(table.len()) {
            return Err(IndexError::Damaged("has another size than its header says"));
        }
        let (texts, parsed) = (RefCell::default(), RefCell::default());
        Ok(Self { objects, table, packages, provided, chunks, texts, parsed })
    }

    /// Number of packages.
    pub fn len(&self) -> usize {
        self.packages
    }

    /// Whether it holds no package.
    pub fn is_empty(&self) -> bool {
        self.packages == 0
    }

    /// The package of this name.
    pub fn find(&self, name: &str) -> Option<Id> {
        let at = partition(self.packages, |i| self.package_name(i) < name.as_bytes());
        (at < self.packages && self.package_name(at) == name.as_bytes()).then_some(at as Id)
    }

    /// The packages that provide this name, by name.
    pub fn providers(&self, name: &str) -> Vec<Id> {
        let first = partition(self.provided, |i| self.provided_name(i) < name.as_bytes());
        let same = (first..self.provided).take_while(|i| self.provided_name(*i) == name.as_bytes());
        same.filter_map(|i| read_u32(&self.table, self.provided_at(i) + 4)).collect()
    }

    /// The packages that are Essential or of priority `required`.
    pub fn base(&self) -> Vec<Id> {
        let flags =
            |i: usize| self.table.get(HEADER + i * PACKAGE + 14).copied().unwrap_or(PRIORITY);
        let wanted = |i: &usize| flags(*i) & ESSENTIAL != 0 || flags(*i) & PRIORITY == 0;
        (0..self.packages).filter(wanted).map(|i| i as Id).collect()
    }

    /// The package with this number.
    ///
    /// # Errors
    /// The index is damaged or cannot be read.
    pub fn package(&self, id: Id) -> Result<Rc<Package>, IndexError> {
        if let Some(package) = self.parsed.borrow().get(&id) {
            return Ok(package.clone());
        }
        let damaged = IndexError::Damaged("points outside itself");
        let at = HEADER + id as usize * PACKAGE;
        let place = (read_u32(&self.table, at + 4), read_u32(&self.table, at + 8));
        let ((Some(chunk), Some(offset)), true) = (place, (id as usize) < self.packages) else {
            return Err(damaged);
        };
        let text = self.chunk(chunk)?;
        let origin = self.table[at + 15];
        let rest = text.get(offset as usize..).ok_or(damaged)?;
        let stanza = deb822::stanzas(rest).next().ok_or(IndexError::Damaged("lacks a stanza"))?;
        let package = Rc::new(Package::read(id, stanza, origin)?);
        self.parsed.borrow_mut().insert(id, package.clone());
        Ok(package)
    }

    /// Up to `most` names that are written almost like `name`, nearest first.
    pub fn near(&self, name: &str, most: usize) -> Vec<String> {
        let names = (0..self.packages).map(|i| self.package_name(i));
        near::nearest(name, names.filter_map(|n| std::str::from_utf8(n).ok()), most)
    }

    fn chunk(&self, number: u32) -> Result<Rc<Vec<u8>>, IndexError> {
        if let Some(text) = self.texts.borrow().get(&number) {
            return Ok(text.clone());
        }
        let kid = self.chunks.get(number as usize).ok_or(IndexError::Damaged("lacks a chunk"))?;
        let text = Rc::new(self.objects.blob(kid)?);
        self.texts.borrow_mut().insert(number, text.clone());
        Ok(text)
    }

    fn package_name(&self, i: usize) -> &[u8] {
        let at = HEADER + i * PACKAGE;
        self.name(at, at + 12)
    }

    fn provided_at(&self, i: usize) -> usize {
        HEADER + self.packages * PACKAGE + i * PROVIDED
    }

    fn provided_name(&self, i: usize) -> &[u8] {
        let at = self.provided_at(i);
        self.name(at, at + 8)
    }

    /// The name whose offset and length stand at these places; empty if they lie.
    fn name(&self, offset_at: usize, len_at: usize) -> &[u8] {
        let names = &self.table[self.provided_at(self.provided)..];
        let offset = read_u32(&self.table, offset_at).unwrap_or(u32::MAX) as usize;
        let len = self.table.get(len_at..len_at + 2);
        let len = len.map_or(0, |b| usize::from(u16::from_le_bytes([b[0], b[1]])));
        names.get(offset..offset.saturating_add(len)).unwrap_or_default()
    }
}

fn read_u32(bytes: &[u8], at: usize) -> Option<u32> {
    let four = bytes.get(at..at.checked_add(4)?)?;
    Some(u32::from_le_bytes(four.try_into().ok()?))
}

/// The first number below `count` for which `before` is false, as it is true only for the first.
fn partition(count: usize, before: impl Fn(usize) -> bool) -> usize {
    let (mut low, mut high) = (0, count);
    while low < high {
        let middle = low + (high - low) / 2;
        if before(middle) {
            low = middle + 1;
        } else {
            high = middle;
        }
    }
    low
}
