//! Names that a file system takes for `.git` or one of its relatives.
//!
//! HFS+ ignores case and some invisible characters; NTFS ignores case, dots and spaces at the end,
//! has alternate streams after `:`, and short names such as `GIT~1`.

/// A name that git gives a meaning.
pub(super) struct Special {
    /// The name after the dot, lower case.
    name: &'static [u8],
    /// The first six letters of the short name that NTFS makes of a hash, when the plain ones
    /// (`gitmod~1` to `~4`) are taken.
    hashed: &'static [u8],
}

/// `.gitmodules`.
pub(super) const MODULES: Special = Special { name: b"gitmodules", hashed: b"gi7eba" };
/// `.gitattributes`.
pub(super) const ATTRIBUTES: Special = Special { name: b"gitattributes", hashed: b"gi7d29" };

/// Whether some file system takes `name` for `.git`.
pub(super) fn is_dot_git(name: &[u8]) -> bool {
    is_hfs(name, b"git") || parts_of_ntfs(name).any(is_ntfs_dot_git)
}

/// Whether some file system takes `name` for this special file.
pub(super) fn is_special(name: &[u8], special: &Special) -> bool {
    is_hfs(name, special.name) || parts_of_ntfs(name).any(|part| is_ntfs(part, special))
}

/// The name, and what follows each `\` in it: a separator on Windows.
fn parts_of_ntfs(name: &[u8]) -> impl Iterator<Item = &[u8]> {
    let starts = name.iter().enumerate().filter(|&(_, &b)| b == b'\\').map(|(at, _)| at + 1);
    std::iter::once(0).chain(starts).map(|start| &name[start..])
}

/// `.git` or `git~1`, then spaces and dots, then the end, a stream or a separator.
fn is_ntfs_dot_git(name: &[u8]) -> bool {
    let rest = strip(name, b".git").or_else(|| strip(name, b"git~1"));
    rest.is_some_and(|rest| {
        let end = rest.iter().find(|byte| !matches!(byte, b'.' | b' '));
        matches!(end, None | Some(b'\\' | b'/' | b':'))
    })
}

/// The long name or one of the short ones, then spaces and dots, then the end or a stream.
fn is_ntfs(name: &[u8], special: &Special) -> bool {
    let long = name.strip_prefix(b".").and_then(|rest| strip(rest, special.name));
    let plain = strip(name, &special.name[..6])
        .and_then(|rest| rest.strip_prefix(b"~"))
        .and_then(|rest| rest.split_first())
        .and_then(|(digit, rest)| matches!(digit, b'1'..=b'4').then_some(rest));
    let ends = |rest: &[u8]| {
        let end = rest.iter().find(|byte| !matches!(byte, b'.' | b' '));
        matches!(end, None | Some(b':'))
    };
    long.into_iter().chain(plain).chain(hashed(name, special.hashed)).any(ends)
}

/// What follows a hashed short name: up to six of its letters, `~`, and digits, eight bytes in all.
fn hashed<'a>(name: &'a [u8], letters: &[u8]) -> Option<&'a [u8]> {
    let (short, rest) = name.split_at_checked(8)?;
    let tilde = short.iter().position(|&byte| byte == b'~')?;
    let (head, tail) = (short.get(..tilde)?, short.get(tilde + 1..)?);
    let digits = tail.split_first().is_some_and(|(first, others)| {
        matches!(first, b'1'..=b'9') && others.iter().all(u8::is_ascii_digit)
    });
    (digits && head.len() <= 6 && head.eq_ignore_ascii_case(&letters[..head.len()])).then_some(rest)
}

/// What follows `prefix`, in any case.
fn strip<'a>(name: &'a [u8], prefix: &[u8]) -> Option<&'a [u8]> {
    let (head, rest) = name.split_at_checked(prefix.len())?;
    head.eq_ignore_ascii_case(prefix).then_some(rest)
}

/// Whether HFS+ takes `name` for `.` and `after_dot`.
fn is_hfs(name: &[u8], after_dot: &[u8]) -> bool {
    // Bytes that are not UTF-8 end the name, as in git.
    let valid = name.utf8_chunks().next().map_or("", |chunk| chunk.valid());
    let mut seen = valid.chars().filter(|&c| !ignored_by_hfs(c));
    let mut wanted = std::iter::once(b'.').chain(after_dot.iter().copied());
    wanted.all(|want| seen.next().is_some_and(|c| c.to_ascii_lowercase() == char::from(want)))
        && seen.next().is_none()
}

/// Characters that HFS+ does not see when it compares names.
fn ignored_by_hfs(c: char) -> bool {
    let marks = '\u{200c}'..='\u{200f}';
    let directions = '\u{202a}'..='\u{202e}';
    let shapes = '\u{206a}'..='\u{206f}';
    marks.contains(&c) || directions.contains(&c) || shapes.contains(&c) || c == '\u{feff}'
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn dot_git_in_all_its_disguises() {
        for name in [
            ".git",
            ".GIT",
            ".Git ",
            ".git...",
            "git~1",
            "GIT~1 .",
            ".git::$INDEX_ALLOCATION",
            ".git\\x",
            "a\\.git",
            "a\\git~1",
            ".g\u{200c}it",
            "\u{feff}.git",
            ".gi\u{206f}T",
        ] {
            assert!(is_dot_git(name.as_bytes()), "{name:?}");
        }
        for name in
            [".gitx", "git", ".gi", "git~2", ".git-", "x.git", ".g\u{200b}it", ".git\u{301}"]
        {
            assert!(!is_dot_git(name.as_bytes()), "{name:?}");
        }
        assert!(is_dot_git(b".git\xff"));
        assert!(!is_dot_git(b".gi\xff"));
    }

    #[test]
    fn special_files_in_all_their_disguises() {
        for name in [
            ".gitmodules",
            ".GITMODULES",
            ".gitmodules .",
            ".gitmodules:$DATA",
            "gitmod~1",
            "GITMOD~4",
            "gi7eba~1",
            "GI7EB~10",
            "gi7~1234",
            "~1234567",
            "a\\.gitmodules",
            ".git\u{200d}modules",
        ] {
            assert!(is_special(name.as_bytes(), &MODULES), "{name:?}");
        }
        for name in [".gitmodule", "gitmod~5", "gi7ebb~1", "gi7eba~0", "gi7d29~1", "gi7eba~", "x"] {
            assert!(!is_special(name.as_bytes(), &MODULES), "{name:?}");
        }
        assert!(is_special(b"gi7d29~1", &ATTRIBUTES));
    }
}
