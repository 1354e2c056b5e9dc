//! The text of a `requirements.txt`, as pip reads it, less what would leave the index.
//!
//! A text that was put together of several files says so by comments of the form
//! `# <number> "<file>"`: the next line has that number in that file. Errors then name it so.

use std::{collections::BTreeSet, fmt, rc::Rc};

use super::{
    lockfiles,
    name::PackageName,
    requirement::{Requirement, RequirementError},
    target::Target,
};

/// Most bytes of requirements.
const MAX_TEXT: usize = 256 * 1024;
/// Most requirements.
const MAX_LINES: usize = 2_000;
/// Longest name of a file that is repeated in an error, bytes.
const MAX_FILE: usize = 255;
/// Most characters of a line that are repeated in an error.
const SHOWN: usize = 120;

/// Where a line stands.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Place {
    /// The file; `None`: the text that was given.
    pub file: Option<Rc<str>>,
    /// Its number, from 1.
    pub number: usize,
}

/// With `#`, where the requirements were just spoken of: without "of the requirements".
impl fmt::Display for Place {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.file.as_deref() {
            None if f.alternate() => write!(f, "line {}", self.number),
            file => write!(f, "line {} of {}", self.number, file.unwrap_or("the requirements")),
        }
    }
}

/// One requirement and where it stands.
#[derive(Clone, Debug)]
pub struct Line {
    /// Where its first line is.
    pub place: Place,
    /// What it asks for.
    pub requirement: Requirement,
    /// SHA-256 hashes of the files that are allowed; empty: any.
    pub hashes: BTreeSet<String>,
}

/// All that is asked for.
#[derive(Clone, Debug, Default)]
pub struct Requirements {
    /// In the order of the text; those whose marker does not apply are left out.
    pub lines: Vec<Line>,
    /// `--pre`: pre-releases are taken like releases.
    pub prereleases: bool,
    /// Only files with a listed hash are taken, for dependencies too.
    pub hashed: bool,
}

/// Why requirements are not taken.
#[derive(Debug, thiserror::Error)]
pub enum RequirementsError {
    /// One line cannot be read.
    #[error("{place}, {text:?}: {reason}")]
    Line {
        /// Which.
        place: Place,
        /// The line, shortened.
        text: String,
        /// Why.
        reason: Reason,
    },
    /// Another kind of file, see [`lockfiles`].
    #[error("the requirements cannot be used: {reason}")]
    Lockfile {
        /// Why.
        reason: String,
    },
    /// Over [`MAX_TEXT`] or [`MAX_LINES`].
    #[error("the requirements have more than {MAX_TEXT} bytes or {MAX_LINES} packages")]
    TooLong,
}

/// What is wrong with a line.
#[derive(Debug, thiserror::Error)]
pub enum Reason {
    /// Not a requirement.
    #[error(transparent)]
    Requirement(#[from] RequirementError),
    /// An option that changes where packages come from.
    #[error("{0} is not taken from an app: packages come from the index this machine's pip uses")]
    Index(String),
    /// `-r`.
    #[error("{0} names another file, which an import does not have; put its lines here")]
    File(String),
    /// `-c`.
    #[error("constraints ({0}) are not taken; put the versions on the packages' own lines")]
    Constraint(String),
    /// `-e`, a path, a URL, a repository.
    #[error("only packages of the index can be imported, not paths, URLs or repositories")]
    NotIndexed,
    /// An option that asks for source packages.
    #[error("{0} asks to build packages from source, which an import does not do")]
    Source(String),
    /// Any other option.
    #[error("there is no option {0}")]
    Option(String),
    /// A hash in another form.
    #[error("{0:?} is not a hash that is taken: use --hash=sha256:<64 hex digits>")]
    Hash(String),
    /// `${TOKEN}`.
    #[error("environment variables are not filled in")]
    Variable,
    /// Hash mode, and this line has no hash.
    #[error("other lines have hashes, so every line needs one (and a version pinned by ==)")]
    NoHash,
}

impl Requirements {
    /// Reads the text for a target: a `requirements.txt`, or what [`lockfiles`] knows.
    ///
    /// # Errors
    /// The first line that is not taken, with its number.
    pub fn parse(text: &str, target: &Target) -> Result<Self, RequirementsError> {
        if text.len() > MAX_TEXT {
            return Err(RequirementsError::TooLong);
        }
        let converted = lockfiles::as_requirements(text, target)
            .map_err(|reason| RequirementsError::Lockfile { reason })?;
        let mut all = Self::default();
        for (place, line) in logical_lines(converted.as_deref().unwrap_or(text)) {
            let fail = |reason: Reason| RequirementsError::Line {
                place: place.clone(),
                text: line.chars().take(SHOWN).collect(),
                reason,
            };
            all.take_line(&place, &line, target).map_err(fail)?;
            if all.lines.len() > MAX_LINES {
                return Err(RequirementsError::TooLong);
            }
        }
        all.hashed |= all.lines.iter().any(|line| !line.hashes.is_empty());
        let pinned = |line: &&Line| {
            !line.hashes.is_empty() && line.requirement.specifiers.pinned().is_some()
        };
        match all.lines.iter().find(|line| all.hashed && !pinned(line)) {
            Some(line) => Err(RequirementsError::Line {
                place: line.place.clone(),
                text: line.requirement.to_string(),
                reason: Reason::NoHash,
            }),
            None => Ok(all),
        }
    }

