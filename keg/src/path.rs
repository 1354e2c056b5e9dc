//! Paths in the namespace, and the names they are made of.

use std::{fmt, str::FromStr};

/// Longest component, as on Linux file systems.
pub const MAX_COMPONENT: usize = 255;
/// Longest path.
pub const MAX_PATH: usize = 4096;

/// An absolute path in the namespace: `/` or `/a/b`, without empty, `.` or `..` components.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct NamePath(String);

/// Why a text is not a path of the namespace.
#[derive(Debug, thiserror::Error, PartialEq, Eq)]
#[error("{text:?} is not a path in the Keg: {reason}")]
pub struct PathError {
    text: String,
    reason: &'static str,
}

impl NamePath {
    /// The root, `/`.
    pub fn root() -> Self {
        Self("/".to_owned())
    }

    /// The text, starting with `/`.
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// The components from the root down; none for `/`.
    pub fn components(&self) -> impl DoubleEndedIterator<Item = &str> {
        self.0.split('/').filter(|part| !part.is_empty())
    }

    /// This path and one more component.
    ///
    /// # Errors
    /// The component is empty, `.`, `..`, too long, or has `/` or NUL.
    pub fn join(&self, name: &str) -> Result<Self, PathError> {
        let base = if self.0 == "/" { "" } else { &self.0 };
        format!("{base}/{name}").parse()
    }

    /// All but the last component; `None` for `/`.
    pub fn parent(&self) -> Option<Self> {
        let (head, _) = self.0.rsplit_once('/')?;
        match (head, self.0.as_str()) {
            (_, "/") => None,
            ("", _) => Some(Self::root()),
            (head, _) => Some(Self(head.to_owned())),
        }
    }

    /// The last component; `None` for `/`.
    pub fn file_name(&self) -> Option<&str> {
        self.components().next_back()
    }

    /// Whether `self` is `other` or below it.
    pub fn starts_with(&self, other: &Self) -> bool {
        other.0 == "/"
            || self
                .0
                .strip_prefix(&other.0)
                .is_some_and(|rest| rest.is_empty() || rest.starts_with('/'))
    }
}

impl FromStr for NamePath {
    type Err = PathError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let fail = |reason| Err(PathError { text: text.chars().take(200).collect(), reason });
        if !text.starts_with('/') {
            return fail("it does not start with /");
        }
        if text.len() > MAX_PATH {
            return fail("it is longer than 4096 bytes");
        }
        let trimmed = text.strip_suffix('/').unwrap_or(text);
        if trimmed.is_empty() {
            return Ok(Self::root());
        }
        for part in trimmed[1..].split('/') {
            match part {
                "" => return fail("it has an empty component"),
                "." | ".." => return fail("it has a . or .. component"),
                _ if part.len() > MAX_COMPONENT => {
                    return fail("a component is longer than 255 bytes");
                }
                _ if part.contains('\0') => return fail("it contains NUL"),
                _ => {}
            }
        }
        Ok(Self(trimmed.to_owned()))
    }
}

impl fmt::Display for NamePath {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl fmt::Debug for NamePath {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:?}", self.0)
    }
}

/// The name of an app: 1–40 of `a-z`, `0-9`, `-`; starts with a letter, does not end in `-`.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub struct AppName(String);

/// Longest app name.
pub const MAX_APP_NAME: usize = 40;

/// Why a text is not an app's name.
#[derive(Debug, thiserror::Error, PartialEq, Eq)]
#[error(
    "{0:?} is not an app name: use 1 to 40 of a-z, 0-9 and -, starting with a letter and not \
     ending in -"
)]
pub struct AppNameError(String);

impl AppName {
    /// The name.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl FromStr for AppName {
    type Err = AppNameError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let letters = text.bytes().all(|b| matches!(b, b'a'..=b'z' | b'0'..=b'9' | b'-'));
        let start = text.bytes().next().is_some_and(|b| b.is_ascii_lowercase());
        if letters && start && !text.ends_with('-') && text.len() <= MAX_APP_NAME {
            Ok(Self(text.to_owned()))
        } else {
            Err(AppNameError(text.chars().take(100).collect()))
        }
    }
}

impl fmt::Display for AppName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn paths_are_checked_where_they_are_made() {
        for good in ["/", "/a", "/a/b/", "/oci-images/blog"] {
            assert!(good.parse::<NamePath>().is_ok(), "{good}");
        }
        for bad in ["", "a", "//", "/a//b", "/../x", "/a/./b", "/a\0b"] {
            assert!(bad.parse::<NamePath>().is_err(), "{bad}");
        }
        let path: NamePath = "/a/bc".parse().expect("a good path");
        assert!(path.starts_with(&NamePath::root()));
        assert!(path.starts_with(&"/a".parse().expect("good")));
        assert!(!path.starts_with(&"/a/b".parse().expect("good")));
        assert_eq!(path.parent().map(|p| p.to_string()), Some("/a".into()));
    }

    #[test]
    fn app_names() {
        assert!("blog-2".parse::<AppName>().is_ok());
        for bad in ["", "Blog", "2blog", "blog-", "a.b", &"a".repeat(41)] {
            assert!(bad.parse::<AppName>().is_err(), "{bad}");
        }
    }
}
