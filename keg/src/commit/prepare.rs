//! What a transaction needs before its turn comes: its values kept, its documents hashed.

use crate::{
    Keg, Kid,
    names::{CommitError, Planned, Txn},
    object::{Entry, Kind},
    store::{INLINE_MAX, Object},
    time::now_ms,
};

/// Keeps what the transaction sets names to, stores large documents, and hashes small ones, which
/// travel with it.
pub(super) fn prepare<'a>(keg: &Keg, txn: &'a Txn) -> Result<Planned<'a>, CommitError> {
    // What a name is set to may be about to be collected, or be so in part.
    for (path, step) in &txn.steps {
        let Some(kid) = step.kid() else { continue };
        // What a pointer points to may be elsewhere.
        if !keg.objects().retain(&kid)? && !step.is_pointer() {
            return Err(CommitError::MissingValue { path: path.clone(), kid });
        }
    }
    let mut documents = Vec::new();
    let values = txn.values(&mut |bytes| {
        if bytes.len() > INLINE_MAX {
            return keg.objects().put_bytes(&bytes);
        }
        let entry = Entry::file(Kid::of_blob(&bytes), bytes.len() as u64);
        documents.extend(entry.kid().map(|kid| (kid, Object { kind: Kind::Blob, bytes })));
        Ok(entry)
    })?;
    Ok(Planned { txn, values, documents, time_ms: now_ms() })
}
