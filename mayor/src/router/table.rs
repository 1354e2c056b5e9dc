//! The routes in memory: read from `/machines/<m>/routes`, read again when something there changes.

use std::{
    cell::{Cell, RefCell},
    collections::HashMap,
    net::SocketAddr,
    path::PathBuf,
    rc::Rc,
    sync::Arc,
};

use keg::{Keg, Kid, NamePath, NamesError, path::AppName};
use serde::Deserialize;

use super::pool::{Backend, Place};

/// Most apps that are routed to; the rest of the directory is not looked at.
const MAX_APPS: usize = 10_000;
/// Most backends of one app that are used.
const MAX_BACKENDS: usize = 64;

/// `/machines/<m>/routes/<app>.json`, the part that is needed here.
#[derive(Deserialize)]
struct RouteDocument {
    #[serde(default)]
    backends: Vec<BackendDocument>,
}

#[derive(Deserialize)]
struct BackendDocument {
    process: String,
    netns: PathBuf,
    address: SocketAddr,
}

/// `/machines/<m>/apps/<app>.json`, the part that says why an app is not serving.
#[derive(Deserialize)]
struct AppDocument {
    state: String,
    error: Option<AppError>,
}

#[derive(Deserialize)]
struct AppError {
    message: String,
    hint: Option<String>,
}

struct Route {
    document: Kid,
    backends: Vec<Rc<Backend>>,
    next: Cell<usize>,
}

/// Which backends each app has.
pub(super) struct Table {
    keg: Arc<Keg>,
    /// `/machines/<m>`.
    machine: NamePath,
    routes: NamePath,
    seen: Cell<Option<u64>>,
    apps: RefCell<HashMap<AppName, Route>>,
}

/// What there is of an app without backends.
pub(super) enum Absent {
    /// No such app.
    Unknown,
    /// It is deployed, or about to be; in words, what the mayor says of it.
    Waiting(String),
}

impl Table {
    /// The routes of this machine; empty until [`Table::refresh`].
    pub(super) fn new(keg: Arc<Keg>) -> Result<Self, keg::path::PathError> {
        let machine: NamePath = format!("/machines/{}", keg::machine::name()).parse()?;
        let routes = machine.join("routes")?;
        let (seen, apps) = (Cell::new(None), RefCell::default());
        Ok(Self { keg, machine, routes, seen, apps })
    }

    /// Where the routes are in the namespace.
    pub(super) fn path(&self) -> &NamePath {
        &self.routes
    }

    /// Reads what has changed since the last call. A backend that stays keeps its connections. A
    /// document that cannot be understood leaves its app's routes as they were.
    pub(super) fn refresh(&self) -> Result<(), NamesError> {
        let head = self.keg.head()?;
        if self.seen.get() == Some(head.seq) {
            return Ok(());
        }
        let mut old = self.apps.take();
        let listed = self.keg.list_at(&self.routes, &head);
        let Ok(listed) = listed.as_ref() else {
            self.apps.replace(old);
            return listed.map(|_| ());
        };
        let mut new = HashMap::with_capacity(old.len());
        for (name, entry) in listed.iter().take(MAX_APPS) {
            let app = name.strip_suffix(".json").and_then(|name| name.parse::<AppName>().ok());
            let (Some(app), Some(kid)) = (app, entry.kid()) else { continue };
            let former = old.remove(&app);
            if let Some(route) = self.route(kid, former) {
                new.insert(app, route);
            }
        }
        old.into_values().flat_map(|route| route.backends).for_each(|backend| backend.retire());
        self.apps.replace(new);
        self.seen.set(Some(head.seq));
        Ok(())
    }

    fn route(&self, document: Kid, former: Option<Route>) -> Option<Route> {
        if former.as_ref().is_some_and(|route| route.document == document) {
            return former;
        }
        let bytes = self.keg.objects().blob(&document).ok();
        let parsed = bytes.and_then(|bytes| serde_json::from_slice::<RouteDocument>(&bytes).ok());
        let Some(parsed) = parsed else { return former };
        let mut former = former.map_or_else(Vec::new, |route| route.backends);
        let mut backends = Vec::new();
        for BackendDocument { process, netns, address } in
            parsed.backends.into_iter().take(MAX_BACKENDS)
        {
            let place = Place { process, netns, address };
            let stays = former.iter().position(|backend| *backend.place() == place);
            backends.push(match stays {
                Some(at) => former.swap_remove(at),
                None => Rc::new(Backend::new(place)),
            });
        }
        former.iter().for_each(|backend| backend.retire());
        Some(Route { document, backends, next: Cell::new(0) })
    }

    /// The app's backends in the order in which to try them: each request starts with another.
    pub(super) fn next_backend(&self, app: &AppName) -> Option<Rc<Backend>> {
        let apps = self.apps.borrow();
        let route = apps.get(app)?;
        let next = route.next.get();
        route.next.set(next.wrapping_add(1));
        route.backends.get(next % route.backends.len().max(1)).map(Rc::clone)
    }

    /// How many backends the app has.
    pub(super) fn backends(&self, app: &AppName) -> usize {
        self.apps.borrow().get(app).map_or(0, |route| route.backends.len())
    }

    /// Why an app has no backend.
    pub(super) fn absent(&self, app: &AppName) -> Absent {
        if let Ok(Some(why)) = self.why(app) {
            return Absent::Waiting(why);
        }
        let known = |path: &str| {
            let path = format!("{path}/{app}").parse::<NamePath>().ok();
            path.is_some_and(|path| matches!(self.keg.get(&path), Ok(Some(_))))
        };
        if self.apps.borrow().contains_key(app) || known("/oci-images") {
            return Absent::Waiting("it is being started.".to_owned());
        }
        if known("/source") {
            return Absent::Waiting("nothing of it has been released yet.".to_owned());
        }
        Absent::Unknown
    }

    fn why(&self, app: &AppName) -> Result<Option<String>, NamesError> {
        let path = self.machine.join("apps").and_then(|apps| apps.join(&format!("{app}.json")));
        let Ok(path) = path else { return Ok(None) };
        let Some(document) = self.keg.read_json::<AppDocument>(&path)? else { return Ok(None) };
        let why = match (document.state.as_str(), document.error) {
            ("failed", Some(AppError { message, hint })) => {
                format!("its release failed: {message}\n{}", hint.unwrap_or_default())
            }
            ("failed", None) => "its release failed.".to_owned(),
            ("starting", _) => "it is being started.".to_owned(),
            _ => "it is being started again.".to_owned(),
        };
        Ok(Some(why.trim_end().to_owned()))
    }

    /// Closes connections that have been idle too long.
    pub(super) fn sweep(&self) {
        let apps = self.apps.borrow();
        apps.values().flat_map(|route| &route.backends).for_each(|backend| backend.sweep());
    }
}
