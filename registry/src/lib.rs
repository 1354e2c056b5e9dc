//! The Keg as an OCI registry: releases pulled by skopeo, podman and their like.
//!
//! Nothing is stored twice: [`image`] makes configuration and manifest from a release, [`tar`]
//! makes a layer's bytes from its tree while they are sent, [`layer`] remembers digests (computed
//! by a child process), [`releases`] knows which digest belongs to which app. The registry reads
//! `/oci-images` and writes `/derived/oci`, nothing else.

mod digest;
mod error;
mod http;
mod image;
mod layer;
mod range;
mod releases;
mod stream;
mod tar;

use keg::{Keg, Kid};

pub use http::router;

/// The child process `keg work layer KID`: computes the digest of the layer made from a tree and
/// remembers it under `/derived/oci`. Returns the exit code: 0, 1 on failure, 2 on wrong use.
pub fn work_layer(keg: &Keg, args: &[String]) -> i32 {
    let kid = match args {
        [text] => text.parse::<Kid>(),
        _ => {
            eprintln!("keg work layer: give the KID of one tree");
            return 2;
        }
    };
    let kid = match kid {
        Ok(kid) => kid,
        Err(error) => {
            eprintln!("keg work layer: {error}");
            return 2;
        }
    };
    match layer::compute(keg, &kid) {
        Ok(_) => 0,
        Err(error) => {
            eprintln!("keg work layer: {}", error::chain(&error));
            1
        }
    }
}
