//! Tables for people.

use std::fmt::Write as _;

use crate::{
    machine::{Load, Machine},
    table::{Role, Row, Table, Unit},
};

/// Width of the first column.
const NAMES: usize = 64;

/// A table, its title above it and its notes below.
pub fn table(table: &Table) -> String {
    let [before, after] = table.load;
    let mut text = format!("{} (load {} → {})\n", table.title, load(before), load(after));
    let head = ["median", "least", "most", "runs", "goal", "Keg / it"];
    line(&mut text, "", head.map(str::to_owned));
    for row in &table.rows {
        let value = |value: Option<f64>| value.map_or("–".to_owned(), |v| show(v, table.unit));
        let sample = &row.sample;
        line(
            &mut text,
            &name(row),
            [
                value(sample.median()),
                value(sample.min()),
                value(sample.max()),
                sample.len().to_string(),
                goal(row, table.unit),
                row.ratio.map_or(String::new(), |ratio| format!("{ratio:.2}")),
            ],
        );
    }
    for note in &table.notes {
        let _ = writeln!(text, "  {note}");
    }
    text
}

/// What it was measured on.
pub fn machine(machine: &Machine) -> String {
    format!(
        "{}: {} cores, {} memory, {}, files on {}; load {} at the start",
        machine.date,
        machine.cores,
        show(machine.memory as f64, Unit::Bytes),
        machine.kernel,
        machine.files,
        load(machine.load),
    )
}

/// The load average of the last minute.
pub fn load(load: Load) -> String {
    format!("{:.2}", load.0)
}

fn name(row: &Row) -> String {
    match row.role {
        Role::Keg => format!("Keg: {}", row.what),
        Role::Part => format!("  · {}", row.what),
        Role::Peer => format!("peer: {}", row.what),
        Role::Machine => format!("machine: {}", row.what),
    }
}

fn goal(row: &Row, unit: Unit) -> String {
    let Some(goal) = row.goal else { return String::new() };
    let sign = if unit.more() { "≥" } else { "≤" };
    let met = if row.met == Some(true) { "met" } else { "MISSED" };
    format!("{sign} {} {met}", show(goal, unit))
}

/// Columns; the widths count characters, not bytes.
fn line(text: &mut String, name: &str, columns: [String; 6]) {
    let [median, least, most, runs, goal, ratio] = columns;
    let line = format!(
        "  {name:<NAMES$} {median:>9} {least:>9} {most:>9} {runs:>5}  {goal:<17} {ratio:>8}"
    );
    let _ = writeln!(text, "{}", line.trim_end());
}

/// A value with its unit, short.
pub fn show(value: f64, unit: Unit) -> String {
    match unit {
        Unit::Seconds if value >= 1.0 => format!("{value:.2} s"),
        Unit::Seconds if value >= 0.1 => format!("{:.0} ms", value * 1e3),
        Unit::Seconds if value >= 0.001 => format!("{:.1} ms", value * 1e3),
        Unit::Seconds => format!("{:.0} µs", value * 1e6),
        Unit::Bytes if value >= 1e9 => format!("{:.1} GB", value / 1e9),
        Unit::Bytes if value >= 1e6 => format!("{:.1} MB", value / 1e6),
        Unit::Bytes => format!("{:.0} kB", value / 1e3),
        Unit::PerSecond => format!("{value:.0}/s"),
        Unit::BytesPerSecond if value >= 1e9 => format!("{:.2} GB/s", value / 1e9),
        Unit::BytesPerSecond => format!("{:.0} MB/s", value / 1e6),
        Unit::Times => format!("{value:.2}"),
        Unit::Share => format!("{:.1}%", value * 100.0),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn values_are_short() {
        for (value, unit, want) in [
            (1.234, Unit::Seconds, "1.23 s"),
            (0.4567, Unit::Seconds, "457 ms"),
            (0.0123, Unit::Seconds, "12.3 ms"),
            (0.000_45, Unit::Seconds, "450 µs"),
            (60e6, Unit::Bytes, "60.0 MB"),
            (65_536.0, Unit::Bytes, "66 kB"),
            (812.4, Unit::PerSecond, "812/s"),
            (2.51e9, Unit::BytesPerSecond, "2.51 GB/s"),
            (3.4e8, Unit::BytesPerSecond, "340 MB/s"),
            (1.354, Unit::Times, "1.35"),
            (0.999, Unit::Share, "99.9%"),
        ] {
            assert_eq!(show(value, unit), want);
        }
    }
}
