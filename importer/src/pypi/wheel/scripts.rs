//! Programs of a wheel: made from its entry points, or brought along.

/// Debian's Python; the same path in every suite.
const PYTHON: &str = "/usr/bin/python3";
/// Largest `entry_points.txt` taken, in bytes.
pub const MAX_ENTRY_POINTS: u64 = 1024 * 1024;
/// Most programs of one wheel.
const MAX_SCRIPTS: usize = 1_000;

/// A program: its name and text.
#[derive(Debug, PartialEq, Eq)]
pub struct Script {
    /// Its name in `bin`.
    pub name: String,
    /// A Python program.
    pub text: String,
}

/// The programs that `entry_points.txt` asks for.
///
/// # Errors
/// Which entry is none.
pub fn parse(bytes: &[u8]) -> Result<Vec<Script>, String> {
    let text = std::str::from_utf8(bytes).map_err(|_| "it is not UTF-8".to_owned())?;
    let mut scripts: Vec<Script> = Vec::new();
    let mut wanted = false;
    for line in text.lines().map(str::trim) {
        if line.is_empty() || line.starts_with(['#', ';']) {
            continue;
        }
        if let Some(section) = line.strip_prefix('[').and_then(|l| l.strip_suffix(']')) {
            wanted = matches!(section.trim(), "console_scripts" | "gui_scripts");
            continue;
        }
        if !wanted {
            continue;
        }
        let script = entry(line).ok_or_else(|| {
            let shown: String = line.chars().take(100).collect();
            format!("{shown:?} is not a program (\"name = module:function\")")
        })?;
        if scripts.iter().any(|other| other.name == script.name) {
            return Err(format!("it has two programs called {:?}", script.name));
        }
        scripts.push(script);
        if scripts.len() > MAX_SCRIPTS {
            return Err(format!("it has more than {MAX_SCRIPTS} programs"));
        }
    }
    Ok(scripts)
}

/// `name = package.module:object.function [extra]`
fn entry(line: &str) -> Option<Script> {
    let (name, target) = line.split_once('=')?;
    let name = name.trim();
    let target = target.split('[').next()?.trim();
    let (module, function) = target.split_once(':')?;
    let (module, function) = (module.trim(), function.trim());
    let good = |b: u8| b.is_ascii_alphanumeric() || matches!(b, b'-' | b'_' | b'.' | b'+');
    let plain = name.bytes().all(good) && !name.starts_with(['.', '-']) && name.len() <= 100;
    if name.is_empty() || !plain || !is_dotted(module) || !is_dotted(function) {
        return None;
    }
    let first = function.split('.').next()?;
    let text = format!(
        "#!{PYTHON}\nimport sys\n\nfrom {module} import {first}\n\n\
         if __name__ == \"__main__\":\n    sys.exit({function}())\n"
    );
    Some(Script { name: name.to_owned(), text })
}

/// Identifiers with dots between them.
fn is_dotted(text: &str) -> bool {
    text.split('.').all(|part| {
        let start = part.chars().next().is_some_and(|c| c.is_alphabetic() || c == '_');
        start && part.chars().all(|c| c.is_alphanumeric() || c == '_')
    })
}

/// A script from `.data/scripts` with its `#!python` line made that of Debian's Python; `None` if
/// it stays as it is.
pub fn with_interpreter(text: &[u8]) -> Option<Vec<u8>> {
    let rest = text.strip_prefix(b"#!python")?;
    let rest = rest.strip_prefix(b"w").unwrap_or(rest);
    if rest.first().is_some_and(|b| !b.is_ascii_whitespace()) {
        return None;
    }
    let mut out = format!("#!{PYTHON}").into_bytes();
    out.extend_from_slice(rest);
    Some(out)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn programs_are_made_from_entry_points() {
        let text = "[flask.commands]\nx = not a program\n\n[console_scripts]\n# a comment\n\
                    gunicorn = gunicorn.app.wsgiapp:run\nx=a:B.main [fast]\n[gui_scripts]\ng=a:b\n";
        let scripts = parse(text.as_bytes()).expect("good");
        let names: Vec<&str> = scripts.iter().map(|s| s.name.as_str()).collect();
        assert_eq!(names, ["gunicorn", "x", "g"]);
        assert!(scripts[0].text.starts_with("#!/usr/bin/python3\n"));
        assert!(scripts[0].text.contains("from gunicorn.app.wsgiapp import run\n"));
        assert!(scripts[1].text.contains("from a import B\n"));
        assert!(scripts[1].text.contains("sys.exit(B.main())"));
    }

    #[test]
    fn hostile_entry_points_are_refused() {
        for line in [
            "../x = a:b",
            "x/y = a:b",
            "x = a",
            "x = a:b;import os",
            "x = os\\nimport:b",
            "x = a b:c",
            "x = a:b()",
            " = a:b",
            "-rf = a:b",
            "x = a:b\nx = a:c",
        ] {
            let text = format!("[console_scripts]\n{line}\n");
            assert!(parse(text.as_bytes()).is_err(), "{line}");
        }
    }

    #[test]
    fn brought_scripts_get_an_interpreter() {
        for (text, want) in [
            ("#!python\nx", Some("#!/usr/bin/python3\nx")),
            ("#!pythonw -E\nx", Some("#!/usr/bin/python3 -E\nx")),
            ("#!/bin/sh\nx", None),
            ("#!python2\nx", None),
        ] {
            let found = with_interpreter(text.as_bytes());
            assert_eq!(found.as_deref(), want.map(str::as_bytes), "{text}");
        }
    }
}
