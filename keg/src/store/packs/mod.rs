//! Packs: where large objects are kept that nothing uses at present.
//!
//! ```text
//! packs/<hex>.pack  blocks (zstd frames), KIDs, then a table: how each object is made of them
//! packs/<hex>.idx   the objects sorted by their KIDs, and their places in the table; derived
//! packs/epoch       counts how often loose objects were removed, see `keg::pack`
//! ```
//! `<hex>` is the BLAKE3 of the data file. A pack never changes and is complete and durable when
//! its index has its name. The bytes are specified in `docs/store.md`, "Packs".
//!
//! This module reads and writes packs; what goes into them is decided in [`crate::pack`].

mod aside;
mod audit;
mod block;
pub(crate) mod decoders;
mod index;
mod list;
mod locks;
mod open;
mod read;
mod recipe;
mod set;
#[cfg(test)]
mod tests;
mod write;

pub(crate) use aside::{aside_kids, put_aside, revive};
pub(crate) use audit::{audit_packs, rebuild_index};
pub(crate) use block::{Stored, bare, compress};
pub use locks::Removing;
pub(crate) use locks::{alone, alone_now, epoch, objects_lock};
pub(crate) use open::{Pack, data_path};
pub(crate) use read::{PackedBlob, Prefer};
pub(crate) use recipe::{Base, Piece, Recipe, Source, Within};
pub(crate) use set::{Found, PackSet};
pub(crate) use write::{PackWriter, remove_pack, settle};

/// The feature in `format.json` without which a Keg with packs cannot be read.
pub(crate) const FEATURE: &str = "packs";
/// The feature without which a Keg cannot be read that has trees in packs.
pub(crate) const TREES: &str = "packed-trees";
/// The feature without which packs cannot be read that list the KIDs they mention: all that are
/// written now.
pub(crate) const LISTED: &str = "listed-packs";
/// The feature without which packs cannot be read that have a block above [`NARROW`].
pub(crate) const WIDE: &str = "wide-frames";
/// Most bytes in a block, unpacked: 8 MiB. What a random read costs at most.
pub(crate) const MAX_BLOCK: usize = 8 << 20;
/// Most bytes in a block that programs read which do not know [`WIDE`]: 4 MiB.
pub(crate) const NARROW: usize = 4 << 20;
/// Most bytes of a base that a block is packed behind: 8 MiB.
pub(crate) const MAX_PREFIX: usize = 8 << 20;
/// Longest chain of objects each of which is a difference to the next.
pub(crate) const MAX_DEPTH: u8 = 8;
/// Most objects in a pack.
pub(crate) const MAX_OBJECTS: usize = 256 << 10;
/// Longest frame that a recipe has in itself: a block of its own would cost 25 bytes more, but the
/// tables of all packs are read when they are opened.
pub(crate) const MAX_WITHIN: usize = 4 << 10;
/// Most bytes in a pack's table, with the KIDs that it mentions.
pub(crate) const MAX_TABLE: usize = 1 << 30;

/// `packs/` in a Keg's directory.
pub(crate) fn directory(home: &std::path::Path) -> std::path::PathBuf {
    home.join("packs")
}

/// How people are told of a pack.
pub(crate) fn display(name: &crate::Kid) -> String {
    format!("packs/{}.pack", name.to_hex())
}
