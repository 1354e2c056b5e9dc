//! Printing: JSON or words, tables that line up, and writers that notice a closed pipe.

use std::io::{self, Write};

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

/// Prints one line of text.
pub fn line(text: &str) -> Result<(), CommandError> {
    let mut out = io::stdout().lock();
    writeln!(out, "{text}")?;
    Ok(())
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
        writeln!(out, "{}", text.trim_end())?;
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
    fn bytes_for_people() {
        for (count, want) in
            [(0, "0 B"), (999, "999 B"), (1000, "1.0 KB"), (812_000_000, "812.0 MB")]
        {
            assert_eq!(bytes(count), want);
        }
    }
}
