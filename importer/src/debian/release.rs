//! `Release` files: what a suite says of itself, and the hashes of its indexes.

use std::collections::BTreeMap;

use super::deb822;

/// Most files that one `Release` may list.
const MAX_FILES: usize = 200_000;

/// Size and hash of an index.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Listed {
    /// SHA-256 in hex.
    pub sha256: String,
    /// Bytes.
    pub size: u64,
}

/// A signed `Release`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Release {
    /// Such as `Debian`.
    pub origin: String,
    /// Such as `stable`.
    pub suite: String,
    /// Such as `trixie`.
    pub codename: String,
    /// When it was made, seconds since 1970.
    pub date: i64,
    /// Until when it may be used.
    pub valid_until: Option<i64>,
    /// Whether indexes can be fetched by their hash.
    pub by_hash: bool,
    /// Indexes by path.
    pub files: BTreeMap<String, Listed>,
}

/// Why a `Release` is refused.
#[derive(Debug, thiserror::Error, PartialEq, Eq)]
pub enum ReleaseError {
    /// It is malformed.
    #[error("its Release file is malformed: {0}")]
    Malformed(&'static str),
    /// It is for another suite.
    #[error("it is for {found}, not for {wanted}")]
    OtherSuite {
        /// Suite and codename that it says.
        found: String,
        /// What was asked for.
        wanted: String,
    },
    /// It has expired.
    #[error("it expired on {until}: the mirror is out of date, or someone holds updates back")]
    Expired {
        /// RFC 3339.
        until: String,
    },
    /// It is older than what was imported before.
    #[error("it is of {date}, older than the one imported before ({before}): the mirror went back")]
    Rollback {
        /// RFC 3339.
        date: String,
        /// RFC 3339.
        before: String,
    },
    /// It is from the future.
    #[error("it is of {date}, which is in the future: is the clock of this machine right?")]
    Future {
        /// RFC 3339.
        date: String,
    },
}

/// A clock may be this many seconds behind a mirror's.
const SKEW: i64 = 24 * 3600;

impl Release {
    /// Reads the text of a `Release` whose signature was checked.
    ///
    /// # Errors
    /// It is malformed.
    pub fn parse(text: &[u8]) -> Result<Self, ReleaseError> {
        let malformed = ReleaseError::Malformed;
        let stanza = deb822::stanzas(text).next().ok_or(malformed("it is empty"))?;
        let get = |name: &str| stanza.get(name).unwrap_or_default().to_owned();
        let date = parse_date(&get("Date")).ok_or(malformed("it has no Date"))?;
        let until = stanza.get("Valid-Until");
        let valid_until =
            until.map(|t| parse_date(t).ok_or(malformed("its Valid-Until is no date")));
        let mut files = BTreeMap::new();
        for line in get("SHA256").lines().map(str::trim).filter(|line| !line.is_empty()) {
            let mut words = line.split_whitespace();
            let (Some(sha256), Some(size), Some(path)) = (words.next(), words.next(), words.next())
            else {
                return Err(malformed("a line of SHA256 lacks a word"));
            };
            let hex = sha256.len() == 64 && sha256.bytes().all(|b| b.is_ascii_hexdigit());
            let (true, Ok(size)) = (hex, size.parse()) else {
                return Err(malformed("a line of SHA256 has no hash or size"));
            };
            files.insert(path.to_owned(), Listed { sha256: sha256.to_ascii_lowercase(), size });
            if files.len() > MAX_FILES {
                return Err(malformed("it lists too many files"));
            }
        }
        Ok(Self {
            origin: get("Origin"),
            suite: get("Suite"),
            codename: get("Codename"),
            date,
            valid_until: valid_until.transpose()?,
            by_hash: get("Acquire-By-Hash") == "yes",
            files,
        })
    }

