//! One version of the namespace, read for one answer.

use std::{
    collections::HashMap,
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicU32, Ordering},
    },
};

use axum::http::StatusCode;
use keg::{
    Keg, Kid, NamesError,
    object::{Commit, Entry, EntryName, Kind, Value},
    store::{Names, StoreError},
    users,
};
use serde::de::DeserializeOwned;
use serde_json::Value as Json;

use crate::{docs, error::Fault, format::sentence, location::Location, pages::pointers};

/// Objects read before other requests get their turn: about a millisecond.
const PACE: u32 = 16;
/// Directories kept while an answer is made.
const MAX_DIRECTORIES: usize = 128;
/// Names of a directory that are read at first; of most there are no more.
const FIRST: usize = 1000;
/// Most names of a directory that one answer looks at, where it does not go on with another one.
pub const MAX_NAMES: usize = 10_000;
/// Largest document that is read as JSON.
pub const MAX_DOCUMENT: u64 = 1 << 20;

/// A version of the namespace. All reads for one page come from the same version, so a page never
/// shows half of a change.
pub struct View {
    keg: Arc<Keg>,
    /// Sequence number of the current version, for watching from here on.
    pub seq: u64,
    tree: Kid,
    /// The version shown, if it is not the current one.
    pub version: Option<(Kid, Arc<Commit>)>,
    directories: Mutex<HashMap<Kid, Directory>>,
    /// Authors' texts, and the names of their documents.
    users: Mutex<HashMap<String, Option<String>>>,
    reads: AtomicU32,
}

/// A directory, of which only what is asked for is read.
#[derive(Clone)]
pub struct Directory {
    kid: Kid,
    /// The first [`FIRST`] names.
    first: Arc<Names>,
}

impl Directory {
    /// How many names it has.
    pub fn total(&self) -> u64 {
        self.first.total
    }

    /// Whether it is a table: it has names, and those it begins with are JSON documents.
    pub fn is_table(&self) -> bool {
        !self.first.entries.is_empty()
            && self.first.entries.iter().all(|(name, entry)| {
                name.as_bytes().ends_with(b".json") && matches!(entry.value, Value::File { .. })
            })
    }
}

/// What a location is.
#[derive(Clone)]
pub struct Found {
    /// Where, with the name completed (`/deploys/blog` is `/deploys/blog.json`).
    pub location: Location,
    /// The entry.
    pub entry: Entry,
    /// The innermost commit that it is or is below of: its KID, itself, and how many names deep.
    pub within: Option<(Kid, Arc<Commit>, usize)>,
    /// The version of the namespace asked for, if it is not the current one.
    pub version: Option<(Kid, Arc<Commit>)>,
}

impl View {
    /// The current version.
    pub fn current(keg: Arc<Keg>) -> Result<Self, Fault> {
        let head = keg.head().map_err(|e| Fault::inside("Reading the names", &e))?;
        Ok(Self {
            keg,
            seq: head.seq,
            tree: head.tree,
            version: None,
            directories: Mutex::default(),
            users: Mutex::default(),
            reads: AtomicU32::new(0),
        })
    }

    /// The Keg.
    pub fn keg(&self) -> &Arc<Keg> {
        &self.keg
    }

    /// Lets other requests run after every [`PACE`] reads.
    async fn pace(&self) {
        if self.reads.fetch_add(1, Ordering::Relaxed) % PACE == PACE - 1 {
            tokio::task::yield_now().await;
        }
    }

