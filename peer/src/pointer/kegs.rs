//! What a path of another Keg stands for, brought here as a value.

use keg::{
    Keg, Kid, NamePath,
    kid::KidPrefix,
    object::{Entry, Kind, Value},
    sync::{Limits, Pulled, SyncError, Want, fetch},
};

use crate::client::{Peer, PeerError};

/// Why a value cannot be brought from another Keg.
#[derive(Debug, thiserror::Error)]
pub enum FromKegError {
    /// Its address.
    #[error(transparent)]
    Address(#[from] PeerError),
    /// The connection, what came through it, or this Keg.
    #[error(transparent)]
    Sync(#[from] SyncError),
    /// It cannot say what the path was in that version.
    #[error("it does not say what {path} is at {pin}: {source}")]
    Version {
        /// Which path.
        path: NamePath,
        /// In which version.
        pin: String,
        /// How it shows.
        source: std::io::Error,
    },
    /// A link, device or pipe.
    #[error("{path} over there is a {noun}, which has no value to point at")]
    NoValue {
        /// Which.
        path: NamePath,
        /// What it is.
        noun: &'static str,
    },
    /// A pointer to something it has not got itself.
    #[error(
        "{path} over there is itself a pointer, to {to}, and its value is not there; point at \
         {to}, or read it over there first"
    )]
    Pointer {
        /// Which.
        path: NamePath,
        /// Where it leads.
        to: String,
    },
    /// No kind of value there has this KID.
    #[error("it does not have {kid} (any more)")]
    Gone {
        /// Which.
        kid: Kid,
    },
}

/// What was brought: a value whose KID is known, and what came for it.
pub(super) struct Brought {
    pub(super) entry: Entry,
    pub(super) files: u64,
    pub(super) bytes: u64,
}

impl From<Pulled> for Brought {
    fn from(pulled: Pulled) -> Self {
        let Pulled { value, progress, received, .. } = pulled;
        Self { entry: value, files: progress.blobs, bytes: received }
    }
}

/// Brings what a path stands for. What it points to there is taken from there and from nowhere
/// else: so pointers of two Kegs to each other end after one step.
pub(super) fn resolve(
    keg: &Keg,
    url: &str,
    (path, pin): (&NamePath, Option<&KidPrefix>),
    haves: &[Entry],
) -> Result<Brought, FromKegError> {
    let mut peer = Peer::new(url)?;
    if let Some(pin) = pin {
        let kid = peer.kid_at(path, pin).map_err(|source| {
            let (path, pin) = (path.clone(), format!("K-{}", pin.digits()));
            FromKegError::Version { path, pin, source }
        })?;
        return bring(keg, &mut peer, kid, haves);
    }
    let mut silent = |_| {};
    let want = Want::Path(path.clone());
    let pulled = fetch(keg, &mut peer, &want, haves, Limits::default(), &mut silent)?;
    match &pulled.value.value {
        Value::File { .. } | Value::Tree { .. } | Value::Commit { .. } => Ok(pulled.into()),
        Value::Pointer { source, reference, kid } => {
            let gone = || FromKegError::Pointer {
                path: path.clone(),
                to: format!("{source}#{reference}").chars().take(300).collect(),
            };
            let kid = kid.ok_or_else(gone)?;
            bring(keg, &mut peer, kid, haves).map_err(|error| match error {
                FromKegError::Gone { .. } => gone(),
                error => error,
            })
        }
        _ => {
            let noun = keg::names::noun(&pulled.value);
            Err(FromKegError::NoValue { path: path.clone(), noun })
        }
    }
}

/// Brings a value by its KID. What kind it is of is not known before.
pub(super) fn bring(
    keg: &Keg,
    peer: &mut Peer,
    kid: Kid,
    haves: &[Entry],
) -> Result<Brought, FromKegError> {
    for kind in [Kind::Tree, Kind::Commit, Kind::Blob] {
        let want = Want::Value(kind, kid);
        match fetch(keg, peer, &want, haves, Limits::default(), &mut |_| {}) {
            // It has none of this kind, in words for people.
            Err(SyncError::Refused { .. }) => {}
            pulled => return Ok(pulled?.into()),
        }
    }
    Err(FromKegError::Gone { kid })
}

/// The same from the Keg at an address.
pub(super) fn bring_from(keg: &Keg, url: &str, kid: Kid) -> Result<Brought, FromKegError> {
    bring(keg, &mut Peer::new(url)?, kid, &[])
}
