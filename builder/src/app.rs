//! What is to be built: an app's newest source and its configuration.

use keg::{
    Keg,
    kid::Kid,
    names::NamesError,
    object::{Commit, Value, canonical_json},
    path::AppName,
};
use serde_json::{Value as Json, json};

use crate::{
    documents::name,
    failure::{Failure, KEG_HINT, OrFail as _, Step},
    trees::FIRST_TIME,
};

/// Version of what a build does with its inputs. Raised when the same inputs give another image.
pub const RECIPE: u32 = 1;
/// Hex digits of a build's key.
pub const KEY_DIGITS: usize = 16;
/// The suite of apps that name none.
pub const DEFAULT_SUITE: &str = "trixie";
/// Largest file of the app that is read whole, in bytes.
pub const MAX_APP_FILE: u64 = 1 << 20;

/// The newest source of an app.
#[derive(Clone, Debug)]
pub struct Source {
    /// The commit's KID.
    pub kid: Kid,
    /// The commit.
    pub commit: Commit,
}

/// The app's configuration, as far as it matters to a build.
#[derive(Clone, Debug, Default)]
pub struct Config {
    /// The blob of `config.json`; `None` where there is none.
    pub kid: Option<Kid>,
    /// The document.
    pub json: Json,
    /// The suite it names.
    pub suite: Option<String>,
}

/// The app's newest source; `None` where it has none (any more).
///
/// # Errors
/// The Keg cannot be read.
pub fn source(keg: &Keg, app: &AppName) -> Result<Option<Source>, NamesError> {
    let entry = keg.get(&name(&format!("/source/{app}")))?;
    let Some(Value::Commit { kid }) = entry.map(|entry| entry.value) else { return Ok(None) };
    Ok(Some(Source { kid, commit: keg.objects().commit(&kid)? }))
}

/// The KID of the app's configuration; `None` where there is none.
///
/// # Errors
/// The Keg cannot be read.
pub fn config_kid(keg: &Keg, app: &AppName) -> Result<Option<Kid>, NamesError> {
    Ok(keg.get(&name(&format!("/apps/{app}/config.json")))?.and_then(|entry| entry.kid()))
}

/// The app's configuration as of `kid`.
///
/// # Errors
/// It is not a JSON object, or names a suite that cannot be one.
pub fn config(keg: &Keg, app: &AppName, kid: Option<Kid>) -> Result<Config, Failure> {
    let Some(kid) = kid else {
        return Ok(Config { kid: None, json: json!({}), suite: None });
    };
    let hint = format!("correct /apps/{app}/config.json; docs/namespace.md shows all its fields");
    let wrong = |what: &str| {
        let message = format!("the configuration of {app} (/apps/{app}/config.json) {what}");
        Failure::new(Step::Detect, message, &hint)
    };
    let bytes = keg.objects().blob(&kid).or_fail(Step::Detect, KEG_HINT)?;
    let json: Json =
        serde_json::from_slice(&bytes).map_err(|error| wrong(&format!("is not JSON: {error}")))?;
    if !json.is_object() {
        return Err(wrong("is not a JSON object"));
    }
    let suite = match json.get("suite") {
        None | Some(Json::Null) => None,
        Some(Json::String(suite)) if is_suite(suite) => Some(suite.clone()),
        Some(other) => return Err(wrong(&format!("names the suite {other}, which is none"))),
    };
    Ok(Config { kid: Some(kid), json, suite })
}

/// The key of a build: what its result depends on.
pub fn build_key(source: &Source, config: &Config, packs: &Kid) -> String {
    key_of(&json!({
        "tree": source.commit.tree, "suite": config.suite, "packs": packs, "recipe": RECIPE,
    }))
}

/// The first [`KEY_DIGITS`] hex digits of the BLAKE3 of a value's canonical JSON.
pub fn key_of(value: &Json) -> String {
    Kid::of_blob(canonical_json(value).as_bytes()).to_hex()[..KEY_DIGITS].to_owned()
}

/// Whether this is the form of a key.
pub fn is_key(text: &str) -> bool {
    text.len() == KEY_DIGITS && text.bytes().all(|b| matches!(b, b'0'..=b'9' | b'a'..=b'f'))
}

impl Source {
    /// The git commit id, where the receiver gave one.
    pub fn git(&self) -> Option<&str> {
        self.commit.extra.get("git").and_then(Json::as_str)
    }

    /// When the source was committed, in seconds since 1970, never before 1980: some file formats
    /// have no earlier times.
    pub fn seconds(&self) -> i64 {
        (self.commit.time_ms / 1000).max(FIRST_TIME)
    }

    /// A file of the app, whole; `None` where there is none.
    ///
    /// # Errors
    /// It is larger than [`MAX_APP_FILE`], or cannot be read.
    pub fn file(&self, keg: &Keg, path: &str) -> Result<Option<Vec<u8>>, Failure> {
        let objects = keg.objects();
        let entry = objects.walk(&self.commit.tree, path).or_fail(Step::Detect, KEG_HINT)?;
        let Some(Value::File { kid, size }) = entry.map(|entry| entry.value) else {
            return Ok(None);
        };
        if size > MAX_APP_FILE {
            let message = format!("{path} has {size} bytes; at most {MAX_APP_FILE} are read");
            return Err(Failure::new(Step::Detect, message, "make it smaller"));
        }
        objects.blob(&kid).or_fail(Step::Detect, KEG_HINT).map(Some)
    }

    /// A text file of the app; `None` where there is none.
    ///
    /// # Errors
    /// As [`Source::file`], or it is not UTF-8.
    pub fn text(&self, keg: &Keg, path: &str) -> Result<Option<String>, Failure> {
        let Some(bytes) = self.file(keg, path)? else { return Ok(None) };
        let not_text = |_| {
            let hint = "save it as UTF-8, commit and push again";
            Failure::new(Step::Detect, format!("{path} is not UTF-8 text"), hint)
        };
        String::from_utf8(bytes).map(Some).map_err(not_text)
    }
}

fn is_suite(suite: &str) -> bool {
    let good = |b: u8| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'-';
    let start = suite.bytes().next().is_some_and(|b| b.is_ascii_lowercase());
    start && suite.len() <= 64 && suite.bytes().all(good)
}
