//! Commits and tags: header lines, then a message.

use gix_hash::ObjectId;
use gix_object::Kind;

use super::Fault;

/// What a commit names.
pub(crate) struct CommitLinks {
    /// Its tree.
    pub(crate) tree: ObjectId,
    /// Its parents.
    pub(crate) parents: Vec<ObjectId>,
}

/// What a tag names.
#[derive(Debug)]
pub(crate) struct TagLink {
    /// The object.
    pub(crate) target: ObjectId,
    /// Its kind.
    pub(crate) kind: Kind,
}

/// Checks a commit.
///
/// # Errors
/// The first fault, as git orders them.
pub(crate) fn commit(bytes: &[u8]) -> Result<CommitLinks, Fault> {
    headers_end(bytes)?;
    let mut rest = Lines(bytes);
    let missing = Fault::new("missingTree", "it has no tree line");
    let bad = Fault::new("badTreeSha1", "its tree line has no valid id");
    let tree = rest.id(b"tree ", bad)?.ok_or(missing)?;
    let bad = Fault::new("badParentSha1", "a parent line has no valid id");
    let mut parents = Vec::new();
    while let Some(parent) = rest.id(b"parent ", bad)? {
        parents.push(parent);
    }
    let mut authors = 0;
    while rest.skip(b"author ") {
        rest.ident()?;
        authors += 1;
    }
    match authors {
        0 => return Err(Fault::new("missingAuthor", "it has no author line")),
        1 => {}
        _ => return Err(Fault::new("multipleAuthors", "it has several author lines")),
    }
    if !rest.skip(b"committer ") {
        return Err(Fault::new("missingCommitter", "it has no committer line"));
    }
    rest.ident()?;
    if bytes.contains(&0) {
        return Err(Fault::new("nulInCommit", "it contains a NUL byte"));
    }
    Ok(CommitLinks { tree, parents })
}

/// Checks an annotated tag.
///
/// # Errors
/// The first fault, as git orders them.
pub(crate) fn tag(bytes: &[u8]) -> Result<TagLink, Fault> {
    headers_end(bytes)?;
    let mut rest = Lines(bytes);
    let missing = Fault::new("missingObject", "it has no object line");
    let bad = Fault::new("badObjectSha1", "its object line has no valid id");
    let target = rest.id(b"object ", bad)?.ok_or(missing)?;
    if !rest.skip(b"type ") {
        return Err(Fault::new("missingTypeEntry", "it has no type line"));
    }
    let line = rest.line().ok_or(Fault::new("missingType", "its type line does not end"))?;
    let kind = Kind::from_bytes(line).map_err(|_| Fault::new("badType", "its type is unknown"))?;
    if !rest.skip(b"tag ") {
        return Err(Fault::new("missingTagEntry", "it has no tag line"));
    }
    rest.line().ok_or(Fault::new("missingTag", "its tag line does not end"))?;
    if rest.skip(b"tagger ") {
        rest.ident()?;
    }
    Ok(TagLink { target, kind })
}

/// Checks that the headers end, and before any NUL.
fn headers_end(bytes: &[u8]) -> Result<(), Fault> {
    for (at, byte) in bytes.iter().enumerate() {
        match byte {
            0 => return Err(Fault::new("nulInHeader", "its header contains a NUL byte")),
            b'\n' if bytes.get(at + 1) == Some(&b'\n') => return Ok(()),
            _ => {}
        }
    }
    match bytes.last() {
        Some(b'\n') => Ok(()),
        _ => Err(Fault::new("unterminatedHeader", "its header does not end")),
    }
}

/// What is left of the lines.
struct Lines<'a>(&'a [u8]);

impl<'a> Lines<'a> {
    /// Moves past `prefix` if it is next.
    fn skip(&mut self, prefix: &[u8]) -> bool {
        match self.0.strip_prefix(prefix) {
            Some(rest) => {
                self.0 = rest;
                true
            }
            None => false,
        }
    }

    /// The rest of the line, without its end; `None` if there is no end.
    fn line(&mut self) -> Option<&'a [u8]> {
        let end = self.0.iter().position(|&byte| byte == b'\n')?;
        let line = &self.0[..end];
        self.0 = &self.0[end + 1..];
        Some(line)
    }

    /// The id on a line that starts with `prefix`; `None` if the line does not.
    fn id(&mut self, prefix: &[u8], bad: Fault) -> Result<Option<ObjectId>, Fault> {
        if !self.skip(prefix) {
            return Ok(None);
        }
        let id = self.0.get(..40).and_then(|hex| ObjectId::from_hex(hex).ok()).ok_or(bad)?;
        if self.0.get(40) != Some(&b'\n') {
            return Err(bad);
        }
        self.0 = &self.0[41..];
        Ok(Some(id))
    }

    /// Checks a person, a time and a time zone: `Name <mail> 1234567890 +0100`.
    fn ident(&mut self) -> Result<(), Fault> {
        // Git scans on from the line's start to the end of the object where a line has no end.
        let all = self.0;
        let end = all.iter().position(|&byte| byte == b'\n').map_or(all.len(), |at| at + 1);
        self.0 = &all[end..];
        ident(&all[..end])
    }
}

