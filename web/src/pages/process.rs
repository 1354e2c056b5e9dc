//! A process: what it is, and the chain from it to the source it came from.

use keg::{Kid, object::Value};
use maud::{Markup, html};
use serde_json::Value as Json;

use super::{
    Page,
    log::{self, Log},
    parts::{self, Link, pill, process_tone},
};
use crate::{
    docs::{Build, Process, command_line},
    error::Fault,
    format,
    location::url_of,
    view::{Found, View},
};

/// The page.
pub async fn page(view: &View, found: &Found, machine: &str, id: &str) -> Result<Page, Fault> {
    let id = id.trim_end_matches(".json");
    let json = view.entry_json(&found.entry).await?.unwrap_or_default();
    let process: Process = crate::docs::read(json);
    let name = title(&process);
    let links = chain(view, &process, Some((machine, id))).await?;
    let log = match &process.stream {
        Some(stream) => Log::of_stream(view, stream).await,
        None => None,
    };
    let content = html! {
        div.head {
            h1 { (name) " " (pill(process_tone(&process.state), &process.state)) }
            p.lead {
                @match &process.app {
                    Some(app) => { "A process of " (parts::app(app)) " on " },
                    None => "One of Keg's own processes on ",
                }
                a href=(url_of(&format!("/machines/{machine}"))) { (machine) }
                @if let Some(pid) = process.pid { ", pid " b { (pid) } }
                ", started " (parts::time(process.started.as_deref())) "."
            }
        }
        @if process.app.is_some() { (parts::chain(&links)) }
        (facts(view, &process))
        @if process.stream.is_some() {
            (log::section("output", "Output", log.as_ref()))
            @if process.app.is_some() {
                p.soft.more {
                    "Everything that " (process.kind) "." (process.index)
                    " of this app wrote, also the processes that came before this one."
                }
            }
        }
    };
    Ok(Page::new(found, name, content).watching(view.seq, found.location.url()))
}

/// `blog web.0`, or `service/front`.
fn title(process: &Process) -> String {
    match &process.app {
        Some(app) => format!("{app} {}.{}", process.kind, process.index),
        None => match &process.what {
            Some(what) if !what.is_empty() => format!("{} {what}", process.kind),
            _ => process.kind.clone(),
        },
    }
}

fn facts(view: &View, process: &Process) -> Markup {
    let exit = match &process.exit {
        Json::Null => None,
        Json::Object(exit) => {
            let part = |name: &str| {
                let value = exit.get(name).filter(|value| !value.is_null())?;
                Some(format!("{name} {value}"))
            };
            Some(
                ["code", "signal", "oom"]
                    .into_iter()
                    .filter_map(part)
                    .collect::<Vec<_>>()
                    .join(", "),
            )
        }
        other => Some(other.to_string()),
    };
    let mut rows: Vec<(&str, Markup)> = vec![
        (
            "Process",
            html! {
                @match &process.process { Some(kid) => span.kid.long { (kid) }, None => "–" }
            },
        ),
        ("Command", html! { code.command { (command_line(&process.command)) } }),
    ];
    if let Some(port) = process.port {
        rows.push(("Port", html! { (port) }));
    }
    if let Some(author) = &process.author {
        rows.push(("Author", parts::author(view, author)));
    }
    rows.push(("Restarts", html! { (process.restarts) }));
    if let Some(exit) = exit.filter(|exit| !exit.is_empty()) {
        rows.push(("Exit", html! { (exit) }));
    }
    parts::facts(&rows)
}

/// The chain from a process to its source, as far as the documents know it.
///
/// # Errors
/// A failure inside.
pub async fn chain(
    view: &View,
    process: &Process,
    here: Option<(&str, &str)>,
) -> Result<Vec<Link>, Fault> {
    let app = process.app.as_deref().unwrap_or("");
    let url = match here {
        Some((machine, id)) => url_of(&format!("/machines/{machine}/processes/{id}")),
        None => String::new(),
    };
    let kid = process.process.as_deref().unwrap_or("–");
    let first = Link {
        step: "Process",
        what: parts::kid_at(kid, &url),
        note: html! {
            @if let Some(pid) = process.pid { "pid " (pid) " · " }
            "since " (parts::time(process.started.as_deref()))
        },
        here: true,
    };
    let mut links = vec![first];
    let origin = Origin {
        app,
        release: process.release.as_deref(),
        image: process.image.as_deref(),
        build: process.build.as_deref(),
        source: process.source.as_deref(),
    };
    links.extend(origin.links(view, "").await?);
    Ok(links)
}

