//! `.gitmodules`: names and addresses that have made git clients run commands.

use std::collections::HashMap;

use super::Fault;

/// Checks a `.gitmodules` file. Git lets a file through that it cannot parse, after checking what
/// comes before the fault; so does this.
///
/// # Errors
/// A name, address, path or update command that attacks those who fetch submodules.
pub(crate) fn gitmodules(bytes: &[u8]) -> Result<(), Fault> {
    let mut fault = Ok(());
    parse(bytes, &mut |name, key, value| {
        if fault.is_ok() {
            fault = setting(name, key, value);
        }
    });
    fault
}

/// The address of each submodule, by path, as far as the file can be parsed.
pub(crate) fn submodule_urls(bytes: &[u8]) -> HashMap<Vec<u8>, String> {
    let (mut paths, mut urls) = (HashMap::new(), HashMap::new());
    parse(bytes, &mut |name, key, value| {
        match (key, value) {
            ("path", Some(path)) => paths.insert(name.to_vec(), path.to_vec()),
            ("url", Some(url)) => urls.insert(name.to_vec(), url.to_vec()),
            _ => None,
        };
    });
    let with_url = paths.into_iter().filter_map(|(name, path)| {
        Some((path, String::from_utf8_lossy(urls.get(&name)?).into_owned()))
    });
    with_url.collect()
}

/// Checks one setting of a submodule.
fn setting(name: &[u8], key: &str, value: Option<&[u8]>) -> Result<(), Fault> {
    if name.is_empty() || name.split(|b| matches!(b, b'/' | b'\\')).any(|part| part == b"..") {
        return Err(Fault::new("gitmodulesName", "a submodule's name is empty or has a .. in it"));
    }
    let Some(value) = value else { return Ok(()) };
    match key {
        "url" if !good_url(value) => {
            Err(Fault::new("gitmodulesUrl", "a submodule's address is not one git may use"))
        }
        "path" if value.starts_with(b"-") => {
            Err(Fault::new("gitmodulesPath", "a submodule's path starts with -"))
        }
        "update" if value.starts_with(b"!") => {
            Err(Fault::new("gitmodulesUpdate", "a submodule's update is a command"))
        }
        _ => Ok(()),
    }
}

/// Whether an address is no option, holds no line break, and does not climb into the host part.
fn good_url(url: &[u8]) -> bool {
    if url.starts_with(b"-") {
        return false;
    }
    let relative = url.starts_with(b"./") || url.starts_with(b"../");
    if relative || url.starts_with(b"git://") {
        let climbed = strip_dots(url);
        let climbs = climbed.len() < url.len() && matches!(climbed.first(), Some(b':' | b'/'));
        let leaves = url.starts_with(b"../") && climbs;
        return !leaves && !percent_decoded(url).contains(&b'\n');
    }
    match curl_url(url) {
        Some(url) => super::url::is_normal(url) && !percent_decoded(url).contains(&b'\n'),
        None => true,
    }
}

/// What follows leading `./` and `../`.
fn strip_dots(url: &[u8]) -> &[u8] {
    let mut rest = url;
    while let Some(after) = rest.strip_prefix(b"../").or_else(|| rest.strip_prefix(b"./")) {
        rest = after;
    }
    rest
}

/// The address that git gives to curl, if it does: `http://…`, or what follows `http::`.
fn curl_url(url: &[u8]) -> Option<&[u8]> {
    let schemes: [&[u8]; 4] = [b"http", b"https", b"ftp", b"ftps"];
    schemes.iter().find_map(|scheme| {
        let rest = url.strip_prefix(*scheme)?;
        rest.strip_prefix(b"::").or_else(|| rest.starts_with(b"://").then_some(url))
    })
}

/// `%0a` and the like, decoded; other bytes as they are.
fn percent_decoded(url: &[u8]) -> Vec<u8> {
    let mut out = Vec::with_capacity(url.len());
    let mut at = 0;
    while at < url.len() {
        let hex = url.get(at + 1..at + 3).and_then(|hex| std::str::from_utf8(hex).ok());
        match hex.and_then(|hex| u8::from_str_radix(hex, 16).ok()) {
            Some(byte) if url[at] == b'%' && byte != 0 => {
                out.push(byte);
                at += 3;
            }
            _ => {
                out.push(url[at]);
                at += 1;
            }
        }
    }
    out
}

/// Takes a setting: the submodule's name, the key, the value.
type Found<'a> = &'a mut dyn FnMut(&[u8], &str, Option<&[u8]>);

/// Reads git's configuration syntax and reports `submodule.<name>.<key>`; stops at a fault.
///
/// Syntax: <https://git-scm.com/docs/git-config#_syntax>.
fn parse(bytes: &[u8], found: Found<'_>) {
    let bytes = bytes.strip_prefix(b"\xef\xbb\xbf").unwrap_or(bytes);
    let mut rest = Cursor { bytes, at: 0 };
    let mut section: Option<Vec<u8>> = None;
    loop {
        match rest.next() {
            None => return,
            Some(b' ' | b'\t' | b'\n' | b'\r') => {}
            Some(b'#' | b';') => rest.skip_line(),
            Some(b'[') => match rest.section() {
                Some(name) => section = name,
                None => return,
            },
            Some(first) if first.is_ascii_alphabetic() => {
                let Some((key, value)) = rest.setting(first) else { return };
                if let Some(name) = &section {
                    found(name, &key, value.as_deref());
                }
            }
            Some(_) => return,
        }
    }
}

