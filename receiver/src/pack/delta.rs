//! Git's deltas: a target described as copies from a base and literal bytes.
//!
//! Format: <https://git-scm.com/docs/pack-format#_deltified_representation>.

/// Git takes no delta shorter than this: two sizes and one instruction with an operand.
const MIN_BYTES: usize = 4;

/// The sizes at the start of a delta, and its instructions.
pub(crate) struct Delta<'a> {
    /// Bytes the base must have.
    pub(crate) base_size: u64,
    /// Bytes the target has.
    pub(crate) target_size: u64,
    instructions: &'a [u8],
}

impl<'a> Delta<'a> {
    /// Reads the sizes; `None` if they are cut off or overflow, or nothing but sizes is there.
    pub(crate) fn parse(bytes: &'a [u8]) -> Option<Self> {
        if bytes.len() < MIN_BYTES {
            return None;
        }
        let (base_size, rest) = size(bytes)?;
        let (target_size, instructions) = size(rest)?;
        Some(Self { base_size, target_size, instructions })
    }

    /// Writes the target, which has [`Self::target_size`] bytes; `None` if the instructions do not
    /// fit base and target exactly.
    pub(crate) fn apply(&self, base: &[u8], target: &mut [u8]) -> Option<()> {
        let mut rest = self.instructions;
        let mut target = target;
        while let Some((&command, after)) = rest.split_first() {
            let source;
            (source, rest) = match command {
                0 => return None,
                literal if literal & 0x80 == 0 => after.split_at_checked(usize::from(literal))?,
                copy => {
                    let (range, after) = copy_range(copy, after)?;
                    (base.get(range)?, after)
                }
            };
            let (out, left) = target.split_at_mut_checked(source.len())?;
            out.copy_from_slice(source);
            target = left;
        }
        target.is_empty().then_some(())
    }
}

/// The range of the base that a copy instruction names, and the bytes after it.
fn copy_range(command: u8, bytes: &[u8]) -> Option<(std::ops::Range<usize>, &[u8])> {
    let mut rest = bytes;
    let mut fields = [0u8; 7];
    for (bit, field) in fields.iter_mut().enumerate() {
        if command & (1 << bit) != 0 {
            let (&byte, after) = rest.split_first()?;
            *field = byte;
            rest = after;
        }
    }
    let start = u32::from_le_bytes([fields[0], fields[1], fields[2], fields[3]]) as usize;
    let len = match u32::from_le_bytes([fields[4], fields[5], fields[6], 0]) as usize {
        0 => 0x10000,
        len => len,
    };
    Some((start..start.checked_add(len)?, rest))
}

/// A little-endian base-128 number.
fn size(bytes: &[u8]) -> Option<(u64, &[u8])> {
    let mut value = 0u64;
    for (at, &byte) in bytes.iter().enumerate().take(9) {
        value |= u64::from(byte & 0x7f) << (7 * at);
        if byte & 0x80 == 0 {
            return Some((value, &bytes[at + 1..]));
        }
    }
    None
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(base: &[u8], delta: &[u8]) -> Option<Vec<u8>> {
        let delta = Delta::parse(delta)?;
        let mut target = vec![0; usize::try_from(delta.target_size).ok()?];
        delta.apply(base, &mut target)?;
        Some(target)
    }

    #[test]
    fn deltas_apply_exactly_or_not_at_all() {
        let cases: [(&[u8], Option<&[u8]>); 8] = [
            (b"\x06\x05\x91\x01\x03\x02xy", Some(b"bcdxy")),
            (b"\x06\x05\x91\x01\x03\x02x", None),
            (b"\x06\x04\x91\x01\x03\x02xy", None),
            (b"\x06\x06\x91\x01\x03\x02xy", None),
            (b"\x06\x05\x91\x04\x03\x02xy", None),
            (b"\x06\x01\x00", None),
            (b"\x06", None),
            (b"\x06\x00", None),
        ];
        for (delta, want) in cases {
            assert_eq!(check(b"abcdef", delta).as_deref(), want, "{delta:x?}");
        }
    }

    #[test]
    fn a_copy_without_size_is_64_kib() {
        let base = vec![7; 0x10000];
        assert_eq!(check(&base, b"\x80\x80\x04\x80\x80\x04\x80").map(|t| t.len()), Some(0x10000));
    }
}
