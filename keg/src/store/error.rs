//! What can go wrong in a store, in words.

use std::{io as stdio, path::PathBuf};

use crate::{
    Kid,
    object::{DecodeError, Kind},
};

/// What can go wrong in a store.
#[derive(Debug, thiserror::Error)]
pub enum StoreError {
    /// The object is not here.
    #[error("{kid} is not in this Keg")]
    Missing {
        /// Which.
        kid: Kid,
    },
    /// What is stored is not what the KID names.
    #[error("{kid} is damaged: {what}; run `keg fsck` to see what uses it")]
    Corrupt {
        /// Which.
        kid: Kid,
        /// How it shows.
        what: String,
    },
    /// The log itself is damaged.
    #[error("the Keg's log is damaged at {place}: {what}; run `keg fsck`")]
    Log {
        /// Segment and offset.
        place: String,
        /// How it shows.
        what: String,
    },
    /// A pack is damaged; what is asked for may be in it.
    #[error("{pack} is damaged: {what}; run `keg fsck` to see what uses it")]
    Pack {
        /// Which file of the Keg.
        pack: String,
        /// How it shows.
        what: String,
    },
    /// It is of another kind than asked for.
    #[error("{kid} is a {found}, not a {expected}")]
    WrongKind {
        /// Which.
        kid: Kid,
        /// Asked for.
        expected: Kind,
        /// What it is.
        found: Kind,
    },
    /// Too large to be read whole.
    #[error("{bytes} bytes are more than the {limit} that are read into memory; stream it")]
    TooBig {
        /// Its size.
        bytes: u64,
        /// The limit.
        limit: u64,
    },
    /// Bytes that are not the canonical encoding of a tree or commit.
    #[error("not a {kind}: {source}")]
    Invalid {
        /// What they should be.
        kind: Kind,
        /// Why they are not.
        source: DecodeError,
    },
    /// No space left.
    #[error("the disk is full ({what}); nothing was lost: free some space and try again")]
    Full {
        /// What was being done.
        what: String,
        /// The system's answer.
        source: stdio::Error,
    },
    /// The system failed.
    #[error("{what}: {source}")]
    Io {
        /// What was being done.
        what: String,
        /// The system's answer.
        source: stdio::Error,
    },
    /// The disk reported a failed write; nothing can be promised until it is looked at.
    #[error(
        "an earlier write to the disk failed, so this process commits no more: check the disk, \
         then restart"
    )]
    Poisoned,
    /// The directory holds no Keg.
    #[error("there is no Keg in {}; start one with `keg up --home DIR`", home.display())]
    NotAKeg {
        /// Where.
        home: PathBuf,
    },
    /// The directory holds a Keg already.
    #[error("there is a Keg in {} already", home.display())]
    Exists {
        /// Where.
        home: PathBuf,
    },
    /// A format this version does not know.
    #[error("the Keg in {} {what}", home.display())]
    Format {
        /// Where.
        home: PathBuf,
        /// What is not understood, and the way out.
        what: String,
    },
    /// The format may be read but not written by this version.
    #[error(
        "the Keg in {} has newer features ({features}) and can only be read by this version of keg",
        home.display()
    )]
    ReadOnly {
        /// Where.
        home: PathBuf,
        /// Which ones.
        features: String,
    },
}

/// Says what was being done when the system failed.
pub(crate) fn io<E: Into<stdio::Error>>(
    what: impl std::fmt::Display,
) -> impl FnOnce(E) -> StoreError {
    move |error| {
        let (what, source) = (what.to_string(), error.into());
        match source.kind() {
            stdio::ErrorKind::StorageFull | stdio::ErrorKind::QuotaExceeded => {
                StoreError::Full { what, source }
            }
            _ => StoreError::Io { what, source },
        }
    }
}
