//! How much history is kept: the document `/-/gc.json` (`docs/namespace.md`).

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};
use serde_json::Value as Json;

use crate::{Keg, NamePath, NamesError};

/// Where the policy is in the namespace.
pub const POLICY_PATH: &str = "/-/gc.json";
/// In the path of a rule: any one name.
pub const ANY: &str = "*";
/// Most subtrees with a rule of their own.
pub const MAX_RULES: usize = 1000;

/// One day in milliseconds.
const DAY_MS: u64 = 24 * 60 * 60 * 1000;
/// What is kept where nothing else is said.
const DEFAULT_KEEP: Keep = Keep { versions: Some(100), ms: Some(30 * DAY_MS) };
/// Subtrees with another default: the states of services change often.
const DEFAULT_PATHS: [(&str, Keep); 1] =
    [("/machines", Keep { versions: Some(100), ms: Some(DAY_MS) })];
/// How long something must have been garbage before it is swept.
const DEFAULT_GRACE_MS: u64 = 60 * 60 * 1000;
/// How long what was swept stays in the trash.
const DEFAULT_TRASH_MS: u64 = DAY_MS;

/// What a version must be to be kept: among the newest so many, or current within so many
/// milliseconds. Without either, everything is.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Keep {
    /// The newest values of the subtree.
    pub versions: Option<u64>,
    /// Whatever was current within this time.
    pub ms: Option<u64>,
}

/// How much is kept, where, and how long garbage waits.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Policy {
    /// Rules by subtree; `/` always has one. The longest path that fits counts; of two as long,
    /// the one that says a name where the other has [`ANY`].
    pub rules: BTreeMap<NamePath, Keep>,
    /// Milliseconds for which something must have been garbage before it is swept.
    pub grace_ms: u64,
    /// Milliseconds for which what was swept can come back.
    pub trash_ms: u64,
}

/// Why the policy cannot be followed; nothing is collected then.
#[derive(Debug, thiserror::Error)]
pub enum PolicyError {
    /// It cannot be read.
    #[error(transparent)]
    Names(#[from] NamesError),
    /// It says something that is not understood.
    #[error("{POLICY_PATH} says {what}; correct it, or remove it to have the defaults")]
    Unclear {
        /// What.
        what: String,
    },
}

/// The document.
#[derive(Serialize, Deserialize)]
struct Document {
    keep: Option<String>,
    paths: Option<BTreeMap<String, String>>,
    grace: Option<String>,
    trash: Option<String>,
    /// What others have added means nothing here.
    #[serde(flatten)]
    _others: serde_json::Map<String, Json>,
}

impl Default for Policy {
    fn default() -> Self {
        let path = |text: &str| text.parse().expect("the default paths are paths");
        let mut rules: BTreeMap<NamePath, Keep> =
            DEFAULT_PATHS.into_iter().map(|(text, keep)| (path(text), keep)).collect();
        rules.insert(NamePath::root(), DEFAULT_KEEP);
        Self { rules, grace_ms: DEFAULT_GRACE_MS, trash_ms: DEFAULT_TRASH_MS }
    }
}

impl Policy {
    /// The policy of a Keg: that of its document, or the default if there is none. A document with
    /// `paths` replaces the default subtrees, too.
    ///
    /// # Errors
    /// It cannot be read or understood.
    pub fn of(keg: &Keg) -> Result<Self, PolicyError> {
        let path = POLICY_PATH.parse().expect("a constant path is a path");
        match keg.read_json::<Json>(&path)? {
            Some(document) => Self::parse(&document),
            None => Ok(Self::default()),
        }
    }

    /// Understands a document.
    ///
    /// # Errors
    /// [`PolicyError::Unclear`].
    pub fn parse(document: &Json) -> Result<Self, PolicyError> {
        let unclear = |what: String| PolicyError::Unclear { what };
        let text = |error: serde_json::Error| unclear(error.to_string());
        let document: Document = Deserialize::deserialize(document).map_err(text)?;
        let mut policy = Self::default();
        if document.paths.is_some() {
            policy.rules.retain(|path, _| *path == NamePath::root());
        }
        let paths = document.paths.unwrap_or_default();
        if paths.len() > MAX_RULES {
            return Err(unclear(format!("{} paths; at most {MAX_RULES}", paths.len())));
        }
        for (path, keep) in &paths {
            let path = path.parse().map_err(|error| unclear(format!("{path:?}: {error}")))?;
            policy.rules.insert(path, keep.parse().map_err(unclear)?);
        }
        if let Some(keep) = &document.keep {
            policy.rules.insert(NamePath::root(), keep.parse().map_err(unclear)?);
        }
        for (stated, ms) in
            [(&document.grace, &mut policy.grace_ms), (&document.trash, &mut policy.trash_ms)]
        {
            if let Some(stated) = stated {
                *ms = duration(stated).map_err(unclear)?;
            }
        }
        Ok(policy)
    }

    /// The rule for a path.
    pub fn keep(&self, path: &NamePath) -> Keep {
        let rules = self.rules.iter().filter(|(rule, _)| fits(rule, path));
        let best = rules.max_by_key(|(rule, _)| {
            let named: Vec<bool> = rule.components().map(|part| part != ANY).collect();
            (named.len(), named)
        });
        best.map_or(DEFAULT_KEEP, |(_, keep)| *keep)
    }
}

/// Whether a path is in the subtree of a rule.
fn fits(rule: &NamePath, path: &NamePath) -> bool {
    let mut parts = path.components();
    rule.components().all(|part| parts.next().is_some_and(|name| part == ANY || part == name))
}

impl Keep {
    /// Whether nothing ever goes.
    pub fn is_all(&self) -> bool {
        self.versions.is_none() && self.ms.is_none()
    }

