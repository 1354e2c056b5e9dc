//! Unions and edits, on trees written as lines of text.

use std::time::Instant;

use proptest::prelude::*;

use super::{
    Conflict, Edit, Resolution, UnionError, edit, overlay, remove_paths, union, with_prefix,
};
use crate::object::{Entry, EntryName, Tree, Value};
use crate::store::Objects;
use crate::{Keg, Kid};

/// A tree of `path=content`, `path/` (a directory) and `path->target` lines; `path*…` gives the
/// entry mode 0700.
fn tree(objects: &dyn Objects, lines: &[&str]) -> Kid {
    let edits = lines.iter().map(|line| {
        let (line, mode) = match line.strip_suffix('*') {
            Some(line) => (line, Some(0o700)),
            None => (*line, None),
        };
        let (path, mut entry) = if let Some((path, target)) = line.split_once("->") {
            (path, Entry::symlink(target))
        } else if let Some((path, content)) = line.split_once('=') {
            (path, objects.put_bytes(content.as_bytes()).unwrap())
        } else {
            (line, objects.put_tree(&Tree::default()).unwrap())
        };
        entry.attrs.mode = mode.unwrap_or(entry.attrs.mode);
        (path, Edit::Set(entry))
    });
    let empty = objects.put_tree(&Tree::default()).unwrap().kid().unwrap();
    edit(objects, &empty, edits).unwrap().kid().unwrap()
}

/// The lines of a tree, directories only where they are empty or special.
fn lines(objects: &dyn Objects, kid: &Kid) -> Vec<String> {
    fn below(objects: &dyn Objects, kid: &Kid, path: &str, out: &mut Vec<String>) {
        for (name, entry) in objects.tree(kid).unwrap().entries {
            let path = format!("{path}{}", name.to_string_lossy());
            let mark = if entry.attrs.mode == 0o700 { "*" } else { "" };
            match &entry.value {
                Value::File { kid, .. } => {
                    let text = String::from_utf8(objects.blob(kid).unwrap()).unwrap();
                    out.push(format!("{path}={text}{mark}"));
                }
                Value::Symlink { target } => {
                    out.push(format!("{path}->{}", String::from_utf8_lossy(target)));
                }
                Value::Tree { kid, entries, .. } => {
                    if *entries == 0 || !mark.is_empty() {
                        out.push(format!("{path}/{mark}"));
                    }
                    below(objects, kid, &format!("{path}/"), out);
                }
                other => panic!("{other:?}"),
            }
        }
    }
    let mut out = Vec::new();
    below(objects, kid, "", &mut out);
    out
}

type Policy = fn(&Conflict) -> Resolution;
const UPPER: Policy = |_| Resolution::TakeUpper;
const LOWER: Policy = |_| Resolution::KeepLower;
const FAIL: Policy = |_| Resolution::Fail;

#[test]
fn layers_merge_by_the_rules() {
    let keg = Keg::in_memory();
    let objects = keg.objects();
    let check = |name: &str, layers: &[&[&str]], policy: Policy, want: Result<&[&str], &str>| {
        let kids: Vec<Kid> = layers.iter().map(|lines| tree(objects, lines)).collect();
        let got = union(objects, &kids, &policy);
        match (got, want) {
            (Ok(entry), Ok(want)) => {
                assert_eq!(lines(objects, &entry.kid().unwrap()), want, "{name}");
                assert_eq!(entry, objects.tree_entry(&entry.kid().unwrap()).unwrap(), "{name}");
            }
            (Err(error), Err(want)) => assert!(error.to_string().contains(want), "{name}: {error}"),
            (got, _) => panic!("{name}: {got:?}"),
        }
    };
    check("nothing", &[], FAIL, Ok(&[]));
    check("one", &[&["a=1", "d/b=2"]], FAIL, Ok(&["a=1", "d/b=2"]));
    check("disjoint", &[&["a=1"], &["b=2"]], FAIL, Ok(&["a=1", "b=2"]));
    check("same file", &[&["d/a=1"], &["d/a=1", "d/b=2"]], FAIL, Ok(&["d/a=1", "d/b=2"]));
    check(
        "deep",
        &[&["x/y/a=1"], &["x/z/b=2"], &["x/y/c=3"]],
        FAIL,
        Ok(&["x/y/a=1", "x/y/c=3", "x/z/b=2"]),
    );
    check(
        "upper directory's mode",
        &[&["d/", "d/a=1"], &["d*", "d/b=2"]],
        FAIL,
        Ok(&["d/*", "d/a=1", "d/b=2"]),
    );
    check(
        "lower directory's mode",
        &[&["d*", "d/a=1"], &["d/", "d/b=2"]],
        FAIL,
        Ok(&["d/a=1", "d/b=2"]),
    );
    check("mode of the same directory", &[&["d*"], &["d/"]], FAIL, Ok(&["d/"]));
    let differ: &[&[&str]] = &[&["d/a=1"], &["e=0"], &["d/a=2"]];
    check("upper", differ, UPPER, Ok(&["d/a=2", "e=0"]));
    check("lower", differ, LOWER, Ok(&["d/a=1", "e=0"]));
    check("fail", differ, FAIL, Err("layers 0 and 2 both have \"d/a\""));
    check("only the mode", &[&["a=1"], &["a=1*"]], FAIL, Err("layers 0 and 1"));
    check("file over directory", &[&["d/a=1"], &["d=x"]], UPPER, Ok(&["d=x"]));
    check("directory over file", &[&["d=x"], &["d/a=1"]], UPPER, Ok(&["d/a=1"]));
    check("directory over link", &[&["d->usr"], &["d/a=1"]], LOWER, Ok(&["d->usr"]));
    check("hidden below", &[&["d/a=1"], &["d=x"], &["d/b=2"]], UPPER, Ok(&["d/b=2"]));
    check("back again", &[&["d/a=1"], &["d/a=2"], &["d/a=1"]], UPPER, Ok(&["d/a=1"]));
    check("the first stays", &[&["d/a=1"], &["d/a=2"], &["d/a=1"]], LOWER, Ok(&["d/a=1"]));
    check(
        "not the middle",
        &[&["d/a=1"], &["d/a=2", "d/c=3"], &["d/a=1"]],
        LOWER,
        Ok(&["d/a=1", "d/c=3"]),
    );
}

