//! Receiving a pack: one pass that finds every object's id, checks it, and prepares what is kept.
//!
//! ```text
//! wire ─► input ─► spool (the pack's bytes, in memory or in an unlinked file)
//!           │
//!           ├─ whole objects: inflate once ─► SHA-1 (collision detecting) + fsck + links + BLAKE3
//!           └─ deltas: remembered ─► resolve ─► the same
//!                                        └─ thin: bases appended from the app's earlier packs
//! ```
//!
//! Memory is bounded whatever the pack claims: buffers above [`HEAP_BUFFER`] live in unlinked files,
//! kept contents are capped by [`CACHE_BYTES`], and all work is paid from a [`Budget`] that grows
//! with the bytes really received, so that a small pack cannot cause much work.

mod budget;
mod buffer;
mod cache;
mod delta;
mod error;
mod index;
mod inflate;
mod input;
mod reader;
mod receive;
mod resolve;
mod spool;

pub(crate) use budget::Budget;
pub(crate) use buffer::Buffer;
pub(crate) use cache::{Cache, Object, PackKey};
pub(crate) use error::PackError;
pub(crate) use reader::{Pack, PackSet};
pub(crate) use receive::{Received, receive};
pub(crate) use spool::PackBytes;

/// Most objects in one pack. Each costs about 100 bytes of memory while it is received.
pub(crate) const MAX_OBJECTS: u32 = 2_000_000;
/// Largest object, in bytes, once inflated.
pub(crate) const MAX_OBJECT_BYTES: u64 = 2 << 30;
/// Largest commit, tree or tag: they are held whole in memory.
pub(crate) const MAX_META_BYTES: u64 = 32 << 20;
/// Largest set of delta instructions for one object.
pub(crate) const MAX_DELTA_BYTES: u64 = 64 << 20;
/// Buffers above this size are unlinked files rather than heap.
pub(crate) const HEAP_BUFFER: usize = 8 << 20;
/// Blobs above this size are hashed while they are inflated, and never held.
pub(crate) const STREAM_BLOB: u64 = 1 << 20;
/// Most bytes of inflated objects that are kept for reuse.
pub(crate) const CACHE_BYTES: usize = 64 << 20;
