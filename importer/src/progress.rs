//! What an import tells while it runs: lines for its stream, counts and bytes for a progress bar.

/// One step of news, in the order things happen.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Progress {
    /// A new phase begins: a short sentence for people.
    Phase(String),
    /// A detail of the phase: one line.
    Detail(String),
    /// How far the phase is.
    Count {
        /// Packages (or wheels, or indexes) that are done.
        done: u64,
        /// Of how many.
        total: u64,
        /// Bytes fetched so far.
        bytes: u64,
        /// Of how many bytes.
        total_bytes: u64,
    },
}

/// Takes the news; never blocks for long.
pub type Report<'a> = dyn FnMut(Progress) + 'a;

/// `12.3 MB` for people.
pub fn megabytes(bytes: u64) -> String {
    const TENTH: u64 = 100_000;
    let tenths = bytes.div_ceil(TENTH);
    format!("{}.{} MB", tenths / 10, tenths % 10)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn megabytes_round_up_to_a_tenth() {
        for (bytes, want) in [(0, "0.0 MB"), (1, "0.1 MB"), (12_300_000, "12.3 MB")] {
            assert_eq!(megabytes(bytes), want);
        }
    }
}
