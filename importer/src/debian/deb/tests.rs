use keg::store::MemoryStore;
use tar::EntryType;

use super::*;
use crate::debian::testing::{DebMaker, TarItem, ar, dir, file, symlink, tar, xz};

fn unpacked(maker: &DebMaker) -> Result<(MemoryStore, Entry), DebError> {
    let store = MemoryStore::new("");
    let entry = unpack(&store, &maker.build()[..], &maker.promise())?;
    Ok((store, entry))
}

/// The whole chain of causes.
fn text(error: &dyn std::error::Error) -> String {
    let mut out = error.to_string();
    let mut source = error.source();
    while let Some(cause) = source {
        out += &format!(": {cause}");
        source = cause.source();
    }
    out
}

fn refused(items: Vec<TarItem>, want: &str) {
    let error = unpacked(&DebMaker::new("demo", "1.0-1", items)).map(|_| ()).expect_err(want);
    assert!(text(&error).contains(want), "{}", text(&error));
}

fn walk(store: &MemoryStore, root: &Entry, path: &str) -> Option<Entry> {
    let objects: &dyn Objects = store;
    objects.walk(&root.kid().expect("a tree"), path).expect("readable")
}

#[test]
fn a_package_becomes_a_tree() {
    let mut maker = DebMaker::new(
        "demo",
        "1:2.0-1",
        vec![
            dir("./"),
            dir("./etc/"),
            file("./etc/demo.conf", "answer=42\n"),
            dir("./bin/"),
            TarItem { mode: 0o4755, ..file("./bin/demo", "#!/bin/sh\n") },
            dir("./usr/"),
            dir("./usr/share/"),
            TarItem { owner: ("man", "shadow"), ..file("./usr/share/x", "x") },
            symlink("./usr/share/y", "../share/x"),
            TarItem::new("./usr/share/z", EntryType::Link, "./usr/share/x", b""),
        ],
    );
    maker.control = vec![
        file("./conffiles", "/etc/demo.conf\nremove-on-upgrade /etc/old\n"),
        TarItem { mode: 0o755, ..file("./postinst", "#!/bin/sh\n") },
    ];
    let (store, root) = unpacked(&maker).expect("good");
    let demo = walk(&store, &root, "files/usr/bin/demo").expect("merged /usr");
    assert_eq!(demo.attrs.mode, 0o4755);
    assert_eq!(demo.attrs.mtime, 1_700_000_000);
    assert!(walk(&store, &root, "files/bin").is_none());
    let x = walk(&store, &root, "files/usr/share/x").expect("there");
    let z = walk(&store, &root, "files/usr/share/z").expect("there");
    assert_eq!((x.attrs.uid, x.attrs.gid), (6, 42));
    assert_ne!(x.attrs.link_group, 0);
    assert_eq!(x, z);
    assert_eq!(walk(&store, &root, "files/usr").expect("there").attrs.mtime, 0);
    assert_eq!(walk(&store, &root, "control/postinst").expect("there").attrs.mode, 0o755);

    let doc = walk(&store, &root, "package.json").and_then(|e| e.kid()).expect("there");
    let objects: &dyn Objects = &store;
    let doc: PackageDoc =
        serde_json::from_slice(&objects.blob(&doc).expect("read")).expect("a document");
    assert_eq!(doc.promise, maker.promise());
    assert_eq!(doc.promise.file_stem(), "demo_1%3a2.0-1_all");
    // printf 'answer=42\n' | md5sum
    let md5 = "5dd01e1bbecbd1f92e51a99d6b2d7b51".len();
    assert_eq!(doc.conffiles.len(), 1);
    assert_eq!(doc.conffiles[0].1.len(), md5);
    assert_eq!(doc.newest, 1_700_000_000);
    let list = walk(&store, &root, "list").and_then(|e| e.kid()).expect("there");
    let list = String::from_utf8(objects.blob(&list).expect("read")).expect("text");
    assert!(list.starts_with("/.\n/etc\n/etc/demo.conf\n/bin\n/bin/demo\n"), "{list}");
}

#[test]
fn the_same_package_is_the_same_tree() {
    let make = || DebMaker::new("demo", "1", vec![dir("./"), file("./a", "1"), file("./b", "2")]);
    assert_eq!(unpacked(&make()).expect("good").1, unpacked(&make()).expect("good").1);
}

