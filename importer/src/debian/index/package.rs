//! One package of an index, read from its stanza.

use super::{Id, IndexError};
use crate::debian::{
    deb::Promise,
    deb822::Stanza,
    relation::{self, Group, Relation},
    version,
};

/// Largest `.deb` that is fetched.
pub const MAX_DEB: u64 = 4 << 30;

/// A name that a package provides, perhaps as a version.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Provided {
    /// The name.
    pub name: String,
    /// The version it stands for.
    pub version: Option<String>,
}

/// A package: what it promises, needs and excludes.
#[derive(Debug)]
pub struct Package {
    /// Its number in the index.
    pub id: Id,
    /// What its `.deb` is promised to be.
    pub promise: Promise,
    /// Where its `.deb` is, below the origin's address.
    pub filename: String,
    /// Which origin of the snapshot it is from.
    pub origin: u8,
    /// 0 required, 1 important, 2 standard, 3 optional, 4 extra.
    pub priority: u8,
    /// `Essential: yes`.
    pub essential: bool,
    /// `Pre-Depends` and then `Depends`.
    pub depends: Vec<Group>,
    /// `Conflicts` and `Breaks`.
    pub excludes: Vec<Relation>,
    /// `Replaces`.
    pub replaces: Vec<Relation>,
    /// `Provides`.
    pub provides: Vec<Provided>,
}

impl Package {
    /// Its name.
    pub fn name(&self) -> &str {
        &self.promise.name
    }

    /// Its version.
    pub fn version(&self) -> &str {
        &self.promise.version
    }

    /// Reads the stanza of package `id`.
    ///
    /// # Errors
    /// A field that must be there is missing or malformed.
    pub fn read(id: Id, stanza: Stanza<'_>, origin: u8) -> Result<Self, IndexError> {
        let package = stanza.get("Package").unwrap_or_default();
        let bad = |reason: String| IndexError::Stanza { package: package.to_owned(), reason };
        let field = |name: &str| stanza.get(name).ok_or_else(|| bad(format!("it lacks {name}")));
        let number = |name: &str| {
            let parsed = field(name)?.parse::<u64>();
            parsed.map_err(|_| bad(format!("its {name} is no number")))
        };
        let groups = |name: &str| {
            let parsed = relation::parse(stanza.get(name).unwrap_or_default());
            parsed.map_err(|e| bad(e.to_string()))
        };
        let flat = |name: &str| groups(name).map(|g| g.into_iter().flatten());
        let promise = Promise {
            name: field("Package")?.to_owned(),
            version: field("Version")?.to_owned(),
            arch: field("Architecture")?.to_owned(),
            sha256: field("SHA256")?.to_ascii_lowercase(),
            size: number("Size")?,
            installed_kib: number("Installed-Size").unwrap_or(0),
        };
        check(&promise).map_err(|reason| bad(reason.into()))?;
        let filename = field("Filename")?.to_owned();
        check_filename(&filename).map_err(|reason| bad(reason.into()))?;
        let mut depends = groups("Pre-Depends")?;
        depends.extend(groups("Depends")?);
        Ok(Self {
            id,
            promise,
            filename,
            origin,
            priority: priority(stanza.get("Priority").unwrap_or_default()),
            essential: stanza.get("Essential") == Some("yes"),
            depends,
            excludes: flat("Conflicts")?.chain(flat("Breaks")?).collect(),
            replaces: flat("Replaces")?.collect(),
            provides: provides(flat("Provides")?),
        })
    }
}

fn provides(relations: impl Iterator<Item = Relation>) -> Vec<Provided> {
    let version = |r: &Relation| r.version.as_ref().map(|(_, version)| version.clone());
    relations.map(|r| Provided { version: version(&r), name: r.name }).collect()
}

/// The number of a `Priority`.
pub fn priority(text: &str) -> u8 {
    match text {
        "required" => 0,
        "important" => 1,
        "standard" => 2,
        "optional" => 3,
        _ => 4,
    }
}

fn check(promise: &Promise) -> Result<(), &'static str> {
    if !crate::request::is_package_name(&promise.name) {
        return Err("its name is no package's name");
    }
    if !version::is_version(&promise.version) {
        return Err("its version is malformed");
    }
    let hex = promise.sha256.bytes().all(|b| b.is_ascii_hexdigit());
    if promise.sha256.len() != 64 || !hex {
        return Err("its SHA256 is malformed");
    }
    if promise.size > MAX_DEB {
        return Err("its .deb is larger than 4 GiB");
    }
    Ok(())
}

/// A path below the origin's address and nothing else.
fn check_filename(filename: &str) -> Result<(), &'static str> {
    let good = |part: &str| {
        let plain = |b: u8| b.is_ascii_alphanumeric() || b"+-._~:%@=".contains(&b);
        !part.is_empty() && part != "." && part != ".." && part.bytes().all(plain)
    };
    match filename.split('/').all(good) {
        true => Ok(()),
        false => Err("its Filename is no plain relative path"),
    }
}
