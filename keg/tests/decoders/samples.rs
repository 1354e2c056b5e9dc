//! Real encodings for the corpus: the files of a Keg that was used, and the messages of a pull and
//! a push.

use std::{
    fs,
    io::{Cursor, Read},
    path::Path,
};

use keg::{
    Keg, Kid, NamePath, Txn,
    gc::{self, Lease},
    ingest::{IngestOptions, KnownFiles, ingest},
    mount::{Live, Mounts, WorkingCopy},
    object::{Attrs, Entry, EntryName, Tree},
    pack::{PackOptions, Which, pack},
    sync::{self, Body, Limits, Transport, Verb},
    testing::{commit_of, noise},
};
use serde_json::json;

use super::answer::answer;

fn path(text: &str) -> NamePath {
    text.parse().expect(text)
}

fn name(text: &str) -> EntryName {
    EntryName::new(text).unwrap()
}

/// Adds an encoding to a decoder's corpus, unless it is there or too long.
fn keep(decoder: &str, what: &str, bytes: &[u8]) {
    let dir = super::corpus_of(decoder);
    fs::create_dir_all(&dir).unwrap();
    if bytes.len() <= super::MAX_INPUT {
        fs::write(dir.join(what), bytes).unwrap();
    }
}

/// Makes all of them anew.
pub fn write() {
    let dir = tempfile::tempdir().unwrap();
    let keg = Keg::create(&dir.path().join("keg")).unwrap();
    objects(&keg);
    packs(&keg);
    collections(&keg, dir.path());
    log(keg.home());
    mounts(&keg, dir.path());
    messages(dir.path());
    texts();
}

/// A tree with an entry of each kind.
fn full_tree(keg: &Keg) -> Tree {
    let mut tree = Tree::default();
    let file = keg.objects().put_bytes(b"a file").unwrap();
    let below = keg.objects().put_tree(&tree).unwrap();
    let commit = commit_of(below.kid().unwrap(), vec![], "first");
    let commit = keg.objects().put_commit(&commit).unwrap();
    let mut linked = file.clone();
    linked.attrs = Attrs { mode: 0o4755, uid: 7, mtime: -5, link_group: 3, ..linked.attrs };
    linked.attrs.xattrs.push((b"user.note".to_vec(), b"value".to_vec()));
    let entries =
        [("file", file), ("linked", linked), ("dir", below), ("at", Entry::commit(commit))];
    tree.entries.extend(entries.map(|(text, entry)| (name(text), entry)));
    tree.entries.insert(name("link"), Entry::symlink("../elsewhere"));
    tree
}

fn objects(keg: &Keg) {
    let tree = full_tree(keg);
    keep("tree", "full", &tree.encode().unwrap());
    keep("tree", "empty", &Tree::default().encode().unwrap());
    let golden = include_str!("../golden/shards.txt");
    let split = golden.lines().find(|line| line.starts_with("02")).unwrap();
    let digit = |at: usize| u8::from_str_radix(&split[at..at + 2], 16).unwrap();
    let split: Vec<u8> = (0..split.len()).step_by(2).map(digit).collect();
    keep("tree", "split", &split);
    let entry = keg.objects().put_tree(&tree).unwrap();
    keg.commit(Txn::new("t", "m").set(path("/full"), entry.clone())).unwrap();
    let parents = vec![Kid::of_blob(b"one"), Kid::of_blob(b"two")];
    let mut commit = commit_of(entry.kid().unwrap(), parents, "merge\nlines");
    keep("commit", "merge", &commit.encode().unwrap());
    commit.extra.insert("why".to_owned(), json!({"a": [1, 2.5, null], "b": "\u{1f511}"}));
    keep("commit", "extra", &commit.encode().unwrap());
}

