//! What packages are here, and the imports that brought them.

use std::collections::BTreeMap;

use keg::object::Value;
use maud::{Markup, html};
use serde_json::Value as Json;

use super::{
    Page, directory,
    package::{self, of_pool, of_wheel_name},
    parts::{self, pill, work_tone},
};
use crate::{
    docs::{Lock, LockPart, Package},
    error::Fault,
    format,
    location::url_of,
    places::Places,
    view::{Found, View},
};

/// Imports read for one page.
const MAX_IMPORTS: usize = 200;
/// Imports shown on the page of all packages.
const RECENT: usize = 8;
/// Packages of a suite or of PyPI that are listed.
const MAX_LISTED: usize = 500;

/// `/packages`.
pub async fn page(view: &View, found: &Found) -> Result<Page, Fault> {
    let mut imports = imports(view).await?;
    let total = imports.len();
    imports.truncate(RECENT);
    let mut suites = Vec::new();
    for (suite, _) in view.list("/packages/debian").await? {
        let suite = suite.to_string_lossy();
        let pool = format!("/packages/debian/{suite}/pool");
        suites.push(group(view, &format!("Debian {suite}"), &pool, Some(&suite), of_pool).await?);
    }
    let wheels = group(view, "PyPI", "/packages/pypi/wheels", None, of_wheel_name).await?;
    let listing = view.list("/packages").await?;
    let content = html! {
        h1 { "Packages" }
        p.lead { "What apps are made of: each package a tree, imported once, verified, shared." }
        @for suite in &suites { (suite) }
        (wheels)
        section aria-labelledby="imports" {
            h2 #imports { a href="/packages/locks" { "Imports" } }
            (table(&imports))
            @if total > imports.len() {
                (parts::more("/packages/locks", &format!("All {total} imports")))
            }
        }
        section aria-labelledby="kept" {
            h2 #kept { "As kept" }
            (directory::files(&found.location, &listing))
        }
    };
    Ok(Page::new(found, "Packages", content).watching(view.seq, "/packages"))
}

/// `/packages/locks` and `/packages/requests`: all imports.
pub async fn all(view: &View, found: &Found) -> Result<Page, Fault> {
    let title = if found.location.title() == "locks" { "Locks" } else { "Requests" };
    let imports = imports(view).await?;
    let content = html! {
        h1 { (title) }
        p.lead { "What each request for packages resolved to, for good; the newest first." }
        (table(&imports))
    };
    Ok(Page::new(found, title, content).watching(view.seq, "/packages/requests /packages/locks"))
}

/// The packages of a directory by their names; empty where there is none.
async fn group(
    view: &View,
    title: &str,
    path: &str,
    suite: Option<&str>,
    read: fn(&str) -> Option<Package>,
) -> Result<Markup, Fault> {
    let Some(entry) = view.get(path).await? else { return Ok(html! {}) };
    let Some(directory) = view.directory(&entry).await? else { return Ok(html! {}) };
    let names = view.names(&directory, None, MAX_LISTED).await?;
    let size = if let Value::Tree { bytes, .. } = entry.value { bytes } else { 0 };
    let packages: Vec<Package> =
        names.entries.iter().filter_map(|(name, _)| read(&name.to_string_lossy())).collect();
    Ok(html! {
        @if !packages.is_empty() {
            section {
                h2 { a href=(url_of(path)) { (title) } }
                p.soft {
                    (format::count(names.total))
                    (if names.total == 1 { " package, " } else { " packages, " })
                    (format::bytes(size))
                    @if names.more { "; the first " (MAX_LISTED) " are listed" } "."
                }
                (package::list(None, &packages, suite, &Places::default()))
            }
        }
    })
}

/// A request and what became of it.
struct Import {
    key: String,
    request: Json,
    lock: Option<Lock>,
}

/// The imports, the newest first.
async fn imports(view: &View) -> Result<Vec<Import>, Fault> {
    let requests: Vec<(String, Json)> = view.rows("/packages/requests", MAX_IMPORTS).await?;
    let locks: Vec<(String, Lock)> = view.rows("/packages/locks", MAX_IMPORTS).await?;
    let mut imports: BTreeMap<String, Import> = requests
        .into_iter()
        .map(|(key, request)| (key.clone(), Import { key, request, lock: None }))
        .collect();
    for (key, lock) in locks {
        let none = Import { key: key.clone(), request: Json::Null, lock: None };
        imports.entry(key).or_insert(none).lock = Some(lock);
    }
    let mut imports: Vec<Import> = imports.into_values().collect();
    imports.sort_by(|a, b| b.when().cmp(&a.when()));
    Ok(imports)
}

