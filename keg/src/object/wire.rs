//! Reading and writing the primitive fields of canonical bytes: minimal varints, counted bytes.

use std::borrow::Cow;

/// Why bytes are not the canonical encoding of a value.
#[derive(Debug, thiserror::Error, PartialEq, Eq)]
pub enum DecodeError {
    /// The bytes end in the middle of a field.
    #[error("the bytes end inside {0}")]
    Short(&'static str),
    /// Bytes follow the last field.
    #[error("{0} bytes follow the end")]
    Trailing(usize),
    /// A format of this kind that this version of Keg does not know.
    #[error("format {0} is not known to this version of Keg")]
    Format(u8),
    /// A number takes more bytes than it needs, or does not fit.
    #[error("{0} is not written in its shortest form or is too large")]
    Varint(&'static str),
    /// A field has a value it cannot have.
    #[error("{field}: {reason}")]
    Field {
        /// Which field.
        field: &'static str,
        /// What is wrong with it.
        reason: Cow<'static, str>,
    },
    /// Larger than any object of this kind may be.
    #[error("{bytes} bytes are more than the {limit} a tree or commit may have")]
    TooBig {
        /// Bytes given.
        bytes: usize,
        /// Most that is allowed.
        limit: usize,
    },
}

/// A [`DecodeError::Field`].
pub(crate) fn bad(field: &'static str, reason: impl Into<Cow<'static, str>>) -> DecodeError {
    DecodeError::Field { field, reason: reason.into() }
}

/// Appends an unsigned LEB128 number in its shortest form.
pub(crate) fn put_varint(out: &mut Vec<u8>, mut value: u64) {
    while value >= 0x80 {
        out.push((value & 0x7f) as u8 | 0x80);
        value >>= 7;
    }
    out.push(value as u8);
}

/// Appends a signed number: zigzag, then varint.
pub(crate) fn put_signed(out: &mut Vec<u8>, value: i64) {
    put_varint(out, ((value << 1) ^ (value >> 63)) as u64);
}

/// Appends a length and the bytes.
pub(crate) fn put_bytes(out: &mut Vec<u8>, bytes: &[u8]) {
    put_varint(out, bytes.len() as u64);
    out.extend_from_slice(bytes);
}

/// Reads fields one after the other; every length is checked against what is left.
pub(crate) struct Fields<'a> {
    rest: &'a [u8],
}

impl<'a> Fields<'a> {
    pub(crate) fn new(bytes: &'a [u8]) -> Self {
        Self { rest: bytes }
    }

    pub(crate) fn left(&self) -> usize {
        self.rest.len()
    }

    pub(crate) fn take(
        &mut self,
        len: usize,
        field: &'static str,
    ) -> Result<&'a [u8], DecodeError> {
        let (head, rest) = self.rest.split_at_checked(len).ok_or(DecodeError::Short(field))?;
        self.rest = rest;
        Ok(head)
    }

    pub(crate) fn byte(&mut self, field: &'static str) -> Result<u8, DecodeError> {
        Ok(self.take(1, field)?[0])
    }

    pub(crate) fn array<const N: usize>(
        &mut self,
        field: &'static str,
    ) -> Result<[u8; N], DecodeError> {
        let (head, rest) = self.rest.split_first_chunk::<N>().ok_or(DecodeError::Short(field))?;
        self.rest = rest;
        Ok(*head)
    }

    pub(crate) fn varint(&mut self, field: &'static str) -> Result<u64, DecodeError> {
        let mut value = 0u64;
        for shift in (0..64).step_by(7) {
            let byte = self.byte(field)?;
            let bits = u64::from(byte & 0x7f);
            if shift == 63 && bits > 1 {
                return Err(DecodeError::Varint(field));
            }
            value |= bits << shift;
            if byte & 0x80 == 0 {
                let padded = byte == 0 && shift > 0;
                return if padded { Err(DecodeError::Varint(field)) } else { Ok(value) };
            }
        }
        Err(DecodeError::Varint(field))
    }

    pub(crate) fn u32(&mut self, field: &'static str) -> Result<u32, DecodeError> {
        u32::try_from(self.varint(field)?).map_err(|_| DecodeError::Varint(field))
    }

    pub(crate) fn signed(&mut self, field: &'static str) -> Result<i64, DecodeError> {
        let raw = self.varint(field)?;
        Ok((raw >> 1) as i64 ^ -((raw & 1) as i64))
    }

    /// A count of things that take at least `each` bytes: never more than can still follow.
    pub(crate) fn count(&mut self, each: usize, field: &'static str) -> Result<usize, DecodeError> {
        let count = usize::try_from(self.varint(field)?).map_err(|_| DecodeError::Short(field))?;
        if count > self.left() / each { Err(DecodeError::Short(field)) } else { Ok(count) }
    }

    pub(crate) fn bytes(&mut self, field: &'static str) -> Result<&'a [u8], DecodeError> {
        let len = self.count(1, field)?;
        self.take(len, field)
    }

    pub(crate) fn text(&mut self, field: &'static str) -> Result<&'a str, DecodeError> {
        std::str::from_utf8(self.bytes(field)?).map_err(|_| bad(field, "not UTF-8"))
    }

    pub(crate) fn end(&self) -> Result<(), DecodeError> {
        if self.rest.is_empty() { Ok(()) } else { Err(DecodeError::Trailing(self.rest.len())) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_round_trip_and_only_in_their_shortest_form() {
        for value in [0, 1, 127, 128, 300, u64::from(u32::MAX), u64::MAX - 1, u64::MAX] {
            let mut bytes = Vec::new();
            put_varint(&mut bytes, value);
            let mut fields = Fields::new(&bytes);
            assert_eq!(fields.varint("n"), Ok(value));
            assert_eq!(fields.end(), Ok(()));
        }
        for value in [0, -1, 1, i64::MIN, i64::MAX] {
            let mut bytes = Vec::new();
            put_signed(&mut bytes, value);
            assert_eq!(Fields::new(&bytes).signed("n"), Ok(value));
        }
        let overlong: [&[u8]; 4] = [
            &[0x80, 0],
            &[0xff, 0x80, 0],
            &[0xff; 11],
            &[255, 255, 255, 255, 255, 255, 255, 255, 255, 2],
        ];
        for bytes in overlong {
            assert_eq!(Fields::new(bytes).varint("n"), Err(DecodeError::Varint("n")), "{bytes:?}");
        }
    }

    #[test]
    fn counts_never_promise_more_than_follows() {
        let mut bytes = Vec::new();
        put_varint(&mut bytes, u64::MAX);
        assert_eq!(Fields::new(&bytes).count(1, "n"), Err(DecodeError::Short("n")));
        assert_eq!(Fields::new(&bytes).bytes("n"), Err(DecodeError::Short("n")));
    }
}
