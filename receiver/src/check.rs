//! What is done with every object of a pack, once: its ids, its form, and what it names.

use std::collections::{HashMap, HashSet, hash_map::Entry};

use gix_hash::ObjectId;
use gix_object::Kind;
use keg::Kid;

use crate::{
    fsck::{self, Fault},
    git::{self, EntryKind},
    lfs,
    pack::{Budget, Object, PackError, PackSet},
};

/// Most distinct objects a pack may name: its own and those it builds upon.
const MAX_LINKS: usize = 4_000_000;

/// What an object is.
pub(crate) struct Found {
    /// Its git id.
    pub(crate) id: ObjectId,
    /// Its KID, if it is a blob.
    pub(crate) kid: Kid,
    /// Whether it is a pointer of Git LFS.
    pub(crate) lfs: bool,
}

/// The checks of one pack: what `git receive-pack` does with `receive.fsckObjects`.
#[derive(Default)]
pub(crate) struct Checks {
    /// Every object that is named, and as what.
    links: HashMap<ObjectId, Kind>,
    /// Blobs that some tree calls `.gitmodules`.
    modules: HashSet<ObjectId>,
    /// Blobs that some tree calls `.gitattributes`.
    attributes: HashSet<ObjectId>,
}

impl Checks {
    /// Hashes and checks one object.
    ///
    /// # Errors
    /// It is malformed, or carries a collision attack.
    pub(crate) fn object(&mut self, kind: Kind, bytes: &[u8]) -> Result<Found, PackError> {
        let id = gix_object::compute_hash(gix_hash::Kind::Sha1, kind, bytes)
            .map_err(|_| PackError::Collision)?;
        let fail = |fault| PackError::Fsck { id, kind, fault };
        let (mut kid, mut is_lfs) = (Kid::from_bytes([0; 32]), false);
        match kind {
            Kind::Blob => {
                kid = Kid::of_blob(bytes);
                is_lfs = lfs::is_pointer(bytes);
            }
            Kind::Tree => self.tree(bytes).map_err(|fault| fault.into_error(id, kind))?,
            Kind::Commit => {
                let commit = fsck::commit(bytes).map_err(fail)?;
                self.link(commit.tree, Kind::Tree)?;
                for parent in commit.parents {
                    self.link(parent, Kind::Commit)?;
                }
            }
            Kind::Tag => {
                let tag = fsck::tag(bytes).map_err(fail)?;
                self.link(tag.target, tag.kind)?;
            }
        }
        Ok(Found { id, kid, lfs: is_lfs })
    }

    /// Checks one tree and notes what it names.
    fn tree(&mut self, bytes: &[u8]) -> Result<(), TreeFault> {
        let notes = fsck::tree(bytes)?;
        self.modules.extend(notes.modules);
        self.attributes.extend(notes.attributes);
        for entry in git::tree_entries(bytes).flatten() {
            match entry.kind() {
                EntryKind::Submodule => {}
                EntryKind::Tree => self.link(entry.id, Kind::Tree)?,
                EntryKind::File | EntryKind::Executable | EntryKind::Symlink => {
                    self.link(entry.id, Kind::Blob)?;
                }
            }
        }
        Ok(())
    }

    /// Notes that `id` is taken for a `kind`.
    fn link(&mut self, id: ObjectId, kind: Kind) -> Result<(), PackError> {
        let full = self.links.len() >= MAX_LINKS;
        match self.links.entry(id) {
            Entry::Occupied(known) if *known.get() != kind => {
                Err(PackError::WrongKind { id, expected: kind, found: *known.get() })
            }
            Entry::Occupied(_) => Ok(()),
            Entry::Vacant(_) if full => Err(PackError::TooManyLinks),
            Entry::Vacant(place) => {
                place.insert(kind);
                Ok(())
            }
        }
    }

    /// Checks that every object that is named is there, as the kind it is named as, and that
    /// `.gitmodules` and `.gitattributes` hold nothing that attacks those who check them out.
    /// Because every pack in `packs` passed this, all that the objects reach is there.
    ///
    /// # Errors
    /// The first object that is missing, of another kind, or malformed.
    pub(crate) fn finish(self, packs: &mut PackSet, budget: &mut Budget) -> Result<(), PackError> {
        for (&id, &expected) in &self.links {
            match packs.kind(&id)? {
                Some(found) if found == expected => {}
                Some(found) => return Err(PackError::WrongKind { id, expected, found }),
                None => return Err(PackError::MissingObject { id, kind: expected }),
            }
        }
        type Check = fn(&[u8]) -> Result<(), Fault>;
        let special: [(_, Check, _); 2] = [
            (self.modules, fsck::gitmodules, fsck::MODULES_NO_FILE),
            (self.attributes, fsck::gitattributes, fsck::ATTRIBUTES_NO_FILE),
        ];
        for (ids, check, no_file) in special {
            for id in ids {
                let missing = PackError::MissingObject { id, kind: Kind::Blob };
                let Object { kind, bytes } = packs.read(&id, budget)?.ok_or(missing)?;
                let found = if kind == Kind::Blob { check(&bytes) } else { Err(no_file) };
                found.map_err(|fault| PackError::Fsck { id, kind, fault })?;
            }
        }
        Ok(())
    }
}

/// What can be wrong with a tree.
enum TreeFault {
    /// Its form.
    Fault(Fault),
    /// What it names.
    Link(PackError),
}

impl TreeFault {
    fn into_error(self, id: ObjectId, kind: Kind) -> PackError {
        match self {
            Self::Fault(fault) => PackError::Fsck { id, kind, fault },
            Self::Link(error) => error,
        }
    }
}

impl From<Fault> for TreeFault {
    fn from(fault: Fault) -> Self {
        Self::Fault(fault)
    }
}

impl From<PackError> for TreeFault {
    fn from(error: PackError) -> Self {
        Self::Link(error)
    }
}
