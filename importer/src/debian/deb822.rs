//! Debian's control format (deb822): stanzas of `Field: value` lines, without copying.
//!
//! Stanzas end at an empty line; a line that starts with a blank continues the field before it.
//! Text is bytes: only values that are asked for are checked to be UTF-8.

use memchr::memchr;

/// The stanzas of a document.
pub struct Stanzas<'a> {
    rest: &'a [u8],
}

/// Reads `document` stanza by stanza.
pub fn stanzas(document: &[u8]) -> Stanzas<'_> {
    Stanzas { rest: document }
}

impl<'a> Iterator for Stanzas<'a> {
    type Item = Stanza<'a>;

    fn next(&mut self) -> Option<Stanza<'a>> {
        while let Some((line, rest)) = split_line(self.rest) {
            if !is_blank(line) {
                break;
            }
            self.rest = rest;
        }
        if self.rest.is_empty() {
            return None;
        }
        let mut end = 0;
        while let Some((line, rest)) = split_line(&self.rest[end..]) {
            if is_blank(line) {
                break;
            }
            end = self.rest.len() - rest.len();
        }
        let (stanza, rest) = self.rest.split_at(end);
        self.rest = rest;
        Some(Stanza(stanza))
    }
}

/// One stanza.
#[derive(Clone, Copy)]
pub struct Stanza<'a>(&'a [u8]);

impl<'a> Stanza<'a> {
    /// The whole text.
    pub fn bytes(self) -> &'a [u8] {
        self.0
    }

    /// The fields in their order. Values are without the blanks around them, with the line breaks
    /// and leading blanks of continuation lines.
    pub fn fields(self) -> Fields<'a> {
        Fields { rest: self.0 }
    }

    /// The first field of this name (in any case), if it is there and UTF-8.
    pub fn get(self, name: &str) -> Option<&'a str> {
        let (_, value) = self.fields().find(|(n, _)| n.eq_ignore_ascii_case(name.as_bytes()))?;
        std::str::from_utf8(value).ok()
    }
}

/// The fields of a stanza: name and value.
pub struct Fields<'a> {
    rest: &'a [u8],
}

impl<'a> Iterator for Fields<'a> {
    type Item = (&'a [u8], &'a [u8]);

    fn next(&mut self) -> Option<Self::Item> {
        loop {
            let (first, mut rest) = split_line(self.rest)?;
            let start = self.rest;
            while let Some((line, after)) = split_line(rest) {
                if !matches!(line.first(), Some(b' ' | b'\t')) {
                    break;
                }
                rest = after;
            }
            self.rest = rest;
            let whole = &start[..start.len() - rest.len()];
            let comment = first.first() == Some(&b'#');
            let Some(colon) = memchr(b':', first).filter(|at| *at > 0 && !comment) else {
                continue;
            };
            return Some((first[..colon].trim_ascii(), whole[colon + 1..].trim_ascii()));
        }
    }
}

fn is_blank(line: &[u8]) -> bool {
    line.trim_ascii().is_empty()
}

/// The first line without its end, and what follows; `None` at the end of the text.
pub fn split_line(text: &[u8]) -> Option<(&[u8], &[u8])> {
    if text.is_empty() {
        return None;
    }
    match memchr(b'\n', text) {
        Some(at) => Some((&text[..at], &text[at + 1..])),
        None => Some((text, &[])),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn stanzas_and_fields() {
        let text = b"\n\nPackage: a\nDepends: b,\n c (>= 1)\n# no: field\nSize: 1\n\n \nPackage:d";
        let all: Vec<_> = stanzas(text).collect();
        assert_eq!(all.len(), 2);
        assert_eq!(all[0].get("package"), Some("a"));
        assert_eq!(all[0].get("Depends"), Some("b,\n c (>= 1)"));
        assert_eq!(all[0].get("Size"), Some("1"));
        assert_eq!(all[0].fields().count(), 3);
        assert_eq!(all[1].get("Package"), Some("d"));
        assert_eq!(all[1].get("Depends"), None);
    }

    #[test]
    fn nonsense_is_no_field_and_no_loop() {
        for text in
            [&b""[..], b"\n\n", b":", b": x", b" cont\n", b"no colon\nmore\n", b"\xff:\xfe\n"]
        {
            for stanza in stanzas(text) {
                assert!(stanza.fields().count() <= 1);
                assert_eq!(stanza.get("x"), None);
            }
        }
    }
}
