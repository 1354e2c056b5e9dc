//! Failed builds, failed starts, rollback, scale, keep.
