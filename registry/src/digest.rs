//! Content digests as OCI writes them, kept apart from KIDs.

use std::{fmt, str::FromStr};

use sha2::{Digest as _, Sha256};

/// A SHA-256 digest, written `sha256:` + 64 hex digits. Foreign to the Keg: never a KID.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct OciDigest([u8; 32]);

impl OciDigest {
    /// The digest of these bytes.
    pub fn of(bytes: &[u8]) -> Self {
        Self::from_hasher(Sha256::new_with_prefix(bytes))
    }

    /// The digest of what a hasher was fed.
    pub fn from_hasher(hasher: Sha256) -> Self {
        Self(hasher.finalize().into())
    }
}

impl fmt::Display for OciDigest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "sha256:{}", hex::encode(self.0))
    }
}

impl fmt::Debug for OciDigest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{self}")
    }
}

/// Why a text is not a digest that this registry can hold.
#[derive(Debug, thiserror::Error, PartialEq, Eq)]
pub enum DigestError {
    /// Not `algorithm:hex`.
    #[error("{0:?} is not a digest: write sha256: and 64 digits 0-9, a-f")]
    Malformed(String),
    /// Well-formed, of an algorithm that nothing here is stored under.
    #[error("digests of {0:?} are not kept here, only sha256")]
    Algorithm(String),
}

impl FromStr for OciDigest {
    type Err = DigestError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let malformed = || DigestError::Malformed(text.chars().take(160).collect());
        let (algorithm, digits) = text.split_once(':').ok_or_else(malformed)?;
        let lower = |t: &str| t.bytes().all(|b| matches!(b, b'0'..=b'9' | b'a'..=b'f'));
        match (algorithm, digits.len()) {
            ("sha256", 64) if lower(digits) => {
                let bytes = hex::decode(digits).map_err(|_| malformed())?;
                Ok(Self(bytes.try_into().map_err(|_| malformed())?))
            }
            ("sha512", 128) if lower(digits) => Err(DigestError::Algorithm("sha512".to_owned())),
            _ => Err(malformed()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn digests_round_trip_and_bad_ones_are_refused() {
        let digest = OciDigest::of(b"");
        assert_eq!(
            digest.to_string(),
            "sha256:e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855"
        );
        assert_eq!(digest.to_string().parse(), Ok(digest));
        for bad in [
            "",
            "sha256:",
            "sha256:E3B0",
            "md5:00",
            &format!("sha256:{}", "A".repeat(64)),
            &format!("sha256:{}", "0".repeat(63)),
            &format!("sha512:{}", "0".repeat(128)),
        ] {
            assert!(bad.parse::<OciDigest>().is_err(), "{bad}");
        }
    }
}
