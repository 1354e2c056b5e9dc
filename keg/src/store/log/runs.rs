//! Which segments are worth being rewritten.

use super::{Log, segment::Place};
use crate::{Kid, store::StoreError};

/// Live bytes that one rewritten segment may have: those of a full one.
const MERGE_UPTO: u64 = 16 << 20;

impl Log {
    /// Runs of neighbouring sealed segments up to `upto`, each to be rewritten into one, of which
    /// at least `waste_percent` can go: that of which `goes` says so.
    pub(crate) fn runs(
        &self,
        upto: u32,
        waste_percent: u8,
        goes: &dyn Fn(&Kid, &Place) -> bool,
    ) -> Result<Vec<Vec<u32>>, StoreError> {
        // A collection that died may have rewritten segments without saying so: what this process
        // has open of them is not all that is in them now.
        self.relist()?;
        let mut runs: Vec<Vec<u32>> = Vec::new();
        let (mut run, mut live, mut dead) = (Vec::new(), 0u64, 0u64);
        let mut end = |run: Vec<u32>, live: u64, dead: u64| {
            let percent = u64::from(waste_percent);
            if dead > 0 && dead.saturating_mul(100) >= (live + dead).saturating_mul(percent) {
                runs.push(run);
            }
        };
        for segment in self.sealed_segments().into_iter().filter(|number| *number <= upto) {
            let size = self.segment_size(segment)?;
            let mut going = 0;
            self.sealed_objects(segment, &mut |kid, place| {
                if goes(&kid, &place) {
                    going += u64::from(place.len);
                }
            });
            if !run.is_empty() && live + size.saturating_sub(going) > MERGE_UPTO {
                end(std::mem::take(&mut run), live, dead);
                (live, dead) = (0, 0);
            }
            run.push(segment);
            live += size.saturating_sub(going);
            dead += going;
        }
        end(run, live, dead);
        Ok(runs)
    }
}
