//! The mayor's part of the namespace: its documents are derived from what it knows, and only what
//! differs from what is there is written, all in one version.

use std::collections::BTreeMap;

use keg::names::NamesError;
use keg::path::PathError;
use keg::{CommitError, Keg, NamePath, Txn};
use serde_json::{Value as Json, json};

/// Author of the mayor's versions.
const AUTHOR: &str = "service/mayor";
/// Most reasons that a version's message lists.
const MAX_REASONS: usize = 8;

/// Documents by their path below `/machines/<m>`, e.g. `apps/blog.json`.
pub type Documents = BTreeMap<String, Json>;

/// What is in the namespace, as far as the mayor wrote it.
pub struct Publisher {
    keg: Keg,
    machine: NamePath,
    there: Documents,
    reasons: Vec<String>,
}

/// Why the mayor's documents could not be read or written.
#[derive(Debug, thiserror::Error)]
pub enum PublishError {
    /// They cannot be read.
    #[error("the mayor's documents cannot be read")]
    Read(#[from] NamesError),
    /// They cannot be written.
    #[error("the mayor's documents cannot be written")]
    Write(#[from] CommitError),
    /// The machine's name is none.
    #[error("the machine's name cannot stand in a path")]
    Path(#[from] PathError),
}

impl Publisher {
    /// Reads what is there.
    pub fn open(keg: &Keg, machine: &str) -> Result<Publisher, PublishError> {
        let machine: NamePath = format!("/machines/{machine}").parse()?;
        let mut there = Documents::new();
        for table in ["apps", "routes", "processes"] {
            let directory = machine.join(table)?;
            for (name, _) in keg.list(&directory)? {
                let Some(document) = keg.get_json(&directory.join(&name)?)? else { continue };
                // Services and work have no app; their rows are their own.
                if !document["app"].is_null() {
                    there.insert(format!("{table}/{name}"), document);
                }
            }
        }
        Ok(Publisher { keg: keg.clone(), machine, there, reasons: Vec::new() })
    }

    /// The documents of apps as they were last written.
    pub fn apps(&self) -> impl Iterator<Item = (&str, &Json)> {
        self.there.iter().filter_map(|(path, document)| {
            Some((path.strip_prefix("apps/")?.strip_suffix(".json")?, document))
        })
    }

    /// A reason for the next version, for its message.
    pub fn because(&mut self, reason: String) {
        if self.reasons.len() < MAX_REASONS {
            self.reasons.push(reason);
        }
    }

    /// Makes the namespace say `documents`; writes nothing if it does. Returns whether it wrote.
    pub fn publish(&mut self, mut documents: Documents) -> Result<bool, PublishError> {
        let mut txn = Txn::new(AUTHOR, &self.message());
        for (path, document) in &mut documents {
            let before = self.there.get(path);
            if path.starts_with("apps/") {
                let same = before.is_some_and(|before| without_time(before) == *document);
                let time = before.filter(|_| same).map(|before| before["changed"].clone());
                document["changed"] = time.unwrap_or_else(|| json!(keg::time::now()));
            }
            if before != Some(document) {
                txn = txn.set_json(self.at(path)?, document.clone());
            }
        }
        for path in self.there.keys().filter(|path| !documents.contains_key(*path)) {
            txn = txn.remove(self.at(path)?);
        }
        if txn.is_empty() {
            return Ok(false);
        }
        self.keg.commit(txn)?;
        self.there = documents;
        self.reasons.clear();
        Ok(true)
    }

    fn message(&self) -> String {
        if self.reasons.is_empty() { "processes".into() } else { self.reasons.join("; ") }
    }

    fn at(&self, path: &str) -> Result<NamePath, PathError> {
        path.split('/').try_fold(self.machine.clone(), |path, name| path.join(name))
    }
}

fn without_time(document: &Json) -> Json {
    let mut document = document.clone();
    if let Some(fields) = document.as_object_mut() {
        fields.shift_remove("changed");
    }
    document
}

#[cfg(test)]
mod tests {
    use super::*;

    fn documents(entries: &[(&str, Json)]) -> Documents {
        entries.iter().map(|(path, json)| (path.to_string(), json.clone())).collect()
    }

    #[test]
    fn only_what_differs_is_written_in_one_version() {
        let keg = Keg::in_memory();
        let service = json!({"app": null, "type": "service/front"});
        let path: NamePath = "/machines/m/processes/1.json".parse().unwrap();
        keg.commit(Txn::new("t", "m").set_json(path.clone(), service)).unwrap();
        let mut publisher = Publisher::open(&keg, "m").unwrap();
        let seq = |keg: &Keg| keg.head().unwrap().seq;
        let before = seq(&keg);
        let first = documents(&[
            ("apps/blog.json", json!({"app": "blog", "state": "starting"})),
            ("processes/2.json", json!({"app": "blog"})),
        ]);
        publisher.because("blog: starting".into());
        assert!(publisher.publish(first.clone()).unwrap());
        assert_eq!(seq(&keg), before + 1);
        assert!(!publisher.publish(first.clone()).unwrap());
        let changed = publisher.apps().next().unwrap().1["changed"].clone();
        assert!(changed.is_string());
        // A mayor that comes later finds the same, and has nothing to write either.
        let mut publisher = Publisher::open(&keg, "m").unwrap();
        assert!(!publisher.publish(first).unwrap());
        assert_eq!(publisher.apps().next().unwrap().1["changed"], changed);
        assert!(
            publisher.publish(documents(&[("routes/blog.json", json!({"app": "blog"}))])).unwrap()
        );
        assert_eq!(seq(&keg), before + 2);
        let names = |table: &str| {
            let list = keg.list(&format!("/machines/m/{table}").parse().unwrap()).unwrap();
            list.into_iter().map(|(name, _)| name).collect::<Vec<_>>()
        };
        assert_eq!((names("apps"), names("routes")), (vec![], vec!["blog.json".to_string()]));
        assert_eq!(names("processes"), ["1.json"], "others' rows stay");
    }
}