#[test]
fn the_merged_usr_resolves_links_to_itself() {
    let items = vec![
        file("./bin/touch", "real"),
        symlink("./usr/bin/touch", "/bin/touch"),
        symlink("./usr/sbin/x", "../../sbin/x"),
        file("./sbin/x", "real"),
        symlink("./lib64", "usr/lib64"),
        dir("./usr/lib64/"),
    ];
    let (store, root) = unpacked(&DebMaker::new("demo", "1", items)).expect("good");
    for path in ["files/usr/bin/touch", "files/usr/sbin/x"] {
        let entry = walk(&store, &root, path).expect(path);
        assert!(matches!(entry.value, keg::object::Value::File { size: 4, .. }), "{path}");
    }
    assert!(walk(&store, &root, "files/lib64").is_none());
    refused(vec![file("./bin/x", "1"), file("./usr/bin/x", "2")], "there twice");
    refused(vec![symlink("./lib", "/tmp")], "only be a directory");
}

#[test]
fn paths_that_escape_are_refused() {
    refused(vec![file("./../../etc/passwd", "x")], ".. component");
    refused(vec![file("/etc/passwd", "x")], "absolute");
    refused(vec![symlink("./usr/x", "../../etc/shadow")], "above the root");
    let hard = |target| vec![TarItem::new("./x", EntryType::Link, target, b"")];
    refused(hard("../etc/passwd"), "no earlier file");
    refused(hard("/etc/passwd"), "no earlier file");
    refused(hard("./missing"), "no earlier file");
    let mut through = vec![symlink("./s", "/etc")];
    through.extend(hard("./s"));
    refused(through, "no earlier file");
    let raw = TarItem { path: b"./\xff\xfe".to_vec(), ..file("", "x") };
    refused(vec![raw], "not UTF-8");
}

#[test]
fn entries_beneath_links_and_doubles_are_refused() {
    refused(vec![symlink("./a", "/etc"), file("./a/b", "x")], "beneath");
    refused(vec![file("./a", "x"), file("./a/b", "x")], "beneath");
    refused(vec![file("./a", "x"), file("./a", "y")], "there twice");
    refused(vec![dir("./a/"), dir("./a")], "there twice");
    refused(vec![symlink("./bin", "usr/bin"), symlink("./bin", "usr/bin")], "there twice");
    refused(vec![dir("./usr/"), dir("./usr/a/"), file("./usr/a", "x")], "there twice");
}

#[test]
fn special_entries_are_refused() {
    for (kind, want) in [
        (EntryType::Char, "a device node"),
        (EntryType::Block, "a device node"),
        (EntryType::Fifo, "a named pipe"),
        (EntryType::GNUSparse, "a sparse file"),
        (EntryType::XHeader, "a PAX header"),
        (EntryType::XGlobalHeader, "a global PAX header"),
        (EntryType::new(b'Z'), "an entry of an unknown type"),
    ] {
        refused(vec![TarItem::new("./dev/x", kind, "", b"")], want);
    }
}

#[test]
fn a_pax_size_cannot_hide_an_entry() {
    // Readers that honour the PAX size skip "./hidden"; others see it. dpkg refuses both.
    let pax = TarItem::new("./pax", EntryType::XHeader, "", b"13 size=1024\n");
    let items = vec![pax, file("./a", "short"), file("./hidden", "x")];
    refused(items, "a PAX header");
}

#[test]
fn long_names_are_bounded() {
    let long = "d".repeat(120) + "/file";
    let name = TarItem::new("././@LongLink", EntryType::GNULongName, "", long.as_bytes());
    let items = vec![name, file("./cut", "x")];
    let (store, root) = unpacked(&DebMaker::new("demo", "1", items)).expect("good");
    assert!(walk(&store, &root, &format!("files/{long}")).is_some());
    let huge = vec![b'a'; 5000];
    let name = TarItem::new("././@LongLink", EntryType::GNULongName, "", &huge);
    refused(vec![name, file("./x", "")], "long name");
    let alone = TarItem::new("././@LongLink", EntryType::GNULongName, "", b"x");
    refused(vec![alone], "long name");
}

