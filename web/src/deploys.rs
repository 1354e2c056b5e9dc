//! The newest deploys, each in its last state, from the history of their documents.

use std::collections::BTreeMap;

use keg::object::{Entry, EntryName};

use crate::{
    docs::{self, Deploy},
    error::Fault,
    history::{self, Reach},
    location::{Location, url_of},
    view::{MAX_NAMES, View},
};

/// How far back a page looks: each deploy makes two or three changes.
const REACH: Reach = Reach { changes: 60, versions: 2000 };

/// The newest deploys of all apps or of one, newest first.
///
/// # Errors
/// A failure inside.
pub async fn recent(view: &View, app: Option<&str>, limit: usize) -> Result<Vec<Deploy>, Fault> {
    let path = match app {
        Some(app) => format!("/deploys/{app}.json"),
        None => "/deploys".to_owned(),
    };
    let mut found = Vec::new();
    // What is there now comes first: it counts even if it changed longer ago than is looked.
    add(view, &mut found, view.get(&path).await?, None).await?;
    if let Ok(place) = Location::parse(&url_of(&path)) {
        for change in history::of_path(view, &place, None, REACH).await?.changes {
            add(view, &mut found, change.new, change.old).await?;
        }
    }
    // RFC 3339 in UTC sorts as text.
    found.sort_by(|a, b| b.started.cmp(&a.started));
    found.truncate(limit);
    Ok(found)
}

/// Adds the deploys that are in one state of the documents and not in the other.
async fn add(
    view: &View,
    found: &mut Vec<Deploy>,
    new: Option<Entry>,
    old: Option<Entry>,
) -> Result<(), Fault> {
    let (new, old) = (documents(view, new).await?, documents(view, old).await?);
    for (name, entry) in &new {
        if old.get(name) == Some(entry) {
            continue;
        }
        let Some(json) = view.entry_json(entry).await? else { continue };
        let deploy: Deploy = docs::read(json);
        let same = |d: &Deploy| d.app == deploy.app && d.started == deploy.started;
        if !found.iter().any(same) {
            found.push(deploy);
        }
    }
    Ok(())
}

/// The documents of a directory, or the one that it is.
async fn documents(
    view: &View,
    entry: Option<Entry>,
) -> Result<BTreeMap<Option<EntryName>, Entry>, Fault> {
    let Some(entry) = entry else { return Ok(BTreeMap::new()) };
    Ok(match view.directory(&entry).await? {
        Some(directory) => {
            let names = view.names(&directory, None, MAX_NAMES).await?.entries;
            names.into_iter().map(|(name, entry)| (Some(name), entry)).collect()
        }
        None => BTreeMap::from([(None, entry)]),
    })
}
