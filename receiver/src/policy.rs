//! Which refs a push may change, and how.
//!
//! `refs/heads/main` is what is deployed; tags are kept; other branches are refused with the
//! command that deploys them. Deploying means replacing what runs, so main moves only forward
//! unless the push says `-o force` (git's own `--force` does not reach the server).

use gix_hash::ObjectId;
use gix_object::Kind;

use crate::{
    ancestry,
    pack::{PackError, PackSet},
    repo::{MAIN, Refs},
    request::Command,
};

/// Most refs an app may have.
const MAX_REFS: usize = 10_000;
/// Longest name of a ref.
const MAX_NAME: usize = 250;
/// Hex digits of git ids in messages.
const SHORT: usize = 8;

/// Why a ref is not changed.
#[derive(Debug, thiserror::Error)]
pub(crate) enum Refusal {
    /// Not a name of a ref.
    #[error("not a valid name for a ref")]
    Name,
    /// The same ref twice.
    #[error("the push changes this ref twice")]
    Twice,
    /// A branch other than main.
    #[error("only main is deployed; to deploy this branch: git push keg {0}:main")]
    Branch(String),
    /// Neither main nor a tag.
    #[error("only the branch main and tags are kept here")]
    Namespace,
    /// Deletion of main.
    #[error("main cannot be deleted, it is what the app runs; push another commit to replace it")]
    DeleteMain,
    /// The ref is not what the client saw.
    #[error("it was changed by another push ({0}); git pull, then push again")]
    Moved(String),
    /// One ref would be a directory of another.
    #[error("it conflicts with the ref {0}; delete that first: git push keg :{0}")]
    Overlap(String),
    /// More refs than are kept.
    #[error("the app would have over {MAX_REFS} refs; delete some first: git push keg :<tag>")]
    TooMany,
    /// The object is not in the repository.
    #[error("{0} is not in the push and not in this app's repository")]
    Absent(ObjectId),
    /// main is not a commit.
    #[error("main must be a commit, but {id} is a {kind}")]
    NotACommit {
        /// The object.
        id: ObjectId,
        /// What it is.
        kind: Kind,
    },
    /// main would lose commits.
    #[error(
        "not a fast-forward: main is at {0}, which the push does not contain; git pull and push \
         again, or replace it: git push --force -o force keg main"
    )]
    NotForward(String),
    /// The packs cannot be read.
    #[error(transparent)]
    Pack(#[from] PackError),
}

/// What can be said before the pack is read.
///
/// # Errors
/// Why the ref is not changed.
pub(crate) fn before_pack(
    command: &Command,
    commands: &[Command],
    refs: &Refs,
) -> Result<(), Refusal> {
    let name = command.name.as_str();
    let valid = gix_validate::reference::name(name.into()).is_ok();
    if !valid || name.len() > MAX_NAME || name.chars().any(char::is_control) {
        return Err(Refusal::Name);
    }
    if commands.iter().filter(|other| other.name == name).count() > 1 {
        return Err(Refusal::Twice);
    }
    match name.strip_prefix("refs/heads/") {
        Some("main") if command.new.is_null() => return Err(Refusal::DeleteMain),
        Some("main") => {}
        Some(branch) => return Err(Refusal::Branch(branch.to_owned())),
        None if name.starts_with("refs/tags/") => {}
        None => return Err(Refusal::Namespace),
    }
    not_moved(command, refs)?;
    if !command.new.is_null() {
        let overlaps = |other: &str| {
            let (long, short) =
                if other.len() > name.len() { (other, name) } else { (name, other) };
            long.strip_prefix(short).is_some_and(|rest| rest.starts_with('/'))
        };
        let pushed = commands.iter().filter(|c| !c.new.is_null()).map(|c| c.name.as_str());
        let mut others = refs.keys().map(String::as_str).chain(pushed);
        if let Some(other) = others.find(|other| overlaps(other)) {
            return Err(Refusal::Overlap(other.to_owned()));
        }
        if !refs.contains_key(name) && refs.len() + commands.len() > MAX_REFS {
            return Err(Refusal::TooMany);
        }
    }
    Ok(())
}

/// Whether the ref is still what the client saw.
///
/// # Errors
/// [`Refusal::Moved`].
pub(crate) fn not_moved(command: &Command, refs: &Refs) -> Result<(), Refusal> {
    let now = refs.get(&command.name).copied();
    if now.unwrap_or(ObjectId::null(gix_hash::Kind::Sha1)) == command.old {
        return Ok(());
    }
    let now = now.map_or("it is gone".to_owned(), |id| format!("it is at {}", short(&id)));
    Err(Refusal::Moved(now))
}

/// What can be said once the objects are here.
///
/// # Errors
/// Why the ref is not changed.
pub(crate) fn after_pack(
    command: &Command,
    packs: &mut PackSet,
    force: bool,
) -> Result<(), Refusal> {
    if command.new.is_null() {
        return Ok(());
    }
    let id = command.new;
    let kind = packs.kind(&id)?.ok_or(Refusal::Absent(id))?;
    if command.name != MAIN {
        return Ok(());
    }
    if kind != Kind::Commit {
        return Err(Refusal::NotACommit { id, kind });
    }
    let forward =
        command.old.is_null() || force || ancestry::follows(packs, id, command.old)? == Some(true);
    if forward { Ok(()) } else { Err(Refusal::NotForward(short(&command.old))) }
}

/// The first digits of a git id.
pub(crate) fn short(id: &ObjectId) -> String {
    id.to_hex_with_len(SHORT).to_string()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn id(n: u8) -> ObjectId {
        ObjectId::from_bytes_or_panic(&[n; 20])
    }

    #[test]
    fn which_refs_may_change() {
        let refs = Refs::from([(MAIN.to_owned(), id(1)), ("refs/tags/v1".to_owned(), id(2))]);
        for (name, old, new, want) in [
            (MAIN, 1, 3, None),
            (MAIN, 2, 3, Some("another push")),
            (MAIN, 1, 0, Some("cannot be deleted")),
            ("refs/heads/feature", 0, 3, Some("git push keg feature:main")),
            ("refs/notes/commits", 0, 3, Some("only the branch main and tags")),
            ("refs/tags/v2", 0, 3, None),
            ("refs/tags/v1", 2, 0, None),
            ("refs/tags/v1", 0, 3, Some("another push")),
            ("refs/tags/v1/x", 0, 3, Some("conflicts with the ref refs/tags/v1")),
            ("refs/tags/a..b", 0, 3, Some("not a valid name")),
            ("main", 0, 3, Some("not a valid name")),
            ("refs/tags/a b", 0, 3, Some("not a valid name")),
        ] {
            let command = Command { name: name.to_owned(), old: id(old), new: id(new) };
            let said = before_pack(&command, std::slice::from_ref(&command), &refs);
            let said = said.err().map(|error| error.to_string());
            match want {
                None => assert_eq!(said, None, "{name}"),
                Some(want) => assert!(said.as_ref().is_some_and(|s| s.contains(want)), "{said:?}"),
            }
        }
    }
}
