//! What a language is to the highlighter, and which one a file is in.

use super::{Class, table::LANGS};

/// What the highlighter knows of a language.
pub struct Lang {
    /// Its name, for people.
    pub name: &'static str,
    pub(super) extensions: &'static [&'static str],
    pub(super) line_comments: &'static [&'static str],
    pub(super) block_comments: &'static [(&'static str, &'static str)],
    /// Strings that go on over lines.
    pub(super) long_strings: &'static [(&'static str, &'static str)],
    pub(super) quotes: &'static [&'static str],
    /// Words, with spaces between.
    pub(super) keywords: &'static str,
    /// Names of values, with spaces between.
    pub(super) constants: &'static str,
    /// Characters that make the word after them a key: `@decorator`, `$variable`.
    pub(super) sigils: &'static str,
    /// A backslash in a string takes the next character along.
    pub(super) escapes: bool,
    /// `'` is around one character.
    pub(super) char_quotes: bool,
    /// A word before `(` is a name.
    pub(super) calls: bool,
    /// A word or string before `:` is a key.
    pub(super) colon_keys: bool,
    /// A word before `=` is a key.
    pub(super) equals_keys: bool,
    /// A word after `<` is a name.
    pub(super) tags: bool,
    pub(super) any_case: bool,
    /// Lines that are of one class as a whole.
    pub(super) whole_line: Option<fn(&str) -> Option<Class>>,
}

/// The language of a file, by its name, else by its first line; `None` shows plain text.
pub fn detect(name: &str, text: &str) -> Option<&'static Lang> {
    let lower = name.to_ascii_lowercase();
    let extension = lower.rsplit('.').next().unwrap_or(&lower);
    let by_extension = |e: &str| LANGS.iter().find(|lang| lang.extensions.contains(&e));
    by_extension(extension).or_else(|| {
        let first = text.lines().next()?;
        let shebang = first.strip_prefix("#!")?;
        match shebang {
            s if s.contains("python") => by_extension("py"),
            s if s.contains("node") => by_extension("js"),
            s if s.contains("ruby") => by_extension("rb"),
            s if s.ends_with("sh") => by_extension("sh"),
            _ => None,
        }
    })
}
