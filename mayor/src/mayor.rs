//! The loop: what should be, what is, the steps between them (`steps`), and what came of them
//! (`news`).

use std::collections::BTreeMap;
use std::process::Child;
use std::rc::Rc;
use std::time::Duration;

use futures_util::StreamExt;
use futures_util::stream::FuturesUnordered;
use keg::object::Value;
use keg::path::AppName;
use keg::{Keg, Kid, NamePath};

use crate::app::{App, row};
use crate::config::AppConfig;
use crate::events::{self, Pending};
use crate::groups::{self, Groups};
use crate::place::{Place, Seconds};
use crate::plan::Slot;
use crate::publish::{Documents, Publisher};
use crate::release::Release;
use crate::start::{Starter, chain};
use crate::{Error, Options};

/// Pause before documents that could not be written are written again.
const WRITE_AGAIN: Duration = Duration::from_secs(1);

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
    /// Processes that bring apps' connections out.
    pub(crate) relays: usize,
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
            relays: 0,
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
        let mut groups = Groups::default();
        let mut sweep = tokio::time::interval(groups::EVERY);
        loop {
            self.act();
            let written = self.publish();
            tokio::select! {
                Some(event) = self.pending.next(), if !self.pending.is_empty() => {
                    self.handle(event);
                }
                changes = image_watch.next() => {
                    changes?;
                    self.refresh()?;
                }
                changes = config_watch.next() => {
                    changes?;
                    self.refresh()?;
                }
                () = tokio::time::sleep(WRITE_AGAIN), if !written => {}
                _ = sweep.tick() => groups.sweep(""),
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
