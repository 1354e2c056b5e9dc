//! The build log: a stream of lines that people read while the build runs.
//!
//! `-----> ` starts a step, seven spaces a detail of it. What packs print is copied line by line,
//! without control characters, and bounded: a pack that prints without end does not fill the disk.

use std::{
    io::{self, Write as _},
    time::Duration,
};

/// Most bytes of other programs' output in one log; the rest is dropped, and the log says so.
pub const MAX_COPIED: usize = 16 << 20;
/// Longest line that is kept, in bytes; the rest of it is dropped.
pub const MAX_LINE: usize = 4096;

/// Where the lines go: the stream in the Keg, or memory in tests.
pub trait Sink {
    /// Appends whole lines.
    ///
    /// # Errors
    /// The disk is full or fails.
    fn append(&mut self, lines: &[u8]) -> io::Result<()>;
}

impl Sink for keg::stream::StreamWriter {
    fn append(&mut self, lines: &[u8]) -> io::Result<()> {
        self.write_all(lines)
    }
}

impl Sink for Vec<u8> {
    fn append(&mut self, lines: &[u8]) -> io::Result<()> {
        self.write_all(lines)
    }
}

/// A build's log.
pub struct Log<S: Sink> {
    sink: S,
    copied: usize,
    error: Option<io::Error>,
}

impl<S: Sink> Log<S> {
    /// A log into `sink`.
    pub fn new(sink: S) -> Self {
        Self { sink, copied: 0, error: None }
    }

    /// A step: `-----> text`.
    pub fn step(&mut self, text: &str) {
        self.line(&format!("-----> {}", clean(text.as_bytes())));
    }

    /// A detail of the last step.
    pub fn detail(&mut self, text: &str) {
        self.line(&format!("       {}", clean(text.as_bytes())));
    }

    /// A failure and the way out of it.
    pub fn failure(&mut self, message: &str, hint: &str) {
        for (index, line) in message.lines().enumerate() {
            let mark = if index == 0 { " !     " } else { "       " };
            self.line(&format!("{mark}{}", clean(line.as_bytes())));
        }
        for line in hint.lines() {
            self.detail(line);
        }
    }

    /// A line of another program as it is.
    pub fn copy(&mut self, line: &[u8]) {
        self.copy_with("", line);
    }

    /// A line of another program, as a detail.
    pub fn copy_detail(&mut self, line: &[u8]) {
        self.copy_with("       ", line);
    }

    fn copy_with(&mut self, indent: &str, line: &[u8]) {
        if self.copied > MAX_COPIED {
            return;
        }
        self.copied += line.len() + indent.len() + 1;
        if self.copied > MAX_COPIED {
            self.detail(&format!(
                "(more than {} MiB printed: the rest is dropped)",
                MAX_COPIED >> 20
            ));
            return;
        }
        self.line(&format!("{indent}{}", clean(line)));
    }

    /// Where the lines go.
    pub fn sink(&self) -> &S {
        &self.sink
    }

    /// The first error of writing, if any: the log is then incomplete.
    pub fn take_error(&mut self) -> Option<io::Error> {
        self.error.take()
    }

    fn line(&mut self, text: &str) {
        if self.error.is_none() {
            self.error = self.sink.append(format!("{}\n", text.trim_end()).as_bytes()).err();
        }
    }
}

/// Splits a stream of bytes into lines for a [`Log`], keeping an unfinished one.
#[derive(Default)]
pub struct Lines {
    rest: Vec<u8>,
    dropping: bool,
}

impl Lines {
    /// Takes bytes and gives each line they finish.
    pub fn feed(&mut self, bytes: &[u8], mut line: impl FnMut(&[u8])) {
        for part in bytes.split_inclusive(|b| *b == b'\n') {
            let ended = part.ends_with(b"\n");
            let part = part.strip_suffix(b"\n").unwrap_or(part);
            if !self.dropping {
                self.rest.extend_from_slice(part);
            }
            if ended {
                if !self.dropping {
                    line(&self.rest);
                }
                self.rest.clear();
                self.dropping = false;
            } else if self.rest.len() > MAX_LINE {
                line(&self.rest);
                self.rest.clear();
                self.dropping = true;
            }
        }
    }

    /// Gives the last line where it has no end.
    pub fn finish(&mut self, mut line: impl FnMut(&[u8])) {
        if !self.rest.is_empty() {
            line(&self.rest);
        }
        self.rest.clear();
    }
}

