use std::{cell::RefCell, collections::HashMap};

use super::*;
use crate::pypi::version::Specifiers;

/// An index in memory: `name version: requirement; requirement`, one line a wheel. After the
/// version `!` withdraws it, `?` gives it only a wheel for Windows.
struct Shelf {
    projects: HashMap<String, Rc<Project>>,
    metadata: HashMap<String, Rc<Metadata>>,
    asked: RefCell<Vec<String>>,
}

impl Shelf {
    fn new(text: &str) -> Self {
        let mut projects: HashMap<String, Project> = HashMap::new();
        let mut metadata = HashMap::new();
        for line in text.lines().map(str::trim).filter(|line| !line.is_empty()) {
            let (head, needs) = line.split_once(':').unwrap_or((line, ""));
            let (name, version) = head.trim().split_once(' ').expect("a name and a version");
            let clean = version.trim_end_matches(['!', '?']);
            let tags =
                if version.ends_with('?') { "cp313-cp313-win_amd64" } else { "py3-none-any" };
            let file = format!("{}-{clean}-{tags}.whl", name.replace('-', "_"));
            let requires: Vec<_> =
                needs.split('|').map(str::trim).filter(|n| !n.is_empty()).collect();
            let text =
                requires.iter().fold(format!("Name: {name}\nVersion: {clean}\n"), |text, need| {
                    format!("{text}Requires-Dist: {need}\n")
                });
            let parsed = Metadata::parse(text.as_bytes()).expect(line);
            metadata.insert(file.clone(), Rc::new(parsed));
            let project = projects.entry(name.to_owned()).or_insert_with(|| Project {
                name: name.to_owned(),
                as_of: String::new(),
                as_of_ms: 0,
                wheels: Vec::new(),
                sources: Vec::new(),
            });
            project.wheels.push(WheelFile {
                url: format!("http://127.0.0.1/{file}"),
                sha256: Some(hex::encode(sha2::Sha256::digest(file.as_bytes()))),
                file,
                size: None,
                requires_python: None,
                uploaded: None,
                yanked: version.ends_with('!').then(|| "broken".to_owned()),
                metadata: None,
            });
        }
        let projects = projects.into_iter().map(|(name, p)| (name, Rc::new(p))).collect();
        Self { projects, metadata, asked: RefCell::default() }
    }

    fn resolve(&self, requirements: &str) -> Result<String, ResolveError> {
        let target = Target::new("trixie", "3.13", "x86_64").expect("a known target");
        let requirements = Requirements::parse(requirements, &target).expect("good");
        let chosen = resolve(self, &target, &requirements)?;
        let texts: Vec<_> = chosen.iter().map(|c| format!("{} {}", c.name, c.version)).collect();
        Ok(texts.join(", "))
    }
}

use sha2::Digest;

impl Source for Shelf {
    fn project(&self, name: &PackageName) -> Result<Option<Rc<Project>>, IndexError> {
        Ok(self.projects.get(name.as_str()).cloned())
    }

    fn metadata(&self, wheel: &WheelFile) -> Result<Rc<Metadata>, IndexError> {
        self.asked.borrow_mut().push(wheel.file.clone());
        Ok(self.metadata[&wheel.file].clone())
    }
}

const SHELF: &str = "
    flask 2.0: werkzeug>=2
    flask 3.0: werkzeug>=3 | click>=8 | asgiref>=3 ; extra == 'async'
    flask 3.1rc1: werkzeug>=3
    werkzeug 2.9
    werkzeug 3.0: markupsafe>=2.1.1
    markupsafe 2.1.1
    markupsafe 3.0
    click 8.0
    click 8.1!
    asgiref 3.8: typing ; python_version < '3.11'
    beta 0.1a1
    beta 0.2b1
    needs-beta 1: beta
    pins-pre 1: flask==3.1rc1
    old 1.0
    old 2.0?
    all 1.0: all[one,two] ; extra == 'both' | old ; extra == 'one' | click ; extra == 'two'
    lost 1.0: nowhere>=1
    url 1.0
    ring-a 1: ring-b
    ring-b 1: ring-a
    wants-old-werkzeug 1: werkzeug<3
";

