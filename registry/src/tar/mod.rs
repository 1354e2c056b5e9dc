//! A Keg tree as a tar stream, byte for byte the same every time.
//!
//! The stream depends on the tree's KID and [`RECIPE`] alone: entries in the order of
//! [`walk::Walk`], headers by [`header::encode`], contents padded to blocks, two zero blocks at the
//! end. It is generated in bounded steps, so that one process can serve many and never stalls.

mod header;
mod reader;
mod walk;

pub use reader::{LayerReader, Step};
pub use walk::TarError;

/// Version of the encoding. Raise it whenever the bytes for some tree change: digests that were
/// remembered under another recipe are computed anew.
pub const RECIPE: u64 = 1;
