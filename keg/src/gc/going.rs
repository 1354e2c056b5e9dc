//! What goes, and what it was: for a collection that changes nothing.

use std::{
    cmp::Reverse,
    collections::{HashMap, HashSet},
    fs,
    path::Path,
};

use serde::{Deserialize, Serialize};

use super::{
    EXPLAINED, GcError,
    garbage::{Garbage, touched_ms},
    held::{Holder, Kept},
    ingests::Ingests,
    mark::Marks,
};
use crate::{
    Keg, Kid,
    object::Value,
    store::{Objects, StoreError, pending::object_path},
};

/// Most directories that are read to find what objects were called.
const MAX_TREES: usize = 1 << 20;

/// An object that nothing needs.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct Going {
    /// Its size in bytes.
    pub bytes: u64,
    /// Which.
    pub kid: Kid,
    /// When it can go, in milliseconds since 1970; `None`: now.
    pub at_ms: Option<u64>,
    /// What it was called; `None`: no version that can still be read names it. It is left over, or
    /// was just put by somebody who is gone.
    pub path: Option<String>,
    /// The newest version that calls it so.
    pub seq: Option<u64>,
}

/// The largest of what goes, with its names in versions from `oldest` on.
pub(super) fn largest(
    keg: &Keg,
    garbage: &Garbage,
    marks: &Marks,
    oldest: u64,
    (horizon, grace_ms): (u64, u64),
) -> Result<Vec<Going>, GcError> {
    let mut all: Vec<(u64, Kid, u64)> =
        garbage.unneeded.iter().map(|(kid, one)| (one.bytes, *kid, one.since)).collect();
    all.sort_unstable_by_key(|(bytes, kid, _)| (Reverse(*bytes), *kid));
    all.truncate(EXPLAINED);
    let mut search = Search {
        objects: keg.objects(),
        marks,
        wanted: all.iter().map(|(_, kid, _)| (*kid, None)).collect(),
        missing: all.len(),
        seen: HashSet::new(),
    };
    let newest = keg.master().latest()?.seq;
    for seq in (oldest..=newest).rev() {
        if search.missing == 0 || search.seen.len() >= MAX_TREES {
            break;
        }
        let Some(root) = keg.master().root(seq)? else { continue };
        search.version(seq, &root.commit)?;
    }
    let going = all.into_iter().map(|(bytes, kid, since)| {
        let at_ms = (since > horizon).then(|| since.saturating_add(grace_ms));
        let (path, seq) = search.wanted.remove(&kid).flatten().unzip();
        Going { bytes, kid, at_ms, path, seq }
    });
    Ok(going.collect())
}

/// Of what no version names and what is not due, what somebody may have just put stays.
pub(super) fn tell_from_put(
    home: &Path,
    largest: Vec<Going>,
    garbage: &Garbage,
    ingests: &Ingests,
) -> (Vec<Going>, Vec<Kept>) {
    let (mut going, mut put) = (Vec::new(), Vec::new());
    for one in largest {
        let written = || Some(touched_ms(&fs::metadata(object_path(home, &one.kid)).ok()?));
        let unneeded = garbage.unneeded.get(&one.kid).filter(|_| one.path.is_none());
        let waits = unneeded.filter(|_| one.at_ms.is_some());
        match waits.and_then(|waits| ingests.of(written(), waits.since)) {
            Some(ingest) => put.push(Kept {
                bytes: one.bytes,
                kid: one.kid,
                holder: Holder::Ingest(ingest.clone()),
                path: String::new(),
            }),
            None => going.push(one),
        }
    }
    (going, put)
}

struct Search<'a> {
    objects: &'a dyn Objects,
    marks: &'a Marks,
    /// What is looked for, and what it is called.
    wanted: HashMap<Kid, Option<(String, u64)>>,
    missing: usize,
    seen: HashSet<Kid>,
}

impl Search<'_> {
    fn version(&mut self, seq: u64, commit: &Kid) -> Result<(), StoreError> {
        self.met(commit, "/", seq);
        let mut left = match self.objects.commit(commit) {
            Ok(commit) => vec![(String::new(), commit.tree)],
            Err(_) => return Ok(()),
        };
        while let Some((path, tree)) = left.pop() {
            // Whatever is needed whole leads to nothing that goes.
            if self.marks.is_whole(&tree) || !self.seen.insert(tree) {
                continue;
            }
            self.met(&tree, if path.is_empty() { "/" } else { &path }, seq);
            if self.seen.len() >= MAX_TREES {
                return Ok(());
            }
            // What an earlier collection took is not to be explained any more.
            let Ok(read) = self.objects.tree(&tree) else { continue };
            for (name, entry) in &read.entries {
                let path = || format!("{path}/{}", name.to_string_lossy());
                match &entry.value {
                    Value::File { kid, .. } if self.wanted.contains_key(kid) => {
                        self.met(kid, &path(), seq);
                    }
                    Value::Tree { kid, .. } => left.push((path(), *kid)),
                    Value::Commit { kid } => {
                        let path = path();
                        self.met(kid, &path, seq);
                        if let Ok(commit) = self.objects.commit(kid) {
                            left.push((path, commit.tree));
                        }
                    }
                    _ => {}
                }
            }
        }
        Ok(())
    }

    fn met(&mut self, kid: &Kid, path: &str, seq: u64) {
        if let Some(name @ None) = self.wanted.get_mut(kid) {
            *name = Some((path.to_owned(), seq));
            self.missing -= 1;
        }
    }
}
