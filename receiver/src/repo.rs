//! An app's repository in the Keg: `/git/<app>/`.
//!
//! ```text
//! refs.json            {"refs/heads/main": "<40 hex>", "refs/tags/v1": …}
//! push.json            the newest push to main: see [`Push`]
//! packs/<id>.pack      each complete in itself, with .idx (git's) and .kids ([`crate::kids`])
//! ```
//!
//! Everything that a stored object names is stored too, in this app's packs: so a push need only
//! check what it brings, and one app's objects are never served to another.

use std::{collections::BTreeMap, fs::File, path::PathBuf};

use gix_hash::ObjectId;
use keg::{
    Keg, Kid, NamePath, NamesError, Version,
    object::Value,
    path::{AppName, PathError},
    store::StoreError,
};
use memmap2::Mmap;
use serde::{Deserialize, Serialize};

use crate::{
    kids::Kids,
    pack::{Pack, PackBytes, PackError, PackSet},
};

/// The ref whose pushes are deployed.
pub(crate) const MAIN: &str = "refs/heads/main";

/// What can go wrong with a repository in the Keg.
#[derive(Debug, thiserror::Error)]
pub(crate) enum RepoError {
    /// The Keg's names.
    #[error("the Keg cannot be read: {0}")]
    Names(#[from] NamesError),
    /// The Keg's objects.
    #[error("the Keg cannot be read: {0}")]
    Store(#[from] StoreError),
    /// A blob in a cold pack.
    #[error("a stored git pack cannot be brought back from the cold side: {0}")]
    Cold(#[from] keg::pack::PackError),
    /// A path of the namespace.
    #[error(transparent)]
    Path(#[from] PathError),
    /// A pack.
    #[error(transparent)]
    Pack(#[from] PackError),
    /// A ref that does not name an object.
    #[error("refs.json of app {app} is damaged at {name:?}; run keg fsck")]
    Refs {
        /// The app.
        app: AppName,
        /// The ref.
        name: String,
    },
    /// A sidecar that is none.
    #[error("packs/{name} of app {app} is damaged; run keg fsck")]
    Sidecar {
        /// The app.
        app: AppName,
        /// The file.
        name: String,
    },
}

/// What became of the newest push to main.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub(crate) enum PushState {
    /// It is being deployed; if that fails, the refs in [`Push::undo`] go back.
    Deploying,
    /// It was deployed, or deploys by itself.
    Done,
    /// It was not; its refs are back where they were, its objects and source are kept.
    Failed,
}

/// `push.json`: the newest push to main.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub(crate) struct Push {
    /// What became of it.
    pub(crate) state: PushState,
    /// The git commit, 40 hex digits.
    pub(crate) git: String,
    /// The commit at `/source/<app>` that was made of it.
    pub(crate) source: Kid,
    /// Refs to put back if the deploy fails.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub(crate) undo: BTreeMap<String, Moved>,
    /// Fields others have added.
    #[serde(flatten)]
    pub(crate) more: serde_json::Map<String, serde_json::Value>,
}

/// How a push moved a ref: ids as 40 hex digits, `null` where there was none.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub(crate) struct Moved {
    /// What it was.
    pub(crate) from: Option<String>,
    /// What it became.
    pub(crate) to: Option<String>,
}

/// A ref that may yet go back.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) struct Pending {
    /// What it was; what clients are told.
    pub(crate) from: Option<ObjectId>,
    /// What it is.
    pub(crate) to: ObjectId,
}

/// The refs of an app.
pub(crate) type Refs = BTreeMap<String, ObjectId>;

/// An app's repository in one version of the namespace.
pub(crate) struct Repo {
    /// The app.
    pub(crate) app: AppName,
    /// Its refs.
    pub(crate) refs: Refs,
    /// The KID of `refs.json`, if it is there.
    pub(crate) refs_kid: Option<Kid>,
    /// The newest push to main.
    pub(crate) push: Option<Push>,
    /// The KID of `push.json`, if it is there.
    pub(crate) push_kid: Option<Kid>,
    /// The commit at `/source/<app>`.
    pub(crate) source: Option<Kid>,
    /// The KID of `/git/<app>` itself.
    pub(crate) tree: Option<Kid>,
    /// The files in `packs/`.
    files: BTreeMap<String, Kid>,
}

impl Repo {
    /// Reads the repository of `app`; an app nobody pushed to has an empty one.
    ///
    /// # Errors
    /// The Keg's, or documents that are damaged.
    pub(crate) fn load(keg: &Keg, app: &AppName) -> Result<Self, RepoError> {
        let at = keg.head()?;
        let entry = |path: &NamePath| Ok::<_, RepoError>(keg.get_at(path, &at)?);
        let refs_kid = entry(&path(app, "refs.json")?)?.and_then(|entry| entry.kid());
        let push_kid = entry(&path(app, "push.json")?)?.and_then(|entry| entry.kid());
        let source = entry(&source_path(app)?)?.and_then(|entry| entry.kid());
        let tree = entry(&format!("/git/{app}").parse()?)?.and_then(|entry| entry.kid());
        let refs = match refs_kid {
            Some(kid) => parse_refs(app, &keg.objects().blob(&kid)?)?,
            None => Refs::new(),
        };
        let push = match push_kid {
            Some(kid) => serde_json::from_slice(&keg.objects().blob(&kid)?).ok(),
            None => None,
        };
        let files = files(keg, app, &at)?;
        Ok(Self { app: app.clone(), refs, refs_kid, push, push_kid, source, tree, files })
    }

