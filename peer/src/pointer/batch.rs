//! Objects of a repository, read one after the other by one `git cat-file --batch`.

use std::{
    io::{BufRead, BufReader, Read, Write},
    process::{Child, ChildStdin, ChildStdout, Stdio},
};

use super::run::{GitError, Repository, io};

/// Longest line before an object.
const MAX_HEAD: u64 = 200;

/// The process; it ends when this is dropped.
pub(super) struct Batch {
    child: Child,
    stdin: ChildStdin,
    stdout: BufReader<ChildStdout>,
}

/// What an object is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Head {
    /// `blob`, `tree`, `commit` or `tag`.
    pub(super) kind: String,
    /// Bytes.
    pub(super) size: u64,
}

impl Batch {
    pub(super) fn new(repository: &Repository) -> Result<Self, GitError> {
        let mut command = repository.command(&["cat-file", "--batch"], false);
        command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::null());
        let mut child = command.spawn().map_err(GitError::Start)?;
        match (child.stdin.take(), child.stdout.take()) {
            (Some(stdin), Some(stdout)) => {
                Ok(Self { child, stdin, stdout: BufReader::new(stdout) })
            }
            _ => Err(GitError::Answer("no pipes")),
        }
    }

    /// Asks for an object and reads it by `read`, which need not read all; `None`: it is not here.
    pub(super) fn object<T, E: From<GitError>>(
        &mut self,
        name: &str,
        read: impl FnOnce(&Head, &mut dyn Read) -> Result<T, E>,
    ) -> Result<Option<T>, E> {
        let Some(head) = self.ask(name)? else { return Ok(None) };
        let mut body = (&mut self.stdout).take(head.size);
        let done = read(&head, &mut body)?;
        let rest = std::io::copy(&mut body, &mut std::io::sink());
        let left = body.limit();
        rest.map_err(io("reading an object of git"))?;
        let mut end = [0];
        self.stdout.read_exact(&mut end).map_err(io("reading an object of git"))?;
        if left > 0 || end != *b"\n" {
            return Err(GitError::Answer("an object that is cut off").into());
        }
        Ok(Some(done))
    }

    /// An object, whole, if it is of this kind and no larger than `most` bytes.
    pub(super) fn whole(
        &mut self,
        name: &str,
        kind: &str,
        most: u64,
    ) -> Result<Option<Vec<u8>>, GitError> {
        let read = |head: &Head, body: &mut dyn Read| {
            if head.kind != kind || head.size > most {
                return Ok(None);
            }
            let mut bytes = Vec::new();
            body.read_to_end(&mut bytes).map_err(io("reading an object of git"))?;
            Ok::<_, GitError>(Some(bytes))
        };
        Ok(self.object(name, read)?.flatten())
    }

    fn ask(&mut self, name: &str) -> Result<Option<Head>, GitError> {
        let asked = writeln!(self.stdin, "{name}").and_then(|()| self.stdin.flush());
        asked.map_err(io("asking git for an object"))?;
        let mut line = String::new();
        let read = (&mut self.stdout).take(MAX_HEAD).read_line(&mut line);
        read.map_err(io("reading an object of git"))?;
        head(&line)
    }
}

impl Drop for Batch {
    fn drop(&mut self) {
        // It may be waiting to write what nobody reads.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// `<id> <kind> <size>` or `<name> missing`.
fn head(line: &str) -> Result<Option<Head>, GitError> {
    let line = line.trim_end_matches('\n');
    if line.ends_with(" missing") {
        return Ok(None);
    }
    let mut words = line.split(' ').skip(1);
    match (words.next(), words.next().and_then(|size| size.parse().ok()), words.next()) {
        (Some(kind), Some(size), None) => Ok(Some(Head { kind: kind.to_owned(), size })),
        _ => Err(GitError::Answer("a line before an object")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_before_objects() {
        let id = "0".repeat(40);
        let blob = Head { kind: "blob".to_owned(), size: 12 };
        assert_eq!(head(&format!("{id} blob 12\n")).unwrap(), Some(blob));
        assert_eq!(head(&format!("{id} missing\n")).unwrap(), None);
        for line in ["", "x", "x blob", "x blob y", "x blob 1 2", "x ambiguous"] {
            assert!(head(line).is_err(), "{line}");
        }
    }
}
