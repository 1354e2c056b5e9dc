//! Kegs to measure: each a copy of one into which the packages have been imported.

use std::{
    fs,
    path::{Path, PathBuf},
    process::Command,
};

use keg::{Keg, Kid, NamePath};
use keg_tests::{Done, Repo, World, process::run};
use serde_json::Value as Json;

/// What the next run can use again, see [`cache`].
const CACHE: &str = "KEG_BENCHES_CACHE";
/// The suite of the example.
pub const SUITE: &str = "trixie";
/// What the builder asks for when it builds the example.
pub const PACKAGES: [&str; 3] = ["ca-certificates", "python-is-python3", "python3"];
/// What the example says before it is edited.
const HEADLINE: &str = "Hello from Flask";

/// Where Kegs and peers are kept: `$TMPDIR`, which `benches/run` takes away whatever happens.
pub fn place() -> PathBuf {
    std::env::temp_dir()
}

/// Where what is made once is kept for the next run: `$KEG_BENCHES_CACHE`, or beside the program.
pub fn cache() -> PathBuf {
    let beside = || binary().with_file_name("benches-cache");
    std::env::var_os(CACHE).map_or_else(beside, PathBuf::from)
}

/// The `keg` that was built together with this program.
pub fn binary() -> PathBuf {
    let own = std::env::current_exe().expect("because /proc is mounted");
    own.with_file_name("keg")
}

/// Worlds use the `keg` that was built together with this program.
///
/// # Panics
/// When it was not built.
pub fn use_own_binary() {
    let binary = binary();
    assert!(binary.exists(), "there is no {}: start me as benches/run", binary.display());
    // SAFETY: nothing else runs in this process yet.
    unsafe { std::env::set_var("KEG_TEST_BINARY", binary) };
}

/// A Keg that is not up and holds the packages of `examples/hello-flask`, but no app.
pub struct Template {
    world: World,
}

impl Template {
    /// Imports them from the registries that apt and pip are configured for.
    ///
    /// # Panics
    /// When that fails.
    pub fn make() -> Self {
        eprintln!("importing the packages of the example");
        let mut world = World::empty();
        world.keg(&[&["import", "debian", SUITE][..], &PACKAGES].concat()).ok();
        let requirements = Repo::project("examples/hello-flask/requirements.txt");
        let requirements = requirements.to_str().expect("because it is UTF-8 where we build");
        world.keg(&["import", "pypi", "-r", requirements]).ok();
        world.stop().ok();
        Self { world }
    }

    /// A copy of it, up.
    ///
    /// # Panics
    /// When it cannot be made.
    pub fn up(&self) -> World {
        let mut world = World::down();
        copy(&self.home(), &world.home());
        world.start();
        world
    }

    /// Its directory.
    pub fn home(&self) -> PathBuf {
        self.world.home()
    }

    /// Runs `keg …` on it, which must succeed.
    ///
    /// # Panics
    /// When it does not.
    pub fn keg(&self, args: &[&str]) -> Done {
        let done = self.world.keg(args);
        assert_eq!(done.code, 0, "{done:?}");
        done
    }

    /// A directory for files that all measurements share.
    pub fn scratch(&self) -> &Path {
        self.world.scratch()
    }
}

/// A copy of a directory with all its attributes, on disk before anything is measured.
pub fn copy(from: &Path, to: &Path) {
    run(Command::new("cp").arg("-a").arg(from).arg(to)).ok();
    rustix::fs::sync();
}

/// The configured root of the newest packages that were imported into a Keg.
///
/// # Panics
/// When none were.
pub fn rootfs(keg: &Keg) -> Kid {
    let path: NamePath = "/packages/locks".parse().expect("a path");
    let locks = keg.list(&path).expect("because packages were imported");
    let rootfs = locks.into_iter().find_map(|(name, _)| {
        let lock = keg.get_json(&path.join(&name).ok()?).ok()??;
        lock["debian"]["rootfs"].as_str()?.parse().ok()
    });
    rootfs.expect("because a root was imported")
}

/// Puts the example into a repository, with another headline.
pub fn flask(repo: &Repo, headline: &str) {
    repo.copy(&Repo::project("examples/hello-flask"));
    edit(repo, headline);
}

/// Edits the one line of the example and commits.
pub fn edit(repo: &Repo, headline: &str) {
    let example = Repo::project("examples/hello-flask/app.py");
    let text = fs::read_to_string(example).expect("because the example is in the repository");
    assert!(text.contains(HEADLINE), "the example has another headline");
    repo.write("app.py", &text.replace(HEADLINE, headline)).commit(headline);
}

/// A JSON document of a Keg; null if it is not there.
pub fn document(world: &World, path: &str) -> Json {
    let keg = Keg::open(&world.home()).expect("because it is up");
    let path: NamePath = path.parse().expect("because it is a path");
    keg.get_json(&path).expect("because it is JSON").unwrap_or_default()
}
