//! Directories, tables without a page of their own, and values that are neither file nor
//! directory.

use keg::{
    names::noun,
    object::{Entry, EntryName, Value},
};
use maud::{Markup, html};
use serde_json::{Map, Value as Json};

use super::{Page, home, index, object, parts, pointers};
use crate::{
    ask::Ask,
    data,
    error::Fault,
    format,
    location::Location,
    view::{Directory, Found, View},
};

/// Columns of a table.
const MAX_COLUMNS: usize = 7;
/// Rows of a table on a page (the data has 1,000).
const MAX_ROWS: usize = 200;

/// The page of a directory.
pub async fn page(view: &View, found: &Found, ask: &Ask) -> Result<Page, Fault> {
    let directory = view.directory(&found.entry).await?;
    let directory = directory.ok_or_else(|| Fault::not_found("It is not a directory."))?;
    let title = found.location.display();
    let content = html! {
        h1 { span.path { (title) } }
        (summary(found))
        (listing(view, &found.location, &directory, ask).await?)
    };
    Ok(Page::new(found, title, content).watching(view.seq, found.location.url()))
}

/// A directory's entries, or, where all are documents, its rows.
pub async fn listing(
    view: &View,
    location: &Location,
    directory: &Directory,
    ask: &Ask,
) -> Result<Markup, Fault> {
    let after = ask.after.as_deref();
    if directory.is_table() {
        return table(view, location, directory, after).await;
    }
    let (page, next) = data::page_of(view, directory, location, after, data::PAGE).await?;
    Ok(html! {
        @if page.is_empty() { p.empty { "It is empty." } } @else { (files(location, &page)) }
        @if let Some(next) = next { (parts::more(&next, "The next 1,000")) }
    })
}

/// Entries as a list: what each is, its size, its KID.
pub fn files(location: &Location, page: &[(EntryName, Entry)]) -> Markup {
    let mut sorted: Vec<&(EntryName, Entry)> = page.iter().collect();
    // Directories first, as people expect; names stay in their order.
    sorted.sort_by_key(|(_, entry)| !is_directory(entry));
    html! {
        table.files {
            caption.unseen { "Entries" }
            thead.unseen { tr {
                th scope="col" { "Name" } th scope="col" { "Size" } th scope="col" { "KID" }
            } }
            tbody {
                @for (name, entry) in sorted {
                    tr {
                        td {
                            a class=(kind(entry)) href=(location.join(name).url()) {
                                (name.to_string_lossy())
                            }
                            @if let Value::Symlink { target } = &entry.value {
                                span.soft { " → " (String::from_utf8_lossy(target)) }
                            }
                        }
                        td.size { (size(entry)) }
                        td.id { @if let Some(kid) = entry.kid() {
                            (parts::kid_at(&kid.to_string(), &format!("/-/kid/{kid}")))
                        } }
                    }
                }
            }
        }
    }
}

fn is_directory(entry: &Entry) -> bool {
    matches!(entry.value, Value::Tree { .. } | Value::Commit { .. })
}

fn kind(entry: &Entry) -> &'static str {
    match &entry.value {
        Value::Tree { .. } => "f f-dir",
        Value::Commit { .. } => "f f-commit",
        Value::Symlink { .. } => "f f-link",
        Value::File { .. } if entry.attrs.mode & 0o111 != 0 => "f f-exec",
        Value::File { .. } => "f f-file",
        _ => "f f-other",
    }
}

fn size(entry: &Entry) -> Markup {
    match &entry.value {
        Value::File { size, .. } => html! { (format::bytes(*size)) },
        Value::Tree { bytes, entries, .. } => html! {
            (format::bytes(*bytes)) span.soft { " in " (format::count(*entries)) }
        },
        Value::Commit { .. } => html! { span.soft { "commit" } },
        _ => html! { span.soft { (noun(entry)) } },
    }
}

