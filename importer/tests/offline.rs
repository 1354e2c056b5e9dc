//! The importer's processes against a mirror in a directory: no network, no root.

mod debian;
mod world;

use std::path::PathBuf;

use debian::testing::{DebMaker, TestMirror, file};
use world::World;

/// Packages `p00` … that need one another, so that the last needs all.
const COUNT: usize = 12;

struct Site {
    mirror: TestMirror,
    world: World,
}

impl Site {
    fn new() -> Self {
        let mirror = TestMirror::new();
        let deb = |i: usize| {
            let text = format!("package {i} ").repeat(i * 500 + 1);
            let mut deb = DebMaker::new(
                &format!("p{i:02}"),
                "1",
                vec![file(&format!("./usr/p{i:02}"), &text)],
            );
            if i > 0 {
                deb.fields = format!("Depends: p{:02}\n", i - 1);
            }
            deb
        };
        mirror.publish("demo", &(0..COUNT).map(deb).collect::<Vec<_>>());
        debian::configure(&mirror, "demo");
        Self { mirror, world: World::new() }
    }

    fn import(&self, args: &[&str], env: &[(&str, &str)]) -> Result<serde_json::Value, String> {
        let config: PathBuf = self.mirror.path("apt.conf");
        let mut all = vec![("APT_CONFIG", config.to_str().expect("text"))];
        all.extend_from_slice(env);
        self.world.import_with("demo", args, &all)
    }
}

#[test]
fn workers_fetch_and_unpack_what_is_missing() {
    let site = Site::new();
    let lock = site.import(&["--none", "p11"], &[]).expect("imported");
    assert_eq!(lock["debian"]["packages"].as_array().map(Vec::len), Some(COUNT));
    // Everything is there: the mirror can go, and workers cannot be started.
    std::fs::remove_dir_all(site.mirror.path("pool")).expect("removed");
    let again =
        site.import(&["--none", "p10"], &[("KEG_EXE", "/bin/false")]).expect("all is there");
    assert_eq!(again["debian"]["packages"].as_array().map(Vec::len), Some(COUNT - 1));
    assert!(keg::fsck::fsck(&site.world.keg(), &mut |_| {}).expect("checked").is_clean());
}

#[test]
fn what_a_worker_refuses_is_told_by_the_import() {
    let site = Site::new();
    site.mirror.write("pool/p05_1_all.deb", b"nonsense");
    let error = site.import(&["--none", "p11"], &[]).expect_err("damaged");
    assert!(error.contains("p05_1_all could not be imported"), "{error}");
    assert!(error.contains("Hint: the mirror may be"), "{error}");
}

#[test]
fn workers_that_die_or_talk_nonsense_fail_the_import() {
    for program in ["/bin/false", "/bin/cat", "/nonexistent"] {
        let site = Site::new();
        let error = site.import(&["--none", "p11"], &[("KEG_EXE", program)]).expect_err(program);
        assert!(error.contains("worker"), "{program}: {error}");
        // The next import is not hindered by what was left behind.
        site.import(&["--none", "p11"], &[]).expect("imported");
    }
}
