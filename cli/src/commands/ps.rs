//! `keg ps`: the process table.

use serde_json::{Value as Json, json};

use crate::{args::Output, error::CommandError, find, output};

/// Fields every row carries, in this order, whether or not its writer had something to say.
const FIELDS: [&str; 12] = [
    "process", "pid", "app", "type", "state", "image", "release", "source", "user", "author",
    "started", "restarts",
];

/// Prints the processes of apps, or of everything.
pub fn run(all: bool, how: Output) -> Result<(), CommandError> {
    let (keg, _) = find::running_keg()?;
    let mut rows = keg::process::rows(&keg)?;
    rows.retain(|row| all || !row["app"].is_null());
    rows.sort_by_key(|row| (output::field(row, "app"), output::field(row, "type")));
    if how.json {
        return output::json_line(&Json::Array(rows.iter().map(complete).collect()));
    }
    if rows.is_empty() {
        return output::line("No app is running. Push one: git push keg main");
    }
    print(&rows)
}

/// The table for people.
pub fn print(rows: &[Json]) -> Result<(), CommandError> {
    let cells: Vec<Vec<String>> = rows
        .iter()
        .map(|row| {
            vec![
                output::short(row, "process"),
                output::field(row, "pid"),
                output::field(row, "app"),
                output::field(row, "type"),
                output::field(row, "state"),
                output::field(row, "restarts"),
                output::short(row, "release"),
                output::short(row, "source"),
                author(row),
                output::field(row, "started"),
            ]
        })
        .collect();
    let headings = [
        "PROCESS", "PID", "APP", "TYPE", "STATE", "RESTARTS", "RELEASE", "SOURCE", "AUTHOR",
        "STARTED",
    ];
    output::table(&headings, &cells)
}

/// Who wrote what runs, without the address.
fn author(row: &Json) -> String {
    let text = output::field(row, "author");
    let name = text.split('<').next().unwrap_or_default().trim();
    if name.is_empty() { text } else { name.to_owned() }
}

/// The promised fields first, then whatever else the row has.
fn complete(row: &Json) -> Json {
    let mut full = serde_json::Map::new();
    for field in FIELDS {
        full.insert(field.to_owned(), row.get(field).cloned().unwrap_or(Json::Null));
    }
    if let Json::Object(fields) = row {
        for (name, value) in fields {
            full.insert(name.clone(), value.clone());
        }
    }
    json!(full)
}