fn summary(found: &Found) -> Markup {
    match &found.entry.value {
        Value::Tree { kid, bytes, entries } => html! {
            p.lead {
                (format::count(*entries)) (if *entries == 1 { " entry, " } else { " entries, " })
                (format::bytes(*bytes)) ", "
                (parts::kid_at(&kid.to_string(), &format!("/-/kid/{kid}")))
            }
        },
        _ => html! {},
    }
}

async fn table(
    view: &View,
    location: &Location,
    directory: &Directory,
    after: Option<&str>,
) -> Result<Markup, Fault> {
    let (page, next) = data::page_of(view, directory, location, after, MAX_ROWS).await?;
    let mut rows: Vec<(&EntryName, Map<String, Json>)> = Vec::new();
    for (name, entry) in &page {
        let json = view.entry_json(entry).await?;
        rows.push((
            name,
            match json {
                Some(Json::Object(fields)) => fields,
                Some(other) => Map::from_iter([("value".to_owned(), other)]),
                None => Map::new(),
            },
        ));
    }
    let mut heads: Vec<String> = Vec::new();
    for (row, fields) in &rows {
        for (name, value) in fields {
            // A document that says what it is called, as users do, need not say it twice.
            let known = name == "name"
                && value
                    .as_str()
                    .is_some_and(|said| row.to_string_lossy() == format!("{said}.json"));
            let plain = !value.is_object() && !known && !heads.contains(name);
            if plain && heads.len() < MAX_COLUMNS {
                heads.push(name.clone());
            }
        }
    }
    let cells: Vec<Vec<Markup>> = rows
        .iter()
        .map(|(name, fields)| {
            let shown = name.to_string_lossy();
            let shown = shown.trim_end_matches(".json").to_owned();
            let first = html! { a href=(location.join(name).url()) { (shown) } };
            let rest = heads.iter().map(|head| object::scalar(fields.get(head)));
            std::iter::once(first).chain(rest).collect()
        })
        .collect();
    let labels: Vec<String> = heads.iter().map(|head| parts::label(head)).collect();
    let heads: Vec<&str> =
        std::iter::once("Name").chain(labels.iter().map(String::as_str)).collect();
    Ok(html! {
        (parts::table("Rows", &heads, &cells))
        @if next.is_some() || after.is_some() {
            p.soft { (cells.len()) " of " (format::count(directory.total())) " rows; "
                a href=(format!("{}?json", location.url())) { "more as data" } "." }
        }
        @if let Some(next) = next { (parts::more(&next, &format!("The next {MAX_ROWS}"))) }
    })
}

/// A section of the namespace that nothing was written to yet.
pub async fn empty(
    view: &mut View,
    location: &Location,
    section: &str,
    ask: &Ask,
) -> Result<Page, Fault> {
    let root = view.find(&Location::default()).await?;
    let found = Found { location: location.clone(), ..root };
    match section {
        "apps" => index::apps(view, &found, ask).await,
        _ => {
            let content = html! {
                h1 { span.path { (location.display()) } }
                p.empty { "Nothing is here yet." }
                (home::first_push(&ask.host))
            };
            Ok(Page::new(&found, location.display(), content).watching(view.seq, location.url()))
        }
    }
}

/// A link, pointer, device or pipe.
pub fn special(found: &Found) -> Page {
    let title = found.location.title();
    let rows: Vec<(&str, Markup)> = match &found.entry.value {
        Value::Symlink { target } => {
            vec![("Target", html! { code { (String::from_utf8_lossy(target)) } })]
        }
        Value::Pointer { .. } => pointers::facts(&found.entry),
        Value::Device { block, major, minor } => vec![
            ("Kind", html! { (if *block { "block" } else { "character" }) }),
            ("Number", html! { (major) ":" (minor) }),
        ],
        _ => Vec::new(),
    };
    let content = html! {
        h1 { (title) }
        p.lead { "A " (noun(&found.entry)) "." }
        (parts::facts(&rows))
    };
    Page::new(found, title, content)
}
