//! One app: which release should run, which does, and its processes.

use std::collections::BTreeMap;
use std::rc::Rc;

use keg::Kid;
use serde_json::{Value as Json, json};

use crate::config::AppConfig;
use crate::place::{Place, Seconds, stream};
use crate::plan::{Phase, Situation, Slot, Target};
use crate::problem::Problem;
use crate::ready::{PORT, address};
use crate::release::Release;
use crate::start::WEB;

/// An app of this machine.
#[derive(Default)]
pub struct App {
    /// What `/oci-images/<app>` names.
    pub wanted: Option<Kid>,
    /// The same, read.
    pub goal: Option<Rc<Release>>,
    /// The release that serves.
    pub live: Option<Rc<Release>>,
    /// The release that failed, and why: it is not tried again.
    pub rejected: Option<(Kid, Problem)>,
    /// What is wrong with the live release now, if anything.
    pub trouble: Option<Problem>,
    /// `/apps/<app>/config.json`, for its scale; `None` where it is absent or cannot be read.
    pub config: Option<AppConfig>,
    /// The processes.
    pub places: BTreeMap<Slot, Place>,
    /// How long the newest release took.
    pub seconds: Seconds,
}

impl App {
    /// The release that is to serve instead of the live one, unless it failed already.
    pub fn candidate(&self) -> Option<&Rc<Release>> {
        let goal = self.goal.as_ref()?;
        let rejected = self.rejected.as_ref().is_some_and(|(kid, _)| *kid == goal.kid);
        let live = self.live.as_ref().is_some_and(|live| live.run == goal.run);
        (!rejected && !live).then_some(goal)
    }

    /// A newer release that runs the same takes the live one's place without starting anything.
    /// Returns whether it did.
    pub fn relabel(&mut self) -> bool {
        let (Some(goal), Some(live)) = (&self.goal, &self.live) else { return false };
        if goal.run != live.run || goal.kid == live.kid {
            return false;
        }
        let goal = goal.clone();
        for (slot, place) in &mut self.places {
            if slot.run == goal.run {
                place.release = goal.clone();
            }
        }
        self.live = Some(goal);
        true
    }

    /// The candidate serves from now on.
    pub fn promote(&mut self) {
        if let Some(candidate) = self.candidate().cloned() {
            let took =
                |slot: &Slot, place: &Place| (slot.run == candidate.run).then_some(place.seconds);
            let seconds = self.places.iter().filter_map(|(slot, place)| took(slot, place));
            self.seconds = seconds.fold(Seconds::default(), |most, one| Seconds {
                start: slower(most.start, one.start),
                ready: slower(most.ready, one.ready),
            });
            self.live = Some(candidate);
            (self.rejected, self.trouble) = (None, None);
        }
    }

    /// What [`crate::plan::plan`] needs to know.
    pub fn situation(&self) -> Situation {
        let target = |release: &Rc<Release>| Target {
            run: release.run,
            scale: release.scale(self.config.as_ref().unwrap_or(&release.config)),
        };
        let known = self.wanted.is_some();
        Situation {
            live: self.live.as_ref().filter(|_| known).map(target),
            candidate: self.candidate().map(target),
            slots: self.places.iter().map(|(slot, place)| (slot.clone(), place.phase)).collect(),
        }
    }

    /// The release of a run that is live or a candidate.
    pub fn release_of(&self, run: &Kid) -> Option<&Rc<Release>> {
        [self.live.as_ref(), self.candidate()].into_iter().flatten().find(|r| r.run == *run)
    }

    /// Whether nothing is left of it.
    pub fn is_gone(&self) -> bool {
        self.wanted.is_none() && self.places.is_empty()
    }

    /// `/machines/<m>/apps/<app>.json`, without `changed`.
    pub fn document(&self, name: &str, url: &str) -> Option<Json> {
        let wanted = self.wanted?;
        let rejected = self.rejected.as_ref().filter(|(kid, _)| *kid == wanted);
        let live = self.live.as_ref().map(|live| live.kid);
        let (state, error) = match rejected {
            Some((_, problem)) => ("failed", Some(problem)),
            None if live == Some(wanted) => ("live", self.trouble.as_ref()),
            None => ("starting", None),
        };
        Some(json!({
            "app": name, "release": wanted, "live": live, "state": state,
            "error": error.map(Problem::json), "url": url,
            "seconds": { "start": self.seconds.start, "ready": self.seconds.ready },
        }))
    }

    /// `/machines/<m>/routes/<app>.json`: the ready web processes of the live release.
    pub fn route(
        &self,
        name: &str,
        host: &str,
        kid: impl Fn(&Slot, &Place) -> Kid,
    ) -> Option<Json> {
        self.wanted?;
        let live = self.live.as_ref()?;
        let serves = |slot: &Slot, place: &Place| {
            slot.run == live.run && slot.kind == WEB && place.phase == Phase::Ready
        };
        let backends: Vec<Json> = self
            .places
            .iter()
            .filter(|(slot, place)| serves(slot, place))
            .filter_map(|(slot, place)| {
                let record = place.record.as_ref()?;
                let namespace = sandbox::netns::number(place.namespace.as_deref()?).ok()?;
                Some(json!({
                    "process": kid(slot, place), "address": address().to_string(),
                    "netns": format!("/proc/{}/ns/net", record.shim), "netns_number": namespace,
                }))
            })
            .collect();
        Some(json!({ "app": name, "host": host, "backends": backends }))
    }
}

fn slower(one: Option<f64>, other: Option<f64>) -> Option<f64> {
    [one, other].into_iter().flatten().reduce(f64::max)
}

/// A row of the process table.
pub fn row(app: &str, slot: &Slot, place: &Place, kid: &Kid) -> Option<Json> {
    let record = place.record.as_ref()?;
    let release = &place.release;
    let state = match place.phase {
        Phase::Starting => "starting",
        Phase::Ready => "running",
        Phase::Waiting | Phase::Due => "backoff",
        Phase::Draining | Phase::Stopping => "stopping",
    };
    let exit = place
        .exit
        .as_ref()
        .map(|exit| json!({ "code": exit.code, "signal": exit.signal, "oom": exit.oom }));
    Some(json!({
        "process": kid, "pid": place.pid(), "start": record.start, "app": app, "type": slot.kind,
        "index": slot.index, "state": state, "image": release.image, "release": release.kid,
        "source": release.source, "build": release.build,
        "user": release.user, "author": release.author, "started": place.started, "restarts": place.restarts,
        "exit": exit, "port": (slot.kind == WEB).then_some(PORT),
        "command": release.processes.get(&slot.kind), "stream": stream(app, slot),
        "container": place.id, "seconds": place.seconds,
    }))
}
