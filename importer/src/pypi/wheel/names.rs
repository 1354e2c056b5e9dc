//! Names in wheels: what is refused, and where the files of a wheel go.

use std::collections::HashSet;

use keg::object::EntryName;

/// Longest name of a file in a wheel.
const MAX_PATH: usize = 1024;
/// Most directories above a file.
const MAX_DEPTH: usize = 64;

/// Why a name is refused.
#[derive(Debug, thiserror::Error, PartialEq, Eq)]
#[error("it has a file named {name:?}, which is refused: {reason}")]
pub struct NameRefused {
    /// The name, shortened.
    pub name: String,
    /// Why.
    pub reason: &'static str,
}

/// The names seen in one wheel, so that none comes twice, not even in another case.
#[derive(Default)]
pub struct Seen {
    lower: HashSet<String>,
}

impl Seen {
    /// Checks a name as it stands in the archive.
    ///
    /// # Errors
    /// It is not plain relative UTF-8, or was seen before.
    pub fn check(&mut self, raw: &[u8]) -> Result<String, NameRefused> {
        let refuse = |reason| NameRefused {
            name: String::from_utf8_lossy(&raw[..raw.len().min(200)]).into_owned(),
            reason,
        };
        let name = std::str::from_utf8(raw).map_err(|_| refuse("it is not UTF-8"))?;
        parts(name.strip_suffix('/').unwrap_or(name)).map_err(refuse)?;
        if name.contains('\\') {
            return Err(refuse("it has a backslash"));
        }
        if name.contains(char::is_control) {
            return Err(refuse("it has control characters"));
        }
        if !self.lower.insert(name.to_lowercase()) {
            return Err(refuse("it comes twice, or once more in another case"));
        }
        Ok(name.to_owned())
    }
}

/// The components of a relative path.
///
/// # Errors
/// Why it is none.
pub fn parts(path: &str) -> Result<Vec<EntryName>, &'static str> {
    if path.len() > MAX_PATH {
        return Err("it is longer than 1024 bytes");
    }
    if path.starts_with('/') || path.as_bytes().get(1) == Some(&b':') {
        return Err("it is absolute");
    }
    let mut parts = Vec::new();
    for part in path.split('/') {
        let reason = match part {
            "" => "it has an empty component",
            "." => "it has a . component",
            ".." => "it has a .. component",
            _ => "a component is longer than 255 bytes",
        };
        parts.push(EntryName::new(part).map_err(|_| reason)?);
    }
    if parts.len() > MAX_DEPTH {
        return Err("it is more than 64 directories deep");
    }
    Ok(parts)
}

/// The parts of a wheel's tree. A wheel's tree does not depend on the Python it is for: where
/// these directories go is decided when wheels are put together, see [`crate::pypi::sets`].
pub mod scheme {
    /// Modules, pure or not: to `dist-packages`.
    pub const LIB: &str = "lib";
    /// Programs: to `bin`.
    pub const SCRIPTS: &str = "scripts";
    /// C headers: to `include`.
    pub const HEADERS: &str = "headers";
    /// Anything else, below the prefix.
    pub const DATA: &str = "data";
}

/// Where a file of a wheel goes: a directory of [`scheme`] and a path below it.
///
/// # Errors
/// It is in a part of the `.data` directory that the specification does not know.
pub fn place<'a>(name: &'a str, data_dir: &str) -> Result<(&'static str, &'a str), NameRefused> {
    let Some(rest) = name.strip_prefix(data_dir).and_then(|rest| rest.strip_prefix('/')) else {
        return Ok((scheme::LIB, name));
    };
    let refuse = |reason| NameRefused { name: name.to_owned(), reason };
    let (key, path) = rest.split_once('/').ok_or_else(|| refuse("it is in no part of .data"))?;
    let scheme = match key {
        "purelib" | "platlib" => scheme::LIB,
        "scripts" => scheme::SCRIPTS,
        "headers" => scheme::HEADERS,
        "data" => scheme::DATA,
        _ => return Err(refuse("it is in an unknown part of .data")),
    };
    Ok((scheme, path))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn hostile_names_are_refused() {
        for (name, want) in [
            (b"/etc/passwd".as_slice(), "absolute"),
            (b"C:/x", "absolute"),
            (b"../x", ".. component"),
            (b"a/../../x", ".. component"),
            (b"a/./x", ". component"),
            (b"a//x", "empty"),
            (b"", "empty"),
            (b"a\\..\\x", "backslash"),
            (b"a\nx", "control"),
            (b"a\0x", "longer"),
            (b"\xff", "UTF-8"),
            (&[b'a'; 2000], "longer"),
        ] {
            let error = Seen::default().check(name).expect_err(want).to_string();
            assert!(error.contains(want), "{error}");
        }
        let mut seen = Seen::default();
        seen.check(b"a/B.py").expect("new");
        seen.check(b"a/c/").expect("new");
        assert!(seen.check(b"a/B.py").is_err());
        assert!(seen.check(b"A/b.py").is_err());
    }

    #[test]
    fn data_directories_are_folded() {
        let data = "a-1.data";
        for (name, want) in [
            ("a/x.py", Some((scheme::LIB, "a/x.py"))),
            ("a-1.data/purelib/b.py", Some((scheme::LIB, "b.py"))),
            ("a-1.data/platlib/b.so", Some((scheme::LIB, "b.so"))),
            ("a-1.data/scripts/run", Some((scheme::SCRIPTS, "run"))),
            ("a-1.data/headers/a.h", Some((scheme::HEADERS, "a.h"))),
            ("a-1.data/data/share/x", Some((scheme::DATA, "share/x"))),
            ("a-1.data/other/x", None),
            ("a-1.data/x", None),
            ("a-1.database/x", Some((scheme::LIB, "a-1.database/x"))),
        ] {
            assert_eq!(place(name, data).ok(), want, "{name}");
        }
    }
}
