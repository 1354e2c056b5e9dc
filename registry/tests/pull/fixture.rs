//! A release made by hand, with everything in its layers that a tar can get wrong.

use keg::{
    Keg, Kid, NamePath, Txn,
    object::{Attrs, Commit, Entry, EntryName, Tree, Value},
};
use serde_json::json;

/// A file's attributes that differ from the default.
pub fn with(entry: Entry, change: impl FnOnce(&mut Attrs)) -> Entry {
    let mut entry = entry;
    change(&mut entry.attrs);
    entry
}

/// A tree of these entries.
pub fn tree(keg: &Keg, entries: Vec<(&[u8], Entry)>) -> Entry {
    let mut tree = Tree::default();
    for (name, entry) in entries {
        tree.entries.insert(EntryName::new(name).expect("a name"), entry);
    }
    keg.objects().put_tree(&tree).expect("stored")
}

/// A blob.
pub fn file(keg: &Keg, bytes: &[u8]) -> Entry {
    let entry = keg.objects().put_bytes(bytes).expect("stored");
    with(entry, |attrs| attrs.mtime = 1_700_000_000)
}

fn node(value: Value, mode: u32) -> Entry {
    Entry { value, attrs: Attrs::with_mode(mode) }
}

/// Bytes that do not repeat within a block.
pub fn noise(len: usize, seed: u32) -> Vec<u8> {
    let mut state = seed;
    let mut next = || {
        state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
        (state >> 24) as u8
    };
    (0..len).map(|_| next()).collect()
}

/// A layer with names, links, attributes and sizes of every kind.
pub fn odd_layer(keg: &Keg) -> Entry {
    let long = [b'n'; 200];
    let deep = tree(keg, vec![(&long, file(keg, b"deep\n"))]);
    let linked = with(file(keg, &noise(5000, 7)), |a| a.link_group = 1);
    let special = tree(
        keg,
        vec![
            (b"null", node(Value::Device { block: false, major: 1, minor: 3 }, 0o666)),
            (b"pipe", node(Value::Fifo, 0o644)),
            (b"sda", node(Value::Device { block: true, major: 8, minor: 0 }, 0o660)),
        ],
    );
    let names = tree(
        keg,
        vec![
            (b"caf\xc3\xa9", file(keg, b"utf-8\n")),
            (b"caf\xe9", file(keg, b"not utf-8\n")),
            (b" spaces and\nbreaks ", file(keg, b"odd\n")),
            (&long, deep),
        ],
    );
    let sizes = tree(
        keg,
        vec![
            (b"empty", file(keg, b"")),
            (b"block", file(keg, &noise(512, 1))),
            (b"block+1", file(keg, &noise(513, 2))),
            (b"large", file(keg, &noise(1_048_579, 3))),
        ],
    );
    let attributes = tree(
        keg,
        vec![
            (b"setuid", with(file(keg, b"#!/bin/sh\n"), |a| a.mode = 0o4755)),
            (b"owned", with(file(keg, b"x"), |a| (a.uid, a.gid) = (1000, 3_000_000))),
            (b"old", with(file(keg, b"x"), |a| a.mtime = -86_400)),
            (b"exact", with(file(keg, b"x"), |a| a.mtime_nsec = 123_456_789)),
            (
                b"noted",
                with(file(keg, b"x"), |a| {
                    a.xattrs = vec![
                        (b"user.empty".to_vec(), Vec::new()),
                        (b"user.note".to_vec(), b"line\n\0=end".to_vec()),
                    ];
                }),
            ),
        ],
    );
    tree(
        keg,
        vec![
            (b"attributes", with(attributes, |a| (a.mode, a.mtime) = (0o1777, 1_600_000_000))),
            (b"hard-a", linked.clone()),
            (b"hard-b", linked),
            (b"names", names),
            (b"sizes", sizes),
            (b"special", special),
            (b"target", node(Value::Symlink { target: vec![b't'; 300] }, 0o777)),
            (b"to", Entry::symlink("sizes/empty")),
        ],
    )
}

/// A release of an app; `layers` lowest first.
pub fn release(keg: &Keg, app: &str, layers: &[Entry], note: &str) -> Kid {
    let names = ["00-base", "10-packages", "20-wheels", "30-app"];
    let layers = names.iter().zip(layers).map(|(name, entry)| (name.as_bytes(), entry.clone()));
    let layers = tree(keg, layers.collect());
    let json = |value| keg.objects().put_json(&value).expect("stored");
    let image = tree(
        keg,
        vec![
            (
                b"config.json",
                json(json!({
                    "architecture": "amd64", "os": "linux",
                    "config": {
                        "Env": ["PATH=/bin"], "Cmd": ["app"], "WorkingDir": "/app",
                        "Labels": { "note": "é" },
                    },
                })),
            ),
            (b"layers", layers.clone()),
            (b"rootfs", layers),
        ],
    );
    let image_kid = image.kid().expect("a tree has one");
    let source = Kid::of_blob(note.as_bytes());
    let tree = tree(
        keg,
        vec![
            (b"image", image),
            (b"build.json", json(json!({ "app": app, "finished": "2026-11-23T09:00:00.000Z" }))),
            (b"source.json", json(json!({ "kid": source, "git": "ab".repeat(20), "app": app }))),
        ],
    );
    let extra = json!({ "app": app, "image": image_kid, "source": source });
    let commit = keg.objects().put_commit(&Commit {
        tree: tree.kid().expect("a tree has one"),
        parents: Vec::new(),
        author: "service/builder".to_owned(),
        time_ms: 1_795_424_400_000,
        message: note.to_owned(),
        extra: extra.as_object().cloned().unwrap_or_default(),
    });
    let commit = commit.expect("stored");
    let path: NamePath = format!("/oci-images/{app}").parse().expect("a path");
    keg.commit(Txn::new("service/builder", note).set(path, Entry::commit(commit))).expect("kept");
    commit
}
