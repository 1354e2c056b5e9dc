//! How far something is that takes more than a second: for people, for logs, and as JSON.
//!
//! On a terminal one line that changes, elsewhere a line now and then, with `--json` a line of JSON
//! a second: `{"progress": {…}}`. All on standard error; standard output has the result alone.

use std::{
    io::{IsTerminal as _, Write as _},
    time::{Duration, Instant},
};

use keg::sync::Progress;
use serde_json::json;

use crate::output;

/// What is done by then needs no progress.
const FIRST: Duration = Duration::from_secs(1);

/// Shows how a pull or push goes on.
pub struct Meter {
    how: How,
    begun: Instant,
    /// When it is shown next.
    next: Instant,
    /// When the first blob came, and what was there then.
    blobs: Option<(Instant, u64)>,
    shown: bool,
}

#[derive(Clone, Copy)]
enum How {
    Terminal,
    Lines,
    Json,
}

impl How {
    fn pause(self) -> Duration {
        match self {
            Self::Terminal => Duration::from_millis(200),
            Self::Lines => Duration::from_secs(10),
            Self::Json => Duration::from_secs(1),
        }
    }
}

impl Meter {
    /// One that begins now.
    pub fn new(json: bool) -> Self {
        let how = match (json, std::io::stderr().is_terminal()) {
            (true, _) => How::Json,
            (false, true) => How::Terminal,
            (false, false) => How::Lines,
        };
        let begun = Instant::now();
        Self { how, begun, next: begun + FIRST, blobs: None, shown: false }
    }

    /// Seconds since it began.
    pub fn seconds(&self) -> f64 {
        self.begun.elapsed().as_secs_f64()
    }

    /// Says how far it is, if it is time to.
    pub fn show(&mut self, progress: &Progress) {
        let now = Instant::now();
        if self.blobs.is_none() && progress.bytes > 0 {
            self.blobs = Some((now, progress.bytes));
        }
        if now < self.next {
            return;
        }
        self.next = now + self.how.pause();
        let rate = self.blobs.map_or(0.0, |(since, had)| {
            (progress.bytes.saturating_sub(had)) as f64 / (now - since).as_secs_f64().max(0.001)
        });
        let text = match self.how {
            How::Terminal => format!("\r{}\x1b[K", words(progress, rate)),
            How::Lines => format!("{}\n", words(progress, rate)),
            How::Json => format!("{}\n", document(progress, rate)),
        };
        self.shown = true;
        // Progress that cannot be shown stops nothing.
        let _ = std::io::stderr().lock().write_all(text.as_bytes());
    }

    /// Clears the line, for what comes after it.
    pub fn clear(&self) {
        if self.shown && matches!(self.how, How::Terminal) {
            let _ = std::io::stderr().lock().write_all(b"\r\x1b[K");
        }
    }
}

fn percent(progress: &Progress) -> u64 {
    let of = |done: u64, all: u64| (u128::from(done) * 100 / u128::from(all.max(1))) as u64;
    of(progress.bytes, progress.bytes_total).min(100)
}

fn words(progress: &Progress, rate: f64) -> String {
    if progress.blobs_total == 0 {
        return format!("comparing: {} directories and versions", progress.objects);
    }
    let Progress { blobs, blobs_total, bytes, bytes_total, .. } = *progress;
    format!(
        "{}%: {} of {}, {blobs} of {blobs_total} files, {}/s",
        percent(progress),
        output::bytes(bytes),
        output::bytes(bytes_total),
        output::bytes(rate as u64),
    )
}

fn document(progress: &Progress, rate: f64) -> serde_json::Value {
    let Progress { objects, blobs, blobs_total, bytes, bytes_total } = *progress;
    json!({ "progress": {
        "objects": objects, "blobs": blobs, "blobs_total": blobs_total, "bytes": bytes,
        "bytes_total": bytes_total, "percent": percent(progress),
        "bytes_per_second": rate as u64,
    } })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn how_far_it_is() {
        let mut progress = Progress { objects: 7, ..Progress::default() };
        assert_eq!(words(&progress, 0.0), "comparing: 7 directories and versions");
        progress =
            Progress { blobs: 3, blobs_total: 9, bytes: 5_000, bytes_total: 20_000, ..progress };
        assert_eq!(words(&progress, 2500.0), "25%: 5.0 KB of 20.0 KB, 3 of 9 files, 2.5 KB/s");
        assert_eq!(document(&progress, 2500.0)["progress"]["percent"], 25);
        let empty = Progress { blobs_total: 1, ..Progress::default() };
        assert_eq!(percent(&empty), 0, "nothing of nothing");
    }
}
