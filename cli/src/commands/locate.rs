//! From what a person types (`/path`, `/path@K-…`, `/path@17`, `K-…`) to a value.

use keg::{
    Keg, Kid,
    kid::KidPrefix,
    names::Version,
    object::{Entry, Kind, Value},
    path::NamePath,
    pointer,
};

use super::through;
use crate::error::CommandError;

/// A value found, and what to call it.
pub struct Located {
    /// As the user wrote it.
    pub label: String,
    /// What it is.
    pub entry: Entry,
    /// The pointer that led to it, if there is one.
    pub within: Option<Entry>,
}

/// Finds the value a text stands for; for a pointer, what it points to. What is missing of it here
/// is fetched, as far as it takes to say what it is.
pub fn value(keg: &Keg, text: &str) -> Result<Located, CommandError> {
    let mut found = name(keg, text)?;
    found.entry = pointer::seen(keg.objects(), &found.entry)?.into_owned();
    Ok(found)
}

/// As [`value`], and all that is below it is here, too.
pub fn whole(keg: &Keg, text: &str) -> Result<Located, CommandError> {
    let found = value(keg, text)?;
    through::whole(keg, &found.entry, found.within.as_ref(), text)?;
    Ok(found)
}

/// Finds what a text names; a pointer is found as such.
pub fn name(keg: &Keg, text: &str) -> Result<Located, CommandError> {
    let label = text.to_owned();
    if text.starts_with("K-") {
        let kid = resolve(keg, text)?;
        return Ok(Located { label, entry: entry_of(keg, kid)?, within: None });
    }
    let (path, at) = split(keg, text)?;
    let (tree, below) = place(keg, &path, at)?;
    let within = through::bring(keg, (&tree, &below), text)?;
    let entry = find(keg, text)?.ok_or_else(|| {
        let path = split(keg, text).map_or_else(|_| NamePath::root(), |(path, _)| path);
        let parent = path.parent().unwrap_or_else(NamePath::root);
        CommandError::user(format!("there is nothing at {text}"))
            .hint(format!("`keg ls {parent}` shows what is there, `keg log {path}` what was"))
    })?;
    Ok(Located { label, entry, within })
}

/// What is at a path (at a version), if anything.
pub fn find(keg: &Keg, text: &str) -> Result<Option<Entry>, CommandError> {
    let (path, at) = split(keg, text)?;
    match at {
        None => Ok(keg.get(&path)?),
        Some(at) => at_version(keg, &path, at),
    }
}

/// A path and the version after its `@`, if there is one: a KID, or the number that `keg log`
/// shows. A name that ends in `@` and digits itself comes first.
pub fn split<'a>(keg: &Keg, text: &'a str) -> Result<(NamePath, Option<&'a str>), CommandError> {
    let Some((path, at)) = text.rsplit_once('@') else { return Ok((text.parse()?, None)) };
    let number = !at.is_empty() && at.bytes().all(|byte| byte.is_ascii_digit());
    if at.starts_with("K-") || number && keg.get(&text.parse()?)?.is_none() {
        return Ok((path.parse()?, Some(at)));
    }
    Ok((text.parse()?, None))
}

/// The version that an `@…` stands for: the commit of the namespace with this number, or a KID.
pub fn version(keg: &Keg, at: &str) -> Result<Kid, CommandError> {
    match at.parse::<u64>() {
        Ok(seq) => Ok(keg.version(seq)?.commit),
        Err(_) => resolve(keg, at),
    }
}

/// The one KID that a prefix stands for.
pub fn resolve(keg: &Keg, text: &str) -> Result<Kid, CommandError> {
    let prefix: KidPrefix = text.parse().map_err(|error: keg::kid::ParseKidError| {
        CommandError::user(error.to_string()).hint("KIDs look like K-0123abcd")
    })?;
    if let Some(kid) = prefix.full() {
        return Ok(kid);
    }
    keg.resolve(&prefix).map_err(|error| {
        CommandError::user(error.to_string())
            .hint("`keg log PATH` and `keg ls PATH` show the KIDs of what has a name")
    })
}

/// An entry for a KID that has no name.
fn entry_of(keg: &Keg, kid: Kid) -> Result<Entry, CommandError> {
    let objects = keg.objects();
    let missing = || {
        CommandError::user(format!("{} is not in this Keg", kid.short()))
            .hint("`keg log PATH` and `keg ls PATH` show the KIDs of what has a name")
    };
    Ok(match objects.kind(&kid)?.ok_or_else(missing)? {
        Kind::Blob => Entry::file(kid, objects.blob_size(&kid)?),
        Kind::Commit => Entry::commit(kid),
        Kind::Tree => {
            let value = Value::Tree { kid, bytes: 0, entries: 0 };
            Entry { value, attrs: keg::object::Attrs::with_mode(0o755) }
        }
    })
}

/// The tree from which a path is gone down, and the way.
fn place(keg: &Keg, path: &NamePath, at: Option<&str>) -> Result<(Kid, String), CommandError> {
    let way = path.as_str().to_owned();
    let Some(at) = at else { return Ok((keg.head()?.tree, way)) };
    let (kid, objects) = (version(keg, at)?, keg.objects());
    if objects.kind(&kid)? != Some(Kind::Commit) {
        return Ok((kid, way));
    }
    let tree = objects.commit(&kid)?.tree;
    Ok((tree, below_history_of(keg, path, kid)?.unwrap_or(way)))
}

/// A path in a version of the namespace, or in a release or source commit itself.
fn at_version(keg: &Keg, path: &NamePath, at: &str) -> Result<Option<Entry>, CommandError> {
    let kid = version(keg, at)?;
    let objects = keg.objects();
    if objects.kind(&kid)? != Some(Kind::Commit) {
        return Ok(objects.walk(&kid, path.as_str().trim_start_matches('/'))?);
    }
    let tree = objects.commit(&kid)?.tree;
    match below_history_of(keg, path, kid)? {
        Some(below) if below.is_empty() => Ok(Some(Entry::commit(kid))),
        Some(below) => Ok(objects.walk(&tree, &below)?),
        None => Ok(keg.get_at(path, &Version { seq: 0, commit: kid, tree })?),
    }
}

/// Where `kid` is a commit in the history of the name at `path`, or of one above it: the rest of
/// the path below that name.
fn below_history_of(keg: &Keg, path: &NamePath, kid: Kid) -> Result<Option<String>, CommandError> {
    let mut name = Some(path.clone());
    while let Some(here) = name {
        if let Some(Entry { value: Value::Commit { kid: newest }, .. }) = keg.get(&here)?
            && is_ancestor(keg, kid, newest)?
        {
            let below = path.as_str()[here.as_str().len()..].trim_start_matches('/');
            return Ok(Some(below.to_owned()));
        }
        name = here.parent();
    }
    Ok(None)
}

/// Commits looked at before giving up on a long history.
const MAX_ANCESTORS: usize = 100_000;

fn is_ancestor(keg: &Keg, wanted: Kid, newest: Kid) -> Result<bool, CommandError> {
    let mut next = vec![newest];
    let mut seen = std::collections::HashSet::new();
    while let Some(kid) = next.pop() {
        if kid == wanted {
            return Ok(true);
        }
        if seen.len() >= MAX_ANCESTORS || !seen.insert(kid) {
            continue;
        }
        // One that the policy for history has let go of ends its line.
        next.extend(keg.parent(&kid)?.into_iter().flat_map(|commit| commit.parents));
    }
    Ok(false)
}
