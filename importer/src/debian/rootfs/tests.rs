use std::rc::Rc;

use keg::{
    object::Value,
    store::{MemoryStore, Objects},
};

use super::*;
use crate::debian::{
    deb::{self, PackageDoc},
    deb822,
    index::Package,
    testing::{DebMaker, TarItem, dir, file, symlink},
};

/// The package of a `.deb`, as the pool has it.
fn pooled(objects: &dyn Objects, maker: &DebMaker) -> Pooled {
    let promise = maker.promise();
    let entry = deb::unpack(objects, &maker.build()[..], &promise).expect("good");
    let tree = objects.tree(&kid_of(&entry)).expect("a tree");
    let part = |name: &str| tree.get(name.as_bytes()).and_then(Entry::kid).expect("there");
    let doc: PackageDoc =
        serde_json::from_slice(&objects.blob(&part("package.json")).expect("read")).expect("good");
    let stanza =
        format!("{}Filename: pool/x.deb\nSize: 1\nSHA256: {}\n", maker.stanza(), promise.sha256);
    let stanza = deb822::stanzas(stanza.as_bytes()).next().expect("one");
    let package = Rc::new(Package::read(0, stanza, 0).expect("good"));
    let (files, control, list) = (part("files"), part("control"), part("list"));
    Pooled { package, doc, kid: kid_of(&entry), files, control, list }
}

fn unpacked(makers: &[&DebMaker]) -> Result<(Keg, Kid), RootfsError> {
    let keg = Keg::in_memory();
    let packages: Vec<Pooled> = makers.iter().map(|m| pooled(keg.objects(), m)).collect();
    let entry = Rootfs { keg: &keg, suite: "demo" }.unpacked(&packages)?;
    Ok((keg, kid_of(&entry)))
}

fn text(keg: &Keg, root: &Kid, path: &str) -> String {
    let entry = keg.objects().walk(root, path).expect("read").expect(path);
    let blob = keg.objects().blob(&entry.kid().expect("a file")).expect("read");
    String::from_utf8(blob).expect("text")
}

fn base_files() -> DebMaker {
    let items = vec![
        dir("./"),
        dir("./etc/"),
        dir("./usr/"),
        TarItem { mode: 0o700, ..dir("./root/") },
        symlink("./bin", "usr/bin"),
    ];
    DebMaker::new("base-files", "13", items)
}

fn tool() -> DebMaker {
    let mut maker = DebMaker::new(
        "tool",
        "1.0",
        vec![
            dir("./"),
            dir("./etc/"),
            file("./etc/tool.conf", "x\n"),
            dir("./bin/"),
            file("./bin/tool", "tool"),
            TarItem { mode: 0o777, ..dir("./root/") },
        ],
    );
    maker.fields = "Multi-Arch: same\n".into();
    maker.control = vec![
        file("./conffiles", "/etc/tool.conf\n"),
        TarItem { mode: 0o755, ..file("./postinst", "#!/bin/sh\n") },
        file("./triggers", "interest-noawait ldconfig\n"),
    ];
    maker
}

#[test]
fn packages_are_merged_and_entered_in_the_database() {
    let (keg, root) = unpacked(&[&base_files(), &tool()]).expect("good");
    let there = |path: &str| keg.objects().walk(&root, path).expect("read");
    assert_eq!(text(&keg, &root, "usr/bin/tool"), "tool");
    let bin = there("bin").expect("a link");
    assert!(matches!(&bin.value, Value::Symlink { target } if target == b"usr/bin"));
    assert!(there("lib64").is_none());
    // Directories have what base-files says, whatever others say.
    assert_eq!(there("root").expect("there").attrs.mode, 0o700);
    assert_eq!(there("tmp").expect("there").attrs.mode, 0o1777);

    let status = text(&keg, &root, "var/lib/dpkg/status");
    let stanzas: Vec<_> = deb822::stanzas(status.as_bytes()).collect();
    assert_eq!(stanzas.len(), 2);
    assert_eq!(stanzas[1].get("Package"), Some("tool"));
    assert_eq!(stanzas[1].get("Status"), Some("install ok unpacked"));
    let md5 = "401b30e3b8b5d629635a5c613cdb7919";
    assert_eq!(stanzas[1].get("Conffiles"), Some(format!("/etc/tool.conf {md5}").as_str()));

    assert_eq!(text(&keg, &root, "var/lib/dpkg/info/format"), "1\n");
    let list = text(&keg, &root, "var/lib/dpkg/info/tool:all.list");
    assert_eq!(list, "/.\n/etc\n/etc/tool.conf\n/bin\n/bin/tool\n/root\n");
    assert_eq!(there("var/lib/dpkg/info/tool:all.postinst").expect("there").attrs.mode, 0o755);
    assert!(there("var/lib/dpkg/info/base-files.list").is_some());
    assert!(there("var/lib/dpkg/info/tool:all.control").is_none());
    assert_eq!(text(&keg, &root, "var/lib/dpkg/triggers/ldconfig"), "tool:all/noawait\n");
}

#[test]
fn the_order_of_packages_makes_no_difference() {
    let (a, b) = (base_files(), tool());
    let one = unpacked(&[&a, &b]).expect("good").1;
    assert_eq!(one, unpacked(&[&b, &a]).expect("good").1);
}

#[test]
fn the_same_path_needs_replaces() {
    let old = DebMaker::new("old", "1", vec![file("./usr/share/x", "old"), file("./usr/y", "y")]);
    let mut new = DebMaker::new("new", "2", vec![file("./usr/share/x", "new")]);
    let error = unpacked(&[&old, &new]).map(|_| ()).expect_err("both have it").to_string();
    for want in ["old", "new", "/usr/share/x"] {
        assert!(error.contains(want), "{error}");
    }
    new.fields = "Replaces: old (<< 2)\n".into();
    for order in [[&old, &new], [&new, &old]] {
        let (keg, root) = unpacked(&order).expect("one replaces the other");
        assert_eq!(text(&keg, &root, "usr/share/x"), "new");
        assert_eq!(text(&keg, &root, "var/lib/dpkg/info/old.list"), "/usr/y\n");
        assert_eq!(text(&keg, &root, "var/lib/dpkg/info/new.list"), "/usr/share/x\n");
    }
    new.fields = "Replaces: old (<< 1)\n".into();
    assert!(unpacked(&[&old, &new]).is_err(), "another version");
    // The same content is no conflict.
    let same = DebMaker::new("same", "1", vec![file("./usr/share/x", "old")]);
    unpacked(&[&old, &same]).expect("the same content");
    // A file over a directory is.
    let over = DebMaker::new("over", "1", vec![file("./usr/share", "file")]);
    assert!(unpacked(&[&old, &over]).is_err());
}

#[test]
fn a_memo_is_of_the_packages_and_what_they_stand_on() {
    let store = MemoryStore::new("");
    let (a, b) = (pooled(&store, &base_files()), pooled(&store, &tool()));
    let one = memo(None, &[a.clone(), b.clone()]);
    assert_eq!(one, memo(None, &[b.clone(), a.clone()]));
    let a = [a];
    assert_ne!(one, memo(None, &a));
    assert_ne!(memo(Some("x"), &a), memo(Some("y"), &a));
}
