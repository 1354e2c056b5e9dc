//! The builder: a source becomes a release.

pub mod failure;
pub mod launch;
pub mod log;
pub mod plan;
pub mod procfile;
