//! Addresses that git can normalise, which it demands of those it fetches with curl.
//!
//! The rules are those of RFC 3986 as git reads them: a scheme, `://`, a host (but for `file:`), a
//! port from 1 to 65535, escapes of two hex digits, and no `..` that leaves the root.

/// Whether the address can be normalised.
pub(super) fn is_normal(url: &[u8]) -> bool {
    let scheme = url.iter().take_while(|b| b.is_ascii_alphanumeric() || b"+.-".contains(b)).count();
    if !url.first().is_some_and(u8::is_ascii_alphabetic) {
        return false;
    }
    let Some(rest) = url[scheme..].strip_prefix(b"://") else { return false };
    let end = rest.iter().position(|b| b"/?#".contains(b)).unwrap_or(rest.len());
    let (authority, path) = rest.split_at(end);
    let is_file = url[..scheme].eq_ignore_ascii_case(b"file");
    let user_end = authority.iter().position(|&b| b == b'@').map_or(0, |at| at + 1);
    let (user, host) = authority.split_at(user_end);
    good_escapes(user) && good_host(host, is_file) && good_path(path)
}

/// Whether a host and port are there and well formed.
fn good_host(authority: &[u8], is_file: bool) -> bool {
    let no_host = matches!(authority.first(), None | Some(b':'));
    if no_host && !is_file {
        return false;
    }
    // The port follows the last colon that is not inside [ ].
    let colon = authority.iter().rposition(|b| b":]".contains(b));
    let colon = colon.filter(|&at| authority[at] == b':');
    let (host, port) = authority.split_at(colon.unwrap_or(authority.len()));
    let port = port.strip_prefix(b":").unwrap_or_default();
    let good = |b: &u8| b.is_ascii_alphanumeric() || b".-_[:]".contains(b);
    if !host.iter().all(good) || (is_file && no_host && !port.is_empty()) {
        return false;
    }
    let number = std::str::from_utf8(port).ok().map(|text| text.trim_start_matches('0'));
    let digits = port.iter().all(u8::is_ascii_digit);
    let in_range = number.and_then(|text| text.parse::<u16>().ok()).is_some_and(|port| port > 0);
    port.is_empty() || (digits && in_range)
}

/// Whether a path, with query and fragment, has good escapes and stays below its root.
fn good_path(path: &[u8]) -> bool {
    let end = path.iter().position(|b| b"?#".contains(b)).unwrap_or(path.len());
    let mut depth = 0usize;
    let segments = path[..end].strip_prefix(b"/").unwrap_or(&path[..end]);
    for segment in segments.split(|&b| b == b'/') {
        match segment {
            b"." => {}
            b".." if depth == 0 => return false,
            b".." => depth -= 1,
            _ => depth += 1,
        }
    }
    good_escapes(path)
}

/// Whether every `%` is followed by two hex digits.
fn good_escapes(bytes: &[u8]) -> bool {
    bytes.iter().enumerate().filter(|&(_, &b)| b == b'%').all(|(at, _)| {
        bytes.get(at + 1..at + 3).is_some_and(|hex| hex.iter().all(u8::is_ascii_hexdigit))
    })
}

#[cfg(test)]
mod tests {
    use super::is_normal;

    #[test]
    fn addresses() {
        for good in [
            "https://example.com/a.git",
            "https://example.com",
            "http://u:p@h:80/a/../b?x#y",
            "http://[::1]:8080/",
            "http://h:/",
            "file:///x",
            "https://h/%0a",
        ] {
            assert!(is_normal(good.as_bytes()), "{good}");
        }
        for bad in [
            "example.com/a",
            "https:///a",
            "https://:80/",
            "http://h:0/",
            "http://h:65536/",
            "http://h:8x/",
            "http://h/../a",
            "http://h/%0",
            "http://h st/",
            "1http://h/",
            "://h",
            "http://",
            "http:/h",
        ] {
            assert!(!is_normal(bad.as_bytes()), "{bad}");
        }
    }
}