fn log(home: &Path) {
    let segments = fs::read_dir(home.join("log")).unwrap();
    for file in segments.map(|entry| entry.unwrap().path()) {
        let bytes = fs::read(&file).unwrap();
        let what = file.file_stem().unwrap().to_str().unwrap();
        match file.extension().and_then(|kind| kind.to_str()) {
            Some("seg") => {
                keep("log-segment", what, &bytes[..bytes.len().min(super::MAX_INPUT)]);
                keep("log-record", what, &bytes[8..8 + 53]);
                let rest = &bytes[8 + 53..];
                keep("log-record", &format!("{what}-2"), &rest[..rest.len().min(2000)]);
            }
            Some("idx") => keep("log-index", what, &bytes),
            _ if what == "HEAD" => keep("log-head", "used", &bytes),
            _ => {}
        }
    }
    keep("log-head", "new", &[0; 16]);
    keep("format", "used", &fs::read(home.join("format.json")).unwrap());
}

fn packs(keg: &Keg) {
    let mut bytes = [noise(1, 5000), b"all work and no play\n".repeat(300)];
    for version in 0..3u8 {
        let mut tree = Tree::default();
        for (n, bytes) in bytes.iter_mut().enumerate() {
            bytes[3000] = version;
            tree.entries.insert(name(&format!("f{n}")), keg.objects().put_bytes(bytes).unwrap());
        }
        let entry = keg.objects().put_tree(&tree).unwrap();
        keg.commit(Txn::new("t", "m").set(path("/app"), entry)).unwrap();
    }
    let options = PackOptions { which: Which::All, ..PackOptions::default() };
    pack(keg, &options, &mut |_| {}).unwrap();
    for entry in fs::read_dir(keg.home().join("packs")).unwrap() {
        let file = entry.unwrap().path();
        let bytes = fs::read(&file).unwrap();
        match file.extension().and_then(|kind| kind.to_str()) {
            Some("idx") => keep("pack-index", "used", &in_order(bytes)),
            Some("pack") => {
                keep("pack-data", "used", &bytes);
                let end = bytes.len() - 48;
                let long = |at: usize| u64::from_le_bytes(bytes[at..at + 8].try_into().unwrap());
                let (table, names) = (long(end) as usize, long(end + 8) as usize);
                keep("pack-recipe", "all", &bytes[table + names * 32..end]);
                let mut at = 8;
                while at < table {
                    let stored = u32::from_le_bytes(bytes[at..at + 4].try_into().unwrap());
                    let end = at + 16 + stored as usize;
                    keep("pack-block", &at.to_string(), &bytes[at..end]);
                    at = end;
                }
            }
            _ => {}
        }
    }
}

/// An index with the numbers of the list that its decoder has.
fn in_order(mut index: Vec<u8>) -> Vec<u8> {
    let end = index.len() - 32;
    for (number, row) in index[56..end].chunks_mut(4).enumerate() {
        row[..2].copy_from_slice(&(number as u16).to_le_bytes());
    }
    let sum = blake3::hash(&index[..end]);
    index[end..].copy_from_slice(sum.as_bytes());
    index
}

