//! The order of Debian's versions (Debian Policy 5.6.12).

use std::cmp::Ordering;

/// Compares two versions: epoch, upstream version, Debian revision.
pub fn compare(a: &str, b: &str) -> Ordering {
    let (a_epoch, a_upstream, a_revision) = split(a);
    let (b_epoch, b_upstream, b_revision) = split(b);
    compare_digits(a_epoch.as_bytes(), b_epoch.as_bytes())
        .then_with(|| compare_part(a_upstream, b_upstream))
        .then_with(|| compare_part(a_revision, b_revision))
}

/// Whether `text` may be a version: it starts with a digit (after an epoch) and has only the
/// characters that Policy allows.
pub fn is_version(text: &str) -> bool {
    let (epoch, upstream, revision) = split(text);
    let good = |b: u8| b.is_ascii_alphanumeric() || matches!(b, b'.' | b'+' | b'~' | b'-' | b':');
    text.len() <= 256
        && epoch.bytes().all(|b| b.is_ascii_digit())
        && upstream.bytes().next().is_some_and(|b| b.is_ascii_alphanumeric())
        && upstream.bytes().all(good)
        && revision.bytes().all(good)
}

fn split(version: &str) -> (&str, &str, &str) {
    let version = version.trim();
    let (epoch, rest) = version.split_once(':').unwrap_or(("", version));
    let (upstream, revision) = rest.rsplit_once('-').unwrap_or((rest, ""));
    (epoch, upstream, revision)
}

/// Runs of other characters and runs of digits in turn, as dpkg does.
fn compare_part(a: &str, b: &str) -> Ordering {
    let (mut a, mut b) = (a.as_bytes(), b.as_bytes());
    while !a.is_empty() || !b.is_empty() {
        let (a_text, a_rest) = take(a, |c| !c.is_ascii_digit());
        let (b_text, b_rest) = take(b, |c| !c.is_ascii_digit());
        let (a_digits, a_rest) = take(a_rest, |c| c.is_ascii_digit());
        let (b_digits, b_rest) = take(b_rest, |c| c.is_ascii_digit());
        let order = compare_text(a_text, b_text).then_with(|| compare_digits(a_digits, b_digits));
        if order != Ordering::Equal {
            return order;
        }
        (a, b) = (a_rest, b_rest);
    }
    Ordering::Equal
}

fn take(text: &[u8], wanted: impl Fn(&u8) -> bool) -> (&[u8], &[u8]) {
    let end = text.iter().position(|c| !wanted(c)).unwrap_or(text.len());
    text.split_at(end)
}

/// `~` before the end, the end before letters, letters before the rest.
fn compare_text(a: &[u8], b: &[u8]) -> Ordering {
    let weight = |c: Option<&u8>| match c {
        Some(b'~') => -1,
        None => 0,
        Some(c) if c.is_ascii_alphabetic() => i32::from(*c),
        Some(c) => i32::from(*c) + 256,
    };
    (0..a.len().max(b.len()))
        .map(|i| weight(a.get(i)).cmp(&weight(b.get(i))))
        .find(|order| *order != Ordering::Equal)
        .unwrap_or(Ordering::Equal)
}

/// Numbers of any length, without overflow.
fn compare_digits(a: &[u8], b: &[u8]) -> Ordering {
    let strip = |digits: &[u8]| digits.iter().position(|c| *c != b'0').unwrap_or(digits.len());
    let (a, b) = (&a[strip(a)..], &b[strip(b)..]);
    a.len().cmp(&b.len()).then_with(|| a.cmp(b))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn order_as_dpkg_has_it() {
        for (a, b) in [
            ("1.0~rc1", "1.0"),
            ("1.0", "1.0-1"),
            ("1.0-1", "1.0-1+b1"),
            ("1.0-1+b1", "1.0-1.1"),
            ("1.9", "1.10"),
            ("9.9", "1:0.1"),
            ("1.0a", "1.0+"),
            ("1.0~~", "1.0~"),
            ("2.41-12", "2.41-12+deb13u1"),
            ("1", "99999999999999999999999999999999999999"),
            ("1.2-3-4", "1.2-3-5"),
        ] {
            assert_eq!(compare(a, b), Ordering::Less, "{a} < {b}");
            assert_eq!(compare(b, a), Ordering::Greater, "{b} > {a}");
        }
        for (a, b) in [("1.0", "1.0"), ("0:1.0", "1.0"), ("1.01", "1.1"), ("1.0-0", "1.0")] {
            assert_eq!(compare(a, b), Ordering::Equal, "{a} = {b}");
        }
    }

    #[test]
    fn what_may_be_a_version() {
        for good in ["1", "2:4.1-3+b2", "0~git2024", "1.0-1~deb13u1"] {
            assert!(is_version(good), "{good}");
        }
        for bad in ["", "-1", "a:1", "1/2", "1 2", "../1", "1_2"] {
            assert!(!is_version(bad), "{bad}");
        }
    }
}