#[test]
fn the_newest_versions_that_fit_are_chosen() {
    let shelf = Shelf::new(SHELF);
    for (requirements, want) in [
        ("flask", "click 8.0, flask 3.0, markupsafe 3.0, werkzeug 3.0"),
        ("Flask[Async]", "asgiref 3.8, click 8.0, flask 3.0, markupsafe 3.0, werkzeug 3.0"),
        ("flask\nwerkzeug<3", "flask 2.0, werkzeug 2.9"),
        ("flask\nwants-old-werkzeug", "flask 2.0, wants-old-werkzeug 1, werkzeug 2.9"),
        ("flask\nmarkupsafe<3", "click 8.0, flask 3.0, markupsafe 2.1.1, werkzeug 3.0"),
        ("--pre\nflask", "flask 3.1rc1, markupsafe 3.0, werkzeug 3.0"),
        ("flask>=3.1rc1", "flask 3.1rc1, markupsafe 3.0, werkzeug 3.0"),
        ("flask>3.0", "flask 3.1rc1, markupsafe 3.0, werkzeug 3.0"),
        ("pins-pre", "flask 3.1rc1, markupsafe 3.0, pins-pre 1, werkzeug 3.0"),
        ("needs-beta", "beta 0.2b1, needs-beta 1"),
        ("click", "click 8.0"),
        ("click==8.1", "click 8.1"),
        ("click==8.1\nflask", "click 8.1, flask 3.0, markupsafe 3.0, werkzeug 3.0"),
        ("old", "old 1.0"),
        ("all[both]", "all 1.0, click 8.0, old 1.0"),
        ("all[one]", "all 1.0, old 1.0"),
        ("all[unknown]", "all 1.0"),
        ("ring-a", "ring-a 1, ring-b 1"),
        ("", ""),
    ] {
        let found = shelf.resolve(requirements);
        assert_eq!(found.as_deref().ok(), Some(want), "{requirements}: {found:?}");
    }
}

#[test]
fn metadata_is_read_only_of_what_is_tried() {
    let shelf = Shelf::new(SHELF);
    shelf.resolve("flask").expect("good");
    let mut asked = shelf.asked.borrow().clone();
    asked.sort();
    asked.dedup();
    assert_eq!(asked.len(), 4, "{asked:?}");
}

#[test]
fn what_cannot_be_met_is_told_in_plain_words() {
    let shelf = Shelf::new(SHELF);
    for (requirements, wants) in [
        ("click\nflaskk", vec!["line 2", "flaskk", "no such package"]),
        ("flask>=4", vec!["line 1", "flask>=4", "the newest are 3.1rc1, 3.0, 2.0"]),
        ("old==2.0", vec!["old 2.0 cannot be used", "no wheel for Python 3.13", "win_amd64"]),
        ("flask>=3\nwerkzeug<3", vec!["flask 3.0 needs werkzeug>=3", "line 2 asks for werkzeug<3"]),
        ("lost", vec!["lost 1.0 needs nowhere>=1", "no package called nowhere"]),
        ("flask==3.0\nwants-old-werkzeug", vec!["wants-old-werkzeug 1 needs werkzeug<3"]),
        ("click>=8.1", vec!["click 8.1", "withdrawn (broken)"]),
    ] {
        let error = shelf.resolve(requirements).expect_err(requirements).to_string();
        for want in wants {
            assert!(error.contains(want), "{requirements}: {error}");
        }
    }
}

#[test]
fn hashes_choose_files_and_every_package_needs_them() {
    let shelf = Shelf::new(SHELF);
    let hash = |file: &str| hex::encode(sha2::Sha256::digest(file.as_bytes()));
    let line = |name: &str, version: &str| {
        let file = format!("{name}-{version}-py3-none-any.whl");
        format!("{name}=={version} --hash=sha256:{}\n", hash(&file))
    };
    let all = line("werkzeug", "3.0") + &line("markupsafe", "3.0");
    assert_eq!(shelf.resolve(&all).expect("good"), "markupsafe 3.0, werkzeug 3.0");
    let error = shelf.resolve(&line("werkzeug", "3.0")).expect_err("incomplete").to_string();
    assert!(error.contains("markupsafe is needed by werkzeug 3.0"), "{error}");
    let wrong = all.replace(&hash("werkzeug-3.0-py3-none-any.whl"), &hash("x"));
    let error = shelf.resolve(&wrong).expect_err("another file").to_string();
    assert!(error.contains("listed hashes"), "{error}");
}

/// Many versions and a conflict at the end: it takes a moment, not for ever.
#[test]
fn hard_problems_end() {
    let mut text = String::new();
    for n in 1..200 {
        text += &format!("a {n}: b=={n}\nb {n}: c=={n}\nc {n}: d=={}\n", n + 1000);
    }
    let shelf = Shelf::new(&(text + "d 1\n"));
    let error = shelf.resolve("a").expect_err("no d fits").to_string();
    assert!(error.contains("cannot all be met"), "{error}");
    assert!(error.len() < 4_000, "{}", error.len());
    assert!(Specifiers::default().is_any());
}
