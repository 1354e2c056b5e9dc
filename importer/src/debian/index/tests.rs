use keg::store::MemoryStore;

use super::*;

const HASH: &str = "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855";

/// A stanza of `Packages`.
fn stanza(name: &str, version: &str, more: &str) -> String {
    format!(
        "Package: {name}\nVersion: {version}\nArchitecture: amd64\nDescription: x\n more\n\
         Installed-Size: 10\nFilename: pool/{name}_{version}.deb\nSize: 5\nSHA256: {HASH}\n{more}\n"
    )
}

fn compile(origins: &[String]) -> Result<(MemoryStore, Kid), IndexError> {
    let store = MemoryStore::new("");
    let mut compiler = Compiler::new("amd64");
    for (number, text) in (0..).zip(origins) {
        compiler.add(text.as_bytes(), number)?;
    }
    let kid = compiler.write(&store)?.kid().expect("a tree");
    Ok((store, kid))
}

#[test]
fn packages_are_found_again() {
    let main = stanza("b", "1:1.0", "Provides: virtual, v2 (= 3)\nDepends: a (>= 1) | virtual\n")
        + &stanza("a", "1", "Essential: yes\nPriority: optional\n")
        + &stanza("c", "1", "Priority: required\nProvides: virtual\n");
    let (store, kid) = compile(&[main]).expect("compiles");
    let index = Index::open(&store, &kid).expect("opens");
    assert_eq!(index.len(), 3);
    let b = index.package(index.find("b").expect("there")).expect("read");
    assert_eq!((b.name(), b.version(), b.depends.len()), ("b", "1:1.0", 1));
    assert_eq!(b.promise.sha256, HASH);
    assert_eq!(b.provides[1], Provided { name: "v2".into(), version: Some("3".into()) });
    assert_eq!(index.find("virtual"), None);
    let names = |ids: Vec<Id>| -> Vec<String> {
        ids.into_iter().map(|id| index.package(id).expect("read").name().to_owned()).collect()
    };
    assert_eq!(names(index.providers("virtual")), ["b", "c"]);
    assert_eq!(names(index.providers("b")), [""; 0]);
    assert_eq!(names(index.base()), ["a", "c"]);
    assert_eq!(index.near("aa", 2), ["a"]);
}

#[test]
fn the_highest_version_wins_and_the_first_origin_among_equals() {
    let main = stanza("x", "1.0", "") + &stanza("y", "1.0", "") + &stanza("z", "2", "");
    let security = stanza("x", "1.0+deb13u1", "") + &stanza("y", "1.0", "") + &stanza("z", "1", "");
    let foreign = stanza("w", "1", "").replace("amd64", "i386");
    let (store, kid) = compile(&[main, security + &foreign]).expect("compiles");
    let index = Index::open(&store, &kid).expect("opens");
    for (name, version, origin) in [("x", "1.0+deb13u1", 1), ("y", "1.0", 0), ("z", "2", 0)] {
        let package = index.package(index.find(name).expect(name)).expect(name);
        assert_eq!((package.version(), package.origin), (version, origin), "{name}");
    }
    assert_eq!(index.find("w"), None);
}

#[test]
fn many_packages_fill_many_chunks() {
    let text: String = (0..2000).map(|i| stanza(&format!("p{i:04}"), "1", "")).collect();
    let (store, kid) = compile(&[text]).expect("compiles");
    let index = Index::open(&store, &kid).expect("opens");
    assert!(index.chunks.len() > 3);
    for name in ["p0000", "p0777", "p1999"] {
        let id = index.find(name).expect(name);
        assert_eq!(index.package(id).expect(name).name(), name);
    }
    assert!(index.package(2000).is_err());
}

#[test]
fn the_same_packages_are_the_same_index() {
    let (a, b) = (stanza("a", "1", ""), stanza("b", "1", ""));
    let one = compile(&[format!("{a}{b}")]).expect("compiles").1;
    let two = compile(&[format!("{b}{a}")]).expect("compiles").1;
    assert_eq!(one, two);
}

#[test]
fn bad_stanzas_are_named() {
    let read = |text: String| -> Result<(), IndexError> {
        let (store, kid) = compile(&[text])?;
        let index = Index::open(&store, &kid)?;
        index.package(0).map(|_| ())
    };
    let check = |text: String, want: &str| {
        let error = read(text).expect_err(want).to_string();
        assert!(error.contains(want), "{error}");
    };
    check("Package: a\nArchitecture: all\n".into(), "lacks a name or version");
    check(stanza("a", "1", "Provides: (\n"), "names no package");
    check(stanza("a", "1", "").replace(HASH, "zz"), "SHA256");
    check(stanza("a", "1", "").replace("pool/", "../"), "Filename");
    check(stanza("a", "1", "").replace("pool/", "http://x/"), "Filename");
    check(stanza("a", "1", "").replace("pool/", "/"), "Filename");
    check(stanza("a", "1", "").replace("Size: 5", "Size: 99999999999999"), "4 GiB");
    check(stanza("a", "1_2", ""), "version");
    check(stanza("A", "1", ""), "name");
    check(stanza("a", "1", "").replace("Size: 5", "Size: x"), "no number");
}

#[test]
fn a_damaged_index_is_an_error() {
    let (store, kid) = compile(&[stanza("a", "1", "")]).expect("compiles");
    let objects: &dyn Objects = &store;
    let tree = objects.tree(&kid).expect("a tree");
    let table = tree.entries[&b"table"[..]].kid().expect("a blob");
    let table = objects.blob(&table).expect("read");
    let mut damage: Vec<Vec<u8>> = vec![vec![], table[..20].to_vec(), table[..40].to_vec()];
    for (at, value) in [(0, b'X'), (16, 0xff), (20, 9), (24, 77)] {
        let mut bad = table.clone();
        bad[at] = value;
        damage.push(bad);
    }
    for bad in damage {
        let mut tree = tree.clone();
        let name = keg::object::EntryName::new("table").expect("a name");
        tree.entries.insert(name, objects.put_bytes(&bad).expect("stored"));
        let kid = objects.put_tree(&tree).expect("stored").kid().expect("a tree");
        assert!(Index::open(objects, &kid).is_err());
    }
}
