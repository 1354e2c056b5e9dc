//! What this Keg remembers of another: the value a path last had there, and how far an interrupted
//! pull had come. Only to save round trips and bytes: nothing relies on it.
//!
//! `run/sync/<16 digits>.json`, a file for each other Keg and path.

use std::{
    fs,
    io::Write,
    path::{Path, PathBuf},
};

use serde_json::{Value as Json, json};

use super::{
    error::{SyncError, local},
    message::Resume,
};
use crate::{Keg, Kid};

/// Largest file that is read.
const MAX_MEMO: u64 = 64 << 10;
/// Most files that are looked through for a path.
const MAX_LOOKED: usize = 4096;

/// The memory of one path of another Keg.
pub(super) struct Memo {
    file: PathBuf,
    peer: String,
    path: String,
    /// What the path was there when it was last in step with this Keg; outside: not known.
    pub(super) seen: Option<Option<Kid>>,
    pub(super) resume: Option<Resume>,
}

impl Memo {
    /// What is remembered; nothing if the file is lost or is not one.
    pub(super) fn open(keg: &Keg, peer: &str, path: &str) -> Self {
        let name = blake3::hash(format!("{peer}\0{path}").as_bytes()).to_hex();
        let file = keg.run_dir().join("sync").join(format!("{}.json", &name[..16]));
        let mut memo =
            Self { file, peer: peer.to_owned(), path: path.to_owned(), seen: None, resume: None };
        let json = read(&memo.file);
        if json["peer"] == *peer && json["path"] == *path {
            memo.seen = seen(&json["seen"]);
            memo.resume = resume(&json["resume"]);
        }
        memo
    }

    /// Whether this value came by the same path, from whichever Keg: one that is reached by another
    /// address now, or one that is in step with it. Then nobody has changed it here since.
    pub(super) fn came(&self, kid: &Kid) -> bool {
        let Some(Ok(list)) = self.file.parent().map(fs::read_dir) else { return false };
        list.flatten().take(MAX_LOOKED).any(|entry| {
            let json = read(&entry.path());
            json["path"] == *self.path && seen(&json["seen"]) == Some(Some(*kid))
        })
    }

    /// Writes it down.
    pub(super) fn save(&self) -> Result<(), SyncError> {
        self.replace(self.to_json().to_string().as_bytes())
    }

    fn to_json(&self) -> Json {
        let seen = match &self.seen {
            None => Json::Null,
            Some(None) => json!(false),
            Some(Some(kid)) => json!(kid),
        };
        let resume = self.resume.map(
            |resume| json!({"value": resume.value, "base": resume.base, "objects": resume.objects}),
        );
        json!({"peer": self.peer, "path": self.path, "seen": seen, "resume": resume})
    }

    /// Lets these bytes be what is remembered.
    pub(super) fn replace(&self, bytes: &[u8]) -> Result<(), SyncError> {
        let dir = self.file.parent().unwrap_or(&self.file);
        let written = fs::create_dir_all(dir).and_then(|()| {
            let mut temporary = tempfile::NamedTempFile::new_in(dir)?;
            temporary.write_all(bytes)?;
            temporary.persist(&self.file).map_err(|error| error.error)
        });
        written.map(drop).map_err(local(format!("writing {}", self.file.display())))
    }
}

/// A file that is lost or none is an empty one.
fn read(file: &Path) -> Json {
    let small = fs::metadata(file).is_ok_and(|meta| meta.len() <= MAX_MEMO);
    let text = if small { fs::read(file).unwrap_or_default() } else { Vec::new() };
    serde_json::from_slice(&text).unwrap_or_default()
}

fn seen(json: &Json) -> Option<Option<Kid>> {
    match json {
        Json::Bool(false) => Some(None),
        other => kid(other).map(Some),
    }
}

fn kid(json: &Json) -> Option<Kid> {
    json.as_str()?.parse().ok()
}

fn resume(json: &Json) -> Option<Resume> {
    Some(Resume {
        value: kid(&json["value"])?,
        base: kid(&json["base"]),
        objects: json["objects"].as_u64()?,
    })
}
