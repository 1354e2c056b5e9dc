//! The decoders of what is ingested (see [`crate::decoders`]).

use std::{fs, io::Write, path::Path};

use rustix::fs::{CWD, FileType, Mode, XattrFlags};

use super::{IngestOptions, ingest_overlay_upper, known::KnownFiles};
use crate::{
    Keg,
    decoders::{Decoded, Decoder, LITTLE, dir_of, read_if, seal_end, unsealed},
    object::{Entry, EntryName, Tree},
};

/// What an upper directory is made of at most.
const STEPS: usize = 24;

pub(crate) fn all() -> Vec<Decoder> {
    vec![
        Decoder { name: "stat-cache", decode: stat_cache, seal: seal_end, memory: LITTLE },
        Decoder { name: "overlay-upper", decode: upper, seal: unsealed, memory: 2 * LITTLE },
    ]
}

fn stat_cache(bytes: &[u8]) -> Decoded {
    let dir = dir_of(&[("stat", bytes)]);
    let known = KnownFiles::load(&dir.path().join("stat"));
    read_if(known.len() > 0)
}

/// The bytes are a program that fills an upper directory: two bytes a step, what and where.
fn upper(bytes: &[u8]) -> Decoded {
    let dir = dir_of(&[("upper/f0", b"new")]);
    let upper = dir.path().join("upper");
    for step in bytes.chunks_exact(2).take(STEPS) {
        // What cannot be made is not there.
        let _ = make(&upper, step[0], step[1]);
    }
    let keg = Keg::in_memory();
    let Ok(base) = base(&keg) else { return Decoded::Refused };
    let entry = base.kid().ok_or(()).and_then(|base| {
        let options = IngestOptions::default();
        ingest_overlay_upper(keg.objects(), &base, &upper, &options).map_err(drop)
    });
    let Ok(entry) = entry else { return Decoded::Refused };
    let whole = entry.kid().is_some_and(|kid| keg.objects().tree(&kid).is_ok());
    assert!(whole, "what was ingested is a tree");
    Decoded::Read
}

/// A tree with files and directories of the names that a program uses.
fn base(keg: &Keg) -> Result<Entry, crate::store::StoreError> {
    let objects = keg.objects();
    let mut below = Tree::default();
    for n in 0..3 {
        let name = EntryName::new(format!("f{n}")).expect("a short name is one");
        below.entries.insert(name, objects.put_bytes(format!("{n}").as_bytes())?);
    }
    let mut top = below.clone();
    for n in 0..2 {
        let name = EntryName::new(format!("d{n}")).expect("a short name is one");
        top.entries.insert(name, objects.put_tree(&below)?);
    }
    objects.put_tree(&top)
}

/// One step: a name in the directory or in one of its own, made into something.
fn make(upper: &Path, what: u8, at: u8) -> std::io::Result<()> {
    let dir = upper.join(["", "d0", "d1", "f1", "d0/d0"][usize::from(at >> 4) % 5]);
    fs::create_dir_all(&dir)?;
    let path = dir.join(["f0", "f1", "f2", "d0", "d1", "x"][usize::from(at & 15) % 6]);
    let node = |kind, device| rustix::fs::mknodat(CWD, &path, kind, Mode::RUSR, device);
    let set =
        |name: &str, value: &[u8]| rustix::fs::lsetxattr(&path, name, value, XattrFlags::empty());
    let overlay = if what & 0x80 == 0 { "trusted" } else { "user" };
    match what & 15 {
        // Never an existing one: to write to a pipe would wait for a reader.
        0 => fs::File::create_new(&path)?.write_all(&[what; 40])?,
        1 => fs::create_dir(&path)?,
        2 => node(FileType::CharacterDevice, 0)?,
        3 => node(FileType::Fifo, 0)?,
        4 => std::os::unix::fs::symlink("f1", &path)?,
        5 => set(&format!("{overlay}.overlay.opaque"), b"y")?,
        6 => set(&format!("{overlay}.overlay.opaque"), b"x")?,
        7 => set(&format!("{overlay}.overlay.redirect"), b"f2")?,
        8 => set(&format!("{overlay}.overlay.redirect"), b"/d1/f1")?,
        9 => set(&format!("{overlay}.overlay.redirect"), b"../../d1")?,
        10 => set(&format!("{overlay}.overlay.metacopy"), b"")?,
        11 => set(&format!("{overlay}.overlay.metacopy"), &[0, 36, 0, 1, at, what])?,
        12 => set(&format!("{overlay}.overlay.whiteout"), b"y")?,
        13 => fs::hard_link(upper.join("f0"), &path)?,
        14 => fs::File::create_new(&path)?.set_len(1 << (what >> 4))?,
        _ => set("user.note", &[at; 20])?,
    }
    Ok(())
}