    /// Checks that it is of the suite `wanted`, and may be used at `now` (seconds since 1970)
    /// after one of `before`.
    ///
    /// # Errors
    /// It is of another suite, expired, from the future, or older than `before`.
    pub fn check(&self, wanted: &str, now: i64, before: Option<i64>) -> Result<(), ReleaseError> {
        if wanted != self.suite && wanted != self.codename {
            let found = format!("{:?} ({:?})", self.suite, self.codename);
            return Err(ReleaseError::OtherSuite { found, wanted: wanted.to_owned() });
        }
        let show = |seconds: i64| keg::time::rfc3339(seconds.saturating_mul(1000));
        if let Some(until) = self.valid_until.filter(|until| *until < now) {
            return Err(ReleaseError::Expired { until: show(until) });
        }
        if self.date > now + SKEW {
            return Err(ReleaseError::Future { date: show(self.date) });
        }
        if let Some(before) = before.filter(|before| self.date < *before) {
            return Err(ReleaseError::Rollback { date: show(self.date), before: show(before) });
        }
        Ok(())
    }
}

/// Seconds since 1970 of `Sat, 12 Sep 2026 07:55:41 UTC` (RFC 5322, always UTC).
fn parse_date(text: &str) -> Option<i64> {
    const MONTHS: [&str; 12] =
        ["Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec"];
    let mut words = text.split_whitespace();
    words.next().filter(|day| day.ends_with(','))?;
    let day: i64 = words.next()?.parse().ok()?;
    let month = words.next()?;
    let month = MONTHS.iter().position(|m| *m == month)? as i64 + 1;
    let year: i64 = words.next()?.parse().ok()?;
    let mut clock = words.next()?.splitn(3, ':').map(|part| part.parse::<i64>().ok());
    let (hour, minute, second) = (clock.next()??, clock.next()??, clock.next()??);
    let utc = matches!(words.next(), Some("UTC" | "GMT" | "+0000"));
    let sound = (1..=31).contains(&day)
        && (1970..=9999).contains(&year)
        && (0..24).contains(&hour)
        && (0..60).contains(&minute)
        && (0..=60).contains(&second);
    if !utc || !sound {
        return None;
    }
    // Days since 1970 in the Gregorian calendar, years counted from March.
    let (y, m) = if month > 2 { (year, month - 3) } else { (year - 1, month + 9) };
    let days = 365 * y + y / 4 - y / 100 + y / 400 + (153 * m + 2) / 5 + day - 1 - 719_468;
    Some(((days * 24 + hour) * 60 + minute) * 60 + second)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn release(more: &str) -> Result<Release, ReleaseError> {
        let hash = "a".repeat(64);
        let text = format!(
            "Origin: Debian\nSuite: stable\nCodename: demo\nDate: Sat, 12 Sep 2026 07:55:41 UTC\n\
             Acquire-By-Hash: yes\nSHA256:\n {hash} 12 main/binary-amd64/Packages.xz\n{more}"
        );
        Release::parse(text.as_bytes())
    }

    #[test]
    fn a_release_is_read() {
        let release = release("").expect("good");
        assert_eq!((release.origin.as_str(), release.date), ("Debian", 1_789_199_741));
        assert_eq!(release.files["main/binary-amd64/Packages.xz"].size, 12);
        assert!(release.by_hash);
    }

    #[test]
    fn dates() {
        for (text, want) in [
            ("Thu, 01 Jan 1970 00:00:00 UTC", Some(0)),
            ("Tue, 29 Feb 2000 12:00:00 +0000", Some(951_825_600)),
            ("Sat, 12 Sep 2026 07:55:41 CEST", None),
            ("12 Sep 2026", None),
            ("", None),
        ] {
            assert_eq!(parse_date(text), want, "{text}");
        }
    }

    #[test]
    fn a_release_that_may_not_be_used() {
        let with_until = "Valid-Until: Sat, 19 Sep 2026 07:55:41 UTC\n";
        let now = 1_789_200_000;
        let check = |wanted: &str, now: i64, before: Option<i64>| {
            release(with_until).expect("good").check(wanted, now, before).map_err(|e| e.to_string())
        };
        for wanted in ["demo", "stable"] {
            check(wanted, now, Some(1_789_199_741)).expect("good");
        }
        for (wanted, now, before, text) in [
            ("other", now, None, "not for other"),
            ("demo", now + 30 * 24 * 3600, None, "expired on 2026-09-19"),
            ("demo", now, Some(now + 1), "the mirror went back"),
            ("demo", now - 3 * 24 * 3600, None, "in the future"),
        ] {
            let error = check(wanted, now, before).expect_err(text);
            assert!(error.contains(text), "{error}");
        }
        for bad in ["Valid-Until: soon\n", "SHA1: x\n nonsense"] {
            let text = format!("SHA256:\n {bad}");
            assert!(Release::parse(text.as_bytes()).is_err());
        }
    }
}
