//! `format.json`: what a directory must be understood to hold before it is touched.

use std::path::Path;

use serde::{Deserialize, Serialize};

use super::{
    StoreError,
    durable::{Flock, replace_file, sync_dir},
    io,
};

/// What the name of `format.json` begins with while it is written.
pub(super) const DRAFT: &str = "format.tmp-";
/// The version written now.
const VERSION: u32 = 1;
/// Garbage is collected: segments and old versions may be missing, and whoever writes refreshes
/// what is condemned before relying on it.
pub(crate) const GC: &str = "gc";
/// Directories are split over several objects: a program that does not know it would take the
/// first of them for damage.
pub(crate) const SHARDS: &str = "shards";
/// The features this version knows without which a Keg cannot be read.
const KNOWN: [&str; 7] = [
    GC,
    super::packs::FEATURE,
    super::packs::TREES,
    super::packs::LISTED,
    super::packs::WIDE,
    SHARDS,
    super::log::FEATURE,
];

/// The parsed `format.json`. None of its members may be missing: a damaged name is not a feature less.
#[derive(Serialize, Deserialize)]
struct Format {
    format: String,
    version: u32,
    /// Features that do not matter to those who do not know them.
    compat: Vec<String>,
    /// Features without which a Keg can be read, but not written.
    ro_compat: Vec<String>,
    /// Features without which a Keg cannot be read.
    incompat: Vec<String>,
}

/// What `format.json` has in every version.
#[derive(Deserialize)]
struct Made {
    format: String,
    version: u32,
}

/// Whether this version of Keg may write.
pub(super) enum Access {
    Full,
    /// Only read, because of these features.
    ReadOnly(String),
}

/// Whether a directory holds a Keg.
pub(super) fn exists(home: &Path) -> bool {
    home.join("format.json").exists()
}

/// Says that `home` holds a Keg: the last step of making one.
pub(super) fn write(home: &Path) -> Result<(), StoreError> {
    let format = Format {
        format: "keg".to_owned(),
        version: VERSION,
        compat: Vec::new(),
        ro_compat: Vec::new(),
        incompat: vec![super::log::FEATURE.to_owned()],
    };
    let text = serde_json::to_string(&format).expect("plain strings and numbers are JSON");
    replace_file(&home.join("format.json"), (text + "\n").as_bytes())
}

/// What may be done with the Keg in `home`.
pub(super) fn check(home: &Path) -> Result<Access, StoreError> {
    let path = home.join("format.json");
    let text = match std::fs::read_to_string(&path) {
        Ok(text) => text,
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => {
            return Err(StoreError::NotAKeg { home: home.to_owned() });
        }
        Err(error) => return Err(io(format_args!("reading {}", path.display()))(error)),
    };
    let refuse = |what: String| Err(StoreError::Format { home: home.to_owned(), what });
    let unreadable = |error| StoreError::Format {
        home: home.to_owned(),
        what: format!("has an unreadable format.json ({error})"),
    };
    // First this alone: another version may have other members.
    let Made { format, version } = serde_json::from_str(&text).map_err(unreadable)?;
    if format != "keg" || version != VERSION {
        return refuse(format!(
            "has the format {format:?} version {version}; this is a program for \"keg\" version \
             {VERSION}: use the version of keg that made it"
        ));
    }
    let format: Format = serde_json::from_str(&text).map_err(unreadable)?;
    let unknown = |feature: &&String| !KNOWN.contains(&feature.as_str());
    let unknown: Vec<&str> = format.incompat.iter().filter(unknown).map(String::as_str).collect();
    if !unknown.is_empty() {
        let features = unknown.join(", ");
        return refuse(format!(
            "uses features this version of keg does not know ({features}): use a newer one"
        ));
    }
    if format.ro_compat.is_empty() {
        Ok(Access::Full)
    } else {
        Ok(Access::ReadOnly(format.ro_compat.join(", ")))
    }
}

/// Whether a Keg, which has been checked, has a feature without which it cannot be read.
pub(super) fn uses(home: &Path, feature: &str) -> Result<bool, StoreError> {
    Ok(parsed(home)?.incompat.iter().any(|known| known == feature))
}

fn parsed(home: &Path) -> Result<Format, StoreError> {
    let path = home.join("format.json");
    let text = std::fs::read_to_string(&path);
    let text = text.map_err(io(format_args!("reading {}", path.display())))?;
    serde_json::from_str(&text).map_err(|error| StoreError::Format {
        home: home.to_owned(),
        what: format!("has an unreadable format.json ({error})"),
    })
}

/// Notes that a Keg cannot be read without a feature any more, before it is first used. Then that,
/// and everything else in the Keg's directory, has its name durably.
///
/// # Errors
/// [`StoreError::Format`], or the disk's.
pub(crate) fn require(home: &Path, feature: &str) -> Result<(), StoreError> {
    let path = home.join("format.json");
    let what = format!("reading {}", path.display());
    let dir = std::fs::File::open(home).map_err(io(&what))?;
    let _alone = Flock::exclusive(&dir)?;
    if let Access::ReadOnly(features) = check(home)? {
        return Err(StoreError::ReadOnly { home: home.to_owned(), features });
    }
    let mut format = parsed(home)?;
    if format.incompat.iter().any(|known| known == feature) {
        // Whoever noted it may have died before it was durable.
        return sync_dir(home);
    }
    format.incompat.push(feature.to_owned());
    format.incompat.sort_unstable();
    let text = serde_json::to_string(&format).expect("plain strings and numbers are JSON");
    replace_file(&path, (text + "\n").as_bytes())
}
