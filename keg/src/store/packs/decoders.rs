//! The decoders of packs (see [`crate::decoders`]).

use super::{
    MAX_BLOCK,
    block::Stored,
    index::Index,
    open::{Data, FOOTER, MAGIC},
    recipe::{Recipe, Source},
};
use crate::{
    Kid,
    decoders::{Decoded, Decoder, LITTLE, dir_of, file_of, read_if, seal_end, unsealed},
};

/// Blocks of a pack that are unpacked at most.
const BLOCKS: usize = 8;

pub(crate) fn all() -> Vec<Decoder> {
    let block = 2 * MAX_BLOCK + LITTLE;
    vec![
        Decoder { name: "pack-recipe", decode: recipe, seal: unsealed, memory: LITTLE },
        Decoder { name: "pack-block", decode: read_block, seal: seal_block, memory: block },
        Decoder { name: "pack-data", decode: data, seal: seal_data, memory: 2 * block },
        Decoder { name: "pack-index", decode: index, seal: seal_end, memory: LITTLE },
    ]
}

fn recipe(bytes: &[u8]) -> Decoded {
    let Ok(recipe) = Recipe::decode(bytes) else { return Decoded::Refused };
    let mut out = Vec::new();
    recipe.encode(&mut out);
    // What follows it is not its own.
    out.extend_from_slice(bytes.get(out.len()..).unwrap_or_default());
    Decoded::Canonical(out)
}

fn read_block(bytes: &[u8]) -> Decoded {
    let stored = Stored::read(&file_of(bytes), 0, bytes.len() as u64, Vec::new());
    read_if(stored.is_ok_and(|stored| {
        let behind = stored.unpack(b"some prefix");
        stored.unpack(&[]).is_ok() || behind.is_ok()
    }))
}

fn seal_block(bytes: &mut [u8]) {
    if let Some(at) = bytes.len().checked_sub(8) {
        let stored = (at as u32).saturating_sub(8);
        bytes[..4.min(at)].copy_from_slice(&stored.to_le_bytes()[..4.min(at)]);
        let sum = blake3::hash(&bytes[..at]);
        bytes[at..].copy_from_slice(&sum.as_bytes()[..8]);
    }
}

fn data(bytes: &[u8]) -> Decoded {
    let dir = dir_of(&[("data", bytes)]);
    let Ok(data) = Data::open(&dir.path().join("data")) else { return Decoded::Refused };
    let mut left = BLOCKS;
    for found in data.recipes() {
        let Ok((offset, recipe)) = found else { break };
        assert!(data.recipe(offset).is_ok_and(|again| again == recipe), "it reads the same again");
        for piece in &recipe.pieces {
            let (Source::Slice { block, .. } | Source::Patch { block, .. }) = piece.source else {
                continue;
            };
            let Some(fewer) = left.checked_sub(1) else { return Decoded::Read };
            left = fewer;
            if let Ok(stored) = data.block(block, Vec::new()) {
                // A block that is none says so.
                let _ = stored.unpack(&[]);
            }
        }
    }
    Decoded::Read
}

/// Lets the footer fit what is between the start and it.
fn seal_data(bytes: &mut [u8]) {
    let Some(end) = bytes.len().checked_sub(FOOTER).filter(|end| *end >= MAGIC.len()) else {
        return;
    };
    let at = bytes[end..].first_chunk().map_or(0, |at| u64::from_le_bytes(*at)) as usize;
    let at = at.clamp(MAGIC.len(), end);
    let sum = blake3::hash(&bytes[at..end]);
    bytes[end..end + 8].copy_from_slice(&(at as u64).to_le_bytes());
    bytes[end + 8..end + 16].copy_from_slice(&((end - at) as u64).to_le_bytes());
    bytes[end + 24..end + 32].copy_from_slice(&sum.as_bytes()[..8]);
}

fn index(bytes: &[u8]) -> Decoded {
    let name = bytes.get(16..48).and_then(|name| name.first_chunk().copied()).unwrap_or([0; 32]);
    let dir = dir_of(&[("index", bytes)]);
    let Ok(index) = Index::open(&dir.path().join("index"), &Kid::from_bytes(name)) else {
        return Decoded::Refused;
    };
    let rows: Vec<(Kid, u32)> = index.rows().collect();
    assert!(rows.iter().all(|(kid, offset)| index.find(kid) == Some(*offset)), "it finds all");
    Decoded::Canonical(super::index::encode(index.pack_size(), &Kid::from_bytes(name), rows))
}
