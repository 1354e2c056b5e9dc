//! KIDs: the identity of every value, `K-` and the hex of a BLAKE3 hash.

use std::{fmt, str::FromStr};

use serde::{Deserialize, Deserializer, Serialize, Serializer};

/// Number of hex digits people see: the shortest prefix we ever print or accept.
pub const SHORT_DIGITS: usize = 8;

/// What is known of KIDs, in memory. They are looked up often, and who chooses their bytes does not
/// know the seed.
pub(crate) type KidMap<V> = std::collections::HashMap<Kid, V, foldhash::fast::RandomState>;

/// The identity of a value: 32 bytes of BLAKE3, written `K-` + 64 hex digits.
///
/// A blob's KID is the plain BLAKE3 of its bytes (`b3sum` verifies it); trees and commits hash
/// under a context of their own (`derive_key`), so that no blob can pass for a tree.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Kid([u8; 32]);

impl Kid {
    /// A KID from its 32 bytes.
    pub const fn from_bytes(bytes: [u8; 32]) -> Self {
        Self(bytes)
    }

    /// The 32 bytes.
    pub const fn as_bytes(&self) -> &[u8; 32] {
        &self.0
    }

    /// The KID a blob of these bytes has.
    pub fn of_blob(bytes: &[u8]) -> Self {
        Self(*blake3::hash(bytes).as_bytes())
    }

    /// The 64 hex digits without `K-`.
    pub fn to_hex(&self) -> String {
        hex::encode(self.0)
    }

    /// `K-` and the first eight digits, for people.
    pub fn short(&self) -> String {
        format!("K-{}", &self.to_hex()[..SHORT_DIGITS])
    }
}

impl From<blake3::Hash> for Kid {
    fn from(hash: blake3::Hash) -> Self {
        Self(*hash.as_bytes())
    }
}

impl fmt::Display for Kid {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "K-{}", self.to_hex())
    }
}

impl fmt::Debug for Kid {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{self}")
    }
}

/// Why a text is not a KID.
#[derive(Debug, thiserror::Error, PartialEq, Eq)]
pub enum ParseKidError {
    /// It does not start with `K-`.
    #[error("a KID starts with \"K-\", but {0:?} does not")]
    Prefix(String),
    /// A digit is not lower-case hex.
    #[error("a KID is written in the digits 0-9 and a-f, but {0:?} has others")]
    Digits(String),
    /// Too short or too long.
    #[error("a KID has 64 digits (a prefix at least {SHORT_DIGITS}), but {text:?} has {digits}")]
    Length {
        /// What was given.
        text: String,
        /// How many digits it has.
        digits: usize,
    },
}

impl FromStr for Kid {
    type Err = ParseKidError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let prefix: KidPrefix = text.parse()?;
        prefix.full().ok_or_else(|| ParseKidError::Length {
            text: text.to_owned(),
            digits: prefix.digits().len(),
        })
    }
}

impl Serialize for Kid {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for Kid {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = String::deserialize(deserializer)?;
        text.parse().map_err(serde::de::Error::custom)
    }
}

/// What a person types: `K-` and 8 to 64 digits.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct KidPrefix(String);

impl KidPrefix {
    /// The digits, lower case, without `K-`.
    pub fn digits(&self) -> &str {
        &self.0
    }

    /// The KID, if all 64 digits are there.
    pub fn full(&self) -> Option<Kid> {
        let bytes = hex::decode(&self.0).ok()?;
        Some(Kid(bytes.try_into().ok()?))
    }

    /// Whether `kid` starts with these digits.
    pub fn matches(&self, kid: &Kid) -> bool {
        kid.to_hex().starts_with(&self.0)
    }
}

impl FromStr for KidPrefix {
    type Err = ParseKidError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let digits =
            text.strip_prefix("K-").ok_or_else(|| ParseKidError::Prefix(text.to_owned()))?;
        if !digits.bytes().all(|b| matches!(b, b'0'..=b'9' | b'a'..=b'f')) {
            return Err(ParseKidError::Digits(text.to_owned()));
        }
        if !(SHORT_DIGITS..=64).contains(&digits.len()) {
            return Err(ParseKidError::Length { text: text.to_owned(), digits: digits.len() });
        }
        Ok(Self(digits.to_owned()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_kid_round_trips_through_its_text() {
        let kid = Kid::of_blob(b"hello\n");
        assert_eq!(kid.to_string().parse::<Kid>(), Ok(kid));
        assert_eq!(kid.short().len(), 10);
        assert!(kid.short().parse::<KidPrefix>().is_ok_and(|p| p.matches(&kid)));
    }

    #[test]
    fn bad_kids_say_what_is_wrong() {
        for (text, want) in [
            ("0123abcd", "starts with"),
            ("K-0123abcX", "digits 0-9"),
            ("K-0123", "has 4"),
            ("K-0123abcd", "has 8"),
        ] {
            let error = text.parse::<Kid>().expect_err(text).to_string();
            assert!(error.contains(want), "{text}: {error}");
        }
    }
}
