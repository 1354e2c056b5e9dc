//! The documents of `docs/namespace.md` as the pages read them.
//!
//! Everything is optional: a document that another version wrote still shows. KIDs and times stay
//! text, as a page must show what is there, not only what is valid.

use serde::{Deserialize, de::DeserializeOwned};
use serde_json::{Map, Value as Json};

use crate::pages::parts;

/// Reads a document; one of another shape gives an empty one, whose raw form the page links.
pub fn read<T: DeserializeOwned + Default>(json: Json) -> T {
    serde_json::from_value(json).unwrap_or_default()
}

/// `error` of any document.
#[derive(Deserialize, Default, Clone, Debug)]
#[serde(default)]
pub struct Problem {
    /// Where it happened, such as `build`.
    pub step: Option<String>,
    /// What is wrong.
    pub message: String,
    /// What to do next.
    pub hint: Option<String>,
}

/// `/deploys/<app>.json`.
#[derive(Deserialize, Default, Clone, Debug)]
#[serde(default)]
pub struct Deploy {
    /// The app.
    pub app: String,
    /// The source commit.
    pub source: Option<String>,
    /// The build's key.
    pub build: Option<String>,
    /// The log's stream.
    pub stream: Option<String>,
    /// Whether the build was there already.
    pub cached: bool,
    /// `building`, `built` or `failed`.
    pub state: String,
    /// The release it made.
    pub release: Option<String>,
    /// Why it failed.
    pub error: Option<Problem>,
    /// When it began.
    pub started: Option<String>,
    /// When it ended.
    pub finished: Option<String>,
}

/// A package among a build's inputs or in a lock.
#[derive(Deserialize, Default, Clone, Debug)]
#[serde(default)]
pub struct Package {
    /// Its name.
    pub name: String,
    /// Its version.
    pub version: String,
    /// Its tree.
    pub kid: Option<String>,
    /// `debian` or `pypi`.
    pub from: Option<String>,
    /// Of a Debian package.
    pub arch: Option<String>,
    /// Of a wheel.
    pub file: Option<String>,
}

/// `inputs` of a build.
#[derive(Deserialize, Default, Clone, Debug)]
#[serde(default)]
pub struct Inputs {
    /// The source commit.
    pub source: Option<String>,
    /// Its tree.
    pub tree: Option<String>,
    /// The buildpack's tree.
    pub pack: Option<String>,
    /// The buildpack's name.
    pub pack_name: Option<String>,
    /// The Debian suite.
    pub suite: Option<String>,
    /// Keys of the locks.
    pub locks: Vec<String>,
    /// Everything the locks resolved to.
    pub packages: Vec<Package>,
}

/// `/builds/<key>/build.json`.
#[derive(Deserialize, Default, Clone, Debug)]
#[serde(default)]
pub struct Build {
    /// Its key.
    pub key: String,
    /// The app it was first made for.
    pub app: String,
    /// `running`, `done` or `failed`.
    pub state: String,
    /// The log's stream while it runs.
    pub stream: Option<String>,
    /// What went in.
    pub inputs: Inputs,
    /// What came out: the tree `image/`.
    pub image: Option<String>,
    /// Why it failed.
    pub error: Option<Problem>,
    /// When it began.
    pub started: Option<String>,
    /// When it ended.
    pub finished: Option<String>,
    /// Seconds by part.
    pub seconds: Map<String, Json>,
    /// The sealed log.
    pub log: Option<String>,
}

impl Build {
    /// How many seconds it took, once it ended.
    pub fn took(&self) -> Option<f64> {
        parts::span(self.started.as_deref(), self.finished.as_deref())
    }
}

/// `/machines/<m>/apps/<app>.json`.
#[derive(Deserialize, Default, Clone, Debug)]
#[serde(default)]
pub struct AppState {
    /// The app.
    pub app: String,
    /// The release it should run.
    pub release: Option<String>,
    /// The release that serves.
    pub live: Option<String>,
    /// `starting`, `live` or `failed`.
    pub state: String,
    /// Why it failed.
    pub error: Option<Problem>,
    /// Where it answers.
    pub url: Option<String>,
    /// When this last changed.
    pub changed: Option<String>,
    /// Seconds by part.
    pub seconds: Map<String, Json>,
}

