//! Stopping: every process ends, and nothing of it is left on the machine.

use std::time::Duration;

use futures_util::StreamExt;
use tokio::time::{Instant, timeout_at};

use crate::mayor::Mayor;
use crate::place::Place;
use crate::publish::Documents;
use crate::start::chain;
use crate::steps::stop;

/// Time that ending takes beyond an app's own grace.
const EXTRA: Duration = Duration::from_secs(2);
/// Longest grace when everything stops: `keg up` and service managers kill who takes longer, and
/// then nobody would be left to end the apps.
const LONGEST: Duration = Duration::from_secs(15);

impl Mayor {
    /// Ends all processes and removes what they left, and the routes and rows with them. What was
    /// assigned stays in the apps' documents: the next start brings it back.
    pub(crate) async fn stop_all(mut self) {
        let mut longest = Duration::ZERO;
        for app in self.apps.values_mut() {
            for place in app.places.values_mut().filter(|place| place.runs()) {
                let grace = Duration::from_secs_f64(place.release.config.grace);
                longest = longest.max(grace.min(LONGEST));
                stop(place);
            }
        }
        self.until(Instant::now() + longest, Mayor::runs_none).await;
        for id in self.ids() {
            sandbox::cgroup::kill(&id);
        }
        self.until(Instant::now() + EXTRA, Mayor::runs_none).await;
        for id in self.ids() {
            self.discard(&id);
        }
        self.until(Instant::now() + EXTRA, |mayor| mayor.sweeps + mayor.relays == 0).await;
        let url = |name: &str| self.apps_url.replace("{app}", name);
        let documents: Documents = self
            .apps
            .iter()
            .filter_map(|(name, app)| {
                Some((format!("apps/{name}.json"), app.document(name, &url(name))?))
            })
            .collect();
        self.publisher.because("the apps were stopped".into());
        if let Err(error) = self.publisher.publish(documents) {
            eprintln!("mayor: {}", chain(&error));
        }
    }

    /// Handles events until `done`, at the latest until `end`.
    async fn until(&mut self, end: Instant, done: impl Fn(&Mayor) -> bool) {
        while !done(self) {
            match timeout_at(end, self.pending.next()).await {
                Ok(Some(event)) => self.handle(event),
                Ok(None) | Err(_) => break,
            }
        }
    }

    fn runs_none(&self) -> bool {
        !self.apps.values().any(|app| app.places.values().any(Place::runs))
    }
}
