//! The text of streams and logs: bounded tails, and lines that are safe to show.

use std::{
    fs::File,
    io::{Read as _, Seek as _, SeekFrom},
};

use keg::{Keg, Kid};

use crate::{error::Fault, view::store_fault};

/// Bytes read at a time.
const STEP: usize = 128 * 1024;

/// The end of a stream.
pub struct Tail {
    /// Its text, from the start of a line.
    pub text: String,
    /// Whether there is more before it.
    pub cut: bool,
    /// The offset after it, in bytes of the stream.
    pub end: u64,
    /// Whether nothing more will come.
    pub sealed: bool,
}

/// The last `most` bytes of a stream, from the start of a line and up to the end of one; `None` if
/// there is no such stream.
pub fn tail(keg: &Keg, id: &str, most: u64) -> Option<Tail> {
    let streams = keg.streams();
    // Asked before reading, so that nothing written before the seal is missed.
    let sealed = streams.sealed(id).ok()?.is_some();
    let mut file = File::open(streams.path(id).ok()?).ok()?;
    let size = file.metadata().ok()?.len();
    let start = size.saturating_sub(most);
    file.seek(SeekFrom::Start(start)).ok()?;
    let mut bytes = Vec::new();
    file.take(most).read_to_end(&mut bytes).ok()?;
    // A line that is being written comes live, when it is whole.
    if !sealed {
        let whole = bytes.iter().rposition(|b| *b == b'\n').map_or(0, |at| at + 1);
        bytes.truncate(whole);
    }
    let end = start + bytes.len() as u64;
    Some(Tail { text: from_line(&bytes, start > 0), cut: start > 0, end, sealed })
}

/// The end of a blob's text, at most `most` bytes, from the start of a line.
///
/// The blob is read from its start, so that it is checked against its KID, in steps that let other
/// requests run; only its end is kept.
///
/// # Errors
/// The blob is missing or damaged.
pub async fn blob_tail(keg: &Keg, kid: &Kid, size: u64, most: u64) -> Result<String, Fault> {
    let mut blob = keg.objects().open_blob(kid).map_err(|error| store_fault(kid, &error))?;
    let skip = size.saturating_sub(most);
    let (mut kept, mut read) = (Vec::new(), 0);
    let mut step = vec![0; STEP];
    loop {
        let got = blob.read(&mut step);
        let got =
            got.map_err(|error| Fault::inside(&format!("Reading {}", kid.short()), &error))?;
        if got == 0 {
            return Ok(from_line(&kept, skip > 0));
        }
        // Below `STEP`, so it fits.
        let unwanted = skip.saturating_sub(read).min(got as u64) as usize;
        kept.extend_from_slice(&step[unwanted..got]);
        read += got as u64;
        tokio::task::yield_now().await;
    }
}

fn from_line(bytes: &[u8], cut: bool) -> String {
    let start = if cut { bytes.iter().position(|b| *b == b'\n').map_or(0, |at| at + 1) } else { 0 };
    String::from_utf8_lossy(&bytes[start..]).into_owned()
}

/// The lines of a text as a terminal would leave them: without colours, and of a line that was
/// written over (progress), the last state.
pub fn lines(text: &str) -> impl Iterator<Item = String> + '_ {
    text.lines().map(|line| {
        let line = line.trim_end_matches('\r');
        plain(line.rsplit('\r').next().unwrap_or(line))
    })
}

/// A line without control characters and escape sequences.
fn plain(line: &str) -> String {
    let mut out = String::with_capacity(line.len());
    let mut chars = line.chars().peekable();
    while let Some(c) = chars.next() {
        if c != '\u{1b}' {
            if c == '\t' || !c.is_control() {
                out.push(c);
            }
            continue;
        }
        if chars.next_if_eq(&'[').is_some() {
            // CSI: parameters, then a final byte from @ to ~.
            while chars.next_if(|c| !('@'..='~').contains(c)).is_some() {}
            chars.next();
        } else {
            chars.next();
        }
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_lose_what_only_a_terminal_understands() {
        for (text, want) in [
            ("a\nb\n", vec!["a", "b"]),
            ("\u{1b}[1;31mred\u{1b}[0m x", vec!["red x"]),
            ("10%\r20%\r100%\n", vec!["100%"]),
            ("dos\r\n", vec!["dos"]),
            ("bell\u{7}\ttab", vec!["bell\ttab"]),
            ("cut \u{1b}[", vec!["cut "]),
            ("", vec![]),
        ] {
            assert_eq!(lines(text).collect::<Vec<_>>(), want, "{text:?}");
        }
    }

    #[tokio::test]
    async fn a_blob_is_read_to_its_end_and_its_tail_is_kept() {
        let keg = Keg::in_memory();
        let text: String = (0..40_000).map(|number| format!("line {number}\n")).collect();
        let entry = keg.objects().put_bytes(text.as_bytes()).expect("stored");
        let (kid, size) = (entry.kid().expect("a file"), text.len() as u64);
        let tail = blob_tail(&keg, &kid, size, 30).await.expect("read");
        assert_eq!(tail, "line 39998\nline 39999\n");
        assert_eq!(blob_tail(&keg, &kid, size, size).await.expect("read"), text);
    }

    #[test]
    fn a_tail_starts_and_ends_with_whole_lines() {
        let keg = Keg::in_memory();
        let mut stream = keg.streams().create("build-1").expect("a stream");
        for number in 0..10 {
            stream.line(&format!("line {number}")).expect("written");
        }
        std::io::Write::write_all(&mut stream, b"half").expect("written");
        let tail = super::tail(&keg, "build-1", 20).expect("there");
        assert_eq!((tail.text.as_str(), tail.cut, tail.sealed), ("line 8\nline 9\n", true, false));
        assert_eq!(tail.end, 70);
        keg.streams().seal("build-1").expect("sealed");
        let tail = super::tail(&keg, "build-1", 1000).expect("there");
        assert!(tail.text.ends_with("half") && tail.sealed && !tail.cut);
        assert!(super::tail(&keg, "nothing", 10).is_none());
        assert!(super::tail(&keg, "../objects", 10).is_none());
    }
}
