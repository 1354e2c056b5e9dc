//! The `Range` of a request: one range of bytes, as RFC 9110 §14.

use std::ops::Range;

/// What a `Range` header asks of a value of `size` bytes.
#[derive(Debug, PartialEq, Eq)]
pub enum Wanted {
    /// All of it: no range, one of another unit, or several (which a server may ignore).
    Whole,
    /// These bytes.
    Part(Range<u64>),
    /// A range that has no byte of it: 416.
    Unsatisfiable,
}

/// Reads a `Range` header.
pub fn wanted(header: Option<&str>, size: u64) -> Wanted {
    let Some(spec) = header.and_then(|h| h.trim().strip_prefix("bytes=")) else {
        return Wanted::Whole;
    };
    let Some((first, last)) = spec.trim().split_once('-').filter(|_| !spec.contains(',')) else {
        return Wanted::Whole;
    };
    let number = |text: &str| {
        let digits = !text.is_empty() && text.bytes().all(|b| b.is_ascii_digit());
        // More digits than fit mean "past the end".
        digits.then(|| text.parse::<u64>().unwrap_or(u64::MAX))
    };
    match (number(first.trim()), number(last.trim())) {
        (Some(first), Some(last)) if first > last => Wanted::Unsatisfiable,
        (Some(first), _) if first >= size => Wanted::Unsatisfiable,
        (Some(first), Some(last)) => Wanted::Part(first..last.saturating_add(1).min(size)),
        (Some(first), None) if last.trim().is_empty() => Wanted::Part(first..size),
        (None, Some(0)) => Wanted::Unsatisfiable,
        (None, Some(_)) if size == 0 => Wanted::Unsatisfiable,
        (None, Some(tail)) if first.trim().is_empty() => {
            Wanted::Part(size.saturating_sub(tail)..size)
        }
        _ => Wanted::Whole,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ranges() {
        use Wanted::{Part, Unsatisfiable, Whole};
        for (header, size, want) in [
            (None, 10, Whole),
            (Some("bytes=0-4"), 10, Part(0..5)),
            (Some("bytes=5-"), 10, Part(5..10)),
            (Some("bytes=-3"), 10, Part(7..10)),
            (Some("bytes=-30"), 10, Part(0..10)),
            (Some("bytes=0-99999999999999999999999"), 10, Part(0..10)),
            (Some("bytes=10-"), 10, Unsatisfiable),
            (Some("bytes=500-0"), 1000, Unsatisfiable),
            (Some("bytes=-0"), 10, Unsatisfiable),
            (Some("bytes=0-0"), 0, Unsatisfiable),
            (Some("bytes=0-1,3-4"), 10, Whole),
            (Some("lines=0-1"), 10, Whole),
            (Some("bytes=a-b"), 10, Whole),
            (Some("bytes=1-x"), 10, Whole),
            (Some("bytes="), 10, Whole),
        ] {
            assert_eq!(wanted(header, size), want, "{header:?}");
        }
    }
}
