//! The stage on which packs run: a root of declared values, the app, and what surrounds them.
//!
//! ```text
//! /                     the root file system, read-only
//! /app                  the source, with what the build writes (an overlay of its own)
//! /cnb/buildpacks/ID    the packs
//! /cnb/plan.toml        CNB_BP_PLAN_PATH
//! /platform/env/        KEG_SUITE, where people chose the suite
//! /layers/ID            CNB_LAYERS_DIR
//! /tmp                  a tmpfs
//! ```

use std::path::PathBuf;

use keg::{
    Keg,
    kid::Kid,
    mount::Mounts,
    object::{Entry, Tree},
    path::AppName,
    store::Objects,
    union::{Edit, UnionError, edit},
};

use crate::{
    app::Source,
    failure::{Failure, KEG_HINT, OrFail as _, Step},
    launch::Env,
    packs::Packs,
    run::APP_UID,
    trees::{self, Stamp},
    workdir::WorkDir,
};

/// The search path of Debian's root user, which has the programs of all packages.
pub const PATH: &str = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin";
/// Where mounts fail.
const MOUNT_HINT: &str = "builds need root's right to mount; see what `keg status` says";

/// A build's surroundings: its directory and the mounted app.
pub struct Stage<'a> {
    /// The Keg.
    pub keg: &'a Keg,
    /// The directory it works in.
    pub work: WorkDir,
    /// Where the app is mounted, writable.
    pub app: PathBuf,
    /// The app's tree as mounted, without what the build writes.
    pub app_tree: Entry,
    /// What the build writes into the app.
    pub app_upper: PathBuf,
    name: String,
    mounts: Mounts,
}

impl<'a> Stage<'a> {
    /// Mounts the app: every file owned by [`APP_UID`] and as old as its commit.
    ///
    /// # Errors
    /// The Keg's, or the mount fails.
    pub fn set(
        keg: &'a Keg,
        work: WorkDir,
        name: &AppName,
        source: &Source,
    ) -> Result<Self, Failure> {
        let step = Step::Detect;
        let objects = keg.objects();
        let entry = objects.tree_entry(&source.commit.tree).or_fail(step, KEG_HINT)?;
        let hint = "change the app so, commit and push again";
        let app_tree = trees::stamp(objects, &entry, stamp_of(source)).or_fail(step, hint)?;
        let app = work.dir("app").or_fail(step, KEG_HINT)?;
        let app_upper = work.dir("app-upper").or_fail(step, KEG_HINT)?;
        let mounts = Mounts::new(keg);
        let tree = app_tree.kid().expect("because a tree has a KID");
        mounts.writable(&tree, &app_upper, &app).or_fail(step, MOUNT_HINT)?;
        // A tree knows the owners of what is in it, not its own.
        std::os::unix::fs::chown(&app, Some(APP_UID), Some(APP_UID)).or_fail(step, KEG_HINT)?;
        let home = Kid::of_blob(keg.home().as_os_str().as_encoded_bytes()).to_hex();
        let name = format!("{name}-{}", &home[..keg::kid::SHORT_DIGITS]);
        Ok(Self { keg, work, app, app_tree, app_upper, name, mounts })
    }

    /// Mounts a root, read-only, at a new directory.
    ///
    /// # Errors
    /// The mount fails.
    pub fn mount_root(&self, step: Step, name: &str, tree: &Entry) -> Result<PathBuf, Failure> {
        let target = self.work.dir(name).or_fail(step, KEG_HINT)?;
        let tree = tree.kid().expect("because a tree has a KID");
        self.mounts.read_only(&tree, &target).or_fail(step, MOUNT_HINT)?;
        Ok(target)
    }

    /// The id of this app's container for a step, unlike that of any other Keg on the machine, and
    /// unlike that of a killed build whose container has not noticed yet. At most 64 bytes.
    pub fn container(&self, step: &str) -> String {
        format!("{step}-{}-{}", self.name, std::process::id())
    }
}

/// Owner and time of the app's files.
pub fn stamp_of(source: &Source) -> Stamp {
    Stamp { uid: APP_UID, gid: APP_UID, mtime: source.seconds() }
}

/// A root with everything beside the app that packs see.
///
/// # Errors
/// The store's, or the root has something else where a directory must be.
pub fn with_platform(
    objects: &dyn Objects,
    root: &Kid,
    packs: &Packs,
    suite: Option<&str>,
    plan: Option<&str>,
) -> Result<Entry, UnionError> {
    let stored = |source| UnionError::Store { path: "/".to_owned(), source };
    let empty = objects.put_tree(&Tree::default()).map_err(stored)?;
    let mut edits = vec![
        ("app", Edit::Set(empty.clone())),
        ("layers", Edit::Set(empty.clone())),
        ("platform/env", Edit::Set(empty)),
        ("cnb/buildpacks", Edit::Set(packs.tree.clone())),
    ];
    for (path, text) in [("platform/env/KEG_SUITE", suite), ("cnb/plan.toml", plan)] {
        if let Some(text) = text {
            edits.push((path, Edit::Set(objects.put_bytes(text.as_bytes()).map_err(stored)?)));
        }
    }
    edit(objects, root, edits)
}

/// The environment every pack gets.
pub fn platform_env() -> Env {
    [
        ("PATH", PATH),
        ("HOME", "/tmp"),
        ("LANG", "C.UTF-8"),
        ("CNB_APP_DIR", "/app"),
        ("CNB_PLATFORM_DIR", "/platform"),
        ("CNB_TARGET_OS", "linux"),
        ("CNB_TARGET_ARCH", crate::image::architecture()),
        ("CNB_TARGET_DISTRO_NAME", "debian"),
    ]
    .into_iter()
    .map(|(name, value)| (name.to_owned(), value.to_owned()))
    .collect()
}
