//! Where a pointer leads: what people write, and what is kept of it in a tree.
//!
//! | written | kept as source | kept as reference |
//! |---|---|---|
//! | `git+https://h/r.git#main:docs` | `git+https://h/r.git` | `<commit> main:docs` |
//! | `git+https://h/r.git` | `git+https://h/r.git` | `<commit> HEAD` |
//! | `git+https://h/r.git#<commit>` | `git+https://h/r.git` | `<commit>` (a pin) |
//! | `keg+http://h:7070/oci-images/blog` | `keg+http://h:7070` | `/oci-images/blog` |
//! | `keg+http://h:7070/a@K-12ab34cd` | `keg+http://h:7070` | `/a@K-12ab34cd` (a pin) |

#[cfg(test)]
mod tests;

use std::fmt;

use keg::{NamePath, kid::KidPrefix};
use url::Url;

/// Longest source that is read, in bytes.
const MAX_SOURCE: usize = 2048;
/// Longest name of a ref.
const MAX_REF: usize = 255;
/// Longest path in a repository.
const MAX_PATH: usize = 4000;

/// Why a text is no source. The hint says what to write instead.
#[derive(Debug, thiserror::Error, PartialEq, Eq)]
#[error("{shown:?} cannot be pointed at: {reason}")]
pub struct SourceError {
    shown: String,
    reason: &'static str,
    hint: &'static str,
}

impl SourceError {
    /// What to do instead.
    pub fn hint(&self) -> &'static str {
        self.hint
    }
}

/// What is followed in a git repository.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Follow {
    /// A branch, a tag, a full name (`refs/…`), or `HEAD`.
    Ref(String),
    /// This commit: 40 hexadecimal digits.
    Commit(String),
}

/// Where a pointer leads.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Source {
    /// Into a git repository.
    Git {
        /// Its address, as git takes it.
        url: String,
        /// What is followed there.
        follow: Follow,
        /// Below its top directory; empty: all of it.
        path: String,
    },
    /// Into another Keg.
    Keg {
        /// Its address.
        url: String,
        /// What is followed there.
        path: NamePath,
        /// A version or value: `K-…`.
        pin: Option<KidPrefix>,
    },
}

const WRITE: &str = "write git+https://HOST/REPO#REF:PATH or keg+http://HOST:7070/PATH";
const SECRETS: &str = "leave the name and password out: what is in the namespace is for all to \
                       read; for ssh the name alone will do";

impl Source {
    /// Reads what a person wrote.
    ///
    /// # Errors
    /// [`SourceError`]: another scheme, secrets in the address, or no ref or path.
    pub fn parse(text: &str) -> Result<Self, SourceError> {
        let fail = |reason, hint| Err(error(text, reason, hint));
        if text.len() > MAX_SOURCE {
            return fail("it is longer than 2048 bytes", WRITE);
        }
        if text.chars().any(|c| c.is_control() || c.is_whitespace() || c == '\\') {
            return fail("it has spaces, backslashes or control characters in it", WRITE);
        }
        if let Some(rest) = text.strip_prefix("git+") {
            return git(text, rest);
        }
        if let Some(rest) = text.strip_prefix("keg+") {
            return other_keg(text, rest);
        }
        if text.starts_with("https://") || text.starts_with("http://") {
            return fail("is it a git repository or a Keg?", "put git+ or keg+ before it");
        }
        fail("it starts with neither git+ nor keg+", WRITE)
    }

    /// Reads what is kept in a tree, and the commit of git that was resolved, if there is one.
    ///
    /// # Errors
    /// [`SourceError`]: it was written by something else, such as a submodule of git.
    pub fn of_entry(source: &str, reference: &str) -> Result<(Self, Option<String>), SourceError> {
        if let Some(address) = source.strip_prefix("keg+") {
            let url = address_of(source, address, &["http", "https"])?;
            let (path, pin) = path_in_keg(source, reference)?;
            let url = url.as_str().trim_end_matches('/').to_owned();
            return Ok((Self::Keg { url, path, pin }, None));
        }
        if !source.starts_with("git+") {
            let reason = "it is a submodule of git, of which only the name is known";
            return Err(error(source, reason, "point at that repository: keg point PATH git+URL"));
        }
        let (commit, reference) = match reference.split_once(' ') {
            Some((commit, rest)) if is_commit(commit) => (Some(commit.to_owned()), rest),
            _ => (None, reference),
        };
        let (follow, path) = reference_of(source, reference)?;
        match Self::parse(source)? {
            Self::Git { url, .. } => {
                let commit = match &follow {
                    Follow::Commit(commit) => Some(commit.clone()),
                    Follow::Ref(_) => commit,
                };
                Ok((Self::Git { url, follow, path }, commit))
            }
            Self::Keg { .. } => Err(error(source, "it is no git repository", WRITE)),
        }
    }

