//! What went wrong with an app, in words for the person who pushed it.

use std::collections::VecDeque;
use std::fs::File;
use std::io::{Read, Seek, SeekFrom};
use std::path::Path;

use sandbox::Exit;
use serde_json::{Value as Json, json};

/// Last lines of an app's output that are shown with a failure.
const LINES: usize = 10;
/// Bytes of the log looked at for them.
const TAIL: u64 = 16 << 10;
/// Longest line that is shown, in characters.
const LINE: usize = 300;

/// An error and what to do about it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Problem {
    /// What happened.
    pub message: String,
    /// What to do.
    pub hint: String,
}

impl Problem {
    /// As in documents: `{"message", "hint"}`.
    pub fn json(&self) -> Json {
        json!({ "message": self.message, "hint": self.hint })
    }

    /// A process ended that should have gone on.
    pub fn ended(name: &str, when: &str, exit: Option<&Exit>, log: &[String]) -> Problem {
        let how = exit.map_or("how it ended is unknown".into(), Exit::to_string);
        let hint = match exit {
            Some(exit) if exit.oom => "raise limits.memory in the app's configuration",
            Some(Exit { code: Some(127), .. }) => {
                "check the command in the Procfile, and that its package is in the requirements"
            }
            _ => "correct what its last lines say, and push again",
        };
        Problem {
            message: with_lines(&format!("{name} ended {when}: {how}"), log),
            hint: hint.into(),
        }
    }

    /// A process did not become ready in time.
    pub fn late(name: &str, seconds: f64, last: &str, socket: bool, log: &[String]) -> Problem {
        let hint = if socket {
            "accept connections on the socket passed as descriptor 3 ($LISTEN_FDS)"
        } else {
            "listen on the port in $PORT, on all addresses or 127.0.0.1; or raise check.timeout"
        };
        let message = format!("{name} did not answer within {seconds} s: {last}");
        Problem { message: with_lines(&message, log), hint: hint.into() }
    }

    /// A process could not be started at all.
    pub fn not_started(name: &str, why: &str, hint: &str) -> Problem {
        let hint = if hint.is_empty() { "`keg logs` shows more" } else { hint };
        Problem { message: format!("{name} could not be started: {why}"), hint: hint.into() }
    }
}

fn with_lines(message: &str, log: &[String]) -> String {
    if log.is_empty() {
        return format!("{message} (it wrote nothing)");
    }
    format!("{message}. Its last lines:\n{}", log.join("\n"))
}

/// The last lines that `kind.index` wrote to its log since `since` (RFC 3339).
pub fn last_lines(stream: &Path, name: &str, since: &str) -> Vec<String> {
    let Ok(mut file) = File::open(stream) else { return Vec::new() };
    let size = file.metadata().map_or(0, |meta| meta.len());
    let mut bytes = Vec::new();
    let read = file
        .seek(SeekFrom::Start(size.saturating_sub(TAIL)))
        .and_then(|_| file.take(TAIL).read_to_end(&mut bytes));
    if read.is_err() {
        return Vec::new();
    }
    let mut last = VecDeque::with_capacity(LINES + 1);
    for line in String::from_utf8_lossy(&bytes).lines() {
        let mut fields = line.splitn(4, ' ');
        let (time, tag) = (fields.next().unwrap_or(""), fields.next().unwrap_or(""));
        let Some(text) = fields.nth(1).filter(|_| tag == name && time >= since) else { continue };
        last.push_back(text.chars().take(LINE).collect());
        if last.len() > LINES {
            last.pop_front();
        }
    }
    last.into()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn last_lines_are_those_of_this_start() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("log");
        let mut text = String::from("2026-01-01T00:00:00.000Z web.0 out former\n");
        for n in 0..20 {
            text.push_str(&format!("2026-01-02T00:00:00.000Z web.0 err line {n}\n"));
            text.push_str("2026-01-02T00:00:00.000Z web.1 out other\n");
        }
        std::fs::write(&path, text).unwrap();
        let lines = last_lines(&path, "web.0", "2026-01-01T12:00:00.000Z");
        assert_eq!(lines.len(), LINES);
        assert_eq!((lines[0].as_str(), lines[9].as_str()), ("line 10", "line 19"));
        assert!(last_lines(&path, "web.0", "2026-01-03").is_empty());
        assert!(last_lines(&dir.path().join("none"), "web.0", "").is_empty());
    }

    #[test]
    fn failures_say_what_and_what_to_do() {
        let exit = |code| Exit { code: Some(code), ..Exit::default() };
        let oom = Exit { oom: true, ..Exit::default() };
        let lines = vec!["ImportError: flask".to_owned()];
        let problem = Problem::ended("web.0", "while starting", Some(&exit(1)), &lines);
        assert_eq!(
            problem.message,
            "web.0 ended while starting: it exited with code 1. Its last lines:\nImportError: flask"
        );
        let table = [(exit(127), "Procfile"), (oom, "limits.memory"), (exit(1), "last lines")];
        for (exit, hint) in table {
            assert!(Problem::ended("web.0", "", Some(&exit), &[]).hint.contains(hint), "{hint}");
        }
        assert!(Problem::ended("w.0", "", None, &[]).message.contains("unknown"));
        assert!(Problem::late("web.0", 30.0, "nothing listens", false, &[]).hint.contains("$PORT"));
    }
}
