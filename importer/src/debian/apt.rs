//! Where packages come from: the machine's own apt configuration.
//!
//! Read at run time: sources (both formats, see sources.list(5)), keyrings and proxies. Options
//! that relax checks (`trusted=yes`, `Check-Valid-Until`, …) are never taken over.

mod config;
mod sources;

use std::path::{Path, PathBuf};

pub use config::{Config, Proxies};
pub use sources::{SignedBy, Source, parse_deb822, parse_one_line};

/// Most files of sources that are read.
const MAX_FILES: usize = 256;
/// Largest file of the configuration.
const MAX_FILE: u64 = 1 << 20;

/// Why the configuration cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum AptError {
    /// A file of it cannot be read.
    #[error("apt's configuration {} cannot be read", path.display())]
    Read {
        /// Which.
        path: PathBuf,
        /// Why.
        #[source]
        source: std::io::Error,
    },
    /// A file of it is malformed.
    #[error("apt's configuration {} is malformed: {reason}", path.display())]
    Malformed {
        /// Which.
        path: PathBuf,
        /// What is wrong.
        reason: String,
    },
    /// It names no source of packages.
    #[error("apt's configuration in {} names no source of binary packages", path.display())]
    NoSource {
        /// Where was looked.
        path: PathBuf,
    },
}

/// The part of apt's configuration that the importer uses.
#[derive(Clone, Debug, Default)]
pub struct Apt {
    /// Sources of binary packages, in apt's order.
    pub sources: Vec<Source>,
    /// Keyrings for sources that name none.
    pub keyrings: Vec<PathBuf>,
    /// Ways to the network.
    pub proxies: Proxies,
}

impl Apt {
    /// Reads the machine's configuration.
    ///
    /// # Errors
    /// A file cannot be read or is malformed, or there is no source.
    pub fn of_machine(arch: &str) -> Result<Self, AptError> {
        Self::read(&Config::of_machine(), arch)
    }

    /// Reads what `config` points at.
    ///
    /// # Errors
    /// As [`Apt::of_machine`].
    pub fn read(config: &Config, arch: &str) -> Result<Self, AptError> {
        let mut files = vec![config.source_list.clone()];
        files.extend(files_in(&config.source_parts, &["list", "sources"])?);
        let mut sources = Vec::new();
        for path in files.into_iter().take(MAX_FILES) {
            let Some(text) = read_text(&path)? else { continue };
            let parsed = match path.extension().is_some_and(|e| e == "sources") {
                true => parse_deb822(&text, arch),
                false => parse_one_line(&text, arch),
            };
            let malformed = |reason| AptError::Malformed { path: path.clone(), reason };
            for source in parsed.map_err(malformed)? {
                sources.extend(resolved(source.named_in(&path))?);
            }
        }
        if sources.is_empty() {
            return Err(AptError::NoSource { path: config.source_parts.clone() });
        }
        let mut keyrings: Vec<PathBuf> =
            config.keyrings.iter().filter(|path| path.is_file()).cloned().collect();
        keyrings.extend(files_in(&config.trusted_parts, &["gpg", "asc"])?);
        Ok(Self { sources, keyrings, proxies: config.proxies.clone() })
    }
}

/// The source itself, or, for a list of mirrors (apt-transport-mirror(1)), the first of them.
fn resolved(mut source: Source) -> Result<Option<Source>, AptError> {
    if let Some(list) = source.uri.strip_prefix("mirror+file:") {
        let path = Path::new(list.strip_prefix("//").unwrap_or(list));
        let text = read_text(path)?.unwrap_or_default();
        let mut words = text.lines().filter_map(|line| line.split_whitespace().next());
        let Some(first) = words.find(|word| !word.starts_with('#')) else {
            return Ok(None);
        };
        source.uri = first.trim_end_matches('/').to_owned();
    }
    Ok(Some(source))
}

/// Files of a directory with one of these extensions, by name; none if there is no directory.
fn files_in(dir: &Path, extensions: &[&str]) -> Result<Vec<PathBuf>, AptError> {
    let fail = |source| AptError::Read { path: dir.to_owned(), source };
    let entries = match std::fs::read_dir(dir) {
        Ok(entries) => entries,
        Err(e) if e.kind() == std::io::ErrorKind::NotFound => return Ok(Vec::new()),
        Err(e) => return Err(fail(e)),
    };
    let mut found = Vec::new();
    for entry in entries.take(MAX_FILES) {
        let path = entry.map_err(fail)?.path();
        let extension = path.extension().and_then(|e| e.to_str()).unwrap_or_default();
        let hidden = path.file_name().is_some_and(|n| n.as_encoded_bytes().starts_with(b"."));
        if extensions.contains(&extension) && !hidden && path.is_file() {
            found.push(path);
        }
    }
    found.sort();
    Ok(found)
}

/// The text of a file; `None` if it is not there.
fn read_text(path: &Path) -> Result<Option<String>, AptError> {
    use std::io::Read;
    let fail = |source| AptError::Read { path: path.to_owned(), source };
    let file = match std::fs::File::open(path) {
        Ok(file) => file,
        Err(e) if e.kind() == std::io::ErrorKind::NotFound => return Ok(None),
        Err(e) => return Err(fail(e)),
    };
    let mut text = String::new();
    file.take(MAX_FILE).read_to_string(&mut text).map_err(fail)?;
    Ok(Some(text))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_machine_is_read_in_apts_order() {
        let dir = tempfile::tempdir().expect("a directory");
        let at = |name: &str| dir.path().join(name);
        std::fs::create_dir_all(at("parts")).expect("made");
        std::fs::create_dir_all(at("trusted")).expect("made");
        std::fs::write(at("sources.list"), "deb http://one.test/debian a main\n").expect("written");
        let deb822 = "Types: deb\nURIs: http://two.test/debian\nSuites: b\nComponents: main\n";
        std::fs::write(at("parts/z.sources"), deb822).expect("written");
        std::fs::write(at("parts/a.list"), "deb http://three.test/debian c main\n")
            .expect("written");
        std::fs::write(at("parts/b.sources.disabled"), "nonsense").expect("written");
        std::fs::write(at("trusted/k.gpg"), "").expect("written");
        let config = Config {
            source_list: at("sources.list"),
            source_parts: at("parts"),
            trusted_parts: at("trusted"),
            keyrings: vec![at("missing.gpg")],
            proxies: Proxies::default(),
        };
        let apt = Apt::read(&config, "amd64").expect("good");
        let suites: Vec<_> = apt.sources.iter().map(|s| s.suite.as_str()).collect();
        assert_eq!(suites, ["a", "c", "b"]);
        assert_eq!(apt.keyrings, [at("trusted/k.gpg")]);
        std::fs::write(at("parts/bad.list"), "deb [oops http://x y z\n").expect("written");
        let error = Apt::read(&config, "amd64").expect_err("bad").to_string();
        assert!(error.contains("bad.list is malformed"), "{error}");
    }

    #[test]
    fn no_source_is_an_error() {
        let config = Config { source_list: "/nonexistent/a".into(), ..Config::default() };
        let error = Apt::read(&config, "amd64").expect_err("none").to_string();
        assert!(error.contains("names no source"), "{error}");
    }
}
