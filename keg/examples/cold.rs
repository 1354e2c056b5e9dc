//! Measures the cold side: packing a tree and its second version, bringing it back, and a thousand
//! near-copies of it, packed.
//!
//! `cargo run --release -p keg --example cold -- WORK-DIR SOURCE-DIR… [COUNT]`. The second version
//! changes 12 bytes in each hundredth file and 8 bytes in the middle of 100 MiB of noise.

use std::{
    fs,
    os::unix::fs::MetadataExt,
    path::Path,
    time::{Duration, Instant},
};

use keg::{
    Keg, Kid, NamePath, Txn,
    ingest::{IngestOptions, ingest},
    object::{Entry, EntryName, Tree, Value},
    pack::{PackOptions, Which, list, pack, rehydrate},
    store::Objects,
    testing::noise,
    union::{Edit, edit},
};

type Result<T> = std::result::Result<T, Box<dyn std::error::Error>>;

/// One file of so many changes.
const ONE_OF: usize = 100;
const NOISE: &str = "noise.bin";

fn main() -> Result<()> {
    let mut args: Vec<String> = std::env::args().skip(1).collect();
    let count = args.last().and_then(|last| last.parse().ok());
    if count.is_some() {
        args.pop();
    }
    let [work, sources @ ..] = args.as_slice() else {
        return Err("usage: cold WORK-DIR SOURCE-DIR… [COUNT]".into());
    };
    let home = Path::new(work).join("home");
    let keg = Keg::open_or_create(&home)?;
    let first = take(&keg, sources)?;
    packed(&keg, "version 1")?;
    let second = change(&keg, &first)?;
    packed(&keg, "version 2")?;
    println!("both versions: {:.1} MB in packs", bytes_of_packs(&keg)? as f64 / 1e6);
    bring_back(&keg, &second)?;
    copies(&keg, &first, count.unwrap_or(1000))
}

fn take(keg: &Keg, sources: &[String]) -> Result<Kid> {
    let objects = keg.objects();
    let mut tree = Tree::default();
    for source in sources {
        let name = source.trim_matches('/').replace('/', "-");
        let entry = ingest(objects, Path::new(source), &IngestOptions::default())?;
        tree.entries.insert(EntryName::new(name)?, entry);
    }
    let entry = objects.put_bytes(&noise(1, 100 << 20))?;
    tree.entries.insert(EntryName::new(NOISE)?, entry);
    let entry = objects.put_tree(&tree)?;
    let Value::Tree { kid, bytes, entries } = entry.value else { unreachable!("a tree") };
    println!("the tree: {entries} entries, {:.0} MB", bytes as f64 / 1e6);
    set(keg, "/tree", entry)?;
    Ok(kid)
}

fn set(keg: &Keg, name: &str, entry: Entry) -> Result<()> {
    let name: NamePath = name.parse()?;
    keg.commit(Txn::new("cold", "measured").set(name, entry))?;
    Ok(())
}

/// Packs all there is and says what it took.
fn packed(keg: &Keg, what: &str) -> Result<()> {
    let options = PackOptions { which: Which::All, ..PackOptions::default() };
    let (started, before) = (Instant::now(), cpu());
    let report = pack(keg, &options, &mut |_| {})?;
    println!(
        "packing {what}: {} objects, {:.1} MB into {:.3} MB, {:.1} s, {:.1} s of a core; {:?}",
        report.objects,
        report.bytes as f64 / 1e6,
        report.packed_bytes as f64 / 1e6,
        started.elapsed().as_secs_f64(),
        (cpu() - before).as_secs_f64(),
        report.counts,
    );
    Ok(())
}

