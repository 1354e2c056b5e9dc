//! The checks of `git fsck --strict` for single objects, as `git receive-pack` applies them with
//! `receive.fsckObjects`. Stock git is the oracle in the tests.
//!
//! Messages: <https://git-scm.com/docs/git-fsck#_fsck_messages>. What git calls an error or a
//! warning is a fault here; what it calls info is let through.

mod attributes;
mod header;
mod modules;
mod names;
mod tree;
mod url;

use std::fmt;

pub(crate) use attributes::gitattributes;
pub(crate) use header::{commit, tag};
pub(crate) use modules::{gitmodules, submodule_urls};
pub(crate) use tree::tree;

/// What is wrong with an object.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) struct Fault {
    /// Git's name for it.
    pub(crate) name: &'static str,
    words: &'static str,
}

impl Fault {
    const fn new(name: &'static str, words: &'static str) -> Self {
        Self { name, words }
    }
}

/// A directory or commit that is called `.gitmodules`.
pub(crate) const MODULES_NO_FILE: Fault =
    Fault::new("gitmodulesBlob", "it is called .gitmodules, but is not a file");
/// A directory or commit that is called `.gitattributes`.
pub(crate) const ATTRIBUTES_NO_FILE: Fault =
    Fault::new("gitattributesBlob", "it is called .gitattributes, but is not a file");

impl fmt::Display for Fault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} (git fsck: {})", self.words, self.name)
    }
}
