//! What came to pass, and what follows from it.

use std::fs::OpenOptions;
use std::io::Write as _;
use std::os::fd::OwnedFd;
use std::rc::Rc;

use keg::Keg;
use sandbox::record::{self, Outcome};

use crate::backoff::chance;
use crate::egress;
use crate::events::{self, About, Event, News, Question};
use crate::mayor::Mayor;
use crate::place::{Place, records, stream};
use crate::plan::{Phase, Slot};
use crate::problem::{Problem, last_lines};
use crate::start::WEB;
use crate::steps::{signal, stop};

impl Mayor {
    pub(crate) fn handle(&mut self, event: Event) {
        let Event { app: name, slot, id, news } = event;
        if matches!(news, News::Swept) {
            self.sweeps -= 1;
            return;
        }
        if matches!(news, News::RelayEnded) {
            self.relays -= 1;
        }
        let place = self.apps.get_mut(&name).and_then(|app| app.places.get_mut(&slot));
        let Some(place) = place.filter(|place| place.id == id) else {
            if matches!(news, News::Ended) {
                self.discard(&id);
            }
            return;
        };
        let about = About { app: name.clone(), slot: slot.clone(), id };
        match news {
            News::Started(record) if place.phase == Phase::Starting => {
                place.seconds.start = Some(place.begun.elapsed().as_secs_f64());
                place.record = Some(record);
                let question = (slot.kind == WEB).then(|| place.namespace.clone()).flatten();
                let config = &place.release.config;
                let question = question.map(|namespace| Question {
                    namespace,
                    host: format!("{name}.localhost"),
                    path: config.check.path.clone(),
                    within: config.ready_within().saturating_sub(place.begun.elapsed()),
                });
                self.pending.push(events::well(about, question));
            }
            News::Started(record) => place.record = Some(record),
            News::Ready if place.phase == Phase::Starting => {
                place.phase = Phase::Ready;
                place.seconds.ready = Some(place.begun.elapsed().as_secs_f64());
                let note = place.note(&name, &slot).write(&self.starter.dir(&place.id));
                if let Err(error) = note {
                    eprintln!("mayor: {name} {}: {error}", Place::name(&slot));
                }
                self.recovered(&name);
            }
            News::Late(seen) if place.phase == Phase::Starting => {
                let process = Place::name(&slot);
                let config = &place.release.config;
                let log = tail(&self.keg, &name, &slot, &place.started);
                let (timeout, socket) = (config.check.timeout, config.socket);
                place.doomed = Some(Problem::late(&process, timeout, &seen, socket, &log));
                signal(place);
            }
            News::Drained if place.phase == Phase::Draining => stop(place),
            News::Due if place.phase == Phase::Waiting => place.phase = Phase::Due,
            News::Ended => self.ended(&name, &slot),
            News::RelayEnded if place.runs() => self.pending.push(events::relay_due(about)),
            News::RelayDue if place.runs() => self.relay(about),
            _ => {}
        }
    }

    /// The process in a slot is gone.
    fn ended(&mut self, name: &str, slot: &Slot) {
        let Some(app) = self.apps.get_mut(name) else { return };
        let Some(place) = app.places.get_mut(slot) else { return };
        let id = place.id.clone();
        let outcome = record::outcome(&records(&self.starter.dir(&id), &id));
        let phase = place.phase;
        let process = Place::name(slot);
        let log = tail(&self.keg, name, slot, &place.started);
        let when = match phase {
            Phase::Starting => "while starting",
            _ => "unasked",
        };
        let problem = match &outcome {
            Ok(Outcome::Failed(error)) => {
                Problem::not_started(&process, &error.message, &error.hint)
            }
            Ok(Outcome::Exited(exit)) => {
                let problem = Problem::ended(&process, when, Some(exit), &log);
                place.exit = Some(exit.clone());
                problem
            }
            _ => {
                place.exit = None;
                Problem::ended(&process, when, None, &log)
            }
        };
        let asked = matches!(phase, Phase::Draining | Phase::Stopping);
        let how = place.exit.as_ref().map_or("how is unknown".into(), ToString::to_string);
        let problem = match place.doomed.take() {
            Some(doomed) => doomed,
            None => {
                if !asked && !matches!(outcome, Ok(Outcome::Failed(_))) {
                    note(&self.keg, name, slot, &format!("{process} ended {when}: {how}"));
                }
                problem
            }
        };
        self.discard(&id);
        self.failed(name, slot, problem);
    }

