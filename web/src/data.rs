//! Places as data: documents as they are, directories as arrays of entries, tables as arrays of
//! rows.

use keg::{
    names::noun,
    object::{Entry, EntryName, Value},
};
use serde_json::{Map, Value as Json, json};

use crate::{
    error::Fault,
    location::{Location, encode},
    view::{Directory, Found, View},
};

/// Entries or rows of one answer; more follow with `?after=`.
pub const PAGE: usize = 1000;

/// An answer: the JSON, the entity tag of a document, and where a listing goes on.
pub struct Data {
    /// What to send.
    pub json: Json,
    /// The KID, as an entity tag, for `If-Match` and `If-None-Match`.
    pub etag: Option<String>,
    /// The next page.
    pub next: Option<String>,
}

/// A place as data.
///
/// # Errors
/// A failure inside.
pub async fn of(view: &View, found: &Found, after: Option<&str>) -> Result<Data, Fault> {
    let etag = found.entry.kid().map(|kid| format!("\"{kid}\""));
    let Some(directory) = view.directory(&found.entry).await? else {
        let json = match view.entry_json(&found.entry).await? {
            Some(json) => json,
            None => entry(None, &found.entry),
        };
        return Ok(Data { json, etag, next: None });
    };
    let (page, next) = page_of(view, &directory, &found.location, after, PAGE).await?;
    let rows = if directory.is_table() { rows(view, &page).await? } else { entries(&page) };
    let json = match &found.entry.value {
        Value::Commit { .. } => commit(found, rows),
        _ => rows,
    };
    Ok(Data { json, etag, next })
}

/// Entries of a directory, and the address of those that follow.
pub type Listing = (Vec<(EntryName, Entry)>, Option<String>);

/// One page of a directory: its entries, and the address of the next page.
///
/// # Errors
/// `after` is no name, or a failure inside.
pub async fn page_of(
    view: &View,
    directory: &Directory,
    location: &Location,
    after: Option<&str>,
    limit: usize,
) -> Result<Listing, Fault> {
    let after = match after.map(|text| Location::parse(&format!("/{text}"))).transpose() {
        Ok(after) => after.and_then(|location| location.names().first().cloned()),
        Err(error) => return Err(Fault::bad_request(format!("after: {error}."))),
    };
    let page = view.names(directory, after.as_ref(), limit).await?;
    let next = page.entries.last().filter(|_| page.more).map(|(name, _)| {
        let mut url = format!("{}?after=", location.url());
        encode(name.as_bytes(), &mut url);
        url
    });
    Ok((page.entries, next))
}

async fn rows(view: &View, page: &[(EntryName, Entry)]) -> Result<Json, Fault> {
    let mut rows = Vec::with_capacity(page.len());
    for (name, entry) in page {
        match view.entry_json(entry).await? {
            Some(json) => rows.push(json),
            None => rows.push(self::entry(Some(name), entry)),
        }
    }
    Ok(Json::Array(rows))
}

fn entries(page: &[(EntryName, Entry)]) -> Json {
    Json::Array(page.iter().map(|(name, e)| entry(Some(name), e)).collect())
}

fn commit(found: &Found, entries: Json) -> Json {
    let Some((kid, commit, _)) = &found.within else { return entries };
    json!({
        "kind": "commit",
        "kid": kid,
        "tree": commit.tree,
        "parents": commit.parents,
        "author": commit.author,
        "user": commit.extra.get("user"),
        "time": keg::time::rfc3339(commit.time_ms),
        "message": commit.message,
        "extra": commit.extra,
        "entries": entries,
    })
}

/// An entry: `{"name", "kind", "kid", "size", "mode", …}`.
fn entry(name: Option<&EntryName>, entry: &Entry) -> Json {
    let mut json = Map::new();
    if let Some(name) = name {
        json.insert("name".to_owned(), name.to_string_lossy().into());
        if std::str::from_utf8(name.as_bytes()).is_err() {
            let mut encoded = String::new();
            encode(name.as_bytes(), &mut encoded);
            json.insert("url_name".to_owned(), encoded.into());
        }
    }
    if let Json::Object(fields) = value(entry) {
        json.extend(fields);
    }
    json.insert("mode".to_owned(), format!("{:04o}", entry.attrs.mode).into());
    Json::Object(json)
}

/// What an entry is, without its name.
pub fn value(entry: &Entry) -> Json {
    match &entry.value {
        Value::File { kid, size } => json!({ "kind": "file", "kid": kid, "size": size }),
        Value::Tree { kid, bytes, entries } => {
            json!({ "kind": "tree", "kid": kid, "size": bytes, "entries": entries })
        }
        Value::Commit { kid } => json!({ "kind": "commit", "kid": kid }),
        Value::Symlink { target } => {
            json!({ "kind": "symlink", "target": String::from_utf8_lossy(target) })
        }
        Value::Pointer { source, reference, kid } => {
            json!({ "kind": "pointer", "source": source, "reference": reference, "kid": kid })
        }
        Value::Device { block, major, minor } => {
            json!({ "kind": noun(entry), "block": block, "major": major, "minor": minor })
        }
        Value::Fifo => json!({ "kind": "fifo" }),
    }
}
