//! `keg why PATH` of a path that is a pointer or below one: where it comes from, and who said so.

use keg::{NamePath, object::Entry};
use serde_json::json;

use crate::{
    args::Output,
    commands::{locate, point, through},
    error::CommandError,
    find, output,
};

/// Prints where the value at a path comes from; false: no pointer leads to it.
pub fn run(target: &str, how: Output) -> Result<bool, CommandError> {
    let keg = find::keg()?;
    let (path, _) = locate::split(&keg, target)?;
    let Some(at) = through::above(&keg, &path)? else { return Ok(false) };
    let Some(entry) = keg.get(&at)? else { return Ok(false) };
    let kid = entry.kid();
    let change = keg.history(&at).next().transpose()?;
    let commit = change.as_ref().map(|change| keg.objects().commit(&change.commit)).transpose()?;
    let is_here = !keg::pointer::is_absent(keg.objects(), &entry)?;
    let mut document = json!({ "path": path.as_str(), "pointer": at.as_str(), "kid": kid,
        "here": is_here, "seq": change.as_ref().map(|change| change.seq),
        "version": change.as_ref().map(|change| change.commit) });
    for (name, value) in
        point::facts(&entry).as_ref().and_then(|f| f.as_object().cloned()).into_iter().flatten()
    {
        document[name] = value;
    }
    if let Some(commit) = &commit {
        document["author"] = json!(commit.author);
        document["user"] = json!(commit.extra.get("user"));
        document["time"] = json!(keg::time::rfc3339(commit.time_ms));
        document["message"] = json!(commit.message);
    }
    if how.json {
        return output::json_line(&document).map(|()| true);
    }
    words(&at, &entry, is_here)?;
    if let (Some(change), Some(commit)) = (change, commit) {
        output::line(&format!(
            "set      version {} {}  {}  {}: {}",
            change.seq,
            change.commit.short(),
            keg::time::rfc3339(commit.time_ms),
            commit.author,
            commit.message.lines().next().unwrap_or_default()
        ))?;
    }
    Ok(true)
}

fn words(at: &NamePath, entry: &Entry, is_here: bool) -> Result<(), CommandError> {
    let short = entry.kid().map_or_else(|| "-".to_owned(), |kid| kid.short());
    output::line(&format!("pointer  {at}"))?;
    output::line(&format!("leads to {}", point::words(entry).unwrap_or_default()))?;
    output::line(&format!("value    {short}, {}", if is_here { "here" } else { "not here" }))
}
