//! A build: what went in, how long each part took, its log live, what came out.

use maud::{Markup, html};

use super::{
    Page,
    log::{self, Log},
    package,
    parts::{self, pill, work_tone},
    process::Origin,
};
use crate::{
    docs::Build,
    error::Fault,
    format,
    location::url_of,
    view::{Found, View},
};

/// `/builds/<key>`.
pub async fn page(view: &View, found: &Found, key: &str) -> Result<Page, Fault> {
    let build: Build = view.doc_below(&found.entry, "build.json").await?.unwrap_or_default();
    let log = log_of(view, found, key, &build).await?;
    let origin = Origin {
        app: &build.app,
        release: None,
        image: build.image.as_deref(),
        build: Some(key),
        source: build.inputs.source.as_deref(),
    };
    let links = origin.links(view, "Build").await?;
    let took = parts::span(build.started.as_deref(), build.finished.as_deref());
    let running = build.state == "running";
    let content = html! {
        div.head {
            h1 { "Build of " (build.app) " " (pill(work_tone(&build.state), &build.state)) }
            p.lead {
                @if let Some(pack) = &build.inputs.pack_name { "With the " b { (pack) } " pack, " }
                "started " (parts::time(build.started.as_deref()))
                @if let Some(took) = took.filter(|_| !running) { ", took " (format::seconds(took)) }
                "."
            }
        }
        (parts::chain(&links))
        @if let Some(error) = &build.error {
            (parts::problem("The build failed", error, &html! {}))
        }
        (parts::seconds_bar(&build.seconds))
        (log::section("log", "Log", log.as_ref()))
        (inputs(&build))
    };
    let page = Page::new(found, format!("Build {key}"), content);
    Ok(page.watching(view.seq, format!("/builds/{key}/build.json")))
}

/// `/builds/<key>/log`: the log alone.
pub async fn log_page(view: &View, found: &Found, key: &str) -> Result<Page, Fault> {
    let path = format!("/builds/{key}/log");
    let log = Log::of_blob(view, &found.entry, &path).await?;
    let content = html! {
        h1 { "Log of build " span.kid { (key) } }
        p.lead { a href=(url_of(&format!("/builds/{key}"))) { "The build" } }
        (log::section("log", "Log", log.as_ref()))
    };
    Ok(Page::new(found, format!("Log of build {key}"), content))
}

/// The log: the sealed blob if there is one, else the stream.
async fn log_of(
    view: &View,
    found: &Found,
    key: &str,
    build: &Build,
) -> Result<Option<Log>, Fault> {
    if let Some(entry) = view.get_below(&found.entry, "log").await? {
        return Log::of_blob(view, &entry, &format!("/builds/{key}/log")).await;
    }
    Ok(match &build.stream {
        Some(stream) => Log::of_stream(view, stream).await,
        None => None,
    })
}

fn inputs(build: &Build) -> Markup {
    let inputs = &build.inputs;
    let mut rows: Vec<(&str, Markup)> = vec![
        (
            "Source",
            match &inputs.source {
                Some(kid) => {
                    parts::kid_at(kid, &super::process::at(&format!("/source/{}", build.app), kid))
                }
                None => parts::kid_or_dash(None),
            },
        ),
        ("Tree", parts::kid_or_dash(inputs.tree.as_deref())),
        (
            "Pack",
            html! {
                (inputs.pack_name.as_deref().unwrap_or("")) " "
                (parts::kid_or_dash(inputs.pack.as_deref()))
            },
        ),
    ];
    if let Some(suite) = &inputs.suite {
        rows.push(("Suite", html! { (suite) }));
    }
    if !inputs.locks.is_empty() {
        rows.push((
            "Locks",
            html! {
                @for (at, key) in inputs.locks.iter().enumerate() {
                    @if at > 0 { ", " }
                    a.kid href=(url_of(&format!("/packages/locks/{key}"))) { (key) }
                }
            },
        ));
    }
    html! {
        section aria-labelledby="inputs" {
            h2 #inputs { "Inputs" }
            p.soft { "The same inputs give the same build: this key." }
            (parts::facts(&rows))
            (package::list(Some("Packages"), &inputs.packages, inputs.suite.as_deref()))
        }
    }
}
