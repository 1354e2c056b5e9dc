//! Taking a snapshot: fetch, verify, compile, and keep.

use std::time::Instant;

use keg::{
    Keg, Txn,
    object::{EntryName, Tree},
};
use serde_json::json;

use super::{
    OriginDoc, Planned, Role, Snapshot, SnapshotDoc, SnapshotError,
    origin::{self, Signed},
    plan, read, stored, suite_path,
};
use crate::{
    debian::{
        apt::Apt,
        index::{Compiler, IndexError},
        mirror::Mirror,
    },
    progress::{Progress, Report, counted, megabytes, seconds},
};

/// Fetches and verifies the newest snapshot of `suite` and keeps it in the Keg.
///
/// # Errors
/// Nothing has the suite, something cannot be fetched or is refused; then the Keg is as before.
pub fn take(
    keg: &Keg,
    apt: &Apt,
    suite: &str,
    arch: &str,
    report: &mut Report<'_>,
) -> Result<Snapshot, SnapshotError> {
    let former = stored(keg, suite)?;
    let former = former.as_ref().map(|s| s.doc.origins.as_slice()).unwrap_or_default();
    let mirror = Mirror::new(apt.proxies.clone());
    let began = Instant::now();
    report(Progress::Phase(format!("Fetching the package index of {suite}")));
    let signed = releases(&mirror, apt, suite, former, report)?;
    let mut taking =
        Taking { keg, mirror, arch, former, origins: Vec::new(), texts: Vec::new(), bytes: 0 };
    for (planned, signed) in &signed {
        taking.components(planned, signed)?;
    }
    let (bytes, count) = (megabytes(taking.bytes), taking.origins.len());
    let snapshot = taking.keep(suite)?;
    let time = seconds(began.elapsed());
    report(Progress::Detail(format!("{bytes} from {} in {time}", counted(count, "source"))));
    Ok(snapshot)
}

/// The signed `Release` of every source that belongs to the suite.
fn releases(
    mirror: &Mirror,
    apt: &Apt,
    suite: &str,
    former: &[OriginDoc],
    report: &mut Report<'_>,
) -> Result<Vec<(Planned, Signed)>, SnapshotError> {
    let now = keg::time::now_ms() / 1000;
    let mut found: Vec<(Planned, Signed)> = Vec::new();
    let mut failed = Vec::new();
    for planned in plan(&apt.sources, suite) {
        // The main sources come first: without one there is no suite to complete.
        if planned.role != Role::Main && found.is_empty() {
            break;
        }
        match origin::release(mirror, &planned, &planned.suite, &apt.keyrings) {
            Ok(Some(signed)) if signed.release.origin == "Debian" => {
                let of_suite = former.iter().filter(|o| o.suite == planned.suite);
                let before = of_suite.map(|o| o.date).max();
                let url = format!("{}/dists/{}", planned.source.uri, planned.suite);
                let checked = signed.release.check(&planned.suite, now, before);
                checked.map_err(|source| SnapshotError::Release { url, source })?;
                found.push((planned, signed));
            }
            Ok(Some(_)) => {}
            Ok(None) if planned.role == Role::Main => {}
            Ok(None) => missing_part(mirror, apt, &planned)?,
            // Another archive beside Debian's may be broken without harm; a part of Debian may not.
            Err(error) if planned.role == Role::Main => failed.push(error),
            Err(error) => return Err(error),
        }
    }
    if found.is_empty() {
        let first = failed.into_iter().next();
        return Err(first.unwrap_or_else(|| SnapshotError::NoSuite(suite.to_owned())));
    }
    for error in failed {
        report(Progress::Detail(format!("left out: {error}")));
    }
    Ok(found)
}

