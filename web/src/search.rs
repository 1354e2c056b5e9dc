//! Finds what a KID, a process number, a key, an app's name or its address stands for.

use std::collections::HashSet;

use keg::{
    Kid, NamesError,
    kid::KidPrefix,
    object::{Commit, Kind},
    path::AppName,
};
use maud::html;
use serde_json::{Value as Json, json};

use crate::{
    error::Fault,
    format::sentence,
    location::{Location, url_of},
    overview,
    pages::{Page, parts},
    places::Places,
    view::View,
};

/// Longest thing sought.
const MAX_QUERY: usize = 200;
/// Source commits looked at for a git commit, per app.
const MAX_COMMITS: usize = 100;

/// Something found.
pub struct Hit {
    /// `process`, `release`, `source`, …
    pub kind: &'static str,
    /// Its KID or name.
    pub name: String,
    /// A word about it.
    pub note: String,
    /// Where it is.
    pub url: String,
}

/// Everything that fits, the most telling first.
///
/// # Errors
/// A failure inside.
pub async fn find(view: &View, query: &str) -> Result<Vec<Hit>, Fault> {
    let query = query.trim();
    if query.is_empty() || query.len() > MAX_QUERY {
        return Ok(Vec::new());
    }
    if query.starts_with('/') {
        // Made anew from its names: a browser takes `//host` for another site.
        let place = Location::parse(query).map_err(|error| Fault::bad_request(sentence(error)))?;
        let (name, url) = (place.display(), place.url());
        return Ok(vec![Hit { kind: "path", name, note: String::new(), url }]);
    }
    let mut hits = processes(view, query).await?;
    if let Ok(prefix) = query.parse::<KidPrefix>() {
        hits.extend(values(view, &prefix).await?);
    }
    hits.extend(keys(view, query).await?);
    hits.extend(apps(view, query).await?);
    if (7..=40).contains(&query.len()) && query.bytes().all(|b| b.is_ascii_hexdigit()) {
        hits.extend(git_commits(view, &query.to_ascii_lowercase()).await?);
    }
    Ok(hits)
}

/// Machines by KID, processes by KID, row or number.
async fn processes(view: &View, query: &str) -> Result<Vec<Hit>, Fault> {
    let prefix = query.parse::<KidPrefix>().ok();
    let pid = query.parse::<i64>().ok();
    if prefix.is_none() && pid.is_none() && query.len() != 16 {
        return Ok(Vec::new());
    }
    let mut hits = Vec::new();
    for machine in overview::machines(view).await? {
        let kid = ["machine", "kid"].iter().find_map(|field| machine.about.get(*field)?.as_str());
        let kid = kid.and_then(|text| text.parse::<Kid>().ok());
        if let Some(kid) =
            prefix.as_ref().zip(kid).and_then(|(p, kid)| p.matches(&kid).then_some(kid))
        {
            hits.push(Hit {
                kind: "machine",
                name: kid.to_string(),
                note: machine.name.clone(),
                url: url_of(&format!("/machines/{}", machine.name)),
            });
        }
        for (id, process) in machine.processes {
            let kid = process.process.as_deref().and_then(|text| text.parse::<Kid>().ok());
            let by_kid = prefix.as_ref().zip(kid).is_some_and(|(prefix, kid)| prefix.matches(&kid));
            if by_kid || id == query || (pid.is_some() && process.pid == pid) {
                let app = process.app.as_deref().unwrap_or("Keg");
                hits.push(Hit {
                    kind: "process",
                    name: process.process.clone().unwrap_or_else(|| id.clone()),
                    note: format!("{app} {}, {}, on {}", process.kind, process.state, machine.name),
                    url: url_of(&format!("/machines/{}/processes/{id}", machine.name)),
                });
            }
        }
    }
    Ok(hits)
}

/// Objects by KID.
async fn values(view: &View, prefix: &KidPrefix) -> Result<Vec<Hit>, Fault> {
    let kids = match view.keg().resolve(prefix) {
        Ok(kid) => vec![kid],
        Err(NamesError::Ambiguous { candidates, .. }) => candidates,
        Err(NamesError::Unknown { .. }) => Vec::new(),
        Err(error) => return Err(Fault::inside("Looking up the KID", &error)),
    };
    let mut hits = Vec::new();
    for kid in kids {
        hits.extend(value(view, kid).await?);
    }
    Ok(hits)
}

async fn value(view: &View, kid: Kid) -> Result<Option<Hit>, Fault> {
    let name = kid.to_string();
    let plain =
        |kind| Hit { kind, name: name.clone(), note: String::new(), url: format!("/-/kid/{kid}") };
    Ok(match view.kind(&kid)? {
        None => None,
        Some(Kind::Blob) => Some(plain("file")),
        Some(Kind::Commit) => Some(commit(kid, &view.commit(&kid).await?)),
        Some(Kind::Tree) => Some(match image(view, &kid).await? {
            Some((app, release)) => Hit {
                kind: "image",
                note: format!("of {app}"),
                url: format!("{}@{release}#image", url_of(&format!("/oci-images/{app}"))),
                ..plain("image")
            },
            None => match Places::find(view, HashSet::from([kid])).await?.get(&kid) {
                Some(url) => Hit { url: url.to_owned(), ..plain("package") },
                None => plain("directory"),
            },
        }),
    })
}

