//! Records of the log: `[len u32][kind u8][KID 32][payload len][check 8]`, little-endian.

use crate::{Kid, object::Kind};

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

/// A record in a buffer.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) struct Record<'a> {
    pub(crate) kind: RecordKind,
    pub(crate) kid: Kid,
    pub(crate) payload: &'a [u8],
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
        let kind = RecordKind::from_code(bytes[4])?;
        if !matches!(kind, RecordKind::Object(_)) && len != 8 {
            return None;
        }
        let (body, rest) = bytes.split_at(HEADER + len);
        Some(Self {
            kind,
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
        checksum(self.body) == self.check
    }

    /// The number in a root or base record.
    pub(crate) fn seq(&self) -> u64 {
        self.payload.first_chunk().map_or(0, |bytes| u64::from_le_bytes(*bytes))
    }
}

/// Appends a record. The payload is at most [`MAX_PAYLOAD`] long.
pub(crate) fn push(out: &mut Vec<u8>, kind: RecordKind, kid: &Kid, payload: &[u8]) {
    let start = out.len();
    out.extend_from_slice(&(payload.len() as u32).to_le_bytes());
    out.push(kind.code());
    out.extend_from_slice(kid.as_bytes());
    out.extend_from_slice(payload);
    let check = checksum(&out[start..]);
    out.extend_from_slice(&check);
}

fn checksum(body: &[u8]) -> [u8; CHECK] {
    let mut check = [0; CHECK];
    check.copy_from_slice(&blake3::hash(body).as_bytes()[..CHECK]);
    check
}