/// A source lacks `-updates` or `-security` of the suite: that matters only if it is Debian's.
fn missing_part(mirror: &Mirror, apt: &Apt, planned: &Planned) -> Result<(), SnapshotError> {
    let configured = origin::release(mirror, planned, &planned.source.suite, &apt.keyrings)?;
    match configured.is_none_or(|signed| signed.release.origin == "Debian") {
        true => Err(SnapshotError::MissingPart {
            url: planned.source.uri.clone(),
            suite: planned.suite.clone(),
            file: planned.source.file.clone(),
        }),
        false => Ok(()),
    }
}

struct Taking<'a> {
    keg: &'a Keg,
    mirror: Mirror,
    arch: &'a str,
    former: &'a [OriginDoc],
    origins: Vec<OriginDoc>,
    /// The unpacked index of each origin.
    texts: Vec<Vec<u8>>,
    /// Bytes fetched.
    bytes: u64,
}

impl Taking<'_> {
    fn components(&mut self, planned: &Planned, signed: &Signed) -> Result<(), SnapshotError> {
        let objects = self.keg.objects();
        for component in &planned.source.components {
            let Some(listing) = origin::listing(&signed.release, component, self.arch) else {
                continue;
            };
            let same = self.former.iter().find(|o| o.sha256 == listing.listed.sha256);
            let bytes = match same {
                Some(origin) => objects.blob(&origin.packages)?,
                None => {
                    self.bytes += listing.listed.size;
                    listing.fetch(&self.mirror, planned, signed.release.by_hash)?
                }
            };
            self.texts.push(listing.unpack(&bytes)?);
            self.origins.push(OriginDoc {
                suite: planned.suite.clone(),
                component: component.clone(),
                date: signed.release.date,
                signers: signed.signers.clone(),
                sha256: listing.listed.sha256.clone(),
                release: objects.put(keg::object::Kind::Blob, &signed.bytes)?,
                packages: objects.put(keg::object::Kind::Blob, &bytes)?,
            });
        }
        Ok(())
    }

    fn keep(self, suite: &str) -> Result<Snapshot, SnapshotError> {
        if self.origins.is_empty() {
            return Err(SnapshotError::NoSuite(suite.to_owned()));
        }
        let objects = self.keg.objects();
        let mut compiler = Compiler::new(self.arch);
        for (number, text) in self.texts.iter().enumerate() {
            let too_large = |_| IndexError::TooLarge("it has more than 256 origins");
            compiler.add(text, u8::try_from(number).map_err(too_large)?)?;
        }
        let mut tree = Tree::default();
        let mut put = |name: String, entry| {
            let name = EntryName::new(name).expect("because suites and components are checked");
            tree.entries.insert(name, entry);
        };
        put("index".into(), compiler.write(objects)?);
        for (number, origin) in self.origins.iter().enumerate() {
            let OriginDoc { suite, component, release, packages, .. } = origin;
            let component = component.replace('/', "-");
            let entry = |kid| -> Result<_, SnapshotError> {
                Ok(keg::object::Entry::file(kid, objects.blob_size(&kid)?))
            };
            put(format!("{number}-{suite}-InRelease"), entry(*release)?);
            put(format!("{number}-{suite}-{component}-Packages"), entry(*packages)?);
        }
        let (suite_name, arch) = (suite.to_owned(), self.arch.to_owned());
        let doc = SnapshotDoc { suite: suite_name, arch, origins: self.origins };
        let doc = serde_json::to_value(&doc).expect("because it is plain data");
        put("snapshot.json".into(), objects.put_json(&doc)?);
        let entry = objects.put_tree(&tree)?;
        let kid = entry.kid().expect("because trees have KIDs");
        let path = suite_path(suite);
        let at = |name: &str| path.join(name).expect("because it is a path component");
        let now = keg::time::now_ms();
        let checked = json!({ "checked": keg::time::rfc3339(now), "checked_ms": now });
        let txn = Txn::new(crate::AUTHOR, &format!("snapshot of {suite}"))
            .set(at("snapshot"), entry)
            .set_json(at("checked.json"), checked);
        self.keg.commit(txn)?;
        read(self.keg, suite, kid)
    }
}
