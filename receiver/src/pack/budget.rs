//! The work a pack may cause, in bytes produced.

use super::PackError;

/// Bytes of work every pack may cause, however small.
const FLOOR: u64 = 384 << 20;
/// Bytes of work each received byte pays for. Real packs need 10 to 60; a file of a megabyte with
/// thousands of one-line revisions needs a few hundred.
const PER_BYTE: u64 = 384;

/// What is left of the work a pack may cause. A byte inflated, copied by a delta, or hashed costs
/// one.
#[derive(Debug)]
pub(crate) struct Budget {
    spent: u64,
    allowed: u64,
}

impl Budget {
    /// The budget before any byte of the pack was read.
    pub(crate) fn new() -> Self {
        Self { spent: 0, allowed: FLOOR }
    }

    /// The budget for reading `bytes` of packs.
    pub(crate) fn for_bytes(bytes: u64) -> Self {
        let mut budget = Self::new();
        budget.earn(bytes);
        budget
    }

    /// `bytes` more of the pack arrived.
    pub(crate) fn earn(&mut self, bytes: u64) {
        self.allowed = self.allowed.saturating_add(bytes.saturating_mul(PER_BYTE));
    }

    /// Pays for `bytes` of work.
    ///
    /// # Errors
    /// [`PackError::Work`]: more than the pack's size allows.
    pub(crate) fn spend(&mut self, bytes: u64) -> Result<(), PackError> {
        self.spent = self.spent.saturating_add(bytes);
        if self.spent > self.allowed {
            return Err(PackError::Work(self.allowed >> 20));
        }
        Ok(())
    }
}
