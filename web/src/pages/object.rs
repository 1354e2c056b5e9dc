//! A JSON document, readable: indented, coloured, its KIDs linked.

use maud::{Markup, html};
use serde_json::Value as Json;

use super::{Page, parts};
use crate::{format, location::url_of, view::Found};

/// Most values shown; the rest is in the data.
const MAX_VALUES: usize = 5000;
/// Deepest nesting shown.
const MAX_DEPTH: usize = 64;

/// The page of a document.
pub fn page(_view: &crate::view::View, found: &Found, json: &Json) -> Page {
    let title = found.location.title();
    let about = match found.location.texts().as_deref() {
        Some(["deploys", name]) => Some(format!("/apps/{}", name.trim_end_matches(".json"))),
        Some(["apps", app, "config.json"]) => Some(format!("/apps/{app}")),
        Some(["machines", machine, _, ..]) => Some(format!("/machines/{machine}")),
        Some(["builds", key, ..]) => Some(format!("/builds/{key}")),
        _ => None,
    };
    let kid = found.entry.kid().map(|kid| kid.to_string());
    let content = html! {
        h1 { (title) }
        p.lead {
            "A document"
            @if let Some(kid) = &kid { ", " (parts::kid_at(kid, &format!("/-/kid/{kid}"))) }
            @if let Some(path) = &about {
                ". See " a href=(url_of(path)) { (path) } " for what it means"
            }
            "."
        }
        (document(json))
    };
    Page::new(found, title, content)
}

/// A value, indented.
pub fn document(json: &Json) -> Markup {
    let mut writer = Writer { lines: Vec::new(), values: 0 };
    writer.value(json, 0, html! {}, "");
    html! {
        pre.json tabindex="0" aria-label="Document" {
            @for (indent, line) in &writer.lines {
                span.l { @for _ in 0..*indent { "  " } (line) "\n" }
            }
            @if writer.values > MAX_VALUES { span.l.soft { "… and more: see the data" } }
        }
    }
}

struct Writer {
    lines: Vec<(usize, Markup)>,
    values: usize,
}

impl Writer {
    fn value(&mut self, json: &Json, depth: usize, key: Markup, comma: &'static str) {
        self.values += 1;
        if self.values > MAX_VALUES {
            return;
        }
        if depth > MAX_DEPTH {
            self.lines.push((depth, html! { (key) "…" (comma) }));
            return;
        }
        match json {
            Json::Object(fields) if !fields.is_empty() => {
                self.lines.push((depth, html! { (key) "{" }));
                for (at, (name, value)) in fields.iter().enumerate() {
                    let comma = if at + 1 < fields.len() { "," } else { "" };
                    let key = html! { span.ha { (quoted(name)) } ": " };
                    self.value(value, depth + 1, key, comma);
                }
                self.lines.push((depth, html! { "}" (comma) }));
            }
            Json::Array(items) if !items.is_empty() => {
                self.lines.push((depth, html! { (key) "[" }));
                for (at, value) in items.iter().enumerate() {
                    let comma = if at + 1 < items.len() { "," } else { "" };
                    self.value(value, depth + 1, html! {}, comma);
                }
                self.lines.push((depth, html! { "]" (comma) }));
            }
            Json::String(text) => {
                self.lines.push((depth, html! { (key) (string(text)) (comma) }));
            }
            other => {
                let line = html! { (key) span.hn { (other.to_string()) } (comma) };
                self.lines.push((depth, line));
            }
        }
    }
}

/// A text in quotes; a KID is a link to what it names.
fn string(text: &str) -> Markup {
    if text.parse::<keg::Kid>().is_ok() {
        return html! { span.hs { "\"" a href=(format!("/-/search?q={text}")) { (text) } "\"" } };
    }
    html! { span.hs { (quoted(text)) } }
}

fn quoted(text: &str) -> String {
    Json::String(text.to_owned()).to_string()
}

/// A field on one line: text plainly, KIDs linked, times as ages, lists with commas.
pub fn scalar(json: Option<&Json>) -> Markup {
    match json {
        None | Some(Json::Null) => html! { span.none { "–" } },
        Some(Json::String(text)) if text.parse::<keg::Kid>().is_ok() => parts::kid(text),
        Some(Json::String(text)) if format::parse_time(text).is_some() => parts::time(Some(text)),
        Some(Json::String(text)) if text.starts_with("http") => parts::outside_link(text),
        Some(Json::String(text)) => parts::text(text),
        Some(Json::Array(items))
            if items.iter().all(|item| !item.is_object() && !item.is_array()) =>
        {
            html! { @for (at, item) in items.iter().enumerate() {
                @if at > 0 { ", " } (scalar(Some(item)))
            } }
        }
        Some(other) => html! { (other.to_string()) },
    }
}
