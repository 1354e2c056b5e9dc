//! What a push brought, on its way into the Keg.

use std::{collections::HashMap, time::Instant};

use gix_hash::ObjectId;
use keg::{Keg, Kid, object::Entry};

use crate::{
    answer::Answer,
    convert::{Converter, Remarks},
    kids::{self, Known},
    land::{Files, LandError, NewSource},
    pack::{Budget, PackSet, Received},
    policy,
    push::PushError,
    repo::Repo,
};

/// What a push brought, on its way into the Keg.
pub(crate) struct Taken {
    /// The pack's file in the Keg, its index, its size and number of objects.
    pack: Option<(Entry, Vec<u8>)>,
    objects: usize,
    bytes: u64,
    known: HashMap<ObjectId, Known>,
    remarks: Remarks,
    tree: Option<Known>,
    git: Option<ObjectId>,
}

impl Taken {
    /// Stores the pack, so that it can be read like the others. Nothing names it yet.
    pub(crate) fn new(
        keg: &Keg,
        received: Option<Received>,
        packs: &mut PackSet,
    ) -> Result<Self, PushError> {
        let mut taken = Self {
            pack: None,
            objects: 0,
            bytes: 0,
            known: HashMap::new(),
            remarks: Remarks::default(),
            tree: None,
            git: None,
        };
        let Some(Received { pack, items, index, cache }) = received else { return Ok(taken) };
        let (kid, size) = keg.objects().put_blob(&mut &pack.data[..])?;
        taken.pack = Some((Entry::file(kid, size), index));
        taken.objects = items.len();
        taken.bytes = size;
        let blobs = items.iter().filter(|item| item.kind == gix_object::Kind::Blob);
        taken.known = blobs
            .map(|item| {
                let flags = if item.lfs { kids::LFS } else { 0 };
                let (kid, bytes) = (item.kid, item.size);
                (item.id, Known { is_tree: false, flags, kid, bytes, entries: 0 })
            })
            .collect();
        packs.add_received(pack, cache);
        Ok(taken)
    }

    /// The work that reading this push back may cause.
    pub(crate) fn budget(&self) -> Budget {
        Budget::for_bytes(self.bytes)
    }

    /// Converts the tree of the commit pushed to main.
    pub(crate) fn convert(
        &mut self,
        keg: &Keg,
        repo: &Repo,
        packs: &mut PackSet,
        git: ObjectId,
    ) -> Result<NewSource, PushError> {
        let earlier = repo.kids(keg)?;
        let object = packs.read(&git, &mut self.budget())?.ok_or(LandError::Commit(git))?;
        let commit = gix_object::CommitRef::from_bytes(&object.bytes, gix_hash::Kind::Sha1)
            .map_err(|_| LandError::Commit(git))?;
        let known = std::mem::take(&mut self.known);
        // The whole tree may lie in earlier packs.
        let budget = Budget::for_bytes(self.bytes + packs.bytes());
        let mut converter = Converter::new(keg.objects(), packs, &earlier, known, budget);
        let tree = converter.run(commit.tree())?;
        self.known = converter.known;
        self.remarks = converter.remarks;
        self.tree = Some(tree);
        self.git = Some(git);
        Ok(NewSource::of(packs, git, tree.kid)?)
    }

    /// Stores index and sidecar; `None`: there is nothing new to keep.
    pub(crate) fn files(&mut self, keg: &Keg) -> Result<Option<Files>, PushError> {
        if self.pack.is_none() && self.known.is_empty() {
            return Ok(None);
        }
        let sidecar = kids::encode(self.known.iter().map(|(id, known)| (*id, *known)));
        let (kids, size) = keg.objects().put_blob(&mut &sidecar[..])?;
        let mut entries = vec![("kids", Entry::file(kids, size))];
        let mut name = kids;
        if let Some((pack, index)) = self.pack.take() {
            let (index, size) = keg.objects().put_blob(&mut &index[..])?;
            name = pack.kid().unwrap_or(name);
            entries.push(("pack", pack));
            entries.push(("idx", Entry::file(index, size)));
        }
        Ok(Some(Files { name: name.to_hex()[..16].to_owned(), entries }))
    }

    /// Tells what was stored.
    pub(crate) fn tell(&self, source: &Kid, start: Instant, answer: &mut Answer<'_>) {
        let git = self.git.as_ref().map(policy::short).unwrap_or_default();
        let took = start.elapsed().as_millis();
        answer.say(&format!("-----> Source stored {} (git {git}) in {took} ms", source.short()));
        if let Some(tree) = self.tree {
            let (files, size) = (tree.entries, human(tree.bytes));
            let (objects, sent) = (self.objects, human(self.bytes));
            let converted = self.remarks.converted;
            answer.say(&format!(
                "       {files} files and directories, {size}; {converted} converted, \
                 received {objects} objects in {sent}"
            ));
        }
        let Remarks { submodules, submodule_count, lfs, lfs_count, .. } = &self.remarks;
        for (path, url) in submodules {
            let from = if url.is_empty() { "no address in .gitmodules" } else { url };
            answer.say(&format!(
                " !     submodule {path} ({from}) is kept as a pointer: the build sees an empty \
                 directory there. Add its files to this repository instead: git subtree add"
            ));
        }
        for path in lfs {
            answer.say(&format!(
                " !     {path} is a Git LFS pointer: the build sees the pointer, not the file. \
                 Commit the file itself: git lfs migrate export --include={path:?}"
            ));
        }
        let more = (submodule_count - submodules.len()) + (lfs_count - lfs.len());
        if more > 0 {
            answer.say(&format!(" !     and {more} more of these"));
        }
    }
}

/// Bytes for people.
fn human(bytes: u64) -> String {
    match bytes {
        0..1024 => format!("{bytes} bytes"),
        1024..1_048_576 => format!("{:.1} KiB", bytes as f64 / 1024.0),
        _ => format!("{:.1} MiB", bytes as f64 / 1_048_576.0),
    }
}