/// A commit is a source, a release, or a version of the namespace.
fn commit(kid: Kid, commit: &Commit) -> Hit {
    let app =
        commit.extra.get("app").and_then(Json::as_str).filter(|app| app.parse::<AppName>().is_ok());
    let (kind, path) = match app {
        Some(app) if commit.extra.contains_key("git") => ("source", format!("/source/{app}")),
        Some(app) if commit.extra.contains_key("image") => {
            ("release", format!("/oci-images/{app}"))
        }
        _ => ("version", String::new()),
    };
    let note = parts::subject(&commit.message).to_owned();
    let url =
        if kind == "version" { format!("/@{kid}") } else { format!("{}@{kid}", url_of(&path)) };
    Hit { kind, name: kid.to_string(), note, url }
}

/// The app whose current release has this image.
async fn image(view: &View, kid: &Kid) -> Result<Option<(String, Kid)>, Fault> {
    let text = kid.to_string();
    for (name, entry) in view.list("/oci-images").await?.into_iter().take(overview::MAX_APPS) {
        let Some(release) = entry.kid() else { continue };
        let Some((_, commit)) = view.commit_named(Some(&release.to_string())).await else {
            continue;
        };
        if commit.extra.get("image").and_then(Json::as_str) == Some(text.as_str()) {
            return Ok(Some((name.to_string_lossy(), release)));
        }
    }
    Ok(None)
}

/// Builds and locks by key.
async fn keys(view: &View, query: &str) -> Result<Vec<Hit>, Fault> {
    let mut hits = Vec::new();
    if query.len() != 16 || !query.bytes().all(|b| b.is_ascii_hexdigit()) {
        return Ok(hits);
    }
    for (kind, path, document) in [
        ("build", format!("/builds/{query}"), format!("/builds/{query}")),
        ("lock", format!("/packages/locks/{query}"), format!("/packages/locks/{query}.json")),
    ] {
        if view.get(&document).await?.is_some() {
            let (name, note) = (query.to_owned(), String::new());
            hits.push(Hit { kind, name, note, url: url_of(&path) });
        }
    }
    Ok(hits)
}

/// An app by its name, or by the host of its address.
async fn apps(view: &View, query: &str) -> Result<Vec<Hit>, Fault> {
    let host = query.split_once("://").map_or(query, |(_, rest)| rest);
    let name = host.split(['.', ':', '/']).next().unwrap_or(host);
    let found = overview::app_names(view).await?;
    let mut names: Vec<&String> = found.iter().filter(|app| app.contains(name)).collect();
    names.sort_by_key(|app| (app.as_str() != name, app.len()));
    if names.first().is_some_and(|app| app.as_str() == name) {
        names.truncate(1);
    }
    let hit = |app: &&String| Hit {
        kind: "app",
        name: (*app).clone(),
        note: String::new(),
        url: url_of(&format!("/apps/{app}")),
    };
    Ok(if name.is_empty() { Vec::new() } else { names.iter().map(hit).collect() })
}

/// Source commits by the git commit they came from.
async fn git_commits(view: &View, digits: &str) -> Result<Vec<Hit>, Fault> {
    let mut hits = Vec::new();
    for (_, entry) in view.list("/source").await?.into_iter().take(overview::MAX_APPS) {
        let mut next = entry.kid();
        for _ in 0..MAX_COMMITS {
            let Some(kid) = next else { break };
            let Some((_, source)) = view.commit_named(Some(&kid.to_string())).await else { break };
            let git = source.extra.get("git").and_then(Json::as_str);
            if git.is_some_and(|git| git.starts_with(digits)) {
                hits.push(commit(kid, &source));
            }
            next = source.parents.first().copied();
        }
    }
    Ok(hits)
}

/// The hits as data.
pub fn data(query: &str, hits: &[Hit]) -> Json {
    let hits = hits
        .iter()
        .map(|hit| json!({ "kind": hit.kind, "name": hit.name, "note": hit.note, "url": hit.url }));
    json!({ "query": query, "results": hits.collect::<Vec<_>>() })
}

/// The hits as a page.
pub fn page(query: &str, hits: &[Hit]) -> Page {
    let rows: Vec<Vec<_>> = hits
        .iter()
        .map(|hit| {
            vec![
                html! { (hit.kind) },
                html! { a href=(hit.url) { (hit.name) } },
                html! { (hit.note) },
            ]
        })
        .collect();
    let content = html! {
        h1 { "Find" }
        @if query.trim().is_empty() {
            p.lead {
                "Type a KID or its first eight digits, a process number, a build's key, a git "
                "commit, an app's name or its address."
            }
        } @else if hits.is_empty() {
            p.lead { "Nothing in this Keg is called " b { (query) } "." }
            p.hint {
                "A KID needs its " code { "K-" } " and at least eight digits; a process number "
                "must be one of " a href="/machines" { "these machines" } "."
            }
        } @else {
            p.lead { (hits.len()) " things are called " b { (query) } "." }
            (parts::table("Found", &["What", "Name", "About"], &rows))
        }
    };
    Page {
        title: "Find".to_owned(),
        location: None,
        banner: None,
        content,
        watch: None,
        query: query.to_owned(),
        forms: false,
    }
}
