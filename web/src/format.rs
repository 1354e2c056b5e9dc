//! Numbers and times for people.

/// A text that begins with a capital, where its first word is a plain one.
pub fn capital(text: &str) -> String {
    let word = text.split([' ', ',', ':']).next().unwrap_or("");
    let plain = word.bytes().all(|byte| byte.is_ascii_lowercase());
    let mut chars = text.chars();
    match chars.next() {
        Some(first) if plain => first.to_ascii_uppercase().to_string() + chars.as_str(),
        _ => text.to_owned(),
    }
}

/// An error's text as a sentence.
pub fn sentence(error: impl std::fmt::Display) -> String {
    format!("{}.", capital(&error.to_string()))
}

/// Bytes with a binary unit: `1.4 MiB`.
pub fn bytes(count: u64) -> String {
    const UNITS: [&str; 6] = ["KiB", "MiB", "GiB", "TiB", "PiB", "EiB"];
    if count < 1024 {
        return format!("{count} B");
    }
    let mut value = count as f64 / 1024.0;
    let mut unit = 0;
    while value >= 1023.95 && unit + 1 < UNITS.len() {
        value /= 1024.0;
        unit += 1;
    }
    let digits = if value < 10.0 { 1 } else { 0 };
    format!("{value:.digits$} {}", UNITS[unit])
}

/// A count with thin groups of thousands: `21,253`.
pub fn count(number: u64) -> String {
    let digits = number.to_string();
    let mut out = String::new();
    for (at, digit) in digits.chars().enumerate() {
        if at > 0 && (digits.len() - at).is_multiple_of(3) {
            out.push(',');
        }
        out.push(digit);
    }
    out
}

/// Seconds in the unit that reads best: `12 ms`, `1.4 s`, `3 min 5 s`.
pub fn seconds(value: f64) -> String {
    match value {
        v if !v.is_finite() || v < 0.0 => "–".to_owned(),
        v if v < 0.000_5 => "0 ms".to_owned(),
        v if v < 0.995 => format!("{:.0} ms", v * 1000.0),
        v if v < 9.95 => format!("{v:.1} s"),
        v if v < 60.0 => format!("{v:.0} s"),
        v if v < 3600.0 => format!("{} min {} s", v as u64 / 60, v as u64 % 60),
        v => format!("{} h {} min", v as u64 / 3600, v as u64 % 3600 / 60),
    }
}

/// How long ago: `just now`, `4 min ago`, `3 days ago`.
pub fn ago(then_ms: i64, now_ms: i64) -> String {
    let passed = now_ms.saturating_sub(then_ms) / 1000;
    let (number, unit) = match passed {
        i64::MIN..=9 => return "just now".to_owned(),
        10..60 => (passed, "s"),
        60..3600 => (passed / 60, "min"),
        3600..86400 => (passed / 3600, "h"),
        86400..172_800 => return "yesterday".to_owned(),
        _ => (passed / 86400, "days"),
    };
    format!("{number} {unit} ago")
}

/// Milliseconds since 1970 of `2026-01-31T12:00:00.000Z` (RFC 3339, UTC); `None` if it is not one.
pub fn parse_time(text: &str) -> Option<i64> {
    let rest = text.strip_suffix('Z')?;
    let (date, time) = rest.split_once('T')?;
    let mut date = date.splitn(3, '-').map(|part| part.parse::<i64>().ok());
    let (year, month, day) = (date.next()??, date.next()??, date.next()??);
    let (clock, fraction) = time.split_once('.').unwrap_or((time, ""));
    let mut clock = clock.splitn(3, ':').map(|part| part.parse::<i64>().ok());
    let (hour, minute, second) = (clock.next()??, clock.next()??, clock.next()??);
    let valid = (1..=9999).contains(&year)
        && (1..=12).contains(&month)
        && (1..=31).contains(&day)
        && (0..24).contains(&hour)
        && (0..60).contains(&minute)
        && (0..=60).contains(&second);
    if !valid || !fraction.bytes().all(|b| b.is_ascii_digit()) {
        return None;
    }
    let millis: i64 = format!("{fraction:0<3}")[..3].parse().ok()?;
    // Days since 1970-01-01 in the proleptic Gregorian calendar, with years that start in March.
    let (y, m) = if month > 2 { (year, month - 3) } else { (year - 1, month + 9) };
    let days = y * 365 + y / 4 - y / 100 + y / 400 + (m * 153 + 2) / 5 + day - 1 - 719_468;
    Some(((days * 24 + hour) * 60 + minute) * 60_000 + second * 1000 + millis)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sizes_counts_and_durations() {
        for (value, want) in [
            (0, "0 B"),
            (1023, "1023 B"),
            (1024, "1.0 KiB"),
            (1_500_000, "1.4 MiB"),
            (1_048_575, "1.0 MiB"),
            (u64::MAX, "16 EiB"),
        ] {
            assert_eq!(bytes(value), want);
        }
        for (value, want) in [(0, "0"), (999, "999"), (1000, "1,000"), (21_253_000, "21,253,000")] {
            assert_eq!(count(value), want);
        }
        for (value, want) in [
            (0.0, "0 ms"),
            (0.012, "12 ms"),
            (1.44, "1.4 s"),
            (59.0, "59 s"),
            (185.0, "3 min 5 s"),
            (f64::NAN, "–"),
        ] {
            assert_eq!(seconds(value), want);
        }
    }

    #[test]
    fn capitals() {
        for (text, want) in [
            ("correct that line", "Correct that line"),
            ("a KID starts with K-", "A KID starts with K-"),
            ("app.py: line 3", "app.py: line 3"),
            ("Procfile line 1", "Procfile line 1"),
            ("\"x\" is no name", "\"x\" is no name"),
            ("äpfel", "äpfel"),
            ("", ""),
        ] {
            assert_eq!(capital(text), want);
        }
    }

    #[test]
    fn times() {
        for (text, want) in [
            ("1970-01-01T00:00:00.000Z", Some(0)),
            ("2000-03-01T00:00:00Z", Some(951_868_800_000)),
            ("2026-11-23T10:00:00.250Z", Some(1_795_428_000_250)),
            ("2024-02-29T23:59:59.999Z", Some(1_709_251_199_999)),
            ("2024-13-01T00:00:00Z", None),
            ("2024-01-01 00:00:00", None),
            ("", None),
        ] {
            assert_eq!(parse_time(text), want, "{text}");
        }
        for (passed, want) in
            [(0, "just now"), (30, "30 s ago"), (240, "4 min ago"), (90_000, "yesterday")]
        {
            assert_eq!(ago(0, passed * 1000), want);
        }
    }
}
