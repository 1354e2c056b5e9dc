use std::io::Cursor;

use keg::store::MemoryStore;

use super::{
    testing::{Member, WheelMaker, member},
    *,
};

fn unpack_into(store: &MemoryStore, file: &str, bytes: Vec<u8>) -> Result<Unpacked, WheelError> {
    let name = WheelName::parse(file).expect(file);
    let size = bytes.len() as u64;
    unpack(store, &name, Cursor::new(bytes), size)
}

fn refused(maker: &WheelMaker, want: &str) {
    let store = MemoryStore::new("");
    let error = unpack_into(&store, &maker.file(), maker.build()).expect_err(want);
    let text = crate::error::chain(&error);
    assert!(text.contains(want), "{want}: {text}");
}

fn with(member: Member) -> WheelMaker {
    let mut maker = WheelMaker::new("demo", "1.0");
    maker.members.push(member);
    maker
}

fn text(store: &MemoryStore, tree: &Entry, path: &str) -> String {
    let objects: &dyn Objects = store;
    let entry = objects.walk(&tree.kid().expect("a tree"), path).expect("read").expect(path);
    String::from_utf8(objects.blob(&entry.kid().expect("a file")).expect("read")).expect("text")
}

fn mode(store: &MemoryStore, tree: &Entry, path: &str) -> u32 {
    let objects: &dyn Objects = store;
    let entry = objects.walk(&tree.kid().expect("a tree"), path).expect("read").expect(path);
    entry.attrs.mode
}

#[test]
fn a_wheel_becomes_the_tree_an_installer_would_leave() {
    let store = MemoryStore::new("");
    let mut maker = WheelMaker::new("demo", "1.0");
    maker.entry_points = Some("[console_scripts]\ndemo = demo:main\nrun = demo:run\n".into());
    let mut program = member("demo-1.0.data/scripts/run", "#!python\nprint()\n");
    program.mode = 0o100_644;
    let mut tool = member("demo/tool.sh", "#!/bin/sh\n");
    tool.mode = 0o100_755;
    maker.members.extend([
        program,
        tool,
        member("demo-1.0.data/purelib/extra.py", ""),
        member("demo-1.0.data/headers/demo.h", "int x;"),
        member("demo-1.0.data/data/share/demo/x", "data"),
        member("demo-1.0.dist-info/licenses/LICENSE", "free"),
    ]);
    let Unpacked { tree, metadata } =
        unpack_into(&store, &maker.file(), maker.build()).expect("good");
    assert_eq!(metadata, maker.metadata_text().into_bytes());
    assert_eq!(text(&store, &tree, "lib/demo/__init__.py"), "x = 1\n");
    assert_eq!(text(&store, &tree, "lib/extra.py"), "");
    assert_eq!(text(&store, &tree, "headers/demo/demo.h"), "int x;");
    assert_eq!(text(&store, &tree, "data/share/demo/x"), "data");
    assert_eq!(text(&store, &tree, "scripts/run"), "#!/usr/bin/python3\nprint()\n");
    assert!(text(&store, &tree, "scripts/demo").contains("from demo import main"));
    assert_eq!(text(&store, &tree, "lib/demo-1.0.dist-info/INSTALLER"), "keg\n");
    for (path, want) in [
        ("scripts/run", 0o755),
        ("scripts/demo", 0o755),
        ("lib/demo/tool.sh", 0o755),
        ("lib/demo/__init__.py", 0o644),
    ] {
        assert_eq!(mode(&store, &tree, path), want, "{path}");
    }
    let record = text(&store, &tree, "lib/demo-1.0.dist-info/RECORD");
    let rows = record::parse(record.as_bytes()).expect("good");
    assert!(rows["demo/__init__.py"].starts_with("sha256="));
    assert_eq!(rows["../../../bin/run"], "");
    assert!(rows.contains_key("../../../share/demo/x"));
    assert!(rows.contains_key("demo-1.0.dist-info/INSTALLER"));
    assert!(rows.contains_key("demo-1.0.dist-info/RECORD"));
}

#[test]
fn the_same_wheel_is_the_same_tree() {
    let maker = WheelMaker::new("demo", "1.0");
    let (one, two) = (MemoryStore::new(""), MemoryStore::new(""));
    let a = unpack_into(&one, &maker.file(), maker.build()).expect("good").tree;
    let b = unpack_into(&two, &maker.file(), maker.build()).expect("good").tree;
    assert_eq!(a.kid(), b.kid());
    let objects: &dyn Objects = &one;
    let file = objects.walk(&a.kid().expect("tree"), "lib/demo/__init__.py").expect("read");
    assert_eq!(file.expect("there").attrs.mtime, 1_577_836_800, "the archive's time, as UTC");
}

