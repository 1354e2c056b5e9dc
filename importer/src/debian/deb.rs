//! A `.deb` becomes a tree: bounded, and refused rather than repaired.
//!
//! The tree of a package holds
//! - `files/`: what is merged into a root file system, with the merged `/usr`; directories have
//!   time 0, so that merging is independent of the order;
//! - `control/`: the members of `control.tar` as they are;
//! - `list`: the paths as shipped, in the form of dpkg's `info/*.list`;
//! - `package.json`: name, version, arch, hash and size of the `.deb`, sums, the MD5s of its
//!   configuration files (dpkg's `status` wants them), and `newest`, the latest time of a file.

mod control;
mod data;
#[cfg(test)]
mod tests;

use std::io::{self, Read};

use keg::{
    object::{Entry, EntryName, Tree},
    store::{Objects, StoreError},
};
use serde::{Deserialize, Serialize};

pub use control::{Control, ControlError};

use super::{
    ar::{Ar, ArError},
    compress::{Capped, Compression},
    paths::PathError,
    tarball::TarError,
};
use crate::tree::PlaceError;

/// Most bytes that `control.tar` may unpack to.
const MAX_CONTROL: u64 = 64 << 20;
/// Added to what the index says a package unpacks to: directories, headers, rounding.
const SLACK: u64 = 64 << 20;

/// What the verified index says of a package: its promise.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Promise {
    /// The package.
    pub name: String,
    /// Its version.
    pub version: String,
    /// `amd64`, `all`, …
    pub arch: String,
    /// Hash of the `.deb`, in hex.
    pub sha256: String,
    /// Bytes of the `.deb`.
    pub size: u64,
    /// What it unpacks to, in KiB, as its maintainer says.
    pub installed_kib: u64,
}

impl Promise {
    /// `name_version_arch`, with the `:` of an epoch as dpkg writes it in file names.
    pub fn file_stem(&self) -> String {
        format!("{}_{}_{}", self.name, self.version.replace(':', "%3a"), self.arch)
    }

    /// Most bytes the data may unpack to.
    fn data_limit(&self) -> u64 {
        let kib = self.installed_kib.min(u64::MAX / 4096);
        kib * 1024 + kib * 512 + SLACK
    }
}

/// A package's own document, `package.json` in its tree.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct PackageDoc {
    /// What it was promised to be.
    #[serde(flatten)]
    pub promise: Promise,
    /// Number of entries it ships.
    pub entries: u64,
    /// Bytes of its files.
    pub bytes: u64,
    /// Latest modification time of a file, seconds since 1970.
    pub newest: i64,
    /// Configuration files (absolute paths as shipped) and their MD5s in hex.
    pub conffiles: Vec<(String, String)>,
}

/// Why a `.deb` is refused.
#[derive(Debug, thiserror::Error)]
pub enum DebError {
    /// The outer archive.
    #[error(transparent)]
    Ar(#[from] ArError),
    /// A member that should be there, or be another.
    #[error("it has {found} where {expected} should be")]
    Member {
        /// What a `.deb` has there.
        expected: &'static str,
        /// What this one has.
        found: String,
    },
    /// Another format than 2.
    #[error("its format is {0:?}; only 2.x is understood")]
    Format(String),
    /// A compression that is not supported.
    #[error(
        "its member {0:?} is compressed in a way that is not supported (xz, zstd and gzip are)"
    )]
    Compression(String),
    /// The control part.
    #[error(transparent)]
    Control(#[from] ControlError),
    /// An inner archive.
    #[error(transparent)]
    Tar(#[from] TarError),
    /// A path.
    #[error(transparent)]
    Path(#[from] PathError),
    /// An entry that cannot be where it wants to be.
    #[error("{path:?} is refused: {source}")]
    Place {
        /// As shipped.
        path: String,
        /// Why.
        source: PlaceError,
    },
    /// A hard link to something else than an earlier file.
    #[error("{path:?} is a hard link to {target:?}, which is no earlier file of the package")]
    HardLink {
        /// As shipped.
        path: String,
        /// Where it leads.
        target: String,
    },
    /// A file whose bytes end early.
    #[error("{0:?} is truncated")]
    Truncated(String),
    /// The bytes cannot be read or decoded.
    #[error("it cannot be read")]
    Io(#[from] io::Error),
    /// The Keg cannot take it.
    #[error(transparent)]
    Store(#[from] StoreError),
}

/// Unpacks a `.deb`, whose hash was checked, into the tree described above.
///
/// # Errors
/// It is not what `promise` says, is malformed, or holds what a package may not hold.
pub fn unpack(objects: &dyn Objects, deb: impl Read, promise: &Promise) -> Result<Entry, DebError> {
    let mut ar = Ar::open(deb)?;
    expect_format(&mut ar)?;
    let control = {
        let mut reader = member(&mut ar, "control.tar", MAX_CONTROL)?;
        let control = Control::read(objects, &mut reader, promise)?;
        drain(reader)?;
        control
    };
    let data = {
        let mut reader = member(&mut ar, "data.tar", promise.data_limit())?;
        let data = data::read(objects, &mut reader, &control)?;
        drain(reader)?;
        data
    };
    let doc = PackageDoc {
        promise: promise.clone(),
        entries: data.entries,
        bytes: data.bytes,
        newest: data.newest,
        conffiles: data.conffiles,
    };
    let mut tree = Tree::default();
    let json = serde_json::to_value(&doc).expect("because it is plain data");
    for (name, entry) in [
        ("files", data.files),
        ("control", control.tree),
        ("list", objects.put_bytes(&data.list)?),
        ("package.json", objects.put_json(&json)?),
    ] {
        let name = EntryName::new(name).expect("because the names are constant");
        tree.entries.insert(name, entry);
    }
    Ok(objects.put_tree(&tree)?)
}

fn expect_format(ar: &mut Ar<impl Read>) -> Result<(), DebError> {
    let found = ar.next_member()?.map(|m| m.name);
    if found.as_deref() != Some("debian-binary") {
        return Err(wrong_member("debian-binary", found));
    }
    let mut format = String::new();
    ar.take(16).read_to_string(&mut format)?;
    if format.starts_with("2.") { Ok(()) } else { Err(DebError::Format(format)) }
}

/// The next member, which must be `expected` with some compression, decoded.
fn member<'a, R: Read>(
    ar: &'a mut Ar<R>,
    expected: &'static str,
    limit: u64,
) -> Result<Capped<'a>, DebError> {
    let found = ar.next_member()?.map(|m| m.name);
    let Some(suffix) = found.as_deref().and_then(|name| name.strip_prefix(expected)) else {
        return Err(wrong_member(expected, found));
    };
    let Some(compression) = Compression::by_suffix(suffix) else {
        return Err(DebError::Compression(format!("{expected}{suffix}")));
    };
    Ok(compression.decode(ar, limit)?)
}

/// Reads what follows the end of an archive, so that the checksums at its end count.
fn drain(mut reader: Capped<'_>) -> Result<(), DebError> {
    io::copy(&mut reader, &mut io::sink())?;
    Ok(())
}

fn wrong_member(expected: &'static str, found: Option<String>) -> DebError {
    let found = found.map_or("nothing".to_owned(), |name| format!("{name:?}"));
    DebError::Member { expected, found }
}
