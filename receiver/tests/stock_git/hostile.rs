//! Packs that attack: what is refused, and that stock git with `receive.fsckObjects` agrees.

mod craft;
mod limits;
mod mutants;
mod oracle;

use craft::{Entry, Pack, commit, id, tree};
use oracle::Verdict;

use crate::Test;

pub const TESTS: &[Test] = &[
    ("hostile_trees", trees),
    ("hostile_commits_and_tags", commits_and_tags),
    ("hostile_special_files", special_files),
    ("hostile_packs", packs),
    ("hostile_deltas", deltas),
    ("hostile_links", links),
    ("hostile_bombs_cost_little", limits::bombs),
    ("hostile_objects_of_other_apps", limits::objects_of_other_apps),
    ("hostile_full_disk", limits::full_disk),
    ("hostile_mutants", mutants::mutants),
];

const BLOB: &[u8] = b"hello\n";

/// A pack with one commit of a root tree with these raw entries, all naming a blob `hello` or an
/// empty tree, by mode.
fn with_tree(entries: &[(&str, &[u8])]) -> Pack {
    let (blob, empty) = (id("blob", BLOB), id("tree", b""));
    let entry = |&(mode, name): &(&str, &[u8])| {
        let target = if mode.trim_start_matches('0').starts_with('4') { &empty } else { &blob };
        [mode.as_bytes(), b" ", name, b"\0", &hex::decode(target).expect("hex")].concat()
    };
    let bytes: Vec<u8> = entries.iter().flat_map(entry).collect();
    Pack::of_commit(vec![
        Entry::whole("blob", BLOB),
        Entry::whole("tree", b""),
        Entry::whole("tree", &bytes),
        Entry::whole("commit", commit(&id("tree", &bytes)).as_bytes()),
    ])
}

fn trees() {
    let oracle = oracle::Oracle::new();
    let file = "100644";
    let dir = "40000";
    let cases: Vec<Vec<(&str, &[u8])>> = vec![
        vec![(file, b"a"), (dir, b"b")],
        vec![(dir, b".git")],
        vec![(dir, b".GIT")],
        vec![(file, b".git ")],
        vec![(file, b"git~1")],
        vec![(file, b"GIT~1...")],
        vec![(file, b"git~2")],
        vec![(file, b".git:x")],
        vec![(file, b".git\\x")],
        vec![(file, b"x\\.git")],
        vec![(file, "\u{200c}.git".as_bytes())],
        vec![(file, ".g\u{feff}it".as_bytes())],
        vec![(file, b".git\xff")],
        vec![(file, b".gi\xfft")],
        vec![(file, b"a\xff")],
        vec![(file, b"..")],
        vec![(file, b".")],
        vec![(file, b"...")],
        vec![(file, b"a/b")],
        vec![(file, b"")],
        vec![(file, b"a"), (file, b"a")],
        vec![(file, b"a"), (dir, b"a")],
        vec![(file, b"a"), (file, b"a.b"), (dir, b"a")],
        vec![(file, b"a"), (file, b"a.b"), (file, b"a.b.c"), (dir, b"a.b"), (dir, b"a")],
        vec![(file, b"b"), (file, b"a")],
        vec![(dir, b"a"), (file, b"a.b")],
        vec![(file, b"a.b"), (dir, b"a")],
        vec![("040000", b"a")],
        vec![("0100644", b"a")],
        vec![("100664", b"a")],
        vec![("100600", b"a")],
        vec![("100000", b"a")],
        vec![("777", b"a")],
        vec![("0", b"a")],
        vec![("160000", b"a")],
        vec![("170000", b"a")],
        vec![("10x644", b"a")],
        vec![("", b"a")],
        vec![("37777777777777100644", b"a")],
        vec![("120000", b"a")],
        vec![("120000", b".gitmodules")],
        vec![("120000", b".GITMODULES ")],
        vec![("120000", b"gitmod~1")],
        vec![("120000", b"gi7eba~1")],
        vec![("120000", b"x\\.gitmodules")],
        vec![("120000", b".gitattributes")],
        vec![("120000", b".gitignore")],
        vec![("120000", b".mailmap")],
        vec![(dir, b".gitmodules")],
        vec![(dir, b".gitattributes")],
        vec![(file, b".gitmodules")],
    ];
    for entries in cases {
        oracle.agree(&format!("{entries:?}"), &with_tree(&entries));
    }
    let long = vec![b'n'; 5000];
    oracle.agree("a long name", &with_tree(&[(file, &long)]));
    let null = [b"100644 a\0".as_slice(), &[0; 20]].concat();
    oracle.agree("the null id", &Pack::of_tree(&null));
    oracle.agree("a tree cut off", &Pack::of_tree(&null[..null.len() - 1]));
    let blob = hex::decode(id("blob", BLOB)).expect("hex");
    let cut = [b"100644 a\0".as_slice(), &blob, b"1"].concat();
    oracle.agree("a tree with a tail", &Pack::of_tree(&cut));
}

