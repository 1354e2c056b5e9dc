//! Layers against other programs' idea of a tar, and against the trees they are made from.

use std::{
    collections::HashMap,
    ffi::OsString,
    os::unix::{
        ffi::OsStringExt as _,
        fs::{FileTypeExt as _, MetadataExt as _, PermissionsExt as _},
    },
    path::{Path, PathBuf},
};

use keg::{
    Keg, Kid,
    ingest::{IngestOptions, ingest},
    object::{Entry, Value},
};

use crate::{
    fixture::{file, odd_layer, release, tree},
    run,
    world::World,
};

/// GNU tar unpacks what the tree says: names, contents, owners, modes, times, links, devices,
/// extended attributes.
pub async fn tar_unpacks_to_the_same_tree() {
    let world = World::new().await;
    let layer = odd_layer(&world.keg);
    release(&world.keg, "odd", std::slice::from_ref(&layer), "one");
    let out = world.scratch().join("out");
    let archive = pull(&world, "odd", &out).await;
    let listed = run("tar", &["--numeric-owner", "-tvf", &archive.to_string_lossy()]).await;
    for wanted in [
        "-rwsr-xr-x 0/0",
        "1000/3000000",
        "hard-b link to hard-a",
        "crw-rw-rw-",
        "brw-rw----",
        "prw-r--r--",
    ] {
        assert!(listed.contains(wanted), "{wanted}: {listed}");
    }
    let compared = compare(&world.keg, &layer.kid().expect("a tree"), &out, &mut HashMap::new());
    assert!(compared >= 25, "only {compared} entries were compared");
    // What is read back into the Keg comes out as the same value again.
    let read = |dir: &Path| ingest(world.keg.objects(), dir, &IngestOptions::default());
    let once = read(&out).expect("ingested");
    release(&world.keg, "odd", std::slice::from_ref(&once), "two");
    let again = world.scratch().join("again");
    pull(&world, "odd", &again).await;
    assert_eq!(read(&again).expect("ingested").kid(), once.kid());
}

/// Fetches the newest release's lowest layer and unpacks it into a new directory; gives the tar.
async fn pull(world: &World, app: &str, out: &Path) -> PathBuf {
    let (manifest, _) = world.manifest(app, "latest").await;
    let digest = manifest["layers"][0]["digest"].as_str().expect("a digest");
    let answer = world.get(&format!("/v2/{app}/blobs/{digest}")).await;
    assert_eq!(manifest["layers"][0]["size"], answer.body.len());
    let archive = out.with_extension("tar");
    std::fs::write(&archive, &answer.body).expect("written");
    std::fs::create_dir(out).expect("made");
    let (tar, target) = (archive.to_string_lossy(), out.to_string_lossy());
    let options = ["--numeric-owner", "--same-owner", "--xattrs", "--xattrs-include=*", "-xpf"];
    let args: Vec<&str> = options.into_iter().chain([&*tar, "-C", &*target]).collect();
    run("tar", &args).await;
    archive
}

/// Compares a directory with a tree; says how many entries there were.
fn compare(keg: &Keg, kid: &Kid, dir: &Path, links: &mut HashMap<u64, u64>) -> usize {
    let tree = keg.objects().tree(kid).expect("a tree");
    let mut found: Vec<OsString> = std::fs::read_dir(dir)
        .expect("a directory")
        .map(|e| e.expect("an entry").file_name())
        .collect();
    found.sort();
    let names: Vec<OsString> =
        tree.entries.keys().map(|name| OsString::from_vec(name.as_bytes().to_vec())).collect();
    assert_eq!(found, names, "{}", dir.display());
    let mut count = 0;
    for (name, entry) in names.iter().zip(tree.entries.values()) {
        let path = dir.join(name);
        same(keg, entry, &path, links);
        count += 1;
        if let Value::Tree { kid, .. } = &entry.value {
            count += compare(keg, kid, &path, links);
        }
    }
    count
}

