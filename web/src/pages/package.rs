//! Packages: one with its files, lists of them, and the locks that name them.

use keg::object::{EntryName, Value};
use maud::{Markup, html};

use super::{
    Page, directory,
    log::{self, Log},
    object, packages,
    parts::{self, pill, work_tone},
    process,
};
use crate::{
    ask::Ask,
    docs::{Lock, LockPart, Package, PackageFile},
    error::Fault,
    format,
    location::url_of,
    places::{self, Places},
    view::{Found, View},
};

/// Packages listed before the rest is folded away.
const OPEN: usize = 24;

/// `/packages/debian/<suite>/pool/<name>_<version>_<arch>` and `/packages/pypi/wheels/<file>`.
pub async fn page(view: &View, found: &Found, name: &str, ask: &Ask) -> Result<Page, Fault> {
    let Some(directory) = view.directory(&found.entry).await? else {
        return super::code::page(view, found).await;
    };
    let about: Option<PackageFile> = view.doc_below(&found.entry, "package.json").await?;
    // A Debian package's tree has its files beside what is known about it.
    let (location, files) = match (&about, view.name_in(&directory, b"files").await?) {
        (Some(_), Some(entry)) => {
            let name = EntryName::new("files").expect("because it is a plain word");
            (found.location.join(&name), view.directory(&entry).await?)
        }
        _ => (found.location.clone(), Some(directory)),
    };
    let (title, rows) = match &about {
        Some(about) => (about.name.clone(), of_debian(about)),
        None => of_wheel(name),
    };
    let holders = match found.entry.kid() {
        Some(kid) => places::holders(view, &kid).await?,
        None => Vec::new(),
    };
    let content = html! {
        h1 { (title) }
        (parts::facts(&[rows, of_tree(found), held_by(&holders)].concat()))
        section aria-labelledby="files" {
            h2 #files { "Files" }
            @if let Some(files) = &files {
                (directory::listing(view, &location, files, ask).await?)
            }
            @if about.is_some() {
                p.more {
                    a href=(format!("{}/package.json", found.location.url())) {
                        "All that is known of it"
                    }
                }
            }
        }
    };
    Ok(Page::new(found, title, content))
}

