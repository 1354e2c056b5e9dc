//! `PATH?log`: the versions in which a place changed.

use keg::object::{Commit, Entry};
use maud::{Markup, html};
use serde_json::{Value as Json, json};

use super::{Page, parts};
use crate::{
    ask::Ask,
    data,
    error::Fault,
    history::{self, Change, Reach},
    location::{Location, url_of},
    view::{Found, View},
};

/// Changes on one page.
const PAGE: usize = 50;

/// The page.
pub async fn page(
    view: &View,
    location: &Location,
    found: Option<&Found>,
    ask: &Ask,
) -> Result<Page, Fault> {
    let (changes, next) = gather(view, location, ask).await?;
    let here = location.current();
    let content = html! {
        h1 { "History of " span.path { (here.display()) } }
        @if let Some(["apps", app]) = here.texts().as_deref() { (of_app(app)) }
        @if changes.is_empty() { p.empty { "It has not changed in the versions looked at." } }
        ol.timeline {
            @for (change, commit) in &changes { (entry(view, &here, change, commit)) }
        }
        @if let Some(next) = next {
            (parts::more(&format!("{}?log&after={next}", here.url()), "Earlier versions"))
        }
    };
    let title = format!("History of {}", here.display());
    Ok(match found {
        Some(found) => Page::new(found, title, content),
        None => Page {
            title,
            location: Some(here),
            banner: None,
            content,
            watch: None,
            query: String::new(),
            forms: true,
        },
    })
}

/// The same as data.
pub async fn data(
    view: &View,
    location: &Location,
    ask: &Ask,
) -> Result<(Json, Option<u64>), Fault> {
    let (changes, next) = gather(view, location, ask).await?;
    let rows = changes.iter().map(|(change, commit)| {
        json!({
            "seq": change.seq,
            "version": change.version,
            "author": commit.author,
            "user": commit.extra.get("user"),
            "time": keg::time::rfc3339(commit.time_ms),
            "message": commit.message,
            "old": change.old.as_ref().map(data::value),
            "new": change.new.as_ref().map(data::value),
        })
    });
    Ok((Json::Array(rows.collect()), next))
}

async fn gather(
    view: &View,
    location: &Location,
    ask: &Ask,
) -> Result<(Vec<(Change, Commit)>, Option<u64>), Fault> {
    let after = ask.after.as_deref().map(str::parse).transpose();
    let after = after.map_err(|_| Fault::bad_request("after must be the number of a version."))?;
    let found = history::of_path(view, location, after, Reach::far(PAGE)).await?;
    Ok((history::commits(view, found.changes).await?, found.next))
}

/// Where the rest of an app's history is: what lies at its own path is its configuration.
fn of_app(app: &str) -> Markup {
    html! {
        p.lead {
            "What was configured. See also "
            @for (path, what, end) in [
                (format!("/source/{app}"), "what was pushed", ", "),
                (format!("/deploys/{app}.json"), "its deploys", " and "),
                (format!("/oci-images/{app}"), "its releases", "."),
            ] {
                a href=(format!("{}?log", url_of(&path))) { (what) } (end)
            }
        }
    }
}

fn entry(view: &View, location: &Location, change: &Change, commit: &Commit) -> Markup {
    let side = |entry: &Option<Entry>| {
        let text = entry.as_ref().and_then(Entry::kid).map(|kid| kid.to_string());
        html! {
            @match (entry, text) {
                (Some(_), Some(text)) => (parts::kid(&text)),
                (Some(_), None) => "a value",
                (None, _) => span.none { "nothing" },
            }
        }
    };
    html! {
        li {
            p.subject {
                @let subject = parts::short_text(parts::subject(&commit.message));
                // In a version that removed it there is nothing to see.
                @match &change.new {
                    Some(_) => a href=(location.at_kid(&change.version).url()) { (subject) },
                    None => (subject),
                }
            }
            p.meta {
                "version " (change.seq) " · " (parts::author(view, &commit.author)) " · "
                (parts::time_ms(commit.time_ms)) " · "
                (side(&change.old)) " → " (side(&change.new))
            }
        }
    }
}