/// A place in the file.
struct Cursor<'a> {
    bytes: &'a [u8],
    at: usize,
}

impl Cursor<'_> {
    fn peek(&self) -> Option<u8> {
        self.bytes.get(self.at).copied()
    }

    fn next(&mut self) -> Option<u8> {
        let byte = self.peek()?;
        self.at += 1;
        Some(byte)
    }

    fn skip_line(&mut self) {
        while self.next().is_some_and(|byte| byte != b'\n') {}
    }

    /// After `[`: the name of the submodule, or that the section is another; `None`: a fault.
    fn section(&mut self) -> Option<Option<Vec<u8>>> {
        let mut section = Vec::new();
        loop {
            match self.next()? {
                b']' => {
                    // The old style, [submodule.name], in any case.
                    let name = section.strip_prefix(b"submodule.".as_slice());
                    return Some(name.map(<[u8]>::to_vec));
                }
                b' ' | b'\t' => break,
                byte if byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'.') => {
                    section.push(byte.to_ascii_lowercase());
                }
                _ => return None,
            }
        }
        while matches!(self.peek(), Some(b' ' | b'\t')) {
            self.at += 1;
        }
        if self.next()? != b'"' {
            return None;
        }
        let mut name = Vec::new();
        loop {
            match self.next()? {
                b'\n' => return None,
                b'"' => break,
                b'\\' => match self.next()? {
                    b'\n' => return None,
                    byte => name.push(byte),
                },
                byte => name.push(byte),
            }
        }
        if self.next()? != b']' {
            return None;
        }
        Some((section == b"submodule").then_some(name))
    }

    /// A key, lower case, and its value if it has one; `None`: a fault.
    fn setting(&mut self, first: u8) -> Option<(String, Option<Vec<u8>>)> {
        let mut key = String::from(char::from(first.to_ascii_lowercase()));
        while let Some(byte) = self.peek().filter(|b| b.is_ascii_alphanumeric() || *b == b'-') {
            key.push(char::from(byte.to_ascii_lowercase()));
            self.at += 1;
        }
        while matches!(self.peek(), Some(b' ' | b'\t')) {
            self.at += 1;
        }
        match self.next() {
            None | Some(b'\n') => Some((key, None)),
            Some(b'\r') if self.next() == Some(b'\n') => Some((key, None)),
            Some(b'=') => Some((key, Some(self.value()?))),
            Some(_) => None,
        }
    }

    /// A value: quotes, escapes, comments and continued lines as git reads them.
    fn value(&mut self) -> Option<Vec<u8>> {
        let mut value = Vec::new();
        let (mut quoted, mut kept) = (false, 0);
        loop {
            let byte = match self.next() {
                Some(b'\r') if self.peek() == Some(b'\n') => continue,
                None | Some(b'\n') if quoted => return None,
                None | Some(b'\n') => break,
                Some(byte) => byte,
            };
            match byte {
                b' ' | b'\t' if !quoted => {
                    if !value.is_empty() {
                        value.push(byte);
                    }
                    continue;
                }
                b'#' | b';' if !quoted => {
                    self.skip_line();
                    break;
                }
                b'"' => {
                    quoted = !quoted;
                    kept = kept.max(value.len());
                    continue;
                }
                b'\\' => match self.next()? {
                    b'\n' => continue,
                    b't' => value.push(b'\t'),
                    b'b' => value.push(8),
                    b'n' => value.push(b'\n'),
                    escaped @ (b'\\' | b'"') => value.push(escaped),
                    _ => return None,
                },
                byte => value.push(byte),
            }
            kept = value.len();
        }
        value.truncate(kept);
        Some(value)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(text: &str, want: Option<&str>) {
        assert_eq!(gitmodules(text.as_bytes()).err().map(|fault| fault.name), want, "{text}");
    }

    #[test]
    fn attacks_are_refused() {
        let module = |name: &str, line: &str| format!("[submodule \"{name}\"]\n\t{line}\n");
        check(&module("a", "path = a\n\turl = https://example.com/a.git"), None);
        check(&module("../a", "path = a"), Some("gitmodulesName"));
        check(&module("a/..", "path = a"), Some("gitmodulesName"));
        check(&module("a..b", "path = a"), None);
        check(&module("a", "url = -u./payload"), Some("gitmodulesUrl"));
        check(&module("a", "url = \"-u./payload\""), Some("gitmodulesUrl"));
        check(&module("a", "url = https://example.com/%0ahost=evil"), Some("gitmodulesUrl"));
        check(&module("a", "url = https:///evil"), Some("gitmodulesUrl"));
        check(&module("a", "url = ../../../:evil"), Some("gitmodulesUrl"));
        check(&module("a", "url = ../a.git"), None);
        check(&module("a", "url = git@example.com:a.git"), None);
        check(&module("a", "path = -x"), Some("gitmodulesPath"));
        check(&module("a", "update = !rm"), Some("gitmodulesUpdate"));
        check(&module("a", "update = rebase"), None);
        check("[submodule.\"x", None);
        check("[core]\n\turl = -x\n", None);
    }

    #[test]
    fn addresses_by_path() {
        let text =
            "[submodule \"a\"] # x\n path = lib/a ; y\n url = \"https://h/\\\"a\" \n[x]\ny=z\n";
        let want = HashMap::from([(b"lib/a".to_vec(), "https://h/\"a".to_owned())]);
        assert_eq!(submodule_urls(text.as_bytes()), want);
    }
}
