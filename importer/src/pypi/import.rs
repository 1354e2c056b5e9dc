//! One request for Python packages, from requirements to a tree.

use std::time::Instant;

use keg::{Keg, Kid, NamePath, object::Entry, store::StoreError};
use serde::{Deserialize, Serialize};
use serde_json::{Value as Json, json};

use super::{
    config::{ConfigError, PipConfig},
    fetch::FetchError,
    index::{Index, IndexError, path},
    project::WheelFile,
    requirements::{Requirements, RequirementsError},
    resolve::{self, ResolveError},
    sets::{self, SetError},
    suggest,
    target::{Target, TargetError},
    wheel::RECIPE,
};
use crate::{
    import::Anew,
    progress::{Progress, Report, counted, megabytes, seconds},
    request::PypiWant,
};

/// Hex digits of a memo's key.
const MEMO_DIGITS: usize = 32;

/// Why Python packages could not be imported.
#[derive(Debug, thiserror::Error)]
pub enum PypiError {
    /// The Python or suite.
    #[error(transparent)]
    Target(#[from] TargetError),
    /// The text of the requirements.
    #[error(transparent)]
    Requirements(#[from] RequirementsError),
    /// They have no solution.
    #[error(transparent)]
    Resolve(#[from] ResolveError),
    /// The index or a wheel.
    #[error(transparent)]
    Index(#[from] IndexError),
    /// Wheels that do not go together.
    #[error(transparent)]
    Set(#[from] SetError),
    /// The Keg's.
    #[error(transparent)]
    Store(#[from] StoreError),
}

impl PypiError {
    /// What to do next, for people.
    pub fn hint(&self) -> String {
        match self {
            Self::Target(_) => "ask for the Python of the suite, or for another suite".into(),
            Self::Requirements(RequirementsError::Line { .. }) => {
                "correct that line, and try again".into()
            }
            Self::Requirements(_) => {
                "write what the app needs into a requirements.txt, and try again".into()
            }
            Self::Resolve(error) => resolve_hint(error),
            Self::Index(error) => index_hint(error),
            Self::Set(SetError::Conflict { .. }) => {
                "leave out one of the two packages, or pin versions that go together".into()
            }
            _ => "run `keg fsck`, look at the disk, and try again".into(),
        }
    }
}

fn resolve_hint(error: &ResolveError) -> String {
    match error {
        ResolveError::NoProject { name, .. } if suggest::is_standard(name) => {
            format!("{name} is part of Python: remove the line")
        }
        ResolveError::NoProject { near, .. } if near.is_empty() => {
            "check the name: a package's name may differ from the module that is imported".into()
        }
        ResolveError::NoProject { near, .. } => format!("did you mean {}?", near.join(" or ")),
        ResolveError::NoVersion { .. } => {
            "ask for another version, or another package that does the same; packages are not \
             built from source"
                .into()
        }
        ResolveError::Conflict(_) => {
            "change one of the versions that the requirements ask for so that all can be met".into()
        }
        ResolveError::Unlisted { name, .. } => {
            format!("add a line for {name} with its version and hash (`pip-compile` writes them)")
        }
        ResolveError::TooHard => "pin more versions with ==".into(),
        ResolveError::Index(error) => index_hint(error),
    }
}

fn index_hint(error: &IndexError) -> String {
    match error {
        IndexError::Fetch(FetchError::Config(ConfigError::NoPip)) => {
            "run `apt-get install python3-pip`, or set PIP_INDEX_URL to an index".into()
        }
        IndexError::Fetch(FetchError::Config(_)) => {
            "see `python3 -m pip config list`, and set global.index-url".into()
        }
        IndexError::Fetch(FetchError::Http { .. }) => {
            "check the network, and the index with `python3 -m pip config list`, then try again; \
             what is fetched stays"
                .into()
        }
        IndexError::Fetch(_) => "the index may be damaged or being updated: try again later".into(),
        IndexError::Metadata { .. } | IndexError::Wheel { .. } | IndexError::Differs { .. } => {
            "ask for another version of that package".into()
        }
        _ => "run `keg fsck`, look at the disk, and try again".into(),
    }
}

/// What came of it: the part of the lock, and the names to set with it.
#[derive(Debug)]
pub struct PypiDone {
    /// The lock's `pypi`.
    pub lock: Json,
    /// Names and what they stand for.
    pub names: Vec<(NamePath, Entry)>,
}

/// A package as a resolution keeps it.
#[derive(Serialize, Deserialize)]
struct Locked {
    name: String,
    version: String,
    wheel: WheelFile,
}

/// What a set of requirements resolved to: `/packages/pypi/resolutions/<memo>.json`.
#[derive(Serialize, Deserialize)]
struct Resolution {
    as_of: String,
    packages: Vec<Locked>,
}

/// Imports Python packages with this machine's pip configuration. `key`: the request's.
///
/// # Errors
/// What is asked for cannot be read, met, fetched or put together.
pub fn import(
    keg: &Keg,
    want: &PypiWant,
    key: &str,
    anew: Anew,
    report: &mut Report<'_>,
) -> Result<PypiDone, PypiError> {
    import_from(keg, want, key, &PipConfig::read, anew, report)
}

/// The same with another way to find the index.
pub(super) fn import_from(
    keg: &Keg,
    want: &PypiWant,
    key: &str,
    configure: &dyn Fn() -> Result<PipConfig, ConfigError>,
    anew: Anew,
    report: &mut Report<'_>,
) -> Result<PypiDone, PypiError> {
    let target = Target::here(&want.suite, &want.python)?;
    let requirements = Requirements::parse(&want.requirements, &target)?;
    let index = Index::new(keg, configure, &requirements, anew, report);
    let resolution = resolution(keg, &index, &target, &requirements, anew)?;
    let trees = trees(&index, &resolution)?;
    let named: Vec<(String, Kid)> = resolution
        .packages
        .iter()
        .zip(&trees)
        .filter_map(|(package, tree)| {
            Some((format!("{} {}", package.name, package.version), tree.kid()?))
        })
        .collect();
    let set = sets::put_together(keg.objects(), &target, &named)?;
    let packages: Vec<Json> = resolution
        .packages
        .iter()
        .zip(&named)
        .map(|(package, (_, kid))| {
            let mut row = json!({
                "name": package.name, "version": package.version, "file": package.wheel.file,
                "kid": kid, "sha256": package.wheel.sha256,
            });
            if let Some(reason) = &package.wheel.yanked {
                row["yanked"] = reason.as_str().into();
            }
            row
        })
        .collect();
    let lock = json!({
        "python": want.python, "suite": want.suite, "as_of": resolution.as_of,
        "tree": set.kid(), "packages": packages,
    });
    Ok(PypiDone { lock, names: vec![(path("sets", key), set)] })
}

/// What these requirements resolve to: as they did before, else resolved now.
fn resolution(
    keg: &Keg,
    index: &Index<'_, '_>,
    target: &Target,
    requirements: &Requirements,
    anew: Anew,
) -> Result<Resolution, PypiError> {
    let memo = path("resolutions", &format!("{}.json", memo_key(target, requirements)));
    if anew == Anew::No
        && let Some(known) = keg.read_json(&memo).map_err(IndexError::from)?
    {
        return Ok(known);
    }
    let (count, began) = (requirements.lines.len(), Instant::now());
    let text = format!("Resolving {}", counted(count, "Python requirement"));
    index.tell(Progress::Phase(text));
    let resolved = resolve::resolve(index, target, requirements);
    // What was learnt serves the next try too.
    index.commit("pages of the Python index")?;
    let resolution = Resolution {
        as_of: index.as_of(),
        packages: resolved?
            .into_iter()
            .map(|chosen| Locked {
                name: chosen.name.to_string(),
                version: chosen.version.to_string(),
                wheel: chosen.wheel,
            })
            .collect(),
    };
    let chosen = counted(resolution.packages.len(), "package");
    let time = seconds(began.elapsed());
    let fetched = match index.fetched_to_resolve() {
        (0, _) => String::new(),
        (wheels, bytes) => {
            format!(", {} ({}) fetched,", counted(wheels, "wheel"), megabytes(bytes))
        }
    };
    index.tell(Progress::Detail(format!("resolved to {chosen}{fetched} in {time}")));
    let value = serde_json::to_value(&resolution).expect("because a resolution is plain data");
    index.note(memo, keg.objects().put_json(&value)?);
    Ok(resolution)
}

/// Requirements that ask for the same have the same memo, whatever their order and comments.
fn memo_key(target: &Target, requirements: &Requirements) -> String {
    let text = format!(
        "recipe {RECIPE}\n{} python {} {}\n{}",
        target.suite(),
        target.python(),
        target.machine(),
        requirements.canonical()
    );
    Kid::of_blob(text.as_bytes()).to_hex()[..MEMO_DIGITS].to_owned()
}

/// The wheels' trees, in the order of the packages; what is missing is fetched.
fn trees(index: &Index<'_, '_>, resolution: &Resolution) -> Result<Vec<Entry>, PypiError> {
    let packages = &resolution.packages;
    let mut missing = Vec::new();
    for package in packages {
        if !index.has(&package.wheel)? {
            missing.push(package.wheel.size.unwrap_or(0));
        }
    }
    let bytes: u64 = missing.iter().sum();
    let began = Instant::now();
    if !missing.is_empty() {
        // An index need not tell sizes.
        let size = if bytes > 0 { format!(", {}", megabytes(bytes)) } else { String::new() };
        let text = format!("Fetching {}{size}", counted(missing.len(), "wheel"));
        index.tell(Progress::Phase(text));
    }
    index.begin_count();
    let (count, mut done) = (missing.len() as u64, 0);
    let mut trees = Vec::new();
    for package in packages {
        let here = index.has(&package.wheel)?;
        match index.tree(&package.wheel, (done, count, bytes)) {
            Ok(tree) => trees.push(tree),
            Err(error) => {
                // What is fetched stays.
                index.commit("wheels of an import that failed")?;
                return Err(error.into());
            }
        }
        done += u64::from(!here);
    }
    if count > 0 {
        let bytes = index.counted();
        index.tell(Progress::Count { done, total: count, bytes, total_bytes: bytes });
    }
    index.commit(&format!("wheels of {}", counted(packages.len(), "Python package")))?;
    if count > 0 {
        let (count, time) = (counted(missing.len(), "wheel"), seconds(began.elapsed()));
        index.tell(Progress::Detail(format!("{count} fetched in {time}")));
    }
    Ok(trees)
}
