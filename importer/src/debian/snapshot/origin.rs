//! One source asked for one suite: its signed `Release` and its package indexes.

use std::{io::Read, path::PathBuf};

use sha2::{Digest, Sha256};

use super::{Planned, SnapshotError};
use crate::{
    debian::{
        compress::Compression,
        mirror::Mirror,
        release::{Listed, Release},
        verify::{self, Verified},
    },
    http::HttpError,
};

/// Largest `InRelease`.
const MAX_RELEASE: u64 = 16 << 20;
/// Largest package index as fetched: it becomes one object.
const MAX_PACKED: u64 = 60 << 20;
/// Largest package index unpacked.
const MAX_PACKAGES: u64 = 512 << 20;

/// A `Release` whose signature counts.
pub struct Signed {
    /// As fetched.
    pub bytes: Vec<u8>,
    /// What it says.
    pub release: Release,
    /// Who signed it.
    pub signers: Vec<String>,
}

/// Fetches `dists/<suite>/InRelease` and checks its signature; `None` if there is none.
///
/// # Errors
/// It cannot be fetched, its signature does not count, or it is malformed.
pub fn release(
    mirror: &Mirror,
    planned: &Planned,
    suite: &str,
    keyrings: &[PathBuf],
) -> Result<Option<Signed>, SnapshotError> {
    let url = format!("{}/dists/{suite}/InRelease", planned.source.uri);
    let bytes = match mirror.get(&url, MAX_RELEASE) {
        Ok(bytes) => bytes,
        Err(HttpError::NotFound { .. }) => return Ok(None),
        Err(source) => return Err(SnapshotError::Fetch { suite: suite.to_owned(), source }),
    };
    let Verified { text, signers, .. } =
        verify::verify(&bytes, keyrings, &planned.source.signed_by)
            .map_err(|source| SnapshotError::Signature { url: url.clone(), source })?;
    let release = Release::parse(&text).map_err(|source| SnapshotError::Release { url, source })?;
    Ok(Some(Signed { bytes, release, signers }))
}

/// A package index that a `Release` lists.
pub struct Listing<'a> {
    /// Such as `main/binary-amd64/Packages.xz`.
    pub path: String,
    /// Its hash and size.
    pub listed: &'a Listed,
    compression: Compression,
    /// Hash and size of what is inside.
    inner: Option<&'a Listed>,
}

/// The best form of a component's package index; `None` if the suite lacks it.
pub fn listing<'a>(release: &'a Release, component: &str, arch: &str) -> Option<Listing<'a>> {
    let plain = format!("{component}/binary-{arch}/Packages");
    [".xz", ".gz", ""].iter().find_map(|suffix| {
        let path = format!("{plain}{suffix}");
        let listed = release.files.get(&path)?;
        let compression = Compression::by_suffix(suffix)?;
        Some(Listing { path, listed, compression, inner: release.files.get(&plain) })
    })
}

impl Listing<'_> {
    /// Fetches the index, by its hash where the mirror offers that.
    ///
    /// # Errors
    /// It cannot be fetched or is not what is listed.
    pub fn fetch(
        &self,
        mirror: &Mirror,
        planned: &Planned,
        by_hash: bool,
    ) -> Result<Vec<u8>, SnapshotError> {
        let fail = |source| SnapshotError::Fetch { suite: planned.suite.clone(), source };
        let dist = format!("{}/dists/{}", planned.source.uri, planned.suite);
        let plain = format!("{dist}/{}", self.path);
        let limit = self.listed.size.min(MAX_PACKED);
        let directory = self.path.rsplit_once('/').map_or("", |(directory, _)| directory);
        let hashed = format!("{dist}/{directory}/by-hash/SHA256/{}", self.listed.sha256);
        let bytes = match by_hash.then(|| mirror.get(&hashed, limit)) {
            Some(Err(HttpError::NotFound { .. })) | None => mirror.get(&plain, limit),
            Some(fetched) => fetched,
        };
        let bytes = bytes.map_err(fail)?;
        check(&bytes, self.listed).map_err(|what| SnapshotError::Mismatch { url: plain, what })?;
        Ok(bytes)
    }

    /// What is inside the fetched bytes.
    ///
    /// # Errors
    /// It cannot be unpacked or is not what is listed.
    pub fn unpack(&self, bytes: &[u8]) -> Result<Vec<u8>, SnapshotError> {
        let url = || self.path.clone();
        let fail = |source| SnapshotError::Unpack { url: url(), source };
        let limit = self.inner.map_or(MAX_PACKAGES, |inner| inner.size.min(MAX_PACKAGES));
        let mut reader = self.compression.decode(bytes, limit).map_err(fail)?;
        let mut text = Vec::with_capacity(usize::try_from(limit).unwrap_or(0).min(128 << 20));
        reader.read_to_end(&mut text).map_err(fail)?;
        if self.inner.is_some_and(|inner| inner.size != text.len() as u64) {
            return Err(SnapshotError::Mismatch { url: url(), what: "another size inside" });
        }
        Ok(text)
    }
}

fn check(bytes: &[u8], listed: &Listed) -> Result<(), &'static str> {
    if bytes.len() as u64 != listed.size {
        return Err("another size");
    }
    match hex::encode(Sha256::digest(bytes)) == listed.sha256 {
        true => Ok(()),
        false => Err("another SHA256"),
    }
}
