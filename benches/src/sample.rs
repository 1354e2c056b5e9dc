//! Values measured again and again.

use std::time::{Duration, Instant};

use serde::{Serialize, Serializer, ser::SerializeStruct as _};

/// Values of one kind, in the unit of their table.
#[derive(Clone, Debug, Default)]
pub struct Sample(Vec<f64>);

impl Sample {
    /// Measures something `runs` times, in seconds.
    pub fn of(runs: usize, mut run: impl FnMut(usize) -> Duration) -> Self {
        (0..runs).map(|n| run(n).as_secs_f64()).collect()
    }

    /// One more value.
    pub fn push(&mut self, value: f64) {
        self.0.push(value);
    }

    /// All of them, in the order they came.
    pub fn values(&self) -> impl Iterator<Item = f64> {
        self.0.iter().copied()
    }

    /// How many there are.
    pub fn len(&self) -> usize {
        self.0.len()
    }

    /// The one in the middle, or what is between the two in the middle; nothing of nothing.
    pub fn median(&self) -> Option<f64> {
        let mut sorted = self.0.clone();
        sorted.sort_by(f64::total_cmp);
        let middle = sorted.len() / 2;
        match sorted.len() {
            0 => None,
            odd if odd % 2 == 1 => Some(sorted[middle]),
            _ => Some((sorted[middle - 1] + sorted[middle]) / 2.0),
        }
    }

    /// The least.
    pub fn min(&self) -> Option<f64> {
        self.0.iter().copied().min_by(f64::total_cmp)
    }

    /// The most.
    pub fn max(&self) -> Option<f64> {
        self.0.iter().copied().max_by(f64::total_cmp)
    }
}

impl FromIterator<f64> for Sample {
    fn from_iter<I: IntoIterator<Item = f64>>(values: I) -> Self {
        Self(values.into_iter().collect())
    }
}

impl Serialize for Sample {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let mut fields = serializer.serialize_struct("Sample", 5)?;
        fields.serialize_field("median", &self.median())?;
        fields.serialize_field("min", &self.min())?;
        fields.serialize_field("max", &self.max())?;
        fields.serialize_field("runs", &self.len())?;
        fields.serialize_field("values", &self.0)?;
        fields.end()
    }
}

/// How long something takes.
pub fn time<T>(what: impl FnOnce() -> T) -> (T, Duration) {
    let begun = Instant::now();
    let result = what();
    (result, begun.elapsed())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_median_is_in_the_middle() {
        for (values, want) in [
            (vec![], None),
            (vec![3.0], Some(3.0)),
            (vec![3.0, 1.0], Some(2.0)),
            (vec![9.0, 1.0, 2.0], Some(2.0)),
            (vec![4.0, 1.0, 100.0, 2.0], Some(3.0)),
        ] {
            let sample: Sample = values.iter().copied().collect();
            assert_eq!(sample.median(), want, "{values:?}");
        }
    }

    #[test]
    fn least_and_most_are_known() {
        let sample: Sample = [2.0, 0.5, 1.0].into_iter().collect();
        assert_eq!((sample.min(), sample.max(), sample.len()), (Some(0.5), Some(2.0), 3));
    }
}
