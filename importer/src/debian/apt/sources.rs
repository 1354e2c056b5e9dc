//! Sources of packages: `deb URI SUITE COMPONENT…` and the deb822 form.

use std::path::{Path, PathBuf};

use crate::debian::deb822;

/// One place of one suite.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Source {
    /// Its address, without a closing `/`.
    pub uri: String,
    /// The suite as configured, such as `bookworm-security`.
    pub suite: String,
    /// Such as `main`.
    pub components: Vec<String>,
    /// Who may sign it.
    pub signed_by: SignedBy,
    /// The file that names it, for people.
    pub file: PathBuf,
}

/// Who may sign a source; nothing given means the machine's keyrings.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct SignedBy {
    /// Keyring files.
    pub keyrings: Vec<PathBuf>,
    /// Fingerprints of keys in the keyrings.
    pub fingerprints: Vec<String>,
    /// A public key in ASCII armour.
    pub embedded: Option<String>,
}

impl Source {
    pub(super) fn named_in(mut self, path: &Path) -> Self {
        path.clone_into(&mut self.file);
        self
    }
}

/// Reads the one-line form for machines of architecture `arch`.
///
/// # Errors
/// What is wrong with a line, in words.
pub fn parse_one_line(text: &str, arch: &str) -> Result<Vec<Source>, String> {
    let mut sources = Vec::new();
    for (number, line) in (1..).zip(text.lines()) {
        let line = line.split('#').next().unwrap_or_default().trim();
        let Some(rest) = line.strip_prefix("deb").filter(|r| r.starts_with([' ', '\t', '[']))
        else {
            continue;
        };
        let fail = |reason: &str| Err(format!("line {number}: {reason}"));
        let rest = rest.trim_start();
        let (options, rest) = match rest.strip_prefix('[').map(|r| r.split_once(']')) {
            Some(Some((options, rest))) => (options, rest),
            Some(None) => return fail("its options are not closed by ]"),
            None => ("", rest),
        };
        let mut words = rest.split_whitespace();
        let (Some(uri), Some(suite)) = (words.next(), words.next()) else {
            return fail("it lacks an address or a suite");
        };
        let components: Vec<String> = words.map(str::to_owned).collect();
        let mut source = new(uri, suite, components, arch);
        let mut wanted = true;
        for option in options.split_whitespace() {
            match option.split_once('=') {
                Some(("signed-by", value)) => source.signed_by = signed_by(value),
                Some(("arch", value)) => wanted = value.split(',').any(|a| a == arch),
                _ => {}
            }
        }
        sources.extend(Some(source).filter(|s| wanted && is_usable(s)));
    }
    Ok(sources)
}

/// Reads the deb822 form for machines of architecture `arch`.
///
/// # Errors
/// What is wrong with a stanza, in words.
pub fn parse_deb822(text: &str, arch: &str) -> Result<Vec<Source>, String> {
    let mut sources = Vec::new();
    for (number, stanza) in (1..).zip(deb822::stanzas(text.as_bytes())) {
        let get = |name: &str| stanza.get(name).unwrap_or_default();
        let enabled = !matches!(get("Enabled"), "no" | "false" | "0" | "off" | "disable");
        let archs: Vec<&str> = words(get("Architectures")).collect();
        let for_us = archs.is_empty() || archs.contains(&arch);
        if !enabled || !for_us || !words(get("Types")).any(|t| t == "deb") {
            continue;
        }
        if get("URIs").is_empty() || get("Suites").is_empty() {
            return Err(format!("stanza {number} lacks URIs or Suites"));
        }
        let components: Vec<String> = words(get("Components")).map(str::to_owned).collect();
        for uri in words(get("URIs")) {
            for suite in words(get("Suites")) {
                let mut source = new(uri, suite, components.clone(), arch);
                source.signed_by = signed_by(get("Signed-By"));
                sources.extend(Some(source).filter(is_usable));
            }
        }
    }
    Ok(sources)
}

/// The words of a field whose value may go on over lines, without comment lines.
fn words(value: &str) -> impl Iterator<Item = &str> {
    let lines = value.lines().filter(|line| !line.starts_with('#'));
    lines.flat_map(str::split_whitespace)
}

