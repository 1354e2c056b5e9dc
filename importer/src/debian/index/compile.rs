//! From `Packages` to a compiled index.

use std::collections::{BTreeMap, HashMap};

use keg::{
    object::{Entry, EntryName, Tree},
    store::Objects,
};

use super::{ESSENTIAL, HEADER, IndexError, MAGIC, package};
use crate::debian::{
    deb822::{self, Stanza},
    relation, version,
};

/// Fields that a compiled index keeps.
pub const KEPT: [&str; 15] = [
    "Package",
    "Version",
    "Architecture",
    "Priority",
    "Essential",
    "Pre-Depends",
    "Depends",
    "Conflicts",
    "Breaks",
    "Replaces",
    "Provides",
    "Installed-Size",
    "Filename",
    "Size",
    "SHA256",
];
/// A chunk ends after the stanza that makes it at least this large.
const CHUNK: usize = 48 * 1024;
/// Most packages and most provided names.
const MAX_COUNT: usize = 2_000_000;

/// Collects the packages of several origins. Borrows their text.
pub struct Compiler<'a> {
    arch: &'a str,
    found: BTreeMap<&'a [u8], Found<'a>>,
}

struct Found<'a> {
    stanza: Stanza<'a>,
    version: &'a str,
    origin: u8,
}

impl<'a> Compiler<'a> {
    /// An index for machines of this architecture.
    pub fn new(arch: &'a str) -> Self {
        Self { arch, found: BTreeMap::new() }
    }

    /// Adds the packages of a `Packages` file from the origin with this number.
    ///
    /// # Errors
    /// A stanza lacks its name or version.
    pub fn add(&mut self, packages: &'a [u8], origin: u8) -> Result<(), IndexError> {
        for stanza in deb822::stanzas(packages) {
            let (mut name, mut version, mut arch) = (&b""[..], "", &b""[..]);
            for (field, value) in stanza.fields() {
                match field {
                    b"Package" => name = value,
                    b"Version" => version = std::str::from_utf8(value).unwrap_or_default(),
                    b"Architecture" => arch = value,
                    _ => continue,
                }
                if !name.is_empty() && !version.is_empty() && !arch.is_empty() {
                    break;
                }
            }
            if name.is_empty() || version.is_empty() || name.len() > 256 {
                let package = String::from_utf8_lossy(&name[..name.len().min(80)]).into_owned();
                let reason = "it lacks a name or version".to_owned();
                return Err(IndexError::Stanza { package, reason });
            }
            if arch != b"all" && arch != self.arch.as_bytes() {
                continue;
            }
            let newer = |old: &Found| version::compare(old.version, version).is_lt();
            if self.found.get(name).is_none_or(newer) {
                self.found.insert(name, Found { stanza, version, origin });
            }
        }
        match self.found.len() > MAX_COUNT {
            true => Err(IndexError::TooLarge("it has too many packages")),
            false => Ok(()),
        }
    }

    /// Writes the index; the entry is its tree.
    ///
    /// # Errors
    /// It is too large for the format, or the store's.
    pub fn write(self, objects: &dyn Objects) -> Result<Entry, IndexError> {
        let mut tables = Tables::default();
        let mut tree = Tree::default();
        let mut chunk = Vec::new();
        let mut chunks: u32 = 0;
        for (number, (name, found)) in self.found.into_iter().enumerate() {
            let start = chunk.len() as u32;
            let flags = tables.take(number, name, &found, &mut chunk)?;
            tables.package(name, chunks, start, flags, found.origin)?;
            if chunk.len() >= CHUNK {
                put_chunk(objects, &mut tree, chunks, &mut chunk)?;
                chunks += 1;
            }
        }
        put_chunk(objects, &mut tree, chunks, &mut chunk)?;
        tree.entries.insert(entry_name("table"), objects.put_bytes(&tables.bytes()?)?);
        Ok(objects.put_tree(&tree)?)
    }
}

fn entry_name(name: &str) -> EntryName {
    EntryName::new(name).expect("because the names are the importer's own")
}

fn put_chunk(
    objects: &dyn Objects,
    tree: &mut Tree,
    number: u32,
    chunk: &mut Vec<u8>,
) -> Result<(), IndexError> {
    if !chunk.is_empty() {
        // Tree entries are in byte order, so the numbers have leading zeros.
        tree.entries.insert(entry_name(&format!("chunk-{number:06}")), objects.put_bytes(chunk)?);
        chunk.clear();
    }
    Ok(())
}

