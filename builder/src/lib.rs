//! The builder: an app's newest source becomes a release.
//!
//! One child process per app (`work_build`) takes what is new under `/source/<app>` through
//! detection, import, build and image to a commit under `/oci-images/<app>`, and writes where it
//! stands to `/deploys/<app>.json` and `/builds/<key>/`. `<key>` derives from the inputs, so the
//! same inputs never build twice.
//!
//!
//! Never imports the importer, the receiver or the mayor: they meet at names.

pub mod app;
pub mod documents;
pub mod failure;
pub mod halt;
pub mod import;
pub mod launch;
pub mod log;
pub mod packs;
pub mod plan;
pub mod procfile;
pub mod requirements;
pub mod trees;

