//! A machine: what it is, what runs on it.

use maud::{Markup, html};
use serde_json::Value as Json;

use super::{
    Page, index, object,
    parts::{self, pill, work_tone},
};
use crate::{
    docs::AppState,
    error::Fault,
    format,
    location::url_of,
    overview,
    view::{Found, View},
};

/// `/machines/<m>`.
pub async fn page(view: &View, found: &Found, name: &str) -> Result<Page, Fault> {
    let machine = overview::machine(view, name).await?;
    let apps: Vec<(String, AppState)> =
        view.rows(&format!("/machines/{name}/apps"), overview::MAX_APPS).await?;
    let content = html! {
        h1 { (name) }
        (about(&machine.about))
        @if !apps.is_empty() {
            section {
                h2 { "Apps" }
                (app_table(&apps))
            }
        }
        section {
            h2 { a href=(url_of(&format!("/machines/{name}/processes"))) { "Processes" } }
            (index::process_table(&machine))
        }
    };
    Ok(Page::new(found, name, content).watching(view.seq, format!("/machines/{name}")))
}

/// `/machines/<m>/processes`.
pub async fn processes(view: &View, found: &Found, name: &str) -> Result<Page, Fault> {
    let machine = overview::machine(view, name).await?;
    let content = html! {
        h1 { "Processes on " (name) }
        (index::process_table(&machine))
    };
    let title = format!("Processes on {name}");
    Ok(Page::new(found, title, content).watching(view.seq, format!("/machines/{name}/processes")))
}

fn about(json: &Json) -> Markup {
    let Json::Object(fields) = json else {
        return html! { p.empty { "Nothing is known of this machine." } };
    };
    let rows: Vec<(String, Markup)> = fields
        .iter()
        .filter(|(name, _)| *name != "name")
        .map(|(name, value)| {
            let shown = match (name.as_str(), value.as_u64()) {
                ("memory", Some(bytes)) => html! { (format::bytes(bytes)) },
                _ => object::scalar(Some(value)),
            };
            (parts::label(name), shown)
        })
        .collect();
    parts::facts(&rows)
}

fn app_table(apps: &[(String, AppState)]) -> Markup {
    let rows: Vec<Vec<Markup>> = apps
        .iter()
        .map(|(name, state)| {
            let ready: f64 = state.seconds.values().filter_map(Json::as_f64).sum();
            vec![
                html! { b { (parts::app(name)) } },
                pill(work_tone(&state.state), &state.state),
                html! {
                    @match &state.url { Some(url) => (parts::outside_link(url)), None => "–" }
                },
                parts::kid_or_dash(state.live.as_deref()),
                html! { (format::seconds(ready)) },
                parts::time(state.changed.as_deref()),
            ]
        })
        .collect();
    parts::table("Apps", &["App", "State", "Address", "Serving", "Ready in", "Since"], &rows)
}
