//! End to end: the real binaries as a person uses them.
