//! Blocks: zstd frames with their lengths before and a checksum after.
//!
//! `stored u32 | raw u32 | a zstd frame, stored bytes | the first 8 bytes of BLAKE3 of all before`

use std::{fs::File, os::unix::fs::FileExt};

use zstd::zstd_safe::{
    CCtx, CParameter, DCtx, MAGIC_DICTIONARY, MAGICNUMBER, SafeResult, compress_bound,
    get_error_name,
};

use super::{MAX_BLOCK, MAX_PREFIX};

/// Bytes before the frame.
const HEAD: usize = 8;
/// Bytes after the frame.
const SUM: usize = 8;
/// Prefixes from this size on are searched for long matches, too.
const LONG_FROM: usize = 1 << 20;

/// Most bytes the frame of a block may have.
fn stored_max() -> usize {
    compress_bound(MAX_BLOCK)
}

/// Packs up to [`MAX_BLOCK`] bytes into a frame, behind up to [`MAX_PREFIX`] bytes that are known
/// when it is unpacked.
///
/// # Errors
/// What zstd says.
pub(crate) fn compress(prefix: &[u8], raw: &[u8], level: i32) -> Result<Vec<u8>, String> {
    let failed = |code| format!("zstd cannot pack it: {}", get_error_name(code));
    if prefix.len() > MAX_PREFIX || raw.len() > MAX_BLOCK {
        return Err("it is too long for a block".to_owned());
    }
    let mut context = CCtx::create();
    let mut set = |parameter| context.set_parameter(parameter).map_err(failed);
    set(CParameter::CompressionLevel(level))?;
    // The block says it.
    set(CParameter::ContentSizeFlag(false))?;
    // So that all of it is within reach, and the whole prefix: a level's own window may be shorter.
    let window = (prefix.len() + raw.len()).next_power_of_two().ilog2();
    set(CParameter::WindowLog(window.max(10)))?;
    if !prefix.is_empty() {
        set(CParameter::EnableLongDistanceMatching(prefix.len() >= LONG_FROM))?;
        context.ref_prefix(prefix).map_err(failed)?;
    }
    let mut frame = Vec::with_capacity(compress_bound(raw.len()));
    context.compress2(&mut frame, raw).map_err(failed)?;
    Ok(frame)
}

/// A block's bytes: lengths, frame, checksum.
pub(super) fn encode(raw_len: usize, frame: &[u8]) -> Vec<u8> {
    let mut out = Vec::with_capacity(HEAD + frame.len() + SUM);
    out.extend_from_slice(&(frame.len() as u32).to_le_bytes());
    out.extend_from_slice(&(raw_len as u32).to_le_bytes());
    out.extend_from_slice(frame);
    let sum = blake3::hash(&out);
    out.extend_from_slice(&sum.as_bytes()[..SUM]);
    out
}

/// A block as it is in the file.
pub(crate) struct Stored {
    bytes: Vec<u8>,
    raw: usize,
}

fn damaged(code: usize) -> String {
    format!("its zstd frame is damaged: {}", get_error_name(code))
}

/// How many bytes a block has in the file, and how many it unpacks to.
///
/// # Errors
/// What is wrong with it.
pub(super) fn lengths(file: &File, at: u64) -> Result<(u64, u64), String> {
    let mut head = [0; HEAD];
    let read = file.read_exact_at(&mut head, at);
    read.map_err(|error| format!("the block at {at} cannot be read: {error}"))?;
    let number =
        |from: usize| head[from..].first_chunk().map_or(0, |bytes| u32::from_le_bytes(*bytes));
    Ok(((HEAD + SUM) as u64 + u64::from(number(0)), u64::from(number(4)).max(1)))
}