/// Seconds for people: `0.04 s`, `12 s`.
pub fn seconds(time: Duration) -> String {
    let s = time.as_secs_f64();
    if s < 10.0 { format!("{s:.2} s") } else { format!("{s:.0} s") }
}

/// A count for people: `1 file`, `2 files`.
pub fn counted(count: usize, what: &str) -> String {
    format!("{count} {what}{}", if count == 1 { "" } else { "s" })
}

/// Bytes for people: `812 B`, `4.2 kB`, `39.0 MB`.
pub fn size(bytes: u64) -> String {
    match bytes as f64 {
        _ if bytes < 1000 => format!("{bytes} B"),
        b if bytes < 999_950 => format!("{:.1} kB", b / 1e3),
        b => format!("{:.1} MB", b / 1e6),
    }
}

/// Text without control characters, escape sequences and what follows a carriage return's rewrite.
fn clean(line: &[u8]) -> String {
    let line = &line[..line.len().min(MAX_LINE)];
    let line = line.strip_suffix(b"\r").unwrap_or(line);
    // A progress bar rewrites its line: only what stands there at the end counts.
    let line = line.rsplit(|b| *b == b'\r').next().unwrap_or(line);
    let text = String::from_utf8_lossy(line);
    let mut out = String::with_capacity(text.len());
    let mut chars = text.chars();
    while let Some(c) = chars.next() {
        if c == '\u{1b}' {
            skip_escape(&mut chars);
        } else if c == '\t' || !c.is_control() {
            out.push(c);
        }
    }
    out
}

/// Skips an ECMA-48 control sequence after its ESC: `[`, parameters, one final character.
fn skip_escape(chars: &mut std::str::Chars<'_>) {
    if !chars.as_str().starts_with('[') {
        return;
    }
    for c in chars.by_ref().skip(1) {
        if ('@'..='~').contains(&c) {
            return;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_are_split_cleaned_and_bounded() {
        let check = |chunks: &[&[u8]], want: &[&str]| {
            let mut got = Vec::new();
            let mut lines = Lines::default();
            for chunk in chunks {
                lines.feed(chunk, |line| got.push(clean(line)));
            }
            lines.finish(|line| got.push(clean(line)));
            assert_eq!(got, want);
        };
        check(&[b"a\nb", b"c\n", b"d"], &["a", "bc", "d"]);
        check(&[b"\x1b[31mred\x1b[0m\r\n"], &["red"]);
        check(&[b"10%\r20%\r30%\n"], &["30%"]);
        check(&[b"a\0\x07\tb\xff\n"], &["a\tb\u{fffd}"]);
        let long = vec![b'x'; MAX_LINE * 3];
        check(&[&long, b"yyy\nnext\n"], &["x".repeat(MAX_LINE).as_str(), "next"]);
    }

    #[test]
    fn numbers_for_people() {
        for (bytes, want) in [
            (0, "0 B"),
            (999, "999 B"),
            (4_210, "4.2 kB"),
            (999_949, "999.9 kB"),
            (999_950, "1.0 MB"),
        ] {
            assert_eq!(size(bytes), want);
        }
        for (count, want) in [(0, "0 files"), (1, "1 file"), (2, "2 files")] {
            assert_eq!(counted(count, "file"), want);
        }
        assert_eq!(seconds(Duration::from_millis(42)), "0.04 s");
    }

    #[test]
    fn steps_and_details_look_as_people_know_them() {
        let mut log = Log::new(Vec::new());
        log.step("Python app detected");
        log.detail("python 3.13");
        log.copy(b"-----> from a pack");
        log.failure("it failed\nbadly", "do this");
        let want = "-----> Python app detected\n       python 3.13\n-----> from a pack\n\
                    \x20!     it failed\n       badly\n       do this\n";
        assert_eq!(String::from_utf8_lossy(&log.sink), want);
    }

    #[test]
    fn a_pack_that_prints_without_end_is_cut() {
        let mut log = Log::new(Vec::new());
        let line = [b'x'; 1023];
        for _ in 0..(MAX_COPIED / 1024 + 100) {
            log.copy(&line);
        }
        log.step("ours is still written");
        let text = String::from_utf8_lossy(&log.sink);
        assert!(text.len() <= MAX_COPIED + 200, "{}", text.len());
        assert!(text.contains("the rest is dropped"));
        assert!(text.ends_with("ours is still written\n"));
    }
}