    /// The source that is kept in a tree.
    pub fn source(&self) -> String {
        match self {
            Self::Git { url, .. } => format!("git+{url}"),
            Self::Keg { url, .. } => format!("keg+{url}"),
        }
    }

    /// The reference that is kept in a tree; `commit`: what a ref of git resolved to.
    pub fn reference(&self, commit: Option<&str>) -> String {
        match (self, commit) {
            (Self::Git { follow: Follow::Ref(_), .. }, Some(commit)) => {
                format!("{commit} {}", self.followed())
            }
            _ => self.followed(),
        }
    }

    /// What is followed: `main:docs`, `/oci-images/blog`.
    pub fn followed(&self) -> String {
        match self {
            Self::Git { follow: Follow::Ref(name) | Follow::Commit(name), path, .. } => {
                if path.is_empty() { name.clone() } else { format!("{name}:{path}") }
            }
            Self::Keg { path, pin: None, .. } => path.to_string(),
            Self::Keg { path, pin: Some(pin), .. } => format!("{path}@K-{}", pin.digits()),
        }
    }

    /// Whether it always leads to the same.
    pub fn is_pinned(&self) -> bool {
        matches!(self, Self::Git { follow: Follow::Commit(_), .. } | Self::Keg { pin: Some(_), .. })
    }

    /// The scheme of its address: `https`, `http`, `ssh`, `file`.
    pub fn scheme(&self) -> &str {
        let (Self::Git { url, .. } | Self::Keg { url, .. }) = self;
        url.split_once("://").map_or("", |(scheme, _)| scheme)
    }
}

impl fmt::Display for Source {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Git { .. } => write!(f, "{}#{}", self.source(), self.followed()),
            Self::Keg { .. } => write!(f, "{}{}", self.source(), encoded(&self.followed())),
        }
    }
}

fn error(text: &str, reason: &'static str, hint: &'static str) -> SourceError {
    // An address with a password is not repeated.
    let shown = match (text.find("://"), text.find('@')) {
        (Some(scheme), Some(at)) if at > scheme && hint == SECRETS => {
            format!("{}…{}", &text[..scheme + 3], &text[at..])
        }
        _ => text.to_owned(),
    };
    SourceError { shown: shown.chars().take(200).collect(), reason, hint }
}

fn git(text: &str, rest: &str) -> Result<Source, SourceError> {
    let fail = |reason, hint| Err(error(text, reason, hint));
    let (address, reference) = rest.split_once('#').unwrap_or((rest, ""));
    let url = address_of(text, address, &["https", "http", "ssh", "file"])?;
    let has_host = url.host_str().is_some_and(|host| !host.is_empty());
    if url.scheme() == "file" && has_host {
        return fail("a file has no host", "write three slashes: git+file:///srv/repo.git");
    }
    if url.host_str().is_some_and(|host| host.starts_with('-')) {
        return fail("its host starts with -", WRITE);
    }
    if url.path().trim_matches('/').is_empty() {
        return fail("it names no repository", WRITE);
    }
    let (follow, path) = reference_of(text, reference)?;
    Ok(Source::Git { url: url.to_string(), follow, path })
}

fn other_keg(text: &str, rest: &str) -> Result<Source, SourceError> {
    let fail = |reason, hint| Err(error(text, reason, hint));
    let mut url = address_of(text, rest, &["http", "https"])?;
    if url.fragment().is_some() {
        return fail("a Keg has paths and versions, no #refs", "write keg+http://HOST/PATH@K-…");
    }
    let decoded = percent_decoded(url.path());
    let Some(path) = decoded else { return fail("its path is not UTF-8", WRITE) };
    let (path, pin) = path_in_keg(text, &path)?;
    url.set_path("");
    Ok(Source::Keg { url: url.as_str().trim_end_matches('/').to_owned(), path, pin })
}

