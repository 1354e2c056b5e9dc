//! What can go wrong when Kegs talk to each other, in words.

use std::{borrow::Cow, io};

use crate::{
    Kid,
    names::{CommitError, NamesError},
    object::DecodeError,
    path::NamePath,
    store::StoreError,
};

/// Why a pull, a push or an answer to one failed. What has arrived by then is kept and not
/// fetched again.
#[derive(Debug, thiserror::Error)]
pub enum SyncError {
    /// This Keg's store failed.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// This Keg's names cannot be read.
    #[error(transparent)]
    Names(#[from] NamesError),
    /// The name could not be set here.
    #[error(transparent)]
    Commit(#[from] CommitError),
    /// The connection failed or ended early.
    #[error("the connection to the other Keg failed: {source}; run it again: it goes on from here")]
    Connection {
        /// How it shows.
        source: io::Error,
    },
    /// A file of this Keg that notes how far a pull has come.
    #[error("{what}: {source}")]
    Io {
        /// What was being done.
        what: String,
        /// The system's answer.
        source: io::Error,
    },
    /// Something else answers there.
    #[error("no Keg answers there: {what}")]
    NotAKeg {
        /// What does.
        what: String,
    },
    /// A Keg of another release.
    #[error("the other Keg speaks version {theirs} of the protocol, this one version {ours}")]
    Version {
        /// Theirs.
        theirs: u8,
        /// This one's.
        ours: u8,
    },
    /// The other side does not keep to the protocol (`docs/sync.md`).
    #[error("the other Keg does not keep to the protocol: {what}")]
    Protocol {
        /// How it shows.
        what: Cow<'static, str>,
    },
    /// Bytes that are not those of the KID asked for. They were not kept.
    #[error("the other Keg sent something else than {kid}: {what}; nothing of it was kept")]
    Wrong {
        /// What should have come.
        kid: Kid,
        /// How it shows.
        what: Cow<'static, str>,
    },
    /// A tree or commit that is none.
    #[error("the other Keg sent {kid}, which no Keg can hold: {source}")]
    Invalid {
        /// Which.
        kid: Kid,
        /// Why.
        source: DecodeError,
    },
    /// Two pulls of the same large file at once.
    #[error("another pull or push is bringing {kid}; run it again when that is done")]
    Busy {
        /// The file.
        kid: Kid,
    },
    /// More than was allowed for.
    #[error("{what} are more than the limit of {limit}; allow more if you trust the other Keg")]
    TooMuch {
        /// What there is too much of.
        what: &'static str,
        /// How much is allowed.
        limit: u64,
    },
    /// The other side gave a reason.
    #[error("the other Keg says: {message}")]
    Refused {
        /// In its words; at most [`super::MAX_TEXT`] bytes.
        message: String,
    },
    /// Nothing is there to be pulled or pushed.
    #[error("there is nothing at {path}")]
    Absent {
        /// Where.
        path: NamePath,
    },
    /// Both sides have changed the name; neither was touched.
    #[error(
        "{path} has changed on both sides: here it is {}, there {}",
        shown(.here), shown(.there)
    )]
    Conflict {
        /// Which name.
        path: NamePath,
        /// What it is here; `None`: nothing.
        here: Option<Kid>,
        /// What it is there; `None`: nothing.
        there: Option<Kid>,
    },
}

fn shown(kid: &Option<Kid>) -> String {
    kid.as_ref().map_or_else(|| "nothing".to_owned(), Kid::to_string)
}

impl SyncError {
    /// Whether trying again may help: the connection failed, not what came through it.
    pub fn is_connection(&self) -> bool {
        matches!(self, Self::Connection { .. })
    }
}

/// A [`SyncError::Protocol`].
pub(super) fn protocol(what: impl Into<Cow<'static, str>>) -> SyncError {
    SyncError::Protocol { what: what.into() }
}

/// A [`SyncError::Io`].
pub(super) fn local(what: impl std::fmt::Display) -> impl FnOnce(io::Error) -> SyncError {
    move |source| SyncError::Io { what: what.to_string(), source }
}

/// A [`SyncError::Connection`], or what a [`super::Transport`] has told in words of its own.
pub(super) fn broken(error: io::Error) -> SyncError {
    match error.downcast::<SyncError>() {
        Ok(told) => told,
        Err(source) => SyncError::Connection { source },
    }
}
