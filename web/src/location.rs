//! Where a request points: a path of any bytes, and possibly a version of it.

use std::fmt::Write as _;

use keg::{
    Kid,
    kid::KidPrefix,
    object::EntryName,
    path::{MAX_PATH, NamePath},
};

/// Most components of a path; no sane tree is deeper.
const MAX_DEPTH: usize = 256;

/// A place in the namespace as a URL names it: `/source/blog/app.py@K-0123abcd`.
///
/// Names are bytes: what is not UTF-8 is percent-encoded. `@K-…` counts only when the `@` is
/// written plainly, so that a name may hold it as `%40`.
#[derive(Clone, Debug, PartialEq, Eq, Default)]
pub struct Location {
    names: Vec<EntryName>,
    at: Option<KidPrefix>,
}

/// Why a URL's path names no place.
#[derive(Debug, thiserror::Error, PartialEq, Eq)]
pub enum LocationError {
    /// A `%` without two hex digits.
    #[error("the address has a % that is not followed by two hex digits")]
    Percent,
    /// A component that cannot be a name.
    #[error("the address has a component that cannot be a name: {0}")]
    Name(String),
    /// Too long or too deep.
    #[error("the address is too long: at most {MAX_PATH} bytes and {MAX_DEPTH} components")]
    TooLong,
}

impl Location {
    /// Reads the path of a URL.
    ///
    /// # Errors
    /// It holds something that cannot be a name, or is too long.
    pub fn parse(url_path: &str) -> Result<Self, LocationError> {
        let trimmed = url_path.trim_matches('/');
        let (trimmed, at) = split_version(trimmed);
        let mut location = Self { names: Vec::new(), at };
        let mut bytes = 0;
        for part in trimmed.split('/').filter(|part| !part.is_empty()) {
            let name = EntryName::new(decode(part)?)
                .map_err(|error| LocationError::Name(error.to_string()))?;
            bytes += name.as_bytes().len() + 1;
            location.names.push(name);
        }
        if bytes > MAX_PATH || location.names.len() > MAX_DEPTH {
            return Err(LocationError::TooLong);
        }
        Ok(location)
    }

    /// The names from the root down.
    pub fn names(&self) -> &[EntryName] {
        &self.names
    }

    /// The version asked for.
    pub fn at(&self) -> Option<&KidPrefix> {
        self.at.as_ref()
    }

    /// The same place in the current version.
    pub fn current(&self) -> Self {
        Self { names: self.names.clone(), at: None }
    }

    /// The same place in another version.
    pub fn at_kid(&self, kid: &Kid) -> Self {
        let at = kid.to_string().parse().expect("because a KID is the longest prefix of itself");
        Self { names: self.names.clone(), at: Some(at) }
    }

    /// The names as text, for matching; `None` where one is not UTF-8.
    pub fn texts(&self) -> Option<Vec<&str>> {
        self.names.iter().map(|name| std::str::from_utf8(name.as_bytes()).ok()).collect()
    }

    /// The path for the names API; `None` where it is not UTF-8.
    pub fn name_path(&self) -> Option<NamePath> {
        format!("/{}", self.texts()?.join("/")).parse().ok()
    }

    /// One more name.
    pub fn join(&self, name: &EntryName) -> Self {
        let mut joined = self.clone();
        joined.names.push(name.clone());
        joined
    }

    /// The first `depth` names, in the same version.
    pub fn ancestor(&self, depth: usize) -> Self {
        Self { names: self.names[..depth.min(self.names.len())].to_vec(), at: self.at.clone() }
    }

    /// The last name for people; `/` for the root.
    pub fn title(&self) -> String {
        self.names.last().map_or_else(|| "/".to_owned(), EntryName::to_string_lossy)
    }

    /// The path for people, without a version.
    pub fn display(&self) -> String {
        let names: Vec<String> = self.names.iter().map(EntryName::to_string_lossy).collect();
        format!("/{}", names.join("/"))
    }

    /// The URL, relative to this server.
    pub fn url(&self) -> String {
        let mut url = String::new();
        for name in &self.names {
            url.push('/');
            encode(name.as_bytes(), &mut url);
        }
        if self.names.is_empty() {
            url.push('/');
        }
        if let Some(at) = &self.at {
            // Infallible: writing to a String.
            let _ = write!(url, "@K-{}", at.digits());
        }
        url
    }
}

/// The URL of a path of the namespace that is known to be valid.
pub fn url_of(path: &str) -> String {
    let mut url = String::new();
    for part in path.split('/').filter(|part| !part.is_empty()) {
        url.push('/');
        encode(part.as_bytes(), &mut url);
    }
    url
}

fn split_version(path: &str) -> (&str, Option<KidPrefix>) {
    let Some((head, digits)) = path.rsplit_once("@K-") else { return (path, None) };
    match format!("K-{digits}").parse() {
        Ok(prefix) => (head, Some(prefix)),
        Err(_) => (path, None),
    }
}

fn decode(text: &str) -> Result<Vec<u8>, LocationError> {
    let mut out = Vec::with_capacity(text.len());
    let mut rest = text.as_bytes();
    while let Some((&byte, tail)) = rest.split_first() {
        rest = tail;
        if byte != b'%' {
            out.push(byte);
            continue;
        }
        let digit = |at: usize| rest.get(at).and_then(|d| char::from(*d).to_digit(16));
        let (Some(high), Some(low)) = (digit(0), digit(1)) else {
            return Err(LocationError::Percent);
        };
        // Two hex digits fit a byte.
        out.push((high * 16 + low) as u8);
        rest = &rest[2..];
    }
    Ok(out)
}

/// Appends bytes as one component of a URL's path.
pub fn encode(bytes: &[u8], url: &mut String) {
    for byte in bytes {
        match byte {
            b'a'..=b'z' | b'A'..=b'Z' | b'0'..=b'9' | b'-' | b'.' | b'_' | b'~' | b'+' | b':' => {
                url.push(char::from(*byte));
            }
            other => {
                let _ = write!(url, "%{other:02X}");
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses_round_trip() {
        for (url, display, at) in [
            ("/", "/", None),
            ("/apps/blog", "/apps/blog", None),
            ("/apps/blog@K-0123abcd", "/apps/blog", Some("0123abcd")),
            ("/@K-0123abcd", "/", Some("0123abcd")),
            ("/a%40K-0123abcd", "/a@K-0123abcd", None),
            ("/source/x/a%20b%23%3F.py", "/source/x/a b#?.py", None),
            ("/source/x/%FF%FE", "/source/x/\u{fffd}\u{fffd}", None),
            ("/source/x/%C3%A9", "/source/x/é", None),
        ] {
            let location = Location::parse(url).expect(url);
            assert_eq!(location.display(), display);
            assert_eq!(location.at().map(KidPrefix::digits), at, "{url}");
            assert_eq!(location.url(), url);
        }
        let pool = Location::parse("/a//b/").expect("empty components are ignored");
        assert_eq!(pool.url(), "/a/b");
        assert_eq!(
            Location::parse("/x@K-12").expect("too short to be a version").url(),
            "/x%40K-12"
        );
    }

    #[test]
    fn hostile_addresses_are_refused() {
        let deep = "/a".repeat(MAX_DEPTH + 1);
        let long = format!("/{}", "a".repeat(256));
        for bad in ["/%", "/%4", "/%zz", "/..", "/a/%2e%2e/b", "/a%2Fb", "/a%00", &deep, &long] {
            assert!(Location::parse(bad).is_err(), "{bad}");
        }
    }
}
