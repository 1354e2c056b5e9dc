//! An app: is it up, where, what was deployed, how to push.

use std::collections::HashMap;

use keg::{Kid, object::Commit};
use maud::{Markup, html};
use serde_json::Value as Json;

use super::{
    Page, index,
    log::{self, Log},
    object,
    parts::{self, Link, pill},
    process::{Origin, at, chain},
};
use crate::{
    ask::Ask,
    deploys,
    docs::{Deploy, Process},
    error::Fault,
    location::{Location, url_of},
    overview::{self, App, Fate},
    view::{Found, View},
};

/// Releases and deploys listed.
const LISTED: usize = 12;

/// Fields of a configuration, see `docs/namespace.md`.
const FIELDS: &[&str] = &["suite", "env", "scale", "limits", "check", "egress", "socket", "grace"];

/// `/apps/<app>`; it may have no directory there.
pub async fn page(
    view: &mut View,
    found: Option<&Found>,
    location: &Location,
    name: &str,
    ask: &Ask,
) -> Result<Page, Fault> {
    let machines = overview::machine_names(view).await?;
    let app = App::read(view, name, &machines).await?.ok_or_else(|| {
        Fault::not_found(format!("There is no app called {name:?}."))
            .hint("The first push makes an app; names are 1 to 40 of a-z, 0-9 and -.")
    })?;
    let processes = processes_of(view, name).await?;
    let config = match view.get(&format!("/apps/{name}/config.json")).await? {
        Some(entry) => {
            let kid = entry.kid().map(|kid| kid.to_string()).unwrap_or_default();
            view.entry_json(&entry).await?.map(|json| (kid, json))
        }
        None => None,
    };
    let releases = releases(view, &app).await;
    let deploys = deploys::recent(view, Some(name), LISTED).await?;
    let fates = overview::fates(view, Some(name)).await?;
    let building = match app.deploy.as_ref().filter(|deploy| deploy.state == "building") {
        Some(Deploy { stream: Some(stream), .. }) => Log::of_stream(view, stream).await,
        _ => None,
    };
    let content = html! {
        (head(view, &app))
        (problems(view, &app))
        @if app.release.is_some() { (parts::chain(&links(view, &app, &processes).await?)) }
        @if let Some(log) = &building { (log::section("deploying", "Deploying", Some(log))) }
        @if app.source.is_none() { (how_to_push(name, &ask.host, true)) }
        (process_section(&processes))
        (deploy_section(view, name, &deploys, &fates).await?)
        (release_section(&app, &releases, &fates))
        (config_section(name, config.as_ref()))
        @if app.source.is_some() { (how_to_push(name, &ask.host, false)) }
    };
    let root;
    let found = match found {
        Some(found) => found,
        None => {
            root = Found { location: location.clone(), ..view.find(&Location::default()).await? };
            &root
        }
    };
    let prefixes =
        format!("/apps/{name} /deploys/{name}.json /oci-images/{name} /source/{name} /machines");
    Ok(Page::new(found, name, content).watching(view.seq, prefixes))
}

fn head(view: &View, app: &App) -> Markup {
    html! {
        div.head {
            h1 { (app.name) " " @for (tone, word) in app.status() { (pill(tone, word)) " " } }
            p.lead {
                @if let Some(url) = app.url() { b { (parts::outside_link(url)) } }
                @if let Some((_, commit)) = app.shown() {
                    @if app.url().is_some() { " · " }
                    (parts::subject(&commit.message)) " · "
                    (parts::author(view, &commit.author)) " · " (parts::time_ms(commit.time_ms))
                }
            }
        }
    }
}

fn problems(view: &View, app: &App) -> Markup {
    let live = app.is_live();
    html! {
        @if let Some(deploy) = app.deploy.as_ref().filter(|deploy| deploy.state == "failed") {
            @let more = html! {
                @if let Some((kid, commit)) = &app.source {
                    @let source = at(&format!("/source/{}", app.name), &kid.to_string());
                    p { a href=(source) { (parts::subject(&commit.message)) } " by "
                        (parts::author(view, &commit.author)) ", " (parts::time_ms(commit.time_ms)) "." }
                }
                p { @if let Some(build) = &deploy.build {
                        a href=(url_of(&format!("/builds/{build}"))) { "See the build's log" } ". "
                    }
                    @if live { "The release before it keeps running." } }
            };
            @let problem = deploy.error.clone().unwrap_or_default();
            (parts::problem("The newest push was not deployed", &problem, &more))
        }
        @for (machine, state) in app.states.iter().filter(|(_, state)| state.state == "failed") {
            @let more = html! {
                @if let Some(release) = &state.release {
                    @let url = at(&format!("/oci-images/{}", app.name), release);
                    p { "It is the release " (parts::kid_at(release, &url)) "." }
                }
                p { "On " (machine) ". " @if live { "The release before it keeps running." } }
            };
            @let problem = state.error.clone().unwrap_or_default();
            (parts::problem("The newest release does not run", &problem, &more))
        }
    }
}

type Fates = HashMap<String, Fate>;
type Running = Vec<(String, String, Process)>;

/// The processes of an app: machine, id, row.
async fn processes_of(view: &View, name: &str) -> Result<Running, Fault> {
    let mut found = Vec::new();
    for machine in overview::machines(view).await? {
        for (id, process) in machine.processes {
            if process.app.as_deref() == Some(name) {
                found.push((machine.name.clone(), id, process));
            }
        }
    }
    Ok(found)
}

