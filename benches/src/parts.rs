//! Where the time of a push went, by the documents that the services write about it.

use keg_tests::World;
use serde_json::Value as Json;

use crate::{kegs::document, sample::Sample, table::Table, trial::Trial};

/// Milliseconds in a day.
const DAY_MS: i64 = 86_400_000;

/// Parts in the order they happen; the last is what no document tells.
const PARTS: [&str; 10] = [
    "git, HTTP, waking the builder",
    "receive and convert: pack to source tree, durable",
    "build: detect",
    "build: import (what is there is looked up)",
    "build: the pack's program in its sandbox",
    "build: image",
    "build: release, log, names, locks",
    "start: root mounted, container started",
    "ready: Python starts until the check is answered",
    "names, watching, switching, noticing",
];

/// The parts of many pushes.
#[derive(Default)]
pub struct Parts([Sample; PARTS.len()]);

impl Parts {
    /// Takes a push apart that is over.
    ///
    /// # Panics
    /// When the Keg holds no documents about it.
    pub fn note(&mut self, world: &World, app: &str, trial: &Trial) {
        let deploy = document(world, &format!("/deploys/{app}.json"));
        let key = deploy["build"].as_str().expect("because it was deployed");
        let build = document(world, &format!("/builds/{key}/build.json"));
        let machine = keg::machine::name();
        let app = document(world, &format!("/machines/{machine}/apps/{app}.json"));
        let received = received(&trial.push.said);
        let began = Json::from(trial.began.as_str());
        let steps = ["detect", "import", "build", "image"].map(|step| number(&build, step));
        let ready = number(&app, "ready");
        let start = number(&app, "start");
        let deployed = between(&deploy["started"], &deploy["finished"]);
        let before = between(&began, &deploy["started"]);
        let told = before + deployed + ready;
        let others = deployed - steps.iter().sum::<f64>();
        let [detect, import, build, image] = steps;
        let rest = trial.answered.as_secs_f64() - told;
        let values = [
            before - received,
            received,
            detect,
            import,
            build,
            image,
            others,
            start,
            ready - start,
            rest,
        ];
        for (part, value) in self.0.iter_mut().zip(values) {
            part.push(value);
        }
    }

    /// Adds them to a table.
    pub fn tell(self, table: &mut Table) {
        for (name, sample) in PARTS.into_iter().zip(self.0) {
            table.part(name, sample);
        }
    }
}

/// Seconds that a document tells of a step; none of a step that was not taken.
fn number(document: &Json, step: &str) -> f64 {
    document["seconds"][step].as_f64().unwrap_or(0.0)
}

/// Seconds of `Source stored … in 12 ms`.
fn received(said: &str) -> f64 {
    let line = said.lines().find(|line| line.contains("Source stored")).unwrap_or_default();
    let words: Vec<&str> = line.split_whitespace().collect();
    match words.as_slice() {
        [.., number, "ms"] => number.parse().map_or(0.0, |ms: f64| ms / 1e3),
        _ => 0.0,
    }
}

/// Seconds between two times of documents that are less than a day apart.
fn between(from: &Json, to: &Json) -> f64 {
    let ms = |time: &Json| ms_of_day(time.as_str().unwrap_or_default()).unwrap_or(0);
    (ms(to) - ms(from)).rem_euclid(DAY_MS) as f64 / 1e3
}

/// Milliseconds since midnight of `2026-01-31T12:00:00.000Z`.
fn ms_of_day(time: &str) -> Option<i64> {
    let (_, clock) = time.strip_suffix('Z')?.split_once('T')?;
    let mut ms = 0;
    for (part, scale) in clock.split([':', '.']).zip([3_600_000, 60_000, 1000, 1]) {
        ms += part.parse::<i64>().ok()? * scale;
    }
    Some(ms)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_are_compared_across_midnight() {
        let before = Json::from("2026-01-31T23:59:59.900Z");
        let after = Json::from("2026-02-01T00:00:00.150Z");
        assert!((between(&before, &after) - 0.25).abs() < 1e-9);
        assert_eq!(ms_of_day("2026-01-31T01:02:03.004Z"), Some(3_723_004));
        assert_eq!(ms_of_day("yesterday"), None);
    }

    #[test]
    fn the_line_about_the_source_is_read() {
        let said = "-----> Source stored K-12345678 (git 01234567) in 18 ms\n more\n";
        assert!((received(said) - 0.018).abs() < 1e-9);
        assert!(received("nothing").abs() < 1e-9);
    }
}
