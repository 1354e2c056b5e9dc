//! Reading every object of every pack.

use std::{
    collections::{BTreeSet, HashMap},
    fs,
    path::Path,
    sync::Arc,
};

use super::{
    directory, display, index,
    list::Names,
    open::{Data, data_path},
    read::{PackedBlob, Prefer},
    set::{Found, PackSet},
    write::write_index,
};
use crate::{
    Kid,
    object::Kind,
    store::{
        Audited, StoreError, io,
        verify::{ReadAt, hash_all},
    },
};

/// What to do about an index that is lost or wrong.
const REMAKE: &str = "`keg pack` makes it again";

/// Reads all of a Keg's packs: their checksums, and every object against its KID.
///
/// # Errors
/// The directory cannot be listed.
pub(crate) fn audit_packs(home: &Path, visit: &mut dyn FnMut(Audited)) -> Result<(), StoreError> {
    if !directory(home).exists() {
        return Ok(());
    }
    for name in stray(home, visit)? {
        let place = format!("packs/{}.idx", name.to_hex());
        let what = format!("it is not there; {REMAKE}");
        visit(Audited::Damage { place, what });
    }
    let set = PackSet::new(home);
    let (packs, broken) = set.all()?;
    for (name, what) in broken {
        let what = if what.contains("index") { format!("{what}; {REMAKE}") } else { what };
        visit(Audited::Damage { place: display(&name), what });
    }
    for pack in packs {
        let mut hasher = blake3::Hasher::new();
        let mut file = pack.data().file();
        let wrong = match hash_all(&mut file, &mut hasher) {
            Ok(_) if Kid::from(hasher.finalize()) == *pack.name() => None,
            Ok(_) => Some("its bytes do not hash to its name".to_owned()),
            Err(error) => Some(format!("it cannot be read: {error}")),
        };
        if let Some(what) = wrong {
            visit(Audited::Damage { place: display(pack.name()), what });
        }
        // In the order in which they were packed, so that each block is unpacked about once.
        let mut rows: Vec<(Kid, u32)> = pack.rows().collect();
        rows.sort_unstable_by_key(|(_, offset)| *offset);
        for (kid, offset) in rows {
            let found = pack.data().recipe(offset).map(|recipe| Found {
                pack: *pack.name(),
                data: pack.data().clone(),
                recipe,
            });
            let (kind, bytes, damage) = match found {
                Ok(found) => audit_object(&set, kid, found),
                Err(what) => (Kind::Blob, 0, Some(format!("in {}: {what}", display(pack.name())))),
            };
            visit(Audited::Object { kid, kind, bytes, damage });
        }
    }
    Ok(())
}

fn audit_object(set: &Arc<PackSet>, kid: Kid, found: Found) -> (Kind, u64, Option<String>) {
    let mut blob = PackedBlob::new(set, kid, found, Prefer::Packed);
    let (kind, size) = (blob.kind(), blob.size());
    match blob.hash() {
        Ok(hash) if hash == kid => (kind, size, None),
        Ok(_) => (kind, size, Some(blob.within("its bytes hash to another KID"))),
        Err(error) => (kind, size, Some(error.to_string())),
    }
}

/// Tells what is in the directory and should not be; returns packs that have no index.
fn stray(home: &Path, visit: &mut dyn FnMut(Audited)) -> Result<Vec<Kid>, StoreError> {
    let dir = directory(home);
    let what = format!("listing {}", dir.display());
    let (mut bare, mut names) = (Vec::new(), BTreeSet::new());
    for entry in fs::read_dir(&dir).map_err(io(&what))? {
        names.insert(entry.map_err(io(&what))?.file_name().to_string_lossy().into_owned());
    }
    // Its index was on its way, or going, when a process was killed: nothing relies on it.
    let unfinished = |stem: &str| {
        let beside = format!("{stem}.tmp-");
        names.range(beside.clone()..).next().is_some_and(|name| name.starts_with(&beside))
    };
    for name in &names {
        let kid = |hex: &str| format!("K-{hex}").parse::<Kid>().ok();
        let (stem, kind) = name.split_once('.').unwrap_or((name, ""));
        match (kid(stem), kind) {
            (Some(kid), "pack") if !names.contains(&format!("{stem}.idx")) => {
                if !unfinished(stem) {
                    bare.push(kid);
                }
            }
            (Some(_), "pack" | "idx") => {}
            // Being written, or left by a process that was killed.
            _ if kind.starts_with("tmp-") || name == "epoch" => {}
            _ => visit(Audited::Damage {
                place: format!("packs/{name}"),
                what: "it is not a pack; nothing uses it".to_owned(),
            }),
        }
    }
    Ok(bare)
}

/// Makes the index of a pack again, from what its objects hash to.
///
/// # Errors
/// The data file is damaged, or the disk's.
pub(crate) fn rebuild_index(home: &Path, name: &Kid) -> Result<(), StoreError> {
    let damaged = |what| StoreError::Pack { pack: display(name), what };
    let data = Arc::new(Data::open(&data_path(home, name)).map_err(damaged)?);
    let mut hasher = blake3::Hasher::new();
    let hashed = hash_all(&mut data.file(), &mut hasher);
    hashed.map_err(io(format_args!("reading {}", display(name))))?;
    if Kid::from(hasher.finalize()) != *name {
        return Err(damaged("its bytes do not hash to its name".to_owned()));
    }
    let names = data.names();
    let numbers: HashMap<Kid, u32> =
        (0..names.len() as u32).filter_map(|number| Some((names.get(number)?, number))).collect();
    let format = match names {
        Names::InPlace => index::Format::First,
        Names::Listed(_) => index::Format::Listed,
    };
    let set = PackSet::new(home);
    let mut rows = Vec::new();
    for recipe in data.recipes() {
        let (offset, recipe) = recipe.map_err(damaged)?;
        let found = Found { pack: *name, data: data.clone(), recipe };
        let mut blob = PackedBlob::new(&set, *name, found.clone(), Prefer::Packed);
        let kid = blob.hash().map_err(|error| damaged(error.to_string()))?;
        let number = numbers.get(&kid).copied().unwrap_or(0);
        if format == index::Format::Listed && names.get(number) != Some(kid) {
            return Err(damaged(format!("{kid} is not in its list")));
        }
        set.add(kid, found);
        rows.push(index::Row { kid, number, offset });
    }
    write_index(home, name, data.size(), rows, format)
}

impl ReadAt for &fs::File {
    fn read_at(&mut self, buf: &mut [u8], at: u64) -> std::io::Result<usize> {
        std::os::unix::fs::FileExt::read_at(*self, buf, at)
    }
}