/// From the app's first process (or its release) to its source.
async fn links(view: &View, app: &App, processes: &Running) -> Result<Vec<Link>, Fault> {
    let live = |p: &&(String, String, Process)| p.2.state == "running" && p.2.release.is_some();
    if let Some((machine, id, process)) = processes.iter().find(live) {
        let mut links = chain(view, process, Some((machine, id))).await?;
        if let Some(first) = links.first_mut() {
            first.here = false;
        }
        return Ok(links);
    }
    let Some(release) = app.release else { return Ok(Vec::new()) };
    let text = release.to_string();
    let commit = view.commit(&release).await?;
    let extra = |name: &str| commit.extra.get(name).and_then(Json::as_str);
    let origin = Origin {
        app: &app.name,
        release: Some(&text),
        image: extra("image"),
        build: extra("build"),
        source: extra("source"),
    };
    origin.links(view, "").await
}

fn process_section(processes: &Running) -> Markup {
    if processes.is_empty() {
        return html! {};
    }
    let mut machines: Vec<overview::Machine> = Vec::new();
    for (name, id, process) in processes {
        let row = (id.clone(), process.clone());
        match machines.iter_mut().find(|machine| machine.name == *name) {
            Some(machine) => machine.processes.push(row),
            None => machines.push(overview::Machine {
                name: name.clone(),
                about: Json::Null,
                processes: vec![row],
            }),
        }
    }
    html! {
        section {
            h2 { "Processes" }
            @for machine in &machines {
                @if machines.len() > 1 { h3 { (machine.name) } }
                (index::process_table(machine))
            }
        }
    }
}

/// The newest releases, each the parent of the one before.
async fn releases(view: &View, app: &App) -> Vec<(Kid, Commit)> {
    let mut releases: Vec<(Kid, Commit)> = Vec::new();
    let mut next = app.release;
    while let Some(kid) = next.filter(|_| releases.len() < LISTED) {
        // One that an old Keg no longer has ends the list.
        let Ok(commit) = view.commit(&kid).await else { break };
        next = commit.parents.first().copied();
        releases.push((kid, commit));
    }
    releases
}

async fn deploy_section(
    view: &View,
    name: &str,
    deploys: &[Deploy],
    fates: &Fates,
) -> Result<Markup, Fault> {
    let mut rows = Vec::new();
    for deploy in deploys {
        let source = view.commit_named(deploy.source.as_deref()).await;
        let message = source.map(|(_, commit)| commit.message).unwrap_or_default();
        // The app is this page's own: its column is left out.
        rows.push(index::deploy_row(deploy, fates, parts::subject(&message)).split_off(1));
    }
    let log = format!("{}?log", url_of(&format!("/deploys/{name}.json")));
    Ok(html! {
        @if !rows.is_empty() {
            section {
                h2 { a href=(log) { "Deploys" } }
                (parts::table("Deploys", &index::DEPLOY_HEADS[1..], &rows))
            }
        }
    })
}

fn release_section(app: &App, releases: &[(Kid, Commit)], fates: &Fates) -> Markup {
    if releases.is_empty() {
        return html! {};
    }
    let path = format!("/oci-images/{}", app.name);
    html! {
        section {
            h2 { a href=(format!("{}?log", url_of(&path))) { "Releases" } }
            ol.timeline {
                @for (kid, commit) in releases {
                    @let text = kid.to_string();
                    li {
                        p.subject {
                            (parts::kid_at(&text, &at(&path, &text))) " "
                            (parts::subject(&commit.message)) " "
                            @if let Some(fate) = fates.get(&text) { (pill(fate.tone, fate.word)) }
                        }
                        p.meta { (parts::time_ms(commit.time_ms)) }
                    }
                }
            }
            @if releases.len() > 1 {
                p.soft {
                    "Go back to the release before with " code { "keg rollback " (app.name) } "."
                }
            }
        }
    }
}

fn config_section(name: &str, config: Option<&(String, Json)>) -> Markup {
    let url = url_of(&format!("/apps/{name}/config.json"));
    let (expected, text) = match config {
        Some((kid, json)) => (kid.as_str(), format!("{json:#}")),
        None => ("", "{\n}".to_owned()),
    };
    html! {
        section {
            h2 { "Configuration" }
            @match config {
                Some((_, json)) => (object::document(json)),
                None => p.empty { "None: the defaults hold (Debian trixie, one web process)." },
            }
            details.group {
                summary { "Change it" }
                form.edit method="post" action=(url) {
                    input type="hidden" name="expected" value=(expected);
                    label for="document" {
                        "The whole document, as JSON: "
                        @for (at, field) in FIELDS.iter().enumerate() {
                            @if at > 0 { ", " } code { (field) }
                        }
                    }
                    textarea #document name="document" rows="12" spellcheck="false" { (text) }
                    button.button type="submit" { "Set" }
                }
            }
            @if config.is_some() { p.more { a href=(url) { "The document" } } }
        }
    }
}

fn how_to_push(name: &str, host: &str, first: bool) -> Markup {
    html! {
        section {
            h2 { (if first { "Push it" } else { "Push a change" }) }
            pre.shell { code {
                @if first { "git remote add keg http://" (host) "/git/" (name) "\n" }
                "git push keg main"
            } }
            @if !first {
                p.soft {
                    "Get the source with " code { "git clone http://" (host) "/git/" (name) }
                    "; see it at "
                    a href=(url_of(&format!("/source/{name}"))) { "/source/" (name) } "."
                }
            }
        }
    }
}
