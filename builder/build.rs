//! Embeds the folder `buildpacks/` in the crate: `$OUT_DIR/packs.rs` lists its files.
//!
//! Paths are relative to the crate, so that a target directory which several checkouts share never
//! embeds the files of another one.

use std::{
    env, fs, io,
    os::unix::fs::PermissionsExt as _,
    path::{Path, PathBuf},
};

/// The folder, from the crate's own; build scripts run there.
const PACKS: &str = "../buildpacks";
/// Any of the three execute bits.
const EXECUTE_BITS: u32 = 0o111;

fn main() -> io::Result<()> {
    let mut files = Vec::new();
    collect(Path::new(PACKS), &mut files)?;
    files.sort();
    let mut out = String::from("&[\n");
    for (name, executable) in &files {
        let at = format!("concat!(env!(\"CARGO_MANIFEST_DIR\"), \"/{PACKS}/\", {name:?})");
        let file = format!("File {{ path: {name:?}, executable: {executable}");
        out.push_str(&format!("    {file}, bytes: include_bytes!({at}) }},\n"));
    }
    out.push(']');
    let target = PathBuf::from(env::var_os("OUT_DIR").expect("cargo sets this")).join("packs.rs");
    fs::write(target, out)
}

/// Adds every file below `dir`, by its path below [`PACKS`], and asks cargo to watch all of it.
fn collect(dir: &Path, files: &mut Vec<(String, bool)>) -> io::Result<()> {
    println!("cargo::rerun-if-changed={}", dir.display());
    for entry in fs::read_dir(dir)? {
        let entry = entry?;
        let path = entry.path();
        if entry.file_type()?.is_dir() {
            collect(&path, files)?;
            continue;
        }
        println!("cargo::rerun-if-changed={}", path.display());
        let name = path.strip_prefix(PACKS).expect("it is below the folder").display().to_string();
        let executable = entry.metadata()?.permissions().mode() & EXECUTE_BITS != 0;
        files.push((name, executable));
    }
    Ok(())
}