type Facts = Vec<(&'static str, Markup)>;

fn of_debian(about: &PackageFile) -> Facts {
    let mut rows = vec![
        ("From", html! { "Debian" }),
        ("Version", html! { (about.version) }),
        ("Architecture", html! { (about.arch) }),
    ];
    if let Some(sha256) = &about.sha256 {
        rows.push(("SHA-256", html! { span.kid.long { (sha256) } }));
    }
    if let Some(size) = about.size {
        rows.push(("Archive", html! { (format::bytes(size)) }));
    }
    rows
}

/// Name, version and tags, from the name of the wheel's file.
fn of_wheel(name: &str) -> (String, Facts) {
    let parts: Vec<&str> = name.trim_end_matches(".whl").splitn(3, '-').collect();
    match parts.as_slice() {
        [package, version, tags] => {
            let rows = vec![
                ("From", html! { "PyPI" }),
                ("Version", html! { (version) }),
                ("For", html! { (tags) }),
            ];
            ((*package).to_owned(), rows)
        }
        _ => (name.to_owned(), Vec::new()),
    }
}

fn of_tree(found: &Found) -> Facts {
    match &found.entry.value {
        Value::Tree { kid, bytes, entries } => vec![
            ("Size", html! { (format::bytes(*bytes)) " in " (format::count(*entries)) " entries" }),
            ("KID", html! { span.kid.long { (kid) } }),
        ],
        _ => Vec::new(),
    }
}

/// The apps that hold it.
fn held_by(holders: &[(String, keg::Kid)]) -> Facts {
    let shown = html! {
        @for (at, (app, release)) in holders.iter().enumerate() {
            @if at > 0 { ", " }
            @let text = release.to_string();
            (parts::app(app)) " "
            (parts::kid_at(&text, &process::at(&format!("/oci-images/{app}"), &text)))
        }
        @if holders.is_empty() { span.none { "no current release" } }
    };
    vec![("Used by", shown)]
}

/// Packages with their versions, each linked to its page or tree.
pub fn list(
    title: Option<&str>,
    packages: &[Package],
    suite: Option<&str>,
    places: &Places,
) -> Markup {
    if packages.is_empty() {
        return html! {};
    }
    let items = |packages: &[Package]| {
        html! {
            ul.packages {
                @for package in packages {
                    li {
                        @match link(package, suite, places) {
                            Some(url) => a href=(url) { (package.name) },
                            None => span { (package.name) },
                        }
                        " " span.soft { (package.version) }
                    }
                }
            }
        }
    };
    let (mut own, mut system): (Vec<Package>, Vec<Package>) = (Vec::new(), Vec::new());
    for package in packages {
        let debian = package.from.as_deref() == Some("debian") || package.arch.is_some();
        if debian { system.push(package.clone()) } else { own.push(package.clone()) }
    }
    let group = |name: &str, packages: &[Package]| {
        html! {
            @if !packages.is_empty() {
                details.group open[packages.len() <= OPEN] {
                    summary { (name) " " span.soft { (packages.len()) } }
                    (items(packages))
                }
            }
        }
    };
    html! {
        @if let Some(title) = title { h3 { (title) } }
        (group("PyPI", &own))
        (group("Debian", &system))
    }
}

/// A Debian package by its name in a pool: `<name>_<version>_<arch>`.
pub fn of_pool(name: &str) -> Option<Package> {
    let mut parts = name.splitn(3, '_');
    let (name, version, arch) = (parts.next()?, parts.next()?, parts.next()?);
    Some(Package {
        name: name.to_owned(),
        version: version.replace("%3a", ":"),
        arch: Some(arch.to_owned()),
        ..Package::default()
    })
}

/// A Python package by its wheel's name: `<name>-<version>-<tags>.whl`.
pub fn of_wheel_name(file: &str) -> Option<Package> {
    let mut parts = file.strip_suffix(".whl")?.splitn(3, '-');
    let (name, version) = (parts.next()?, parts.next()?);
    Some(Package {
        name: name.to_owned(),
        version: version.to_owned(),
        file: Some(file.to_owned()),
        ..Package::default()
    })
}

/// Where a package is to be seen.
fn link(package: &Package, suite: Option<&str>, places: &Places) -> Option<String> {
    let kid: Option<keg::Kid> = package.kid.as_deref().and_then(|kid| kid.parse().ok());
    if let Some(url) = kid.and_then(|kid| places.get(&kid)) {
        return Some(url.to_owned());
    }
    if let Some(file) = &package.file {
        return Some(url_of(&format!("/packages/pypi/wheels/{file}")));
    }
    if let (Some(arch), Some(suite)) = (&package.arch, suite) {
        // The importer's name for it: a version's epoch is written with an escaped colon.
        let version = package.version.replace(':', "%3a");
        let name = format!("{}_{version}_{arch}", package.name);
        return Some(url_of(&format!("/packages/debian/{suite}/pool/{name}")));
    }
    kid.map(|kid| format!("/-/kid/{kid}"))
}

/// `/packages/locks/<key>.json`.
pub async fn lock(view: &View, found: &Found, key: &str) -> Result<Page, Fault> {
    let key = key.trim_end_matches(".json");
    let lock: Lock = match view.entry_json(&found.entry).await? {
        Some(json) => crate::docs::read(json),
        None => Lock::default(),
    };
    let request = view.get(&format!("/packages/requests/{key}.json")).await?;
    let request = match request {
        Some(entry) => view.entry_json(&entry).await?,
        None => None,
    };
    let log = match &lock.stream {
        Some(stream) => Log::of_stream(view, stream).await,
        None => None,
    };
    let took = parts::span(lock.started.as_deref(), lock.finished.as_deref());
    let content = html! {
        div.head {
            h1 { "Lock " span.kid { (key) } " " (pill(work_tone(&lock.state), &lock.state)) }
            p.lead {
                @if let Some(wants) = request.as_ref().map(packages::wants) { (wants) ". " }
                "Started " (parts::time(lock.started.as_deref()))
                @if let Some(took) = took { ", took " (format::seconds(took)) } "."
            }
        }
        @if let Some(error) = &lock.error {
            (parts::problem("The import failed", error, &html! {}))
        }
        @if let Some(part) = &lock.debian { (section(view, "Debian", part).await?) }
        @if let Some(part) = &lock.pypi { (section(view, "PyPI", part).await?) }
        @if lock.stream.is_some() { (log::section("log", "Log", log.as_ref())) }
        @if let Some(request) = &request {
            section aria-labelledby="request" {
                h2 #request { "Request" }
                (object::document(request))
            }
        }
    };
    let page = Page::new(found, format!("Lock {key}"), content);
    Ok(page.watching(view.seq, format!("/packages/locks/{key}.json")))
}

async fn section(view: &View, name: &str, part: &LockPart) -> Result<Markup, Fault> {
    let places = Places::of(view, &part.packages).await?;
    let mut rows: Vec<(&str, Markup)> = Vec::new();
    if let Some(suite) = &part.suite {
        rows.push(("Suite", html! { (suite) }));
    }
    if let Some(python) = &part.python {
        rows.push(("Python", html! { (python) }));
    }
    if let Some(rootfs) = &part.rootfs {
        rows.push(("Root file system", parts::kid(rootfs)));
    }
    if let Some(tree) = &part.tree {
        rows.push(("Tree", parts::kid(tree)));
    }
    Ok(html! {
        section {
            h2 { (name) }
            (parts::facts(&rows))
            (list(None, &part.packages, part.suite.as_deref(), &places))
        }
    })
}
