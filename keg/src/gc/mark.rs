//! Marking: what is reached from names, kept versions, leases, mounts and images.

use super::{
    GcError, Phase, Progress,
    floors::{Extent, Floors},
    held::{Held, Holder},
    kids::{KidMap, KidSet},
    policy::Policy,
};
use crate::{
    Kid, NamePath, directory,
    object::{Entry, EntryName, Kind, Value, shards::Node},
    store::{Objects, Root, StoreError},
};

/// Progress is told once for this many objects.
const PROGRESS_EVERY: u64 = 4096;
/// The place in its history of a commit that only an old version of the namespace names.
const OLD: u64 = u64::MAX / 2;

/// What is needed.
#[derive(Default)]
pub(crate) struct Marks {
    /// Objects, with everything below them.
    whole: KidSet,
    /// Objects of which only some of what is below is needed.
    alone: KidSet,
    /// Commit values, and their smallest place in a history.
    commits: KidMap<u64>,
    /// Parents that commit values name.
    parents: KidSet,
}

impl Marks {
    pub(crate) fn contains(&self, kid: &Kid) -> bool {
        self.whole.contains(kid) || self.alone.contains(kid)
    }

    /// Whether all that is below a tree or commit is needed, too.
    pub(crate) fn is_whole(&self, kid: &Kid) -> bool {
        self.whole.contains(kid)
    }

    /// Notes a blob that is needed without a name.
    pub(crate) fn keep(&mut self, blob: Kid) {
        self.whole.insert(blob);
    }

    pub(crate) fn len(&self) -> u64 {
        (self.whole.len() + self.alone.len()) as u64
    }

    /// Commits that needed ones follow and that are not needed themselves.
    pub(crate) fn cut(&self) -> impl Iterator<Item = Kid> {
        self.parents.iter().filter(|kid| !self.contains(kid)).copied()
    }
}

/// An object to be followed.
struct Item {
    kid: Kid,
    kind: Kind,
    path: String,
    /// Below a pointer, whose value may be here in part only.
    lent: bool,
}

pub(crate) struct Marker<'a> {
    pub(crate) objects: &'a dyn Objects,
    pub(crate) floors: &'a Floors,
    pub(crate) policy: &'a Policy,
    pub(crate) now_ms: i64,
    pub(crate) marks: Marks,
    pub(crate) held: Held,
    pub(crate) progress: &'a mut dyn FnMut(Progress),
    told: u64,
}

impl<'a> Marker<'a> {
    pub(crate) fn new(
        objects: &'a dyn Objects,
        (floors, policy): (&'a Floors, &'a Policy),
        now_ms: i64,
        held: Held,
        progress: &'a mut dyn FnMut(Progress),
    ) -> Self {
        let marks = Marks::default();
        Self { objects, floors, policy, now_ms, marks, held, progress, told: 0 }
    }

    /// Marks what is kept of a version of the namespace.
    pub(crate) fn version(&mut self, root: Root, current: bool) -> Result<(), GcError> {
        self.held.holder = if current { Holder::Name } else { Holder::Version { seq: root.seq } };
        let commit = self.objects.commit(&root.commit).map_err(unread("/", root.seq))?;
        self.marks.alone.insert(root.commit);
        let mut left = vec![(NamePath::root(), commit.tree)];
        // Only directories with rules below them that differ are walked here, path by path.
        while let Some((path, tree)) = left.pop() {
            match self.floors.extent(&path, root.seq) {
                Extent::Gone => {}
                Extent::Whole => {
                    let path = path.as_str().trim_end_matches('/').to_owned();
                    self.whole(Item { kid: tree, kind: Kind::Tree, path, lent: false }, current)?;
                }
                Extent::Partial => self.partial(&path, &tree, root.seq, current, &mut left)?,
            }
        }
        Ok(())
    }

    fn partial(
        &mut self,
        path: &NamePath,
        tree: &Kid,
        seq: u64,
        current: bool,
        left: &mut Vec<(NamePath, Kid)>,
    ) -> Result<(), GcError> {
        let mut entries = Vec::new();
        let read = directory::visit(self.objects, tree, &mut |kid, node| {
            self.marks.alone.insert(*kid);
            if let Node::Leaf(leaf) = node {
                entries.extend(leaf.entries);
            }
            Ok(())
        });
        read.map_err(unread(path.as_str(), seq))?;
        for (name, entry) in entries {
            let below = std::str::from_utf8(name.as_bytes()).ok().and_then(|n| path.join(n).ok());
            let extent = match &below {
                Some(below) => self.floors.extent(below, seq),
                // No rule can be about a name that no path can say.
                None if self.floors.of(path) <= seq => Extent::Whole,
                None => Extent::Gone,
            };
            match (extent, below, &entry.value) {
                (Extent::Gone, ..) => {}
                (Extent::Partial, Some(below), Value::Tree { kid, .. }) => left.push((below, *kid)),
                (Extent::Partial, Some(below), Value::Commit { kid }) => {
                    let commit = self.objects.commit(kid);
                    let commit = commit.map_err(unread(below.as_str(), seq))?;
                    self.marks.alone.insert(*kid);
                    self.marks.parents.extend(commit.parents);
                    left.push((below, commit.tree));
                }
                _ => {
                    let above = path.as_str().trim_end_matches('/');
                    self.entry(above, &name, &entry, current)?;
                }
            }
        }
        Ok(())
    }

