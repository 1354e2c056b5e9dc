//! Moving values between Kegs: the protocol of `docs/sync.md` and both ends of it.
//!
//! Two round trips. First the trees: one side says what it wants and what it has, the other sends
//! the trees and commits that differ ([`trees`]). Then the blobs: one side says by a bit for each
//! blob that those trees name which ones it misses, the other sends them in that order as one
//! pack, compressed or as a difference to what is there ([`pack`]). A push is the same the other
//! way round.
//!
//! Both ends go through the trees in one order ([`walk`]), so no KID is sent twice and a blob
//! needs none. Each end needs memory for one directory and one frame at a time, and 24 bytes for
//! each tree that differs and each blob that is missing.
//!
//! Nothing here opens a connection: whoever implements [`Transport`] does ([`serve`] answers).

mod apply;
mod bitmap;
mod client;
mod codec;
pub(crate) mod decoders;
mod delta;
mod error;
mod large;
mod memo;
mod message;
mod pack;
mod partial;
mod parts;
mod push;
mod receive;
mod serve;
#[cfg(test)]
mod tests;
mod trees;
mod walk;
mod wire;

use std::{
    io::{self, Read},
    time::Duration,
};

use crate::object::MAX_OBJECT;

pub use client::{Pulled, clone, fetch, pull};
pub use error::SyncError;
pub use message::Want;
pub(crate) use partial::remove_old_parts;
pub use push::{Pushed, push};
pub use serve::serve;

/// Most values that one side says it has.
const MAX_HAVES: usize = 64;
/// Most commits at which a walk stops because the other side has them.
const MAX_STOPS: usize = 1 << 16;
/// Longest text of an error or message, in bytes.
pub const MAX_TEXT: usize = 4096;
/// Most bytes that one frame of a pack becomes.
const MAX_FRAME: usize = 4 << 20;
/// Most bytes of a base that one frame refers to.
const MAX_BASE: usize = 8 << 20;
/// Most blobs that one pull goes through (also those that are there): 16 MiB of bits.
const MAX_BLOBS: u64 = 1 << 27;
/// Most trees and commits of one pull.
const MAX_OBJECTS: u64 = 1 << 24;
/// Largest tree or commit.
const MAX_DOCUMENT: usize = MAX_OBJECT;
/// What has come is made durable each time this many bytes have.
const SYNC_BYTES: u64 = 64 << 20;
/// … or this many objects.
const SYNC_OBJECTS: u64 = 8192;
/// … and on a slow line each time this much time has passed.
const SYNC_EVERY: Duration = Duration::from_secs(5);

/// What a request asks for: each is answered by one message.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Verb {
    /// A value's trees and commits.
    Trees,
    /// A value's blobs.
    Pack,
    /// Offers a value's trees and commits.
    OfferTrees,
    /// Offers its blobs, and moves the name.
    OfferPack,
}

impl Verb {
    /// All of them.
    pub const ALL: [Self; 4] = [Self::Trees, Self::Pack, Self::OfferTrees, Self::OfferPack];

    /// Its name in addresses.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Trees => "trees",
            Self::Pack => "pack",
            Self::OfferTrees => "offer-trees",
            Self::OfferPack => "offer-pack",
        }
    }

    /// Whether it changes the Keg that answers.
    pub fn is_offer(self) -> bool {
        matches!(self, Self::OfferTrees | Self::OfferPack)
    }
}

impl std::str::FromStr for Verb {
    type Err = SyncError;

    fn from_str(text: &str) -> Result<Self, SyncError> {
        let found = Self::ALL.into_iter().find(|verb| verb.as_str() == text);
        found.ok_or_else(|| error::protocol("a request of a kind this Keg does not know"))
    }
}

/// The kinds of message, as their tenth byte says.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Message {
    WantTrees = 1,
    Trees = 2,
    WantPack = 3,
    Pack = 4,
    OfferTrees = 5,
    OfferedTrees = 6,
    OfferPack = 7,
    OfferedPack = 8,
}

/// A request on its way.
pub enum Body<'a> {
    /// All of it.
    Bytes(Vec<u8>),
    /// Made while it is sent.
    Stream(&'a mut dyn Read),
}

/// A way to another Keg.
pub trait Transport {
    /// Which Keg: the same text for the same one.
    fn name(&self) -> &str;

    /// Sends a request and returns the answer, which is read while it comes.
    ///
    /// # Errors
    /// The connection's.
    fn exchange<'a>(&'a mut self, verb: Verb, request: Body<'_>) -> io::Result<Box<dyn Read + 'a>>;
}

/// What one pull or push may bring.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Limits {
    /// Trees and commits.
    pub objects: u64,
    /// Bytes of blobs that are not there yet.
    pub bytes: u64,
}

impl Default for Limits {
    /// What the protocol can say, and blobs of 16 TiB.
    fn default() -> Self {
        Self { objects: MAX_OBJECTS, bytes: 16 << 40 }
    }
}

/// How far a pull has come.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct Progress {
    /// Trees and commits that have come.
    pub objects: u64,
    /// Blobs that have come.
    pub blobs: u64,
    /// Blobs that are missing.
    pub blobs_total: u64,
    /// Bytes of blobs that have come.
    pub bytes: u64,
    /// Bytes of blobs that are missing.
    pub bytes_total: u64,
}

/// How a pull or push is done.
pub struct Options<'a> {
    /// Who moves the name.
    pub author: String,
    /// Replaces a value that is no ancestor of the new one.
    pub force: bool,
    /// Most that may come.
    pub limits: Limits,
    /// Is told how far it is, now and then.
    pub progress: &'a mut dyn FnMut(Progress),
}