fn new(uri: &str, suite: &str, components: Vec<String>, arch: &str) -> Source {
    let fill = |text: &str| text.replace("$(ARCH)", arch);
    let uri = fill(uri).trim_end_matches('/').to_owned();
    Source { uri, suite: fill(suite), components, ..Source::default() }
}

/// Not a flat repository, and of a kind that can be fetched.
fn is_usable(source: &Source) -> bool {
    let schemes = ["http://", "https://", "file:", "mirror+file:"];
    let flat = source.suite.ends_with('/') || source.components.is_empty();
    let plain = |b: u8| b.is_ascii_alphanumeric() || b"-._/".contains(&b);
    let named = |name: &String| name.len() < 100 && name.bytes().all(plain);
    let sound = named(&source.suite) && source.components.iter().all(named);
    !flat && sound && schemes.iter().any(|scheme| source.uri.starts_with(scheme))
}

fn signed_by(value: &str) -> SignedBy {
    if value.contains("BEGIN PGP PUBLIC KEY") {
        // In deb822 an empty line is written " .".
        let line = |line: &str| match line.trim() {
            "." => String::new(),
            line => line.to_owned(),
        };
        let key = value.lines().map(line).collect::<Vec<_>>().join("\n");
        return SignedBy { embedded: Some(key), ..SignedBy::default() };
    }
    let mut signed_by = SignedBy::default();
    for word in value.split([',', ' ', '\t', '\n']).filter(|word| !word.is_empty()) {
        match word.starts_with('/') {
            true => signed_by.keyrings.push(word.into()),
            false => signed_by.fingerprints.push(word.to_ascii_uppercase()),
        }
    }
    signed_by
}

#[cfg(test)]
mod tests {
    use super::*;

    fn show(sources: &[Source]) -> Vec<String> {
        sources
            .iter()
            .map(|s| format!("{} {} {}", s.uri, s.suite, s.components.join(",")))
            .collect()
    }

    #[test]
    fn one_line_sources() {
        let text = "# deb http://no.test a main\n\
            deb http://a.test/debian/ trixie main contrib # comment\n\
            deb-src http://a.test/debian trixie main\n\
            deb [signed-by=/k.gpg trusted=yes arch=amd64] https://b.test/$(ARCH) trixie main\n\
            deb [arch=i386] http://c.test x main\n\
            deb cdrom:[disc]/ trixie main\ndeb http://flat.test ./\n\
            deb file:/srv/debian trixie main\n";
        let sources = parse_one_line(text, "amd64").expect("good");
        let want = [
            "http://a.test/debian trixie main,contrib",
            "https://b.test/amd64 trixie main",
            "file:/srv/debian trixie main",
        ];
        assert_eq!(show(&sources), want);
        assert_eq!(sources[1].signed_by.keyrings, [Path::new("/k.gpg")]);
        for (bad, want) in
            [("deb [x http://a b c", "line 1: its options"), ("deb http://a", "lacks")]
        {
            let error = parse_one_line(bad, "amd64").expect_err(bad);
            assert!(error.contains(want), "{error}");
        }
    }

    #[test]
    fn deb822_sources() {
        let text = "Types: deb deb-src\n# a comment\nURIs: http://a.test/debian http://b.test\n\
            Suites: trixie\n trixie-updates\nComponents: main\nSigned-By: /k.gpg, ABCDEF0123\n\n\
            Types: deb\nURIs: http://off.test\nSuites: x\nComponents: main\nEnabled: no\n\n\
            Types: deb\nURIs: http://c.test\nSuites: x\nComponents: main\nArchitectures: arm64\n\n\
            Types: deb\nURIs: http://d.test\nSuites: y\nComponents: main\nTrusted: yes\n\
            Signed-By:\n \
            -----BEGIN PGP PUBLIC KEY BLOCK-----\n .\n AAAA\n -----END PGP PUBLIC KEY BLOCK-----\n";
        let sources = parse_deb822(text, "amd64").expect("good");
        assert_eq!(sources.len(), 5);
        assert_eq!(show(&sources)[1], "http://a.test/debian trixie-updates main");
        assert_eq!(sources[0].signed_by.fingerprints, ["ABCDEF0123"]);
        let key = sources[4].signed_by.embedded.as_deref().expect("a key");
        assert!(key.contains("BLOCK-----\n\nAAAA"), "{key}");
        assert!(parse_deb822("Types: deb\nURIs: http://x\n", "amd64").is_err());
    }
}
