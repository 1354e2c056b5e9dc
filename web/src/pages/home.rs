//! The root of the namespace: apps, recent deploys, processes, machines.

use keg::{Kid, object::Commit};
use maud::{Markup, html};
use serde_json::Value as Json;

use super::{
    Page, index,
    parts::{self, pill},
    process::at,
};
use crate::{
    ask::Ask,
    deploys,
    error::Fault,
    format,
    location::url_of,
    overview::{self, App, Machine},
    view::{Found, View},
};

/// Deploys shown.
const RECENT: usize = 8;

/// The page `/`.
pub async fn page(view: &View, found: &Found, ask: &Ask) -> Result<Page, Fault> {
    let apps = overview::apps(view).await?;
    let machines = overview::machines(view).await?;
    let deploys = deploys::recent(view, None, RECENT).await?;
    let names = view.list("/").await?;
    let content = html! {
        h1.unseen { "This Keg" }
        (summary(&apps, &machines))
        section aria-labelledby="apps" {
            h2 #apps { "Apps" }
            @if apps.is_empty() { (first_push(&ask.host)) } @else { (cards(view, &apps)) }
        }
        @if !deploys.is_empty() {
            section aria-labelledby="deploys" {
                h2 #deploys { a href="/builds" { "Recent builds and deploys" } }
                (index::deploy_table(view, &deploys).await?)
            }
        }
        @for machine in &machines {
            section aria-label=(format!("Processes on {}", machine.name)) {
                h2 {
                    "Processes on "
                    a href=(url_of(&format!("/machines/{}", machine.name))) { (machine.name) }
                }
                (about(machine))
                (index::process_table(machine))
            }
        }
        section aria-labelledby="names" {
            h2 #names { "The namespace" }
            ul.names {
                @for (name, _) in &names {
                    li { a href=(found.location.join(name).url()) { "/" (name.to_string_lossy()) } }
                }
            }
        }
    };
    Ok(Page::new(found, "Home", content).watching(view.seq, "/"))
}

/// What a machine is, in a line.
fn about(machine: &Machine) -> Markup {
    let number = |name: &str| machine.about.get(name).and_then(Json::as_u64);
    let kernel = machine.about.get("kernel").and_then(Json::as_str);
    let words: Vec<String> = [
        number("cores").map(|cores| format!("{cores} cores")),
        number("memory").map(|bytes| format!("{} of memory", format::bytes(bytes))),
        kernel.map(|kernel| format!("Linux {kernel}")),
    ]
    .into_iter()
    .flatten()
    .collect();
    html! { @if !words.is_empty() { p.soft { (words.join(" · ")) } } }
}

fn summary(apps: &[App], machines: &[Machine]) -> Markup {
    let live = apps.iter().filter(|app| app.is_live()).count();
    let processes: usize = machines.iter().map(|machine| machine.processes.len()).sum();
    let number = |count: usize, one: &str, many: &str| {
        let noun = if count == 1 { one } else { many };
        html! { span { b { (format::count(count as u64)) } " " (noun) } }
    };
    html! {
        p.summary {
            (number(live, "app live", "apps live"))
            (number(apps.len(), "app", "apps"))
            (number(processes, "process", "processes"))
            (number(machines.len(), "machine", "machines"))
        }
    }
}

/// Cards of all apps.
pub fn cards(view: &View, apps: &[App]) -> Markup {
    html! {
        ul.cards {
            @for app in apps {
                li.card {
                    h3 {
                        a.cover href=(url_of(&format!("/apps/{}", app.name))) { (app.name) }
                        span.pills { @for (tone, word) in app.status() { (pill(tone, word)) } }
                    }
                    @match app.url() {
                        Some(url) => { p.url { (parts::outside_link(url)) } }
                        None => { p.url.none { "not reachable" } }
                    }
                    @if let Some((kid, commit)) = app.shown() {
                        p.subject { (parts::subject(&commit.message)) }
                        p.meta { (whose(view, app, kid, commit)) }
                    }
                    @if let Some((kid, commit)) = app.newer() {
                        p.newer { b { "Newest push" } " " (parts::subject(&commit.message)) }
                        p.meta { (whose(view, app, kid, commit)) }
                    }
                }
            }
        }
    }
}

/// Author, time and KID of a source.
fn whose(view: &View, app: &App, kid: &Kid, commit: &Commit) -> Markup {
    let text = kid.to_string();
    html! {
        (parts::author(view, &commit.author)) " · " (parts::time_ms(commit.time_ms)) " · "
        (parts::kid_at(&text, &at(&format!("/source/{}", app.name), &text)))
    }
}

/// How to begin.
pub fn first_push(host: &str) -> Markup {
    html! {
        div.callout.start {
            h3 { "Nothing runs here yet" }
            p {
                "Push a git repository; the first push makes the app. A "
                code { "requirements.txt" } " or an " code { "index.html" } " is enough."
            }
            pre.shell { code {
                "git remote add keg http://" (host) "/git/hello\n"
                "git push keg main"
            } }
        }
    }
}
