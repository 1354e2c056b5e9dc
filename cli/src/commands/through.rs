//! Reading through pointers: what is missing of their values is fetched, and said on stderr.

use keg::{
    Keg, Kid, NamePath,
    object::{Entry, Value},
    pointer,
};
use peer::pointer::{PointerError, source_of};

use crate::{error::CommandError, output};

/// Most values that one command fetches, one behind the other.
const MAX_FETCHES: usize = 1000;

/// Goes down a path from a tree, fetching what the pointers on it lack, the last one included.
/// Returns the innermost pointer that was gone through. `text`: what the user asked for.
pub fn bring(
    keg: &Keg,
    (tree, below): (&Kid, &str),
    text: &str,
) -> Result<Option<Entry>, CommandError> {
    for _ in 0..MAX_FETCHES {
        let Ok(way) = pointer::way(keg.objects(), tree, below) else {
            // What is wrong is said by who reads it.
            return Ok(None);
        };
        match way.lacking {
            Some(lacking) => fetch(keg, &lacking, text)?,
            None => return Ok(way.through),
        }
    }
    Err(too_many(text))
}

/// Fetches what an entry and all below it lacks. `within`: the pointer that led to it.
pub fn whole(
    keg: &Keg,
    entry: &Entry,
    within: Option<&Entry>,
    text: &str,
) -> Result<(), CommandError> {
    let mut fetched: Vec<Entry> = Vec::new();
    while fetched.len() < MAX_FETCHES {
        let lacking = pointer::lacking(keg.objects(), entry, within)?;
        // The outer ones first: what is in them is not known before.
        let Some(next) = lacking.into_iter().next() else { return Ok(()) };
        if fetched.contains(&next) {
            return Err(CommandError::away(format!("{text} cannot be read as a whole"))
                .hint("run it again; `keg fsck` tells if something is damaged here"));
        }
        fetch(keg, &next, text)?;
        fetched.push(next);
    }
    Err(too_many(text))
}

/// The pointer that a path is or is below of, outermost first.
pub fn above(keg: &Keg, path: &NamePath) -> Result<Option<NamePath>, CommandError> {
    let mut at = NamePath::root();
    for part in path.components() {
        at = at.join(part)?;
        match keg.get(&at)?.map(|entry| entry.value) {
            Some(Value::Pointer { .. }) => return Ok(Some(at)),
            Some(Value::Tree { .. }) => {}
            _ => return Ok(None),
        }
    }
    Ok(None)
}

fn too_many(text: &str) -> CommandError {
    CommandError::user(format!("{text} leads through over {MAX_FETCHES} pointers"))
        .hint("read a part of it")
}

fn fetch(keg: &Keg, entry: &Entry, text: &str) -> Result<(), CommandError> {
    let fetched = peer::pointer::fetch(keg, entry).map_err(|error| {
        let short = entry.kid().map_or_else(|| "-".to_owned(), |kid| kid.short());
        let at = source_of(entry).map_or_else(|_| "elsewhere".to_owned(), |(at, _)| at.to_string());
        let is_ours = matches!(error, PointerError::Store(_) | PointerError::Io(_));
        let inner = CommandError::from(error);
        if is_ours {
            return inner;
        }
        inner.within(format!("{text} needs {short} from {at}, which is not here"))
    })?;
    let peer::pointer::Fetched { kid, from, files, bytes } = fetched;
    let files = if files == 1 { "1 file".to_owned() } else { format!("{files} files") };
    eprintln!("fetched {} from {from}, {files}, {}", kid.short(), output::bytes(bytes));
    Ok(())
}
