//! Making a transaction: check what it expects, copy the trees on the paths it touches.

use std::collections::BTreeMap;

use super::{CommitError, Expected, Txn, Version, noun, txn::Step};
use crate::{
    Kid,
    directory::{Changes, Directory, change_with},
    object::{Commit, Entry, EntryName, Kind, Value},
    path::NamePath,
    store::{Object, Objects, StoreError},
};

/// A transaction whose documents are bytes by now.
pub(crate) struct Planned<'a> {
    pub(crate) txn: &'a Txn,
    /// For each step, what the name becomes.
    pub(crate) values: Vec<Option<Entry>>,
    /// Small documents that travel with the transaction.
    pub(crate) documents: Vec<(Kid, Object)>,
    /// When, in milliseconds since 1970.
    pub(crate) time_ms: i64,
}

impl Txn {
    /// Splits the steps into what each name becomes and, by `keep`, where documents go.
    pub(crate) fn values(
        &self,
        keep: &mut dyn FnMut(Vec<u8>) -> Result<Entry, StoreError>,
    ) -> Result<Vec<Option<Entry>>, StoreError> {
        self.steps
            .iter()
            .map(|(_, step)| match step {
                Step::Set(entry) => Ok(Some(entry.clone())),
                Step::SetJson(value) => keep(value.to_string().into_bytes()).map(Some),
                Step::Remove => Ok(None),
            })
            .collect()
    }
}

/// A version that is about to be made.
pub(crate) struct Made {
    /// New objects, what is needed before what needs it.
    pub(crate) objects: Vec<(Kid, Object)>,
    /// The version; its bytes are among the objects.
    pub(crate) commit: Kid,
    /// Its names.
    pub(crate) tree: Kid,
}

/// The version that follows `base` when the transaction is made; `None` if it changes nothing.
pub(crate) fn plan(
    objects: &dyn Objects,
    base: &Version,
    planned: &Planned<'_>,
) -> Result<Option<Made>, CommitError> {
    for (path, expected) in &planned.txn.expected {
        check(objects, &base.tree, path, *expected)?;
    }
    let mut top = Node::load(objects, &base.tree)?;
    for ((path, _), value) in planned.txn.steps.iter().zip(&planned.values) {
        check_value(objects, planned, path, value.as_ref())?;
        match value {
            Some(entry) => set(&mut top, objects, path, entry)?,
            None => remove(&mut top, objects, path)?,
        }
    }
    let mut made = planned.documents.clone();
    let tree = top.write(&mut made)?;
    let Value::Tree { kid: tree, .. } = tree.value else { return Err(CommitError::Root) };
    if tree == base.tree {
        return Ok(None);
    }
    let commit = Commit {
        tree,
        parents: vec![base.commit],
        author: planned.txn.author.clone(),
        time_ms: planned.time_ms,
        message: planned.txn.message.clone(),
        extra: planned.txn.extra.clone(),
    };
    let bytes = commit.encode().map_err(invalid(Kind::Commit))?;
    let kid = Kind::Commit.kid_of(&bytes);
    made.push((kid, Object { kind: Kind::Commit, bytes }));
    Ok(Some(Made { objects: made, commit: kid, tree }))
}

fn invalid(kind: Kind) -> impl Fn(crate::object::DecodeError) -> StoreError {
    move |source| StoreError::Invalid { kind, source }
}

fn check(
    objects: &dyn Objects,
    tree: &Kid,
    path: &NamePath,
    expected: Expected,
) -> Result<(), CommitError> {
    let found = objects.walk(tree, path.as_str())?;
    let holds = match expected {
        Expected::Any => true,
        Expected::Absent => found.is_none(),
        Expected::Kid(kid) => found.as_ref().and_then(Entry::kid) == Some(kid),
    };
    if holds {
        return Ok(());
    }
    let found = found.map(Box::new);
    Err(CommitError::Conflict { path: path.clone(), expected, found })
}

/// A name must stand for something that is here, and is what the entry says.
fn check_value(
    objects: &dyn Objects,
    planned: &Planned<'_>,
    path: &NamePath,
    entry: Option<&Entry>,
) -> Result<(), CommitError> {
    let (kid, expected) = match entry.map(|entry| &entry.value) {
        Some(Value::File { kid, .. }) => (kid, Kind::Blob),
        Some(Value::Tree { kid, .. }) => (kid, Kind::Tree),
        Some(Value::Commit { kid }) => (kid, Kind::Commit),
        _ => return Ok(()),
    };
    let travels = |(document, object): &(Kid, Object)| document == kid && object.kind == expected;
    // Cheaper than to look for what is new.
    if planned.documents.iter().any(travels) {
        return Ok(());
    }
    match objects.kind(kid)? {
        Some(found) if found == expected => Ok(()),
        Some(found) => Err(StoreError::WrongKind { kid: *kid, expected, found }.into()),
        None => Err(CommitError::MissingValue { path: path.clone(), kid: *kid }),
    }
}

/// A directory that is being changed: what it was, what its names become, and the directories
/// below that are being changed, too.
struct Node<'a> {
    base: Option<Directory<'a>>,
    changes: Changes,
    below: BTreeMap<EntryName, Node<'a>>,
}