fn collections(keg: &Keg, dir: &Path) {
    let policy = json!({"keep": "2 versions", "grace": "2 hours", "trash": "1 day",
        "paths": {"/app": "30 days", "/full": "all", "/x": "3 versions or 2 weeks"}});
    keep("policy", "full", policy.to_string().as_bytes());
    keg.commit(Txn::new("t", "m").set_json(path("/-/gc.json"), policy)).unwrap();
    let options = gc::Options { seal_from: 0, waste_percent: 0, ..gc::Options::default() };
    let held = keg.objects().put_bytes(b"held").unwrap().kid().unwrap();
    keg.objects().sync().unwrap();
    let lease = Lease::until(keg, "an hour", u64::MAX / 2, &[held]).unwrap();
    keep("lease", "until", &fs::read(lease).unwrap());
    let _held = Lease::hold(keg, "a pull", &[]).unwrap();
    for entry in fs::read_dir(keg.home().join("leases")).unwrap() {
        let bytes = fs::read(entry.unwrap().path()).unwrap();
        if bytes.windows(4).any(|part| part == b"null") {
            keep("lease", "held", &bytes);
        }
    }
    for n in 0..4 {
        keg.objects().put_bytes(format!("garbage {n}").as_bytes()).unwrap();
        keg.commit(Txn::new("t", "m").set_json(path("/n"), json!(n))).unwrap();
    }
    gc::collect(keg, &options, &mut |_| {}).unwrap();
    keep("floors", "used", &fs::read(keg.home().join("gc/history.json")).unwrap());
    keep("condemned", "used", &fs::read(keg.home().join("gc/condemned")).unwrap());
    let files = dir.join("files");
    fs::create_dir(&files).unwrap();
    (0..3).for_each(|n| fs::write(files.join(n.to_string()), [n; 10]).unwrap());
    // Remembered only when they have been left alone for longer than a clock's grain.
    for n in 0..3 {
        let long_ago = std::time::SystemTime::UNIX_EPOCH;
        fs::File::open(files.join(n.to_string())).unwrap().set_modified(long_ago).unwrap();
    }
    std::thread::sleep(std::time::Duration::from_millis(50));
    let known = KnownFiles::default();
    let options = IngestOptions { known: Some(&known), ..IngestOptions::default() };
    ingest(keg.objects(), &files, &options).unwrap();
    known.save(&dir.join("stat")).unwrap();
    keep("stat-cache", "three", &fs::read(dir.join("stat")).unwrap());
}

/// Needs root, and a kernel with EROFS and overlayfs.
fn mounts(keg: &Keg, dir: &Path) {
    let (mounts, target, live) = (Mounts::new(keg), dir.join("target"), dir.join("live"));
    [&target, &live].into_iter().for_each(|dir| fs::create_dir(dir).unwrap());
    let copy = WorkingCopy::mount(&mounts, &path("/full"), &target).unwrap();
    let shown = Live::new(&mounts, &path("/app"), &live).unwrap();
    for (decoder, dir) in [("working-copy", "work"), ("live-mount", "run/live"), ("img", "img")] {
        for entry in fs::read_dir(keg.home().join(dir)).unwrap() {
            let file = entry.unwrap().path();
            let kind = file.extension().and_then(|kind| kind.to_str());
            let (decoder, file) = match (decoder, kind) {
                ("img", Some("erofs")) => ("image-header", file),
                ("img", None) => ("image-bases", file),
                ("img", _) => continue,
                ("working-copy", _) => (decoder, file.join("copy.json")),
                _ => (decoder, file),
            };
            if let Ok(bytes) = fs::read(&file) {
                keep(decoder, "used", &bytes);
            }
        }
    }
    drop(shown);
    copy.discard().unwrap();
}

/// Keeps what goes to and fro.
struct Recording {
    keg: Keg,
    asked: Vec<(Verb, Vec<u8>)>,
    answered: Vec<Vec<u8>>,
}

impl Transport for Recording {
    fn name(&self) -> &str {
        "scripted"
    }

    fn exchange<'a>(
        &'a mut self,
        verb: Verb,
        request: Body<'_>,
    ) -> std::io::Result<Box<dyn Read + 'a>> {
        let (asked, answer, served) = answer(&self.keg, verb, request)?;
        served.unwrap();
        self.asked.push((verb, asked));
        self.answered.push(answer.clone());
        Ok(Box::new(Cursor::new(answer)))
    }
}

