//! Merging an app's small packs, so that looking things up stays quick after thousands of pushes.
//!
//! Every push adds a pack. When there are too many, the small ones become one by stock
//! `git pack-objects`, which reuses their deltas; packs that outweigh all smaller ones together stay
//! as they are (a geometric progression, as `git repack --geometric=2`). What the packs hold does
//! not change, and the merge is given up if another push got in between.

use std::{
    fs::{self, File},
    io::{self, Write},
    path::{Path, PathBuf},
    process::{Command, Stdio},
};

use keg::{Keg, Txn, object::Entry, path::AppName};

use crate::{
    fetch::{self, FetchError},
    kids,
    land::expected,
    repo::{self, Repo, RepoError},
};

/// Packs an app may have before they are merged.
const MAX_PACKS: usize = 48;

/// Why packs were not merged; nothing has changed then.
#[derive(Debug, thiserror::Error)]
pub(crate) enum RepackError {
    /// The repository.
    #[error(transparent)]
    Repo(#[from] RepoError),
    /// The view for git.
    #[error(transparent)]
    View(#[from] FetchError),
    /// Git itself.
    #[error("git pack-objects failed: {0}")]
    Git(io::Error),
    /// The new pack.
    #[error("the merged pack cannot be stored: {0}")]
    Store(#[from] keg::store::StoreError),
    /// The names.
    #[error("the merged pack cannot be stored: {0}")]
    Commit(#[from] keg::CommitError),
    /// A path.
    #[error(transparent)]
    Path(#[from] keg::path::PathError),
}

/// Merges the small packs of `app` if it has too many; how many were merged.
///
/// # Errors
/// Nothing has changed; the next push tries again.
pub(crate) fn repack(keg: &Keg, app: &AppName) -> Result<usize, RepackError> {
    let repo = Repo::load(keg, app)?;
    let mut packs = Vec::new();
    for (name, kid) in repo.files("pack") {
        packs.push((keg.objects().blob_size(&kid)?, name.to_owned()));
    }
    if packs.len() <= MAX_PACKS {
        return Ok(0);
    }
    packs.sort_unstable();
    let names: Vec<String> = small(packs);
    let view = fetch::view(keg, &repo)?;
    let scratch = tempfile::tempdir_in(repo::scratch(keg)).map_err(RepackError::Git)?;
    let merged = pack_objects(&view, &names, scratch.path()).map_err(RepackError::Git)?;
    let mut known = Vec::new();
    for sidecar in repo.kids_of(keg, &names)? {
        known.extend(sidecar.iter());
    }
    let (pack, size) = store_file(keg, &merged.with_extension("pack"))?;
    let (index, index_size) = store_file(keg, &merged.with_extension("idx"))?;
    let sidecar = kids::encode(known);
    let (sidecar, sidecar_size) = keg.objects().put_blob(&mut sidecar.as_slice())?;
    let refs = repo::path(app, "refs.json")?;
    let message = format!("merged {} packs of {app}", names.len());
    let mut txn = Txn::new("service/receiver", &message).expect(refs, expected(repo.refs_kid));
    for name in &names {
        for extension in ["pack", "idx", "kids"] {
            txn = txn.remove(repo::path(app, &format!("packs/{name}.{extension}"))?);
        }
    }
    let name = pack.to_hex()[..16].to_owned();
    for (extension, kid, size) in
        [("pack", pack, size), ("idx", index, index_size), ("kids", sidecar, sidecar_size)]
    {
        let path = repo::path(app, &format!("packs/{name}.{extension}"))?;
        txn = txn.set(path, Entry::file(kid, size));
    }
    keg.commit(txn)?;
    Ok(names.len())
}

/// The packs to merge, of all sorted by size: those before the last one that is lighter than
/// twice all before it.
fn small(packs: Vec<(u64, String)>) -> Vec<String> {
    let (mut sum, mut end) = (0u64, 0);
    for (at, (size, _)) in packs.iter().enumerate() {
        if *size < sum.saturating_mul(2) {
            end = at + 1;
        }
        sum = sum.saturating_add(*size);
    }
    packs.into_iter().take(end).map(|(_, name)| name).collect()
}

/// One pack with the objects of these, in `dir`: its path without extension.
fn pack_objects(view: &Path, names: &[String], dir: &Path) -> io::Result<PathBuf> {
    let mut git = Command::new("git");
    fetch::isolate(&mut git, view);
    git.arg("-C").arg(view);
    git.args(["pack-objects", "--stdin-packs", "--delta-base-offset", "-q"]);
    git.arg(dir.join("merged")).stdin(Stdio::piped()).stdout(Stdio::null());
    let mut child = git.spawn()?;
    if let Some(mut stdin) = child.stdin.take() {
        for name in names {
            writeln!(stdin, "pack-{name}.pack")?;
        }
    }
    let status = child.wait()?;
    if !status.success() {
        return Err(io::Error::other(format!("it ended with {status}")));
    }
    let mut files = fs::read_dir(dir)?.flatten().map(|entry| entry.path());
    let pack = files.find(|path| path.extension().is_some_and(|extension| extension == "pack"));
    pack.map(|path| path.with_extension("")).ok_or_else(|| io::Error::other("it wrote no pack"))
}

/// Stores a file as a blob.
fn store_file(keg: &Keg, path: &Path) -> Result<(keg::Kid, u64), RepackError> {
    let mut file = File::open(path).map_err(RepackError::Git)?;
    Ok(keg.objects().put_blob(&mut file)?)
}

#[cfg(test)]
mod tests {
    use super::small;

    #[test]
    fn large_packs_are_left_alone() {
        for (sizes, want) in [
            (vec![1, 1, 1, 100], 3),
            (vec![1, 2, 4, 8], 4),
            (vec![1, 3, 9, 27], 0),
            (vec![5, 5, 5, 5], 4),
            (vec![1, 100, 100], 3),
        ] {
            let packs = sizes.iter().map(|&size| (size, size.to_string())).collect();
            assert_eq!(small(packs).len(), want, "{sizes:?}");
        }
    }
}