    /// Marks a value and all that is below it, whatever the floors say.
    pub(crate) fn value(&mut self, kid: &Kid, holder: Holder) -> Result<bool, GcError> {
        let Some(kind) = self.objects.kind(kid)? else { return Ok(false) };
        self.held.holder = holder;
        if kind == Kind::Blob {
            let size = self.objects.blob_size(kid)?;
            self.held.lent = false;
            self.blob(kid, size, String::new);
        } else {
            self.whole(Item { kid: *kid, kind, path: String::new(), lent: false }, false)?;
        }
        Ok(true)
    }

    fn entry(
        &mut self,
        above: &str,
        name: &EntryName,
        entry: &Entry,
        current: bool,
    ) -> Result<(), GcError> {
        let mut left = Vec::new();
        self.push(above, name, (entry, false), &mut left)?;
        while let Some(item) = left.pop() {
            self.whole(item, current)?;
        }
        Ok(())
    }

    fn blob(&mut self, kid: &Kid, size: u64, path: impl FnOnce() -> String) {
        if self.marks.whole.insert(*kid) {
            self.held.note(*kid, size, path);
            self.tell();
        }
    }

    fn tell(&mut self) {
        self.told += 1;
        if self.told.is_multiple_of(PROGRESS_EVERY) {
            (self.progress)(Progress { phase: Phase::Mark, done: self.told });
        }
    }

    /// Notes what an entry names; what has something below it is left to be followed.
    fn push(
        &mut self,
        above: &str,
        name: &EntryName,
        (entry, lent): (&Entry, bool),
        left: &mut Vec<Item>,
    ) -> Result<(), GcError> {
        let is_pointer = matches!(entry.value, Value::Pointer { .. });
        self.held.lent = lent || is_pointer;
        let path = || format!("{above}/{}", name.to_string_lossy());
        let (kid, kind) = match &entry.value {
            Value::File { kid, size } => {
                self.blob(kid, *size, path);
                return Ok(());
            }
            Value::Tree { kid, .. } => (*kid, Kind::Tree),
            Value::Commit { kid } => (*kid, Kind::Commit),
            Value::Pointer { kid: Some(kid), .. } => match self.objects.kind(kid)? {
                Some(Kind::Blob) => {
                    let size = self.objects.blob_size(kid)?;
                    self.blob(kid, size, path);
                    return Ok(());
                }
                Some(kind) => (*kid, kind),
                None => return Ok(()),
            },
            _ => return Ok(()),
        };
        if kind == Kind::Commit || !self.marks.whole.contains(&kid) {
            left.push(Item { kid, kind, path: path(), lent: lent || is_pointer });
        }
        Ok(())
    }

    fn whole(&mut self, start: Item, current: bool) -> Result<(), GcError> {
        let mut left = vec![start];
        while let Some(item) = left.pop() {
            if item.kind == Kind::Commit {
                self.commit_value(&item, current, &mut left)?;
            } else if item.kind == Kind::Tree && self.marks.whole.insert(item.kid) {
                self.tell();
                let node = match directory::node(self.objects, &item.kid) {
                    Err(StoreError::Missing { .. }) if item.lent => continue,
                    node => node.map_err(unread(&item.path, 0))?,
                };
                match node {
                    Node::Leaf(tree) => {
                        for (name, entry) in tree.entries {
                            self.push(&item.path, &name, (&entry, item.lent), &mut left)?;
                        }
                    }
                    // Parts of a directory: versions of it share most of them.
                    Node::Index(index) => left.extend(index.children.iter().map(|part| Item {
                        kid: part.kid,
                        kind: Kind::Tree,
                        path: item.path.clone(),
                        lent: item.lent,
                    })),
                }
            }
        }
        Ok(())
    }

    /// Marks a commit value, and as much of the history it names as the rule of its path keeps.
    fn commit_value(
        &mut self,
        item: &Item,
        current: bool,
        left: &mut Vec<Item>,
    ) -> Result<(), GcError> {
        let path = if item.path.is_empty() { "/" } else { &item.path };
        let keep = self.policy.keep(&path.parse().unwrap_or_else(|_| NamePath::root()));
        let mut chain = vec![(item.kid, if current { 1 } else { OLD }, self.now_ms)];
        let mut here = true;
        while let Some((kid, nth, until_ms)) = chain.pop() {
            let known = self.marks.commits.get(&kid).copied();
            if !here && (!keep.keeps(nth, until_ms, self.now_ms) || known.is_some_and(|k| k <= nth))
            {
                continue;
            }
            if here && !current && known.is_some() {
                continue;
            }
            let commit = match self.objects.commit(&kid) {
                // The history of a value is not part of it: it may end anywhere.
                Err(StoreError::Missing { .. }) if !here || item.lent => continue,
                read => read.map_err(unread(path, 0))?,
            };
            here = false;
            self.marks.commits.insert(kid, known.map_or(nth, |known| known.min(nth)));
            self.marks.whole.insert(kid);
            if known.is_none() {
                self.tell();
                let (kid, path) = (commit.tree, item.path.clone());
                left.push(Item { kid, kind: Kind::Tree, path, lent: item.lent });
            }
            for parent in commit.parents {
                self.marks.parents.insert(parent);
                chain.push((parent, nth.saturating_add(1), commit.time_ms));
            }
        }
        Ok(())
    }
}

fn unread(path: &str, seq: u64) -> impl FnOnce(StoreError) -> GcError {
    let path = if path.is_empty() { "/".to_owned() } else { path.to_owned() };
    move |source| GcError::Unread { path, seq, source }
}
