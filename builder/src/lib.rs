//! The builder: an app's newest source becomes a release.
//!
//! One child process per app ([`work_build`]) takes what is new under `/source/<app>` through
//! detection, import, build and image to a commit under `/oci-images/<app>`, and writes where it
//! stands to `/deploys/<app>.json` and `/builds/<key>/`. `<key>` derives from the inputs, so the
//! same inputs never build twice.
//!
//! | module | does |
//! |---|---|
//! | [`app`] | the source, the configuration, the key |
//! | [`deploy`] | what is to be done, the states, the loop around one build |
//! | [`make`] | one build: the steps below, timed |
//! | [`import`] | asks the importer, by names, for what is missing |
//! | [`stage`], [`run`] | mounts, and a pack's program in its sandbox |
//! | [`detect`], [`build`] | the two programs of a pack |
//! | [`image`], [`release`] | what comes of it |
//! | [`packs`], [`plan`], [`launch`] | the Cloud Native Buildpacks contract, API 0.10 |
//! | [`procfile`], [`requirements`] | files of the app |
//!
//! Never imports the importer, the receiver or the mayor: they meet at names.

pub mod app;
pub mod build;
pub mod deploy;
pub mod detect;
pub mod documents;
pub mod failure;
pub mod halt;
pub mod image;
pub mod import;
pub mod launch;
pub mod log;
pub mod make;
pub mod packs;
pub mod plan;
pub mod procfile;
pub mod release;
pub mod requirements;
pub mod run;
pub mod stage;
pub mod trees;
pub mod workdir;

use std::{
    error::Error,
    panic::{AssertUnwindSafe, catch_unwind},
};

use keg::{Keg, names::NamesError, path::AppName};

use crate::{deploy::DeployError, workdir::Lock};

/// Sources built by one process; a push beyond it starts another.
const MAX_ROUNDS: usize = 1000;

/// Exit code: the newest source is released.
pub const RELEASED: i32 = 0;
/// Exit code: the newest source failed to build; `/deploys/<app>.json` says why.
pub const FAILED: i32 = 1;
/// Exit code: the Keg could not be read or written.
pub const BROKEN: i32 = 2;

/// Brings the newest source of an app to a release, and again while a newer one came in
/// meanwhile. Returns its exit code: [`RELEASED`], [`FAILED`] or [`BROKEN`].
///
/// One process at a time builds an app; a second one waits for the first.
pub fn work_build(keg: &Keg, app: &AppName) -> i32 {
    let result = catch_unwind(AssertUnwindSafe(|| rounds(keg, app))).unwrap_or_else(|_| {
        deploy::give_up(keg, app)?;
        Ok(false)
    });
    match result {
        Ok(true) => RELEASED,
        Ok(false) => FAILED,
        Err(error) => {
            eprintln!("keg work build {app}: {}", chain(&error));
            BROKEN
        }
    }
}

fn rounds(keg: &Keg, app: &AppName) -> Result<bool, DeployError> {
    let lock = Lock::take(keg, app).map_err(|source| DeployError::Lock { source })?;
    let mut released = true;
    for _ in 0..MAX_ROUNDS {
        let Some(task) = deploy::next(keg, app)? else { break };
        released = deploy::perform(keg, app, &lock, task)?;
    }
    Ok(released)
}

/// The apps whose newest source or configuration is not deployed yet, or whose deploy was
/// interrupted: work for [`work_build`].
///
/// # Errors
/// The Keg's.
pub fn pending(keg: &Keg) -> Result<Vec<AppName>, NamesError> {
    let mut apps = Vec::new();
    for (app, _) in keg.list(&documents::name("/source"))? {
        let Ok(app) = app.parse::<AppName>() else { continue };
        if deploy::next(keg, &app)?.is_some() {
            apps.push(app);
        }
    }
    Ok(apps)
}

/// An error with its causes, on one line.
fn chain(error: &dyn Error) -> String {
    failure::Failure::from_error(failure::Step::Build, error, "").message
}
