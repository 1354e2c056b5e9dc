//! An app's releases as a repository: its tags, and which blob belongs to it.

use std::{
    collections::{HashMap, HashSet},
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

use keg::{
    Keg, Kid,
    kid::KidPrefix,
    names::{NamesError, Version},
    object::Value,
    path::{AppName, NamePath},
};

use crate::{
    digest::OciDigest,
    image::{ImageError, Release},
    layer::{self, Layer, LayerError, Layers},
};

/// Most releases of an app that are served; older ones stay in the history of the names.
pub const MAX_RELEASES: usize = 1000;
/// Most apps whose releases are kept in memory.
const MAX_REPOSITORIES: usize = 64;
/// Most releases whose layers are computed to find a digest that no record names.
const MAX_DERIVED: usize = 16;
/// Most versions of the namespace looked through for releases.
const MAX_VERSIONS: u64 = 100_000;
/// Versions or releases looked at before the loop serves others.
const PACE: u64 = 16;

/// Why a repository cannot answer.
#[derive(Debug, thiserror::Error)]
pub enum RepositoryError {
    /// The names or their history could not be read.
    #[error("cannot read the releases of {app}")]
    Names {
        /// Which app.
        app: AppName,
        /// What the names said.
        #[source]
        source: NamesError,
    },
    /// A release is damaged or of another form.
    #[error(transparent)]
    Image(#[from] ImageError),
    /// A layer's digest could not be had.
    #[error(transparent)]
    Layer(#[from] Arc<LayerError>),
}

/// What a digest stands for in a repository.
#[derive(Debug, Clone)]
pub enum Found {
    /// A manifest's or configuration's bytes.
    Bytes(Vec<u8>),
    /// A layer.
    Layer(Layer),
}

/// How a tag resolves.
#[derive(Debug, PartialEq, Eq)]
pub enum Tag {
    /// To a release.
    Release(Kid),
    /// To none.
    Unknown,
    /// To several: a longer prefix is needed.
    Ambiguous(Vec<Kid>),
}

/// The releases of one app, newest first, at one state of its name.
#[derive(Debug)]
pub struct Repository {
    app: AppName,
    /// The version of the namespace this was read from.
    seq: u64,
    head: Kid,
    releases: Vec<Kid>,
}

/// Repositories by app, remade when the app has a new release.
#[derive(Default)]
pub struct Repositories {
    cache: Mutex<HashMap<AppName, Arc<Repository>>>,
}

impl Repositories {
    /// The repository of an app; `None` when it has no release.
    ///
    /// The first call looks through the versions of the namespace for earlier releases, later ones
    /// only at what is new, and lets others run in between.
    ///
    /// # Errors
    /// The names cannot be read.
    pub async fn open(
        &self,
        keg: &Keg,
        app: &AppName,
    ) -> Result<Option<Arc<Repository>>, RepositoryError> {
        let failed = |source| RepositoryError::Names { app: app.clone(), source };
        let path: NamePath =
            format!("/oci-images/{app}").parse().expect("because an app's name is a valid name");
        let newest = keg.head().map_err(failed)?;
        let Some(head) = release_at(keg, &path, &newest).map_err(failed)? else { return Ok(None) };
        let known = self.lock().get(app).cloned();
        if let Some(repository) = known.as_ref().filter(|r| r.head == head) {
            return Ok(Some(Arc::clone(repository)));
        }
        let oldest = known.as_ref().map_or(0, |repository| repository.seq);
        let mut releases = vec![head];
        let mut seen = HashSet::from([head]);
        for seq in (oldest.max(newest.seq.saturating_sub(MAX_VERSIONS))..newest.seq).rev() {
            if seq % PACE == 0 {
                tokio::task::yield_now().await;
            }
            let version = keg.version(seq).map_err(failed)?;
            releases.extend(
                release_at(keg, &path, &version).map_err(failed)?.filter(|kid| seen.insert(*kid)),
            );
        }
        let before = known.map(|repository| repository.releases.clone()).unwrap_or_default();
        releases.extend(before.into_iter().filter(|kid| seen.insert(*kid)));
        releases.truncate(MAX_RELEASES);
        let seq = newest.seq;
        let repository = Arc::new(Repository { app: app.clone(), seq, head, releases });
        let mut cache = self.lock();
        if cache.len() >= MAX_REPOSITORIES {
            cache.clear();
        }
        cache.insert(app.clone(), Arc::clone(&repository));
        Ok(Some(repository))
    }

    fn lock(&self) -> MutexGuard<'_, HashMap<AppName, Arc<Repository>>> {
        self.cache.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// The release that a name stood for in a version.
fn release_at(keg: &Keg, path: &NamePath, at: &Version) -> Result<Option<Kid>, NamesError> {
    let entry = keg.get_at(path, at)?;
    Ok(match entry.map(|entry| entry.value) {
        Some(Value::Commit { kid }) => Some(kid),
        _ => None,
    })
}

impl Repository {
    /// The release a tag names: `latest`, or a release's KID, whole or its first digits.
    pub fn tag(&self, tag: &str) -> Tag {
        if tag == "latest" {
            return Tag::Release(self.head);
        }
        let Ok(prefix) = tag.parse::<KidPrefix>() else { return Tag::Unknown };
        let mut fits: Vec<Kid> =
            self.releases.iter().copied().filter(|kid| prefix.matches(kid)).collect();
        match fits.len() {
            0 => Tag::Unknown,
            1 => Tag::Release(fits.remove(0)),
            _ => Tag::Ambiguous(fits),
        }
    }

    /// All tags, sorted by bytes: each release by its shortest unambiguous KID, and `latest`.
    pub fn tags(&self) -> Vec<String> {
        let mut digits: Vec<String> = self.releases.iter().map(Kid::to_hex).collect();
        digits.sort();
        let common =
            |a: &str, b: &str| a.bytes().zip(b.bytes()).take_while(|(x, y)| x == y).count();
        let mut tags = Vec::with_capacity(digits.len() + 1);
        for (at, this) in digits.iter().enumerate() {
            let before = at.checked_sub(1).map_or(0, |i| common(&digits[i], this));
            let after = digits.get(at + 1).map_or(0, |next| common(this, next));
            let len = (before.max(after) + 1).clamp(keg::kid::SHORT_DIGITS, this.len());
            tags.push(format!("K-{}", &this[..len]));
        }
        tags.push("latest".to_owned());
        tags
    }

    /// A release with its layers' digests, computed where no record has them.
    ///
    /// # Errors
    /// The release is damaged, or a layer cannot be made.
    pub async fn image(
        &self,
        keg: &Arc<Keg>,
        layers: &Arc<Layers>,
        kid: Kid,
    ) -> Result<(Release, Vec<Layer>), RepositoryError> {
        let release = Release::read(keg, kid)?;
        let mut found = Vec::with_capacity(release.layers.len());
        for tree in &release.layers {
            found.push(layers.get(keg, *tree).await?);
        }
        Ok((release, found))
    }

    /// What a digest stands for here; `None` when nothing of this app has it. First the records
    /// are asked; where they are missing, the newest releases' layers are computed.
    ///
    /// # Errors
    /// The names cannot be read, or a layer cannot be made.
    pub async fn find(
        &self,
        keg: &Arc<Keg>,
        layers: &Arc<Layers>,
        digest: OciDigest,
    ) -> Result<Option<Found>, RepositoryError> {
        let mut unknown = Vec::new();
        for (at, kid) in self.releases.iter().enumerate() {
            if at as u64 % PACE == PACE - 1 {
                tokio::task::yield_now().await;
            }
            // A damaged release must not hide the others.
            let Ok(release) = Release::read(keg, *kid) else { continue };
            let failed = |source| RepositoryError::Names { app: self.app.clone(), source };
            let known: Option<Vec<Layer>> = release
                .layers
                .iter()
                .map(|tree| layer::remembered(keg, tree))
                .collect::<Result<_, _>>()
                .map_err(failed)?;
            match known {
                Some(known) => {
                    if let Some(found) = search(&release, &known, digest) {
                        return Ok(Some(found));
                    }
                }
                None => unknown.push(*kid),
            }
        }
        for kid in unknown.into_iter().take(MAX_DERIVED) {
            let (release, known) = self.image(keg, layers, kid).await?;
            if let Some(found) = search(&release, &known, digest) {
                return Ok(Some(found));
            }
        }
        Ok(None)
    }
}

/// Looks for a digest among a release's layers, configuration and manifest.
fn search(release: &Release, layers: &[Layer], digest: OciDigest) -> Option<Found> {
    if let Some(layer) = layers.iter().find(|layer| layer.digest == digest) {
        return Some(Found::Layer(*layer));
    }
    [release.config(layers), release.manifest(layers)]
        .into_iter()
        .find(|bytes| OciDigest::of(bytes) == digest)
        .map(Found::Bytes)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn repository(digits: &[&str]) -> Repository {
        let releases: Vec<Kid> =
            digits.iter().map(|d| format!("K-{d:0<64}").parse().expect("a KID")).collect();
        let head = releases[0];
        Repository { app: "blog".parse().expect("a name"), seq: 0, head, releases }
    }

    #[test]
    fn tags_are_the_shortest_that_are_unambiguous() {
        let repository = repository(&["0123abcd", "ffff0000", "0123abcdef", "0123abcde1"]);
        let tags = repository.tags();
        assert_eq!(tags, ["K-0123abcd0", "K-0123abcde1", "K-0123abcdef", "K-ffff0000", "latest"]);
        for tag in &tags {
            assert!(matches!(repository.tag(tag), Tag::Release(_)), "{tag}");
        }
        assert!(matches!(repository.tag("K-0123abcd"), Tag::Ambiguous(all) if all.len() == 3));
        for unknown in ["K-99999999", "newest", "K-12", ""] {
            assert_eq!(repository.tag(unknown), Tag::Unknown, "{unknown}");
        }
    }
}