    /// The line that asks for `name`, if one does.
    pub fn line_of(&self, name: &PackageName) -> Option<&Line> {
        self.lines.iter().find(|line| line.requirement.name == *name)
    }

    /// The set in one text that does not depend on order, comments or spelling.
    pub fn canonical(&self) -> String {
        let mut lines: Vec<String> = self
            .lines
            .iter()
            .map(|line| {
                let hashes: Vec<&str> = line.hashes.iter().map(String::as_str).collect();
                format!("{} {}", line.requirement, hashes.join(" "))
            })
            .collect();
        lines.sort();
        lines.dedup();
        format!("pre {} hashed {}\n{}", self.prereleases, self.hashed, lines.join("\n"))
    }

    fn take_line(&mut self, place: &Place, line: &str, target: &Target) -> Result<(), Reason> {
        if line.contains("${") {
            return Err(Reason::Variable);
        }
        if line.starts_with('-') {
            return self.take_option(line);
        }
        let (text, options) = match line.find(" --") {
            Some(at) => line.split_at(at),
            None => (line, ""),
        };
        let requirement = text.parse::<Requirement>().map_err(|error| match error {
            RequirementError::Url => Reason::NotIndexed,
            error => Reason::Requirement(error),
        })?;
        let hashes = parse_hashes(options)?;
        if requirement.applies(target, None) {
            self.lines.push(Line { place: place.clone(), requirement, hashes });
        }
        Ok(())
    }

