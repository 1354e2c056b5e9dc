//! Pointers into git repositories and other Kegs: what they lead to, brought here.
//!
//! [`resolve`] asks a source what its ref or path stands for now, brings that whole and checks it;
//! [`fetch`] brings what a pointer resolved to once, and nothing else. Both block, and belong into
//! commands and child processes. Neither sets a name.

mod batch;
mod convert;
mod git;
mod kegs;
mod run;
mod source;
mod trust;

use std::collections::HashSet;

use keg::{
    Keg, Kid,
    gc::Lease,
    object::{Attrs, Entry, Value},
    pointer,
    store::StoreError,
};

pub use convert::{ConvertError, Remarks};
pub use git::FetchError;
pub use kegs::FromKegError;
pub use run::GitError;
pub use source::{Follow, Source, SourceError};

/// Why a pointer cannot be resolved, or its value not be brought.
#[derive(Debug, thiserror::Error)]
pub enum PointerError {
    /// It leads nowhere.
    #[error(transparent)]
    Source(#[from] SourceError),
    /// It would use files or accounts of this machine, and came from elsewhere.
    #[error(
        "it leads to {at} by way of this machine's own files or accounts, and nobody has named \
         that here"
    )]
    Unnamed {
        /// Where it leads.
        at: String,
    },
    /// A git repository.
    #[error("{at}: {source}")]
    Git {
        /// Where.
        at: String,
        /// What.
        source: Box<FetchError>,
    },
    /// Another Keg.
    #[error("{at}: {source}")]
    Keg {
        /// Where.
        at: String,
        /// What.
        source: Box<FromKegError>,
    },
    /// What came is not what the pointer resolved to.
    #[error("{at} gave {found} where {wanted} was resolved before; nothing shows it")]
    Other {
        /// Where.
        at: String,
        /// What was wanted.
        wanted: Kid,
        /// What came.
        found: Kid,
    },
    /// It never resolved to anything.
    #[error("{at} was never resolved")]
    Unresolved {
        /// Where it leads.
        at: String,
    },
    /// This Keg.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// A file of this Keg.
    #[error("noting the source: {0}")]
    Io(#[from] std::io::Error),
}

/// What a source stands for now.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Resolved {
    /// The pointer to be set.
    pub entry: Entry,
    /// What its KID is.
    pub kid: Kid,
    /// The commit of git.
    pub commit: Option<String>,
    /// What came, and what to tell of it.
    pub remarks: Remarks,
}

/// Where an entry leads, and the commit of git that was resolved.
///
/// # Errors
/// It is no pointer that can be followed.
pub fn source_of(entry: &Entry) -> Result<(Source, Option<String>), SourceError> {
    match &entry.value {
        Value::Pointer { source, reference, .. } => Source::of_entry(source, reference),
        _ => Source::of_entry("", ""),
    }
}

/// Notes that somebody on this machine named a source, so that pointers may use it.
///
/// # Errors
/// The disk's.
pub fn allow(keg: &Keg, source: &Source) -> Result<(), PointerError> {
    Ok(trust::allow(keg, source)?)
}

/// Asks a source what it stands for now, and brings that here. `before`: what the pointer was; if
/// it still is that and whole, nothing is brought.
///
/// # Errors
/// [`PointerError`]; what had come by then is kept until it is collected.
pub fn resolve(
    keg: &Keg,
    source: &Source,
    before: Option<&Entry>,
) -> Result<Resolved, PointerError> {
    if !trust::allows(keg, source) {
        return Err(PointerError::Unnamed { at: source.to_string() });
    }
    // What is brought has no name before the caller sets one.
    let _lease = Lease::hold(keg, "following a pointer", &[])?;
    match source {
        Source::Git { .. } => resolve_git(keg, source, before),
        Source::Keg { url, path, pin } => {
            let failed = |error| from_keg(source, error);
            let haves = before.map(|entry| pointer::seen(keg.objects(), entry)).transpose()?;
            let haves: Vec<Entry> = haves.map(|entry| entry.into_owned()).into_iter().collect();
            let brought = kegs::resolve(keg, url, (path, pin.as_ref()), &haves).map_err(failed)?;
            let (files, bytes) = (brought.files, brought.bytes);
            let remarks = Remarks { files, bytes, ..Remarks::default() };
            resolved(source, None, &brought.entry, remarks)
        }
    }
}

fn from_git(source: &Source, error: impl Into<FetchError>) -> PointerError {
    PointerError::Git { at: source.to_string(), source: Box::new(error.into()) }
}

fn from_keg(source: &Source, error: impl Into<FromKegError>) -> PointerError {
    PointerError::Keg { at: source.to_string(), source: Box::new(error.into()) }
}

fn resolve_git(
    keg: &Keg,
    source: &Source,
    before: Option<&Entry>,
) -> Result<Resolved, PointerError> {
    let Source::Git { url, follow, path } = source else {
        return Err(PointerError::Unresolved { at: source.to_string() });
    };
    let failed = |error| from_git(source, error);
    let remote = git::Remote::new(keg, url).map_err(failed)?;
    let (commit, name) = remote.ask(follow).map_err(failed)?;
    let mut former = HashSet::new();
    if let Some(before) = before
        && pointer::lacking(keg.objects(), before, None)?.is_empty()
    {
        let known = source_of(before).ok().filter(|(then, _)| then == source);
        if let Some(kid) = before.kid()
            && known.is_some_and(|(_, known)| known.as_ref() == Some(&commit))
        {
            let (entry, commit) = (before.clone(), Some(commit));
            return Ok(Resolved { entry, kid, commit, remarks: Remarks::default() });
        }
        former = convert::files_of(keg.objects(), &*pointer::seen(keg.objects(), before)?)?;
    }
    let brought = remote.bring(&name, path, former).map_err(failed)?;
    resolved(source, Some(brought.commit), &brought.entry, brought.remarks)
}

