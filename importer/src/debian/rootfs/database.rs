//! dpkg's database, written natively: packages in state *unpacked*, as `dpkg --unpack` leaves them,
//! so that `dpkg --configure` can go on from there, and `dpkg -l`, `-S`, `-V` and scanners read it.
//!
//! The format is dpkg's own (`dpkg-query(1)`, `deb-triggers(5)`, dpkg's `doc/triggers.txt`):
//! `status`, `info/<package>[:<arch>].<member>` with format 1, `triggers/File`,
//! `triggers/<name>`, `triggers/Unincorp`.

mod triggers;

use std::collections::BTreeMap;

use keg::{
    object::{Attrs, Entry, EntryName, Tree, Value},
    store::{Objects, StoreError},
    union::Edit,
};

use crate::debian::{deb822, paths, pool::Pooled};
use triggers::Triggers;

/// Where it is.
const ROOT: &str = "var/lib/dpkg";

/// A package as the database names it.
pub struct Named<'a> {
    /// Its control file.
    pub control: Vec<u8>,
    /// `name`, or `name:arch` for `Multi-Arch: same`.
    pub key: String,
    /// Its members and what else is known.
    pub pooled: &'a Pooled,
    members: Tree,
}

impl Named<'_> {
    /// Whether the package has this member, such as `preinst`.
    pub fn has(&self, member: &str) -> bool {
        self.members.get(member.as_bytes()).is_some()
    }
}

/// Reads what the database needs of packages.
///
/// # Errors
/// The store's.
pub fn named<'a>(
    objects: &dyn Objects,
    packages: &'a [Pooled],
) -> Result<Vec<Named<'a>>, StoreError> {
    let mut all = Vec::new();
    for pooled in packages {
        let members = objects.tree(&pooled.control)?;
        let control = read(objects, members.get(b"control"))?;
        let key = {
            let stanza = deb822::stanzas(&control).next();
            let get = |field: &str| stanza.and_then(|s| s.get(field)).unwrap_or_default();
            match get("Multi-Arch") {
                "same" => format!("{}:{}", get("Package"), get("Architecture")),
                _ => get("Package").to_owned(),
            }
        };
        all.push(Named { control, key, pooled, members });
    }
    all.sort_by(|a, b| a.key.cmp(&b.key));
    Ok(all)
}

/// What must be set in a root file system for its database to have `packages`, on top of what
/// `configured` has. `lost` are paths that packages lost to others.
///
/// # Errors
/// The store's.
pub fn edits(
    objects: &dyn Objects,
    configured: Option<&Entry>,
    packages: &[Pooled],
    lost: &[(String, String)],
) -> Result<Vec<(String, Edit)>, StoreError> {
    let packages = named(objects, packages)?;
    let below = |path: &str| -> Result<Option<Entry>, StoreError> {
        match configured.and_then(Entry::kid) {
            Some(kid) => objects.walk(&kid, &format!("{ROOT}/{path}")),
            None => Ok(None),
        }
    };
    let mut status = read(objects, below("status")?.as_ref())?;
    for package in &packages {
        status.extend_from_slice(&stanza(package));
    }
    let mut info = match below("info")? {
        Some(Entry { value: Value::Tree { kid, .. }, .. }) => objects.tree(&kid)?,
        _ => Tree::default(),
    };
    for package in &packages {
        add_info(objects, &mut info, package)?;
    }
    forget(objects, &mut info, lost)?;
    info.entries.insert(name("format"), objects.put_bytes(b"1\n")?);

    let mut triggers = Triggers::new(objects, below("triggers")?)?;
    for package in &packages {
        let text = read(objects, package.members.get(b"triggers"))?;
        let list = match configured {
            Some(_) => objects.blob(&package.pooled.list)?,
            None => Vec::new(),
        };
        triggers.add(&package.key, &text, &list);
    }
    let mut edits = vec![
        ("status", objects.put_bytes(&status)?),
        ("info", objects.put_tree(&info)?),
        ("triggers", triggers.write(objects)?),
        ("updates", objects.put_tree(&Tree::default())?),
    ];
    for file in ["available", "diversions", "statoverride"] {
        if below(file)?.is_none() {
            edits.push((file, objects.put_bytes(b"")?));
        }
    }
    let set = |(path, entry)| (format!("{ROOT}/{path}"), Edit::Set(entry));
    Ok(edits.into_iter().map(set).collect())
}

/// The stanza of a package in `status`.
fn stanza(package: &Named<'_>) -> Vec<u8> {
    let control = package.control.trim_ascii();
    let (first, rest) = deb822::split_line(control).unwrap_or_default();
    let mut out = Vec::with_capacity(control.len() + 256);
    for line in [first, b"Status: install ok unpacked", rest] {
        out.extend_from_slice(line);
        out.push(b'\n');
    }
    let conffiles = &package.pooled.doc.conffiles;
    if !conffiles.is_empty() {
        out.extend_from_slice(b"Conffiles:\n");
        for (path, md5) in conffiles {
            out.extend_from_slice(format!(" {path} {md5}\n").as_bytes());
        }
    }
    out.push(b'\n');
    out
}

/// Adds a package's files of `info/`.
fn add_info(objects: &dyn Objects, info: &mut Tree, package: &Named<'_>) -> Result<(), StoreError> {
    let mut put = |member: &str, mut entry: Entry| {
        let mode = entry.attrs.mode;
        entry.attrs = Attrs::with_mode(mode);
        info.entries.insert(name(&format!("{}.{member}", package.key)), entry);
    };
    let size = objects.blob_size(&package.pooled.list)?;
    put("list", Entry::file(package.pooled.list, size));
    for (member, entry) in &package.members.entries {
        if member.as_bytes() != b"control" {
            put(&member.to_string_lossy(), entry.clone());
        }
    }
    Ok(())
}

/// Takes lost paths out of the lists of the packages that lost them.
fn forget(
    objects: &dyn Objects,
    info: &mut Tree,
    lost: &[(String, String)],
) -> Result<(), StoreError> {
    let mut by_package: BTreeMap<&str, Vec<&str>> = BTreeMap::new();
    for (package, path) in lost {
        by_package.entry(package).or_default().push(path);
    }
    for (package, gone) in by_package {
        let list = |key: &EntryName| {
            let rest = key.as_bytes().strip_prefix(package.as_bytes()).unwrap_or_default();
            rest == b".list" || (rest.starts_with(b":") && rest.ends_with(b".list"))
        };
        let Some(key) = info.entries.keys().find(|key| list(key)).cloned() else { continue };
        let text = read(objects, info.entries.get(&key))?;
        let kept = |line: &&[u8]| {
            let path = line.strip_prefix(b"/").and_then(|path| paths::parts(path).ok());
            let merged = path.map(|parts| paths::show(&paths::merged(&parts)));
            !merged.is_some_and(|merged| gone.contains(&merged.as_str()))
        };
        let lines: Vec<&[u8]> =
            text.split(|b| *b == b'\n').filter(|l| !l.is_empty()).filter(kept).collect();
        let text = [lines.join(&b'\n'), b"\n".to_vec()].concat();
        info.entries.insert(key, objects.put_bytes(&text)?);
    }
    Ok(())
}

fn name(text: &str) -> EntryName {
    EntryName::new(text).expect("because names of packages and members are checked")
}

fn read(objects: &dyn Objects, entry: Option<&Entry>) -> Result<Vec<u8>, StoreError> {
    match entry.and_then(Entry::kid) {
        Some(kid) => objects.blob(&kid),
        None => Ok(Vec::new()),
    }
}
