//! `requirements.txt`: its text with the files it includes put in their places.
//!
//! The importer gets one text. Files named by `-r` are read from the app's tree; what would need
//! the network or other files of the app is left to the importer, which refuses it by line: a
//! comment `# <number> "<file>"` tells it where the next line is from.

/// Most bytes of requirements with everything included; the importer takes no more.
pub const MAX_REQUIREMENTS: usize = 256 * 1024;
/// Deepest inclusion.
const MAX_DEPTH: usize = 8;
/// Most files, counting each inclusion.
const MAX_FILES: usize = 64;

/// Why requirements cannot be read.
#[derive(Debug, thiserror::Error)]
pub enum RequirementsError {
    /// A file that is not there.
    #[error("{included_by} includes {path:?}, which is not a file of the app")]
    Missing {
        /// The file and line that names it.
        included_by: String,
        /// What it names.
        path: String,
    },
    /// A path that leaves the app.
    #[error("{included_by} includes {path:?}, which is outside the app")]
    Outside {
        /// The file and line that names it.
        included_by: String,
        /// What it names.
        path: String,
    },
    /// Not text.
    #[error("{0} is not UTF-8 text (some editors and PowerShell's > write UTF-16)")]
    NotText(String),
    /// Includes itself, or far too much.
    #[error("{0} includes itself, or more than {MAX_FILES} files, or deeper than {MAX_DEPTH}")]
    TooDeep(String),
    /// More than [`MAX_REQUIREMENTS`].
    #[error("{0} has more than {MAX_REQUIREMENTS} bytes with what it includes")]
    TooLong(String),
    /// The Keg does not give it.
    #[error("cannot read {path}")]
    Read {
        /// Which file.
        path: String,
        /// Why.
        #[source]
        source: keg::store::StoreError,
    },
}

/// Reads a file of the app; `None` when it is not there or not a file.
pub type Read<'a> = &'a dyn Fn(&str) -> Result<Option<Vec<u8>>, keg::store::StoreError>;

/// The text of `path` with what it includes.
///
/// # Errors
/// A file is missing, outside the app, not text, or there is too much of it.
pub fn flatten(path: &str, read: Read<'_>) -> Result<String, RequirementsError> {
    let mut state = State { read, out: String::new(), files: 0, top: path };
    state.include(path, "the app", 0)?;
    Ok(state.out)
}

/// The number of packages a text of requirements names.
pub fn count(text: &str) -> usize {
    text.lines()
        .map(str::trim_start)
        .filter(|line| line.starts_with(|c: char| c.is_ascii_alphanumeric()))
        .count()
}

struct State<'a> {
    read: Read<'a>,
    out: String,
    files: usize,
    top: &'a str,
}

impl State<'_> {
    fn include(&mut self, path: &str, by: &str, depth: usize) -> Result<(), RequirementsError> {
        self.files += 1;
        if depth > MAX_DEPTH || self.files > MAX_FILES {
            return Err(RequirementsError::TooDeep(self.top.to_owned()));
        }
        let bytes = (self.read)(path)
            .map_err(|source| RequirementsError::Read { path: path.to_owned(), source })?
            .ok_or_else(|| RequirementsError::Missing {
                included_by: by.to_owned(),
                path: path.to_owned(),
            })?;
        let text =
            String::from_utf8(bytes).map_err(|_| RequirementsError::NotText(path.to_owned()))?;
        let text = text.strip_prefix('\u{feff}').unwrap_or(&text);
        for (index, line) in text.lines().enumerate() {
            if let Some(target) = included(line) {
                let by = format!("{path} line {}", index + 1);
                let target = beside(path, target).ok_or_else(|| RequirementsError::Outside {
                    included_by: by.clone(),
                    path: target.to_owned(),
                })?;
                self.mark(1, &target);
                self.include(&target, &by, depth + 1)?;
                self.mark(index + 2, path);
                continue;
            }
            self.out.push_str(line);
            self.out.push('\n');
            if self.out.len() > MAX_REQUIREMENTS {
                return Err(RequirementsError::TooLong(self.top.to_owned()));
            }
        }
        Ok(())
    }
}

impl State<'_> {
    /// Says where the next line is from.
    fn mark(&mut self, number: usize, path: &str) {
        self.out.push_str(&format!("# {number} \"{path}\"\n"));
    }
}

/// The file a line includes by `-r FILE`, `-rFILE` or `--requirement[=]FILE`.
fn included(line: &str) -> Option<&str> {
    let line = line.split(" #").next().unwrap_or(line).trim();
    if let Some(rest) = line.strip_prefix("--requirement") {
        let rest = rest.strip_prefix('=').or_else(|| rest.strip_prefix(char::is_whitespace))?;
        return Some(rest.trim());
    }
    line.strip_prefix("-r").map(str::trim)
}

/// `target` relative to the directory of `path`; `None` where that leaves the app.
fn beside(path: &str, target: &str) -> Option<String> {
    if target.is_empty() || target.starts_with('/') || target.contains("://") {
        return None;
    }
    let mut parts: Vec<&str> = path.split('/').collect();
    parts.pop();
    for part in target.split('/') {
        match part {
            "" | "." => {}
            ".." => {
                parts.pop()?;
            }
            part => parts.push(part),
        }
    }
    Some(parts.join("/"))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(files: &[(&str, &str)], path: &str) -> Result<String, String> {
        let find = |path: &str| {
            Ok(files.iter().find(|(name, _)| *name == path).map(|(_, t)| t.as_bytes().to_vec()))
        };
        flatten(path, &find).map_err(|error| error.to_string())
    }

    #[test]
    fn includes_are_put_in_their_places() {
        let files = [
            ("requirements.txt", "\u{feff}flask==3.1\r\n-r req/base.txt # why\ngunicorn\n"),
            ("req/base.txt", "--requirement=../more.txt\nclick"),
            ("more.txt", "jinja2 --hash=sha256:00\n# -r nothing.txt\n"),
        ];
        let text = read(&files, "requirements.txt").expect("all there");
        let want = "flask==3.1\n# 1 \"req/base.txt\"\n# 1 \"more.txt\"\n\
                    jinja2 --hash=sha256:00\n# -r nothing.txt\n# 2 \"req/base.txt\"\nclick\n\
                    # 3 \"requirements.txt\"\ngunicorn\n";
        assert_eq!(text, want);
        assert_eq!(count(&text), 4);
    }

    #[test]
    fn bad_includes_name_the_line() {
        for (files, want) in [
            (&[("a.txt", "x\n-r b.txt")][..], "a.txt line 2 includes \"b.txt\""),
            (&[("a.txt", "-r ../b.txt")], "outside the app"),
            (&[("a.txt", "-r /etc/passwd")], "outside the app"),
            (&[("a.txt", "-r http://x/y")], "outside the app"),
            (&[("a.txt", "-ra.txt")], "includes itself"),
            (&[("b.txt", "")], "the app includes \"a.txt\""),
        ] {
            let error = read(files, "a.txt").expect_err(want);
            assert!(error.contains(want), "{error}");
        }
        let utf16 = |_: &str| Ok(Some(vec![0xff, 0xfe, b'f', 0]));
        assert!(flatten("a", &utf16).expect_err("not text").to_string().contains("UTF-16"));
        let long = |_: &str| Ok(Some(vec![b'x'; MAX_REQUIREMENTS + 1]));
        assert!(flatten("a", &long).expect_err("long").to_string().contains("more than"));
    }
}
