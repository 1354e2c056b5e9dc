//! `keg cp`, `keg mv`, `keg rm`, `keg revert`: names moved over values that stay.

use keg::NamePath;
use serde_json::Value as Json;

use super::{
    change::{Changing, nothing_at},
    locate,
};
use crate::{args::Change, error::CommandError, find};

/// Sets `to` to the value of `from`: a path, a path at a version, or a KID.
pub fn cp(from: &str, to: &str, how: &Change) -> Result<(), CommandError> {
    let keg = find::keg()?;
    let found = locate::name(&keg, from)?;
    if !super::point::is_pointer(&found.entry) {
        // A pointer is copied as one; what is below one becomes a value of this Keg's own.
        super::through::whole(&keg, &found.entry, found.within.as_ref(), from)?;
    }
    let mut change = Changing::new(&keg, how, &format!("copy {from} to {to}"));
    change.set(to.parse()?, found.entry, false)?;
    change.make(&Json::Null, "")
}

/// Moves a name, at once for every reader.
pub fn mv(from: &str, to: &str, how: &Change) -> Result<(), CommandError> {
    let keg = find::keg()?;
    let (from, to): (NamePath, NamePath) = (from.parse()?, to.parse()?);
    if to.as_str().starts_with(&format!("{from}/")) || to == from {
        return Err(CommandError::user(format!("{from} cannot be moved into itself, to {to}"))
            .hint("choose another place"));
    }
    let entry = keg.get(&from)?.ok_or_else(|| nothing_at(&from))?;
    let mut change = Changing::new(&keg, how, &format!("move {from} to {to}"));
    change.set(to, entry, false)?;
    change.remove(from)?;
    change.make(&Json::Null, "")
}

/// Removes a name and what is below it; its history stays.
pub fn rm(path: &str, how: &Change) -> Result<(), CommandError> {
    let keg = find::keg()?;
    let version = keg.head()?.commit.short();
    let mut change = Changing::new(&keg, how, &format!("remove {path}"));
    change.remove(path.parse()?)?;
    change.make(&Json::Null, &format!("`keg revert {path}@{version}` brings it back"))
}

/// Sets a name to what it was in a version; removes it, if it was not there then.
pub fn revert(text: &str, how: &Change) -> Result<(), CommandError> {
    let keg = find::keg()?;
    let (path, version) = locate::split(&keg, text)?;
    if version.is_none() {
        return Err(CommandError::user(format!("which version of {path}?"))
            .hint(format!("`keg log {path}` lists them; then: keg revert {path}@17")));
    }
    let mut change = Changing::new(&keg, how, &format!("revert {text}"));
    match locate::find(&keg, text)? {
        Some(entry) => change.set(path, entry, true)?,
        None => change.remove(path)?,
    }
    change.make(&Json::Null, "")
}