fn messages(dir: &Path) {
    let keg = |name: &str| Keg::create(&dir.join(name)).unwrap();
    let (here, there, other) = (keg("here"), keg("there"), keg("other"));
    let mut way = Recording { keg: there.clone(), asked: Vec::new(), answered: Vec::new() };
    let (author, limits) = ("Test".to_owned(), Limits::default());
    let mut options = sync::Options { author, force: false, limits, progress: &mut |_| {} };
    let at = path("/x");
    let mut parents = Vec::new();
    for version in 0..2u8 {
        let mut tree = full_tree(&there);
        for (n, size) in [100, 3000].into_iter().enumerate() {
            let mut bytes = noise(n as u64, size);
            bytes[50] = version;
            let entry = there.objects().put_bytes(&bytes).unwrap();
            tree.entries.insert(name(&format!("f{n}")), entry);
        }
        let tree = there.objects().put_tree(&tree).unwrap().kid().unwrap();
        let commit = commit_of(tree, std::mem::take(&mut parents), "m");
        parents = vec![there.objects().put_commit(&commit).unwrap()];
        there.commit(Txn::new("t", "m").set(at.clone(), Entry::commit(parents[0]))).unwrap();
        sync::pull(&here, &mut way, &at, &at, &mut options).unwrap();
    }
    let memos = fs::read_dir(here.run_dir().join("sync")).unwrap();
    for entry in memos {
        let text = fs::read_to_string(entry.unwrap().path()).unwrap();
        keep("sync-memo", "used", text.as_bytes());
        let resume = json!({"value": parents[0], "base": null, "objects": 3});
        keep("sync-memo", "resume", text.replace("null", &resume.to_string()).as_bytes());
    }
    let pulls = way.answered.len() / 2;
    for (n, pair) in way.answered.chunks(2).take(pulls).enumerate() {
        let mut both = (pair[0].len() as u16).to_le_bytes().to_vec();
        pair.iter().for_each(|answer| both.extend_from_slice(answer));
        keep("sync-answers", &n.to_string(), &both);
    }
    let large = other.objects().put_bytes(&vec![7; 3 << 20]).unwrap();
    other.commit(Txn::new("t", "m").set(path("/large"), large)).unwrap();
    let mut from = Recording { keg: other, asked: Vec::new(), answered: Vec::new() };
    sync::pull(&here, &mut from, &path("/large"), &path("/large"), &mut options).unwrap();
    let mut both = (from.answered[0].len() as u16).to_le_bytes().to_vec();
    from.answered.iter().for_each(|answer| both.extend_from_slice(answer));
    keep("sync-answers", "groups", &both);
    sync::push(&here, &mut way, &path("/large"), &path("/pushed"), &mut options).unwrap();
    sync::push(&here, &mut way, &at, &path("/again"), &mut options).unwrap();
    for (n, (verb, asked)) in way.asked.iter().enumerate() {
        let decoder = match verb {
            Verb::Trees => "sync-want-trees",
            Verb::Pack => "sync-want-pack",
            Verb::OfferTrees => "sync-offer-trees",
            Verb::OfferPack => "sync-offer-pack",
        };
        keep(decoder, &n.to_string(), asked);
        let which = Verb::ALL.iter().position(|one| one == verb).unwrap();
        let mut request = vec![which as u8];
        request.extend_from_slice(asked);
        keep("sync-request", &n.to_string(), &request);
    }
}

fn texts() {
    let kid = Kid::of_blob(b"a stream that ended");
    keep("kid", "whole", kid.to_string().as_bytes());
    keep("kid", "short", kid.short().as_bytes());
    for (n, text) in ["/", "/a/b.c/-", "/a/b/", "/\u{e9}/x y"].iter().enumerate() {
        keep("path", &n.to_string(), text.as_bytes());
    }
    keep("image-bases", "two", format!("{}\n{}\n", kid.to_hex(), kid.to_hex()).as_bytes());
    let programs: [&[u8]; 5] = [
        &[0, 0, 2, 1, 1, 5, 5, 5],
        &[1, 3, 5, 3, 0, 0x10, 14, 0x11],
        &[4, 0x20, 13, 0x12, 15, 0x12, 3, 5],
        &[1, 5, 8, 5, 0, 5],
        &[0xf0, 1, 10, 1, 7, 1, 11, 1],
    ];
    for (n, program) in programs.iter().enumerate() {
        keep("overlay-upper", &n.to_string(), program);
    }
}
