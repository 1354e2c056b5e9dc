//! The documents the builder writes and reads, see `docs/namespace.md`.

use keg::{kid::Kid, path::NamePath};
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value as Json};

use crate::failure::Failure;

/// Who the builder is in the history of names.
pub const AUTHOR: &str = "service/builder";

/// Where a build or a deploy stands.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum BuildState {
    /// At work, or stopped by a crash.
    Running,
    /// The image is there.
    Done,
    /// See `error`.
    Failed,
}

/// `/builds/<key>/build.json`.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct BuildDoc {
    /// The build's key.
    pub key: String,
    /// The app it was made for first.
    pub app: String,
    /// Where it stands.
    pub state: BuildState,
    /// The log while it is open.
    pub stream: String,
    /// What went in.
    #[serde(default)]
    pub inputs: Map<String, Json>,
    /// The image's tree.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub image: Option<Kid>,
    /// Process types, as in `processes.json` of a release.
    #[serde(default, skip_serializing_if = "Map::is_empty")]
    pub processes: Map<String, Json>,
    /// Why it failed.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub error: Option<Failure>,
    /// RFC 3339.
    pub started: String,
    /// RFC 3339.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub finished: Option<String>,
    /// How long each step took.
    #[serde(default)]
    pub seconds: Map<String, Json>,
    /// The sealed log.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub log: Option<Kid>,
    /// Fields this version does not know.
    #[serde(flatten)]
    pub rest: Map<String, Json>,
}

/// Where a deploy stands.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum DeployState {
    /// At work, or stopped by a crash.
    Building,
    /// Released.
    Built,
    /// See `error`.
    Failed,
}

/// `/deploys/<app>.json`.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct DeployDoc {
    /// The app.
    pub app: String,
    /// The source commit.
    pub source: Kid,
    /// The blob of the app's configuration; `None` where it has none.
    #[serde(default)]
    pub config: Option<Kid>,
    /// Key of the build.
    pub build: String,
    /// The log while it is open.
    pub stream: String,
    /// The build was there already.
    #[serde(default)]
    pub cached: bool,
    /// Where it stands.
    pub state: DeployState,
    /// The release's commit.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub release: Option<Kid>,
    /// Why it failed.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub error: Option<Failure>,
    /// RFC 3339.
    pub started: String,
    /// RFC 3339.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub finished: Option<String>,
    /// Fields this version does not know.
    #[serde(flatten)]
    pub rest: Map<String, Json>,
}

/// A document as JSON.
pub fn to_json<T: Serialize>(document: &T) -> Json {
    serde_json::to_value(document).expect("because documents are plain data")
}

/// A path of the namespace from parts that are names already.
pub fn name(path: &str) -> NamePath {
    path.parse().expect("because it is made of names that were checked")
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn unknown_fields_survive() {
        let kid = Kid::of_blob(b"x");
        let json = json!({"app": "blog", "source": kid, "config": null, "build": "k", "stream": "s",
            "cached": false, "state": "built", "started": "t", "note": {"by": "hand"}});
        let doc: DeployDoc = serde_json::from_value(json.clone()).expect("a deploy");
        assert_eq!(doc.state, DeployState::Built);
        assert_eq!(to_json(&doc), json);
        let json = json!({"key": "k", "app": "blog", "state": "running", "stream": "s",
            "inputs": {"tree": kid}, "started": "t", "seconds": {"build": 0.1}, "more": [1]});
        let doc: BuildDoc = serde_json::from_value(json.clone()).expect("a build");
        assert_eq!(to_json(&doc), json);
    }
}
