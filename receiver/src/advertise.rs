//! What `git push` is told first: the app's refs and what this server can do.

use std::io::{self, Write};

use gix_hash::ObjectId;
use gix_packetline::blocking_io::encode;
use keg::{Keg, path::AppName};

use crate::{
    repo::{PushState, Repo},
    settle::{self, SettleError},
};

/// What this server can do, in the words of the protocol.
const CAPABILITIES: &str = concat!(
    "report-status report-status-v2 delete-refs side-band-64k atomic ofs-delta ",
    "push-options object-format=sha1 agent=keg/",
    env!("CARGO_PKG_VERSION")
);

/// Why nothing was told.
#[derive(Debug, thiserror::Error)]
pub(crate) enum AdvertiseError {
    /// The repository.
    #[error(transparent)]
    Settle(#[from] SettleError),
    /// The connection.
    #[error("the answer cannot be sent: {0}")]
    Io(#[from] io::Error),
}

/// Lists the refs of `app` for a push.
///
/// # Errors
/// The Keg's, or the connection's.
pub(crate) fn advertise(
    keg: &Keg,
    app: &AppName,
    out: &mut dyn Write,
) -> Result<(), AdvertiseError> {
    let repo = settle::settled(keg, app)?;
    encode::text_to_write(b"# service=git-receive-pack", &mut *out)?;
    encode::flush_to_write(&mut *out)?;
    let mut capabilities = Some(CAPABILITIES);
    for (id, name) in lines(&repo) {
        let tail = capabilities.take().map(|text| format!("\0{text}")).unwrap_or_default();
        encode::text_to_write(format!("{id} {name}{tail}").as_bytes(), &mut *out)?;
    }
    encode::flush_to_write(&mut *out)?;
    Ok(out.flush()?)
}

/// The refs; what the newest push left here, though no ref names it; a placeholder for none.
///
/// A ref whose deploy has no outcome yet is told as it was before: to a client for which main is
/// up to date already, git sends nothing, and says nothing of a deploy that may still fail.
fn lines(repo: &Repo) -> Vec<(ObjectId, &str)> {
    let told = repo.refs.iter().filter_map(|(name, &id)| {
        let before = repo.pending(name).map_or(Some(id), |pending| pending.from);
        Some((before?, name.as_str()))
    });
    let mut lines: Vec<_> = told.collect();
    let kept = repo.push.as_ref().filter(|push| push.state != PushState::Done);
    if let Some(id) = kept.and_then(|push| ObjectId::from_hex(push.git.as_bytes()).ok()) {
        lines.push((id, ".have"));
    }
    if lines.is_empty() {
        lines.push((ObjectId::null(gix_hash::Kind::Sha1), "capabilities^{}"));
    }
    lines
}
