//! What is known of each app and machine, gathered from the whole namespace.

use std::collections::{BTreeSet, HashMap};

use keg::{
    Kid,
    object::{Commit, Value},
    path::AppName,
};
use serde_json::{Value as Json, json};

use crate::{
    docs::{AppState, Deploy, Problem, Process},
    error::Fault,
    location::Location,
    pages::parts::{Tone, work_tone},
    view::View,
};

/// Most apps on a page.
pub const MAX_APPS: usize = 200;
/// Most machines on a page.
pub const MAX_MACHINES: usize = 64;
/// Most processes on a page.
pub const MAX_PROCESSES: usize = 500;

/// One app.
pub struct App {
    /// Its name.
    pub name: String,
    /// The newest source.
    pub source: Option<(Kid, Commit)>,
    /// The source of what serves; another one when the newest push was not deployed.
    pub serving: Option<(Kid, Commit)>,
    /// The newest deploy.
    pub deploy: Option<Deploy>,
    /// The current release.
    pub release: Option<Kid>,
    /// What became of it, by machine.
    pub states: Vec<(String, AppState)>,
}

/// One machine.
pub struct Machine {
    /// Its name.
    pub name: String,
    /// `machine.json`, as it is.
    pub about: Json,
    /// Its process table: id and row.
    pub processes: Vec<(String, Process)>,
}

impl App {
    /// Reads one app; `None` when nothing knows it.
    ///
    /// # Errors
    /// A failure inside.
    pub async fn read(view: &View, name: &str, machines: &[String]) -> Result<Option<Self>, Fault> {
        let commit_at = async |path: String| -> Result<Option<Kid>, Fault> {
            let entry = view.get(&path).await?;
            Ok(match entry.map(|entry| entry.value) {
                Some(Value::Commit { kid }) => Some(kid),
                _ => None,
            })
        };
        let source = match commit_at(format!("/source/{name}")).await? {
            Some(kid) => Some((kid, view.commit(&kid).await?)),
            None => None,
        };
        let release = commit_at(format!("/oci-images/{name}")).await?;
        let deploy: Option<Deploy> = view.doc(&format!("/deploys/{name}.json")).await?;
        let mut states = Vec::new();
        for machine in machines {
            let path = format!("/machines/{machine}/apps/{name}.json");
            if let Some(state) = view.doc(&path).await? {
                states.push((machine.clone(), state));
            }
        }
        let live = states.iter().find_map(|(_, state): &(_, AppState)| state.live.as_deref());
        let serving = match view.commit_named(live).await {
            Some((_, release)) => {
                let source = release.extra.get("source").and_then(Json::as_str);
                view.commit_named(source).await
            }
            None => None,
        };
        let configured = view.get(&format!("/apps/{name}")).await?.is_some();
        let known = source.is_some() || release.is_some() || deploy.is_some() || configured;
        let name = name.to_owned();
        let app = Self { name, source, serving, deploy, release, states };
        Ok(known.then_some(app))
    }

    /// Where it answers.
    pub fn url(&self) -> Option<&str> {
        self.states.iter().find_map(|(_, state)| state.live.as_ref().and(state.url.as_deref()))
    }

    /// The source to name beside its address: what serves, or else the newest.
    pub fn shown(&self) -> Option<&(Kid, Commit)> {
        self.serving.as_ref().or(self.source.as_ref())
    }

    /// The newest source, where another one serves.
    pub fn newer(&self) -> Option<&(Kid, Commit)> {
        let serving = self.serving.as_ref()?;
        self.source.as_ref().filter(|(kid, _)| *kid != serving.0)
    }

    /// What is known of it as data.
    pub fn json(&self) -> Json {
        let kid = |part: &Option<(Kid, Commit)>| part.as_ref().map(|(kid, _)| *kid);
        let states: Vec<&str> = self.status().into_iter().map(|(_, word)| word).collect();
        let live = self.states.iter().find_map(|(_, state)| state.live.as_deref());
        let failed = |state: &&(String, AppState)| state.1.error.is_some();
        let of_deploy = self.deploy.as_ref().and_then(|deploy| deploy.error.as_ref());
        let of_state = self.states.iter().find(failed).and_then(|(_, state)| state.error.as_ref());
        json!({
            "app": self.name,
            "state": states,
            "url": self.url(),
            "live": live,
            "release": self.release,
            "source": kid(&self.source),
            "serving": kid(&self.serving),
            "build": self.deploy.as_ref().and_then(|deploy| deploy.build.as_deref()),
            "error": of_deploy.or(of_state).map(|error| json!({
                "step": error.step, "message": error.message, "hint": error.hint,
            })),
        })
    }

    /// Whether some machine serves it.
    pub fn is_live(&self) -> bool {
        self.states.iter().any(|(_, state)| state.live.is_some())
    }

