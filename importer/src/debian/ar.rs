//! The outer format of a `.deb`: a Unix `ar` archive, read once from front to back.

use std::io::{self, Read};

const MAGIC: &[u8; 8] = b"!<arch>\n";
const HEADER: usize = 60;
/// A `.deb` has three members; a few more may follow (Debian Policy, deb(5)).
const MAX_MEMBERS: u32 = 16;

/// Why bytes are no `ar` archive.
#[derive(Debug, thiserror::Error)]
pub enum ArError {
    /// It does not start as one.
    #[error("it is no ar archive: it does not start with \"!<arch>\"")]
    Magic,
    /// It ends inside a member or header.
    #[error("it is truncated inside member {member} of the ar archive")]
    Truncated {
        /// Counted from one.
        member: u32,
    },
    /// A header that is none.
    #[error("the header of member {member} of the ar archive is malformed: {reason}")]
    Header {
        /// Counted from one.
        member: u32,
        /// What is wrong with it.
        reason: &'static str,
    },
    /// More than a `.deb` may have.
    #[error("the ar archive has more than {MAX_MEMBERS} members")]
    TooMany,
    /// The bytes cannot be read.
    #[error("reading the ar archive failed")]
    Io(#[source] io::Error),
}

/// Name and size of a member.
#[derive(Debug, PartialEq, Eq)]
pub struct Member {
    /// Without the padding and a closing `/`.
    pub name: String,
    /// Bytes.
    pub size: u64,
}

/// An archive; reading from it reads the current member.
pub struct Ar<R> {
    reader: R,
    /// Bytes of the current member not yet read.
    left: u64,
    /// Whether a padding byte follows the current member.
    padded: bool,
    members: u32,
}

impl<R: Read> Ar<R> {
    /// Begins to read an archive.
    ///
    /// # Errors
    /// It does not start as one, or cannot be read.
    pub fn open(mut reader: R) -> Result<Self, ArError> {
        let mut magic = [0; MAGIC.len()];
        match read_full(&mut reader, &mut magic) {
            Ok(n) if n == magic.len() && &magic == MAGIC => {
                Ok(Self { reader, left: 0, padded: false, members: 0 })
            }
            Ok(_) => Err(ArError::Magic),
            Err(e) => Err(ArError::Io(e)),
        }
    }

    /// Skips what is left of the current member and reads the next header; `None` at the end.
    ///
    /// # Errors
    /// The archive is truncated, malformed or has too many members.
    pub fn next_member(&mut self) -> Result<Option<Member>, ArError> {
        let truncated = ArError::Truncated { member: self.members };
        let skip = self.left;
        let skipped = io::copy(&mut (&mut self.reader).take(skip), &mut io::sink());
        if skipped.map_err(ArError::Io)? != skip {
            return Err(truncated);
        }
        self.left = 0;
        if std::mem::take(&mut self.padded) {
            // The last member's padding may be missing.
            let mut byte = [0];
            if read_full(&mut self.reader, &mut byte).map_err(ArError::Io)? == 0 {
                return Ok(None);
            }
        }
        let mut header = [0; HEADER];
        let read = read_full(&mut self.reader, &mut header).map_err(ArError::Io)?;
        self.members += 1;
        match read {
            0 => return Ok(None),
            HEADER => {}
            _ => return Err(ArError::Truncated { member: self.members }),
        }
        if self.members > MAX_MEMBERS {
            return Err(ArError::TooMany);
        }
        let bad = |reason| ArError::Header { member: self.members, reason };
        if &header[58..60] != b"`\n" {
            return Err(bad("its end mark is missing"));
        }
        let text = |range: std::ops::Range<usize>| std::str::from_utf8(&header[range]).ok();
        let name = text(0..16).ok_or_else(|| bad("its name is not UTF-8"))?.trim_end();
        let name = name.strip_suffix('/').unwrap_or(name).to_owned();
        if name.is_empty() || name.starts_with(['/', '#']) {
            return Err(bad("it has no plain name"));
        }
        let digits = text(48..58).unwrap_or_default().trim_end();
        let plain = !digits.is_empty() && digits.bytes().all(|b| b.is_ascii_digit());
        let size = plain.then(|| digits.parse().ok()).flatten();
        let size: u64 = size.ok_or_else(|| bad("its size is not a number"))?;
        self.left = size;
        self.padded = size % 2 == 1;
        Ok(Some(Member { name, size }))
    }
}

impl<R: Read> Read for Ar<R> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let most = usize::try_from(self.left).unwrap_or(usize::MAX).min(buffer.len());
        if most == 0 {
            return Ok(0);
        }
        let n = self.reader.read(&mut buffer[..most])?;
        if n == 0 {
            let reason =
                format!("it is truncated inside member {} of the ar archive", self.members);
            return Err(io::Error::new(io::ErrorKind::UnexpectedEof, reason));
        }
        self.left -= n as u64;
        Ok(n)
    }
}

