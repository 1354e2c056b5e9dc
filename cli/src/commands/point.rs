//! `keg point`, `keg update`: names for values of other Kegs and git repositories.

mod update;

use keg::{
    Kid, NamePath,
    object::{Entry, Value},
};
use peer::pointer::{FetchError, FromKegError, PointerError, Remarks, Source, SourceError};
use serde_json::{Value as Json, json};

use super::change::Changing;
use crate::{args::Change, error::CommandError, find, output};

pub use update::run as update;

/// Digits of a git commit that are shown.
const DIGITS: usize = 8;

/// Sets a path to a pointer, once its value is here.
pub fn point(path: &str, source: &str, how: &Change) -> Result<(), CommandError> {
    let keg = find::keg()?;
    let to: NamePath = path.parse()?;
    let source = Source::parse(source)?;
    peer::pointer::allow(&keg, &source)?;
    let old = keg.get(&to)?;
    let was_pointer = old.as_ref().is_some_and(is_pointer);
    // What cannot be set is not fetched first.
    if let Some(parent) = to.parent()
        && super::through::above(&keg, &parent)?.is_some()
    {
        return Err(CommandError::user(format!(
            "{to} is below a pointer, whose value is not ours"
        ))
        .hint("point at it from another path, or `keg cp` the value here first"));
    }
    let before = old.as_ref().filter(|_| was_pointer);
    let resolved = peer::pointer::resolve(&keg, &source, before)?;
    tell(&resolved.remarks);
    let mut change = Changing::new(&keg, how, &format!("point {to} at {source}"));
    change.set(to, resolved.entry, was_pointer)?;
    let Remarks { files, bytes, submodules, lfs } = resolved.remarks;
    let more = json!({
        "source": source.source(), "followed": source.followed(), "pinned": source.is_pinned(),
        "commit": resolved.commit, "files": files, "bytes": bytes,
        "submodules": submodules, "lfs": lfs,
    });
    let commit = resolved.commit.map_or_else(String::new, |id| format!("git {}, ", &id[..DIGITS]));
    change.make(&more, &format!("{commit}{files} files, {}", output::bytes(bytes)))
}

/// Says what was not taken over of a repository.
fn tell(remarks: &Remarks) {
    for path in &remarks.submodules {
        eprintln!("{path} is a submodule: it is empty here; `keg point` at its own repository");
    }
    for path in &remarks.lfs {
        eprintln!("{path} is kept by Git LFS: here is only what names it");
    }
}

/// Whether an entry leads elsewhere.
pub fn is_pointer(entry: &Entry) -> bool {
    matches!(entry.value, Value::Pointer { .. })
}

/// What is to be said of a pointer, as data; `None`: it is none.
pub fn facts(entry: &Entry) -> Option<Json> {
    let Value::Pointer { source, reference, .. } = &entry.value else { return None };
    Some(match peer::pointer::source_of(entry) {
        Ok((at, commit)) => json!({
            "source": source, "followed": at.followed(), "pinned": at.is_pinned(), "commit": commit,
        }),
        Err(_) => json!({ "source": source, "followed": reference }),
    })
}

/// Where a pointer leads, in words: `git+https://h/r#main (git 0123abcd)`.
pub fn words(entry: &Entry) -> Option<String> {
    let Value::Pointer { source, reference, .. } = &entry.value else { return None };
    Some(match peer::pointer::source_of(entry) {
        Ok((at, Some(commit))) if !at.is_pinned() => format!("{at} (git {})", &commit[..DIGITS]),
        Ok((at, _)) => at.to_string(),
        Err(_) => format!("{source}#{reference}"),
    })
}

/// The short form of a KID, or `-`.
fn short(kid: Option<Kid>) -> String {
    kid.map_or_else(|| "-".to_owned(), |kid| kid.short())
}

impl From<SourceError> for CommandError {
    fn from(error: SourceError) -> Self {
        let hint = error.hint();
        Self::user(error.to_string()).hint(hint)
    }
}

impl From<PointerError> for CommandError {
    fn from(error: PointerError) -> Self {
        const LATER: &str = "try again when it answers; what is here is served meanwhile";
        match error {
            PointerError::Source(error) => error.into(),
            PointerError::Store(error) => error.into(),
            PointerError::Io(error) => error.into(),
            PointerError::Unnamed { ref at } => {
                let hint = format!("if you trust it: keg point PATH {at}");
                Self::user(error.to_string()).hint(hint)
            }
            PointerError::Git { at, source } => {
                let hint = match *source {
                    FetchError::Empty => "commit something there first, or correct the address",
                    FetchError::NoRef { .. } => {
                        "name a branch, a tag, or all 40 digits of a commit"
                    }
                    FetchError::NoPath { .. } | FetchError::NoValue { .. } => {
                        "write the path as `git ls-tree` shows it: #REF:PATH"
                    }
                    FetchError::NoCommit { .. } => {
                        "it may be gone there; point at a branch or tag that has it"
                    }
                    FetchError::Convert(_) => "what is there cannot be a value of a Keg",
                    FetchError::Git(_) => LATER,
                };
                let asked = matches!(
                    *source,
                    FetchError::Empty
                        | FetchError::NoRef { .. }
                        | FetchError::NoPath { .. }
                        | FetchError::NoValue { .. }
                );
                let message = format!("{at} cannot be fetched");
                let new = if asked { Self::user(message) } else { Self::away(message) };
                new.because(source).hint(hint)
            }
            PointerError::Keg { at, source } => from_keg(at, *source, LATER),
            error @ (PointerError::Other { .. } | PointerError::Unresolved { .. }) => {
                Self::away(error.to_string())
                    .hint("`keg update PATH` follows it anew; `keg log PATH` shows what it was")
            }
        }
    }
}

fn from_keg(at: String, source: FromKegError, later: &'static str) -> CommandError {
    use keg::sync::SyncError;
    let message = format!("{at} cannot be fetched");
    match source {
        FromKegError::Sync(SyncError::Store(error)) => error.into(),
        FromKegError::Sync(SyncError::Names(error)) => error.into(),
        FromKegError::Sync(error @ SyncError::Refused { .. }) => CommandError::user(message)
            .because(error)
            .hint("`keg ls` over there shows what is there"),
        FromKegError::Sync(error) if error.is_connection() => {
            CommandError::away(message).because(error).hint(later)
        }
        FromKegError::Sync(error) => CommandError::away(message)
            .because(error)
            .hint("nothing of it is shown; tell whoever runs that Keg"),
        FromKegError::Address(error) => error.into(),
        error @ (FromKegError::NoValue { .. } | FromKegError::Pointer { .. }) => {
            CommandError::user(message).because(error).hint("point at what has a value there")
        }
        error => CommandError::away(message).because(error).hint(later),
    }
}
