//! What is to change in the namespace, all or nothing.

use std::fmt;

use serde_json::{Map, Value as Json};

use crate::{
    Kid,
    object::{Entry, Value},
    path::NamePath,
};

/// What a name must be for a transaction to be made.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Expected {
    /// Nothing is there.
    Absent,
    /// A value with this KID is there.
    Kid(Kid),
    /// It does not matter.
    Any,
}

impl fmt::Display for Expected {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Absent => f.write_str("nothing"),
            Self::Kid(kid) => write!(f, "{kid}"),
            Self::Any => f.write_str("anything"),
        }
    }
}

/// A change of the namespace, built step by step and made with [`crate::Keg::commit`]: all of it,
/// or, if a name is not what it is expected to be, none. Later steps win over earlier ones.
#[derive(Clone, Debug)]
pub struct Txn {
    pub(crate) author: String,
    pub(crate) message: String,
    pub(crate) extra: Map<String, Json>,
    pub(crate) steps: Vec<(NamePath, Step)>,
    pub(crate) expected: Vec<(NamePath, Expected)>,
}

/// One step of a transaction.
#[derive(Clone, Debug)]
pub(crate) enum Step {
    Set(Entry),
    SetJson(Json),
    Remove,
}

impl Step {
    /// The value that a name is set to, where it is one that must be here already.
    pub(crate) fn kid(&self) -> Option<Kid> {
        match self {
            Self::Set(entry) => entry.kid(),
            Self::SetJson(_) | Self::Remove => None,
        }
    }

    /// Whether it sets a pointer.
    pub(crate) fn is_pointer(&self) -> bool {
        matches!(self, Self::Set(Entry { value: Value::Pointer { .. }, .. }))
    }
}

impl Txn {
    /// A transaction by `author` (`service/importer`, `Name <mail>`), with the reason for it.
    pub fn new(author: &str, message: &str) -> Self {
        Self {
            author: author.to_owned(),
            message: message.to_owned(),
            extra: Map::new(),
            steps: Vec::new(),
            expected: Vec::new(),
        }
    }

    /// Sets a name, whatever is there. Directories above it appear as needed.
    #[must_use]
    pub fn set(mut self, path: NamePath, entry: Entry) -> Self {
        self.steps.push((path, Step::Set(entry)));
        self
    }

    /// Sets a name to a JSON document, stored when the transaction is made.
    #[must_use]
    pub fn set_json(mut self, path: NamePath, value: Json) -> Self {
        self.steps.push((path, Step::SetJson(value)));
        self
    }

    /// Removes a name and everything below it. Directories that become empty vanish; a name that
    /// is not there is no error. Below a commit or a pointer nothing can be removed, nor set: those
    /// are values, which stay as they are.
    #[must_use]
    pub fn remove(mut self, path: NamePath) -> Self {
        self.steps.push((path, Step::Remove));
        self
    }

    /// Makes the transaction depend on what a name is before it.
    #[must_use]
    pub fn expect(mut self, path: NamePath, expected: Expected) -> Self {
        self.expected.push((path, expected));
        self
    }

    /// Adds a field to the version's `extra`.
    #[must_use]
    pub fn extra(mut self, key: &str, value: Json) -> Self {
        self.extra.insert(key.to_owned(), value);
        self
    }

    /// Whether it would change nothing.
    pub fn is_empty(&self) -> bool {
        self.steps.is_empty()
    }
}
