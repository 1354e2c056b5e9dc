//! One process of an app: what is known of it, in memory and on disk.

use std::fs::{self, File};
use std::io::{self, Read};
use std::os::fd::OwnedFd;
use std::path::{Path, PathBuf};
use std::rc::Rc;
use std::time::Instant;

use keg::Kid;
use sandbox::Exit;
use sandbox::record::PidRecord;
use serde::{Deserialize, Serialize};

use crate::backoff::Backoff;
use crate::plan::{Phase, Slot};
use crate::problem::Problem;
use crate::release::Release;

/// File of the [`Note`] in a process's directory.
const NOTE: &str = "note.json";
/// Where the root is mounted, in a process's directory.
pub const ROOT: &str = "root";
/// Longest note that is read.
const MAX_NOTE: u64 = 64 << 10;

/// The process in a slot, or the wait for the next one.
pub struct Place {
    /// Its container's id.
    pub id: String,
    /// What it runs.
    pub release: Rc<Release>,
    /// How far it is.
    pub phase: Phase,
    /// A handle to its shim, while there is one.
    pub shim: Option<Rc<OwnedFd>>,
    /// Its processes, once started; those of the process before it until then.
    pub record: Option<PidRecord>,
    /// Its network namespace.
    pub namespace: Option<Rc<OwnedFd>>,
    /// When the mayor began to start it.
    pub begun: Instant,
    /// The same for people.
    pub started: String,
    /// How often this slot was restarted.
    pub restarts: u32,
    /// The pauses between restarts.
    pub backoff: Backoff,
    /// How the process before this one ended, or this one, if it waits.
    pub exit: Option<Exit>,
    /// Why it was told to end, where it did not come to work in time.
    pub doomed: Option<Problem>,
    /// Seconds until it was started, and until it was ready.
    pub seconds: Seconds,
}

/// How long things took, in seconds from the decision to start.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Seconds {
    /// Until the command was executed.
    pub start: Option<f64>,
    /// Until it was ready.
    pub ready: Option<f64>,
}

/// What is written down about a process before it is started, so that a mayor that comes later
/// knows it again.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Note {
    /// The app.
    pub app: String,
    /// The process type.
    pub kind: String,
    /// Its number.
    pub index: u32,
    /// The release.
    pub release: Kid,
    /// When it was started.
    pub started: String,
    /// How often the slot was restarted.
    pub restarts: u32,
    /// Whether it was found ready.
    pub ready: bool,
    /// How long that took.
    #[serde(default)]
    pub seconds: Seconds,
}

impl Place {
    /// `web.0`
    pub fn name(slot: &Slot) -> String {
        format!("{}.{}", slot.kind, slot.index)
    }

    /// What is to be written down.
    pub fn note(&self, app: &str, slot: &Slot) -> Note {
        Note {
            app: app.to_owned(),
            kind: slot.kind.clone(),
            index: slot.index,
            release: self.release.kid,
            started: self.started.clone(),
            restarts: self.restarts,
            ready: self.phase == Phase::Ready,
            seconds: self.seconds,
        }
    }

    /// Its number on the machine, while it has one.
    pub fn pid(&self) -> Option<i32> {
        let known = self.phase != Phase::Starting || self.seconds.start.is_some();
        self.record.as_ref().filter(|_| known && self.runs()).map(|record| record.pid)
    }

    /// Whether there is a process.
    pub fn runs(&self) -> bool {
        !matches!(self.phase, Phase::Waiting | Phase::Due)
    }
}

impl Note {
    /// Writes it into a process's directory, whole or not at all.
    ///
    /// # Errors
    /// The disk's.
    pub fn write(&self, dir: &Path) -> io::Result<()> {
        let temp = dir.join(format!(".{NOTE}"));
        fs::write(&temp, serde_json::to_vec(self)?)?;
        fs::rename(temp, dir.join(NOTE))
    }

    /// Reads that of a process's directory; `None` where there is none that makes sense.
    pub fn read(dir: &Path) -> Option<Note> {
        let mut bytes = Vec::new();
        File::open(dir.join(NOTE)).ok()?.take(MAX_NOTE).read_to_end(&mut bytes).ok()?;
        serde_json::from_slice(&bytes).ok()
    }
}

/// The name of the stream of a slot. Old and new release share it: it is the app's log. Neither
/// names of apps nor types have a `_`, so that no two apps share one.
pub fn stream(app: &str, slot: &Slot) -> String {
    let kind: String = slot
        .kind
        .chars()
        .map(|c| if c.is_ascii_alphanumeric() { c.to_ascii_lowercase() } else { '-' })
        .take(24)
        .collect();
    format!("app_{app}_{kind}_{}", slot.index)
}

/// The directory where containers of this process keep their records.
pub fn records(dir: &Path, id: &str) -> PathBuf {
    dir.join(id)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn streams_have_names_that_fit() {
        let slot = |kind: &str, index| Slot { run: Kid::of_blob(b"x"), kind: kind.into(), index };
        assert_eq!(stream("blog", &slot("web", 0)), "app_blog_web_0");
        assert_eq!(stream("blog", &slot("Big_Job", 3)), "app_blog_big-job_3");
        assert_ne!(stream("blog", &slot("big-job", 0)), stream("blog-big", &slot("job", 0)));
        let long = stream(&"a".repeat(40), &slot(&"k".repeat(99), 31));
        assert!(long.len() <= keg::stream::MAX_ID, "{}", long.len());
    }

    #[test]
    fn notes_survive_and_torn_ones_do_not_count() {
        let dir = tempfile::tempdir().unwrap();
        assert!(Note::read(dir.path()).is_none());
        let note = Note {
            app: "blog".into(),
            kind: "web".into(),
            index: 1,
            release: Kid::of_blob(b"r"),
            started: keg::time::now(),
            restarts: 2,
            ready: true,
            seconds: Seconds { start: Some(0.01), ready: None },
        };
        note.write(dir.path()).unwrap();
        let back = Note::read(dir.path()).unwrap();
        assert_eq!((back.index, back.release, back.seconds), (1, note.release, note.seconds));
        fs::write(dir.path().join(NOTE), "{").unwrap();
        assert!(Note::read(dir.path()).is_none());
    }
}