impl Stored {
    /// Reads the block at `at` into `memory`; it must end before `end`.
    ///
    /// # Errors
    /// What is wrong with it.
    pub(super) fn read(file: &File, at: u64, end: u64, memory: Vec<u8>) -> Result<Self, String> {
        let unreadable = |error| format!("the block at {at} cannot be read: {error}");
        let room = end.saturating_sub(at);
        if room < (HEAD + SUM) as u64 {
            return Err(format!("there is no block at {at}"));
        }
        let mut head = [0; HEAD];
        file.read_exact_at(&mut head, at).map_err(unreadable)?;
        let number = |from: usize| {
            head[from..].first_chunk().map_or(0, |bytes| u32::from_le_bytes(*bytes)) as usize
        };
        let (stored, raw) = (number(0), number(4));
        let whole = HEAD + stored + SUM;
        if raw == 0 || raw > MAX_BLOCK || stored > stored_max() || whole as u64 > room {
            return Err(format!("the block at {at} has impossible lengths ({stored}, {raw})"));
        }
        let mut bytes = memory;
        bytes.resize(whole, 0);
        file.read_exact_at(&mut bytes, at).map_err(unreadable)?;
        let (body, sum) = bytes.split_at(whole - SUM);
        if blake3::hash(body).as_bytes()[..SUM] != *sum {
            return Err(format!("the block at {at} fails its checksum"));
        }
        Ok(Self { bytes, raw })
    }

    /// Its bytes, unpacked behind `prefix`.
    ///
    /// # Errors
    /// The frame is not one, or has more or fewer bytes than the block says.
    pub(crate) fn unpack(&self, prefix: &[u8]) -> Result<Vec<u8>, String> {
        self.unpack_behind(&mut DCtx::create(), prefix)
    }

    /// As [`Stored::unpack`], with a context to be used again: making one costs more than most
    /// patches take.
    pub(super) fn unpack_behind(
        &self,
        context: &mut DCtx<'static>,
        prefix: &[u8],
    ) -> Result<Vec<u8>, String> {
        unpack_behind(context, self.frame(), self.raw, prefix)
    }

    /// As [`Stored::unpack`] without a prefix, into `memory`, with a context to be used again.
    pub(super) fn unpack_plain(
        &self,
        context: &mut DCtx<'static>,
        memory: Vec<u8>,
    ) -> Result<Vec<u8>, String> {
        unpack_with(self.frame(), self.raw, memory, |raw, frame| context.decompress(raw, frame))
    }

    /// How many bytes it unpacks to.
    pub(crate) fn raw_len(&self) -> usize {
        self.raw
    }

    /// All of it, as it is in the file.
    pub(super) fn bytes(&self) -> &[u8] {
        &self.bytes
    }

    /// Its memory, to be used again.
    pub(super) fn into_memory(self) -> Vec<u8> {
        self.bytes
    }

    fn frame(&self) -> &[u8] {
        &self.bytes[HEAD..self.bytes.len() - SUM]
    }
}

/// A frame without the number that every frame begins with.
pub(crate) fn bare(frame: &[u8]) -> &[u8] {
    frame.strip_prefix(&MAGICNUMBER.to_le_bytes()).unwrap_or(frame)
}

/// The `raw_len` bytes of a frame that is [`bare`].
///
/// # Errors
/// As [`Stored::unpack`].
pub(super) fn unpack_bare(
    context: &mut DCtx<'static>,
    frame: &[u8],
    raw_len: usize,
    prefix: &[u8],
) -> Result<Vec<u8>, String> {
    let frame = [&MAGICNUMBER.to_le_bytes(), frame].concat();
    unpack_behind(context, &frame, raw_len, prefix)
}

fn unpack_behind(
    context: &mut DCtx<'static>,
    frame: &[u8],
    raw_len: usize,
    prefix: &[u8],
) -> Result<Vec<u8>, String> {
    // Bytes that look like a dictionary with tables would be taken for one.
    if prefix.starts_with(&MAGIC_DICTIONARY.to_le_bytes()) {
        let mut own = DCtx::create();
        own.ref_prefix(prefix).map_err(damaged)?;
        return unpack_with(frame, raw_len, Vec::new(), |raw, frame| own.decompress(raw, frame));
    }
    let unpack =
        |raw: &mut Vec<u8>, frame: &[u8]| context.decompress_using_dict(raw, frame, prefix);
    unpack_with(frame, raw_len, Vec::new(), unpack)
}

fn unpack_with(
    frame: &[u8],
    raw_len: usize,
    memory: Vec<u8>,
    unpack: impl FnOnce(&mut Vec<u8>, &[u8]) -> SafeResult,
) -> Result<Vec<u8>, String> {
    // The capacity is what bounds a frame that promises more.
    let mut raw = memory;
    raw.clear();
    raw.reserve_exact(raw_len);
    unpack(&mut raw, frame).map_err(damaged)?;
    if raw.len() != raw_len {
        return Err(format!("it unpacks to {} bytes, not {raw_len}", raw.len()));
    }
    Ok(raw)
}

