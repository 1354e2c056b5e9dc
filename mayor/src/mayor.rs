//! The loop: what should be, what is, the steps between them, and what came of them.

use std::collections::BTreeMap;
use std::process::Child;
use std::rc::Rc;
use std::time::{Duration, Instant};

use futures_util::StreamExt;
use futures_util::stream::FuturesUnordered;
use keg::object::Value;
use keg::path::AppName;
use keg::{Keg, Kid, NamePath};
use rustix::process::{Signal, pidfd_send_signal};
use sandbox::record::{self, Outcome};

use crate::app::{App, row};
use crate::backoff::{Backoff, chance};
use crate::config::AppConfig;
use crate::events::{self, About, Event, News, Pending, Question};
use crate::place::{Place, Seconds, records, stream};
use crate::plan::{Phase, Slot, Step, plan};
use crate::problem::{Problem, last_lines};
use crate::publish::{Documents, Publisher};
use crate::release::Release;
use crate::start::{Starter, WEB, chain};
use crate::{Error, Options};

/// Pause before documents that could not be written are written again.
const WRITE_AGAIN: Duration = Duration::from_secs(1);
/// Rounds of planning for one app in one turn: more would be a mistake in the plan.
const MAX_ROUNDS: usize = 100;

/// All apps of this machine.
pub struct Mayor {
    pub(crate) keg: Keg,
    pub(crate) machine: String,
    pub(crate) apps_url: String,
    boot_id: String,
    pub(crate) starter: Starter,
    pub(crate) publisher: Publisher,
    pub(crate) apps: BTreeMap<String, App>,
    pub(crate) pending: FuturesUnordered<Pending>,
    /// Children that remove directories.
    pub(crate) sweeps: usize,
}

impl Mayor {
    /// Reads what there is and finds the processes that run already.
    pub fn new(keg: &Keg, options: &Options) -> Result<Mayor, Error> {
        let mut mayor = Mayor {
            keg: keg.clone(),
            machine: options.machine.clone(),
            apps_url: options.apps_url.clone(),
            boot_id: keg::machine::boot_id(),
            starter: Starter::new(keg).map_err(Error::Directory)?,
            publisher: Publisher::open(keg, &options.machine)?,
            apps: BTreeMap::new(),
            pending: FuturesUnordered::new(),
            sweeps: 0,
        };
        mayor.recall();
        Ok(mayor)
    }

    /// Works until told to stop.
    pub async fn run(mut self, options: Options) -> Result<(), Error> {
        let (images, configs): (NamePath, NamePath) = ("/oci-images".parse()?, "/apps".parse()?);
        let mut image_watch = self.keg.watch(&images, None)?;
        let mut config_watch = self.keg.watch(&configs, None)?;
        self.refresh()?;
        self.adopt();
        let mut shutdown = options.shutdown;
        loop {
            self.act();
            let written = self.publish();
            tokio::select! {
                Some(event) = self.pending.next(), if !self.pending.is_empty() => self.handle(event),
                changes = image_watch.next() => {
                    changes?;
                    self.refresh()?;
                }
                changes = config_watch.next() => {
                    changes?;
                    self.refresh()?;
                }
                () = tokio::time::sleep(WRITE_AGAIN), if !written => {}
                () = &mut shutdown => break,
            }
        }
        if !options.keep {
            self.stop_all().await;
        }
        Ok(())
    }

    /// Reads which releases and configurations are wanted.
    fn refresh(&mut self) -> Result<(), Error> {
        let images: NamePath = "/oci-images".parse()?;
        let mut wanted = BTreeMap::new();
        for (name, entry) in self.keg.list(&images)? {
            if let (Ok(app), Value::Commit { kid }) = (name.parse::<AppName>(), entry.value) {
                wanted.insert(app.as_str().to_owned(), kid);
            }
        }
        for name in wanted.keys() {
            self.apps.entry(name.clone()).or_default();
        }
        for (name, app) in &mut self.apps {
            let config = self.keg.get_json(&format!("/apps/{name}/config.json").parse()?)?;
            app.config = config.and_then(|document| AppConfig::parse(&document).ok());
            let kid = wanted.get(name).copied();
            if app.wanted == kid {
                continue;
            }
            if app.wanted.is_some() {
                app.seconds = Seconds::default();
            }
            app.wanted = kid;
            app.goal = None;
            if app.rejected.as_ref().is_some_and(|(rejected, _)| Some(*rejected) != kid) {
                app.rejected = None;
            }
            match kid.map(|kid| (kid, Release::load(&self.keg, &kid))) {
                None => {}
                Some((_, Ok(release))) => app.goal = Some(Rc::new(release)),
                Some((kid, Err(problem))) => app.rejected = Some((kid, problem)),
            }
            if app.relabel() {
                self.publisher.because(format!("{name}: the same, as a newer release"));
            }
        }
        Ok(())
    }

