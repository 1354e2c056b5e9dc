//! `keg diff`: what differs between two values.

use std::collections::BTreeSet;

use keg::{
    Keg, Kid,
    object::{Entry, EntryName, Tree, Value},
};
use serde_json::{Value as Json, json};
use similar::TextDiff;

use super::{locate, ls, through};
use crate::{args::Output, error::CommandError, find, output};

/// Texts larger than this are compared by KID only, bytes.
const MAX_TEXT: u64 = 4 * 1024 * 1024;
/// Lines of context in a unified diff.
const CONTEXT: usize = 3;
/// What became of the size: `  (1.2 KB)`, `  (1.2 KB → 1.4 KB)`; nothing for what has none.
fn sizes(a: Option<&Entry>, b: Option<&Entry>) -> String {
    let size = |entry: Option<&Entry>| match entry.map(|entry| &entry.value) {
        Some(Value::File { size, .. }) => Some(*size),
        _ => None,
    };
    match (size(a), size(b)) {
        (Some(old), Some(new)) if old != new => {
            format!("  ({} → {})", output::bytes(old), output::bytes(new))
        }
        (Some(one), _) | (None, Some(one)) => format!("  ({})", output::bytes(one)),
        (None, None) => String::new(),
    }
}

/// Deepest directory compared.
const MAX_DEPTH: usize = 4096;

/// Prints added, removed and changed names of two trees, or the lines of two texts.
pub fn run(a: &str, b: &str, how: Output) -> Result<(), CommandError> {
    let keg = find::keg()?;
    let (left, right) = (locate::value(&keg, a)?, locate::value(&keg, b)?);
    for (found, text) in [(&left, a), (&right, b)] {
        if found.within.is_some() {
            through::whole(&keg, &found.entry, found.within.as_ref(), text)?;
        }
    }
    let trees = (tree_of(&keg, &left.entry)?, tree_of(&keg, &right.entry)?);
    let mut differ = Differ { keg: &keg, how, rows: Vec::new() };
    match trees {
        (Some(old), Some(new)) => differ.trees("", Some(&old), Some(&new), 0)?,
        _ => differ.entry(&left.label, Some(&left.entry), Some(&right.entry), 0)?,
    }
    if how.json {
        output::json_line(&Json::Array(differ.rows))?;
    }
    Ok(())
}

fn tree_of(keg: &Keg, entry: &Entry) -> Result<Option<Kid>, CommandError> {
    Ok(keg.objects().directory_of(entry)?)
}

struct Differ<'a> {
    keg: &'a Keg,
    how: Output,
    rows: Vec<Json>,
}

impl Differ<'_> {
    fn trees(
        &mut self,
        at: &str,
        old: Option<&Kid>,
        new: Option<&Kid>,
        depth: usize,
    ) -> Result<(), CommandError> {
        if depth > MAX_DEPTH {
            return Err(CommandError::user(format!("{at} is nested too deeply to compare")));
        }
        let objects = self.keg.objects();
        let (old, new) = match (old, new) {
            (Some(old), Some(new)) => objects.differing(old, new)?,
            (Some(old), None) => (objects.tree(old)?, Tree::default()),
            (None, Some(new)) => (Tree::default(), objects.tree(new)?),
            (None, None) => return Ok(()),
        };
        let names: BTreeSet<&EntryName> = old.entries.keys().chain(new.entries.keys()).collect();
        for name in names {
            let path = match at {
                "" => name.to_string_lossy(),
                at => format!("{at}/{}", name.to_string_lossy()),
            };
            let (a, b) = (old.entries.get(name), new.entries.get(name));
            if a != b {
                self.entry(&path, a, b, depth)?;
            }
        }
        Ok(())
    }

    fn entry(
        &mut self,
        path: &str,
        a: Option<&Entry>,
        b: Option<&Entry>,
        depth: usize,
    ) -> Result<(), CommandError> {
        let old = a.map(|entry| tree_of(self.keg, entry)).transpose()?.flatten();
        let new = b.map(|entry| tree_of(self.keg, entry)).transpose()?.flatten();
        match (old, new) {
            (Some(old), Some(new)) => self.trees(path, Some(&old), Some(&new), depth + 1),
            (Some(old), None) if b.is_none() => self.trees(path, Some(&old), None, depth + 1),
            (None, Some(new)) if a.is_none() => self.trees(path, None, Some(&new), depth + 1),
            _ if a == b => Ok(()),
            _ => self.leaf(path, a, b),
        }
    }

    fn leaf(
        &mut self,
        path: &str,
        a: Option<&Entry>,
        b: Option<&Entry>,
    ) -> Result<(), CommandError> {
        let change = match (a, b) {
            (None, _) => "added",
            (_, None) => "removed",
            _ => "changed",
        };
        if self.how.json {
            let describe = |entry: Option<&Entry>| entry.map(|entry| ls::describe(path, entry));
            self.rows.push(json!({
                "path": path, "change": change, "old": describe(a), "new": describe(b)
            }));
            return Ok(());
        }
        let kids = [a, b].map(|entry| entry.and_then(|entry| entry.kid()));
        let short = |kid: Option<Kid>| kid.map_or("-".to_owned(), |kid| kid.short());
        let sizes = sizes(a, b);
        output::line(&format!(
            "{change:<8} {path}  {} → {}{sizes}",
            short(kids[0]),
            short(kids[1])
        ))?;
        self.text(path, a, b)
    }

    fn text(&self, path: &str, a: Option<&Entry>, b: Option<&Entry>) -> Result<(), CommandError> {
        let (Some(old), Some(new)) = (self.read(a)?, self.read(b)?) else { return Ok(()) };
        let diff = TextDiff::from_lines(&old, &new);
        let mut unified = diff.unified_diff();
        unified.context_radius(CONTEXT).header(&format!("a/{path}"), &format!("b/{path}"));
        output::line(unified.to_string().trim_end())
    }

    /// The text of a blob; empty for an absent one; `None` where it is large or not text.
    fn read(&self, entry: Option<&Entry>) -> Result<Option<String>, CommandError> {
        match entry.map(|entry| &entry.value) {
            None => Ok(Some(String::new())),
            Some(Value::File { kid, size }) if *size <= MAX_TEXT => {
                Ok(String::from_utf8(self.keg.objects().blob(kid)?).ok())
            }
            _ => Ok(None),
        }
    }
}