fn same(keg: &Keg, entry: &Entry, path: &PathBuf, links: &mut HashMap<u64, u64>) {
    let shown = path.display();
    let meta = path.symlink_metadata().expect("it is there");
    let attrs = &entry.attrs;
    let device = |major: u32, minor: u32| u64::from(major) << 8 | u64::from(minor);
    match &entry.value {
        Value::File { kid, .. } => {
            assert_eq!(
                std::fs::read(path).expect("read"),
                keg.objects().blob(kid).expect("read"),
                "{shown}"
            );
        }
        Value::Symlink { target } => {
            let found = std::fs::read_link(path).expect("a link").into_os_string().into_vec();
            assert_eq!(&found, target, "{shown}");
            return;
        }
        Value::Device { block, major, minor } => {
            let kind = meta.file_type();
            assert_eq!(
                (kind.is_block_device(), meta.rdev()),
                (*block, device(*major, *minor)),
                "{shown}"
            );
        }
        Value::Fifo => assert!(meta.file_type().is_fifo(), "{shown}"),
        _ => assert!(meta.is_dir(), "{shown}"),
    }
    assert_eq!(meta.permissions().mode() & 0o7777, attrs.mode, "{shown}");
    assert_eq!((meta.uid(), meta.gid()), (attrs.uid, attrs.gid), "{shown}");
    let time = (meta.mtime(), meta.mtime_nsec());
    assert_eq!(time, (attrs.mtime, i64::from(attrs.mtime_nsec)), "{shown}");
    for (name, value) in &attrs.xattrs {
        let mut bytes = vec![0; 256];
        let name = std::str::from_utf8(name).expect("plain");
        let len = rustix::fs::lgetxattr(path, name, &mut bytes[..]).expect("it is there");
        assert_eq!(&bytes[..len], value, "{shown} {name}");
    }
    if attrs.link_group != 0 {
        let first = *links.entry(attrs.link_group).or_insert_with(|| meta.ino());
        assert_eq!(meta.ino(), first, "{shown} is one file with another name");
    }
}

/// Every range of a layer is the same bytes as that part of the whole.
pub async fn ranges_are_parts_of_the_whole() {
    let world = World::new().await;
    release(&world.keg, "odd", &[odd_layer(&world.keg)], "one");
    let (manifest, _) = world.manifest("odd", "latest").await;
    let digest = manifest["layers"][0]["digest"].as_str().expect("a digest");
    let url = format!("/v2/odd/blobs/{digest}");
    let whole = world.get(&url).await;
    let len = whole.body.len();
    assert_eq!(whole.header("accept-ranges"), "bytes");
    let mut seed = 1_u64;
    for case in 0..60 {
        seed = seed.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        let from = (seed >> 20) as usize % len;
        let to =
            (from + (seed >> 40) as usize % if case % 3 == 0 { 700 } else { 600_000 }).min(len - 1);
        let range = format!("bytes={from}-{to}");
        let part = world.send(hyper::Method::GET, &url, &[("range", &range)]).await;
        assert_eq!(part.status, 206, "{range}");
        assert_eq!(part.header("content-range"), format!("bytes {from}-{to}/{len}"));
        assert!(part.body == whole.body[from..=to], "{range}");
    }
    let tail = world.send(hyper::Method::GET, &url, &[("range", "bytes=-1024")]).await;
    assert!(tail.body == [0; 1024], "a tar ends in two zero blocks");
    let past = format!("bytes={len}-");
    for range in [past.as_str(), "bytes=500-0", "bytes=-0"] {
        let refused = world.send(hyper::Method::GET, &url, &[("range", range)]).await;
        assert_eq!(refused.status, 416, "{range}");
        assert_eq!(refused.header("content-range"), format!("bytes */{len}"));
    }
    let stale = [("range", "bytes=0-9"), ("if-range", "\"sha256:00\"")];
    assert_eq!(world.send(hyper::Method::GET, &url, &stale).await.status, 200);
}

/// A damaged or missing file breaks the transfer off: no client takes it for whole.
pub async fn damage_is_never_served_as_whole() {
    let world = World::new().await;
    let bytes = crate::fixture::noise(700_000, 99);
    let entry = file(&world.keg, &bytes);
    let layer = tree(&world.keg, vec![(b"a", file(&world.keg, b"fine")), (b"data", entry.clone())]);
    release(&world.keg, "hurt", &[layer], "one");
    let (manifest, _) = world.manifest("hurt", "latest").await;
    let digest = manifest["layers"][0]["digest"].as_str().expect("a digest");
    let url = format!("/v2/hurt/blobs/{digest}");
    assert!(world.get(&url).await.whole);
    let object = find(&world.keg.home().join("objects"), &entry.kid().expect("a file").to_hex());
    let object = object.expect("large blobs are files of their own");
    let mut damaged = bytes.clone();
    damaged[350_000] ^= 1;
    std::fs::remove_file(&object).expect("removed");
    std::fs::write(&object, &damaged).expect("written");
    let answer = world.restart().await.get(&url).await;
    assert!(!answer.whole, "a flipped bit: {} bytes came", answer.body.len());
    std::fs::remove_file(&object).expect("removed");
    let answer = world.restart().await.get(&url).await;
    assert!(answer.status.is_server_error() || !answer.whole, "{}", answer.status);
}

/// The object's file, whatever the layout of the directory.
fn find(dir: &Path, hex: &str) -> Option<PathBuf> {
    for entry in std::fs::read_dir(dir).ok()?.flatten() {
        let path = entry.path();
        if path.is_dir() {
            if let Some(found) = find(&path, hex) {
                return Some(found);
            }
        } else {
            let joined = path.to_string_lossy().replace('/', "");
            if joined.ends_with(hex) {
                return Some(path);
            }
        }
    }
    None
}