    fn take_option(&mut self, line: &str) -> Result<(), Reason> {
        let name = line.split(['=', ' ', '\t']).next().unwrap_or(line);
        let short = name.get(..2).unwrap_or(name);
        let option = if name.starts_with("--") { name } else { short };
        let told = || option.to_owned();
        match option {
            "--pre" => self.prereleases = true,
            "--require-hashes" => self.hashed = true,
            // Only wheels are taken anyway.
            "--prefer-binary" | "--only-binary" => {}
            "-i" | "--index-url" | "--extra-index-url" | "--no-index" | "-f" | "--find-links"
            | "--trusted-host" | "--pypi-url" => return Err(Reason::Index(told())),
            "-r" | "--requirement" => return Err(Reason::File(told())),
            "-c" | "--constraint" => return Err(Reason::Constraint(told())),
            "-e" | "--editable" => return Err(Reason::NotIndexed),
            "--no-binary" => return Err(Reason::Source(told())),
            _ => return Err(Reason::Option(told())),
        }
        Ok(())
    }
}

/// ` --hash=sha256:… --hash sha256:…` → the digests.
fn parse_hashes(options: &str) -> Result<BTreeSet<String>, Reason> {
    let mut hashes = BTreeSet::new();
    let mut words = options.split_ascii_whitespace();
    while let Some(word) = words.next() {
        let value = match (word, word.split_once('=')) {
            ("--hash", _) => words.next().unwrap_or_default(),
            (_, Some(("--hash", value))) => value,
            _ => return Err(Reason::Option(word.chars().take(SHOWN).collect())),
        };
        let digest = value.strip_prefix("sha256:").filter(|digest| is_sha256(digest));
        let digest = digest.ok_or_else(|| Reason::Hash(value.chars().take(SHOWN).collect()))?;
        hashes.insert(digest.to_ascii_lowercase());
    }
    Ok(hashes)
}

/// Whether a text is a SHA-256 digest in hex.
pub fn is_sha256(text: &str) -> bool {
    text.len() == 64 && text.bytes().all(|b| b.is_ascii_hexdigit())
}

/// Lines with continuations joined and comments removed, placed by their first line.
fn logical_lines(text: &str) -> Vec<(Place, String)> {
    let text = text.strip_prefix('\u{feff}').unwrap_or(text);
    let mut lines = Vec::new();
    let mut open: Option<(Place, String)> = None;
    let mut next = Place { file: None, number: 1 };
    for line in text.lines() {
        let comment = line.trim_start().starts_with('#');
        let here = next.clone();
        next = marked(line).unwrap_or(Place { number: here.number + 1, ..next });
        let (place, mut joined) = open.take().unwrap_or((here, String::new()));
        match line.strip_suffix('\\') {
            Some(head) if !comment => {
                joined.push_str(head);
                open = Some((place, joined));
                continue;
            }
            _ if comment => {}
            _ => joined.push_str(line),
        }
        lines.push((place, joined));
    }
    lines.extend(open);
    let stripped = lines.into_iter().map(|(place, line)| (place, strip_comment(&line)));
    stripped.filter(|(_, line)| !line.is_empty()).collect()
}

/// Where the next line is from, if this one says so: `# <number> "<file>"`.
fn marked(line: &str) -> Option<Place> {
    let (number, file) = line.strip_prefix("# ")?.split_once(' ')?;
    let file = file.strip_prefix('"')?.strip_suffix('"')?;
    let plain = (1..=MAX_FILE).contains(&file.len()) && !file.chars().any(char::is_control);
    // A person's comment that looks like one must not make numbers overflow.
    let number = number.parse::<u32>().ok().filter(|_| plain)?;
    Some(Place { file: Some(file.into()), number: number as usize })
}

/// A `#` at the start or after white space begins a comment.
fn strip_comment(line: &str) -> String {
    let mut previous = ' ';
    for (at, c) in line.char_indices() {
        if c == '#' && previous.is_whitespace() {
            return line[..at].trim().to_owned();
        }
        previous = c;
    }
    line.trim().to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(text: &str) -> Result<Requirements, RequirementsError> {
        let target = Target::new("trixie", "3.13", "x86_64").expect("a known target");
        Requirements::parse(text, &target)
    }

    #[test]
    fn requirements_files_are_read_as_pip_reads_them() {
        let hash = "a".repeat(64);
        let text = format!(
            "\u{feff}# a comment\n\nFlask>=3  # web\ngunicorn \\\n  ==23.0.0 \\\n  \
             --hash=sha256:{hash}\r\nwin32 ; sys_platform == 'win32'\n--prefer-binary\n"
        );
        let error = parse(&text).expect_err("Flask has no hash").to_string();
        assert!(error.starts_with("line 3 "), "{error}");
        let all = parse(&text.replace("Flask>=3", "# none")).expect("good");
        assert_eq!(all.lines.len(), 1);
        assert_eq!(all.lines[0].place, Place { file: None, number: 4 });
        assert_eq!(all.lines[0].requirement.to_string(), "gunicorn==23.0.0");
        assert!(all.hashed && all.lines[0].hashes.contains(&hash));
        assert!(parse("--pre\na").expect("good").prereleases);
        assert!(parse("a#b").is_err(), "no comment without white space");
    }

    #[test]
    fn order_comments_and_spelling_do_not_matter() {
        let one = parse("Flask >= 3\ngunicorn").expect("good").canonical();
        let two = parse("gunicorn # server\nflask>=3\nflask>=3").expect("good").canonical();
        assert_eq!(one, two);
        assert_ne!(one, parse("flask>=3\ngunicorn\n--pre").expect("good").canonical());
    }

    #[test]
    fn bad_lines_are_named() {
        for (text, want) in [
            ("flask\nfla sk\n", "line 2 of the requirements, \"fla sk\""),
            ("a\n# 7 \"req/b.txt\"\nb\nfla sk\n", "line 8 of req/b.txt, \"fla sk\""),
            ("# 7 \"\"\n# x \"b\"\n# 9 b\nfla sk\n", "line 4 of the requirements"),
            ("-r other.txt", "-r names another file"),
            ("-cother.txt", "constraints (-c) are not taken"),
            ("--index-url https://x", "--index-url is not taken from an app"),
            ("--extra-index-url=https://x", "--extra-index-url is not taken"),
            ("-i https://x", "-i is not taken"),
            ("-e .", "only packages of the index"),
            ("git+https://x/y.git", "only packages of the index"),
            ("./dist/a.whl", "only packages of the index"),
            ("a @ https://x/a.whl", "only packages of the index"),
            ("--no-binary :all:", "build packages from source"),
            ("--frobnicate", "no option --frobnicate"),
            ("a --config-settings x", "no option --config-settings"),
            ("a==1 --hash=md5:00", "not a hash that is taken"),
            ("a==1 --hash=sha256:00", "not a hash that is taken"),
            ("--require-hashes\na==1", "needs one"),
            ("a==${VERSION}", "environment variables"),
            ("a\\", ""),
        ] {
            match parse(text) {
                Ok(all) => assert!(want.is_empty() && all.lines.len() == 1, "{text}"),
                Err(error) => assert!(error.to_string().contains(want), "{text}: {error}"),
            }
        }
        assert!(parse(&"a\n".repeat(MAX_LINES + 2)).is_err());
        assert!(parse(&"#".repeat(MAX_TEXT + 1)).is_err());
    }
}