#[cfg(test)]
mod tests {
    use std::io::Write;

    use proptest::prelude::*;

    use super::*;
    use crate::testing::noise;

    fn file_of(bytes: &[u8]) -> File {
        let mut file = tempfile::tempfile().unwrap();
        file.write_all(bytes).unwrap();
        file
    }

    fn read(bytes: &[u8], prefix: &[u8]) -> Result<Vec<u8>, String> {
        Stored::read(&file_of(bytes), 0, bytes.len() as u64, Vec::new())?.unpack(prefix)
    }

    #[test]
    fn blocks_round_trip_with_and_without_prefix() {
        let base = noise(1, 3 << 20);
        let mut raw = base.clone();
        raw[1 << 20] ^= 1;
        let plain = compress(&[], &raw, 3).unwrap();
        let behind = compress(&base, &raw, 9).unwrap();
        assert!(plain.len() > 3 << 20 && behind.len() < 1000, "{}", behind.len());
        assert_eq!(read(&encode(raw.len(), &plain), &[]), Ok(raw.clone()));
        let block = encode(raw.len(), &behind);
        assert_eq!(read(&block, &base), Ok(raw.clone()));
        assert_ne!(read(&block, &noise(2, 3 << 20)), Ok(raw.clone()));
        // A base may begin as a dictionary does.
        let base = [&MAGIC_DICTIONARY.to_le_bytes()[..], &base].concat();
        let behind = compress(&base, &raw, 9).unwrap();
        assert!(behind.len() < 1000, "{}", behind.len());
        assert_eq!(read(&encode(raw.len(), &behind), &base), Ok(raw));
    }

    #[test]
    fn all_of_a_frame_is_within_reach() {
        let start = noise(4, MAX_BLOCK / 8 * 5);
        let twice = [&start[..], &start[..MAX_BLOCK / 8 * 3]].concat();
        // Lower levels look for little.
        let packed = compress(&[], &twice, 9).unwrap();
        assert!(packed.len() < start.len() + start.len() / 8, "{}", packed.len());
        assert!(read(&encode(twice.len(), &packed), &[]) == Ok(twice.clone()));
        let prefix = vec![1; MAX_PREFIX];
        let packed = compress(&prefix, &twice, 9).unwrap();
        assert!(read(&encode(twice.len(), &packed), &prefix) == Ok(twice));
    }

    #[test]
    fn frames_that_promise_too_much_are_refused() {
        let zeros = compress(&[], &vec![0; MAX_BLOCK], 3).unwrap();
        assert!(zeros.len() < 1000);
        let error = read(&encode(10, &zeros), &[]).unwrap_err();
        assert!(error.contains("damaged"), "{error}");
        for raw in [0, MAX_BLOCK + 1] {
            let error = read(&encode(raw, &zeros), &[]).unwrap_err();
            assert!(error.contains("impossible lengths"), "{error}");
        }
        let error = read(&encode(MAX_BLOCK - 1, &[]), &[]).unwrap_err();
        assert!(error.contains("damaged") || error.contains("unpacks"), "{error}");
        assert!(compress(&[], &vec![0; MAX_BLOCK + 1], 1).is_err());
        assert!(compress(&vec![0; MAX_PREFIX + 1], &[1], 1).is_err());
    }

    #[test]
    fn every_torn_or_flipped_block_is_refused() {
        let block = encode(5000, &compress(&[], &noise(3, 5000), 3).unwrap());
        for cut in (0..block.len()).step_by(7) {
            read(&block[..cut], &[]).expect_err("a torn block");
        }
        for at in (0..block.len()).step_by(5) {
            let mut wrong = block.clone();
            wrong[at] ^= 4;
            read(&wrong, &[]).expect_err("a flipped bit");
        }
    }

    proptest! {
        #[test]
        fn any_frame_unpacks_or_is_refused(
            frame in proptest::collection::vec(any::<u8>(), 0..200), raw in 1usize..4000,
        ) {
            // With a checksum that fits, so that zstd sees it.
            let mut frame = frame;
            frame.splice(..0, [0x28, 0xb5, 0x2f, 0xfd]);
            if let Ok(bytes) = read(&encode(raw, &frame), b"a prefix") {
                prop_assert_eq!(bytes.len(), raw);
            }
        }
    }
}
