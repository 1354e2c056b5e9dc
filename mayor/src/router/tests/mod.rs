//! The router as its clients and apps see it, over real connections.

mod failures;
mod messages;
mod support;
mod switching;
