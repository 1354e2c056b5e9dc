use super::*;
use crate::debian::{
    index::Index,
    snapshot,
    testing::{DebMaker, TestMirror, file},
};

struct World {
    mirror: TestMirror,
    keg: Keg,
    snapshot: snapshot::Snapshot,
}

impl World {
    fn new(debs: &[DebMaker]) -> Self {
        let mirror = TestMirror::new();
        mirror.publish("demo", debs);
        let keg = Keg::in_memory();
        let apt = mirror.apt(&["demo"]);
        let snapshot = snapshot::take(&keg, &apt, "demo", "amd64", &mut |_| {}).expect("taken");
        Self { mirror, keg, snapshot }
    }

    fn packages(&self, names: &[&str]) -> Vec<Rc<Package>> {
        let index = Index::open(self.keg.objects(), &self.snapshot.index).expect("opens");
        let one = |name: &&str| index.package(index.find(name).expect("there")).expect("read");
        names.iter().map(one).collect()
    }

    fn fetch(&self, names: &[&str]) -> Result<Vec<Pooled>, PoolError> {
        let fetching = Fetching {
            keg: &self.keg,
            suite: "demo",
            snapshot: &self.snapshot.doc,
            apt: &|| Ok(self.mirror.apt(&["demo"])),
            workers: 0,
        };
        fetching.all(&self.packages(names), &mut |_| {})
    }

    fn deb(&self, stem: &str) -> std::path::PathBuf {
        self.mirror.path(&format!("pool/{stem}.deb"))
    }
}

fn deb(name: &str) -> DebMaker {
    DebMaker::new(name, "1:2-3", vec![file("./usr/x", name)])
}

#[test]
fn what_was_fetched_is_not_fetched_again() {
    let world = World::new(&[deb("a"), deb("b")]);
    let one = world.fetch(&["a", "b"]).expect("good");
    std::fs::remove_dir_all(world.mirror.path("pool")).expect("removed");
    let two = world.fetch(&["b", "a"]).expect("no network needed");
    assert_eq!((one[0].kid, one[1].kid), (two[1].kid, two[0].kid));
    let path = "/packages/debian/demo/pool/a_1%3a2-3_all".parse().expect("a path");
    let entry = world.keg.get(&path).expect("read").expect("there");
    assert_eq!(entry.kid(), Some(one[0].kid));
}

#[test]
fn a_package_that_is_not_what_was_promised_is_refused() {
    let world = World::new(&[deb("a"), deb("b"), deb("c")]);
    let refused = |want: &str| {
        let error = world.fetch(&["b", "a"]).expect_err(want).to_string();
        assert!(error.contains(want), "{error}");
    };
    let path = world.deb("a_1%3a2-3_all");
    let good = std::fs::read(&path).expect("there");
    let mut bad = good.clone();
    bad[good.len() - 1] ^= 1;
    std::fs::write(&path, &bad).expect("written");
    refused("another SHA256");
    std::fs::write(&path, &good[1..]).expect("written");
    refused("another size");
    std::fs::write(&path, [&good[..], b"x"].concat()).expect("written");
    refused("larger");
    std::fs::remove_file(&path).expect("removed");
    refused("no mirror has it any more");
    // What was done before the failure stays.
    std::fs::remove_file(world.deb("b_1%3a2-3_all")).expect("removed");
    assert!(world.fetch(&["b"]).is_ok());
    assert!(find(&world.keg, "demo", &world.packages(&["a"])).expect("read")[0].is_none());
}

#[test]
fn a_source_that_is_gone_is_named() {
    let world = World::new(&[deb("a")]);
    let fetching = Fetching {
        keg: &world.keg,
        suite: "demo",
        snapshot: &world.snapshot.doc,
        apt: &|| Ok(Apt::default()),
        workers: 0,
    };
    let error = fetching.all(&world.packages(&["a"]), &mut |_| {}).expect_err("none").to_string();
    assert!(error.contains("which no source"), "{error}");
}