fn commits_and_tags() {
    let oracle = oracle::Oracle::new();
    let empty = id("tree", b"");
    let (tree_line, who) = (format!("tree {empty}\n"), "A <a@b.c> 1700000000 +0000\n");
    let body = format!("author {who}committer {who}\nhello\n");
    for text in [
        format!("{tree_line}{body}"),
        format!("{tree_line}{body}\0"),
        body.clone(),
        format!("tree {}\n{body}", &empty[1..]),
        format!("tree {}\n{body}", empty.to_uppercase()),
        format!("{tree_line}parent x\n{body}"),
        format!("{tree_line}parent {empty}\n{body}"),
        format!("{tree_line}author {who}{body}"),
        format!("{tree_line}committer {who}\n"),
        format!("{tree_line}author {who}\n"),
        format!("{tree_line}author {who}committer {who}"),
        format!("{tree_line}author {who}committer {who}encoding x\ngpgsig x\n y\n\nz"),
        format!("{tree_line}author \0{who}committer {who}\n"),
        format!("{tree_line}author <a@b> 1 +0000\ncommitter {who}\n"),
        format!("{tree_line}author  <a@b> 1 +0000\ncommitter {who}\n"),
        format!("{tree_line}author A> <a@b> 1 +0000\ncommitter {who}\n"),
        format!("{tree_line}author A <a@b 1 +0000\ncommitter {who}\n"),
        format!("{tree_line}author A <a@b>1 +0000\ncommitter {who}\n"),
        format!("{tree_line}author A <a@b>  1 +0000\ncommitter {who}\n"),
        format!("{tree_line}author A <a@b> 01 +0000\ncommitter {who}\n"),
        format!("{tree_line}author A <a@b> 0 +0000\ncommitter {who}\n"),
        format!("{tree_line}author A <a@b> -1 +0000\ncommitter {who}\n"),
        format!("{tree_line}author A <a@b> 18446744073709551615 +0000\ncommitter {who}\n"),
        format!("{tree_line}author A <a@b> 9223372036854775807 +0000\ncommitter {who}\n"),
        format!("{tree_line}author A <a@b> 1 0000\ncommitter {who}\n"),
        format!("{tree_line}author A <a@b> 1 +00000\ncommitter {who}\n"),
        format!("{tree_line}author A <a@b> 1\ncommitter {who}\n"),
        format!("{tree_line}author A <a@b> x +0000\ncommitter {who}\n"),
        format!("{tree_line}author A <a@b>\ncommitter {who}\n"),
        format!("{tree_line}author A\ncommitter {who}\n"),
        format!("{tree_line}author \ncommitter {who}\n"),
        String::new(),
        "\n".to_owned(),
    ] {
        let entries = vec![Entry::whole("tree", b""), Entry::whole("commit", text.as_bytes())];
        oracle.agree(&format!("commit {text:?}"), &Pack::of_commit(entries));
    }
    let target = commit(&empty);
    let object = format!("object {}\ntype commit\n", id("commit", target.as_bytes()));
    for text in [
        format!("{object}tag v1\ntagger {who}\nhello\n"),
        format!("{object}tag v1\n\nhello\n"),
        format!("{object}tag v1\n"),
        format!("{object}tag v1"),
        format!("{object}tag a..b\ntagger {who}\nhello\n"),
        format!("{object}tag v1\ntagger {who}extra x\n\nhello\n"),
        format!("{object}tag v1\ntagger A\n\nhello\n"),
        format!("{object}tagger {who}\nhello\n"),
        format!("tag v1\ntagger {who}\nhello\n"),
        object.replace("type commit", "type tree") + &format!("tag v1\ntagger {who}\n"),
        object.replace("type commit", "type thing") + &format!("tag v1\ntagger {who}\n"),
        object.replace("type commit\n", "") + &format!("tag v1\ntagger {who}\n"),
    ] {
        let entries = vec![
            Entry::whole("tree", b""),
            Entry::whole("commit", target.as_bytes()),
            Entry::whole("tag", text.as_bytes()),
        ];
        oracle.agree(&format!("tag {text:?}"), &Pack::of_last(entries));
    }
}

