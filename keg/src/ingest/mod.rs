//! Directories to trees and back: [`ingest`] reads a directory into the store,
//! [`ingest_overlay_upper`] reads only what an overlay's upper directory changed, [`checkout`]
//! writes a tree as plain files.
//!
//! All POSIX metadata that a tree holds is kept: permissions, owner, modification time, extended
//! attributes, hard links, devices and pipes. Sockets are left out, as they mean nothing without
//! their process. Symbolic links are never followed: every step is relative to an open directory.
//!
//! Hard links: names of one inode carry the same [`Attrs::link_group`]. The number comes from the
//! first of those paths in the tree ([`link_group`]), so that the same directory gives the same
//! tree, and a new file elsewhere does not renumber the rest.
//!
//! [`Attrs::link_group`]: crate::object::Attrs::link_group

mod at;
mod checkout;
pub(crate) mod decoders;
mod error;
mod known;
mod links;
mod overlay;
#[cfg(test)]
mod tests;
mod walk;

pub use checkout::checkout;
pub use error::IngestError;
pub use known::KnownFiles;
pub(crate) use links::LinkKey;
pub use links::link_group;
pub use overlay::ingest_overlay_upper;
pub use walk::ingest;

/// Deepest directory that is read or written: one open descriptor a level.
pub const MAX_DEPTH: usize = 256;
/// Most entries of one ingest.
pub const MAX_ENTRIES: u64 = 1 << 22;

use crate::Kid;

/// Whether a path is left out.
pub type Exclude<'a> = &'a dyn Fn(&[u8]) -> bool;

/// How a directory is read.
#[derive(Clone, Copy, Default)]
pub struct IngestOptions<'a> {
    /// Modification times later than this many seconds since 1970 become this (as
    /// `SOURCE_DATE_EPOCH` says), so that builds are reproducible.
    pub clamp_mtime: Option<i64>,
    /// Everything belongs to this user and group.
    pub owner: Option<(u32, u32)>,
    /// Leaves out the paths (relative to the directory, without `/` at either end) for which it
    /// answers true, with all that is below them.
    pub exclude: Option<Exclude<'a>>,
    /// Files that were read before and have not changed since are not read again.
    pub known: Option<&'a KnownFiles>,
    /// What the directory was before: large files of it that have changed in places are stored as
    /// differences to those.
    pub before: Option<Kid>,
}

impl IngestOptions<'_> {
    fn excludes(&self, path: &[u8]) -> bool {
        self.exclude.is_some_and(|exclude| exclude(path))
    }
}