/// `/PATH` or `/PATH@K-…`.
fn path_in_keg(text: &str, path: &str) -> Result<(NamePath, Option<KidPrefix>), SourceError> {
    let fail = |reason, hint| Err(error(text, reason, hint));
    let (path, pin) = match path.rsplit_once("@K-") {
        Some((before, _)) => {
            let Ok(pin) = path[before.len() + 1..].parse::<KidPrefix>() else {
                return fail("what follows @ is no version", "versions look like @K-12ab34cd");
            };
            (before.to_owned(), Some(pin))
        }
        None => (path.to_owned(), None),
    };
    let Ok(path) = path.parse::<NamePath>() else {
        return fail("its path is none of a Keg", "paths look like /oci-images/blog");
    };
    if path == NamePath::root() {
        let hint = "name a path in it, such as /oci-images/blog; `keg clone` copies all of a Keg";
        return fail("it names a whole Keg", hint);
    }
    Ok((path, pin))
}

/// An address with one of these schemes and nothing secret.
fn address_of(text: &str, address: &str, schemes: &[&str]) -> Result<Url, SourceError> {
    let fail = |reason, hint| Err(error(text, reason, hint));
    let Ok(url) = Url::parse(address) else { return fail("it is no address", WRITE) };
    if !schemes.contains(&url.scheme()) {
        return fail("Keg does not use addresses of this scheme", WRITE);
    }
    let named = !url.username().is_empty() && url.scheme() != "ssh";
    if url.password().is_some() || named || url.query().is_some() {
        return fail("there are secrets in it", SECRETS);
    }
    if percent_decoded(url.username()).is_none_or(|name| name.starts_with('-')) {
        return fail("the name before @ starts with -", WRITE);
    }
    Ok(url)
}

/// `REF`, `REF:PATH`, `:PATH` or nothing.
fn reference_of(text: &str, reference: &str) -> Result<(Follow, String), SourceError> {
    let fail = |reason, hint| Err(error(text, reason, hint));
    let (name, path) = reference.split_once(':').unwrap_or((reference, ""));
    let path = path.trim_matches('/');
    let odd = |part: &str| matches!(part, "" | "." | "..") || part.contains('\0');
    if path.len() > MAX_PATH || (!path.is_empty() && path.split('/').any(odd)) {
        return fail("the path after : is none", "write it as git ls-tree shows it: docs/guide");
    }
    let follow = match name {
        "" => Follow::Ref("HEAD".to_owned()),
        name if is_commit(name) => Follow::Commit(name.to_owned()),
        name if name.starts_with("K-") => {
            return fail(
                "a git repository knows no KIDs",
                "pin it to a commit: all 40 digits of `git rev-parse`",
            );
        }
        name if is_ref(name) => Follow::Ref(name.to_owned()),
        _ => return fail("what follows # is no ref", "name a branch, a tag or a commit"),
    };
    Ok((follow, path.to_owned()))
}

/// Whether these are the digits of a commit.
fn is_commit(text: &str) -> bool {
    text.len() == 40 && text.bytes().all(|b| matches!(b, b'0'..=b'9' | b'a'..=b'f'))
}

/// Whether git takes a name for that of a ref (`git help check-ref-format`), and no option.
fn is_ref(name: &str) -> bool {
    let odd = |c: char| c.is_control() || " ~^:?*[\\".contains(c);
    let part = |part: &str| part.is_empty() || part.starts_with('.') || part.ends_with(".lock");
    name.len() <= MAX_REF
        && !name.starts_with('-')
        && name != "@"
        && !name.contains(odd)
        && !name.contains("..")
        && !name.contains("@{")
        && !name.ends_with('.')
        && !name.split('/').any(part)
}

/// A path as part of an address.
fn encoded(path: &str) -> String {
    let mut out = String::with_capacity(path.len());
    for byte in path.bytes() {
        match byte {
            b'a'..=b'z' | b'A'..=b'Z' | b'0'..=b'9' => out.push(char::from(byte)),
            b'-' | b'.' | b'_' | b'~' | b'/' | b'@' | b'+' | b':' => out.push(char::from(byte)),
            byte => out.push_str(&format!("%{byte:02X}")),
        }
    }
    out
}

/// Text with `%41` as `A`; `None`: it is not UTF-8.
fn percent_decoded(text: &str) -> Option<String> {
    let bytes = text.as_bytes();
    let (mut out, mut at) = (Vec::with_capacity(bytes.len()), 0);
    while at < bytes.len() {
        let digits = bytes.get(at + 1..at + 3).and_then(|d| std::str::from_utf8(d).ok());
        let byte = digits.and_then(|digits| u8::from_str_radix(digits, 16).ok());
        match byte.filter(|_| bytes[at] == b'%') {
            Some(byte) => {
                out.push(byte);
                at += 3;
            }
            None => {
                out.push(bytes[at]);
                at += 1;
            }
        }
    }
    String::from_utf8(out).ok()
}
