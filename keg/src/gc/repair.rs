//! Repair: what is damaged or missing is fetched again; what was there goes to quarantine.

use std::{
    fs,
    io::Read,
    path::{Path, PathBuf},
};

use serde::{Deserialize, Serialize};

use super::{GcError, floors::Floors, hold_off, prepare};
use crate::{
    Keg, Kid,
    fsck::{Damage, Report},
    object::Kind,
    store::{
        FileStore, INLINE_MAX, MAX_IN_MEMORY, StoreError, durable::sync_dir, io, log::Rewrite,
        pending::object_path,
    },
    time::now_ms,
};

/// Why a source could not answer.
pub type SourceError = Box<dyn std::error::Error + Send + Sync>;

/// Where sound copies come from: a peer, a pack, a backup.
pub trait Source {
    /// What it is called, for the report.
    fn name(&self) -> String;

    /// The canonical bytes of an object; `None`: it has none. They are checked against the KID
    /// before anything is made of them.
    ///
    /// # Errors
    /// It cannot be asked; the next source is.
    fn fetch(&self, kid: &Kid) -> Result<Option<Box<dyn Read + '_>>, SourceError>;
}

/// What became of one damaged object.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct Repaired {
    /// Which.
    pub kid: Kid,
    /// The source it came from; `None`: it is still damaged or missing.
    pub from: Option<String>,
    /// Why not, for each source that was asked.
    pub failed: Vec<String>,
    /// The names that need it.
    pub paths: Vec<String>,
}

/// What a repair did.
#[derive(Clone, PartialEq, Eq, Debug, Default, Serialize, Deserialize)]
pub struct RepairReport {
    /// One for each damaged object.
    pub objects: Vec<Repaired>,
    /// Segments of the log that were rewritten without their damage.
    pub segments: Vec<u32>,
    /// Where the damaged bytes are now, below the Keg's directory.
    pub quarantined: Vec<PathBuf>,
}

impl RepairReport {
    /// Whether every damaged object is sound again.
    pub fn is_complete(&self) -> bool {
        self.objects.iter().all(|object| object.from.is_some())
    }
}

/// Repairs what a check found, from the sources in their order. Nothing is deleted: damaged bytes
/// are moved to `quarantine/`. Check again afterwards.
///
/// # Errors
/// The Keg cannot be written. What a source answers is in the report.
pub fn repair(
    keg: &Keg,
    found: &Report,
    sources: &[&dyn Source],
    progress: &mut dyn FnMut(&Repaired),
) -> Result<RepairReport, GcError> {
    let files = keg.master().files().ok_or(GcError::NoFiles)?;
    files.check_writable()?;
    let home = files.home();
    prepare(home)?;
    let _alone = hold_off(home);
    let aside = home.join("quarantine").join(now_ms().to_string());
    fs::create_dir_all(&aside).map_err(io("making a directory in quarantine/"))?;
    let mut repair = Repair { keg, files, aside, sealed: false, report: RepairReport::default() };
    for damage in &found.damaged {
        let Some(kid) = damage.kid else { continue };
        let one = repair.object(&kid, damage, sources)?;
        progress(&one);
        repair.report.objects.push(one);
    }
    keg.objects().sync()?;
    repair.segments(found)?;
    repair.indexes(found)?;
    repair.finish()
}

struct Repair<'a> {
    keg: &'a Keg,
    files: &'a FileStore,
    aside: PathBuf,
    sealed: bool,
    report: RepairReport,
}

