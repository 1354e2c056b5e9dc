//! `/builds`: all of them, newest first, a page at a time.
//!
//! Their names are keys that say nothing of time, so the documents of all are read for the order,
//! of at most [`MAX_NAMES`], giving way to other requests; those of a page are read whole.

use std::cmp::Reverse;

use keg::object::{Entry, EntryName};
use maud::{Markup, html};
use serde::Deserialize;

use super::{
    Page,
    parts::{self, pill, work_tone},
    process::at,
};
use crate::{
    ask::Ask,
    docs::Build,
    error::Fault,
    format,
    location::url_of,
    view::{Found, MAX_NAMES, View},
};

/// Builds on one page.
const SHOWN: usize = 100;

/// What the order of builds needs of their documents.
#[derive(Deserialize, Default)]
#[serde(default)]
struct Began {
    started: Option<String>,
}

/// A build and when it began: the order on the pages, newest first, those that do not say last.
type Row = (Reverse<Option<String>>, String);

/// The page.
pub async fn page(view: &View, found: &Found, ask: &Ask) -> Result<Page, Fault> {
    let (names, total) = match view.directory(&found.entry).await? {
        Some(all) => (view.names(&all, None, MAX_NAMES).await?.entries, all.total()),
        None => (Vec::new(), 0),
    };
    let read = names.len() as u64;
    let (order, others) = in_order(view, names).await?;
    let total = total.saturating_sub(others.len() as u64);
    let after = match ask.after.as_deref() {
        Some(key) => Some(began(view, found, key).await?),
        None => None,
    };
    let from = after.map_or(0, |after| order.partition_point(|row| *row <= after));
    let shown = &order[from..order.len().min(from + SHOWN)];
    let mut rows = Vec::new();
    for (_, key) in shown {
        if let Some(build) = view.doc_below(&found.entry, &format!("{key}/build.json")).await? {
            rows.push(row(view, key, &build).await);
        }
    }
    let more = order.len() > from + shown.len();
    let next = shown.last().filter(|_| more).map(|(_, key)| key);
    let heads = &["App", "State", "Source", "Build", "Pack", "Took", "When"];
    let here = found.location.url();
    let content = html! {
        h1 { "Builds" }
        p.lead { "A build's key comes from its inputs, so the same inputs are never built twice." }
        @if rows.is_empty() { p.empty { "No build yet: push an app." } }
        @else { (parts::table("Builds", heads, &rows)) }
        @if total > rows.len() as u64 {
            p.soft.more {
                (format::count(from as u64 + 1)) " to "
                (format::count((from + shown.len()) as u64)) " of " (format::count(total))
                " are shown, newest first"
                @if read >= MAX_NAMES as u64 && total > order.len() as u64 {
                    " of the first " (format::count(order.len() as u64)) " by their keys"
                }
                "; " a href=(format!("{here}?json")) { "all of them as data" } "."
            }
        }
        @if let Some(key) = next { (parts::more(&format!("{here}?after={key}"), "Earlier builds")) }
        @if !others.is_empty() {
            p.soft.more {
                "What builds share: "
                @for (at, name) in others.iter().enumerate() {
                    @if at > 0 { ", " } a href=(url_of(&format!("/builds/{name}"))) { (name) }
                }
                "."
            }
        }
    };
    Ok(Page::new(found, "Builds", content).watching(view.seq, "/builds"))
}

/// Builds in their order, and what is no build.
async fn in_order(
    view: &View,
    names: Vec<(EntryName, Entry)>,
) -> Result<(Vec<Row>, Vec<String>), Fault> {
    let (mut order, mut others) = (Vec::new(), Vec::new());
    for (name, entry) in names {
        let name = name.to_string_lossy();
        if !super::is_key(&name) {
            others.push(name);
        } else if let Some(Began { started }) = view.doc_below(&entry, "build.json").await? {
            order.push((Reverse(started), name));
        }
    }
    order.sort_unstable();
    Ok((order, others))
}

/// The build after which a page begins.
async fn began(view: &View, found: &Found, key: &str) -> Result<Row, Fault> {
    let gone = || Fault::bad_request(format!("after: there is no build {key:?}."));
    let document = match super::is_key(key) {
        true => view.doc_below(&found.entry, &format!("{key}/build.json")).await?,
        false => None,
    };
    let Began { started } = document.ok_or_else(gone)?;
    Ok((Reverse(started), key.to_owned()))
}

async fn row(view: &View, key: &str, build: &Build) -> Vec<Markup> {
    let source = view.commit_named(build.inputs.source.as_deref()).await;
    vec![
        html! { b { (parts::app(&build.app)) } },
        pill(work_tone(&build.state), &build.state),
        match &source {
            Some((kid, commit)) => {
                let text = kid.to_string();
                html! {
                    (parts::kid_at(&text, &at(&format!("/source/{}", build.app), &text)))
                    " " span.message { (parts::subject(&commit.message)) }
                }
            }
            None => parts::kid_or_dash(None),
        },
        html! { a.kid href=(url_of(&format!("/builds/{key}"))) { (key) } },
        html! { (build.inputs.pack_name.as_deref().unwrap_or("–")) },
        html! { (build.took().map_or_else(|| "–".to_owned(), format::seconds)) },
        parts::time(build.started.as_deref()),
    ]
}
