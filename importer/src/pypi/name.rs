//! Names of projects and extras, normalised as the packaging specifications ask.

use std::fmt;

/// Longest project or extra name taken; the longest real ones have about 100 characters.
const MAX_NAME: usize = 200;

/// A project's or extra's name: lower case, runs of `-`, `_` and `.` as one `-`, starting and
/// ending in a letter or digit. (Packaging specification "Names and normalization".)
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub struct PackageName(String);

/// Why a text is not a name.
#[derive(Debug, thiserror::Error, PartialEq, Eq)]
#[error(
    "{0:?} is not a package name: use letters, digits, -, _ and ., starting and ending with a \
     letter or digit"
)]
pub struct NameError(String);

impl PackageName {
    /// Checks and normalises a name.
    ///
    /// # Errors
    /// Empty, too long, other characters than the specification allows.
    pub fn new(text: &str) -> Result<Self, NameError> {
        let edge = |b: Option<u8>| b.is_some_and(|b| b.is_ascii_alphanumeric());
        let inner = |b: u8| b.is_ascii_alphanumeric() || matches!(b, b'-' | b'_' | b'.');
        let (first, last) = (text.bytes().next(), text.bytes().next_back());
        if text.len() > MAX_NAME || !edge(first) || !edge(last) || !text.bytes().all(inner) {
            return Err(NameError(text.chars().take(MAX_NAME).collect()));
        }
        let mut name = String::with_capacity(text.len());
        for byte in text.bytes() {
            match byte {
                b'-' | b'_' | b'.' if name.ends_with('-') => {}
                b'-' | b'_' | b'.' => name.push('-'),
                other => name.push(other.to_ascii_lowercase() as char),
            }
        }
        Ok(Self(name))
    }

    /// The normalised text.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for PackageName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_normalised() {
        for (text, want) in [
            ("Flask", "flask"),
            ("zope.interface", "zope-interface"),
            ("a__b.-c", "a-b-c"),
            ("2to3", "2to3"),
        ] {
            assert_eq!(PackageName::new(text).expect(text).as_str(), want);
        }
    }

    #[test]
    fn bad_names_are_refused() {
        for text in ["", "-a", "a-", "a b", "ä", "a/b", "..", "a\0", &"a".repeat(201)] {
            assert!(PackageName::new(text).is_err(), "{text:?}");
        }
    }
}