    /// Whether the `nth` newest value (from 1), current until `until_ms`, is kept at `now_ms`.
    pub fn keeps(&self, nth: u64, until_ms: i64, now_ms: i64) -> bool {
        let recent =
            |ms: u64| now_ms.saturating_sub(until_ms) <= i64::try_from(ms).unwrap_or(i64::MAX);
        match (self.versions, self.ms) {
            (None, None) => true,
            (versions, ms) => versions.is_some_and(|most| nth <= most) || ms.is_some_and(recent),
        }
    }
}

impl std::str::FromStr for Keep {
    type Err = String;

    /// `all`, `100 versions`, `30 days`, `100 versions or 30 days`.
    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let mut keep = Self { versions: None, ms: None };
        if text.trim() == "all" {
            return Ok(keep);
        }
        for part in text.split(" or ") {
            let (number, unit) = amount(part)?;
            let place = if unit == "version" { &mut keep.versions } else { &mut keep.ms };
            let value = if unit == "version" { number } else { milliseconds(number, unit)? };
            if place.replace(value).is_some() {
                return Err(format!("{text:?}: the same twice"));
            }
        }
        if keep.versions == Some(0) && keep.ms.is_none() {
            return Err(format!("{text:?}: the current version is always kept; say 1 version"));
        }
        Ok(keep)
    }
}

/// `7 days` in milliseconds.
fn duration(text: &str) -> Result<u64, String> {
    let (number, unit) = amount(text)?;
    milliseconds(number, unit)
}

fn amount(text: &str) -> Result<(u64, &str), String> {
    let unclear = || format!("{text:?}; it should be like `100 versions or 30 days`, or `all`");
    let (number, unit) = text.trim().split_once(' ').ok_or_else(unclear)?;
    let unit = unit.trim();
    Ok((number.parse().map_err(|_| unclear())?, unit.strip_suffix('s').unwrap_or(unit)))
}

fn milliseconds(number: u64, unit: &str) -> Result<u64, String> {
    let each = match unit {
        "millisecond" => 1,
        "second" => 1000,
        "minute" => 60 * 1000,
        "hour" => 60 * 60 * 1000,
        "day" => DAY_MS,
        "week" => 7 * DAY_MS,
        "year" => 365 * DAY_MS,
        _ => return Err(format!("the unit {unit:?}; use seconds, minutes, hours, days, weeks")),
    };
    number.checked_mul(each).ok_or_else(|| format!("{number} {unit}: too many"))
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn what_people_write_is_understood_or_refused() {
        for (text, want) in [
            ("all", Some((None, None))),
            ("100 versions", Some((Some(100), None))),
            ("1 version", Some((Some(1), None))),
            ("30 days", Some((None, Some(30 * DAY_MS)))),
            ("100 versions or 30 days", Some((Some(100), Some(30 * DAY_MS)))),
            ("2 weeks or 5 versions", Some((Some(5), Some(14 * DAY_MS)))),
            ("0 versions", None),
            ("", None),
            ("everything", None),
            ("-1 days", None),
            ("3 days or 4 days", None),
            ("3 fortnights", None),
            ("18446744073709551615 days", None),
        ] {
            let got = text.parse::<Keep>().ok().map(|keep| (keep.versions, keep.ms));
            assert_eq!(got, want, "{text:?}");
        }
    }

    #[test]
    fn the_longest_path_counts_and_others_fields_do_not() {
        let policy = Policy::parse(&json!({
            "keep": "3 versions", "paths": {"/a/b": "all", "/a": "1 version"},
            "grace": "5 minutes", "trash": "0 days", "note": {"of": "somebody"}
        }))
        .unwrap();
        assert_eq!((policy.grace_ms, policy.trash_ms), (300_000, 0));
        for (path, want) in
            [("/", Some(3)), ("/ab", Some(3)), ("/a", Some(1)), ("/a/c", Some(1)), ("/a/b/c", None)]
        {
            assert_eq!(policy.keep(&path.parse().unwrap()).versions, want, "{path}");
        }
        for wrong in [json!([]), json!({"keep": 3}), json!({"paths": {"a": "all"}})] {
            assert!(Policy::parse(&wrong).is_err(), "{wrong}");
        }
        assert_eq!(Policy::parse(&json!({})).unwrap(), Policy::default());
    }

    #[test]
    fn a_star_is_any_one_name_and_a_name_counts_more() {
        let paths = json!({
            "/a/*": "1 version", "/a/b": "2 versions", "/*/b/c": "3 versions", "/a/*/c": "4 versions"
        });
        let policy = Policy::parse(&json!({"keep": "9 versions", "paths": paths})).unwrap();
        for (path, want) in [
            ("/", 9),
            ("/a", 9),
            ("/a/x", 1),
            ("/a/x/y", 1),
            ("/a/b/d", 2),
            ("/z/b/c/d", 3),
            ("/a/b/c", 4),
            ("/z/b", 9),
        ] {
            assert_eq!(policy.keep(&path.parse().unwrap()).versions, Some(want), "{path}");
        }
    }

    #[test]
    fn either_reason_is_enough() {
        let keep: Keep = "2 versions or 1 second".parse().unwrap();
        assert!(keep.keeps(2, 0, 1_000_000) && keep.keeps(9, 999_500, 1_000_000));
        assert!(!keep.keeps(3, 0, 1_000_000));
    }
}
