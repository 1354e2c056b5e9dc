//! What to show when something is wrong: the reason, and ways on.

use keg::object::EntryName;
use maud::{Markup, html};

use super::Page;
use crate::{
    error::Fault,
    location::Location,
    view::{Found, View},
};

/// Names suggested.
const SUGGESTED: usize = 8;

/// The page of a fault.
pub fn page(fault: &Fault, location: Option<Location>, ways: Markup, query: String) -> Page {
    let title = match fault.status.as_u16() {
        404 => "Not here",
        500..=599 => "Something broke",
        _ => "Not possible",
    };
    let content = html! {
        div.missing {
            h1 { (title) }
            p.lead { (fault.message) }
            @if let Some(hint) = &fault.hint { p.hint { (hint) } }
            (ways)
            p {
                a href="/" { "Home" } " · " a href="/apps" { "Apps" } " · "
                a href="/machines" { "Machines" }
            }
        }
    };
    Page {
        title: title.to_owned(),
        location,
        banner: None,
        content,
        watch: None,
        query,
        forms: false,
    }
}

/// The nearest directory that is there, and names in it that look alike.
pub async fn ways(view: &mut View, location: &Location) -> Markup {
    for depth in (0..location.names().len()).rev() {
        let parent = location.ancestor(depth);
        let Ok(found) = view.find(&parent).await else { continue };
        let Some(sought) = location.names().get(depth) else { continue };
        return nearest(view, &found, sought).await;
    }
    html! {}
}

async fn nearest(view: &View, found: &Found, sought: &EntryName) -> Markup {
    let Ok(Some(directory)) = view.directory(&found.entry).await else { return html! {} };
    let listed = view.names(&directory, None, crate::data::PAGE).await.unwrap_or_default();
    let sought = sought.to_string_lossy().to_lowercase();
    let mut names: Vec<(usize, &EntryName)> = listed
        .entries
        .iter()
        .map(|(name, _)| (distance(&sought, &name.to_string_lossy().to_lowercase()), name))
        .collect();
    names.sort();
    let url = found.location.url();
    html! {
        p { "The nearest place that is there: " a href=(url) { (found.location.display()) } }
        @if !names.is_empty() {
            p { "It holds "
                @for (at, (_, name)) in names.iter().take(SUGGESTED).enumerate() {
                    @if at > 0 { ", " }
                    a href=(found.location.join(name).url()) { (name.to_string_lossy()) }
                }
                @if names.len() > SUGGESTED { " and " (names.len() - SUGGESTED) " more" }
                "."
            }
        }
    }
}

/// How unlike two names are: 0 for the same; a common beginning counts most.
fn distance(a: &str, b: &str) -> usize {
    let common = a.chars().zip(b.chars()).take_while(|(x, y)| x == y).count();
    let longest = a.chars().count().max(b.chars().count());
    let contained = if !a.is_empty() && b.contains(a) { 0 } else { longest };
    longest - common + contained
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_that_look_alike_come_first() {
        let mut names = ["machines", "app", "apps", "oci-images"];
        names.sort_by_key(|name| distance("apps", name));
        assert_eq!(names[..2], ["apps", "app"]);
    }
}
