//! What an import tells while it runs, and how that becomes the lines of its stream.
//!
//! The stream is read by people who wait for a push, so it says little: a line when a phase
//! begins, with what there is to do; signs of life while it lasts; a line when it ends, with the
//! time it took. What packages' scripts print is kept in it behind [`OUTPUT_MARK`], for those who
//! look for the cause of a failure; whoever copies the stream for people leaves those lines out.

use std::time::{Duration, Instant};

/// Begins the lines of a stream that a package's script printed.
pub const OUTPUT_MARK: &str = "| ";
/// Counts are told when another quarter of the whole is done, ...
const COUNT_STEPS: u64 = 4;
/// ... but not sooner than this after the line before, ...
const COUNT_APART: Duration = Duration::from_secs(2);
/// ... and after this in any case.
const SIGN_OF_LIFE: Duration = Duration::from_secs(10);

/// One step of news, in the order things happen.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Progress {
    /// A new phase begins: a short sentence for people.
    Phase(String),
    /// A detail of the phase: one line.
    Detail(String),
    /// A line that a package's script printed: for the stream alone.
    Output(String),
    /// How far the phase is.
    Count {
        /// Packages (or wheels, or indexes) that are done.
        done: u64,
        /// Of how many.
        total: u64,
        /// Bytes fetched so far.
        bytes: u64,
        /// Of how many bytes; 0 where bytes are not what is counted.
        total_bytes: u64,
    },
}

/// Takes the news; never blocks for long.
pub type Report<'a> = dyn FnMut(Progress) + 'a;

/// News as lines of text, counts not more often than is readable.
#[derive(Default)]
pub(crate) struct Told {
    /// Quarters of the phase that were told.
    step: u64,
    /// When the last line was told.
    last: Option<Instant>,
    /// What the phase does, in a word: several imports may be told in one place.
    verb: String,
}

impl Told {
    /// The line that this becomes; `None`: none.
    pub(crate) fn line(&mut self, news: &Progress, now: Instant) -> Option<String> {
        let line = match news {
            Progress::Phase(text) => {
                self.step = 0;
                let verb = text.split_whitespace().next().unwrap_or_default();
                self.verb = verb.to_lowercase();
                text.clone()
            }
            Progress::Detail(text) => format!("  {text}"),
            // No sign of life for those who wait, as they do not see it.
            Progress::Output(text) => return Some(format!("{OUTPUT_MARK}{text}")),
            Progress::Count { done, total, bytes, total_bytes } => {
                self.count((*done, *total), (*bytes, *total_bytes), now)?
            }
        };
        self.last = Some(now);
        Some(line)
    }

    fn count(&mut self, items: (u64, u64), bytes: (u64, u64), now: Instant) -> Option<String> {
        let (done, total) = items;
        let (part, whole) = if bytes.1 > 0 { bytes } else { items };
        let step = part.saturating_mul(COUNT_STEPS).checked_div(whole).unwrap_or(0);
        let silent = self.last.map_or(Duration::MAX, |last| now.saturating_duration_since(last));
        let due = silent >= SIGN_OF_LIFE || (silent >= COUNT_APART && step > self.step);
        // The end of a phase has a line of its own.
        if done == total || !due {
            return None;
        }
        self.step = step;
        let size = match bytes {
            (_, 0) => String::new(),
            (bytes, all) => format!(", {} of {}", megabytes(bytes), megabytes(all)),
        };
        Some(format!("  {}: {done} of {total}{size}", self.verb))
    }
}

/// `12.3 MB` for people.
pub fn megabytes(bytes: u64) -> String {
    const TENTH: u64 = 100_000;
    let tenths = bytes.div_ceil(TENTH);
    format!("{}.{} MB", tenths / 10, tenths % 10)
}

/// `1 package`, `2 packages`.
pub fn counted(count: usize, what: &str) -> String {
    format!("{count} {what}{}", if count == 1 { "" } else { "s" })
}

/// `0.3 s`, `12 s` for people.
pub fn seconds(time: Duration) -> String {
    let s = time.as_secs_f64();
    if s < 10.0 { format!("{s:.1} s") } else { format!("{s:.0} s") }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_for_people() {
        for (bytes, want) in [(0, "0.0 MB"), (1, "0.1 MB"), (12_300_000, "12.3 MB")] {
            assert_eq!(megabytes(bytes), want);
        }
        for (count, want) in [(0, "0 wheels"), (1, "1 wheel"), (2, "2 wheels")] {
            assert_eq!(counted(count, "wheel"), want);
        }
        for (ms, want) in [(40, "0.0 s"), (1_260, "1.3 s"), (61_000, "61 s")] {
            assert_eq!(seconds(Duration::from_millis(ms)), want);
        }
    }

    /// What is told of a download of `size` MB at 1 MB every `ms` milliseconds.
    fn told(size: u64, ms: u64) -> Vec<String> {
        let (mut told, start) = (Told::default(), Instant::now());
        let phase = told.line(&Progress::Phase("Fetching".into()), start);
        let counts = (1..=size).filter_map(|mb| {
            let (bytes, total_bytes) = (mb * 1_000_000, size * 1_000_000);
            let news = Progress::Count { done: mb, total: size, bytes, total_bytes };
            told.line(&news, start + Duration::from_millis(mb * ms))
        });
        phase.into_iter().chain(counts).collect()
    }

    #[test]
    fn counts_are_few_and_never_silent_for_long() {
        assert_eq!(told(40, 10), ["Fetching"], "over before anybody wonders");
        assert_eq!(
            told(40, 250),
            [
                "Fetching",
                "  fetching: 10 of 40, 10.0 MB of 40.0 MB",
                "  fetching: 20 of 40, 20.0 MB of 40.0 MB",
                "  fetching: 30 of 40, 30.0 MB of 40.0 MB"
            ]
        );
        assert_eq!(told(40, 1000).len(), 4, "a quarter is ten seconds");
        assert_eq!(told(100, 1000).len(), 12, "ten seconds after the line before, or a quarter");
    }

    #[test]
    fn scripts_are_marked_and_counts_need_no_bytes() {
        let (mut told, start) = (Told::default(), Instant::now());
        let output = told.line(&Progress::Output("Setting up x".into()), start);
        assert_eq!(output.as_deref(), Some("| Setting up x"));
        told.line(&Progress::Phase("Configuring 3 packages".into()), start);
        let count = Progress::Count { done: 0, total: 3, bytes: 0, total_bytes: 0 };
        assert_eq!(told.line(&count, start + Duration::from_secs(9)), None);
        let line = told.line(&count, start + Duration::from_secs(10));
        assert_eq!(line.as_deref(), Some("  configuring: 0 of 3"));
    }
}
