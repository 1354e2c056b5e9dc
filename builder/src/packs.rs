//! The buildpacks: embedded in the program, kept in the Keg as trees, so that each has a KID.

use std::collections::BTreeMap;

use keg::{
    kid::Kid,
    object::{Entry, EntryName, EntryNameError, Tree},
    store::{Objects, StoreError},
};
use serde::Deserialize;

/// The one version of the Buildpack API that packs are written for.
pub const API: &str = "0.10";

/// A file of the folder `buildpacks/`.
struct File {
    /// Relative to the folder.
    path: &'static str,
    executable: bool,
    bytes: &'static [u8],
}

const FILES: &[File] = include!(concat!(env!("OUT_DIR"), "/packs.rs"));

/// A pack, as its `buildpack.toml` describes it.
#[derive(Debug, Clone, PartialEq)]
pub struct Pack {
    /// Such as `keg/python`.
    pub id: String,
    /// For people.
    pub name: String,
    /// Its own version.
    pub version: String,
    /// What its detection looks for, in words.
    pub looks_for: String,
    /// Its tree.
    pub kid: Kid,
}

impl Pack {
    /// The last part of the id: `python`.
    pub fn short_name(&self) -> &str {
        self.id.rsplit('/').next().unwrap_or(&self.id)
    }

    /// The id as one path component: `keg_python`.
    pub fn directory(&self) -> String {
        self.id.replace('/', "_")
    }
}

/// All packs, in the order of detection, and the tree that holds them by [`Pack::directory`].
#[derive(Debug, Clone)]
pub struct Packs {
    /// In the order of detection: the first that passes builds the app.
    pub order: Vec<Pack>,
    /// A directory of each pack by [`Pack::directory`].
    pub tree: Entry,
}

