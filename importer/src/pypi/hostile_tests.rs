//! Input made of the right pieces in the wrong order: an error or a value, never a panic, and
//! never for long.

use std::time::{Duration, Instant};

use url::Url;

use super::{
    lockfiles, metadata::Metadata, name::PackageName, project::Project, requirement::Requirement,
    requirements::Requirements, tags::WheelName, target::Target, version::Specifiers,
};

/// Texts tried for each kind of input.
const ROUNDS: usize = 4_000;
/// Longest that one text may take, in a debug build on a busy machine.
const PATIENCE: Duration = Duration::from_secs(3);

/// A xorshift generator: the same pieces in every run.
struct Dice(u64);

impl Dice {
    fn roll(&mut self, sides: usize) -> usize {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        (self.0 % sides as u64) as usize
    }

    fn text(&mut self, pieces: &[&str]) -> String {
        (0..=self.roll(14)).map(|_| pieces[self.roll(pieces.len())]).collect()
    }
}

fn check(seed: u64, pieces: &[&str], take: impl Fn(&str)) {
    let mut dice = Dice(seed);
    for _ in 0..ROUNDS {
        let text = dice.text(pieces);
        let start = Instant::now();
        take(&text);
        assert!(start.elapsed() < PATIENCE, "{text:?} took {:?}", start.elapsed());
    }
}

const REQUIREMENT: &[&str] = &[
    "flask",
    "a",
    "-",
    "_",
    ".",
    "[",
    "]",
    ",",
    "(",
    ")",
    ">=",
    "==",
    "~=",
    "!=",
    "===",
    "<",
    ">",
    "1",
    "1.0",
    "2.*",
    ".*",
    "1!2",
    "rc1",
    ".post1",
    ".dev0",
    "+local",
    "18446744073709551616",
    " ",
    "  ",
    ";",
    "@",
    "#",
    "'",
    "\"",
    "ä",
    "\u{0}",
    "\t",
    "\n",
    "\\\n",
    "é'",
    "python_version",
    "sys_platform",
    "os_name",
    "extra",
    "platform_release",
    "implementation_version",
    " in ",
    " not in ",
    " and ",
    " or ",
    "not",
    "'linux'",
    "'3.8'",
    "\"3.* 3.9\"",
    "'x'",
    "${A}",
    "--hash=sha256:00",
    "--pre",
    "-r",
    "-e ",
    "https://x/y",
    "[project]\n",
    "[[package]]\n",
];

#[test]
fn requirements_do_not_panic() {
    let target = Target::new("trixie", "3.13", "x86_64").expect("a known target");
    check(0x9E37_79B9, REQUIREMENT, |text| {
        if let Ok(requirement) = text.parse::<Requirement>() {
            requirement.applies(&target, Some(&requirement.name));
            // What is written reads as the same.
            let again = requirement.to_string();
            assert_eq!(again.parse::<Requirement>().map(|r| r.to_string()), Ok(again));
        }
        drop(Requirements::parse(text, &target).map_err(|error| error.to_string()));
        drop(Specifiers::parse(text));
        drop(lockfiles::as_requirements(text, &target));
        let header = format!("Name: a\nVersion: 1\nRequires-Dist: {text}\nRequires-Python: {text}");
        drop(Metadata::parse(header.as_bytes()).map_err(|error| error.to_string()));
    });
}

#[test]
fn markers_do_not_panic() {
    let target = Target::new("bookworm", "3.11", "x86_64").expect("a known target");
    let pieces: Vec<&str> = REQUIREMENT.iter().copied().skip(11).collect();
    check(0x5851_F42D, &pieces, |text| {
        for marker in [format!("a ; {text}"), format!("a ; os_name == {text}")] {
            if let Ok(requirement) = marker.parse::<Requirement>() {
                requirement.applies(&target, None);
            }
        }
    });
}

#[test]
fn large_markers_take_no_time() {
    let target = Target::new("trixie", "3.13", "x86_64").expect("a known target");
    let keys = ["os_name", "sys_platform", "platform_machine", "platform_release", "extra"];
    let term = |n: usize| format!("{} == 'v{n}'", keys[n % keys.len()]);
    // Pairs far apart in any order of the variables: what decision diagrams are worst at.
    let pairs: Vec<String> =
        (0..16).map(|n| format!("({} and {})", term(n), term(31 - n))).collect();
    let sums: Vec<String> = (0..16).map(|n| format!("({} or {})", term(n), term(31 - n))).collect();
    for marker in [pairs.join(" or "), sums.join(" and ")] {
        let start = Instant::now();
        let requirement = format!("a ; {marker}").parse::<Requirement>();
        drop(requirement.map(|requirement| requirement.applies(&target, None)));
        assert!(start.elapsed() < PATIENCE, "{:?}", start.elapsed());
    }
}

#[test]
fn pages_and_file_names_do_not_panic() {
    let base = Url::parse("https://index.example/simple/a/").expect("good");
    let name = PackageName::new("a").expect("good");
    let pieces = [
        "{",
        "}",
        "[",
        "]",
        "\"files\":",
        "\"meta\":",
        "\"api-version\":",
        "\"1.0\"",
        ",",
        "null",
        "\"filename\":",
        "\"a-1-py3-none-any.whl\"",
        "\"url\":",
        "\"http://[\"",
        "\"//\"",
        "true",
        "<a href=",
        "'a-1-py3-none-any.whl#sha256=0'",
        ">",
        "</a>",
        "<!--",
        "-->",
        "<html>",
        "&gt;",
        "&#0;",
        "\u{0}",
        "ä",
        "a",
        "-",
        "1",
        ".",
        "+",
        "py3",
        "cp313",
        "none",
        "any",
        ".whl",
        "_",
        "manylinux_2_17_x86_64",
        "manylinux_2_",
        "99999999999",
        ".tar.gz",
    ];
    check(0x2545_F491, &pieces, |text| {
        let target = Target::new("trixie", "3.13", "x86_64").expect("a known target");
        drop(Project::read(&name, text.as_bytes(), &base).map_err(|error| error.to_string()));
        let _ = WheelName::parse(text).map(|wheel| wheel.fit(&target));
        let html = format!("<{text}");
        drop(Project::read(&name, html.as_bytes(), &base).map_err(|error| error.to_string()));
    });
}
