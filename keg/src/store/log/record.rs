//! Records of the log: `[len u32][kind u8][KID 32][payload len][check 8]`, little-endian.
//!
//! An object's KID is a hash of all its bytes, so a record of one needs no other: in Kegs with
//! [`FEATURE`] its kind has [`BY_KID`], and its check is the start of the KID.

use crate::{Kid, object::Kind};

/// Records of objects are checked by their KIDs: a program that does not know it would cut them off.
pub(crate) const FEATURE: &str = "kid-checks";
/// Bit of the kind of such a record.
const BY_KID: u8 = 0x20;

/// Bytes before the payload.
pub(crate) const HEADER: usize = 4 + 1 + 32;
/// Bytes after it.
pub(crate) const CHECK: usize = 8;
/// Bytes a record takes besides its payload.
pub(crate) const OVERHEAD: usize = HEADER + CHECK;
/// Most payload a record may have: the largest object.
pub(crate) const MAX_PAYLOAD: usize = crate::object::MAX_OBJECT;

/// What a record holds.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum RecordKind {
    /// An object.
    Object(Kind),
    /// A move of the root: KID = the version's commit, payload = its number (u64).
    Root,
    /// The first record of a segment: the root when the segment began, written as for `Root`.
    Base,
}

impl RecordKind {
    pub(crate) fn code(self) -> u8 {
        match self {
            Self::Object(Kind::Blob) => 1,
            Self::Object(Kind::Tree) => 2,
            Self::Object(Kind::Commit) => 3,
            Self::Root => 16,
            Self::Base => 17,
        }
    }

    pub(crate) fn from_code(code: u8) -> Option<Self> {
        Some(match code {
            1 => Self::Object(Kind::Blob),
            2 => Self::Object(Kind::Tree),
            3 => Self::Object(Kind::Commit),
            16 => Self::Root,
            17 => Self::Base,
            _ => return None,
        })
    }
}

/// What shows that a record of an object is whole.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Check {
    /// A checksum of its own.
    Sum,
    /// The object's KID.
    Kid,
}

/// A record in a buffer.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) struct Record<'a> {
    pub(crate) kind: RecordKind,
    pub(crate) kid: Kid,
    pub(crate) payload: &'a [u8],
    by: Check,
    check: [u8; CHECK],
    body: &'a [u8],
}

impl<'a> Record<'a> {
    /// The record at the start of `bytes`, its checksum not yet looked at; `None` if it is cut
    /// off or its header is impossible.
    pub(crate) fn parse(bytes: &'a [u8]) -> Option<Self> {
        let len = u32::from_le_bytes(*bytes.first_chunk::<4>()?) as usize;
        if len > MAX_PAYLOAD || bytes.len() < len + OVERHEAD {
            return None;
        }
        let by = if bytes[4] & BY_KID == 0 { Check::Sum } else { Check::Kid };
        let kind = RecordKind::from_code(bytes[4] & !BY_KID)?;
        if !matches!(kind, RecordKind::Object(_)) && (len != 8 || by == Check::Kid) {
            return None;
        }
        let (body, rest) = bytes.split_at(HEADER + len);
        Some(Self {
            kind,
            by,
            kid: Kid::from_bytes(*body[5..].first_chunk()?),
            payload: &body[HEADER..],
            check: *rest.first_chunk()?,
            body,
        })
    }

    /// Bytes it takes.
    pub(crate) fn size(&self) -> usize {
        self.payload.len() + OVERHEAD
    }

    /// Whether it was written whole.
    pub(crate) fn is_whole(&self) -> bool {
        match (self.by, self.kind) {
            (Check::Kid, RecordKind::Object(kind)) => {
                start_of(&self.kid) == self.check && kind.kid_of(self.payload) == self.kid
            }
            _ => checksum(self.body) == self.check,
        }
    }

    /// What shows that it is whole.
    pub(crate) fn by(&self) -> Check {
        self.by
    }

    /// The number in a root or base record.
    pub(crate) fn seq(&self) -> u64 {
        self.payload.first_chunk().map_or(0, |bytes| u64::from_le_bytes(*bytes))
    }
}

/// Appends a record with a checksum. The payload is at most [`MAX_PAYLOAD`] long.
pub(crate) fn push(out: &mut Vec<u8>, kind: RecordKind, kid: &Kid, payload: &[u8]) {
    let start = out.len();
    begin(out, kind.code(), kid, payload);
    let check = checksum(&out[start..]);
    out.extend_from_slice(&check);
}

/// Appends a record of an object, which has this KID. At most [`MAX_PAYLOAD`] long.
pub(crate) fn push_object(out: &mut Vec<u8>, by: Check, kind: Kind, kid: &Kid, payload: &[u8]) {
    let record = RecordKind::Object(kind);
    if by == Check::Sum {
        return push(out, record, kid, payload);
    }
    begin(out, record.code() | BY_KID, kid, payload);
    out.extend_from_slice(&start_of(kid));
}

fn begin(out: &mut Vec<u8>, code: u8, kid: &Kid, payload: &[u8]) {
    out.extend_from_slice(&(payload.len() as u32).to_le_bytes());
    out.push(code);
    out.extend_from_slice(kid.as_bytes());
    out.extend_from_slice(payload);
}

fn start_of(kid: &Kid) -> [u8; CHECK] {
    let mut check = [0; CHECK];
    check.copy_from_slice(&kid.as_bytes()[..CHECK]);
    check
}

fn checksum(body: &[u8]) -> [u8; CHECK] {
    let mut check = [0; CHECK];
    check.copy_from_slice(&blake3::hash(body).as_bytes()[..CHECK]);
    check
}

#[cfg(test)]
mod tests {
    use super::*;

    fn pushed(by: Check) -> Vec<u8> {
        let mut out = Vec::new();
        push_object(&mut out, by, Kind::Blob, &Kid::of_blob(b"hello\n"), b"hello\n");
        out
    }

    #[test]
    fn golden_bytes_never_change() {
        let hex = |bytes: &[u8]| bytes.iter().map(|byte| format!("{byte:02x}")).collect::<String>();
        let golden = include_str!("../../../tests/golden/records.txt");
        let mut root = Vec::new();
        push(&mut root, RecordKind::Root, &Kid::of_blob(b"hello\n"), &7u64.to_le_bytes());
        let lines = [pushed(Check::Sum), pushed(Check::Kid), root].map(|bytes| hex(&bytes));
        assert_eq!(lines.join("\n") + "\n", golden);
    }

    #[test]
    fn a_flip_anywhere_shows() {
        for by in [Check::Sum, Check::Kid] {
            let good = pushed(by);
            assert!(Record::parse(&good).is_some_and(|record| record.is_whole()));
            for bit in 0..good.len() * 8 {
                let mut bad = good.clone();
                bad[bit / 8] ^= 1 << (bit % 8);
                let whole = Record::parse(&bad).is_some_and(|record| record.is_whole());
                assert!(!whole, "bit {bit} of {by:?}");
            }
            for end in 0..good.len() {
                assert!(Record::parse(&good[..end]).is_none(), "{end} bytes");
            }
        }
    }
}
