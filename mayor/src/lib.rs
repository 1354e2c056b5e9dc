//! mayor
