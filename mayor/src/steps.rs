//! The steps of a plan, taken.

use std::time::{Duration, Instant};

use rustix::process::{Signal, pidfd_send_signal};

use crate::backoff::Backoff;
use crate::events::{self, About};
use crate::mayor::Mayor;
use crate::place::{Place, Seconds, records};
use crate::plan::{Phase, Slot, Step, plan};
use crate::start::WEB;

/// Rounds of planning for one app in one turn: more would be a mistake in the plan.
const MAX_ROUNDS: usize = 100;

impl Mayor {
    /// Takes all steps there are to take now.
    pub(crate) fn act(&mut self) {
        let names: Vec<String> = self.apps.keys().cloned().collect();
        for name in names {
            for _ in 0..MAX_ROUNDS {
                let steps = self.apps.get(&name).map(|app| plan(&app.situation()));
                let steps = steps.unwrap_or_default();
                if steps.is_empty() {
                    break;
                }
                for step in steps {
                    match step {
                        Step::Start(slot) => self.start(&name, slot),
                        Step::Retire(slot) => self.retire(&name, &slot),
                        Step::Promote => self.promote(&name),
                    }
                }
            }
        }
        self.apps.retain(|_, app| !app.is_gone());
    }

    fn promote(&mut self, name: &str) {
        let Some(app) = self.apps.get_mut(name) else { return };
        app.promote();
        let kid = app.live.as_ref().map(|live| live.kid.short()).unwrap_or_default();
        self.publisher.because(format!("{name}: release {kid} is live"));
    }

    fn start(&mut self, name: &str, slot: Slot) {
        let Some(app) = self.apps.get_mut(name) else { return };
        let Some(release) = app.release_of(&slot.run).cloned() else { return };
        let former = app.places.remove(&slot);
        let mut place = Place {
            id: String::new(),
            release: release.clone(),
            phase: Phase::Starting,
            shim: None,
            record: None,
            namespace: None,
            begun: Instant::now(),
            started: keg::time::now(),
            restarts: 0,
            backoff: Backoff::default(),
            exit: None,
            doomed: None,
            seconds: Seconds::default(),
        };
        if let Some(former) = former {
            place.restarts = former.restarts + 1;
            // The former process is shown until the new one has a number.
            (place.backoff, place.exit, place.record) =
                (former.backoff, former.exit, former.record);
        }
        place.id = self.starter.fresh_id(name);
        let note = place.note(name, &slot);
        let id = place.id.clone();
        match self.starter.start(&id, name, &slot, &release, &note) {
            Ok(launched) => {
                place.shim = Some(launched.shim.clone());
                place.namespace = Some(launched.namespace);
                let about = About { app: name.into(), slot: slot.clone(), id: id.clone() };
                let records = records(&self.starter.dir(&id), &id);
                self.pending.push(events::ended(about.clone(), launched.shim));
                self.pending.push(events::started(about.clone(), records));
                app.places.insert(slot, place);
                if let Some(relay) = launched.relay {
                    self.relaying(about, relay);
                }
            }
            Err(problem) => {
                app.places.insert(slot.clone(), place);
                self.discard(&id);
                self.failed(name, &slot, problem);
            }
        }
    }

    fn retire(&mut self, name: &str, slot: &Slot) {
        let Some(app) = self.apps.get_mut(name) else { return };
        let Some(place) = app.places.get_mut(slot) else { return };
        if !place.runs() {
            app.places.remove(slot);
            return;
        }
        let serving = place.phase == Phase::Ready && slot.kind == WEB;
        match place.record.as_ref().filter(|_| serving) {
            Some(record) => {
                place.phase = Phase::Draining;
                let about = About { app: name.into(), slot: slot.clone(), id: place.id.clone() };
                let within = Duration::from_secs_f64(place.release.config.grace);
                self.pending.push(events::drained(about, record.shim, within));
            }
            None => stop(place),
        }
    }
}

/// Tells a process to end.
pub(crate) fn stop(place: &mut Place) {
    place.phase = Phase::Stopping;
    signal(place);
}

/// Tells a process to end that is waited for in its present phase.
pub(crate) fn signal(place: &Place) {
    if let Some(shim) = &place.shim {
        // Fails only for one that has ended, of which news are on their way.
        let _ = pidfd_send_signal(shim, Signal::TERM);
    }
}