fn special_files() {
    let oracle = oracle::Oracle::new();
    let check = |name: &str, text: &[u8]| {
        let root = tree(&[("100644", name, &id("blob", text))]);
        oracle.agree(
            &format!("{name} {:?}", String::from_utf8_lossy(&text[..text.len().min(80)])),
            &Pack::of_commit(vec![
                Entry::whole("commit", commit(&id("tree", &root)).as_bytes()),
                Entry::whole("tree", &root),
                Entry::whole("blob", text),
            ]),
        );
    };
    for line in [
        "path = a\n\turl = https://example.com/a.git",
        "url = -u./payload",
        "url = ./-u",
        "url = https://example.com/%0ahost=evil",
        "url = https:///evil",
        "url = https://",
        "url = http::https://example.com/a",
        "url = https::example.com/a",
        "url = https::///example.com",
        "url = ../../../:evil",
        "url = ./:evil",
        "url = ../../a.git",
        "url = ../%0a",
        "url = git://example.com/a%0ab",
        "url = git@example.com:a.git",
        "url = ssh://-x/y",
        "path = -x",
        "path = a/-x",
        "update = !rm -rf",
        "update = rebase",
        "url",
        "url = \"unfinished",
        "fetchRecurseSubmodules = x",
    ] {
        check(".gitmodules", format!("[submodule \"a\"]\n\t{line}\n").as_bytes());
    }
    for name in ["..", "../a", "a/..", "a\\..\\b", "a..b", "", "x]y", "-x"] {
        check(".gitmodules", format!("[submodule \"{name}\"]\n\tpath = a\n").as_bytes());
    }
    check(".gitmodules", b"[submodule \"../a\"]\n");
    check(".gitmodules", b"not a configuration");
    check(".gitmodules", b"[submodule \"../a\"]\n\tpath = x\nnot a configuration");
    check(".gitmodules", b"[submodule.../x]\n\tpath = a\n");
    check(".gitmodules", b"[SUBMODULE \"../x\"]\n\tPATH = a\n");
    check("x\\.gitmodules", b"[submodule \"../x\"]\n\tpath = a\n");
    check(".gitattributes", &[b'a'; 2047]);
    check(".gitattributes", &[b'a'; 2048]);
    check(".gitattributes", &[[b'a'; 3000].as_slice(), b"\n"].concat());
    check(".GITATTRIBUTES", &[b'a'; 3000]);
}

fn packs() {
    let oracle = oracle::Oracle::new();
    let good = with_tree(&[("100644", b"a")]);
    oracle.agree("a good pack", &good);
    assert_eq!(oracle.ours(&good).0, Verdict::Taken);
    for count in [0, 1, 3, 5, 1000, u32::MAX] {
        let mut pack = good.clone();
        pack.bytes[8..12].copy_from_slice(&count.to_be_bytes());
        oracle.agree(&format!("count {count}"), &pack);
        oracle.agree(&format!("count {count}, right sum"), &pack.resealed());
    }
    for version in [0u32, 1, 3, 4] {
        let mut pack = good.clone();
        pack.bytes[4..8].copy_from_slice(&version.to_be_bytes());
        oracle.agree(&format!("version {version}"), &pack.resealed());
    }
    for cut in [1, 10, 20, 21, 30, good.bytes.len() - 12, good.bytes.len() - 3] {
        let mut pack = good.clone();
        pack.bytes.truncate(good.bytes.len() - cut);
        oracle.agree(&format!("cut by {cut}"), &pack);
    }
    let mut pack = good.clone();
    pack.bytes.clear();
    oracle.agree("no pack at all", &pack);
    let mut pack = good.clone();
    pack.bytes[15] ^= 0x40;
    oracle.agree("a wrong sum", &pack);
    let twice = Pack::of_commit(vec![
        Entry::whole("blob", BLOB),
        Entry::whole("blob", BLOB),
        Entry::whole("tree", b""),
        Entry::whole("commit", commit(&id("tree", b"")).as_bytes()),
    ]);
    oracle.agree("an object twice", &twice);
    // Stock git does not look behind a pack that comes through a pipe.
    let mut pack = good.clone();
    pack.bytes.extend_from_slice(b"junk");
    let (verdict, said) = oracle.ours(&pack);
    assert_eq!(verdict, Verdict::Refused, "{said}");
    assert!(said.contains("bytes follow the end of the pack"), "{said}");
}

