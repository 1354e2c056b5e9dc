//! The only policy of the mayor: how long to wait before a process that ended starts again.

use std::time::Duration;

/// The first pause.
const FIRST: Duration = Duration::from_millis(100);
/// The longest pause, before jitter.
const LONGEST: Duration = Duration::from_secs(30);
/// Who ran for so long begins with the first pause again.
pub const HEALTHY: Duration = Duration::from_secs(60);
/// Pauses vary by this part, so that processes that fell together do not start together.
const JITTER: f64 = 0.2;

/// The pauses of one process.
#[derive(Clone, Debug, Default)]
pub struct Backoff {
    failures: u32,
}

impl Backoff {
    /// The pause after an end that followed `ran` of running; `chance` is in 0..1.
    pub fn pause(&mut self, ran: Duration, chance: f64) -> Duration {
        if ran >= HEALTHY {
            self.failures = 0;
        }
        let doubled = FIRST.saturating_mul(1 << self.failures.min(16));
        self.failures = self.failures.saturating_add(1);
        doubled.min(LONGEST).mul_f64(1.0 + JITTER * (2.0 * chance - 1.0))
    }
}

/// A number in 0..1 that differs between calls.
pub fn chance() -> f64 {
    let mut bytes = [0u8; 4];
    // SAFETY: the pointer and length are of a live array. Without randomness there is no jitter.
    let read = unsafe { libc::getrandom(bytes.as_mut_ptr().cast(), bytes.len(), 0) };
    if read != bytes.len() as isize {
        return 0.5;
    }
    f64::from(u32::from_ne_bytes(bytes)) / (f64::from(u32::MAX) + 1.0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pauses_double_up_to_a_limit_and_begin_again_once_healthy() {
        let mut backoff = Backoff::default();
        let ms =
            |backoff: &mut Backoff, ran| backoff.pause(Duration::from_secs(ran), 0.5).as_millis();
        let pauses: Vec<_> = (0..11).map(|_| ms(&mut backoff, 1)).collect();
        let want = [100, 200, 400, 800, 1600, 3200, 6400, 12800, 25600, 30000, 30000];
        assert_eq!(pauses, want);
        assert_eq!(ms(&mut backoff, 59), 30_000);
        assert_eq!(ms(&mut backoff, 60), 100);
        assert_eq!(ms(&mut backoff, 0), 200);
        backoff.failures = u32::MAX;
        assert_eq!(ms(&mut backoff, 0), 30_000);
    }

    #[test]
    fn jitter_stays_within_its_part() {
        for (chance, want) in [(0.0, 80), (0.5, 100), (0.999_999, 119)] {
            assert_eq!(Backoff::default().pause(Duration::ZERO, chance).as_millis(), want);
        }
        let some: Vec<f64> = (0..8).map(|_| chance()).collect();
        assert!(some.iter().all(|c| (0.0..1.0).contains(c)));
        assert!(some.iter().any(|c| *c != some[0]));
    }
}