#[test]
fn shared_directories_keep_their_kids_and_are_not_read() {
    let keg = Keg::in_memory();
    let objects = keg.objects();
    let lower = tree(objects, &["d/a=1", "e/x=1"]);
    // A directory that is not here: it can be shared, but not read.
    let absent = Entry {
        value: Value::Tree { kid: Kid::of_blob(b"?"), bytes: 5, entries: 1 },
        ..objects.tree_entry(&lower).unwrap()
    };
    let upper = edit(objects, &tree(objects, &["d/b=2"]), [("elsewhere", Edit::Set(absent))]);
    let merged = overlay(objects, &[lower, upper.unwrap().kid().unwrap()]).unwrap().kid().unwrap();
    let part = |kid: &Kid, path: &str| objects.walk(kid, path).unwrap().unwrap();
    assert_eq!(part(&merged, "e"), part(&lower, "e"));
    assert_eq!(part(&merged, "elsewhere").kid(), Some(Kid::of_blob(b"?")));
}

#[test]
fn a_conflict_says_everything() {
    let keg = Keg::in_memory();
    let objects = keg.objects();
    let layers = [tree(objects, &["x=1"]), tree(objects, &["d/a=1"]), tree(objects, &["d/a=1*"])];
    let seen = std::cell::RefCell::new(Vec::new());
    union(objects, &layers, &|conflict| {
        seen.borrow_mut().push(conflict.clone());
        Resolution::KeepLower
    })
    .unwrap();
    let [conflict] = &seen.into_inner()[..] else { panic!("one conflict") };
    assert_eq!(
        (conflict.path_lossy().as_str(), conflict.lower_layer, conflict.layer),
        ("d/a", 1, 2)
    );
    assert!(conflict.same_value());
    assert_eq!((conflict.lower.attrs.mode, conflict.upper.attrs.mode), (0o644, 0o700));
}

#[test]
fn edits_apply_to_their_paths_only() {
    let keg = Keg::in_memory();
    let objects = keg.objects();
    let base = tree(objects, &["a=1", "d/b=2", "d/e/f=3", "l->d"]);
    let set = |text: &str| Edit::Set(objects.put_bytes(text.as_bytes()).unwrap());
    let check = |name: &str, edits: &[(&str, Edit)], want: Result<&[&str], &str>| match (
        edit(objects, &base, edits.iter().cloned()),
        want,
    ) {
        (Ok(entry), Ok(want)) => {
            assert_eq!(lines(objects, &entry.kid().unwrap()), want, "{name}");
        }
        (Err(error), Err(want)) => assert!(error.to_string().contains(want), "{name}: {error}"),
        (got, _) => panic!("{name}: {got:?}"),
    };
    let same: &[&str] = &["a=1", "d/b=2", "d/e/f=3", "l->d"];
    check("nothing", &[], Ok(same));
    check(
        "set",
        &[("/d//e/new/", set("4"))],
        Ok(&["a=1", "d/b=2", "d/e/f=3", "d/e/new=4", "l->d"]),
    );
    check(
        "made directories",
        &[("x/y/z", set("4"))],
        Ok(&["a=1", "d/b=2", "d/e/f=3", "l->d", "x/y/z=4"]),
    );
    check("removed", &[("d/e", Edit::Remove), ("a", Edit::Remove)], Ok(&["d/b=2", "l->d"]));
    check("removed, absent", &[("x/y", Edit::Remove), ("a/b", Edit::Remove)], Ok(same));
    check(
        "removed, then set below",
        &[("d", Edit::Remove), ("d/n", set("4"))],
        Ok(&["a=1", "d/n=4", "l->d"]),
    );
    check(
        "the last counts",
        &[("a", Edit::Remove), ("a", set("5"))],
        Ok(&["a=5", "d/b=2", "d/e/f=3", "l->d"]),
    );
    check("through a link", &[("l/x", set("4"))], Err("not a directory"));
    check("through a file", &[("a/x", set("4"))], Err("not a directory"));
    check("dots", &[("d/../x", set("4"))], Err("directory above"));
    check("no path", &[("//", set("4"))], Err("1 to 512 names"));
    assert_eq!(remove_paths(objects, &base, ["x", "d/x"]).unwrap().kid(), Some(base));
    let subtree = objects.walk(&base, "d").unwrap().unwrap();
    let placed = with_prefix(objects, subtree, "opt/app").unwrap().kid().unwrap();
    assert_eq!(lines(objects, &placed), ["opt/app/b=2", "opt/app/e/f=3"]);
    let deep = "x/".repeat(513);
    assert!(matches!(remove_paths(objects, &base, [&deep]), Err(UnionError::Path { .. })));
}

