//! Printing: JSON or words, tables that line up, and writers that notice a closed pipe.

use std::{
    borrow::Cow,
    io::{self, Write},
};

use serde_json::Value as Json;

use crate::error::CommandError;

/// Prints one JSON document on a line of its own.
pub fn json_line(document: &Json) -> Result<(), CommandError> {
    let mut out = io::stdout().lock();
    serde_json::to_writer(&mut out, document).map_err(io::Error::from)?;
    out.write_all(b"\n")?;
    out.flush()?;
    Ok(())
}

/// Prints one line of text, or several. What could drive a terminal is escaped: names and messages
/// come from whoever pushed.
pub fn line(text: &str) -> Result<(), CommandError> {
    let mut out = io::stdout().lock();
    writeln!(out, "{}", plain(text))?;
    Ok(())
}

/// Prints one line as it is: an app's own output.
pub fn raw_line(text: &str) -> Result<(), CommandError> {
    let mut out = io::stdout().lock();
    writeln!(out, "{text}")?;
    Ok(())
}

/// Text with control characters other than tabs and line ends written as `\u{1b}`.
fn plain(text: &str) -> Cow<'_, str> {
    let odd = |c: char| c.is_control() && c != '\n' && c != '\t';
    if !text.contains(odd) {
        return Cow::Borrowed(text);
    }
    let mut out = String::with_capacity(text.len());
    for c in text.chars() {
        if odd(c) { out.extend(c.escape_default()) } else { out.push(c) }
    }
    Cow::Owned(out)
}

/// Prints rows under headings, columns aligned; the last column is not padded.
pub fn table(headings: &[&str], rows: &[Vec<String>]) -> Result<(), CommandError> {
    let mut widths: Vec<usize> = headings.iter().map(|h| h.len()).collect();
    for row in rows {
        for (width, cell) in widths.iter_mut().zip(row) {
            *width = (*width).max(cell.chars().count());
        }
    }
    let mut out = io::stdout().lock();
    let heading_row: Vec<String> = headings.iter().map(|h| h.to_string()).collect();
    for row in std::iter::once(&heading_row).chain(rows) {
        let mut text = String::new();
        for (cell, width) in row.iter().zip(&widths) {
            text.push_str(cell);
            let padding = (width + 2).saturating_sub(cell.chars().count());
            text.extend(std::iter::repeat_n(' ', padding));
        }
        writeln!(out, "{}", plain(text.trim_end()))?;
    }
    Ok(())
}

/// A text field of a document, or `-`.
pub fn field(document: &Json, name: &str) -> String {
    match &document[name] {
        Json::Null => "-".to_owned(),
        Json::String(text) => text.clone(),
        other => other.to_string(),
    }
}

/// A KID field of a document in its short form, or `-`.
pub fn short(document: &Json, name: &str) -> String {
    let text = field(document, name);
    text.parse::<keg::Kid>().map_or(text, |kid| kid.short())
}

/// Bytes for people: `12 B`, `4.2 KB`, `1.3 GB` (powers of ten).
pub fn bytes(count: u64) -> String {
    const UNITS: [&str; 5] = ["B", "KB", "MB", "GB", "TB"];
    let mut value = count as f64;
    let mut unit = 0;
    while value >= 1000.0 && unit + 1 < UNITS.len() {
        value /= 1000.0;
        unit += 1;
    }
    if unit == 0 { format!("{count} B") } else { format!("{value:.1} {}", UNITS[unit]) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn terminals_are_not_driven_by_names() {
        for (text, want) in [
            ("caf\u{e9}\tx\ny", "caf\u{e9}\tx\ny"),
            ("a\u{1b}[2Jb\rc\u{9b}", "a\\u{1b}[2Jb\\rc\\u{9b}"),
        ] {
            assert_eq!(plain(text), want);
        }
    }

    #[test]
    fn bytes_for_people() {
        for (count, want) in
            [(0, "0 B"), (999, "999 B"), (1000, "1.0 KB"), (812_000_000, "812.0 MB")]
        {
            assert_eq!(bytes(count), want);
        }
    }
}