/// Where something came from.
pub struct Origin<'a> {
    /// The app.
    pub app: &'a str,
    /// The release commit.
    pub release: Option<&'a str>,
    /// The tree `image/`.
    pub image: Option<&'a str>,
    /// The build's key.
    pub build: Option<&'a str>,
    /// The source commit.
    pub source: Option<&'a str>,
}

impl Origin<'_> {
    /// Release, image, build and source as links of the chain; `here` is the step of this page.
    ///
    /// # Errors
    /// A failure inside.
    pub async fn links(&self, view: &View, here: &str) -> Result<Vec<Link>, Fault> {
        let mut links = Vec::new();
        let release = view.commit_named(self.release).await;
        if let Some(text) = self.release {
            let note = match &release {
                Some((_, commit)) => html! { "made " (parts::time_ms(commit.time_ms)) },
                None => html! { "not here any more" },
            };
            let url = at(&format!("/oci-images/{}", self.app), text);
            links.push(Link {
                step: "Release",
                what: parts::kid_at(text, &url),
                note,
                here: here == "Release",
            });
        }
        if let Some(text) = self.image {
            let note = match text.parse::<Kid>() {
                Ok(kid) => size_of(view, &kid).await,
                Err(_) => html! {},
            };
            let url = match self.release {
                Some(release) => {
                    format!("{}#image", at(&format!("/oci-images/{}", self.app), release))
                }
                None => format!("/-/kid/{text}"),
            };
            links.push(Link {
                step: "Image",
                what: parts::kid_at(text, &url),
                note,
                here: here == "Image",
            });
        }
        if let Some(key) = self.build {
            let build: Option<Build> = view.doc(&format!("/builds/{key}/build.json")).await?;
            let note = match &build {
                Some(build) => built(build),
                None => html! { "not here any more" },
            };
            let what = html! { a.kid href=(url_of(&format!("/builds/{key}"))) { (key) } };
            links.push(Link { step: "Build", what, note, here: here == "Build" });
        }
        if let Some(text) = self.source {
            let note = match view.commit_named(Some(text)).await {
                Some((_, commit)) => html! {
                    q { (parts::subject(&commit.message)) } " by "
                    (parts::author(view, &commit.author))
                },
                None => html! { "not here any more" },
            };
            let url = at(&format!("/source/{}", self.app), text);
            links.push(Link {
                step: "Source",
                what: parts::kid_at(text, &url),
                note,
                here: here == "Source",
            });
        }
        Ok(links)
    }
}

/// The address of a place in the version a KID names.
pub fn at(path: &str, kid: &str) -> String {
    match kid.parse::<Kid>() {
        Ok(kid) => format!("{}@{kid}", url_of(path)),
        Err(_) => url_of(path),
    }
}

/// A build in a few words: `python in 1.4 s`, `failed after 535 ms`, `running since just now`.
fn built(build: &Build) -> Markup {
    let pack = build.inputs.pack_name.as_deref().unwrap_or("built");
    let took = build.took().map_or_else(|| "–".to_owned(), format::seconds);
    match build.state.as_str() {
        "running" => html! { "running since " (parts::time(build.started.as_deref())) },
        "failed" => html! { "failed after " (took) },
        _ => html! { (pack) " in " (took) },
    }
}

/// The size of an image: of its files, which its layers hold once more.
async fn size_of(view: &View, image: &Kid) -> Markup {
    let Ok(directory) = view.tree(image).await else { return html! {} };
    let rootfs = view.name_in(&directory, b"rootfs").await.ok().flatten();
    match rootfs.as_ref().map(|entry| &entry.value) {
        Some(Value::Tree { bytes, entries, .. }) => html! {
            (format::bytes(*bytes)) " in " (format::count(*entries)) " entries"
        },
        _ => html! {},
    }
}