impl<'a> Node<'a> {
    fn load(objects: &'a dyn Objects, kid: &Kid) -> Result<Self, StoreError> {
        let base = Some(Directory::open(objects, kid)?);
        Ok(Self { base, ..Self::new() })
    }

    fn new() -> Self {
        Self { base: None, changes: Changes::new(), below: BTreeMap::new() }
    }

    /// Encodes the changed trees, those below first; directories made canonical (0755, root).
    fn write(self, made: &mut Vec<(Kid, Object)>) -> Result<Entry, StoreError> {
        let Self { base, mut changes, below } = self;
        for (name, node) in below {
            let entry = node.write(made)?;
            changes.insert(name, Some(entry));
        }
        let mut keep = |kid: Kid, bytes: Vec<u8>| {
            made.push((kid, Object { kind: Kind::Tree, bytes }));
            Ok(())
        };
        let directory = change_with(base, changes, &mut keep)?;
        Ok(Entry::tree(directory.kid, directory.sums))
    }

    /// What a name stood for before.
    fn before(&self, name: &EntryName) -> Result<Option<Entry>, StoreError> {
        self.base.as_ref().map_or(Ok(None), |base| base.get(name.as_bytes()))
    }

    fn put(&mut self, name: EntryName, entry: Option<Entry>) {
        self.below.remove(&name);
        self.changes.insert(name, entry);
    }

    fn is_empty(&self) -> Result<bool, StoreError> {
        if !self.below.is_empty() || self.changes.values().any(Option::is_some) {
            return Ok(false);
        }
        let mut left = self.base.as_ref().map_or(0, Directory::names);
        if left > self.changes.len() as u64 {
            return Ok(false);
        }
        for name in self.changes.keys() {
            left -= u64::from(self.before(name)?.is_some());
        }
        Ok(left == 0)
    }

    /// The directory `name`, taken up to be changed; `Ok(None)` if it is not there, `Err` with what
    /// is there if that is none.
    fn enter(
        &mut self,
        objects: &'a dyn Objects,
        name: &EntryName,
    ) -> Result<Result<Option<&mut Self>, Box<Entry>>, StoreError> {
        if !self.below.contains_key(name) {
            let entry = match self.changes.get(name) {
                Some(changed) => changed.clone(),
                None => self.before(name)?,
            };
            let Some(entry) = entry else { return Ok(Ok(None)) };
            let Value::Tree { kid, .. } = &entry.value else { return Ok(Err(Box::new(entry))) };
            let node = Self::load(objects, kid)?;
            self.put(name.clone(), None);
            self.below.insert(name.clone(), node);
        }
        Ok(Ok(self.below.get_mut(name)))
    }
}

fn split(path: &NamePath) -> Result<(Vec<EntryName>, EntryName), CommitError> {
    let name = |part: &str| {
        EntryName::new(part).expect("the components of a path in the Keg are names of entries")
    };
    let mut names: Vec<EntryName> = path.components().map(name).collect();
    let last = names.pop().ok_or(CommitError::Root)?;
    Ok((names, last))
}

/// The first components of a path, one more than `depth`.
fn first_of(path: &NamePath, depth: usize) -> NamePath {
    let first: String = path.components().take(depth + 1).flat_map(|part| ["/", part]).collect();
    first.parse().unwrap_or_else(|_| NamePath::root())
}

fn set<'a>(
    top: &mut Node<'a>,
    objects: &'a dyn Objects,
    path: &NamePath,
    entry: &Entry,
) -> Result<(), CommitError> {
    let (above, last) = split(path)?;
    let mut node = top;
    for (depth, name) in above.iter().enumerate() {
        match node.enter(objects, name)? {
            Err(found) => {
                let (path, at) = (path.clone(), first_of(path, depth));
                return Err(CommitError::NotADirectory { path, at, found: noun(&found) });
            }
            Ok(Some(_)) => {}
            Ok(None) => {
                node.below.insert(name.clone(), Node::new());
            }
        }
        node = node.below.get_mut(name).expect("it was entered or made just now");
    }
    node.put(last, Some(entry.clone()));
    Ok(())
}

fn remove<'a>(
    top: &mut Node<'a>,
    objects: &'a dyn Objects,
    path: &NamePath,
) -> Result<(), CommitError> {
    let (above, last) = split(path)?;
    remove_below(top, objects, path, &above, &last)
}

/// Removes a name; directories that it leaves empty go with it. What is not there stays so; what
/// may be there, but in a value that is not changed in parts, is an error.
fn remove_below<'a>(
    node: &mut Node<'a>,
    objects: &'a dyn Objects,
    path: &NamePath,
    above: &[EntryName],
    last: &EntryName,
) -> Result<(), CommitError> {
    let Some((name, rest)) = above.split_first() else {
        node.put(last.clone(), None);
        return Ok(());
    };
    match node.enter(objects, name)? {
        Ok(Some(child)) => {
            remove_below(child, objects, path, rest, last)?;
            if child.is_empty()? {
                node.put(name.clone(), None);
            }
        }
        Err(found) if matches!(found.value, Value::Commit { .. } | Value::Pointer { .. }) => {
            let depth = path.components().count() - 1 - above.len();
            let (path, at) = (path.clone(), first_of(path, depth));
            return Err(CommitError::Below { path, at, found: noun(&found) });
        }
        Ok(None) | Err(_) => {}
    }
    Ok(())
}
