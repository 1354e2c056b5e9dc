//! Compression of one piece at a time, alone or as a difference to a base (zstd, RFC 8878, with
//! the base as prefix: `zstd --patch-from`).

use zstd::zstd_safe::{
    CCtx, CParameter, DCtx, DParameter, SafeResult, compress_bound, get_error_name,
};

use super::{
    MAX_BASE, MAX_DOCUMENT, MAX_FRAME,
    error::{SyncError, protocol},
};

/// zstd's level for pieces up to [`SMALL`], where time does not matter.
const THOROUGH: i32 = 12;
/// … and for larger ones.
const FAST: i32 = 3;
/// See [`THOROUGH`].
const SMALL: usize = 64 << 10;
/// Window that reaches over a base and a frame: 2^24 bytes.
const WINDOW: u32 = 24;
const _: () = assert!(MAX_BASE + MAX_FRAME <= 1 << WINDOW);
/// Every 2^4th place of a large base is remembered, so that each block finds its match at once.
const LDM_RATE: u32 = 4;
/// Shortest window zstd has: 2^10 bytes.
const MIN_WINDOW: u32 = 10;

/// The zstd frame of these bytes, with its size in it.
pub(super) fn compress(bytes: &[u8], base: Option<&[u8]>) -> Result<Vec<u8>, SyncError> {
    let reach = bytes.len() + base.map_or(0, <[u8]>::len);
    let level = if reach <= SMALL { THOROUGH } else { FAST };
    let mut context = CCtx::create();
    check(context.set_parameter(CParameter::CompressionLevel(level)))?;
    if let Some(base) = base {
        let window = (usize::BITS - reach.leading_zeros()).clamp(MIN_WINDOW, WINDOW);
        check(context.set_parameter(CParameter::WindowLog(window)))?;
        // The tables of a fast level forget most of a large base.
        let long = reach > SMALL;
        check(context.set_parameter(CParameter::EnableLongDistanceMatching(long)))?;
        check(context.set_parameter(CParameter::LdmHashRateLog(if long { LDM_RATE } else { 0 })))?;
        check(context.ref_prefix(base))?;
    }
    let mut out = Vec::with_capacity(compress_bound(bytes.len()));
    check(context.compress2(&mut out, bytes))?;
    Ok(out)
}

/// The `len` bytes that a zstd frame holds: never more, whatever the frame says.
pub(super) fn decompress(
    frame: &[u8],
    base: Option<&[u8]>,
    len: usize,
) -> Result<Vec<u8>, SyncError> {
    debug_assert!(len <= MAX_DOCUMENT.max(MAX_FRAME), "the caller has checked the length");
    let mut context = DCtx::create();
    check(context.set_parameter(DParameter::WindowLogMax(WINDOW + 3)))?;
    if let Some(base) = base {
        check(context.ref_prefix(base))?;
    }
    let mut out = Vec::with_capacity(len);
    check(context.decompress(&mut out, frame))?;
    if out.len() != len {
        return Err(protocol(format!("a frame holds {} bytes instead of {len}", out.len())));
    }
    Ok(out)
}

fn check(result: SafeResult) -> Result<usize, SyncError> {
    result.map_err(|code| protocol(format!("zstd: {}", get_error_name(code))))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::noise;

    #[test]
    fn a_small_change_of_any_size_of_base_is_small() {
        for size in [10, 4000, 100_000, MAX_FRAME] {
            let base = noise(1, size);
            let mut changed = base.clone();
            changed[size / 2] ^= 1;
            let patch = compress(&changed, Some(&base)).unwrap();
            assert!(patch.len() < 200 + size / 500, "{size}: {}", patch.len());
            assert!(decompress(&patch, Some(&base), size).unwrap() == changed);
            assert!(
                decompress(&patch, None, size).is_ok_and(|bytes| bytes == changed) == (size == 10)
            );
        }
    }

    #[test]
    fn no_frame_becomes_more_than_was_announced() {
        let bomb = compress(&vec![0; 1 << 20], None).unwrap();
        assert!(bomb.len() < 200);
        for len in [0, 1, 4096, (1 << 20) - 1, (1 << 20) + 1] {
            decompress(&bomb, None, len).expect_err("another length");
        }
        decompress(b"not zstd", None, 8).expect_err("no frame");
        let mut twice = bomb.clone();
        twice.extend_from_slice(&bomb);
        decompress(&twice, None, 1 << 20).expect_err("two frames");
    }
}
