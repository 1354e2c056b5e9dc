//! The mayor: keeps the processes of releases alive, and the router that brings requests to them.
//!
//! [`router`] is being written by another engineer in `router.rs` and `router/`; the rest of the
//! crate is the mayor's.
pub mod router;
