//! The source browser: a pushed tree, its commit, its files.

use keg::object::Value;
use maud::{Markup, html};

use super::{Page, code, directory, parts, process::at};
use crate::{
    ask::Ask,
    data,
    error::Fault,
    location::{Location, url_of},
    view::{Found, View},
};

/// `/source/<app>` and everything below it.
pub async fn page(view: &View, found: &Found, app: &str, ask: &Ask) -> Result<Page, Fault> {
    let top = found.location.names().len() == 2;
    let title = if top { format!("Source of {app}") } else { found.location.title() };
    let body = match view.directory(&found.entry).await? {
        Some(directory) => {
            let (after, here) = (ask.after.as_deref(), &found.location);
            let (page, next) = data::page_of(view, &directory, here, after, data::PAGE).await?;
            html! {
                @if page.is_empty() { p.empty { "It is empty." } }
                @else { (directory::files(&found.location, &page)) }
                @if let Some(next) = next { (parts::more(&next, "The next 1,000")) }
            }
        }
        None => match &found.entry.value {
            Value::File { .. } => code::file(view, found).await?,
            _ => return Ok(directory::special(found)),
        },
    };
    let content = html! {
        h1 { (title) }
        (commit(view, found, app))
        (body)
    };
    let page = Page::new(found, title, content);
    Ok(if top && found.location.at().is_none() {
        page.watching(view.seq, found.location.url())
    } else {
        page
    })
}

/// The commit that the shown tree is of.
fn commit(view: &View, found: &Found, app: &str) -> Markup {
    let Some((kid, commit, _)) = &found.within else { return html! {} };
    let text = kid.to_string();
    let git = commit.extra.get("git").and_then(serde_json::Value::as_str);
    let parent = commit.parents.first();
    let rest = commit.message.trim().split_once('\n').map_or("", |(_, rest)| rest.trim());
    let pinned = found.location.at().is_some();
    html! {
        div.commit {
            p.subject { (parts::subject(&commit.message)) }
            @if !rest.is_empty() { p.body { (rest) } }
            p.meta {
                b { (parts::author(view, &commit.author)) } " · "
                (parts::time_ms(commit.time_ms)) " · "
                (parts::kid_at(&text, &at(&format!("/source/{app}"), &text)))
                @if let Some(git) = git {
                    " · git " code title=(git) { (git.get(..8).unwrap_or(git)) }
                }
                @if let Some(parent) = parent {
                    @let url = at(&format!("/source/{app}"), &parent.to_string());
                    " · " a href=(url) { "the push before" }
                }
                @if pinned { " · " a href=(found.location.current().url()) { "newest" } }
                @else { " · " a href=(permanent(found, kid)) { "permanent link" } }
                " · " a href=(url_of(&format!("/apps/{app}"))) { "app" }
            }
        }
    }
}

fn permanent(found: &Found, kid: &keg::Kid) -> String {
    let location: Location = found.location.at_kid(kid);
    location.url()
}
