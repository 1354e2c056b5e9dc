//! EROFS images that hold a tree's metadata, as composefs uses them: the kernel's read-only file
//! system for names, attributes and small files, while the bytes of larger files stay raw objects
//! of the store.
//!
//! ```text
//! byte 0      what Keg knows about the image: magic, length, BLAKE3 of the rest   (1024 bytes)
//! byte 1024   superblock, 128 bytes; the root inode follows at byte 1152
//!             inodes, each followed by its xattrs and its inline data or chunk index
//!             extended attributes that several inodes share
//! block n     full blocks of large directories (block size 4096)
//! ```
//!
//! Specified by the kernel's `Documentation/filesystems/erofs.rst` and `fs/erofs/erofs_fs.h`.
//! Everything written here is understood by Linux 6.12 and newer, the first that mounts an image
//! from a file without a loop device.
//!
//! Three steps, each ignorant of the next: [`compose()`] turns a Keg tree into an [`Image`] (which
//! names, which inodes, which overlay attributes), `layout` decides where each inode goes, and
//! [`write()`] writes the bytes. [`compose_delta`] is the other way to compose. Equal trees give
//! equal bytes: the order is the tree's, times are the entries', and the UUID comes from the KID.

pub mod compose;
pub mod delta;
mod dir;
mod format;
mod layout;
pub mod model;
#[cfg(test)]
pub(crate) mod tests;
mod write;
mod xattr;

use crate::kid::Kid;
pub use compose::compose;
pub use delta::{Composed, Most, compose_delta};
pub use model::{Dirent, Image, Inode, InodeKind};
pub use write::{Base, HEADER_LEN, Header, Written, write, write_delta};

/// Files up to this many bytes are held in the image; larger ones are raw files of the store,
/// which the kernel opens. Measured: 2048 halves their number, 4096 is refused by the kernel.
pub const INLINE_MAX: u64 = crate::store::INLINE_MAX as u64;
/// Largest file, in bytes.
pub const MAX_FILE: u64 = 1 << 48;
/// Most inodes in one image.
pub const MAX_INODES: usize = 1 << 22;
/// Largest image, in bytes.
pub const MAX_IMAGE: u64 = 4 << 30;
/// Largest total of the inode's own extended attributes that the format can hold, in bytes.
pub const MAX_XATTRS: usize = 0xffff * 4;

/// Why an image could not be made.
#[derive(Debug, thiserror::Error)]
pub enum ErofsError {
    /// An object of the tree could not be read.
    #[error("cannot read {path} of {tree} to make its image")]
    Read {
        /// The tree the image is of.
        tree: Kid,
        /// The entry.
        path: String,
        /// What the store said.
        #[source]
        source: crate::store::StoreError,
    },
    /// The tree says one size and the blob has another.
    #[error("{path} of {tree} should have {expected} bytes, but {kid} has {found}; run `keg fsck`")]
    Size {
        /// The tree.
        tree: Kid,
        /// The entry.
        path: String,
        /// Its blob.
        kid: Kid,
        /// The size in the tree.
        expected: u64,
        /// The size in the store.
        found: u64,
    },
    /// Something that a file system cannot show.
    #[error("{path} of {tree} cannot be mounted: {reason}")]
    Unsupported {
        /// The tree.
        tree: Kid,
        /// The entry.
        path: String,
        /// Why, in words.
        reason: String,
    },
    /// A bound was passed.
    #[error("the image would have more than {limit} {what}; mount a smaller part of the tree")]
    TooLarge {
        /// What there is too much of.
        what: &'static str,
        /// The bound.
        limit: u64,
    },
    /// An inode of the model breaks a rule of the format (our own mistake, not the tree's).
    #[error("inode {inode} of the image: {reason}")]
    Model {
        /// Which inode.
        inode: usize,
        /// What is wrong.
        reason: &'static str,
    },
    /// The image could not be written.
    #[error("cannot write the image")]
    Write(#[from] std::io::Error),
}
