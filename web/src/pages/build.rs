//! A build: what went in, how long each part took, its log live, what came out.

use maud::{Markup, html};

use super::{
    Page,
    log::{self, Log},
    package,
    parts::{self, Link, pill, work_tone},
    process::{Origin, chain},
};
use crate::{
    docs::Build,
    error::Fault,
    format,
    location::url_of,
    overview,
    places::Places,
    view::{Found, View},
};

/// `/builds/<key>`.
pub async fn page(view: &View, found: &Found, key: &str) -> Result<Page, Fault> {
    let build: Build = view.doc_below(&found.entry, "build.json").await?.unwrap_or_default();
    let log = log_of(view, found, key, &build).await?;
    let places = Places::of(view, &build.inputs.packages).await?;
    let took = build.took();
    // What no part tells: of a failed build the step that failed.
    let rest = build.error.as_ref().and_then(|error| error.step.as_deref()).unwrap_or("rest");
    let rest = took.map(|took| (rest, took));
    let content = html! {
        div.head {
            h1 { "Build of " (build.app) " " (pill(work_tone(&build.state), &build.state)) }
            p.lead {
                "For " (parts::app(&build.app))
                @if let Some(pack) = &build.inputs.pack_name { " with the " b { (pack) } " pack" }
                ", started " (parts::time(build.started.as_deref()))
                @if let Some(took) = took { ", took " (format::seconds(took)) }
                "."
            }
        }
        (parts::chain(&links(view, key, &build).await?))
        @if let Some(error) = &build.error {
            (parts::problem("The build failed", error, &html! {}))
        }
        (parts::seconds_bar(&build.seconds, rest))
        (log::section("log", "Log", log.as_ref()))
        (inputs(&build, &places))
    };
    let page = Page::new(found, format!("Build {key}"), content);
    Ok(page.watching(view.seq, format!("/builds/{key}/build.json /machines")))
}

/// From what runs, where that is of this build, to its source.
async fn links(view: &View, key: &str, build: &Build) -> Result<Vec<Link>, Fault> {
    for machine in overview::machines(view).await? {
        for (id, process) in &machine.processes {
            let of_it = process.build.as_deref() == Some(key) && process.state == "running";
            if of_it && process.app.as_deref() == Some(&build.app) {
                let mut links = chain(view, process, Some((&machine.name, id))).await?;
                links.iter_mut().for_each(|link| link.here = link.step == "Build");
                return Ok(links);
            }
        }
    }
    let release = view.get(&format!("/oci-images/{}", build.app)).await?;
    let release = release.and_then(|entry| entry.kid()).map(|kid| kid.to_string());
    let release = view.commit_named(release.as_deref()).await.filter(|(_, commit)| {
        commit.extra.get("build").and_then(serde_json::Value::as_str) == Some(key)
    });
    let release = release.map(|(kid, _)| kid.to_string());
    let origin = Origin {
        app: &build.app,
        release: release.as_deref(),
        image: build.image.as_deref(),
        build: Some(key),
        source: build.inputs.source.as_deref(),
    };
    origin.links(view, "Build").await
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

fn inputs(build: &Build, places: &Places) -> Markup {
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
    ];
    if let Some(kid) = &inputs.pack {
        let name = inputs.pack_name.as_deref().unwrap_or("");
        rows.push(("Pack", html! { (name) " " (parts::kid(kid)) }));
    }
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
            (package::list(Some("Packages"), &inputs.packages, inputs.suite.as_deref(), places))
        }
    }
}
