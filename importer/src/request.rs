//! What is wanted: the documents at `/packages/requests/<key>.json` and the key they have.

use keg::Kid;
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

/// Hex digits of a request's key.
pub const KEY_DIGITS: usize = 16;
/// Fields that say who asks, when and where it is told: no part of what is wanted.
pub const CIRCUMSTANCES: [&str; 3] = ["stream", "by", "asked"];

/// Most packages one request may name.
pub const MAX_PACKAGES: usize = 2_000;
/// Most bytes of requirements one request may hold.
pub const MAX_REQUIREMENTS: usize = 256 * 1024;

/// One request to the importer: a set of Debian packages, of Python packages, or both.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Request {
    /// Debian packages, to become a root file system.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub debian: Option<DebianWant>,
    /// Python packages, to become a tree to lay over it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub pypi: Option<PypiWant>,
    /// Who asks, for people: `build blog K-…`, `keg import`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub by: Option<String>,
}

/// Debian packages of one suite, resolved together.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct DebianWant {
    /// The suite, such as `trixie`.
    pub suite: String,
    /// Names of packages. Sorted and without doubles in a request's canonical form.
    pub packages: Vec<String>,
    /// What they stand on.
    #[serde(default)]
    pub base: Base,
}

/// What a root file system holds besides the packages asked for.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Base {
    /// Essential packages and those of priority `required`; everything is configured.
    #[default]
    Essential,
    /// Only the closure of what was asked for, and nothing is configured.
    None,
}

/// Python packages, resolved together.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct PypiWant {
    /// The text of a `requirements.txt`.
    pub requirements: String,
    /// The Python they are for, such as `3.13`.
    pub python: String,
    /// The Debian suite that Python comes from.
    pub suite: String,
}

/// Why a request is refused before anything is tried.
#[derive(Debug, thiserror::Error, PartialEq, Eq)]
pub enum RequestError {
    /// Neither `debian` nor `pypi`.
    #[error("the request asks for nothing: it has neither \"debian\" nor \"pypi\"")]
    Empty,
    /// A suite that is not a suite's name.
    #[error("{0:?} is not the name of a suite: use letters, digits, \"-\" and \".\"")]
    Suite(String),
    /// A package that is not a package's name.
    #[error(
        "{0:?} is not the name of a Debian package: use lower-case letters, digits, +, - and ."
    )]
    Package(String),
    /// More than [`MAX_PACKAGES`].
    #[error("the request names {0} packages; at most {MAX_PACKAGES} are taken at once")]
    TooMany(usize),
    /// More than [`MAX_REQUIREMENTS`].
    #[error("the requirements have {0} bytes; at most {MAX_REQUIREMENTS} are taken")]
    TooLong(usize),
}

impl Request {
    /// A request for Debian packages alone.
    pub fn debian(suite: &str, packages: &[&str], base: Base) -> Self {
        let packages = packages.iter().map(|p| (*p).to_owned()).collect();
        let debian = Some(DebianWant { suite: suite.to_owned(), packages, base });
        Self { debian, pypi: None, by: None }
    }

    /// A request for Python packages alone.
    pub fn pypi(requirements: &str, python: &str, suite: &str) -> Self {
        let pypi = PypiWant {
            requirements: requirements.to_owned(),
            python: python.to_owned(),
            suite: suite.to_owned(),
        };
        Self { debian: None, pypi: Some(pypi), by: None }
    }

    /// The same request with its lists sorted and without doubles.
    ///
    /// # Errors
    /// It asks for nothing, or names what cannot be a suite or package.
    pub fn normal(mut self) -> Result<Self, RequestError> {
        if self.debian.is_none() && self.pypi.is_none() {
            return Err(RequestError::Empty);
        }
        if let Some(debian) = &mut self.debian {
            check_suite(&debian.suite)?;
            debian.packages.sort();
            debian.packages.dedup();
            if debian.packages.len() > MAX_PACKAGES {
                return Err(RequestError::TooMany(debian.packages.len()));
            }
            if let Some(bad) = debian.packages.iter().find(|p| !is_package_name(p)) {
                return Err(RequestError::Package(bad.clone()));
            }
        }
        if let Some(pypi) = &self.pypi {
            check_suite(&pypi.suite)?;
            if pypi.requirements.len() > MAX_REQUIREMENTS {
                return Err(RequestError::TooLong(pypi.requirements.len()));
            }
        }
        Ok(self)
    }

