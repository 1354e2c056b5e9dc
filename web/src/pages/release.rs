//! A release: image, layers, packages, source, process types; how to pull it.

use keg::object::Value;
use maud::{Markup, html};
use serde_json::{Map, Value as Json};

use super::{
    Page, package, parts,
    process::{Origin, at},
};
use crate::{
    ask::Ask,
    docs::{Build, Process, ProcessType, Source, command_line, read},
    error::Fault,
    format,
    location::url_of,
    overview,
    places::Places,
    view::{Found, View},
};

/// Layers of an image that are listed; there are four.
const MAX_LAYERS: usize = 64;

/// `/oci-images/<app>`, possibly `@K-…`.
pub async fn page(view: &View, found: &Found, app: &str, ask: &Ask) -> Result<Page, Fault> {
    let Some((kid, commit, _)) = &found.within else {
        return super::directory::page(view, found, ask).await;
    };
    let text = kid.to_string();
    let current = view.get(&format!("/oci-images/{app}")).await?.and_then(|entry| entry.kid());
    let is_current = current == Some(*kid);
    let build: Build = view.doc_below(&found.entry, "build.json").await?.unwrap_or_default();
    let source: Source = view.doc_below(&found.entry, "source.json").await?.unwrap_or_default();
    let types: Map<String, Json> =
        view.doc_below(&found.entry, "processes.json").await?.unwrap_or_default();
    let config: Json = view.doc_below(&found.entry, "image/config.json").await?.unwrap_or_default();
    let extra = |name: &str| commit.extra.get(name).and_then(Json::as_str);
    let key = extra("build").map(str::to_owned).unwrap_or_else(|| build.key.clone());
    let origin = Origin {
        app,
        release: Some(&text),
        image: extra("image"),
        build: Some(key.as_str()).filter(|key| !key.is_empty()),
        source: extra("source").or(source.kid.as_deref()),
    };
    let links = origin.links(view, "Release").await?;
    let places = Places::of(view, &build.inputs.packages).await?;
    let running = running(view, &text).await?;
    let fate = overview::fates(view, Some(app)).await?.remove(&text);
    let content = html! {
        div.head {
            h1 { "Release of " (app) " "
                @match &fate {
                    Some(fate) => (parts::pill(fate.tone, fate.word)),
                    None if is_current => (parts::pill(parts::Tone::Idle, "not running")),
                    None => (parts::pill(parts::Tone::Idle, "earlier")),
                }
            }
            p.lead { (parts::subject(&commit.message)) ", " (parts::time_ms(commit.time_ms)) ", by "
                (parts::author(view, &commit.author)) "." }
            @if let Some(former) = extra("rollback_of") {
                @let url = at(&format!("/oci-images/{app}"), former);
                p { "It goes back from " (parts::kid_at(former, &url)) "." }
            }
        }
        (parts::chain(&links))
        @if let Some(error) = fate.as_ref().and_then(|fate| fate.error.as_ref()) {
            (parts::problem("It does not run", error, &html! {}))
        }
        (process_types(&types, &running))
        (image(view, found, &config).await?)
        (pull(app, kid, &ask.host))
        section aria-labelledby="packages" {
            h2 #packages { "Packages" }
            @if build.inputs.packages.is_empty() { p.empty { "None." } }
            (package::list(None, &build.inputs.packages, build.inputs.suite.as_deref(), &places))
        }
        p.more {
            a href=(url_of(&format!("/apps/{app}"))) { "The app" } " · "
            a href=(format!("{}?log", url_of(&format!("/oci-images/{app}")))) { "all its releases" }
        }
    };
    let page = Page::new(found, format!("Release of {app}"), content);
    Ok(page.watching(view.seq, format!("/oci-images/{app} /machines")))
}

/// The processes of a release: machine, id, row.
async fn running(view: &View, release: &str) -> Result<Vec<(String, String, Process)>, Fault> {
    let mut running = Vec::new();
    for machine in overview::machines(view).await? {
        for (id, process) in machine.processes {
            if process.release.as_deref() == Some(release) {
                running.push((machine.name.clone(), id, process));
            }
        }
    }
    Ok(running)
}

fn process_types(types: &Map<String, Json>, running: &[(String, String, Process)]) -> Markup {
    let rows: Vec<Vec<Markup>> = types
        .iter()
        .map(|(name, json)| {
            let kind: ProcessType = read(json.clone());
            let now = running.iter().filter(|(_, _, process)| process.kind == *name);
            vec![
                html! { b { (name) } },
                html! {
                    code.command { (command_line(&kind.command)) }
                    @if kind.shell { " " span.soft { "in a shell" } }
                },
                html! {
                    @for (at, (machine, id, process)) in now.clone().enumerate() {
                        @if at > 0 { ", " }
                        (parts::kid_at(process.process.as_deref().unwrap_or(id),
                            &url_of(&format!("/machines/{machine}/processes/{id}"))))
                    }
                    @if now.count() == 0 { span.none { "none" } }
                },
            ]
        })
        .collect();
    let heads = &["Type", "Command", "Running"];
    html! {
        section aria-labelledby="types" {
            h2 #types { "Processes" }
            @if rows.is_empty() { p.empty { "It declares no process." } }
            @else { div.whole { (parts::table("Process types", heads, &rows)) } }
        }
    }
}

async fn image(view: &View, found: &Found, config: &Json) -> Result<Markup, Fault> {
    let location = |name: &str| {
        let names = name.split('/').filter_map(|part| keg::object::EntryName::new(part).ok());
        names.fold(found.location.clone(), |at, name| at.join(&name)).url()
    };
    let mut rows = Vec::new();
    if let Some(layers) = view.get_below(&found.entry, "image/layers").await?
        && let Some(directory) = view.directory(&layers).await?
    {
        for (name, entry) in view.names(&directory, None, MAX_LAYERS).await?.entries {
            let name = name.to_string_lossy();
            let Value::Tree { kid, bytes, entries } = &entry.value else { continue };
            rows.push(vec![
                html! { b { a href=(location(&format!("image/layers/{name}"))) { (name) } } },
                html! { (format::bytes(*bytes)) },
                html! { (format::count(*entries)) },
                parts::kid_at(&kid.to_string(), &format!("/-/kid/{kid}")),
            ]);
        }
    }
    let inner = config.get("config").unwrap_or(config);
    let env: Vec<&str> = inner
        .get("Env")
        .and_then(Json::as_array)
        .map(|env| env.iter().filter_map(Json::as_str).collect())
        .unwrap_or_default();
    Ok(html! {
        section aria-labelledby="image" {
            h2 #image { "Image" }
            (parts::table("Layers", &["Layer", "Size", "Entries", "KID"], &rows))
            p.more { a href=(location("image/rootfs")) { "Its files" } " · "
                a href=(location("image/config.json")) { "its configuration" } }
            @if !env.is_empty() {
                details.group {
                    summary { "Environment " span.soft { (env.len()) } }
                    pre.json { @for line in &env { (line) "\n" } }
                }
            }
        }
    })
}

fn pull(app: &str, kid: &keg::Kid, host: &str) -> Markup {
    html! {
        section aria-labelledby="pull" {
            h2 #pull { "Pull it" }
            pre.shell { code {
                "podman pull --tls-verify=false " (host) "/" (app) ":" (kid.short())
            } }
        }
    }
}
