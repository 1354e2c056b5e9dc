//! Text without a heap: strings, numbers, times, and a buffer to put them into.

use crate::sys::{self, Str};

/// The bytes of a zero-terminated string, without the zero.
pub fn bytes(text: Str) -> &'static [u8] {
    let mut len = 0;
    // SAFETY: arguments are zero-terminated and live as long as the process.
    unsafe {
        while *text.add(len) != 0 {
            len += 1;
        }
        core::slice::from_raw_parts(text, len)
    }
}

/// A decimal number; -1 for anything else.
pub fn number(text: Str) -> i64 {
    let digits = bytes(text);
    if digits.is_empty() {
        return -1;
    }
    digits.iter().fold(0i64, |sum, d| match d {
        b'0'..=b'9' if sum >= 0 => sum.wrapping_mul(10).wrapping_add(i64::from(d - b'0')),
        _ => -1,
    })
}

/// Fixed room for text; what does not fit is left out.
pub struct Text<const N: usize> {
    room: [u8; N],
    len: usize,
}

impl<const N: usize> Text<N> {
    pub const fn new() -> Self {
        Text { room: [0; N], len: 0 }
    }

    pub fn as_bytes(&self) -> &[u8] {
        &self.room[..self.len]
    }

    pub fn clear(&mut self) {
        self.len = 0;
    }

    pub fn free(&self) -> usize {
        N - self.len
    }

    pub fn put(&mut self, text: &[u8]) -> &mut Self {
        let fits = text.len().min(self.free());
        self.room[self.len..self.len + fits].copy_from_slice(&text[..fits]);
        self.len += fits;
        self
    }

    /// A number with at least `width` digits.
    pub fn number(&mut self, mut value: u64, width: usize) -> &mut Self {
        let mut digits = [b'0'; 20];
        let mut at = digits.len();
        while value > 0 {
            at -= 1;
            digits[at] = b'0' + (value % 10) as u8;
            value /= 10;
        }
        self.put(&digits[at.min(digits.len() - width)..])
    }

    /// Now, as RFC 3339 in UTC with milliseconds.
    pub fn time(&mut self) -> &mut Self {
        let now = sys::now(sys::REALTIME);
        let (days, second) = (now.sec.max(0) as u64 / 86_400, now.sec.max(0) as u64 % 86_400);
        let (year, month, day) = date(days);
        self.number(year, 4).put(b"-").number(month, 2).put(b"-").number(day, 2).put(b"T");
        self.number(second / 3600, 2).put(b":").number(second / 60 % 60, 2).put(b":");
        self.number(second % 60, 2).put(b".").number(now.nsec as u64 / 1_000_000, 3).put(b"Z")
    }

    /// The text as a zero-terminated string.
    pub fn terminated(&mut self) -> Str {
        if self.len == N {
            self.len -= 1;
        }
        self.room[self.len] = 0;
        self.room.as_ptr()
    }
}

/// Year, month and day of a day number since 1970-01-01 in the Gregorian calendar. Years are
/// counted from March, so that the leap day is the last of its year.
fn date(days: u64) -> (u64, u64, u64) {
    const DAYS_400_YEARS: u64 = 146_097;
    const DAYS_TO_1970_FROM_MARCH_0: u64 = 719_468;
    let days = days + DAYS_TO_1970_FROM_MARCH_0;
    let (era, of_era) = (days / DAYS_400_YEARS, days % DAYS_400_YEARS);
    let year = (of_era - of_era / 1460 + of_era / 36_524 - of_era / 146_096) / 365;
    let of_year = of_era - (365 * year + year / 4 - year / 100);
    let month = (5 * of_year + 2) / 153;
    let day = of_year - (153 * month + 2) / 5 + 1;
    let (month, next) = if month < 10 { (month + 3, 0) } else { (month - 9, 1) };
    (era * 400 + year + next, month, day)
}
