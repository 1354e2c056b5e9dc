//! What a store finds when it reads all it holds.

use std::{fs, path::Path};

use super::{StoreError, io, verify::hash_all};
use crate::{Kid, object::Kind};

/// What reading everything meets.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Audited {
    /// An object.
    Object {
        /// Its name.
        kid: Kid,
        /// What it is.
        kind: Kind,
        /// Its size.
        bytes: u64,
        /// Why it is not what the name says; `None`: it is.
        damage: Option<String>,
    },
    /// Something wrong that is not an object.
    Damage {
        /// Where: a file of the Keg.
        place: String,
        /// What is wrong, and what to do about it where something can be done.
        what: String,
    },
}

/// Reads every file of one of the 256 directories of `objects/`.
pub(super) fn audit_directory(
    home: &Path,
    number: u8,
    visit: &mut dyn FnMut(Audited),
) -> Result<(), StoreError> {
    let fan = format!("{number:02x}");
    let dir = home.join("objects").join(&fan);
    let what = format!("listing {}", dir.display());
    for entry in fs::read_dir(&dir).map_err(io(&what))? {
        let name = entry.map_err(io(&what))?.file_name();
        let kid = name.to_str().and_then(|rest| format!("K-{fan}{rest}").parse().ok());
        match kid {
            Some(kid) => audit_file(&dir.join(&name), kid)?.into_iter().for_each(&mut *visit),
            None => visit(stray(format!("objects/{fan}/{}", name.to_string_lossy()))),
        }
    }
    Ok(())
}

/// A file that has no business there.
pub(super) fn stray(place: String) -> Audited {
    Audited::Damage { place, what: "it is not an object; nothing uses it".to_owned() }
}

/// Reads one; `None`: it has gone meanwhile, into a pack perhaps, and packs are read after this.
fn audit_file(path: &Path, kid: Kid) -> Result<Option<Audited>, StoreError> {
    let object = |bytes, damage| Audited::Object { kid, kind: Kind::Blob, bytes, damage };
    let mut file = match fs::File::open(path) {
        Ok(file) => file,
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(None),
        Err(error) => return Err(io(format_args!("reading {}", path.display()))(error)),
    };
    let mut hasher = blake3::Hasher::new();
    // A file that cannot be read is damaged; the others still want to be looked at.
    Ok(Some(match hash_all(&mut file, &mut hasher) {
        Ok(bytes) if Kid::from(hasher.finalize()) == kid => object(bytes, None),
        Ok(bytes) => object(bytes, Some("its bytes hash to another KID".to_owned())),
        Err(error) => object(0, Some(format!("it cannot be read: {error}"))),
    }))
}
