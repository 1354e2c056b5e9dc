//! What the commands that change names have in common: who changes, what must still be so, and
//! what is said afterwards.

use keg::{
    Keg, Kid, NamePath,
    names::{Expected, Txn, Version, noun},
    object::{Entry, Value},
};
use serde_json::{Value as Json, json};

use super::{through, who};
use crate::{args::Change, error::CommandError, output};

/// A change under way: what it starts from, so that nothing made meanwhile is lost.
pub struct Changing<'a> {
    keg: &'a Keg,
    how: &'a Change,
    txn: Txn,
    touched: Vec<(NamePath, Option<Entry>, Option<Entry>)>,
}

impl<'a> Changing<'a> {
    /// `usual` is the message unless the user gave one.
    pub fn new(keg: &'a Keg, how: &'a Change, usual: &str) -> Self {
        let message = how.message.as_deref().unwrap_or(usual);
        Self { keg, how, txn: Txn::new(&who::author(), message), touched: Vec::new() }
    }

    /// Sets a name. What is there already is replaced only with `--force`, or if it is `same_kind`.
    pub fn set(&mut self, path: NamePath, entry: Entry, replace: bool) -> Result<(), CommandError> {
        let old = self.keg.get(&path)?;
        if let Some(old) = old.as_ref().filter(|_| !replace && !self.how.force) {
            let text = format!("{path} is there already: a {}", noun(old));
            return Err(CommandError::user(text)
                .hint("replace it with --force; every earlier version stays in `keg log`"));
        }
        self.step(path.clone(), old, Some(entry.clone()), |txn| txn.set(path, entry));
        Ok(())
    }

    /// Removes a name that is there.
    pub fn remove(&mut self, path: NamePath) -> Result<(), CommandError> {
        let old = self.keg.get(&path)?.ok_or_else(|| nothing_at(&path))?;
        if let Some(parent) = path.parent()
            && let Some(pointer) = through::above(self.keg, &parent)?
        {
            let text = format!("{path} is below the pointer {pointer}, whose value is not ours");
            return Err(CommandError::user(text)
                .hint(format!("`keg rm {pointer}` removes the pointer; `keg cp` makes it ours")));
        }
        if let Some(commit) = self.commit_above(&path)? {
            let text = format!("{path} cannot be removed: {commit} is a commit, not a directory");
            return Err(CommandError::user(text).hint(format!(
                "a commit stays as it is: push or set another one; `keg rm {commit}` removes it \
                 whole, `keg checkout {commit} DIR` gives files to change"
            )));
        }
        self.step(path.clone(), Some(old), None, |txn| txn.remove(path));
        Ok(())
    }

    /// The commit that a path is below of.
    fn commit_above(&self, path: &NamePath) -> Result<Option<NamePath>, CommandError> {
        let mut next = path.parent();
        while let Some(at) = next {
            if matches!(self.keg.get(&at)?, Some(Entry { value: Value::Commit { .. }, .. })) {
                return Ok(Some(at));
            }
            next = at.parent();
        }
        Ok(None)
    }

    fn step(
        &mut self,
        path: NamePath,
        old: Option<Entry>,
        new: Option<Entry>,
        add: impl FnOnce(Txn) -> Txn,
    ) {
        let expected = match &old {
            None => Expected::Absent,
            Some(entry) => entry.kid().map_or(Expected::Any, Expected::Kid),
        };
        let txn = std::mem::replace(&mut self.txn, Txn::new("", ""));
        self.txn = add(txn.expect(path.clone(), expected));
        self.touched.push((path, old, new));
    }

    /// Makes the change and says so. `more` is added to the JSON document and, as text, to the
    /// last line for people.
    pub fn make(self, more: &Json, words: &str) -> Result<(), CommandError> {
        let before = self.keg.head()?.seq;
        let version = who::commit(self.keg, self.txn)?;
        if self.how.output.json {
            return report_json(&self.touched, version, more);
        }
        let changed = version.seq > before;
        for (path, old, new) in &self.touched {
            output::line(&format!("{path}  {} → {}", short(old.as_ref()), short(new.as_ref())))?;
        }
        let tail = if words.is_empty() { String::new() } else { format!(", {words}") };
        let what = if changed { "version" } else { "nothing changed: still version" };
        output::line(&format!("{what} {} {}{tail}", version.seq, version.commit.short()))
    }
}

/// The error for a name that is not there.
pub fn nothing_at(path: &NamePath) -> CommandError {
    let parent = path.parent().unwrap_or_else(NamePath::root);
    CommandError::user(format!("there is nothing at {path}"))
        .hint(format!("`keg ls {parent}` shows what is there, `keg log {path}` what was"))
}

fn report_json(
    touched: &[(NamePath, Option<Entry>, Option<Entry>)],
    version: Version,
    more: &Json,
) -> Result<(), CommandError> {
    let kid = |entry: &Option<Entry>| entry.as_ref().and_then(Entry::kid);
    let changes: Vec<Json> = touched
        .iter()
        .map(|(path, old, new)| json!({ "path": path.as_str(), "old": kid(old), "new": kid(new) }))
        .collect();
    let mut document = json!({ "version": version.commit, "seq": version.seq, "changes": changes });
    for (key, value) in more.as_object().into_iter().flatten() {
        document[key] = value.clone();
    }
    output::json_line(&document)
}

fn short(entry: Option<&Entry>) -> String {
    entry.map_or("nothing".to_owned(), |entry| {
        entry.kid().map_or("-".to_owned(), |k: Kid| k.short())
    })
}