fn deltas() {
    let oracle = oracle::Oracle::new();
    // The last entry is "hello\nworld\n", made of the blob by a delta.
    let target = b"hello\nworld\n";
    let delta = b"\x06\x0c\x90\x06\x06world\n";
    let with = |entry: Entry| {
        let root = tree(&[("100644", "a", &id("blob", target))]);
        Pack::of_commit(vec![
            Entry::whole("commit", commit(&id("tree", &root)).as_bytes()),
            Entry::whole("tree", &root),
            Entry::whole("blob", BLOB),
            entry,
        ])
    };
    let base = id("blob", BLOB);
    assert_eq!(oracle.ours(&with(Entry::ofs(2, delta))).0, Verdict::Taken);
    oracle.agree("an offset delta", &with(Entry::ofs(2, delta)));
    oracle.agree("an id delta", &with(Entry::reference(&base, delta)));
    oracle.agree("a missing base", &with(Entry::reference(&"11".repeat(20), delta)));
    oracle.agree("a base that is a tree", &with(Entry::ofs(1, delta)));
    for bad in [
        b"\x07\x0c\x90\x06\x06world\n".as_slice(),
        b"\x06\x0b\x90\x06\x06world\n",
        b"\x06\x0d\x90\x06\x06world\n",
        b"\x06\x0c\x90\x07\x06world\n",
        b"\x06\x0c\x91\x01\x06\x06world\n",
        b"\x06\x0c\x90\x06\x06worl",
        b"\x06\x0c\x90\x06\x00",
        b"\x06\x0c\x90",
        b"\x06\x0c",
        b"\x06",
        b"",
        b"\xff\xff\xff\xff\xff\xff\xff\xff\xff\x01\x0c\x90\x06\x06world\n",
    ] {
        oracle.agree(&format!("delta {bad:x?}"), &with(Entry::ofs(2, bad)));
    }
    for distance in [0u64, 1, 7, 1 << 20, u64::MAX] {
        let pack = with(Entry::raw_ofs(distance, delta));
        oracle.agree(&format!("distance {distance}"), &pack);
    }
    // Deltas before their bases, and on each other.
    let root = tree(&[("100644", "a", &id("blob", target))]);
    let pack = Pack::of_commit(vec![
        Entry::reference(&base, delta),
        Entry::whole("commit", commit(&id("tree", &root)).as_bytes()),
        Entry::whole("tree", &root),
        Entry::whole("blob", BLOB),
    ]);
    oracle.agree("a delta before its base", &pack);
    let pack = Pack::of_commit(vec![
        Entry::whole("tree", b""),
        Entry::whole("commit", commit(&id("tree", b"")).as_bytes()),
        Entry::reference(&"22".repeat(20), delta),
        Entry::reference(&"11".repeat(20), delta),
    ]);
    oracle.agree("deltas that nobody needs", &pack);
}

fn links() {
    let oracle = oracle::Oracle::new();
    let nowhere = "12".repeat(20);
    let blob = id("blob", BLOB);
    let (file, dir) = ("100644", "40000");
    for (what, entries) in [
        ("a missing file", vec![(file, "a", nowhere.as_str())]),
        ("a missing directory", vec![(dir, "a", &nowhere)]),
        ("a submodule", vec![("160000", "a", &nowhere)]),
        ("a directory that is a file", vec![(dir, "a", &blob)]),
        ("a file that is both", vec![(file, "a", &blob), (dir, "b", &blob)]),
    ] {
        let root = tree(&entries);
        let pack = Pack::of_commit(vec![
            Entry::whole("commit", commit(&id("tree", &root)).as_bytes()),
            Entry::whole("tree", &root),
            Entry::whole("blob", BLOB),
        ]);
        oracle.agree(what, &pack);
    }
    let empty = Entry::whole("tree", b"");
    let lost = commit(&nowhere);
    oracle.agree("a missing root", &Pack::of_commit(vec![Entry::whole("commit", lost.as_bytes())]));
    let text = commit(&id("tree", b"")).replacen("author", &format!("parent {nowhere}\nauthor"), 1);
    let pack = Pack::of_commit(vec![empty.clone(), Entry::whole("commit", text.as_bytes())]);
    oracle.agree("a missing parent", &pack);
    let text = commit(&id("tree", b"")).replacen(
        "author",
        &format!("parent {}\nauthor", id("tree", b"")),
        1,
    );
    let pack = Pack::of_commit(vec![empty.clone(), Entry::whole("commit", text.as_bytes())]);
    oracle.agree("a parent that is a tree", &pack);
    let mut pack =
        Pack::of_commit(vec![empty, Entry::whole("commit", commit(&id("tree", b"")).as_bytes())]);
    pack.tip = nowhere;
    oracle.agree("a ref to nothing", &pack);
}
