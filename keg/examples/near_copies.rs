//! Measures many near-copies of a tree, mounted at once: disk, time and kernel memory of each.
//!
//! `cargo run --release -p keg --example near_copies -- WORK-DIR SOURCE-DIR… [COUNT]`, as root. It
//! works in a mount namespace of its own, so nothing stays mounted.

use std::{
    fs,
    os::unix::fs::MetadataExt,
    path::Path,
    time::{Duration, Instant},
};

use keg::{
    Keg, Kid,
    ingest::{IngestOptions, ingest},
    mount::Mounts,
    object::{EntryName, Tree, Value},
    store::Objects,
    union::{Edit, edit},
};
use rustix::{
    mount::{MountPropagationFlags, mount_change},
    thread::{UnshareFlags, unshare_unsafe},
};

type Result<T> = std::result::Result<T, Box<dyn std::error::Error>>;

fn main() -> Result<()> {
    let mut args: Vec<String> = std::env::args().skip(1).collect();
    let count = args.last().and_then(|last| last.parse().ok());
    if count.is_some() {
        args.pop();
    }
    let [work, sources @ ..] = args.as_slice() else {
        return Err("usage: near_copies WORK-DIR SOURCE-DIR… [COUNT]".into());
    };
    own_namespace()?;
    measure(Path::new(work), sources, count.unwrap_or(1000))
}

fn own_namespace() -> Result<()> {
    // SAFETY: this process has one thread.
    unsafe { unshare_unsafe(UnshareFlags::NEWNS)? };
    let flags = MountPropagationFlags::PRIVATE | MountPropagationFlags::REC;
    Ok(mount_change("/", flags)?)
}

fn measure(work: &Path, sources: &[String], count: usize) -> Result<()> {
    let keg = Keg::open_or_create(&work.join("home"))?;
    let objects = keg.objects();
    let mut tree = Tree::default();
    let options = IngestOptions::default();
    for source in sources {
        let name = source.trim_matches('/').replace('/', "-");
        tree.entries.insert(EntryName::new(name)?, ingest(objects, Path::new(source), &options)?);
    }
    let entry = objects.put_tree(&tree)?;
    let Value::Tree { kid: base, bytes, entries } = entry.value else { unreachable!("a tree") };
    println!("base: {entries} entries, {} MB", bytes / 1_000_000);
    let mut files = Vec::new();
    list(objects, &base, String::new(), &mut files)?;
    let mounts = Mounts::new(&keg);
    for number in 0..count {
        fs::create_dir_all(work.join(format!("make/{number}")))?;
        fs::create_dir_all(work.join(format!("copy/{number}")))?;
    }
    fs::create_dir_all(work.join("base"))?;
    let begun = Instant::now();
    mounts.read_only(&base, &work.join("base"))?;
    let mounts = mounts.like(&base);
    println!("base image made and mounted: {:?}", begun.elapsed());

    let before = disk(&work.join("home"))?;
    let images = disk(&work.join("home/img"))?;
    let mut copies = Vec::new();
    for number in 0..count {
        let path = &files[number * 7919 % files.len()];
        let changed = objects.put_bytes(format!("the change of copy {number}\n").as_bytes())?;
        let copy = edit(objects, &base, [(path.as_str(), Edit::Set(changed))])?;
        copies.push(copy.kid().ok_or("a tree")?);
    }
    objects.sync()?;
    let stored = disk(&work.join("home"))?;
    println!("objects of {count} copies: {} KB", (stored - before) / 1000);

    let made = each(&copies, |number, tree| {
        Ok(mounts.read_only(tree, &work.join(format!("make/{number}")))?)
    })?;
    println!("image making and mounting, {}", percentiles(made));
    println!("images of {count} copies: {} KB", (disk(&work.join("home/img"))? - images) / 1000);
    for number in 0..count {
        keg::mount::unmount(&work.join(format!("make/{number}")))?;
    }

    let kernel = kernel_memory()?;
    let mounted = each(&copies, |number, tree| {
        Ok(mounts.read_only(tree, &work.join(format!("copy/{number}")))?)
    })?;
    println!("mounting, {}", percentiles(mounted));
    let idle = kernel_memory()?.saturating_sub(kernel);
    println!("kernel memory: {:.1} KB each, idle", idle as f64 / 1e3 / count as f64);
    let looked = each(&copies, |number, _| {
        let path = work.join(format!("copy/{number}")).join(&files[number * 7919 % files.len()]);
        let text = fs::read_to_string(path)?;
        assert_eq!(text, format!("the change of copy {number}\n"));
        Ok(())
    })?;
    println!("reading the changed file, {}", percentiles(looked));
    let used = kernel_memory()?.saturating_sub(kernel);
    println!("kernel memory: {:.1} KB each after that", used as f64 / 1e3 / count as f64);
    Ok(())
}

fn each(trees: &[Kid], mut f: impl FnMut(usize, &Kid) -> Result<()>) -> Result<Vec<Duration>> {
    let mut times = Vec::with_capacity(trees.len());
    for (number, tree) in trees.iter().enumerate() {
        let begun = Instant::now();
        f(number, tree)?;
        times.push(begun.elapsed());
    }
    Ok(times)
}

fn percentiles(mut times: Vec<Duration>) -> String {
    times.sort_unstable();
    let at = |percent: usize| times[(times.len() * percent / 100).min(times.len() - 1)];
    format!("p50 {:?}, p99 {:?}", at(50), at(99))
}

/// Paths of the files of a tree.
fn list(objects: &dyn Objects, tree: &Kid, base: String, found: &mut Vec<String>) -> Result<()> {
    for (name, entry) in objects.tree(tree)?.entries {
        let Ok(name) = std::str::from_utf8(name.as_bytes()) else { continue };
        let path = if base.is_empty() { name.to_owned() } else { format!("{base}/{name}") };
        match &entry.value {
            Value::Tree { kid, .. } => list(objects, kid, path, found)?,
            Value::File { .. } if entry.attrs.link_group == 0 => found.push(path),
            _ => {}
        }
    }
    Ok(())
}

/// Bytes on disk of a directory.
fn disk(dir: &Path) -> Result<u64> {
    let mut total = fs::metadata(dir)?.blocks() * 512;
    for entry in fs::read_dir(dir)? {
        let entry = entry?;
        let meta = entry.metadata()?;
        total += if meta.is_dir() { disk(&entry.path())? } else { meta.blocks() * 512 };
    }
    Ok(total)
}

/// Bytes of kernel memory: slabs, page tables, per-processor areas, stacks, `vmalloc`.
fn kernel_memory() -> Result<u64> {
    let text = fs::read_to_string("/proc/meminfo")?;
    let fields = ["Slab:", "Percpu:", "KernelStack:", "PageTables:", "VmallocUsed:"];
    let value = |line: &str| {
        let (name, rest) = line.split_once(' ')?;
        let kilobytes: u64 = rest.trim().trim_end_matches(" kB").parse().ok()?;
        fields.contains(&name).then_some(kilobytes * 1024)
    };
    Ok(text.lines().filter_map(value).sum())
}
