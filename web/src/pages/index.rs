//! Tables of apps, deploys, machines, processes.

use std::collections::HashMap;

use maud::{Markup, html};
use serde_json::Value as Json;

use super::{
    Page, home,
    parts::{self, Tone, pill, process_tone, work_tone},
    process::at,
};
use crate::{
    ask::Ask,
    deploys,
    docs::{Deploy, Process, command_line},
    error::Fault,
    format,
    location::url_of,
    overview::{self, Fate, Machine},
    view::{Found, View},
};

/// Deploys shown on their page.
const SHOWN_DEPLOYS: usize = 30;

/// The heads of [`deploy_row`].
pub const DEPLOY_HEADS: &[&str] = &["App", "State", "Source", "Build", "Release", "Took", "When"];

/// Deploys as a table.
///
/// # Errors
/// A failure inside.
pub async fn deploy_table(view: &View, deploys: &[Deploy]) -> Result<Markup, Fault> {
    let fates = overview::fates(view, None).await?;
    let mut rows = Vec::new();
    for deploy in deploys {
        let source = view.commit_named(deploy.source.as_deref()).await;
        let message = source.map(|(_, commit)| commit.message).unwrap_or_default();
        rows.push(deploy_row(deploy, &fates, parts::subject(&message)));
    }
    Ok(parts::table("Deploys", DEPLOY_HEADS, &rows))
}

/// A deploy as a row.
pub fn deploy_row(deploy: &Deploy, fates: &HashMap<String, Fate>, message: &str) -> Vec<Markup> {
    // Built is not the end of it: the release may live, or not even start.
    let built = deploy.release.as_ref().filter(|_| deploy.state == "built");
    let fate = built.and_then(|release| fates.get(release));
    let (tone, state) = match fate {
        Some(fate) => (fate.tone, fate.word),
        None => (work_tone(&deploy.state), deploy.state.as_str()),
    };
    let took = parts::span(deploy.started.as_deref(), deploy.finished.as_deref());
    let source_url = |kid: &str| at(&format!("/source/{}", deploy.app), kid);
    vec![
        html! { b { (parts::app(&deploy.app)) } },
        pill(tone, state),
        html! {
            @if let Some(kid) = &deploy.source { (parts::kid_at(kid, &source_url(kid))) " " }
            span.message { (message) }
        },
        html! {
            @match &deploy.build {
                Some(build) => a.kid href=(url_of(&format!("/builds/{build}"))) {
                    (build.get(..8).unwrap_or(build))
                },
                None => span.none { "–" },
            }
            @if deploy.cached { " " span.soft { "reused" } }
        },
        match &deploy.release {
            Some(kid) => parts::kid_at(kid, &at(&format!("/oci-images/{}", deploy.app), kid)),
            None => parts::kid_or_dash(None),
        },
        html! { (took.map_or_else(|| "–".to_owned(), format::seconds)) },
        parts::time(deploy.started.as_deref()),
    ]
}

/// `/apps`.
pub async fn apps(view: &View, found: &Found, ask: &Ask) -> Result<Page, Fault> {
    let apps = overview::apps(view).await?;
    let content = html! {
        h1 { "Apps" }
        @if apps.is_empty() { (home::first_push(&ask.host)) } @else { (home::cards(view, &apps)) }
    };
    Ok(Page::new(found, "Apps", content)
        .watching(view.seq, "/source /oci-images /deploys /machines"))
}

/// `/deploys`.
pub async fn deploys(view: &View, found: &Found) -> Result<Page, Fault> {
    let deploys = deploys::recent(view, None, SHOWN_DEPLOYS).await?;
    let content = html! {
        h1 { "Deploys" }
        p.lead { "From a push to a release, the newest first." }
        @if deploys.is_empty() { p.empty { "No deploy yet: push an app." } }
        @else { (deploy_table(view, &deploys).await?) }
    };
    Ok(Page::new(found, "Deploys", content).watching(view.seq, "/deploys"))
}

/// `/machines`.
pub async fn machines(view: &View, found: &Found) -> Result<Page, Fault> {
    let machines = overview::machines(view).await?;
    let rows: Vec<Vec<Markup>> = machines
        .iter()
        .map(|machine| {
            let field = |name: &str| super::object::scalar(machine.about.get(name));
            let memory = machine.about.get("memory").and_then(Json::as_u64);
            let apps = machine.processes.iter().filter(|(_, p)| p.app.is_some()).count();
            vec![
                html! { b {
                    a href=(url_of(&format!("/machines/{}", machine.name))) { (machine.name) }
                } },
                field("cores"),
                html! { (memory.map_or_else(|| "–".to_owned(), format::bytes)) },
                field("kernel"),
                html! { (apps) " of apps, " (machine.processes.len() - apps) " of Keg" },
            ]
        })
        .collect();
    let heads = &["Machine", "Cores", "Memory", "Kernel", "Processes"];
    let content = html! {
        h1 { "Machines" }
        @if rows.is_empty() { p.empty { "No machine runs this Keg: start one with keg up." } }
        @else { (parts::table("Machines", heads, &rows)) }
    };
    Ok(Page::new(found, "Machines", content).watching(view.seq, "/machines"))
}

/// A machine's process table.
pub fn process_table(machine: &Machine) -> Markup {
    let heads =
        &["Process", "App", "Type", "State", "PID", "Since", "Restarts", "Release", "Command"];
    let rows: Vec<Vec<Markup>> = machine
        .processes
        .iter()
        .map(|(id, process)| process_row(&machine.name, id, process))
        .collect();
    html! {
        @if rows.is_empty() { p.empty { "No process." } }
        @else { (parts::table("Processes", heads, &rows)) }
    }
}

fn process_row(machine: &str, id: &str, process: &Process) -> Vec<Markup> {
    let url = url_of(&format!("/machines/{machine}/processes/{id}"));
    let kind = match &process.app {
        Some(_) => format!("{}.{}", process.kind, process.index),
        None => process.kind.clone(),
    };
    let shown = process.process.as_deref().unwrap_or(id);
    let restarts = process.restarts;
    vec![
        html! {
            @if shown.starts_with("K-") { (parts::kid_at(shown, &url)) }
            @else { a.kid href=(url) { (id) } }
        },
        html! {
            @match &process.app {
                Some(app) => b { (parts::app(app)) },
                None => span.soft { "Keg" },
            }
        },
        html! { (kind) },
        pill(process_tone(&process.state), &process.state),
        html! {
            @match process.pid {
                Some(pid) => span.number { (pid) },
                None => span.none { "–" },
            }
        },
        parts::time(process.started.as_deref()),
        html! {
            @if restarts > 0 { (pill(Tone::Warn, &restarts.to_string())) }
            @else { span.number { "0" } }
        },
        parts::kid_or_dash(process.release.as_deref()),
        html! { code.command { (command_line(&process.command)) } },
    ]
}