/// `/machines/<m>/processes/<id>.json`.
#[derive(Deserialize, Default, Clone, Debug)]
#[serde(default)]
pub struct Process {
    /// Its KID.
    pub process: Option<String>,
    /// Its number on the machine.
    pub pid: Option<i64>,
    /// The app; none for Keg's own.
    pub app: Option<String>,
    /// `web`, `worker`, `service/front`, …
    #[serde(rename = "type")]
    pub kind: String,
    /// Which of several of its type.
    pub index: i64,
    /// `starting`, `running`, `backoff`, `stopping` or `exited`.
    pub state: String,
    /// The tree `image/`.
    pub image: Option<String>,
    /// The release commit.
    pub release: Option<String>,
    /// The source commit.
    pub source: Option<String>,
    /// The build's key.
    pub build: Option<String>,
    /// Who wrote the source.
    pub author: Option<String>,
    /// Since when.
    pub started: Option<String>,
    /// How often it was started again.
    pub restarts: i64,
    /// How it ended.
    pub exit: Json,
    /// The port it listens on.
    pub port: Option<i64>,
    /// Its arguments.
    pub command: Json,
    /// Its output.
    pub stream: Option<String>,
    /// Of Keg's own: the key or app it works on.
    pub what: Option<String>,
}

/// `source.json` of a release.
#[derive(Deserialize, Default, Clone, Debug)]
#[serde(default)]
pub struct Source {
    /// The source commit.
    pub kid: Option<String>,
    /// The git commit.
    pub git: Option<String>,
    /// Who wrote it.
    pub author: Option<String>,
    /// Why.
    pub message: Option<String>,
    /// The app.
    pub app: Option<String>,
}

/// `package.json` of a Debian package.
#[derive(Deserialize, Default, Clone, Debug)]
#[serde(default)]
pub struct PackageFile {
    /// Its name.
    pub name: String,
    /// Its version.
    pub version: String,
    /// Its architecture.
    pub arch: String,
    /// SHA-256 of the archive it came in.
    pub sha256: Option<String>,
    /// Bytes of that archive.
    pub size: Option<u64>,
}

/// `/packages/locks/<key>.json`.
#[derive(Deserialize, Default, Clone, Debug)]
#[serde(default)]
pub struct Lock {
    /// `running`, `done` or `failed`.
    pub state: String,
    /// The log's stream.
    pub stream: Option<String>,
    /// Why it failed.
    pub error: Option<Problem>,
    /// When it began.
    pub started: Option<String>,
    /// When it ended.
    pub finished: Option<String>,
    /// Debian's part.
    pub debian: Option<LockPart>,
    /// PyPI's part.
    pub pypi: Option<LockPart>,
}

/// `debian` or `pypi` of a lock.
#[derive(Deserialize, Default, Clone, Debug)]
#[serde(default)]
pub struct LockPart {
    /// The Debian suite.
    pub suite: Option<String>,
    /// The Python version.
    pub python: Option<String>,
    /// The configured root file system.
    pub rootfs: Option<String>,
    /// The packages laid over it.
    pub tree: Option<String>,
    /// Everything it resolved to.
    pub packages: Vec<Package>,
}

/// `processes.json` of a release, one type.
#[derive(Deserialize, Default, Clone, Debug)]
#[serde(default)]
pub struct ProcessType {
    /// Arguments, or one line for a shell.
    pub command: Json,
    /// Whether `/bin/sh -c` runs it.
    pub shell: bool,
}

/// A command as one line: a list's items joined by spaces, quoted where a shell would need it.
pub fn command_line(command: &Json) -> String {
    match command {
        Json::String(line) => line.clone(),
        Json::Array(items) => {
            let quoted: Vec<String> =
                items.iter().map(|item| quote(item.as_str().unwrap_or("?"))).collect();
            quoted.join(" ")
        }
        _ => String::new(),
    }
}

fn quote(word: &str) -> String {
    let plain = |c: char| c.is_alphanumeric() || "_-./:=,@%+".contains(c);
    if !word.is_empty() && word.chars().all(plain) {
        word.to_owned()
    } else {
        format!("'{}'", word.replace('\'', r"'\''"))
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn documents_with_unknown_or_missing_fields_still_read() {
        let deploy: Deploy = read(json!({ "app": "blog", "state": "built", "new": [1] }));
        assert_eq!((deploy.app.as_str(), deploy.state.as_str()), ("blog", "built"));
        let odd: Deploy = read(json!({ "app": 5 }));
        assert_eq!(odd.app, "");
    }

    #[test]
    fn commands_read_as_a_shell_would_take_them() {
        for (command, want) in [
            (json!(["gunicorn", "app:app"]), "gunicorn app:app"),
            (json!(["sh", "-c", "echo it's"]), r"sh -c 'echo it'\''s'"),
            (json!("a | b"), "a | b"),
            (json!(null), ""),
        ] {
            assert_eq!(command_line(&command), want);
        }
    }
}