impl Import {
    fn when(&self) -> Option<&str> {
        let started = self.lock.as_ref().and_then(|lock| lock.started.as_deref());
        started.or_else(|| self.request.get("asked").and_then(Json::as_str))
    }

    fn packages(&self) -> usize {
        let number = |part: &Option<LockPart>| part.as_ref().map_or(0, |part| part.packages.len());
        self.lock.as_ref().map_or(0, |lock| number(&lock.debian) + number(&lock.pypi))
    }

    fn row(&self) -> Vec<Markup> {
        let state = self.lock.as_ref().map_or("waiting", |lock| lock.state.as_str());
        let lock = self.lock.as_ref();
        let took = lock.and_then(|l| parts::span(l.started.as_deref(), l.finished.as_deref()));
        let place = if self.lock.is_some() { "locks" } else { "requests" };
        let url = url_of(&format!("/packages/{place}/{}", self.key));
        vec![
            html! { a.kid href=(url) { (self.key) } },
            pill(work_tone(state), state),
            html! { span.message { (wants(&self.request)) } },
            html! { (format::count(self.packages() as u64)) },
            match self.request.get("by").and_then(Json::as_str) {
                Some(by) => parts::text(by),
                None => parts::kid_or_dash(None),
            },
            html! { (took.map_or_else(|| "–".to_owned(), format::seconds)) },
            parts::time(self.when()),
        ]
    }
}

fn table(imports: &[Import]) -> Markup {
    let heads = &["Import", "State", "Of", "Packages", "For", "Took", "When"];
    let rows: Vec<Vec<Markup>> = imports.iter().map(Import::row).collect();
    html! {
        @if rows.is_empty() { p.empty { "Nothing was imported yet." } }
        @else { (parts::table("Imports", heads, &rows)) }
    }
}

/// What a request asks for, in a line: `Debian trixie: python3`, `Python 3.13: 8 requirements`.
pub fn wants(request: &Json) -> String {
    let text = |part: &Json, name: &str| part.get(name).and_then(Json::as_str).map(str::to_owned);
    let mut wants = Vec::new();
    if let Some(debian) = request.get("debian").filter(|part| part.is_object()) {
        let packages: Vec<&str> = debian
            .get("packages")
            .and_then(Json::as_array)
            .map(|names| names.iter().filter_map(Json::as_str).collect())
            .unwrap_or_default();
        let base = match text(debian, "base").as_deref() {
            Some("none") => "nothing",
            _ => "the base",
        };
        let of = if packages.is_empty() { base.to_owned() } else { packages.join(", ") };
        wants.push(format!("Debian {}: {of}", text(debian, "suite").unwrap_or_default()));
    }
    if let Some(pypi) = request.get("pypi").filter(|part| part.is_object()) {
        let requirements = text(pypi, "requirements").unwrap_or_default();
        let lines: Vec<&str> = requirements
            .lines()
            .map(str::trim)
            .filter(|line| !line.is_empty() && !line.starts_with('#'))
            .collect();
        let of = match lines.as_slice() {
            [only] => (*only).to_owned(),
            lines => format!("{} lines of requirements", lines.len()),
        };
        wants.push(format!("Python {}: {of}", text(pypi, "python").unwrap_or_default()));
    }
    wants.join("; ")
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn requests_are_told_in_a_line() {
        for (request, want) in [
            (
                json!({ "debian": { "suite": "trixie", "packages": ["a", "b"] } }),
                "Debian trixie: a, b",
            ),
            (json!({ "debian": { "suite": "sid", "packages": [] } }), "Debian sid: the base"),
            (
                json!({ "pypi": { "python": "3.13", "requirements": "# x\nflask==3.1\n" } }),
                "Python 3.13: flask==3.1",
            ),
            (
                json!({ "debian": { "suite": "sid", "packages": ["a"] },
                        "pypi": { "python": "3.14", "requirements": "a\nb\n" } }),
                "Debian sid: a; Python 3.14: 2 lines of requirements",
            ),
            (json!(null), ""),
            (json!({ "debian": 5, "pypi": [] }), ""),
        ] {
            assert_eq!(wants(&request), want, "{request}");
        }
    }
}
