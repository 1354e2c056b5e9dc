//! A wheel's `METADATA` (core metadata): what it is and what it needs.

use std::str::FromStr;

use super::{
    name::PackageName,
    requirement::Requirement,
    version::{Specifiers, Version, parse_version},
};

/// Largest `METADATA` taken, in bytes; it may hold a whole README.
pub const MAX_METADATA: u64 = 8 * 1024 * 1024;
/// Most requirements of one package.
const MAX_REQUIRES: usize = 4_000;

/// What the resolver needs of a wheel.
#[derive(Clone, Debug)]
pub struct Metadata {
    /// The project.
    pub name: PackageName,
    /// Its version.
    pub version: Version,
    /// What it needs, for all extras and places.
    pub requires: Vec<Requirement>,
    /// Pythons it runs on.
    pub requires_python: Option<Specifiers>,
    /// Optional features.
    pub extras: Vec<PackageName>,
}

/// Why metadata is not taken.
#[derive(Debug, thiserror::Error, PartialEq, Eq)]
pub enum MetadataError {
    /// Not UTF-8.
    #[error("its METADATA is not UTF-8 text")]
    NotText,
    /// `Name` or `Version` is missing or cannot be read.
    #[error("its METADATA has no usable {0}")]
    Missing(&'static str),
    /// A field that cannot be read.
    #[error("its METADATA says {field}: {text:?}, which cannot be read: {reason}")]
    Field {
        /// The field's name.
        field: &'static str,
        /// What it says, shortened.
        text: String,
        /// Why.
        reason: String,
    },
    /// Over [`MAX_REQUIRES`].
    #[error("its METADATA lists more than {MAX_REQUIRES} requirements")]
    TooMany,
}

impl Metadata {
    /// Reads the header fields; the description after the first empty line is skipped.
    ///
    /// # Errors
    /// Not text, no name or version, or a requirement that cannot be read.
    pub fn parse(bytes: &[u8]) -> Result<Self, MetadataError> {
        let text = std::str::from_utf8(bytes).map_err(|_| MetadataError::NotText)?;
        let (mut name, mut version, mut requires_python) = (None, None, None);
        let (mut requires, mut extras) = (Vec::new(), Vec::new());
        for line in text.lines().take_while(|line| !line.is_empty()) {
            // Continuation lines belong to fields that are not read here.
            let Some((field, value)) = line.split_once(':') else { continue };
            let value = value.trim();
            match field.to_ascii_lowercase().as_str() {
                "name" => name = name.or_else(|| PackageName::new(value).ok()),
                "version" => version = version.or_else(|| parse_version(value)),
                "requires-python" => {
                    let bad = |reason| bad_field("Requires-Python", value, reason);
                    requires_python = Some(Specifiers::parse(value).map_err(bad)?);
                }
                "requires-dist" => {
                    let bad = |error| bad_field("Requires-Dist", value, format!("{error}"));
                    requires.push(Requirement::from_str(value).map_err(bad)?);
                }
                "provides-extra" => extras.extend(PackageName::new(value).ok()),
                _ => {}
            }
            if requires.len() > MAX_REQUIRES || extras.len() > MAX_REQUIRES {
                return Err(MetadataError::TooMany);
            }
        }
        let name = name.ok_or(MetadataError::Missing("Name"))?;
        let version = version.ok_or(MetadataError::Missing("Version"))?;
        Ok(Self { name, version, requires, requires_python, extras })
    }
}

fn bad_field(field: &'static str, text: &str, reason: String) -> MetadataError {
    MetadataError::Field { field, text: text.chars().take(200).collect(), reason }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn fields_are_read_and_the_description_is_not() {
        let text = "Metadata-Version: 2.1\nName: Flask\nVersion: 3.1.0\nRequires-Python: >=3.9\n\
                    Requires-Dist: Werkzeug>=3.1\nRequires-Dist: asgiref>=3.2 ; extra == 'async'\n\
                    Provides-Extra: async\nLicense: a\n        b: c\n\nName: other\n";
        let metadata = Metadata::parse(text.as_bytes()).expect("good");
        assert_eq!(metadata.name.as_str(), "flask");
        assert_eq!(metadata.version.to_string(), "3.1.0");
        assert_eq!(metadata.requires.len(), 2);
        assert_eq!(metadata.extras.len(), 1);
    }

    #[test]
    fn bad_metadata_says_why() {
        for (text, want) in [
            ("Version: 1\n", "no usable Name"),
            ("Name: a\nVersion: x\n", "no usable Version"),
            ("Name: a\nVersion: 1\nRequires-Dist: b @ https://x/b.whl\n", "from a URL"),
            ("Name: a\nVersion: 1\nRequires-Python: three\n", "Requires-Python"),
            ("\nName: a\nVersion: 1\n", "no usable Name"),
        ] {
            let error = Metadata::parse(text.as_bytes()).expect_err(text).to_string();
            assert!(error.contains(want), "{error}");
        }
        assert_eq!(Metadata::parse(b"\xff").expect_err("bytes"), MetadataError::NotText);
    }
}
