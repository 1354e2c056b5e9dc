//! What a check tells.

use serde::{Deserialize, Serialize};

use crate::Kid;

/// How far a check has come.
#[derive(Clone, Copy, Debug, Default)]
pub struct Progress {
    /// Objects read so far.
    pub objects: u64,
    /// Their bytes.
    pub bytes: u64,
    /// Versions whose names have been followed so far.
    pub versions: u64,
}

/// Something that is not as it should be.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct Damage {
    /// Which object, if it is one.
    pub kid: Option<Kid>,
    /// Which file of the Keg, if it is not an object.
    pub place: Option<String>,
    /// What is wrong.
    pub what: String,
    /// Names that stand for the object or need it, in the newest version that has them: a path,
    /// with `@K-…` where the current version has it no more. At most 20.
    pub paths: Vec<String>,
}

/// What a check found.
#[derive(Clone, PartialEq, Debug, Default, Serialize, Deserialize)]
pub struct Report {
    /// Objects read.
    pub objects: u64,
    /// Their bytes.
    pub bytes: u64,
    /// Versions whose names were followed.
    pub versions: u64,
    /// Objects that no version needs. Not an error.
    pub unreferenced: u64,
    /// What is wrong; empty: the Keg is sound.
    pub damaged: Vec<Damage>,
    /// Damage beyond what is listed.
    pub more: u64,
    /// How long it took.
    pub seconds: f64,
}

impl Report {
    /// Whether nothing is wrong.
    pub fn is_clean(&self) -> bool {
        self.damaged.is_empty()
    }
}