/// Why the packs cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum PacksError {
    /// A file that is not TOML or not of its form.
    #[error("the file {file} of the buildpacks cannot be read")]
    Toml {
        /// Which.
        file: String,
        /// Where and why.
        #[source]
        source: toml::de::Error,
    },
    /// A pack of another API.
    #[error("the buildpack {id} is written for Buildpack API {api}; this one runs {API}")]
    Api {
        /// The pack.
        id: String,
        /// Its API.
        api: String,
    },
    /// `order.toml` names what is not there, or groups of several packs.
    #[error(
        "order.toml of the buildpacks must have groups of one known pack each, but it has {0:?}"
    )]
    Order(Vec<String>),
    /// A file's name.
    #[error(transparent)]
    Name(#[from] EntryNameError),
    /// The Keg does not take them.
    #[error("cannot put the buildpacks into the Keg")]
    Store(#[from] StoreError),
}

#[derive(Deserialize)]
struct Descriptor {
    api: String,
    buildpack: Buildpack,
    #[serde(default)]
    metadata: Metadata,
}

#[derive(Deserialize)]
struct Buildpack {
    id: String,
    version: String,
    name: String,
}

#[derive(Deserialize, Default)]
#[serde(rename_all = "kebab-case")]
struct Metadata {
    #[serde(default)]
    looks_for: String,
}

#[derive(Deserialize)]
struct OrderToml {
    order: Vec<Order>,
}

#[derive(Deserialize)]
struct Order {
    group: Vec<Member>,
}

#[derive(Deserialize)]
struct Member {
    id: String,
}

/// Puts the embedded packs into the store.
///
/// # Errors
/// They are not on the contract, or the store does not take them.
pub fn load(objects: &dyn Objects) -> Result<Packs, PacksError> {
    let mut folders: BTreeMap<&str, Vec<(&str, &File)>> = BTreeMap::new();
    for file in FILES {
        if let Some((folder, rest)) = file.path.split_once('/') {
            folders.entry(folder).or_default().push((rest, file));
        }
    }
    let mut packs = Vec::new();
    let mut all = Tree::default();
    for (folder, files) in folders {
        let Some((_, toml)) = files.iter().find(|(path, _)| *path == "buildpack.toml") else {
            continue;
        };
        let descriptor: Descriptor = parse(&format!("{folder}/buildpack.toml"), toml.bytes)?;
        let Descriptor { api, buildpack: Buildpack { id, version, name }, metadata } = descriptor;
        if api != API {
            return Err(PacksError::Api { id, api });
        }
        let entry = put_folder(objects, &files)?;
        let kid = entry.kid().expect("because a tree has a KID");
        let pack = Pack { id, name, version, looks_for: metadata.looks_for, kid };
        all.entries.insert(EntryName::new(pack.directory())?, entry);
        packs.push(pack);
    }
    Ok(Packs { order: in_order(packs)?, tree: objects.put_tree(&all)? })
}

fn in_order(packs: Vec<Pack>) -> Result<Vec<Pack>, PacksError> {
    let order = FILES.iter().find(|file| file.path == "order.toml").map_or(&b""[..], |f| f.bytes);
    let order: OrderToml = parse("order.toml", order)?;
    order
        .order
        .into_iter()
        .map(|order| {
            let ids: Vec<String> = order.group.into_iter().map(|member| member.id).collect();
            let [id] = ids.as_slice() else { return Err(PacksError::Order(ids)) };
            let pack = packs.iter().find(|pack| pack.id == *id).cloned();
            pack.ok_or(PacksError::Order(ids))
        })
        .collect()
}

fn parse<T: serde::de::DeserializeOwned>(file: &str, bytes: &[u8]) -> Result<T, PacksError> {
    toml::from_slice(bytes).map_err(|source| PacksError::Toml { file: file.to_owned(), source })
}

/// Makes the tree of files with paths relative to it.
fn put_folder(objects: &dyn Objects, files: &[(&str, &File)]) -> Result<Entry, PacksError> {
    let mut tree = Tree::default();
    let mut folders: BTreeMap<&str, Vec<(&str, &File)>> = BTreeMap::new();
    for &(path, file) in files {
        if let Some((folder, rest)) = path.split_once('/') {
            folders.entry(folder).or_default().push((rest, file));
            continue;
        }
        let mut entry = objects.put_bytes(file.bytes)?;
        if file.executable {
            entry.attrs.mode = 0o755;
        }
        tree.entries.insert(EntryName::new(path)?, entry);
    }
    for (folder, files) in folders {
        tree.entries.insert(EntryName::new(folder)?, put_folder(objects, &files)?);
    }
    Ok(objects.put_tree(&tree)?)
}

#[cfg(test)]
mod tests {
    use keg::Keg;

    use super::*;

    #[test]
    fn the_embedded_packs_are_on_the_contract() {
        let keg = Keg::in_memory();
        let store = keg.objects();
        let packs = load(store).expect("good packs");
        let names: Vec<_> = packs.order.iter().map(Pack::short_name).collect();
        assert_eq!(names, ["python", "static"]);
        for pack in &packs.order {
            assert!(!pack.looks_for.is_empty(), "{} says what it looks for", pack.id);
            for program in ["bin/detect", "bin/build"] {
                let entry = store.walk(&pack.kid, program).expect("readable").expect("there");
                assert_eq!(entry.attrs.mode, 0o755, "{} {program}", pack.id);
            }
        }
        let again = load(store).expect("good packs");
        assert_eq!(again.tree, packs.tree);
    }

    #[test]
    fn the_scripts_are_posix_sh() {
        for file in FILES.iter().filter(|file| file.executable) {
            let text = std::str::from_utf8(file.bytes).expect("text");
            assert!(text.starts_with("#!/bin/sh\n"), "{}", file.path);
            let dir = tempfile::tempdir().expect("a directory");
            let path = dir.path().join("script");
            std::fs::write(&path, text).expect("written");
            let status = std::process::Command::new("sh").arg("-n").arg(&path).status();
            assert!(status.expect("sh runs").success(), "{}", file.path);
        }
    }
}