#[test]
fn hostile_names_are_refused() {
    let named = |name: &[u8]| with(Member { name: name.to_vec(), ..member("x", "x") });
    for (name, want) in [
        (b"/etc/cron.d/x".as_slice(), "absolute"),
        (b"../../etc/x", ".. component"),
        (b"demo/../../x", ".. component"),
        (b"demo\\..\\x", "backslash"),
        (b"demo//x", "empty component"),
        (b"demo/\xff", "UTF-8"),
        (b"demo/__init__.py", "twice"),
        (b"Demo/__INIT__.py", "another case"),
        (b"demo-1.0.data/elsewhere/x", "unknown part"),
        (b"demo-1.0.data/purelib/../../x", ".. component"),
        (b"demo-1.0.data/platlib/demo/__init__.py", "cannot be placed"),
        (b"demo/__init__.py/x", "cannot be placed"),
    ] {
        refused(&named(name), want);
    }
}

#[test]
fn hostile_kinds_and_modes_are_refused() {
    for (mode, want) in [
        (0o120_777, "symbolic link"),
        (0o104_755, "another user"),
        (0o102_755, "another user"),
        (0o020_666, "neither a file"),
        (0o010_644, "neither a file"),
    ] {
        refused(&with(Member { mode, ..member("demo/x", "/etc/passwd") }), want);
    }
}

#[test]
fn what_record_does_not_say_is_refused() {
    let good = WheelMaker::new("demo", "1.0");
    let digest = record::digest_text(&Sha256::digest(b"x = 1\n"));
    let other = record::digest_text(&Sha256::digest(b"y = 2\n"));
    let rows = |module: &str, more: &str| {
        let info = "demo-1.0.dist-info";
        let of = |text: &[u8]| record::digest_text(&Sha256::digest(text));
        let metadata = of(good.metadata_text().as_bytes());
        let wheel = of(b"Wheel-Version: 1.0\nTag: py3-none-any\n");
        format!("{module}{info}/METADATA,{metadata},1\n{info}/WHEEL,{wheel},1\n{more}")
    };
    let module = |hash: &str| format!("demo/__init__.py,{hash},6\n");
    for (record, want) in [
        (rows(&module(&digest), ""), ""),
        (rows(&module(&other), ""), "another SHA-256"),
        (rows(&module(""), ""), "without a SHA-256"),
        (rows(&module("md5=x"), ""), "without a SHA-256"),
        (rows("", ""), "not listed"),
        (rows(&module(&digest), "gone.py,sha256=x,1\n"), "not there"),
        ("demo\n".to_owned(), "row 1 has 1 fields"),
    ] {
        let maker = WheelMaker { record: Some(record), ..good.clone() };
        if want.is_empty() {
            let store = MemoryStore::new("");
            unpack_into(&store, &maker.file(), maker.build()).expect("good");
        } else {
            refused(&maker, want);
        }
    }
}

#[test]
fn sizes_are_bounded() {
    let declared = |size| with(Member { declared: Some(size), ..member("demo/x", "x") });
    refused(&declared(3_000_000_000), "too much for its size");
    refused(&declared(2), "damaged");
    refused(&declared(0), "damaged");
    let mut bomb = with(member("demo/x", "x"));
    bomb.members.extend(
        (0..40)
            .map(|n| Member { declared: Some(100_000_000), ..member(&format!("demo/{n}"), "x") }),
    );
    refused(&bomb, "too much for its size");
}

#[test]
fn wheels_are_what_their_names_say() {
    let store = MemoryStore::new("");
    let maker = WheelMaker::new("demo", "1.0");
    for (file, want) in [
        ("other-1.0-py3-none-any.whl", "not other 1.0"),
        ("demo-1.1-py3-none-any.whl", "not demo 1.1"),
    ] {
        let error = unpack_into(&store, file, maker.build()).expect_err(want).to_string();
        assert!(error.contains(want), "{error}");
    }
    refused(&WheelMaker { format: "2.0".into(), ..maker.clone() }, "format \"2.0\"");
    refused(&with(member("more-1.dist-info/METADATA", "")), "single .dist-info");
    let bad = WheelMaker { entry_points: Some("[console_scripts]\n../x=a:b".into()), ..maker };
    refused(&bad, "entry_points.txt");
    for bytes in [b"".as_slice(), b"PK", b"hello", &[0; 100]] {
        let error = unpack_into(&store, "demo-1.0-py3-none-any.whl", bytes.to_vec());
        assert!(error.is_err());
    }
}

/// Whatever byte is damaged, there is an error or the same tree, never a panic.
#[test]
fn damage_is_found() {
    let maker = WheelMaker::new("demo", "1.0");
    let (good, store) = (maker.build(), MemoryStore::new(""));
    let tree = unpack_into(&store, &maker.file(), good.clone()).expect("good").tree;
    let mut found = 0;
    for at in 0..good.len() {
        let mut bytes = good.clone();
        bytes[at] ^= 0x41;
        match unpack_into(&store, &maker.file(), bytes) {
            Ok(other) => {
                let modules = |tree: &Entry| text(&store, tree, "lib/demo/__init__.py");
                assert_eq!(modules(&other.tree), modules(&tree));
            }
            Err(_) => found += 1,
        }
    }
    assert!(found > good.len() / 2, "{found} of {}", good.len());
    for len in (0..good.len()).step_by(7) {
        assert!(unpack_into(&store, &maker.file(), good[..len].to_vec()).is_err(), "{len}");
    }
}
