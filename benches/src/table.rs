//! What was measured, before it is text.

use serde::Serialize;

use crate::{machine::Load, sample::Sample};

/// What values are.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Unit {
    /// Less is better.
    Seconds,
    /// Less is better.
    Bytes,
    /// More is better.
    PerSecond,
    /// Bytes; more is better.
    BytesPerSecond,
    /// So many times what something else takes; less is better.
    Times,
    /// Of all, from 0 to 1; more is better.
    Share,
}

impl Unit {
    /// Whether more is better.
    pub fn more(self) -> bool {
        matches!(self, Self::PerSecond | Self::BytesPerSecond | Self::Share)
    }
}

/// Whose value a row is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Role {
    /// Keg's; the rows of peers below it do the same.
    Keg,
    /// A part of Keg's value above.
    Part,
    /// A peer's.
    Peer,
    /// The machine's own.
    Machine,
}

/// One line.
#[derive(Clone, Debug, Serialize)]
pub struct Row {
    /// What was measured.
    pub what: String,
    /// Whose it is.
    pub role: Role,
    /// The values.
    pub sample: Sample,
    /// The value that is wanted.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub goal: Option<f64>,
    /// Whether the median is as good as the goal.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub met: Option<bool>,
    /// Keg's median over this peer's.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub ratio: Option<f64>,
}

/// Rows about one thing.
#[derive(Clone, Debug, Serialize)]
pub struct Table {
    /// What it is about.
    pub title: String,
    /// Of all its values.
    pub unit: Unit,
    /// The lines.
    pub rows: Vec<Row>,
    /// What must be known to read them.
    pub notes: Vec<String>,
    /// Before and after.
    pub load: [Load; 2],
}

impl Table {
    /// An empty table.
    pub fn new(title: &str, unit: Unit) -> Self {
        let load = [Load::default(); 2];
        Self { title: title.to_owned(), unit, rows: Vec::new(), notes: Vec::new(), load }
    }

    /// A value of Keg's.
    pub fn keg(&mut self, what: &str, goal: Option<f64>, sample: Sample) -> &mut Self {
        let median = sample.median();
        let met = goal.zip(median).map(|(goal, median)| match self.unit.more() {
            true => median >= goal,
            false => median <= goal,
        });
        self.row(what, Role::Keg, sample, goal, met, None)
    }

    /// A part of the value above.
    pub fn part(&mut self, what: &str, sample: Sample) -> &mut Self {
        self.row(what, Role::Part, sample, None, None, None)
    }

    /// What a peer takes for Keg's value above.
    pub fn peer(&mut self, what: &str, sample: Sample) -> &mut Self {
        let ours = self.rows.iter().rev().find(|row| row.role == Role::Keg);
        let ours = ours.and_then(|row| row.sample.median());
        let ratio = ours.zip(sample.median()).map(|(ours, theirs)| ours / theirs);
        self.row(what, Role::Peer, sample, None, None, ratio)
    }

    /// What the machine takes.
    pub fn machine(&mut self, what: &str, sample: Sample) -> &mut Self {
        self.row(what, Role::Machine, sample, None, None, None)
    }

    /// What must be known.
    pub fn note(&mut self, text: &str) -> &mut Self {
        self.notes.push(text.to_owned());
        self
    }

    fn row(
        &mut self,
        what: &str,
        role: Role,
        sample: Sample,
        goal: Option<f64>,
        met: Option<bool>,
        ratio: Option<f64>,
    ) -> &mut Self {
        self.rows.push(Row { what: what.to_owned(), role, sample, goal, met, ratio });
        self
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn goals_and_ratios_follow_the_unit() {
        let one = |value: f64| [value].into_iter().collect::<Sample>();
        let mut table = Table::new("t", Unit::Seconds);
        table.keg("fast", Some(1.0), one(0.5)).part("half", one(0.25)).peer("slow", one(2.0));
        table.keg("late", Some(1.0), one(1.5));
        assert_eq!(table.rows[0].met, Some(true));
        assert_eq!(table.rows[2].ratio, Some(0.25));
        assert_eq!(table.rows[3].met, Some(false));
        let mut rate = Table::new("t", Unit::PerSecond);
        rate.keg("many", Some(100.0), one(200.0));
        assert_eq!(rate.rows[0].met, Some(true));
    }
}
