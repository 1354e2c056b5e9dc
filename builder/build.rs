//! Embeds the folder `buildpacks/` in the crate: `$OUT_DIR/packs.rs` lists its files.

use std::{
    env, fs, io,
    os::unix::fs::PermissionsExt as _,
    path::{Path, PathBuf},
};

/// Any of the three execute bits.
const EXECUTE_BITS: u32 = 0o111;

fn main() -> io::Result<()> {
    let manifest = PathBuf::from(env::var_os("CARGO_MANIFEST_DIR").expect("cargo sets this"));
    let packs = manifest.parent().expect("the crate is in the workspace").join("buildpacks");
    let mut files = Vec::new();
    collect(&packs, &packs, &mut files)?;
    files.sort();
    let mut out = String::from("&[\n");
    for (name, executable) in &files {
        let path = packs.join(name);
        let path = path.display().to_string();
        let file = format!("File {{ path: {name:?}, executable: {executable}");
        out.push_str(&format!("    {file}, bytes: include_bytes!({path:?}) }},\n"));
    }
    out.push(']');
    let target = PathBuf::from(env::var_os("OUT_DIR").expect("cargo sets this")).join("packs.rs");
    fs::write(target, out)
}

/// Adds every file below `dir`, by its path below `top`, and asks cargo to watch all of it.
fn collect(top: &Path, dir: &Path, files: &mut Vec<(String, bool)>) -> io::Result<()> {
    println!("cargo::rerun-if-changed={}", dir.display());
    for entry in fs::read_dir(dir)? {
        let entry = entry?;
        let path = entry.path();
        if entry.file_type()?.is_dir() {
            collect(top, &path, files)?;
            continue;
        }
        println!("cargo::rerun-if-changed={}", path.display());
        let name = path.strip_prefix(top).expect("it is below the top").display().to_string();
        let executable = entry.metadata()?.permissions().mode() & EXECUTE_BITS != 0;
        files.push((name, executable));
    }
    Ok(())
}