    /// Takes all steps there are to take now.
    fn act(&mut self) {
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
                self.pending.push(events::started(about, records));
                app.places.insert(slot, place);
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

    pub(crate) fn handle(&mut self, event: Event) {
        let Event { app: name, slot, id, news } = event;
        if matches!(news, News::Swept) {
            self.sweeps -= 1;
            return;
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
        let problem = match outcome {
            Ok(Outcome::Failed(error)) => {
                Problem::not_started(&process, &error.message, &error.hint)
            }
            Ok(Outcome::Exited(exit)) => {
                let problem = Problem::ended(&process, when, Some(&exit), &log);
                place.exit = Some(exit);
                problem
            }
            _ => {
                place.exit = None;
                Problem::ended(&process, when, None, &log)
            }
        };
        let problem = place.doomed.take().unwrap_or(problem);
        self.discard(&id);
        self.failed(name, slot, problem);
    }

    /// There is no process in a slot (any more): the slot is empty, or waits for a restart.
    fn failed(&mut self, name: &str, slot: &Slot, problem: Problem) {
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

    /// Forgets the trouble of an app whose live processes are all well again.
    fn recovered(&mut self, name: &str) {
        let Some(app) = self.apps.get_mut(name) else { return };
        let Some(run) = app.live.as_ref().map(|live| live.run) else { return };
        let mut live = app.places.iter().filter(|(slot, _)| slot.run == run);
        if live.all(|(_, place)| place.phase == Phase::Ready) {
            app.trouble = None;
        }
    }

    /// Removes what a process left on disk.
    pub(crate) fn discard(&mut self, id: &str) {
        if let Some(child) = self.starter.discard(id) {
            self.sweeping(child);
        }
    }

    /// Waits for a child that removes a directory.
    pub(crate) fn sweeping(&mut self, child: Child) {
        self.sweeps += 1;
        self.pending.push(events::swept(child));
    }

    fn process_kid(&self, name: &str, slot: &Slot, place: &Place) -> Kid {
        let record = place.record.as_ref();
        let (pid, start) = record.map_or((0, 0), |r| (r.pid as u32, r.start));
        let what = format!("app {name} {}", Place::name(slot));
        keg::process::process_kid(&self.machine, &self.boot_id, pid, start, &what)
    }

    /// Makes the namespace say what is. Returns whether it does now.
    fn publish(&mut self) -> bool {
        let mut documents = Documents::new();
        for (name, app) in &self.apps {
            let url = self.apps_url.replace("{app}", name);
            if let Some(document) = app.document(name, &url) {
                documents.insert(format!("apps/{name}.json"), document);
            }
            let host = format!("{name}.localhost");
            let kid = |slot: &Slot, place: &Place| self.process_kid(name, slot, place);
            if let Some(route) = app.route(name, &host, kid) {
                documents.insert(format!("routes/{name}.json"), route);
            }
            for (slot, place) in &app.places {
                let kid = kid(slot, place);
                if let Some(row) = row(name, slot, place, &kid) {
                    documents.insert(format!("processes/{}.json", &kid.to_hex()[..16]), row);
                }
            }
        }
        match self.publisher.publish(documents) {
            Ok(_) => true,
            Err(error) => {
                eprintln!("mayor: {}; trying again", chain(&error));
                false
            }
        }
    }
}

/// Tells a process to end.
pub(crate) fn stop(place: &mut Place) {
    place.phase = Phase::Stopping;
    signal(place);
}

fn signal(place: &Place) {
    if let Some(shim) = &place.shim {
        // Fails only for one that has ended, of which news are on their way.
        let _ = pidfd_send_signal(shim, Signal::TERM);
    }
}

fn tail(keg: &Keg, app: &str, slot: &Slot, since: &str) -> Vec<String> {
    let path = keg.streams().path(&stream(app, slot));
    path.map(|path| last_lines(&path, &Place::name(slot), since)).unwrap_or_default()
}
