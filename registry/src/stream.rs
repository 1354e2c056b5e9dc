//! A layer as a response body, generated while it is sent.

use std::{ops::Range, sync::Arc};

use axum::body::Body;
use bytes::Bytes;
use futures_util::stream;
use keg::Keg;

use crate::{
    error::chain,
    layer::Layer,
    tar::{LayerReader, Step, TarError},
};

/// The bytes `range` of a layer's tar. Each step reads at most 256 KiB and visits at most 256
/// files, then lets other requests run; a client that reads slowly costs one step's memory.
///
/// # Errors
/// The tree is not in the store. Later errors break the connection off, so that no client takes a
/// cut layer for a whole one; they are logged.
pub fn body(keg: &Arc<Keg>, layer: &Layer, range: Range<u64>) -> Result<Body, TarError> {
    let reader = LayerReader::range(keg.objects(), &layer.tree, range)?;
    let state = Some((reader, Arc::clone(keg)));
    let tree = layer.tree;
    Ok(Body::from_stream(stream::unfold(state, move |state| async move {
        let (mut reader, keg) = state?;
        loop {
            tokio::task::yield_now().await;
            match reader.step(keg.objects()) {
                Ok(Step::End) => return None,
                Ok(Step::Data(bytes)) if bytes.is_empty() => {}
                Ok(Step::Data(bytes)) => {
                    return Some((Ok(Bytes::from(bytes)), Some((reader, keg))));
                }
                Err(error) => {
                    eprintln!("registry: layer {tree} breaks off: {}", chain(&error));
                    return Some((Err(error), None));
                }
            }
        }
    })))
}
