//! Version specifiers as PEP 440 reads them, over `pep440_rs`.

use std::str::FromStr;

pub use pep440_rs::Version;
use pep440_rs::{Operator, VersionSpecifier, VersionSpecifiers};

/// Longest version or specifier text that is parsed.
pub const MAX_VERSION_TEXT: usize = 1024;

/// A set of versions: all of its clauses hold (`>=1,<2`). Empty: every version.
#[derive(Clone, PartialEq, Eq, Hash, Debug, Default)]
pub struct Specifiers(VersionSpecifiers);

impl Specifiers {
    /// Reads `>=1.0,<2`; an empty text means any version.
    ///
    /// # Errors
    /// A message naming the clause that PEP 440 does not allow.
    pub fn parse(text: &str) -> Result<Self, String> {
        if text.len() > MAX_VERSION_TEXT {
            return Err(format!("it is longer than {MAX_VERSION_TEXT} characters"));
        }
        let mut clauses = Vec::new();
        for clause in text.split(',').map(str::trim).filter(|clause| !clause.is_empty()) {
            let parsed = VersionSpecifier::from_str(clause)
                .map_err(|error| format!("{clause:?} is not a version specifier: {error}"))?;
            clauses.push(parsed);
        }
        Ok(Self(clauses.into_iter().collect()))
    }

    /// Whether nothing is asked.
    pub fn is_any(&self) -> bool {
        self.0.is_empty()
    }

    /// Whether every clause holds for `version`.
    pub fn contains(&self, version: &Version) -> bool {
        self.0.iter().all(|clause| clause_contains(clause, version))
    }

    /// Whether a clause names a pre-release, which by PEP 440 lets pre-releases in.
    pub fn names_prerelease(&self) -> bool {
        self.0.iter().any(|clause| {
            clause.any_prerelease()
                && !matches!(clause.operator(), Operator::NotEqual | Operator::NotEqualStar)
        })
    }

    /// The one version asked for by `==1.2.3` or `===1.2.3`, if so.
    pub fn pinned(&self) -> Option<&Version> {
        self.0.iter().find_map(|clause| match clause.operator() {
            Operator::Equal | Operator::ExactEqual => Some(clause.version()),
            _ => None,
        })
    }

    /// `==version`.
    pub fn exactly(version: &Version) -> Self {
        Self(VersionSpecifier::equals_version(version.clone()).into())
    }

    /// Both sets' clauses.
    pub fn and(&self, other: &Self) -> Self {
        Self(self.0.iter().chain(other.0.iter()).cloned().collect())
    }
}

/// One clause. `pep440_rs` compares only the shared digits of a wildcard with a shorter release
/// (`1` would match `==1.2.*`); PEP 440 pads the release with zeros.
fn clause_contains(clause: &VersionSpecifier, version: &Version) -> bool {
    let (wildcard, matches_when) = match clause.operator() {
        Operator::EqualStar => (clause.version(), true),
        Operator::NotEqualStar => (clause.version(), false),
        _ => return clause.contains(version),
    };
    let padded = version.release().iter().copied().chain(std::iter::repeat(0));
    let same = wildcard.epoch() == version.epoch()
        && wildcard.release().iter().copied().zip(padded).all(|(want, has)| want == has);
    same == matches_when
}

impl std::fmt::Display for Specifiers {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        for (index, clause) in self.0.iter().enumerate() {
            let comma = if index == 0 { "" } else { "," };
            // `pep440_rs` writes `== 1.0`; people write `==1.0`.
            write!(f, "{comma}{}", clause.to_string().replace(' ', ""))?;
        }
        Ok(())
    }
}

/// Reads a version; `None` if PEP 440 does not allow it.
pub fn parse_version(text: &str) -> Option<Version> {
    if text.len() > MAX_VERSION_TEXT {
        return None;
    }
    Version::from_str(text).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn version(text: &str) -> Version {
        parse_version(text).expect(text)
    }

    #[test]
    fn specifiers_contain_what_pep_440_says() {
        for (spec, text, want) in [
            ("", "1", true),
            (">=1,<2", "1.9.post1", true),
            (">=1,<2", "2", false),
            ("==1.2.*", "1.2.7", true),
            ("==1.2.*", "1", false),
            ("!=1.2.*", "1", true),
            ("==1.0.*", "1", true),
            ("~=1.4.2", "1.4.9", true),
            ("~=1.4.2", "1.5", false),
            ("==1.0", "1.0.0", true),
            ("==1.0", "1.0+local", true),
            (">1.0", "1.0.post1", false),
            ("<2", "2.0rc1", false),
            ("===1.0", "1.0", true),
            ("===1.0", "1.0.0", false),
        ] {
            let found = Specifiers::parse(spec).expect(spec).contains(&version(text));
            assert_eq!(found, want, "{text} in {spec:?}");
        }
    }

    #[test]
    fn specifiers_know_their_pin_and_prereleases() {
        let spec = |text: &str| Specifiers::parse(text).expect(text);
        assert_eq!(spec("==3.1").pinned(), Some(&version("3.1")));
        assert_eq!(spec(">=3.1").pinned(), None);
        assert_eq!(spec("==3.*").pinned(), None);
        assert!(spec(">=2.0b1").names_prerelease());
        assert!(!spec("!=2.0b1").names_prerelease());
        assert_eq!(spec(">= 1 , < 2").to_string(), ">=1,<2");
        for bad in ["1.0", "=1", ">=1.0.*", "~=1", ">= <", "==1.0 ==2"] {
            assert!(Specifiers::parse(bad).is_err(), "{bad}");
        }
    }
}
