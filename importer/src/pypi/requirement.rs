//! One requirement (PEP 508): name, extras, versions, marker.

use std::{collections::BTreeSet, fmt, str::FromStr};

use super::{
    marker::{Marker, MarkerError},
    name::{NameError, PackageName},
    target::Target,
    version::Specifiers,
};

/// Longest requirement, in bytes; real ones stay below 500.
pub const MAX_REQUIREMENT: usize = 4096;

/// What a project, or a person, asks for.
#[derive(Clone, PartialEq, Eq, Hash, Debug)]
pub struct Requirement {
    /// The project.
    pub name: PackageName,
    /// Its optional features.
    pub extras: BTreeSet<PackageName>,
    /// The versions that will do.
    pub specifiers: Specifiers,
    /// Where it applies; `None`: everywhere.
    marker: Option<Marker>,
}

/// Why a text is not a requirement that can be imported.
#[derive(Debug, thiserror::Error, PartialEq, Eq)]
pub enum RequirementError {
    /// Over [`MAX_REQUIREMENT`].
    #[error("it is longer than {MAX_REQUIREMENT} characters")]
    TooLong,
    /// The name, or an extra's name.
    #[error(transparent)]
    Name(#[from] NameError),
    /// The version part.
    #[error("{0}")]
    Version(String),
    /// `[` without `]`.
    #[error("the list of extras has no closing ]")]
    Extras,
    /// The part after `;`.
    #[error("the marker after ; cannot be read: {0}")]
    Marker(#[from] MarkerError),
    /// `name @ https://…` or a bare path or URL.
    #[error("packages from a URL, a path or a repository cannot be imported, only from the index")]
    Url,
}

impl Requirement {
    /// Whether it applies on `target`, for a project installed with the extra `extra`.
    pub fn applies(&self, target: &Target, extra: Option<&PackageName>) -> bool {
        let value = |variable| target.value(variable);
        self.marker.as_ref().is_none_or(|marker| marker.holds(&value, extra))
    }

    /// Whether it asks for a URL rather than versions; used to word an error.
    pub fn looks_like_url(text: &str) -> bool {
        let text = text.trim();
        let head = text.split([';', '#', ' ']).next().unwrap_or(text);
        head.contains("://")
            || head.starts_with(['.', '/', '~'])
            || head.contains('/')
            || head.contains('\\')
            || head.ends_with(".whl")
            || head.ends_with(".tar.gz")
    }
}

impl FromStr for Requirement {
    type Err = RequirementError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        if text.len() > MAX_REQUIREMENT {
            return Err(RequirementError::TooLong);
        }
        if Self::looks_like_url(text) {
            return Err(RequirementError::Url);
        }
        let (head, marker) = match text.split_once(';') {
            Some((head, marker)) => (head.trim(), Some(Marker::parse(marker)?)),
            None => (text.trim(), None),
        };
        let name_end = head
            .find(|c: char| !(c.is_ascii_alphanumeric() || matches!(c, '-' | '_' | '.')))
            .unwrap_or(head.len());
        let name = PackageName::new(head[..name_end].trim())?;
        let rest = head[name_end..].trim_start();
        let (extras, rest) = parse_extras(rest)?;
        if rest.starts_with('@') {
            return Err(RequirementError::Url);
        }
        let versions = match rest.strip_prefix('(') {
            Some(inner) => inner.strip_suffix(')').ok_or_else(|| {
                RequirementError::Version(format!("{rest:?} has no closing parenthesis"))
            })?,
            None => rest,
        };
        let specifiers = Specifiers::parse(versions).map_err(RequirementError::Version)?;
        Ok(Self { name, extras, specifiers, marker })
    }
}

/// `[a, b] rest` → the extras and the rest.
fn parse_extras(text: &str) -> Result<(BTreeSet<PackageName>, &str), RequirementError> {
    let Some(inner) = text.strip_prefix('[') else { return Ok((BTreeSet::new(), text)) };
    let (list, rest) = inner.split_once(']').ok_or(RequirementError::Extras)?;
    let mut extras = BTreeSet::new();
    for extra in list.split(',').map(str::trim) {
        if !(extra.is_empty() && list.trim().is_empty()) {
            extras.insert(PackageName::new(extra)?);
        }
    }
    Ok((extras, rest.trim_start()))
}

impl fmt::Display for Requirement {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.name)?;
        if !self.extras.is_empty() {
            let extras: Vec<&str> = self.extras.iter().map(PackageName::as_str).collect();
            write!(f, "[{}]", extras.join(","))?;
        }
        write!(f, "{}", self.specifiers)?;
        match &self.marker {
            Some(marker) => write!(f, " ; {marker}"),
            None => Ok(()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn requirements_are_read() {
        for (text, want) in [
            ("Flask", "flask"),
            ("flask>=3,<4", "flask>=3,<4"),
            ("flask (>=3)", "flask>=3"),
            ("requests[security, socks] ~= 2.8 ", "requests[security,socks]~=2.8"),
            ("a[]==1", "a==1"),
            ("a ; python_version >= '3.8'", "a ; python_version >= '3.8'"),
            ("zope.interface==5.*", "zope-interface==5.*"),
        ] {
            assert_eq!(text.parse::<Requirement>().expect(text).to_string(), want);
        }
    }

    #[test]
    fn bad_requirements_say_why() {
        let deep = format!("a; {}os_name=='x'{}", "(".repeat(20), ")".repeat(20));
        let wide = format!("a; {}", vec!["os_name=='x'"; 200].join(" or "));
        for (text, want) in [
            ("", "not a package name"),
            ("flask- >=1", "not a package name"),
            ("flask[x-]", "not a package name"),
            ("flask[x", "no closing ]"),
            ("flask=1", "not a version specifier"),
            ("flask==", "not a version specifier"),
            ("flask (>=1", "no closing parenthesis"),
            ("flask 3.1", "not a version specifier"),
            ("flask ; python_versio > '3'", "marker"),
            ("flask ; ä", "marker"),
            ("flask @ https://example.org/f.whl", "from a URL"),
            ("https://example.org/f.whl", "from a URL"),
            ("./local", "from a URL"),
            ("git+ssh://x/y", "from a URL"),
            (deep.as_str(), "too many parts"),
            (wide.as_str(), "too many parts"),
            (&"a".repeat(5000), "longer than"),
        ] {
            let error = text.parse::<Requirement>().expect_err(text).to_string();
            assert!(error.contains(want), "{text}: {error}");
        }
    }

    #[test]
    fn markers_are_those_of_the_target() {
        let target = Target::new("trixie", "3.13", "x86_64").expect("a known target");
        for (text, want) in [
            ("a ; python_version >= '3.13'", true),
            ("a ; python_version < '3.9'", false),
            ("a ; sys_platform == 'win32'", false),
            ("a ; platform_system == 'Linux' and platform_machine == 'x86_64'", true),
            ("a ; extra == 'async'", false),
            ("a ; implementation_name == 'cpython' or os_name == 'nt'", true),
        ] {
            let requirement: Requirement = text.parse().expect(text);
            assert_eq!(requirement.applies(&target, None), want, "{text}");
        }
        let requirement: Requirement = "a ; extra == 'Async_IO'".parse().expect("good");
        let extra = PackageName::new("async-io").expect("good");
        assert!(requirement.applies(&target, Some(&extra)));
    }
}
