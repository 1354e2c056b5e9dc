//! Directories to trees and back, on real files and mounts, as root.

mod known;
mod overlay;
mod plain;

use std::path::Path;

use super::{IngestOptions, ingest};
use crate::object::Entry;
use crate::{Keg, Kid};

fn take(keg: &Keg, dir: &Path) -> Entry {
    ingest(keg.objects(), dir, &IngestOptions::default()).expect("ingest")
}

fn kid(entry: &Entry) -> Kid {
    entry.kid().expect("a tree")
}

/// The error with its causes.
fn whole(error: &dyn std::error::Error) -> String {
    error.source().map_or(error.to_string(), |below| format!("{error}: {}", whole(below)))
}
