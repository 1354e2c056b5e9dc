//! With the real package registries: Debian's and PyPI's, where this machine is set up to find
//! them. Small packages only; each test says by its name that it fetches.

use keg_tests::{Repo, World, network};

#[test]
fn registry_flask_from_debian_and_pypi() {
    if !network() {
        return;
    }
    let world = World::empty();
    let repo = world.repo("blog");
    repo.copy(&Repo::project("examples/hello-flask")).commit("Hello from Flask");
    let push = repo.push().ok();
    for line in ["Python app detected", "10-packages", "20-wheels", "=====> live at"] {
        assert!(push.said.contains(line), "{line:?} in\n{}", push.said);
    }
    let page = world.get("blog", "/");
    assert!(page.status == 200 && page.body.contains("<title>Hello from Flask"), "{page:?}");

    let why = world.json(&["why", &world.app_url("blog")]);
    let packages = why["packages"].as_array().expect("packages");
    for (name, from) in [("flask", "pypi"), ("gunicorn", "pypi"), ("python3.13", "debian")] {
        let found = packages.iter().find(|package| package["name"] == name);
        let found = found.unwrap_or_else(|| panic!("{name} in {packages:?}"));
        assert_eq!(found["from"], from);
        let kid = found["kid"].as_str().expect("a KID");
        assert!(!world.keg(&["ls", kid]).ok().is_empty(), "{name} can be looked into");
    }

    // The same packages again need nothing from outside: another app is live without an import.
    let again = world.repo("other");
    again.copy(&Repo::project("examples/hello-flask")).commit("The same");
    let push = again.push().ok();
    assert!(!push.said.contains("Fetching"), "{}", push.said);
    world.assert_clean();
}

#[test]
fn registry_static_site_with_a_server_from_debian() {
    if !network() {
        return;
    }
    let world = World::empty();
    let repo = world.repo("site");
    repo.copy(&Repo::project("examples/hello-static")).commit("A site");
    repo.push().ok();
    let page = world.get("site", "/");
    assert!(page.status == 200 && page.body.contains("<html"), "{page:?}");
    let missing = world.get("site", "/nothing-here");
    assert_eq!(missing.status, 404);
    assert!(missing.body.contains("<html"), "the site's own page: {missing:?}");
}

#[test]
fn registry_another_suite_for_an_older_python() {
    if !network() {
        return;
    }
    let world = World::empty();
    let repo = world.probe("old");
    repo.write(".python-version", "3.11\n").commit("On bookworm");
    let push = repo.push().ok();
    assert!(push.said.contains("bookworm"), "{}", push.said);
    assert_eq!(world.get("old", "/").body, "one");
}

#[test]
fn registry_a_requirement_that_does_not_exist() {
    if !network() {
        return;
    }
    let world = World::empty();
    let repo = world.repo("blog");
    repo.copy(&Repo::project("examples/hello-flask"));
    repo.write("requirements.txt", "flask\nkeg-has-no-such-package-as-this\n").commit("Wrong");
    let words = ["keg-has-no-such-package-as-this", "requirements.txt"];
    let push = repo.push().refused(&words);
    println!("{}", push.said);
    assert!(world.ps("blog").is_empty());
    assert!(world.keg(&["ls", "/source/blog"]).ok().contains("app.py"), "the source is kept");
    world.assert_clean();
}
