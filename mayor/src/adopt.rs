//! Coming back: what the namespace remembers of apps, and the containers that still run.

use std::fs;
use std::path::Path;
use std::rc::Rc;
use std::time::{Duration, Instant};

use keg::Kid;
use rustix::process::{Signal, pidfd_send_signal};
use sandbox::netns;
use sandbox::record::{self, Outcome, PidRecord};
use serde_json::Value as Json;

use crate::app::App;
use crate::backoff::Backoff;
use crate::egress;
use crate::events::{self, About, News};
use crate::mayor::Mayor;
use crate::place::{Note, Place, Seconds, records};
use crate::plan::{Phase, Slot};
use crate::problem::Problem;
use crate::release::Release;

/// How long a container is waited for that was being set up when the last mayor ended.
const SET_UP_WITHIN: Duration = Duration::from_secs(3);
/// Pause between looks at it.
const LOOK: Duration = Duration::from_millis(10);

impl Mayor {
    /// Takes over from the documents which releases serve and which have failed.
    pub(crate) fn recall(&mut self) {
        let kid = |document: &Json, field: &str| -> Option<Kid> {
            document[field].as_str()?.parse().ok()
        };
        for (name, document) in self.publisher.apps() {
            let mut app = App::default();
            let live = kid(document, "live").map(|live| Release::load(&self.keg, &live));
            match live {
                Some(Ok(release)) => app.live = Some(Rc::new(release)),
                Some(Err(problem)) => {
                    eprintln!("mayor: {name}: its live release is lost: {}", problem.message);
                }
                None => {}
            }
            if let Some(release) =
                kid(document, "release").filter(|_| document["state"] == "failed")
            {
                let text = |field: &str| document["error"][field].as_str().unwrap_or("").to_owned();
                let problem = Problem { message: text("message"), hint: text("hint") };
                app.rejected = Some((release, problem));
            }
            app.seconds = serde_json::from_value(document["seconds"].clone()).unwrap_or_default();
            self.apps.insert(name.to_owned(), app);
        }
    }

    /// The ids of containers of ours that left anything: a directory or a control group.
    pub(crate) fn ids(&self) -> Vec<String> {
        let entries = fs::read_dir(&self.starter.base).into_iter().flatten().flatten();
        let names = entries.filter_map(|entry| entry.file_name().into_string().ok());
        let mut ids: Vec<String> =
            names.filter(|name| name.starts_with(&self.starter.prefix)).collect();
        ids.extend(sandbox::cgroup::list(&self.starter.prefix));
        ids.sort_unstable();
        ids.dedup();
        ids
    }

    /// Takes over the containers that still run; ends and removes all others of ours.
    pub(crate) fn adopt(&mut self) {
        let mut taken = 0;
        for id in self.ids() {
            if self.adopt_one(&id) {
                taken += 1;
            } else {
                self.abandon(&id);
            }
        }
        self.sweep_trash();
        if taken > 0 {
            self.publisher.because(format!("{taken} processes were taken over"));
        }
    }

    /// Whether the container runs, is known, and is the only one in its slot.
    fn adopt_one(&mut self, id: &str) -> bool {
        let dir = self.starter.dir(id);
        let Some(note) = Note::read(&dir) else { return false };
        let Some(record) = running(&records(&dir, id)) else { return false };
        // First the handle, then the look at the start time: no other process can slip in between.
        let Ok(shim) = events::handle(record.shim as u32) else { return false };
        let Ok(namespace) = netns::of_process(record.shim) else { return false };
        if !record.shim_alive() {
            return false;
        }
        let Some(release) = self.release(&note) else { return false };
        let slot = Slot { run: release.run, kind: note.kind.clone(), index: note.index };
        let Some(app) = self.apps.get_mut(&note.app) else { return false };
        if app.places.contains_key(&slot) {
            return false;
        }
        let about = About { app: note.app.clone(), slot: slot.clone(), id: id.to_owned() };
        self.pending.push(events::ended(about.clone(), shim.clone()));
        if !note.ready {
            let (about, news) = (about.clone(), News::Started(record.clone()));
            self.pending.push(Box::pin(async move { about.tell(news) }));
        }
        let egress = release.config.egress;
        app.places.insert(
            slot,
            Place {
                id: id.to_owned(),
                release,
                phase: if note.ready { Phase::Ready } else { Phase::Starting },
                shim: Some(shim),
                record: Some(record),
                namespace: Some(Rc::new(namespace)),
                begun: Instant::now(),
                started: note.started,
                restarts: note.restarts,
                backoff: Backoff::default(),
                exit: None,
                doomed: None,
                seconds: if note.ready { note.seconds } else { Seconds::default() },
            },
        );
        if egress {
            match egress::running(&dir) {
                Some(relay) => self.relaying(about, relay),
                None => self.relay(about),
            }
        }
        true
    }

    /// The release of a note, the app's own where it is the same.
    fn release(&self, note: &Note) -> Option<Rc<Release>> {
        let app = self.apps.get(&note.app)?;
        let known = [app.live.as_ref(), app.goal.as_ref()].into_iter().flatten();
        let exact = known.clone().find(|release| release.kid == note.release);
        if let Some(release) = exact {
            return Some(release.clone());
        }
        let loaded = Release::load(&self.keg, &note.release).ok()?;
        let same = known.clone().find(|release| release.run == loaded.run);
        Some(same.cloned().unwrap_or_else(|| Rc::new(loaded)))
    }

    /// Ends whatever is left of a container and removes it.
    fn abandon(&mut self, id: &str) {
        let dir = self.starter.dir(id);
        if let Ok(Outcome::Started(record)) = record::outcome(&records(&dir, id))
            && let Ok(shim) = events::handle(record.shim as u32)
            && record.shim_alive()
        {
            // Its supervisor ends it at once, and goes.
            let _ = pidfd_send_signal(&shim, Signal::QUIT);
        }
        sandbox::cgroup::kill(id);
        self.discard(id);
    }

    /// Directories whose removal a former mayor did not live to see.
    fn sweep_trash(&mut self) {
        for child in self.starter.sweep() {
            self.sweeping(child);
        }
    }
}

/// The record of a container that runs. One that is being set up gets a moment for it.
fn running(records: &Path) -> Option<PidRecord> {
    let until = Instant::now() + SET_UP_WITHIN;
    loop {
        match record::outcome(records) {
            Ok(Outcome::Started(record)) => return record.shim_alive().then_some(record),
            Ok(Outcome::Starting) if records.exists() && Instant::now() < until => {
                std::thread::sleep(LOOK);
            }
            _ => return None,
        }
    }
}
