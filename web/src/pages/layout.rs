//! What is around every page.

use maud::{DOCTYPE, Markup, html};

use crate::{assets, location::Location, view::Found};

/// A page to be laid out.
pub struct Page {
    /// For the browser's title bar.
    pub title: String,
    /// What the breadcrumbs show; `None` for pages outside the namespace.
    pub location: Option<Location>,
    /// A line above the page when it shows an old version.
    pub banner: Option<Markup>,
    /// The page's own content.
    pub content: Markup,
    /// The version shown, and prefixes of paths (as in URLs) whose changes make the page anew.
    pub watch: Option<(u64, String)>,
    /// What the search field holds.
    pub query: String,
    /// Whether links to the data and the history make sense.
    pub forms: bool,
}

impl Page {
    /// A page about a place.
    pub fn new(found: &Found, title: impl Into<String>, content: Markup) -> Self {
        let banner = found.version.as_ref().map(|(kid, commit)| {
            html! {
                p.banner {
                    "You see this as it was in version " span.kid { (kid.short()) } ", "
                    (super::parts::time_ms(commit.time_ms)) ". "
                    a href=(found.location.current().url()) { "Show the current version" }
                }
            }
        });
        Self {
            title: title.into(),
            location: Some(found.location.clone()),
            banner,
            content,
            watch: None,
            query: String::new(),
            forms: true,
        }
    }

    /// Makes the page anew when something below these prefixes (as in URLs, separated by spaces)
    /// changes.
    pub fn watching(mut self, seq: u64, prefixes: impl Into<String>) -> Self {
        // An old version does not change.
        if self.banner.is_none() {
            self.watch = Some((seq, prefixes.into()));
        }
        self
    }
}

/// A barrel, seen from its side.
fn logo() -> Markup {
    html! {
        svg.logo viewBox="0 0 32 32" aria-hidden="true" {
            path.wood d="M8 3h16c2.6 4 4 8.4 4 13s-1.4 9-4 13H8c-2.6-4-4-8.4-4-13S5.4 7 8 3z" {}
            path.hoop d="M5.7 9.5h20.6M5.7 22.5h20.6" {}
            path.stave d="M12.5 3.5c-1 4-1.5 8-1.5 12.5s.5 8.5 1.5 12.5" {}
            path.stave d="M19.5 3.5c1 4 1.5 8 1.5 12.5s-.5 8.5-1.5 12.5" {}
        }
    }
}

/// The whole document.
pub fn document(page: &Page) -> Markup {
    let (seq, prefixes) = match &page.watch {
        Some((seq, prefixes)) => (Some(seq.to_string()), Some(prefixes.as_str())),
        None => (None, None),
    };
    html! {
        (DOCTYPE)
        html lang="en" {
            head {
                meta charset="utf-8";
                meta name="viewport" content="width=device-width, initial-scale=1";
                meta name="color-scheme" content="light dark";
                title { (page.title) " · Keg" }
                link rel="icon" type="image/svg+xml" href=(assets::ICON.url());
                link rel="stylesheet" href=(assets::STYLE.url());
                script src=(assets::SCRIPT.url()) defer {}
            }
            body {
                a.skip href="#main" { "Skip to the content" }
                (header(page))
                main #main data-seq=[seq] data-watch=[prefixes] {
                    @if let Some(location) = &page.location { (crumbs(location, page.forms)) }
                    @if let Some(banner) = &page.banner { (banner) }
                    (page.content)
                }
                footer {
                    p { "Everything here is a value with a name and a history. "
                        a href="/" { "The namespace" } " · " a href="/?log" { "all changes" } }
                }
            }
        }
    }
}

fn header(page: &Page) -> Markup {
    let first = page.location.as_ref().and_then(|l| l.names().first().map(|n| n.to_string_lossy()));
    let current = |name: &str| (first.as_deref() == Some(name)).then_some("true");
    html! {
        header.top {
            div {
                a.brand href="/" { (logo()) span { "Keg" } }
                nav aria-label="Sections" {
                    @for (url, name) in [
                        ("apps", "Apps"), ("builds", "Builds"), ("packages", "Packages"),
                        ("machines", "Machines"),
                    ] {
                        a href=(format!("/{url}")) aria-current=[current(url)] { (name) }
                    }
                }
                form.search role="search" action="/-/search" method="get" {
                    label.unseen for="q" { "Find a KID, a process number or an app" }
                    input #q name="q" type="search" placeholder="K-…, pid or app"
                        value=(page.query) maxlength="200" autocomplete="off" spellcheck="false";
                    button type="submit" { "Find" }
                }
            }
        }
    }
}

/// The path, each name linked, and the other forms of the same place.
fn crumbs(location: &Location, forms: bool) -> Markup {
    let depth = location.names().len();
    let url = location.url();
    html! {
        div.where {
            nav aria-label="Path" {
                ol.crumbs {
                    li { a href=(location.ancestor(0).url()) aria-label="The namespace" { "/" } }
                    @for at in 1..=depth {
                        @let part = location.ancestor(at);
                        li { a href=(part.url()) aria-current=[(at == depth).then_some("page")] {
                            (part.title())
                        } }
                    }
                    @if let Some(at) = location.at() {
                        li.at { span.kid { "@K-" (&at.digits()[..keg::kid::SHORT_DIGITS]) } }
                    }
                }
            }
            @if forms {
                p.forms {
                    a href=(format!("{url}?log")) { "History" }
                    a href=(format!("{url}?json")) { "Data" }
                }
            }
        }
    }
}