    /// Its states in words, the most telling first.
    pub fn status(&self) -> Vec<(Tone, &'static str)> {
        let mut words = Vec::new();
        if self.is_live() {
            words.push((Tone::Good, "live"));
        }
        let state = |name: &str| self.states.iter().any(|(_, state)| state.state == name);
        match self.deploy.as_ref().map(|deploy| deploy.state.as_str()) {
            Some("building") => words.push((Tone::Busy, "building")),
            Some("failed") => words.push((Tone::Bad, "build failed")),
            _ if state("starting") => words.push((work_tone("starting"), "starting")),
            _ if state("failed") => words.push((Tone::Bad, "failed to start")),
            _ => {}
        }
        if words.is_empty() {
            words.push(match (&self.release, &self.source) {
                (Some(_), _) => (Tone::Idle, "not running"),
                (None, Some(_)) => (Tone::Idle, "not built"),
                (None, None) => (Tone::Idle, "no source yet"),
            });
        }
        words
    }
}

/// The apps' names: whatever has a source, a release, a deploy or a configuration.
///
/// # Errors
/// A failure inside.
pub async fn app_names(view: &View) -> Result<BTreeSet<String>, Fault> {
    let mut names = BTreeSet::new();
    for path in ["/source", "/apps", "/oci-images", "/deploys"] {
        for (name, _) in view.list(path).await? {
            let name = name.to_string_lossy();
            let name = name.strip_suffix(".json").unwrap_or(&name);
            if name.parse::<AppName>().is_ok() {
                names.insert(name.to_owned());
            }
        }
    }
    Ok(names)
}

/// All apps, at most [`MAX_APPS`].
///
/// # Errors
/// A failure inside.
pub async fn apps(view: &View) -> Result<Vec<App>, Fault> {
    let machines = machine_names(view).await?;
    let mut apps = Vec::new();
    for name in app_names(view).await?.into_iter().take(MAX_APPS) {
        apps.extend(App::read(view, &name, &machines).await?);
    }
    Ok(apps)
}

/// `/apps` and `/apps/<app>` as data: as on their pages, what is known of the apps from everywhere.
/// `None` for other places.
///
/// # Errors
/// A failure inside.
pub async fn data(view: &View, location: &Location) -> Result<Option<Json>, Fault> {
    match location.texts().as_deref() {
        Some(["apps"]) => {
            let rows = apps(view).await?.iter().map(App::json).collect();
            Ok(Some(Json::Array(rows)))
        }
        Some(["apps", name]) => {
            let app = App::read(view, name, &machine_names(view).await?).await?;
            Ok(app.map(|app| app.json()))
        }
        _ => Ok(None),
    }
}

/// What became of a release.
pub struct Fate {
    /// Its colour.
    pub tone: Tone,
    /// `live`, `starting` or `failed to start`.
    pub word: &'static str,
    /// Why it failed.
    pub error: Option<Problem>,
}

/// What became of the newest release of each app (or of one), and of the one that serves; by KID.
///
/// # Errors
/// A failure inside.
pub async fn fates(view: &View, app: Option<&str>) -> Result<HashMap<String, Fate>, Fault> {
    let mut fates = HashMap::new();
    for machine in machine_names(view).await? {
        let path = format!("/machines/{machine}/apps");
        let states: Vec<(String, AppState)> = match app {
            Some(app) => {
                let state = view.doc(&format!("{path}/{app}.json")).await?;
                state.map(|state| (app.to_owned(), state)).into_iter().collect()
            }
            None => view.rows(&path, MAX_APPS).await?,
        };
        for (_, state) in states {
            let fate = match state.state.as_str() {
                "failed" => Some((Tone::Bad, "failed to start")),
                "starting" => Some((Tone::Busy, "starting")),
                _ => None,
            };
            if let (Some(release), Some((tone, word))) = (state.release, fate) {
                fates.insert(release, Fate { tone, word, error: state.error });
            }
            if let Some(live) = state.live {
                fates.insert(live, Fate { tone: Tone::Good, word: "live", error: None });
            }
        }
    }
    Ok(fates)
}

/// The machines' names, at most [`MAX_MACHINES`].
///
/// # Errors
/// A failure inside.
pub async fn machine_names(view: &View) -> Result<Vec<String>, Fault> {
    let names = view.list("/machines").await?;
    Ok(names.into_iter().take(MAX_MACHINES).map(|(name, _)| name.to_string_lossy()).collect())
}

/// One machine with its process table.
///
/// # Errors
/// A failure inside.
pub async fn machine(view: &View, name: &str) -> Result<Machine, Fault> {
    let entry = view.get(&format!("/machines/{name}/machine.json")).await?;
    let about = match entry {
        Some(entry) => view.entry_json(&entry).await?.unwrap_or_default(),
        None => Json::Null,
    };
    let path = format!("/machines/{name}/processes");
    let mut processes: Vec<(String, Process)> = view.rows(&path, MAX_PROCESSES).await?;
    processes.sort_by(|(_, a), (_, b)| rank(a).cmp(&rank(b)));
    Ok(Machine { name: name.to_owned(), about, processes })
}

/// Apps first, by name; then Keg's own.
fn rank(process: &Process) -> (bool, &str, &str, i64, Option<i64>) {
    let app = process.app.as_deref();
    (app.is_none(), app.unwrap_or(""), &process.kind, process.index, process.pid)
}

/// All machines.
///
/// # Errors
/// A failure inside.
pub async fn machines(view: &View) -> Result<Vec<Machine>, Fault> {
    let mut machines = Vec::new();
    for name in machine_names(view).await? {
        machines.push(machine(view, &name).await?);
    }
    Ok(machines)
}
