use keg::{Kid, store::MemoryStore};

use super::*;
use crate::debian::index::Compiler;

/// A suite from lines `name version | Field: value | …`.
fn suite(lines: &[&str]) -> (MemoryStore, Kid) {
    let mut text = String::new();
    for line in lines {
        let mut parts = line.split(" ; ");
        let (name, version) = parts.next().and_then(|p| p.split_once(' ')).expect("name version");
        text += &format!("Package: {name}\nVersion: {version}\nArchitecture: all\n");
        text += &format!("Filename: pool/{name}.deb\nSize: 1\nSHA256: {}\n", "0".repeat(64));
        parts.for_each(|field| text += &format!("{field}\n"));
        text += "\n";
    }
    let store = MemoryStore::new("");
    let mut compiler = Compiler::new("amd64");
    compiler.add(text.as_bytes(), 0).expect("good");
    let kid = compiler.write(&store).expect("written").kid().expect("a tree");
    (store, kid)
}

fn solve(lines: &[&str], wanted: &[&str], base: &[&str]) -> Result<String, ResolveError> {
    let (store, kid) = suite(lines);
    let index = Index::open(&store, &kid)?;
    let names = |names: &[&str]| names.iter().map(|n| (*n).to_owned()).collect::<Vec<_>>();
    let base = resolve(&index, "demo", &names(base), &[])?;
    let found = resolve(&index, "demo", &names(wanted), &base)?;
    Ok(found.iter().map(|p| p.name()).collect::<Vec<_>>().join(" "))
}

#[test]
fn chosen_as_apt_chooses() {
    let check = |lines: &[&str], wanted: &[&str], want: &str| {
        assert_eq!(solve(lines, wanted, &[]).expect(want), want);
    };
    check(&["a 1 ; Depends: b, c (>= 1)", "b 1 ; Pre-Depends: c", "c 1", "d 1"], &["a"], "a b c");
    // Alternatives from left to right.
    check(&["a 1 ; Depends: c | b", "b 1", "c 1"], &["a"], "a c");
    check(&["a 1 ; Depends: x | b", "b 1", "c 1"], &["a"], "a b");
    // What the request fulfils needs no choice.
    check(&["a 1 ; Depends: c | b", "b 1", "c 1"], &["a", "b"], "a b");
    // The package before those that provide it.
    check(&["a 1 ; Depends: z", "y 1 ; Provides: z", "z 1"], &["a"], "a z");
    // A purely virtual one goes to the highest priority, then by name.
    let providers =
        ["a 1 ; Depends: v", "x 1 ; Provides: v", "y 1 ; Provides: v ; Priority: important"];
    check(&providers, &["a"], "a y");
    check(&["a 1 ; Depends: v", "y 1 ; Provides: v", "x 1 ; Provides: v"], &["a"], "a x");
    // Versions.
    check(&["a 1 ; Depends: b (>= 2) | c", "b 1", "c 1"], &["a"], "a c");
    check(
        &["a 1 ; Depends: v (>= 2)", "x 1 ; Provides: v", "y 1 ; Provides: v (= 2)"],
        &["a"],
        "a y",
    );
    // Qualifiers.
    check(&["a 1 ; Depends: b:any", "b 1"], &["a"], "a b");
    // Circles end.
    check(&["a 1 ; Depends: b", "b 1 ; Depends: a"], &["b"], "a b");
    // A virtual name in the request with one provider.
    check(&["x 1 ; Provides: v"], &["v"], "x");
}

#[test]
fn a_choice_that_fails_is_taken_back() {
    let lines = [
        "a 1 ; Depends: b | c, d",
        "b 1 ; Depends: gone",
        "c 1",
        "d 1 ; Depends: e | f",
        "e 1 ; Conflicts: c",
        "f 1",
    ];
    assert_eq!(solve(&lines, &["a"], &[]).expect("solvable"), "a c d f");
    // Deeper: the first choice works until much later.
    let lines =
        ["a 1 ; Depends: b | c, d", "b 1", "c 1", "d 1 ; Depends: e", "e 1 ; Breaks: b (<< 2)"];
    assert_eq!(solve(&lines, &["a"], &[]).expect("solvable"), "a c d e");
}

#[test]
fn the_base_counts_and_is_not_repeated() {
    let lines = [
        "base 1 ; Depends: mawk | awk",
        "mawk 1 ; Provides: awk",
        "a 1 ; Depends: gawk | awk",
        "gawk 1",
    ];
    assert_eq!(solve(&lines, &["a"], &["base"]).expect("solvable"), "a");
    assert_eq!(solve(&lines, &["base"], &["base"]).expect("solvable"), "");
}

#[test]
fn conflicts_through_provides() {
    let lines = [
        "exim 1 ; Provides: mta ; Conflicts: mta",
        "postfix 1 ; Provides: mta ; Conflicts: mta",
        "a 1 ; Depends: exim | mta",
    ];
    assert_eq!(solve(&lines, &["a"], &[]).expect("one excludes itself not"), "a exim");
    assert_eq!(solve(&lines, &["a", "postfix"], &[]).expect("there"), "a postfix");
    let error = solve(&lines, &["exim", "postfix"], &[]).expect_err("both");
    assert!(error.to_string().contains("postfix and exim cannot"), "{error}");
}

#[test]
fn errors_name_what_is_wrong() {
    let lines = [
        "python3 1",
        "a 1 ; Depends: b",
        "b 1 ; Depends: python3 (>= 4) | gone",
        "x 1 ; Provides: v",
        "y 1 ; Provides: v",
        "q 1 ; Depends: libc6:i386",
    ];
    let check = |wanted: &str, want: &str| {
        let error = solve(&lines, &[wanted], &[]).expect_err(want);
        assert!(error.to_string().contains(want), "{error}");
    };
    check("pyhton3", "no package \"pyhton3\" in demo");
    check("a", "a → b needs python3 (>= 4) | gone, which no package of demo fulfils");
    check("v", "ask for one of x, y");
    check("q", "q needs libc6");
    match solve(&lines, &["pyhton3"], &[]) {
        Err(ResolveError::NoPackage { near, .. }) => assert_eq!(near, ["python3"]),
        other => panic!("{other:?}"),
    }
}