/// Reads until `buffer` is full or the end: how many bytes there were.
fn read_full(reader: &mut impl Read, buffer: &mut [u8]) -> io::Result<usize> {
    let mut filled = 0;
    while filled < buffer.len() {
        match reader.read(&mut buffer[filled..]) {
            Ok(0) => break,
            Ok(n) => filled += n,
            Err(e) if e.kind() == io::ErrorKind::Interrupted => {}
            Err(e) => return Err(e),
        }
    }
    Ok(filled)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn member(name: &str, data: &[u8]) -> Vec<u8> {
        let mut out = format!("{name:<16}{:<12}{:<6}{:<6}{:<8}{:<10}`\n", 0, 0, 0, 644, data.len())
            .into_bytes();
        out.extend_from_slice(data);
        if data.len() % 2 == 1 {
            out.push(b'\n');
        }
        out
    }

    fn archive(members: &[(&str, &[u8])]) -> Vec<u8> {
        let parts = members.iter().map(|(name, data)| member(name, data));
        std::iter::once(MAGIC.to_vec()).chain(parts).collect::<Vec<_>>().concat()
    }

    /// Names and contents, or the first error as text.
    fn read(bytes: &[u8]) -> Result<Vec<(String, Vec<u8>)>, String> {
        let mut ar = Ar::open(bytes).map_err(|e| e.to_string())?;
        let mut all = Vec::new();
        while let Some(member) = ar.next_member().map_err(|e| e.to_string())? {
            let mut data = Vec::new();
            ar.read_to_end(&mut data).map_err(|e| e.to_string())?;
            all.push((member.name, data));
        }
        Ok(all)
    }

    #[test]
    fn members_are_read_in_order() {
        let bytes = archive(&[("debian-binary", b"2.0\n"), ("x/", b"odd"), ("y", b"")]);
        let names: Vec<_> = read(&bytes).expect("good").into_iter().map(|m| m.0).collect();
        assert_eq!(names, ["debian-binary", "x", "y"]);
        let mut ar = Ar::open(&bytes[..]).expect("good");
        ar.next_member().expect("good");
        assert_eq!(ar.next_member().expect("skips").map(|m| m.size), Some(3));
    }

    #[test]
    fn damage_is_named() {
        let good = archive(&[("debian-binary", b"2.0\n"), ("data", b"12345678")]);
        let check = |bytes: &[u8], want: &str| {
            let error = read(bytes).expect_err(want);
            assert!(error.contains(want), "{error}");
        };
        check(b"", "no ar archive");
        check(b"!<arch>X", "no ar archive");
        check(&good[..good.len() - 1], "truncated inside member 2");
        check(&good[..good.len() - 30], "truncated inside member 2");
        check(&archive(&vec![("a", &b""[..]); 17]), "more than 16");
        let mut bad = good.clone();
        bad[8 + 58] = b'x';
        check(&bad, "end mark");
        let mut bad = good.clone();
        bad[8 + 48] = b'-';
        check(&bad, "size is not a number");
        check(&archive(&[("//", b"")]), "no plain name");
    }
}