/// The pointer to a value that is here.
fn resolved(
    source: &Source,
    commit: Option<String>,
    value: &Entry,
    remarks: Remarks,
) -> Result<Resolved, PointerError> {
    let kid = value.kid().ok_or_else(|| PointerError::Unresolved { at: source.to_string() })?;
    let reference = source.reference(commit.as_deref());
    let pointer = Value::Pointer { source: source.source(), reference, kid: Some(kid) };
    let attrs = match value.value {
        Value::File { .. } => value.attrs.clone(),
        _ => Attrs::with_mode(0o755),
    };
    let attrs = Attrs { link_group: 0, ..attrs };
    Ok(Resolved { entry: Entry { value: pointer, attrs }, kid, commit, remarks })
}

/// What was fetched for a pointer.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Fetched {
    /// The value, which is here whole.
    pub kid: Kid,
    /// Where it came from.
    pub from: String,
    /// Files that came.
    pub files: u64,
    /// Bytes that came.
    pub bytes: u64,
}

/// Brings what a pointer resolved to: that value and no other.
///
/// # Errors
/// [`PointerError`]; what had come by then is kept until it is collected.
pub fn fetch(keg: &Keg, entry: &Entry) -> Result<Fetched, PointerError> {
    let (source, commit) = source_of(entry)?;
    let wanted = entry.kid();
    let wanted = wanted.ok_or_else(|| PointerError::Unresolved { at: source.to_string() })?;
    if !trust::allows(keg, &source) {
        return Err(PointerError::Unnamed { at: source.to_string() });
    }
    let _lease = Lease::hold(keg, "reading a pointer", &[])?;
    let (found, files, bytes) = match &source {
        Source::Git { url, follow, path } => {
            let failed = |error| from_git(&source, error);
            let remote = git::Remote::new(keg, url).map_err(failed)?;
            let brought = again(&remote, follow, commit.as_deref(), path).map_err(failed)?;
            let Remarks { files, bytes, .. } = brought.remarks;
            (brought.entry.kid(), files, bytes)
        }
        Source::Keg { url, .. } => {
            let brought = kegs::bring_from(keg, url, wanted);
            let brought = brought.map_err(|error| from_keg(&source, error))?;
            (brought.entry.kid(), brought.files, brought.bytes)
        }
    };
    keg.objects().sync()?;
    match found.filter(|found| *found != wanted) {
        Some(found) => Err(PointerError::Other { at: source.to_string(), wanted, found }),
        None => {
            // Images in which it is only a link yet are derived: without this they are wrong
            // until they go by themselves, and nothing else is.
            let _ = keg::mount::forget_lacking(keg.home());
            Ok(Fetched { kid: wanted, from: source.to_string(), files, bytes })
        }
    }
}

/// What became of the pointers in a value that was pulled.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct Completed {
    /// So many have their values here now, which came along.
    pub brought: usize,
    /// So many lead to what the other Keg has not got, either.
    pub left: usize,
}

/// Brings what the pointers in a value lead to from the Keg that the value came from, as far as it
/// has it. Nobody else is asked: that is for who reads them.
///
/// # Errors
/// [`PointerError`]; what had come by then is kept until it is collected.
pub fn complete(keg: &Keg, url: &str, value: &Entry) -> Result<Completed, PointerError> {
    let _lease = Lease::hold(keg, "a pull", &[])?;
    let (mut done, mut asked) = (Completed::default(), HashSet::new());
    loop {
        let lacking = pointer::lacking(keg.objects(), value, None)?;
        let wanted: Vec<Kid> = lacking.iter().filter_map(Entry::kid).collect();
        // What has come may hold pointers of its own.
        let new: Vec<Kid> = wanted.iter().copied().filter(|kid| asked.insert(*kid)).collect();
        if new.is_empty() || asked.len() > pointer::MAX_LACKING {
            done.left = wanted.len();
            return Ok(done);
        }
        for kid in new {
            match kegs::bring_from(keg, url, kid) {
                Ok(_) => done.brought += 1,
                Err(FromKegError::Gone { .. }) => {}
                Err(error) => {
                    let (at, source) = (url.to_owned(), Box::new(error));
                    return Err(PointerError::Keg { at, source });
                }
            }
        }
        keg.objects().sync()?;
    }
}

/// Brings the commit that was resolved once. A repository that gives no commits by their ids may
/// still give it under the name that was followed.
fn again(
    remote: &git::Remote<'_>,
    follow: &Follow,
    commit: Option<&str>,
    path: &str,
) -> Result<git::Brought, FetchError> {
    let Some(commit) = commit else {
        let (_, name) = remote.ask(follow)?;
        return remote.bring(&name, path, HashSet::new());
    };
    match remote.bring(commit, path, HashSet::new()) {
        Err(error @ FetchError::NoCommit { .. }) => match remote.ask(follow)? {
            (now, name) if now == commit && name != commit => {
                remote.bring(&name, path, HashSet::new())
            }
            _ => Err(error),
        },
        brought => brought,
    }
}
