//! One push, from `git push` to the new version's text.

use std::{
    net::SocketAddr,
    thread::sleep,
    time::{Duration, Instant},
};

use keg_tests::{Push, Repo, World, http, repo::told};

/// Pause between two looks: short against what is measured, long against what a look costs.
const LOOK: Duration = Duration::from_millis(4);
/// Longest wait for an answer.
const PATIENCE: Duration = Duration::from_secs(60);

/// Where an app is reached.
pub struct Place {
    address: SocketAddr,
    host: String,
}

impl Place {
    /// An app of a Keg, through its router.
    pub fn routed(world: &World, app: &str) -> Self {
        let host = format!("{app}.localhost:{}", world.router.port());
        Self { address: world.router, host }
    }

    /// A server on a port of the loopback device.
    pub fn port(port: u16) -> Self {
        let address = SocketAddr::from(([127, 0, 0, 1], port));
        Self { address, host: address.to_string() }
    }

    /// Whether its page holds this text.
    pub fn says(&self, text: &str) -> bool {
        let answer = http::ask(self.address, "GET", "/", &[("Host", &self.host)], b"");
        answer.is_ok_and(|answer| answer.status == 200 && answer.body.contains(text))
    }
}

/// What came of a push.
pub struct Trial {
    /// When it began, RFC 3339.
    pub began: String,
    /// From the start of `git push` to the new text.
    pub answered: Duration,
    /// What git said.
    pub push: Push,
}

/// Pushes main and asks the app until it says `text`.
///
/// # Panics
/// When the push fails, or the text never comes.
pub fn push(repo: &Repo, remote: &str, place: &Place, text: &str) -> Trial {
    let began = keg::time::now();
    let begun = Instant::now();
    let mut running = repo.start_push(&[remote, "main"]);
    while !place.says(text) {
        if begun.elapsed() > PATIENCE {
            let push = told(running.wait());
            panic!("{text:?} did not come:\n{}", push.said);
        }
        if !running.runs() {
            let err = running.err();
            assert!(!err.contains("rejected") && !err.contains("fatal:"), "{err}");
        }
        sleep(LOOK);
    }
    let answered = begun.elapsed();
    Trial { began, answered, push: told(running.wait()).ok() }
}
