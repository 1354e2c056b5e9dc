//! Names that someone may have meant.

/// Longest name that is compared letter by letter.
const MAX_NAME: usize = 128;

/// Up to `most` of `names` that differ from `name` in at most a third of its letters, nearest
/// first.
pub fn nearest<'n>(name: &str, names: impl Iterator<Item = &'n str>, most: usize) -> Vec<String> {
    let limit = (name.len() / 3).clamp(1, 3);
    if name.len() > MAX_NAME {
        return Vec::new();
    }
    let close = |other: &&str| other.len().abs_diff(name.len()) <= limit;
    let measured = names.filter(close).map(|other| (distance(name, other), other));
    let mut found: Vec<_> = measured.filter(|(d, _)| *d <= limit).collect();
    found.sort_unstable();
    found.into_iter().take(most).map(|(_, other)| other.to_owned()).collect()
}

/// Insertions, deletions, replacements and swaps of neighbours between two names, in bytes.
fn distance(a: &str, b: &str) -> usize {
    let (a, b) = (a.as_bytes(), b.as_bytes());
    let mut before = vec![0; b.len() + 1];
    let mut last: Vec<usize> = (0..=b.len()).collect();
    for i in 1..=a.len() {
        let mut row = vec![i; b.len() + 1];
        for j in 1..=b.len() {
            let replace = last[j - 1] + usize::from(a[i - 1] != b[j - 1]);
            row[j] = replace.min(last[j] + 1).min(row[j - 1] + 1);
            if i > 1 && j > 1 && a[i - 1] == b[j - 2] && a[i - 2] == b[j - 1] {
                row[j] = row[j].min(before[j - 2] + 1);
            }
        }
        before = std::mem::replace(&mut last, row);
    }
    last[b.len()]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn near_names() {
        let names = ["python3", "python2", "pyhton-doc", "tini", "tiny", "libc6"];
        for (name, want) in [
            ("pyhton3", &["python3", "python2"][..]),
            ("tini", &["tini", "tiny"]),
            ("libc", &["libc6"]),
            ("nothing-like-it", &[]),
        ] {
            assert_eq!(nearest(name, names.into_iter(), 3), want, "{name}");
        }
    }
}