/// Checks one line with a person, including its end.
fn ident(line: &[u8]) -> Result<(), Fault> {
    let at = |index: usize| line.get(index).copied().unwrap_or(0);
    let stop = |from: usize| {
        let rest = line.get(from..).unwrap_or_default();
        from + rest.iter().position(|b| b"<>\n\0".contains(b)).unwrap_or(rest.len())
    };
    if at(0) == b'<' {
        return Err(Fault::new("missingNameBeforeEmail", "a person has no name before the mail"));
    }
    let mut p = stop(0);
    match at(p) {
        b'<' => {}
        b'>' => return Err(Fault::new("badName", "a person's name contains >")),
        _ => return Err(Fault::new("missingEmail", "a person has no mail address")),
    }
    if p == 0 || at(p - 1) != b' ' {
        return Err(Fault::new("missingSpaceBeforeEmail", "no space before a mail address"));
    }
    p = stop(p + 1);
    if at(p) != b'>' {
        return Err(Fault::new("badEmail", "a mail address does not end in >"));
    }
    p += 1;
    if at(p) != b' ' {
        return Err(Fault::new("missingSpaceBeforeDate", "no space before a date"));
    }
    p += 1;
    while matches!(at(p), b' ' | b'\t') {
        p += 1;
    }
    let digits = line.get(p..).unwrap_or_default();
    let digits = &digits[..digits.iter().take_while(|b| b.is_ascii_digit()).count()];
    if digits.is_empty() {
        return Err(Fault::new("badDate", "a date is not a number"));
    }
    if digits[0] == b'0' && at(p + 1) != b' ' {
        return Err(Fault::new("zeroPaddedDate", "a date starts with 0"));
    }
    let date = std::str::from_utf8(digits).ok().and_then(|text| text.parse::<i64>().ok());
    if date.is_none() {
        return Err(Fault::new("badDateOverflow", "a date is too large"));
    }
    p += digits.len();
    if at(p) != b' ' {
        return Err(Fault::new("badDate", "a date is not a number"));
    }
    let zone = line.get(p + 1..).unwrap_or_default();
    match zone {
        [b'+' | b'-', digits @ .., b'\n'] if digits.len() == 4 => digits
            .iter()
            .all(u8::is_ascii_digit)
            .then_some(())
            .ok_or(Fault::new("badTimezone", "a time zone is not four digits")),
        _ => Err(Fault::new("badTimezone", "a time zone is not a sign and four digits")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const TREE: &str = "tree 4b825dc642cb6eb9a060e54bf8d69288fbee4904\n";
    const WHO: &str = "A U Thor <a@b.c> 1700000000 +0100\n";

    fn check(text: &str, want: Result<usize, &str>) {
        let got = commit(text.as_bytes()).map(|links| links.parents.len()).map_err(|f| f.name);
        assert_eq!(got, want, "{text:?}");
    }

    #[test]
    fn commits() {
        let parent = "parent 4b825dc642cb6eb9a060e54bf8d69288fbee4904\n";
        check(&format!("{TREE}author {WHO}committer {WHO}\nhello\n"), Ok(0));
        check(&format!("{TREE}{parent}{parent}author {WHO}committer {WHO}"), Ok(2));
        check(&format!("author {WHO}committer {WHO}\n"), Err("missingTree"));
        check(&format!("tree 12\nauthor {WHO}committer {WHO}\n"), Err("badTreeSha1"));
        check(&format!("{TREE}parent 1\nauthor {WHO}committer {WHO}\n"), Err("badParentSha1"));
        check(&format!("{TREE}committer {WHO}\n"), Err("missingAuthor"));
        check(&format!("{TREE}author {WHO}author {WHO}committer {WHO}\n"), Err("multipleAuthors"));
        check(&format!("{TREE}author {WHO}\n"), Err("missingCommitter"));
        check(&format!("{TREE}author {WHO}committer {WHO}x"), Err("unterminatedHeader"));
        check(&format!("{TREE}author \0{WHO}committer {WHO}\n"), Err("nulInHeader"));
        check(&format!("{TREE}author {WHO}committer {WHO}\na\0b"), Err("nulInCommit"));
    }

    #[test]
    fn people() {
        for (who, want) in [
            ("<a@b.c> 1 +0000", "missingNameBeforeEmail"),
            ("A> <a@b.c> 1 +0000", "badName"),
            ("A a@b.c 1 +0000", "missingEmail"),
            ("A<a@b.c> 1 +0000", "missingSpaceBeforeEmail"),
            ("A <a@<b.c> 1 +0000", "badEmail"),
            ("A <a@b.c>1 +0000", "missingSpaceBeforeDate"),
            ("A <a@b.c> x +0000", "badDate"),
            ("A <a@b.c> 01 +0000", "zeroPaddedDate"),
            ("A <a@b.c> 99999999999999999999 +0000", "badDateOverflow"),
            ("A <a@b.c> 1x +0000", "badDate"),
            ("A <a@b.c> 1 0000", "badTimezone"),
            ("A <a@b.c> 1 +000", "badTimezone"),
            ("A <a@b.c> 1 +00000", "badTimezone"),
        ] {
            let text = format!("{TREE}author {who}\ncommitter {WHO}\n");
            check(&text, Err(want));
        }
        check(&format!("{TREE}author A <> 0 -0000\ncommitter {WHO}\n"), Ok(0));
    }

    #[test]
    fn tags() {
        let object = "object 4b825dc642cb6eb9a060e54bf8d69288fbee4904\n";
        for (text, want) in [
            (format!("{object}type tree\ntag v1\ntagger {WHO}\nhello\n"), None),
            (format!("{object}type tree\ntag v1\n"), None),
            (format!("type tree\ntag v1\ntagger {WHO}\n"), Some("missingObject")),
            (format!("{object}tag v1\ntagger {WHO}\n"), Some("missingTypeEntry")),
            (format!("{object}type thing\ntag v1\ntagger {WHO}\n"), Some("badType")),
            (format!("{object}type tree\ntagger {WHO}\n"), Some("missingTagEntry")),
            (format!("{object}type tree\ntag v1\ntagger x\n"), Some("missingEmail")),
        ] {
            assert_eq!(tag(text.as_bytes()).err().map(|fault| fault.name), want, "{text:?}");
        }
    }
}