proptest! {
    /// The union of any layers is what writing their files one over the other gives.
    #[test]
    fn an_overlay_is_the_layers_written_in_order(
        layers in proptest::collection::vec(
            proptest::collection::btree_map("[ab](/[ab]){0,3}", 0..3_u8, 0..8), 0..5)
    ) {
        let keg = Keg::in_memory();
        let objects = keg.objects();
        let empty = objects.put_tree(&Tree::default()).unwrap().kid().unwrap();
        let mut kids = Vec::new();
        let mut want = empty;
        for layer in layers {
            let mut own = empty;
            // A file hides what is below it in the same layer: keep the shorter path.
            let leaves: Vec<_> = layer.iter().filter(|(path, _)| {
                !layer.keys().any(|other| path.starts_with(&format!("{other}/")))
            }).collect();
            for (path, content) in leaves {
                let file = objects.put_bytes(&[*content]).unwrap();
                let set = [(path, Edit::Set(file.clone()))];
                own = edit(objects, &own, set).unwrap().kid().unwrap();
                // A directory takes the place of a file.
                for part in path.match_indices('/').map(|(at, _)| &path[..at]) {
                    let there = objects.walk(&want, part).unwrap();
                    if matches!(there, Some(Entry { value: Value::File { .. }, .. })) {
                        want = remove_paths(objects, &want, [part]).unwrap().kid().unwrap();
                    }
                }
                want = edit(objects, &want, [(path, Edit::Set(file))]).unwrap().kid().unwrap();
            }
            kids.push(own);
        }
        prop_assert_eq!(overlay(objects, &kids).unwrap().kid(), Some(want));
    }
}

/// Prints the figure; asserts nothing about it.
#[test]
fn figures_of_unions() {
    const PACKAGES: usize = 100;
    let dir = tempfile::tempdir().unwrap();
    let keg = Keg::create(&dir.path().join("home")).unwrap();
    let objects = keg.objects();
    let packages: Vec<Kid> = (0..PACKAGES)
        .map(|n| {
            let mut lines = vec![
                format!("usr/share/doc/p{n}/copyright={n}"),
                format!("usr/share/doc/p{n}/changelog.Debian.gz={n}c"),
                format!("usr/share/man/man1/p{n}.1.gz={n}m"),
                format!("var/lib/dpkg/info/p{n}.list={n}l"),
            ];
            lines.extend((0..20).map(|i| format!("usr/lib/x86_64-linux-gnu/p{n}-{i}.so={n}{i}")));
            lines.extend((0..5).map(|i| format!("usr/bin/p{n}-{i}={n}{i}b")));
            tree(objects, &lines.iter().map(String::as_str).collect::<Vec<_>>())
        })
        .collect();
    objects.sync().unwrap();
    for _ in 0..3 {
        let start = Instant::now();
        let merged = union(objects, &packages, &FAIL).unwrap();
        println!("union of {PACKAGES} packages: {:?}, {:?}", start.elapsed(), merged.value);
    }
    let mut wide = Tree::default();
    for n in 0..5000 {
        let name = EntryName::new(format!("{n}")).unwrap();
        wide.entries.insert(name, objects.put_bytes(format!("{n}").as_bytes()).unwrap());
    }
    let wide = objects.put_tree(&wide).unwrap().kid().unwrap();
    let start = Instant::now();
    overlay(objects, &[wide, packages[0]]).unwrap();
    println!("union of a directory of 5,000 and a package: {:?}", start.elapsed());
}
