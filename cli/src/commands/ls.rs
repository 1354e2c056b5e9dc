//! `keg ls`: what a directory of the namespace holds.

use keg::object::{Entry, Tree, Value};
use serde_json::{Value as Json, json};

use super::{locate, point};
use crate::{args::Output, error::CommandError, find, output};

/// Lists a directory; a file lists itself.
pub fn run(path: &str, how: Output) -> Result<(), CommandError> {
    let keg = find::keg()?;
    let entries = match path {
        "/" => keg.objects().tree(&keg.head()?.tree)?,
        path => {
            let located = locate::value(&keg, path)?;
            match located.entry.value {
                Value::Tree { kid, .. } => keg.objects().tree(&kid)?,
                Value::Commit { kid } => keg.objects().tree(&keg.objects().commit(&kid)?.tree)?,
                _ => return list_one(path, &located.entry, how),
            }
        }
    };
    list(&entries, how)
}

fn list_one(path: &str, entry: &Entry, how: Output) -> Result<(), CommandError> {
    if how.json { output::json_line(&describe(path, entry)) } else { output::line(path) }
}

fn list(tree: &Tree, how: Output) -> Result<(), CommandError> {
    if how.json {
        let rows = tree.entries.iter().map(|(name, entry)| {
            let mut row = describe(&name.to_string_lossy(), entry);
            if std::str::from_utf8(name.as_bytes()).is_err() {
                let digits = name.as_bytes().iter().map(|byte| format!("{byte:02x}"));
                row["name_hex"] = json!(digits.collect::<String>());
            }
            row
        });
        return output::json_line(&Json::Array(rows.collect()));
    }
    let rows: Vec<Vec<String>> = tree
        .entries
        .iter()
        .map(|(name, entry)| {
            let name = name.to_string_lossy();
            let suffix = match &entry.value {
                Value::Tree { .. } => "/".to_owned(),
                _ => point::words(entry).map_or_else(String::new, |to| format!(" → {to}")),
            };
            vec![
                kind(entry).to_owned(),
                entry.kid().map_or("-".to_owned(), |kid| kid.short()),
                size(entry).map_or("-".to_owned(), output::bytes),
                format!("{name}{suffix}"),
            ]
        })
        .collect();
    output::table(&["KIND", "KID", "SIZE", "NAME"], &rows)
}

/// An entry as data.
pub fn describe(name: &str, entry: &Entry) -> Json {
    let mut row = json!({
        "name": name,
        "kind": kind(entry),
        "kid": entry.kid(),
        "size": size(entry),
        "mode": format!("{:04o}", entry.attrs.mode),
    });
    if let Value::Symlink { target } = &entry.value {
        row["target"] = json!(String::from_utf8_lossy(target));
    }
    for (name, value) in
        point::facts(entry).as_ref().and_then(Json::as_object).into_iter().flatten()
    {
        row[name] = value.clone();
    }
    row
}

/// The word for what an entry is.
pub fn kind(entry: &Entry) -> &'static str {
    match entry.value {
        Value::File { .. } => "blob",
        Value::Tree { .. } => "tree",
        Value::Commit { .. } => "commit",
        Value::Symlink { .. } => "symlink",
        Value::Pointer { .. } => "pointer",
        Value::Device { .. } => "device",
        Value::Fifo => "fifo",
    }
}

fn size(entry: &Entry) -> Option<u64> {
    match entry.value {
        Value::File { size, .. } => Some(size),
        Value::Tree { bytes, .. } => Some(bytes),
        _ => None,
    }
}