    /// The key of this request: the first 16 hex digits of the BLAKE3 of its canonical JSON (keys
    /// sorted, no spaces) without the fields of [`CIRCUMSTANCES`].
    pub fn key(&self) -> String {
        let json = serde_json::to_value(self).expect("because a request is plain data");
        key_of(&json)
    }
}

/// The key of a request's document, see [`Request::key`].
pub fn key_of(request: &Value) -> String {
    let mut wanted = request.clone();
    if let Value::Object(fields) = &mut wanted {
        for field in CIRCUMSTANCES {
            fields.shift_remove(field);
        }
    }
    let text = sorted(&wanted).to_string();
    Kid::of_blob(text.as_bytes()).to_hex()[..KEY_DIGITS].to_owned()
}

/// The same value with every object's keys in byte order.
fn sorted(value: &Value) -> Value {
    match value {
        Value::Object(fields) => {
            let mut names: Vec<&String> = fields.keys().collect();
            names.sort();
            let pairs = names.into_iter().map(|name| (name.clone(), sorted(&fields[name])));
            Value::Object(pairs.collect::<Map<_, _>>())
        }
        Value::Array(items) => Value::Array(items.iter().map(sorted).collect()),
        plain => plain.clone(),
    }
}

fn check_suite(suite: &str) -> Result<(), RequestError> {
    let letters = suite.bytes().all(|b| b.is_ascii_alphanumeric() || matches!(b, b'-' | b'.'));
    let start = suite.bytes().next().is_some_and(|b| b.is_ascii_alphanumeric());
    if letters && start && suite.len() <= 64 {
        Ok(())
    } else {
        Err(RequestError::Suite(suite.chars().take(100).collect()))
    }
}

/// Whether `name` is a package's name by Debian Policy 5.6.1.
pub fn is_package_name(name: &str) -> bool {
    let good = |b: u8| matches!(b, b'a'..=b'z' | b'0'..=b'9' | b'+' | b'-' | b'.');
    let start = name.bytes().next().is_some_and(|b| b.is_ascii_lowercase() || b.is_ascii_digit());
    (1..=128).contains(&name.len()) && start && name.bytes().all(good)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_key_is_of_what_is_wanted_alone() {
        let one = Request::debian("trixie", &["tini", "python3", "tini"], Base::Essential);
        let mut two = Request::debian("trixie", &["python3", "tini"], Base::Essential);
        two.by = Some("keg import".into());
        let (one, two) = (one.normal().expect("good"), two.normal().expect("good"));
        assert_eq!(one.key(), two.key());
        assert_eq!(one.key().len(), KEY_DIGITS);
        let none = Request::debian("trixie", &["python3", "tini"], Base::None);
        assert_ne!(one.key(), none.key());
    }

    #[test]
    fn a_document_in_any_order_has_the_key_of_the_request() {
        let request = Request::debian("trixie", &["python3"], Base::Essential);
        let text = r#"{"by":"x","asked":"2026","stream":"s",
            "debian":{"packages":["python3"],"base":"essential","suite":"trixie"}}"#;
        let json: Value = serde_json::from_str(text).expect("JSON");
        assert_eq!(key_of(&json), request.key());
    }

    #[test]
    fn bad_requests_say_what_is_wrong() {
        let check = |request: Request, want: &str| {
            let error = request.normal().expect_err(want).to_string();
            assert!(error.contains(want), "{error}");
        };
        check(Request { debian: None, pypi: None, by: None }, "asks for nothing");
        check(Request::debian("../etc", &["tini"], Base::None), "name of a suite");
        check(Request::debian("trixie", &["Tini"], Base::None), "name of a Debian package");
        check(Request::debian("trixie", &["a/../b"], Base::None), "name of a Debian package");
    }
}
