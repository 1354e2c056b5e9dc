//! Every command, for people and for scripts.
