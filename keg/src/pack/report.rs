//! What packing and unpacking tell: errors, progress, results.

use serde::{Deserialize, Serialize};

use crate::{Kid, names::NamesError, store::StoreError};

/// Why packing or unpacking stopped. Nothing is lost, whenever it stops.
#[derive(Debug, thiserror::Error)]
pub enum PackError {
    /// Another process packs this Keg.
    #[error("another process is packing this Keg; wait until it has finished")]
    Busy,
    /// The store failed.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// The names could not be read.
    #[error(transparent)]
    Names(#[from] NamesError),
}

/// Which objects are packed. What is mounted never is.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Which {
    /// What no current name needs: older versions.
    #[default]
    Cold,
    /// What current names need, too: for a Keg that only keeps.
    All,
}

/// zstd's level for solid frames, unless another is asked for.
pub(super) const LEVEL: i32 = 9;

/// How to pack.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct PackOptions {
    /// Which objects.
    pub which: Which,
    /// Trees that stay loose although they are cold, such as leased ones.
    pub keep: Vec<Kid>,
    /// zstd's level for solid frames, 1 to 19.
    pub level: i32,
    /// A pack with this many bytes is finished, and another is begun.
    pub max_pack: u64,
}

impl Default for PackOptions {
    fn default() -> Self {
        Self { which: Which::Cold, keep: Vec::new(), level: LEVEL, max_pack: 1 << 30 }
    }
}

/// What is being done.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Phase {
    /// Following names and versions.
    #[default]
    Looking,
    /// Writing packs.
    Packing,
    /// Reading what was written.
    Checking,
    /// Removing loose files.
    Removing,
    /// Joining packs, and rewriting the log without what is packed of it.
    Joining,
    /// Writing loose files.
    Unpacking,
}

/// How far it has come, in this phase.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default, Serialize, Deserialize)]
pub struct Progress {
    /// What is being done.
    pub phase: Phase,
    /// Objects done.
    pub objects: u64,
    /// Objects in all; 0: not known.
    pub of_objects: u64,
    /// Bytes done.
    pub bytes: u64,
    /// Bytes in all; 0: not known.
    pub of_bytes: u64,
}

/// How objects were packed.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default, Serialize, Deserialize)]
pub struct Counts {
    /// Objects in solid frames.
    pub solid: u64,
    /// Their bytes.
    pub solid_bytes: u64,
    /// Objects packed as differences to what had their path before.
    pub patched: u64,
    /// Their bytes.
    pub patched_bytes: u64,
    /// Large objects cut into chunks.
    pub chunked: u64,
    /// Their bytes.
    pub chunked_bytes: u64,
    /// Small blobs, that were in the log, of all these.
    #[serde(default)]
    pub small: u64,
    /// Their bytes.
    #[serde(default)]
    pub small_bytes: u64,
    /// Trees, of all these.
    pub trees: u64,
    /// Their bytes.
    pub tree_bytes: u64,
}

/// What packing did.
#[derive(Clone, PartialEq, Debug, Default, Serialize, Deserialize)]
pub struct Report {
    /// Objects written to new packs.
    pub objects: u64,
    /// Their bytes.
    pub bytes: u64,
    /// How they were packed.
    pub counts: Counts,
    /// The new packs, by the hex of their names.
    pub packs: Vec<String>,
    /// Bytes of the new packs on the disk, with their indexes.
    pub packed_bytes: u64,
    /// Large cold objects that were in packs already.
    pub already: u64,
    /// Loose files that were removed.
    pub removed: u64,
    /// Their bytes.
    pub removed_bytes: u64,
    /// Packs that were joined.
    pub joined: JoinReport,
    /// Bytes of the log's segments that trees and small blobs left, before and after.
    pub log: (u64, u64),
    /// Large loose objects left because names or mounts use them.
    pub hot: u64,
    /// Objects that are not what their KIDs say: left alone, `keg fsck` says what uses them.
    pub damaged: Vec<Kid>,
    /// Trees and commits that could not be read: what only they lead to was left alone.
    pub unreadable: u64,
    /// Indexes that were lost or damaged and were made again.
    pub indexes: u64,
    /// How long it took.
    pub seconds: f64,
}

/// What joining packs did.
#[derive(Clone, PartialEq, Eq, Debug, Default, Serialize, Deserialize)]
pub struct JoinReport {
    /// Packs that became part of others.
    pub packs: u64,
    /// How many packs were made of them.
    pub into: u64,
    /// Their bytes on the disk before.
    pub bytes_before: u64,
    /// And after.
    pub bytes_after: u64,
    /// Packs that were left because something in them is damaged, by the hex of their names.
    pub left: Vec<String>,
}

/// What unpacking did.
#[derive(Clone, Copy, PartialEq, Debug, Default, Serialize, Deserialize)]
pub struct Rehydrated {
    /// Large objects that had to be loose.
    pub needed: u64,
    /// Those that were not, and are now.
    pub objects: u64,
    /// Their bytes.
    pub bytes: u64,
    /// How long it took.
    pub seconds: f64,
}

/// What a collection did to packs.
#[derive(Clone, PartialEq, Eq, Debug, Default, Serialize, Deserialize)]
pub struct Swept {
    /// Packs there were.
    pub packs: u64,
    /// Packs that went, as nothing in them is needed.
    pub removed: u64,
    /// Packs that were written anew, without what is not needed.
    pub rewritten: u64,
    /// Bytes on the disk of both, before.
    pub bytes_before: u64,
    /// And of what was made of them.
    pub bytes_after: u64,
    /// Packs that were left because something in them is damaged, by the hex of their names.
    pub damaged: Vec<String>,
}

/// A pack.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct PackInfo {
    /// The hex of its name, the BLAKE3 of its data file.
    pub name: String,
    /// Objects in it.
    pub objects: u64,
    /// Bytes on the disk, with the index.
    pub bytes: u64,
    /// What is wrong, if it cannot be opened.
    pub damage: Option<String>,
}