    /// There is no process in a slot (any more): the slot is empty, or waits for a restart.
    pub(crate) fn failed(&mut self, name: &str, slot: &Slot, problem: Problem) {
        let Some(app) = self.apps.get_mut(name) else { return };
        let live = app.live.as_ref().is_some_and(|live| live.run == slot.run);
        let Some(place) = app.places.get_mut(slot) else { return };
        let asked = matches!(place.phase, Phase::Draining | Phase::Stopping);
        (place.shim, place.namespace) = (None, None);
        if asked || !live {
            app.places.remove(slot);
            if !asked {
                self.reject(name, slot, problem);
            }
            return;
        }
        place.phase = Phase::Waiting;
        let pause = place.backoff.pause(place.begun.elapsed(), chance());
        let about = About { app: name.into(), slot: slot.clone(), id: place.id.clone() };
        self.pending.push(events::due(about, pause));
        self.publisher.because(format!("{name}: {} ended", Place::name(slot)));
        app.trouble = Some(problem);
    }

    /// A release that is tried has failed; of the live one it is only trouble.
    fn reject(&mut self, name: &str, slot: &Slot, problem: Problem) {
        let Some(app) = self.apps.get_mut(name) else { return };
        match app.candidate().filter(|candidate| candidate.run == slot.run).map(|c| c.kid) {
            Some(kid) => {
                self.publisher.because(format!("{name}: release {} failed", kid.short()));
                app.rejected = Some((kid, problem));
            }
            None if app.live.as_ref().is_some_and(|live| live.run == slot.run) => {
                app.trouble = Some(problem);
            }
            None => {}
        }
    }

    /// Waits for the process that brings an app's connections out.
    pub(crate) fn relaying(&mut self, about: About, relay: Rc<OwnedFd>) {
        self.relays += 1;
        self.pending.push(events::relay_ended(about, relay));
    }

    /// Starts it again for a container that runs.
    pub(crate) fn relay(&mut self, about: About) {
        let place = self.apps.get(&about.app).and_then(|app| app.places.get(&about.slot));
        let Some(place) = place.filter(|place| place.id == about.id) else { return };
        let (Some(namespace), Some(shim)) = (&place.namespace, &place.shim) else { return };
        let dir = self.starter.dir(&about.id);
        let started = egress::open(namespace)
            .and_then(|inside| egress::serve(&inside, &about.app, &dir, shim));
        match started {
            Ok(relay) => self.relaying(about, relay),
            Err(error) => {
                eprintln!("mayor: {} has no way to the network: {error}", about.app);
                self.pending.push(events::relay_due(about));
            }
        }
    }

    /// Forgets the trouble of an app whose live processes are all well again.
    fn recovered(&mut self, name: &str) {
        let Some(app) = self.apps.get_mut(name) else { return };
        let Some(run) = app.live.as_ref().map(|live| live.run) else { return };
        let mut live = app.places.iter().filter(|(slot, _)| slot.run == run);
        if live.all(|(_, place)| place.phase == Phase::Ready) {
            app.trouble = None;
        }
    }
}

fn tail(keg: &Keg, app: &str, slot: &Slot, since: &str) -> Vec<String> {
    let path = keg.streams().path(&stream(app, slot));
    path.map(|path| last_lines(&path, &Place::name(slot), since)).unwrap_or_default()
}

/// Says in an app's log what the app itself cannot: that it ended, and how.
fn note(keg: &Keg, app: &str, slot: &Slot, text: &str) {
    let line = format!("{} {} err keg: {text}\n", keg::time::now(), Place::name(slot));
    let path = keg.streams().path(&stream(app, slot)).ok();
    let file = path.and_then(|path| OpenOptions::new().append(true).open(path).ok());
    // One write: its supervisor may be writing too. A full disk loses it; the documents have it.
    let written = file.map(|mut file| file.write_all(line.as_bytes()));
    if let Some(Err(error)) = written {
        eprintln!("mayor: the log of {app} {}: {error}", Place::name(slot));
    }
}