#[test]
fn truncation_is_refused() {
    let lying = TarItem { claimed: Some(5000), ..file("./a", "short") };
    refused(vec![lying], "truncated");
    let maker = DebMaker::new("demo", "1", vec![file("./a", &"x".repeat(5000))]);
    let whole = maker.build();
    for cut in [10, 70, 150, whole.len() / 2, whole.len() - 20] {
        let store = MemoryStore::new("");
        assert!(unpack(&store, &whole[..cut], &maker.promise()).is_err(), "cut at {cut}");
    }
}

#[test]
fn a_bomb_is_refused_by_what_the_index_says() {
    let maker = DebMaker::new("demo", "1", vec![]);
    let mut header = tar::Header::new_gnu();
    header.set_path("./zeros").expect("short");
    header.set_mode(0o644);
    header.set_size(2 << 30);
    header.set_uid(0);
    header.set_gid(0);
    header.set_mtime(0);
    header.set_cksum();
    // Streams one after the other are one stream.
    let zeros = xz(&vec![0; 64 << 20]);
    let bomb = [xz(header.as_bytes()), zeros.repeat(32)].concat();
    assert!(bomb.len() < 1 << 20, "2 GiB in {} bytes", bomb.len());
    let control = xz(&tar(&[file("./control", &maker.stanza())]));
    let deb =
        ar(&[("debian-binary", b"2.0\n"), ("control.tar.xz", &control), ("data.tar.xz", &bomb)]);
    let dir = tempfile::tempdir().expect("a directory");
    let store = keg::store::FileStore::create(dir.path()).expect("a store");
    let error = unpack(&store, &deb[..], &maker.promise()).expect_err("a bomb");
    assert!(text(&error).contains("unpacks to more than"), "{}", text(&error));
}

#[test]
fn another_package_than_promised_is_refused() {
    let maker = DebMaker::new("demo", "1.0", vec![file("./a", "x")]);
    let check = |promise: Promise, want: &str| {
        let store = MemoryStore::new("");
        let error = unpack(&store, &maker.build()[..], &promise).expect_err(want);
        assert!(text(&error).contains(want), "{}", text(&error));
    };
    let good = maker.promise();
    check(
        Promise { name: "other".into(), ..good.clone() },
        "Package: demo, but the index says other",
    );
    check(
        Promise { version: "2.0".into(), ..good.clone() },
        "Version: 1.0, but the index says 2.0",
    );
    check(Promise { arch: "amd64".into(), ..good }, "Architecture: all");
}

#[test]
fn malformed_outer_and_control_parts_are_refused() {
    let maker = DebMaker::new("demo", "1", vec![]);
    let control = xz(&tar(&[file("./control", &maker.stanza())]));
    let data = xz(&tar(&[]));
    let check = |members: &[(&str, &[u8])], want: &str| {
        let store = MemoryStore::new("");
        let error = unpack(&store, &ar(members)[..], &maker.promise()).expect_err(want);
        assert!(text(&error).contains(want), "{}", text(&error));
    };
    let binary: (&str, &[u8]) = ("debian-binary", b"2.0\n");
    check(&[("debian-binary", b"3.0\n")], "format is \"3.0");
    check(&[("control.tar.xz", &control)], "where debian-binary should be");
    check(&[binary, ("data.tar.xz", &data)], "where control.tar should be");
    check(&[binary, ("control.tar.xz", &control)], "nothing where data.tar");
    check(&[binary, ("control.tar.bz2", &control)], "not supported");
    let with = |items: &[TarItem], want: &str| {
        check(&[binary, ("control.tar.xz", &xz(&tar(items))), ("data.tar.xz", &data)], want);
    };
    with(&[], "it is missing");
    with(&[file("./control", "Package: demo\n\nPackage: b\n")], "exactly one stanza");
    with(&[dir("./sub/")], "no plain file");
    with(&[symlink("./postinst", "/bin/true")], "no plain file");
    let stanza = file("./control", &maker.stanza());
    with(&[stanza, file("./control", "x")], "twice");
    let foreign = maker.stanza() + "Status: install ok installed\n";
    with(&[file("./control", &foreign)], "dpkg's own database");
    with(&[file("./conffiles", "etc/x\n")], "not absolute");
}