/// The parts of `table` while they grow.
#[derive(Default)]
struct Tables {
    packages: Vec<u8>,
    names: Vec<u8>,
    /// Provided names: text → numbers of packages.
    provided: BTreeMap<String, Vec<u32>>,
    /// Where each name is, so that none is there twice.
    places: HashMap<Vec<u8>, u32>,
}

impl Tables {
    /// Cuts a stanza down into the chunk, notes what it provides, and returns its flags.
    fn take(
        &mut self,
        number: usize,
        name: &[u8],
        found: &Found<'_>,
        chunk: &mut Vec<u8>,
    ) -> Result<u8, IndexError> {
        let mut flags = package::priority("");
        for (field, value) in found.stanza.fields() {
            let kept = |k: &str| k.as_bytes().eq_ignore_ascii_case(field);
            if !KEPT.iter().any(|k| kept(k)) {
                continue;
            }
            chunk.extend_from_slice(field);
            chunk.extend_from_slice(b": ");
            chunk.extend_from_slice(value);
            chunk.push(b'\n');
            let text = std::str::from_utf8(value).unwrap_or_default();
            match field {
                b"Priority" => flags = flags & ESSENTIAL | package::priority(text),
                b"Essential" if text == "yes" => flags |= ESSENTIAL,
                b"Provides" => {
                    let groups = relation::parse(text).map_err(|e| IndexError::Stanza {
                        package: String::from_utf8_lossy(name).into_owned(),
                        reason: e.to_string(),
                    })?;
                    for relation in groups.into_iter().flatten() {
                        self.provided.entry(relation.name).or_default().push(number as u32);
                    }
                }
                _ => {}
            }
        }
        chunk.push(b'\n');
        Ok(flags)
    }

    fn package(
        &mut self,
        name: &[u8],
        chunk: u32,
        offset: u32,
        flags: u8,
        origin: u8,
    ) -> Result<(), IndexError> {
        let (place, len) = self.name(name)?;
        for part in [place.to_le_bytes(), chunk.to_le_bytes(), offset.to_le_bytes()] {
            self.packages.extend_from_slice(&part);
        }
        self.packages.extend_from_slice(&len.to_le_bytes());
        self.packages.extend_from_slice(&[flags, origin]);
        Ok(())
    }

    fn name(&mut self, name: &[u8]) -> Result<(u32, u16), IndexError> {
        let too_large = |_| IndexError::TooLarge("its names are too long");
        let len = u16::try_from(name.len()).map_err(too_large)?;
        if let Some(place) = self.places.get(name) {
            return Ok((*place, len));
        }
        let place = u32::try_from(self.names.len()).map_err(too_large)?;
        self.names.extend_from_slice(name);
        self.places.insert(name.to_vec(), place);
        Ok((place, len))
    }

    fn bytes(mut self) -> Result<Vec<u8>, IndexError> {
        let mut provided = Vec::new();
        for (name, numbers) in std::mem::take(&mut self.provided) {
            let (place, len) = self.name(name.as_bytes())?;
            for number in numbers {
                provided.extend_from_slice(&place.to_le_bytes());
                provided.extend_from_slice(&number.to_le_bytes());
                provided.extend_from_slice(&len.to_le_bytes());
                provided.extend_from_slice(&[0, 0]);
            }
        }
        let count = |bytes: usize, each: usize| {
            let count = Some(bytes / each).filter(|n| *n <= MAX_COUNT * 16);
            let count = count.and_then(|n| u32::try_from(n).ok());
            count.map(u32::to_le_bytes).ok_or(IndexError::TooLarge("its table is too long"))
        };
        let mut out = Vec::with_capacity(HEADER + self.packages.len() + self.names.len());
        out.extend_from_slice(MAGIC);
        out.extend_from_slice(&count(self.packages.len(), super::PACKAGE)?);
        out.extend_from_slice(&count(provided.len(), super::PROVIDED)?);
        out.extend_from_slice(&count(self.names.len(), 1)?);
        for part in [&self.packages, &provided, &self.names] {
            out.extend_from_slice(part);
        }
        Ok(out)
    }
}
