//! The Keg: one versioned, hierarchical namespace of immutable values.
//!
//! Bottom up: [`kid`] (identities), [`object`] (blobs, trees, commits and their bytes), [`store`]
//! (where objects live), [`names`] (the versioned namespace over them), [`watch`], [`stream`]
//! (open logs), [`ingest`] and [`union`] (directories and trees to trees), [`mount`] (a tree as a
//! read-only or writable file system), [`fsck`].

pub mod kid;
pub mod object;
pub mod path;

pub use kid::Kid;
