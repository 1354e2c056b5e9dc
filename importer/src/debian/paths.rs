//! Paths inside packages: what is refused, and the merged `/usr`.

use keg::object::EntryName;

/// Longest path in a package, as on Linux.
const MAX_PATH: usize = 4096;
/// Most directories above an entry.
const MAX_DEPTH: usize = 64;
/// Directories of the root that are links into `/usr` on a merged system.
pub const MERGED: [&str; 6] = ["bin", "sbin", "lib", "lib32", "lib64", "libx32"];

/// A path inside a package: components from the root down; none for the root itself.
pub type Parts = Vec<EntryName>;

/// Why a path is refused.
#[derive(Debug, thiserror::Error, PartialEq, Eq)]
#[error("the path {path:?} is refused: {reason}")]
pub struct PathError {
    path: String,
    reason: &'static str,
}

fn error(path: &[u8], reason: &'static str) -> PathError {
    let path = String::from_utf8_lossy(&path[..path.len().min(300)]).into_owned();
    PathError { path, reason }
}

/// Checks a path from an archive: `./usr/bin/x`, `usr/bin/` and `./` are good.
///
/// # Errors
/// It is absolute, has a `..`, an empty or overlong component, NUL, or is not UTF-8.
pub fn parts(path: &[u8]) -> Result<Parts, PathError> {
    if path.len() > MAX_PATH {
        return Err(error(path, "it is longer than 4096 bytes"));
    }
    if path.starts_with(b"/") {
        return Err(error(path, "it is absolute"));
    }
    let text = std::str::from_utf8(path).map_err(|_| error(path, "it is not UTF-8"))?;
    // A line break would forge entries in dpkg's lists.
    if text.contains(char::is_control) {
        return Err(error(path, "it has control characters"));
    }
    let inner = path.strip_prefix(b"./").unwrap_or(path);
    let inner = inner.strip_suffix(b"/").unwrap_or(inner);
    if inner.is_empty() || inner == b"." {
        return Ok(Parts::new());
    }
    let mut parts = Parts::new();
    for part in inner.split(|b| *b == b'/') {
        let reason = match part {
            b"" => "it has an empty component",
            b"." => "it has a . component",
            b".." => "it has a .. component",
            _ => "a component is longer than 255 bytes",
        };
        parts.push(EntryName::new(part).map_err(|_| error(path, reason))?);
    }
    if parts.len() > MAX_DEPTH {
        return Err(error(path, "it is more than 64 directories deep"));
    }
    Ok(parts)
}

/// The same path on a system whose `/bin`, `/lib`, … are links into `/usr`.
pub fn merged(parts: &[EntryName]) -> Parts {
    let in_usr = parts.first().is_some_and(is_merged);
    let usr = in_usr.then(|| EntryName::new("usr").expect("because usr is a name"));
    usr.into_iter().chain(parts.iter().cloned()).collect()
}

/// Whether this name in the root is a link into `/usr` on a merged system.
pub fn is_merged(name: &EntryName) -> bool {
    MERGED.iter().any(|m| m.as_bytes() == name.as_bytes())
}

/// Where a symbolic link at `parts` leads, without following others.
///
/// # Errors
/// The target climbs above the root, or is empty, too long or has NUL.
pub fn link_target(parts: &[EntryName], target: &[u8]) -> Result<Parts, PathError> {
    if target.is_empty() || target.len() > MAX_PATH - 1 || target.contains(&0) {
        return Err(error(target, "a link's target has 1 to 4095 bytes and no NUL"));
    }
    let mut at: Parts = match target.starts_with(b"/") {
        true => Parts::new(),
        false => parts[..parts.len().saturating_sub(1)].to_vec(),
    };
    for part in target.split(|b| *b == b'/') {
        match part {
            b"" | b"." => {}
            b".." if at.pop().is_none() => {
                return Err(error(target, "the link leads above the root"));
            }
            b".." => {}
            name => at.push(
                EntryName::new(name)
                    .map_err(|_| error(target, "a component of a link is too long"))?,
            ),
        }
    }
    Ok(at)
}

/// `/usr/bin/x`, for people and for dpkg's lists.
pub fn show(parts: &[EntryName]) -> String {
    parts.iter().map(|part| format!("/{}", part.to_string_lossy())).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn good_paths() {
        for (path, want) in [
            ("./", ""),
            (".", ""),
            ("./usr/bin/x", "/usr/bin/x"),
            ("usr/share/doc/", "/usr/share/doc"),
            ("./lib/systemd/system/a\\x2db.service", "/lib/systemd/system/a\\x2db.service"),
            ("./usr/share/Főtanúsítvány.crt", "/usr/share/Főtanúsítvány.crt"),
        ] {
            assert_eq!(parts(path.as_bytes()).map(|p| show(&p)).as_deref(), Ok(want));
        }
    }

    #[test]
    fn bad_paths_say_why() {
        let long = format!("./{}", "a".repeat(256));
        let deep = "./a".to_owned() + &"/a".repeat(64);
        for (path, want) in [
            (&b"/etc/passwd"[..], "absolute"),
            (b"./../etc", ".. component"),
            (b"./usr/../../etc", ".. component"),
            (b"./usr//bin", "empty component"),
            (b"./usr/./bin", ". component"),
            (b"./a\0b", "control characters"),
            (b"./a\n/etc/shadow", "control characters"),
            (b"./\xff", "not UTF-8"),
            (long.as_bytes(), "longer than 255"),
            (deep.as_bytes(), "64 directories"),
        ] {
            let error = parts(path).expect_err(want).to_string();
            assert!(error.contains(want), "{error}");
        }
    }

    #[test]
    fn the_merged_usr() {
        for (path, want) in [
            ("bin/sh", "/usr/bin/sh"),
            ("lib64/ld.so", "/usr/lib64/ld.so"),
            ("usr/bin/x", "/usr/bin/x"),
            ("etc/lib/x", "/etc/lib/x"),
            ("library/x", "/library/x"),
        ] {
            assert_eq!(show(&merged(&parts(path.as_bytes()).expect(path))), want);
        }
    }

    #[test]
    fn links_stay_below_the_root() {
        let at = parts(b"usr/lib/x").expect("good");
        for (target, want) in [
            ("y", Some("/usr/lib/y")),
            ("../share/y", Some("/usr/share/y")),
            ("../../etc", Some("/etc")),
            ("/bin/sh", Some("/bin/sh")),
            ("../../../etc/shadow", None),
            ("/../etc", None),
            ("", None),
        ] {
            let got = link_target(&at, target.as_bytes()).ok().map(|p| show(&p));
            assert_eq!(got.as_deref(), want, "{target}");
        }
    }
}