impl Repair<'_> {
    fn object(
        &mut self,
        kid: &Kid,
        damage: &Damage,
        sources: &[&dyn Source],
    ) -> Result<Repaired, StoreError> {
        let mut one =
            Repaired { kid: *kid, from: None, failed: Vec::new(), paths: damage.paths.clone() };
        for source in sources {
            let fetched = match source.fetch(kid) {
                Ok(Some(reader)) => self.take(kid, reader),
                Ok(None) => Err("it does not have it".to_owned()),
                Err(error) => Err(error.to_string()),
            };
            match fetched {
                Ok(copy) => {
                    self.put(kid, copy)?;
                    one.from = Some(source.name());
                    break;
                }
                Err(why) => one.failed.push(format!("{}: {why}", source.name())),
            }
        }
        Ok(one)
    }

    /// Reads a copy to a temporary file, and says what kind of object it is.
    fn take(&self, kid: &Kid, mut reader: Box<dyn Read + '_>) -> Result<Copy, String> {
        let wrong = |error: std::io::Error| error.to_string();
        let made =
            tempfile::Builder::new().prefix("repair-").tempfile_in(self.files.home().join("tmp"));
        let mut file = made.map_err(wrong)?;
        let mut plain = blake3::Hasher::new();
        let mut start = Vec::new();
        (&mut reader).take(MAX_IN_MEMORY).read_to_end(&mut start).map_err(wrong)?;
        for kind in [Kind::Tree, Kind::Commit] {
            if kind.kid_of(&start) == *kid {
                return Ok(Copy::Small(kind, start));
            }
        }
        plain.update(&start);
        std::io::Write::write_all(&mut file, &start).map_err(wrong)?;
        let rest = std::io::copy(&mut reader, &mut Both(file.as_file_mut(), &mut plain));
        let size = start.len() as u64 + rest.map_err(wrong)?;
        if Kid::from(plain.finalize()) != *kid {
            return Err("what it sends is another object".to_owned());
        }
        if size <= INLINE_MAX as u64 {
            return Ok(Copy::Small(Kind::Blob, start));
        }
        file.as_file().sync_data().map_err(wrong)?;
        Ok(Copy::Large(file))
    }

    fn put(&mut self, kid: &Kid, copy: Copy) -> Result<(), StoreError> {
        match copy {
            Copy::Small(kind, bytes) => {
                // The newest copy counts, and none comes after one in the same segment.
                if !self.sealed {
                    self.files.log().seal_tail()?;
                    self.sealed = true;
                }
                self.files.log().append_again(kind, kid, &bytes)
            }
            Copy::Large(file) => {
                let path = object_path(self.files.home(), kid);
                let what = || format!("repairing {}", path.display());
                if path.exists() {
                    let kept = self.aside.join(kid.to_hex());
                    let linked = fs::hard_link(&path, &kept);
                    linked.or_else(unless_there).map_err(io(what()))?;
                    self.note(&kept);
                }
                sync_dir(&self.aside)?;
                let mode = std::os::unix::fs::PermissionsExt::from_mode(0o444);
                fs::set_permissions(file.path(), mode).map_err(io(what()))?;
                file.persist(&path).map_err(|error| io(what())(error.error))?;
                sync_dir(path.parent().unwrap_or(&path))
            }
        }
    }

    /// Rewrites segments without records that are damaged, where each object among them is sound
    /// elsewhere by now.
    fn segments(&mut self, found: &Report) -> Result<(), StoreError> {
        let log = self.files.log();
        let still: Vec<Kid> = self
            .report
            .objects
            .iter()
            .filter(|one| one.from.is_none())
            .map(|one| one.kid)
            .collect();
        let repaired = self.report.objects.iter().filter(|one| one.from.is_some());
        let mut damaged: Vec<u32> = repaired.flat_map(|one| log.damaged_copies(&one.kid)).collect();
        damaged.extend(found.damaged.iter().filter_map(|one| segment_of(one.place.as_deref()?)));
        damaged.sort_unstable();
        damaged.dedup();
        let sealed = log.sealed_segments();
        for segment in damaged.into_iter().filter(|number| sealed.contains(number)) {
            let mut lost = false;
            log.sealed_objects(segment, &mut |kid, _| lost |= still.contains(&kid));
            if lost {
                // It would be missing instead of damaged; nothing is gained.
                continue;
            }
            let oldest = Floors::read(self.files.home())?.oldest();
            let (run, keep) = (&[segment], &|_: &Kid, _: u32| true);
            let plan = Rewrite { run, keep, oldest, aside: &self.aside, drop_damaged: true };
            if log.rewrite(&plan)?.is_some() {
                self.report.segments.push(segment);
                self.note(&self.aside.join(format!("{segment:08}.seg")));
            }
        }
        Ok(())
    }

    /// Sets damaged indexes aside; they are made again when the Keg is next opened.
    fn indexes(&mut self, found: &Report) -> Result<(), StoreError> {
        for place in found.damaged.iter().filter_map(|one| one.place.as_deref()) {
            let index = place.strip_prefix("log/").filter(|name| name.ends_with(".idx"));
            let Some(name) = index else { continue };
            let (from, to) = (self.files.home().join(place), self.aside.join(name));
            match fs::rename(&from, &to) {
                Ok(()) => self.note(&to),
                Err(error) if error.kind() == std::io::ErrorKind::NotFound => {}
                Err(error) => return Err(io(format_args!("setting {place} aside"))(error)),
            }
        }
        self.files.log().relist()
    }

    fn note(&mut self, path: &Path) {
        let below = path.strip_prefix(self.files.home()).unwrap_or(path);
        self.report.quarantined.push(below.to_owned());
    }

    fn finish(self) -> Result<RepairReport, GcError> {
        self.keg.objects().sync()?;
        // One that nothing went to is not kept.
        let _ = fs::remove_dir(&self.aside);
        Ok(self.report)
    }
}

/// A sound copy.
enum Copy {
    Small(Kind, Vec<u8>),
    Large(tempfile::NamedTempFile),
}

/// Writes to a file and a hasher.
struct Both<'a>(&'a mut fs::File, &'a mut blake3::Hasher);

impl std::io::Write for Both<'_> {
    fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
        let written = self.0.write(bytes)?;
        self.1.update(&bytes[..written]);
        Ok(written)
    }

    fn flush(&mut self) -> std::io::Result<()> {
        self.0.flush()
    }
}

/// The number in `log/00000005.seg`.
fn segment_of(place: &str) -> Option<u32> {
    place.strip_prefix("log/")?.strip_suffix(".seg")?.parse().ok()
}

fn unless_there(error: std::io::Error) -> std::io::Result<()> {
    if error.kind() == std::io::ErrorKind::AlreadyExists { Ok(()) } else { Err(error) }
}
