//! Compressed members of a package and compressed indexes, decoded with bounded memory and output.

use std::io::{self, BufReader, Read};

/// Most memory the xz decoder may take: `xz -9` needs 65 MiB.
const XZ_MEMORY: u64 = 192 << 20;
/// Largest zstd window, as a power of two: what `zstd --ultra -22` uses.
const ZSTD_WINDOW_LOG: u32 = 27;
const BUFFER: usize = 128 * 1024;

/// A way to compress.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Compression {
    /// None.
    Plain,
    /// gzip.
    Gzip,
    /// xz (LZMA2).
    Xz,
    /// Zstandard.
    Zstd,
}

impl Compression {
    /// By what follows the name proper: ``, `.gz`, `.xz`, `.zst`; `None` for any other.
    pub fn by_suffix(suffix: &str) -> Option<Self> {
        match suffix {
            "" => Some(Self::Plain),
            ".gz" => Some(Self::Gzip),
            ".xz" => Some(Self::Xz),
            ".zst" => Some(Self::Zstd),
            _ => None,
        }
    }

    /// The bytes inside `reader`, at most `limit` of them: reading more fails.
    ///
    /// # Errors
    /// The decoder cannot be set up.
    pub fn decode<'a>(self, reader: impl Read + 'a, limit: u64) -> io::Result<Capped<'a>> {
        let reader = BufReader::with_capacity(BUFFER, reader);
        let inner: Box<dyn Read + 'a> = match self {
            Self::Plain => Box::new(reader),
            Self::Gzip => Box::new(flate2::bufread::MultiGzDecoder::new(reader)),
            Self::Xz => {
                let flags = liblzma::stream::CONCATENATED;
                let stream = liblzma::stream::Stream::new_stream_decoder(XZ_MEMORY, flags)?;
                Box::new(liblzma::bufread::XzDecoder::new_stream(reader, stream))
            }
            Self::Zstd => {
                let mut decoder = zstd::stream::read::Decoder::with_buffer(reader)?;
                decoder.window_log_max(ZSTD_WINDOW_LOG)?;
                Box::new(decoder)
            }
        };
        Ok(Capped { inner, left: limit, limit })
    }
}

/// A reader that fails once more than its limit was read.
pub struct Capped<'a> {
    inner: Box<dyn Read + 'a>,
    left: u64,
    limit: u64,
}

impl Read for Capped<'_> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let n = self.inner.read(buffer)?;
        match self.left.checked_sub(n as u64) {
            Some(left) => self.left = left,
            None => {
                let reason = format!("it unpacks to more than the {} bytes allowed", self.limit);
                return Err(io::Error::new(io::ErrorKind::FileTooLarge, reason));
            }
        }
        Ok(n)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn xz(data: impl Read) -> Vec<u8> {
        let mut out = Vec::new();
        liblzma::read::XzEncoder::new(data, 0).read_to_end(&mut out).expect("compresses");
        out
    }

    fn gzip(data: impl Read) -> Vec<u8> {
        let mut out = Vec::new();
        let level = flate2::Compression::fast();
        flate2::read::GzEncoder::new(data, level).read_to_end(&mut out).expect("compresses");
        out
    }

    fn zst(data: impl Read) -> Vec<u8> {
        zstd::stream::encode_all(data, 1).expect("compresses")
    }

    #[test]
    fn every_kind_is_decoded() {
        let data = b"twelve bytes".repeat(1000);
        for (suffix, bytes) in [
            ("", data.clone()),
            (".gz", gzip(&data[..])),
            (".xz", xz(&data[..])),
            (".zst", zst(&data[..])),
        ] {
            let compression = Compression::by_suffix(suffix).expect(suffix);
            let mut out = Vec::new();
            let mut reader = compression.decode(&bytes[..], data.len() as u64).expect(suffix);
            reader.read_to_end(&mut out).expect(suffix);
            assert_eq!(out, data, "{suffix}");
        }
        assert_eq!(Compression::by_suffix(".bz2"), None);
    }

    #[test]
    fn a_bomb_stops_at_the_limit() {
        const INSIDE: u64 = 256 << 20;
        const LIMIT: u64 = 1 << 20;
        for (suffix, bytes) in [
            (".gz", gzip(io::repeat(0).take(INSIDE))),
            (".xz", xz(io::repeat(0).take(INSIDE))),
            (".zst", zst(io::repeat(0).take(INSIDE))),
        ] {
            assert!((bytes.len() as u64) < INSIDE / 100, "{suffix} is a bomb");
            let compression = Compression::by_suffix(suffix).expect(suffix);
            let mut reader = compression.decode(&bytes[..], LIMIT).expect(suffix);
            let mut read = 0;
            let mut buffer = vec![0; 64 * 1024];
            let error = loop {
                match reader.read(&mut buffer) {
                    Ok(n) => read += n as u64,
                    Err(e) => break e,
                }
                assert!(read <= LIMIT, "{suffix}");
            };
            assert!(error.to_string().contains("more than the 1048576 bytes"), "{suffix}: {error}");
        }
    }

    #[test]
    fn damage_is_an_error() {
        let data = b"some data".repeat(100);
        for (suffix, bytes) in
            [(".gz", gzip(&data[..])), (".xz", xz(&data[..])), (".zst", zst(&data[..]))]
        {
            let compression = Compression::by_suffix(suffix).expect(suffix);
            let half = &bytes[..bytes.len() / 2];
            let mut out = Vec::new();
            let mut reader = compression.decode(half, 10_000).expect(suffix);
            assert!(reader.read_to_end(&mut out).is_err(), "{suffix} truncated");
        }
    }
}