    /// How the newest push moved this ref, if its deploy has no outcome yet.
    pub(crate) fn pending(&self, name: &str) -> Option<Pending> {
        let push = self.push.as_ref().filter(|push| push.state == PushState::Deploying)?;
        let moved = push.undo.get(name)?;
        let id = |text: &String| ObjectId::from_hex(text.as_bytes()).ok();
        let to = moved.to.as_ref().and_then(id)?;
        let here = self.refs.get(name) == Some(&to);
        here.then(|| Pending { from: moved.from.as_ref().and_then(id), to })
    }

    /// The files in `packs/` with this extension: name without it, and KID.
    pub(crate) fn files(&self, extension: &str) -> impl Iterator<Item = (&str, Kid)> {
        self.files.iter().filter_map(move |(name, &kid)| {
            let (stem, found) = name.rsplit_once('.')?;
            (found == extension).then_some((stem, kid))
        })
    }

    /// Opens all packs for reading.
    ///
    /// # Errors
    /// The Keg's, or damaged packs.
    pub(crate) fn packs(&self, keg: &Keg) -> Result<PackSet, RepoError> {
        let mut packs = Vec::new();
        for (name, kid) in self.files("pack") {
            let Some(&index) = self.files.get(&format!("{name}.idx")) else { continue };
            packs.push(Pack::new(name, blob_bytes(keg, &kid)?, blob_bytes(keg, &index)?)?);
        }
        Ok(PackSet::new(packs, &scratch(keg)))
    }

    /// Opens all sidecars.
    ///
    /// # Errors
    /// The Keg's, or damaged sidecars.
    pub(crate) fn kids(&self, keg: &Keg) -> Result<Vec<Kids>, RepoError> {
        self.files("kids").map(|(name, kid)| self.open_kids(keg, name, &kid)).collect()
    }

    /// Opens the sidecars of these packs.
    ///
    /// # Errors
    /// The Keg's, or damaged sidecars.
    pub(crate) fn kids_of(&self, keg: &Keg, names: &[String]) -> Result<Vec<Kids>, RepoError> {
        let of_these = self.files("kids").filter(|(name, _)| names.iter().any(|n| n == name));
        of_these.map(|(name, kid)| self.open_kids(keg, name, &kid)).collect()
    }

    fn open_kids(&self, keg: &Keg, name: &str, kid: &Kid) -> Result<Kids, RepoError> {
        Kids::new(blob_bytes(keg, kid)?).ok_or_else(|| RepoError::Sidecar {
            app: self.app.clone(),
            name: format!("{name}.kids"),
        })
    }
}

/// A path below `/git/<app>`.
///
/// # Errors
/// `name` is no path.
pub(crate) fn path(app: &AppName, name: &str) -> Result<NamePath, PathError> {
    format!("/git/{app}/{name}").parse()
}

/// `/source/<app>`.
///
/// # Errors
/// Never: an app's name is a good component.
pub(crate) fn source_path(app: &AppName) -> Result<NamePath, PathError> {
    format!("/source/{app}").parse()
}

/// Where unlinked temporary files go: a killed process leaves nothing there.
pub(crate) fn scratch(keg: &Keg) -> PathBuf {
    keg.home().join("tmp")
}

/// The file that holds a blob, if the Keg keeps it as one (`docs/store.md`).
pub(crate) fn blob_path(keg: &Keg, kid: &Kid) -> PathBuf {
    let hex = kid.to_hex();
    keg.home().join("objects").join(&hex[..2]).join(&hex[2..])
}

/// A blob's bytes, mapped if it is a file.
fn blob_bytes(keg: &Keg, kid: &Kid) -> Result<PackBytes, RepoError> {
    let map = || {
        let file = File::open(blob_path(keg, kid)).ok()?;
        // SAFETY: objects are immutable files, only ever replaced by renaming or unlinked.
        unsafe { Mmap::map(&file) }.ok()
    };
    if let Some(map) = map() {
        return Ok(PackBytes::Map(map));
    }
    if keg.objects().blob_size(kid)? > keg::store::MAX_IN_MEMORY {
        // In a cold pack, and too large to be held: it becomes a file again.
        keg::pack::restore(keg, &[*kid])?;
        if let Some(map) = map() {
            return Ok(PackBytes::Map(map));
        }
    }
    Ok(PackBytes::Memory(keg.objects().blob(kid)?))
}

/// The ids in `refs.json`.
fn parse_refs(app: &AppName, bytes: &[u8]) -> Result<Refs, RepoError> {
    let damaged = |name: &str| RepoError::Refs { app: app.clone(), name: name.to_owned() };
    let texts: BTreeMap<String, String> =
        serde_json::from_slice(bytes).map_err(|_| damaged("the start"))?;
    let parse = |(name, text): (String, String)| match ObjectId::from_hex(text.as_bytes()) {
        Ok(id) => Ok((name, id)),
        Err(_) => Err(damaged(&name)),
    };
    texts.into_iter().map(parse).collect()
}

/// `refs.json` for these refs.
pub(crate) fn refs_json(refs: &Refs) -> serde_json::Value {
    let texts = refs.iter().map(|(name, id)| (name.clone(), id.to_string().into()));
    serde_json::Value::Object(texts.collect())
}

/// The files in `packs/`.
fn files(keg: &Keg, app: &AppName, at: &Version) -> Result<BTreeMap<String, Kid>, RepoError> {
    let listed = keg.list_at(&path(app, "packs")?, at)?;
    let kids = listed.into_iter().filter_map(|(name, entry)| match entry.value {
        Value::File { kid, .. } => Some((name, kid)),
        _ => None,
    });
    Ok(kids.collect())
}
