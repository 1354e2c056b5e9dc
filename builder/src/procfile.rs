//! `Procfile`: the commands an app's author gives, one line `type: command` each.

use std::fmt;

/// Longest Procfile that is read, in bytes.
pub const MAX_PROCFILE: u64 = 64 * 1024;
/// Longest process type; it is part of names of streams, cgroups and directories.
pub const MAX_TYPE: usize = 20;
/// Most process types of one app.
pub const MAX_PROCESSES: usize = 32;

/// One process type and its command.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Line {
    /// `web`, `worker`, …
    pub process: String,
    /// For `/bin/sh -c`.
    pub command: String,
}

/// What is wrong with a Procfile, and where.
#[derive(Debug, thiserror::Error, PartialEq, Eq)]
#[error("Procfile line {line}: {reason}")]
pub struct ProcfileError {
    /// Counted from 1.
    pub line: usize,
    /// What is wrong there.
    pub reason: Reason,
}

/// What can be wrong with a line of a Procfile.
#[derive(Debug, PartialEq, Eq)]
pub enum Reason {
    /// No `:` in it.
    NoColon(String),
    /// The type is empty or has characters that types cannot have.
    Type(String),
    /// Nothing after the `:`.
    NoCommand(String),
    /// The same type twice.
    Twice {
        /// The type.
        process: String,
        /// The line of its first occurrence.
        first: usize,
    },
    /// A control character, such as NUL or an escape.
    Control,
    /// Too many types.
    TooMany,
}

impl fmt::Display for Reason {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::NoColon(text) => write!(f, "{text:?} has no \":\" between type and command"),
            Self::Type(name) => write!(
                f,
                "{name:?} cannot be a process type: use 1 to {MAX_TYPE} of a-z, 0-9 and -, \
                 starting with a letter"
            ),
            Self::NoCommand(name) => write!(f, "there is no command after \"{name}:\""),
            Self::Twice { process, first } => {
                write!(f, "{process:?} is already on line {first}; each type can be there once")
            }
            Self::Control => write!(f, "it has a control character"),
            Self::TooMany => write!(f, "there are more than {MAX_PROCESSES} process types"),
        }
    }
}

/// Reads a Procfile. Empty lines and lines that start with `#` are left out; carriage returns at
/// the ends of lines are allowed.
///
/// # Errors
/// The first line that is not `type: command`, with its number.
pub fn parse(text: &str) -> Result<Vec<Line>, ProcfileError> {
    let mut lines: Vec<(usize, Line)> = Vec::new();
    let text = text.strip_prefix('\u{feff}').unwrap_or(text);
    for (index, raw) in text.lines().enumerate() {
        let number = index + 1;
        let fail = |reason| Err(ProcfileError { line: number, reason });
        let line = raw.trim();
        if line.is_empty() || line.starts_with('#') {
            continue;
        }
        if line.chars().any(|c| c.is_control() && c != '\t') {
            return fail(Reason::Control);
        }
        let Some((process, command)) = line.split_once(':') else {
            return fail(Reason::NoColon(excerpt(line)));
        };
        let (process, command) = (process.trim_end(), command.trim());
        if !is_process_type(process) {
            return fail(Reason::Type(excerpt(process)));
        }
        if command.is_empty() {
            return fail(Reason::NoCommand(process.to_owned()));
        }
        if let Some((first, _)) = lines.iter().find(|(_, line)| line.process == process) {
            return fail(Reason::Twice { process: process.to_owned(), first: *first });
        }
        if lines.len() == MAX_PROCESSES {
            return fail(Reason::TooMany);
        }
        let line = Line { process: process.to_owned(), command: command.to_owned() };
        lines.push((number, line));
    }
    Ok(lines.into_iter().map(|(_, line)| line).collect())
}

/// Whether `name` can be a process type: 1 to [`MAX_TYPE`] of `a-z`, `0-9` and `-`, starting with
/// a letter and not ending in `-`.
pub fn is_process_type(name: &str) -> bool {
    let letters = name.bytes().all(|b| matches!(b, b'a'..=b'z' | b'0'..=b'9' | b'-'));
    let start = name.bytes().next().is_some_and(|b| b.is_ascii_lowercase());
    letters && start && !name.ends_with('-') && name.len() <= MAX_TYPE
}

/// The command as `/bin/sh -c` gets it: with `exec` in front where it is a single simple command,
/// so that signals reach the program and not a shell.
pub fn shell_command(command: &str) -> String {
    const SPECIAL: &[char] = &[';', '&', '|', '<', '>', '(', ')', '{', '}', '`', '\n', '!'];
    let first = command.split_whitespace().next().unwrap_or_default();
    let assignment = first.contains('=');
    let builtin = matches!(
        first,
        "exec" | "cd" | "export" | "set" | "." | "eval" | "if" | "while" | "until" | "for" | "case"
    );
    if assignment || builtin || command.contains(SPECIAL) {
        command.to_owned()
    } else {
        format!("exec {command}")
    }
}

fn excerpt(text: &str) -> String {
    const MAX_SHOWN: usize = 60;
    text.chars().take(MAX_SHOWN).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(text: &str, want: &[(&str, &str)]) {
        let got = parse(text).expect(text);
        let got: Vec<_> = got.iter().map(|l| (l.process.as_str(), l.command.as_str())).collect();
        assert_eq!(got, want, "{text:?}");
    }

    #[test]
    fn lines_of_type_and_command() {
        check("", &[]);
        check("# nothing\n\n", &[]);
        check("web: gunicorn app:app\n", &[("web", "gunicorn app:app")]);
        check(
            "web:gunicorn\r\nworker :  x --a b\r\n",
            &[("web", "gunicorn"), ("worker", "x --a b")],
        );
        check("\u{feff}web: a", &[("web", "a")]);
        check("web: a:b\tc # d", &[("web", "a:b\tc # d")]);
    }

    #[test]
    fn errors_name_the_line() {
        let many = (0..=MAX_PROCESSES).map(|n| format!("p{n}: x\n")).collect::<String>();
        for (text, line, want) in [
            ("web gunicorn", 1, "no \":\""),
            ("web: a\n\nworker\n", 3, "\"worker\" has no"),
            ("web: a\n# c\nWeb: b", 3, "\"Web\" cannot be"),
            (": x", 1, "\"\" cannot be"),
            ("my worker: x", 1, "\"my worker\" cannot"),
            ("web-: x", 1, "cannot be a process type"),
            ("aaaaaaaaaaaaaaaaaaaaa: x", 1, "cannot be a process type"),
            ("web: a\nworker:  ", 2, "no command after \"worker:\""),
            ("web: a\nx: b\nweb: c", 3, "already on line 1"),
            ("web: a\u{1b}[2J", 1, "control character"),
            ("web: a\0b", 1, "control character"),
            (&many, MAX_PROCESSES + 1, "more than 32"),
        ] {
            let error = parse(text).expect_err(text);
            assert_eq!(error.line, line, "{text:?}");
            assert!(error.to_string().contains(want), "{text:?}: {error}");
        }
    }

    #[test]
    fn simple_commands_replace_the_shell() {
        for (command, want) in [
            ("gunicorn app:app -b :$PORT", "exec gunicorn app:app -b :$PORT"),
            ("a && b", "a && b"),
            ("X=1 python app.py", "X=1 python app.py"),
            ("exec python app.py", "exec python app.py"),
            ("cd src", "cd src"),
            ("python -c 'print(1)'", "python -c 'print(1)'"),
        ] {
            assert_eq!(shell_command(command), want);
        }
    }
}
