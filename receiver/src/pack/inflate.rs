//! Inflating the entries of a pack that is at hand.

use flate2::{Decompress, FlushDecompress, Status};

/// A reusable inflater.
pub(crate) struct Inflater(Decompress);

impl Inflater {
    /// A new inflater.
    pub(crate) fn new() -> Self {
        Self(Decompress::new(true))
    }

    /// Ready for the next stream.
    pub(crate) fn reset(&mut self) {
        self.0.reset(true);
    }

    /// Inflates some of `input` to `output`: bytes consumed, bytes produced, whether the stream
    /// ended. `None`: the stream is damaged.
    pub(crate) fn step(&mut self, input: &[u8], output: &mut [u8]) -> Option<(usize, usize, bool)> {
        let (before_in, before_out) = (self.0.total_in(), self.0.total_out());
        let status = self.0.decompress(input, output, FlushDecompress::None).ok()?;
        let consumed = usize::try_from(self.0.total_in() - before_in).ok()?;
        let produced = usize::try_from(self.0.total_out() - before_out).ok()?;
        Some((consumed, produced, status == Status::StreamEnd))
    }

    /// Inflates the stream at the start of `input`, which must fill `output` exactly.
    pub(crate) fn whole(&mut self, input: &[u8], output: &mut [u8]) -> Option<()> {
        self.reset();
        let (mut read, mut written) = (0, 0);
        loop {
            let (consumed, produced, ended) =
                self.step(input.get(read..)?, output.get_mut(written..)?)?;
            read += consumed;
            written += produced;
            match ended {
                true => return (written == output.len()).then_some(()),
                false if written == output.len() => return self.at_end(input.get(read..)?),
                false if consumed == 0 && produced == 0 => return None,
                false => {}
            }
        }
    }

    /// Whether nothing but the stream's end is left in `input`.
    fn at_end(&mut self, input: &[u8]) -> Option<()> {
        let (_, produced, ended) = self.step(input, &mut [0])?;
        (ended && produced == 0).then_some(())
    }
}

#[cfg(test)]
mod tests {
    use std::io::Write;

    use super::*;

    fn deflate(bytes: &[u8]) -> Vec<u8> {
        let mut encoder = flate2::write::ZlibEncoder::new(Vec::new(), flate2::Compression::fast());
        encoder.write_all(bytes).expect("memory");
        encoder.finish().expect("memory")
    }

    #[test]
    fn whole_streams_fill_their_output_exactly() {
        let bytes = b"abc".repeat(100_000);
        let stream = deflate(&bytes);
        for (len, cut, good) in [
            (bytes.len(), 0, true),
            (bytes.len() - 1, 0, false),
            (bytes.len() + 1, 0, false),
            (bytes.len(), 1, false),
        ] {
            let mut out = vec![0; len];
            let input = &stream[..stream.len() - cut];
            assert_eq!(Inflater::new().whole(input, &mut out).is_some(), good, "{len} {cut}");
        }
        assert!(Inflater::new().whole(&deflate(b""), &mut []).is_some());
    }
}
