//! Making a Keg's directory.

use std::{
    fs::{self, File},
    path::Path,
};

use super::{
    Root, StoreError,
    canonical::genesis,
    durable::Flock,
    format, io,
    log::{Log, NewObject},
};

/// Directories of a Keg besides the fan-out of `objects/`.
const DIRECTORIES: [&str; 6] = ["objects", "log", "streams", "tmp", "run", "img"];

/// Makes a Keg in a directory that is empty or not there; with `or_open`, one that is there is left
/// as it is. Many processes may try at once.
pub(super) fn make(home: &Path, or_open: bool) -> Result<(), StoreError> {
    let what = || format!("making a Keg in {}", home.display());
    fs::create_dir_all(home).map_err(io(what()))?;
    let dir = File::open(home).map_err(io(what()))?;
    let _alone = Flock::exclusive(&dir)?;
    if !format::exists(home) {
        lay_out(home).map_err(io(what()))?;
        let objects = genesis();
        let named: Vec<NewObject<'_>> = objects.iter().map(NewObject::from).collect();
        let commit = named.last().expect("version 0 is a commit").kid;
        Log::create(&home.join("log"), Root { seq: 0, commit }, &named)?;
        format::write(home)?;
    } else if !or_open {
        return Err(StoreError::Exists { home: home.to_owned() });
    }
    Ok(())
}

/// Makes the directories of a Keg; refuses a directory that holds anything else.
fn lay_out(home: &Path) -> std::io::Result<()> {
    for entry in fs::read_dir(home)? {
        let name = entry?.file_name();
        if name.as_encoded_bytes().starts_with(format::DRAFT.as_bytes()) {
            // Somebody died while making a Keg here.
            fs::remove_file(home.join(name))?;
        } else if name != "lost+found" && !DIRECTORIES.iter().any(|known| name == *known) {
            let text = format!("it holds {name:?} already; choose an empty directory");
            return Err(std::io::Error::new(std::io::ErrorKind::AlreadyExists, text));
        }
    }
    for name in DIRECTORIES {
        fs::create_dir_all(home.join(name))?;
    }
    let objects = home.join("objects");
    for byte in 0..=255u8 {
        fs::create_dir_all(objects.join(format!("{byte:02x}")))?;
    }
    File::open(&objects)?.sync_all()?;
    File::open(home)?.sync_all()
}