fn change(keg: &Keg, first: &Kid) -> Result<Kid> {
    let objects = keg.objects();
    let mut files = Vec::new();
    find(objects, first, String::new(), &mut files)?;
    let mut edits = Vec::new();
    for (path, kid) in files.iter().filter(|(path, _)| path != NOISE).step_by(ONE_OF) {
        let mut bytes = objects.blob(kid)?;
        let at = bytes.len() / 2;
        bytes.iter_mut().skip(at).take(12).for_each(|byte| *byte ^= 0x55);
        edits.push((path.clone(), Edit::Set(objects.put_bytes(&bytes)?)));
    }
    let mut large = noise(1, 100 << 20);
    large[50 << 20..].iter_mut().take(8).for_each(|byte| *byte ^= 0x55);
    edits.push((NOISE.to_owned(), Edit::Set(objects.put_bytes(&large)?)));
    let count = edits.len();
    let entry = edit(objects, first, edits.iter().map(|(path, e)| (path.as_str(), e.clone())))?;
    println!("version 2 changes {count} of {} files", files.len());
    set(keg, "/tree", entry.clone())?;
    entry.kid().ok_or_else(|| "a tree".into())
}

fn bring_back(keg: &Keg, tree: &Kid) -> Result<()> {
    let (started, before) = (Instant::now(), cpu());
    let done = rehydrate(keg, tree, &mut |_| {})?;
    let (wall, core) = (started.elapsed().as_secs_f64(), (cpu() - before).as_secs_f64());
    let gigabytes = done.bytes as f64 / 1e9;
    println!(
        "bringing back {} objects, {gigabytes:.2} GB: {:.2} GB/s of a core, {:.2} GB/s in all",
        done.objects,
        gigabytes / core,
        gigabytes / wall,
    );
    Ok(())
}

/// Each copy changes one file, and is a name of its own.
fn copies(keg: &Keg, base: &Kid, count: usize) -> Result<()> {
    let objects = keg.objects();
    let mut files = Vec::new();
    find(objects, base, String::new(), &mut files)?;
    let before = disk(&keg.home().join("log"))? + bytes_of_packs(keg)?;
    for number in 0..count {
        let path = &files[number * 7919 % files.len()].0;
        let changed = objects.put_bytes(format!("the change of copy {number}\n").as_bytes())?;
        let copy = edit(objects, base, [(path.as_str(), Edit::Set(changed))])?;
        set(keg, &format!("/copies/{number:04}"), copy)?;
    }
    let grown = |keg: &Keg| -> Result<f64> {
        let now = disk(&keg.home().join("log"))? + bytes_of_packs(keg)?;
        Ok((now as f64 - before as f64) / 1e6)
    };
    println!("{count} near-copies: {:.2} MB in the log", grown(keg)?);
    packed(keg, "the copies")?;
    println!("{count} near-copies, packed: {:.2} MB over the base", grown(keg)?);
    Ok(())
}

fn find(
    objects: &dyn Objects,
    tree: &Kid,
    above: String,
    found: &mut Vec<(String, Kid)>,
) -> Result<()> {
    for (name, entry) in objects.tree(tree)?.entries {
        let Ok(name) = std::str::from_utf8(name.as_bytes()) else { continue };
        let path = if above.is_empty() { name.to_owned() } else { format!("{above}/{name}") };
        match &entry.value {
            Value::Tree { kid, .. } => find(objects, kid, path, found)?,
            Value::File { kid, .. } if entry.attrs.link_group == 0 => found.push((path, *kid)),
            _ => {}
        }
    }
    Ok(())
}

fn bytes_of_packs(keg: &Keg) -> Result<u64> {
    Ok(list(keg)?.iter().map(|pack| pack.bytes).sum())
}

fn disk(dir: &Path) -> Result<u64> {
    let mut total = 0;
    for entry in fs::read_dir(dir)? {
        total += entry?.metadata()?.blocks() * 512;
    }
    Ok(total)
}

/// Time that this process has had a core.
fn cpu() -> Duration {
    let stat = fs::read_to_string("/proc/self/schedstat").unwrap_or_default();
    let first = stat.split(' ').next().and_then(|number| number.parse().ok());
    Duration::from_nanos(first.unwrap_or(0))
}