    /// The directory that a tree is.
    pub async fn tree(&self, kid: &Kid) -> Result<Directory, Fault> {
        if let Some(known) = self.lock().get(kid) {
            return Ok(known.clone());
        }
        self.pace().await;
        let first = self.keg.objects().names_after(kid, None, FIRST);
        let first = Arc::new(first.map_err(|e| store_fault(kid, &e))?);
        let directory = Directory { kid: *kid, first };
        let mut known = self.lock();
        if known.len() < MAX_DIRECTORIES {
            known.insert(*kid, directory.clone());
        }
        Ok(directory)
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, HashMap<Kid, Directory>> {
        self.directories.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// What a name in a directory stands for.
    pub async fn name_in(
        &self,
        directory: &Directory,
        name: &[u8],
    ) -> Result<Option<Entry>, Fault> {
        let Directory { kid, first } = directory;
        let at = first.entries.binary_search_by(|(known, _)| known.as_bytes().cmp(name));
        match at {
            Ok(at) => return Ok(Some(first.entries[at].1.clone())),
            Err(at) if at < first.entries.len() || !first.more => return Ok(None),
            Err(_) => {}
        }
        self.pace().await;
        self.keg.objects().name_in(kid, name).map_err(|e| store_fault(kid, &e))
    }

    /// At most `limit` names of a directory, the first ones or those after a name.
    pub async fn names(
        &self,
        directory: &Directory,
        after: Option<&EntryName>,
        limit: usize,
    ) -> Result<Names, Fault> {
        let Directory { kid, first } = directory;
        if !first.more || after.is_none() && limit <= first.entries.len() {
            let rest = first.entries.iter().filter(|(name, _)| after.is_none_or(|a| name > a));
            let entries: Vec<_> = rest.clone().take(limit).cloned().collect();
            let more = first.more || rest.count() > limit;
            return Ok(Names { entries, total: first.total, more });
        }
        self.pace().await;
        self.keg.objects().names_after(kid, after, limit).map_err(|e| store_fault(kid, &e))
    }

    /// A commit.
    pub async fn commit(&self, kid: &Kid) -> Result<Commit, Fault> {
        self.pace().await;
        self.keg.objects().commit(kid).map_err(|e| store_fault(kid, &e))
    }

    /// A commit that a document names; `None` when the text is no KID or it is not here.
    pub async fn commit_named(&self, kid: Option<&str>) -> Option<(Kid, Commit)> {
        let kid: Kid = kid?.parse().ok()?;
        self.pace().await;
        let commit = self.keg.objects().commit(&kid).ok()?;
        Some((kid, commit))
    }

    /// A small blob.
    pub async fn blob(&self, kid: &Kid) -> Result<Vec<u8>, Fault> {
        self.pace().await;
        self.keg.objects().blob(kid).map_err(|e| store_fault(kid, &e))
    }

    /// An entry's JSON; `None` when it is no file, too large, or not JSON.
    pub async fn entry_json(&self, entry: &Entry) -> Result<Option<Json>, Fault> {
        let Value::File { kid, size } = &entry.value else { return Ok(None) };
        if *size > MAX_DOCUMENT {
            return Ok(None);
        }
        Ok(serde_json::from_slice(&self.blob(kid).await?).ok())
    }

    /// The entry at a path of this version; `None` if there is none.
    pub async fn get(&self, path: &str) -> Result<Option<Entry>, Fault> {
        let root = Value::Tree { kid: self.tree, bytes: 0, entries: 0 };
        let root = Entry { value: root, attrs: keg::object::Attrs::with_mode(0o755) };
        self.get_below(&root, path).await
    }

    /// The entry at a relative path below another.
    pub async fn get_below(&self, entry: &Entry, path: &str) -> Result<Option<Entry>, Fault> {
        let mut entry = entry.clone();
        for part in path.split('/').filter(|part| !part.is_empty()) {
            let Some(directory) = self.directory(&entry).await? else { return Ok(None) };
            match self.name_in(&directory, part.as_bytes()).await? {
                Some(next) => entry = next,
                None => return Ok(None),
            }
        }
        Ok(Some(entry))
    }

    /// The directory that an entry's names are in; `None` if it has none.
    pub async fn directory(&self, entry: &Entry) -> Result<Option<Directory>, Fault> {
        let kid = match &entry.value {
            Value::Tree { kid, .. } => *kid,
            Value::Commit { kid } => self.commit(kid).await?.tree,
            Value::Pointer { kid: Some(kid), .. } => {
                match self.keg.objects().directory_of(entry).map_err(|e| store_fault(kid, &e))? {
                    Some(kid) => kid,
                    None => return Ok(None),
                }
            }
            _ => return Ok(None),
        };
        Ok(Some(self.tree(&kid).await?))
    }

    /// The names in a directory, the first [`MAX_NAMES`]; none if it is absent.
    pub async fn list(&self, path: &str) -> Result<Vec<(EntryName, Entry)>, Fault> {
        let Some(entry) = self.get(path).await? else { return Ok(Vec::new()) };
        let Some(directory) = self.directory(&entry).await? else { return Ok(Vec::new()) };
        Ok(self.names(&directory, None, MAX_NAMES).await?.entries)
    }

    /// The document at a path; `None` if there is none.
    pub async fn doc<T: DeserializeOwned + Default>(&self, path: &str) -> Result<Option<T>, Fault> {
        let Some(entry) = self.get(path).await? else { return Ok(None) };
        Ok(self.entry_json(&entry).await?.map(docs::read))
    }

    /// A document below a commit or tree.
    pub async fn doc_below<T: DeserializeOwned + Default>(
        &self,
        entry: &Entry,
        path: &str,
    ) -> Result<Option<T>, Fault> {
        let Some(entry) = self.get_below(entry, path).await? else { return Ok(None) };
        Ok(self.entry_json(&entry).await?.map(docs::read))
    }

    /// The rows of a table, at most `limit`: each document's name without `.json`, and itself.
    pub async fn rows<T: DeserializeOwned + Default>(
        &self,
        path: &str,
        limit: usize,
    ) -> Result<Vec<(String, T)>, Fault> {
        let mut rows = Vec::new();
        for (name, entry) in self.list(path).await? {
            let name = name.to_string_lossy();
            let Some(id) = name.strip_suffix(".json") else { continue };
            if rows.len() >= limit {
                break;
            }
            if let Some(json) = self.entry_json(&entry).await? {
                rows.push((id.to_owned(), docs::read(json)));
            }
        }
        Ok(rows)
    }

    /// The name of the document, below `/users`, of whoever an author's text stands for; `None`: a
    /// service, or somebody unknown.
    pub fn user(&self, text: &str) -> Option<String> {
        let mut users = self.users.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(known) = users.get(text) {
            return known.clone();
        }
        // A page is no worse without a link.
        let found = users::find(self.keg.objects(), &self.tree, text).ok().flatten();
        let name = found.map(|(name, _)| name);
        users.insert(text.to_owned(), name.clone());
        name
    }

    /// Finds what a location names, in the version it names; moves this view to that version.
    ///
    /// `@K-…` is a version of the namespace, or a source commit or release of the app in the
    /// path. A name without `.json` finds the document.
    ///
    /// # Errors
    /// 404 with the reason, or a failure inside.
    pub async fn find(&mut self, location: &Location) -> Result<Found, Fault> {
        let mut depth = 0;
        let mut within = None;
        let mut entry = None;
        if let Some(prefix) = location.at() {
            let kid = self.keg.resolve(prefix).map_err(|e| resolve_fault(&e))?;
            if self.kind(&kid)? != Some(Kind::Commit) {
                return Err(Fault::not_found(format!("{} is no version.", kid.short())).hint(
                    format!("It is a value; see it at /-/kid/{kid}. Versions are commits."),
                ));
            }
            let commit = Arc::new(self.commit(&kid).await?);
            if is_value_of(location, &commit) {
                entry = Some(Entry::commit(kid));
                depth = 2;
                within = Some((kid, commit, 2));
            } else {
                self.tree = commit.tree;
                self.version = Some((kid, commit));
            }
        }
        let mut entry = match entry {
            Some(entry) => entry,
            None => self.root().await?,
        };
        let mut location = location.clone();
        let names = location.names().to_vec();
        while depth < names.len() {
            let missing = || Fault::nothing_at(location.display());
            let away = || pointers::away(self.keg.objects(), &entry).unwrap_or_else(missing);
            let directory = self.directory(&entry).await?.ok_or_else(away)?;
            let last = depth + 1 == names.len();
            let mut name = names[depth].clone();
            entry = match self.name_in(&directory, name.as_bytes()).await? {
                Some(found) => found,
                None if last => {
                    let longer = [name.as_bytes(), b".json"].concat();
                    let found = self.name_in(&directory, &longer).await?.ok_or_else(missing)?;
                    name = EntryName::new(longer).map_err(|_| missing())?;
                    location = location.ancestor(depth).join(&name);
                    found
                }
                None => return Err(missing()),
            };
            depth += 1;
            if let Value::Commit { kid } = &entry.value {
                within = Some((*kid, Arc::new(self.commit(kid).await?), depth));
            }
        }
        let entry = pointers::file_of(self.keg.objects(), entry)?;
        Ok(Found { location, entry, within, version: self.version.clone() })
    }

    /// Whether this view is in the version that a location names.
    pub fn is_of(&self, location: &Location) -> bool {
        location.at().is_none() || self.version.is_some()
    }

    /// What kind of object a KID is.
    pub fn kind(&self, kid: &Kid) -> Result<Option<Kind>, Fault> {
        self.keg.objects().kind(kid).map_err(|e| store_fault(kid, &e))
    }

    /// The entry of this version's root.
    async fn root(&self) -> Result<Entry, Fault> {
        self.pace().await;
        self.keg.objects().tree_entry(&self.tree).map_err(|e| store_fault(&self.tree, &e))
    }
}

/// Whether a commit is the value of `/source/<app>` or `/oci-images/<app>` rather than a version.
fn is_value_of(location: &Location, commit: &Commit) -> bool {
    let Some(app) = commit.extra.get("app").and_then(Json::as_str) else { return false };
    match location.names() {
        [first, second, ..] if second.as_bytes() == app.as_bytes() => match first.as_bytes() {
            b"source" => commit.extra.contains_key("git"),
            b"oci-images" => commit.extra.contains_key("image"),
            _ => false,
        },
        _ => false,
    }
}

/// What a store's error is to the one who asked.
pub fn store_fault(kid: &Kid, error: &StoreError) -> Fault {
    match error {
        StoreError::Missing { .. } => {
            Fault::new(StatusCode::NOT_FOUND, format!("{} is not in this Keg.", kid.short()))
        }
        other => Fault::inside(&format!("Reading {}", kid.short()), other),
    }
}

/// What an unresolved KID is to the one who asked.
pub fn resolve_fault(error: &NamesError) -> Fault {
    match error {
        NamesError::Unknown { .. } => Fault::not_found(sentence(error)),
        NamesError::Ambiguous { candidates, .. } => {
            let candidates: Vec<String> = candidates.iter().map(ToString::to_string).collect();
            Fault::not_found(sentence(error)).with("candidates", candidates)
        }
        other => Fault::inside("Looking up the KID", other),
    }
}
