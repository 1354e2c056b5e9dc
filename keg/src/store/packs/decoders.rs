//! The decoders of packs (see [`crate::decoders`]).

use super::{
    MAX_BLOCK,
    block::Stored,
    index::{Format, Index, Row},
    list::Names,
    open::{Data, FOOTERS, MAGIC, MAGICS},
    recipe::{Recipe, Source},
};
use crate::{
    Kid,
    decoders::{Decoded, Decoder, LITTLE, dir_of, file_of, read_if, seal_end, unsealed},
};

/// Blocks of a pack that are unpacked at most.
const BLOCKS: usize = 8;

/// KIDs in the list of recipes and indexes that come without one.
const LISTED: u32 = 300;

pub(crate) fn all() -> Vec<Decoder> {
    let block = 2 * MAX_BLOCK + LITTLE;
    vec![
        Decoder { name: "pack-recipe", decode: recipe, seal: unsealed, memory: LITTLE },
        Decoder { name: "pack-recipe-first", decode: first_recipe, seal: unsealed, memory: LITTLE },
        Decoder { name: "pack-block", decode: read_block, seal: seal_block, memory: block },
        Decoder { name: "pack-data", decode: data, seal: seal_data, memory: 2 * block },
        Decoder { name: "pack-index", decode: index, seal: seal_end, memory: LITTLE },
        Decoder { name: "pack-index-first", decode: first_index, seal: seal_end, memory: LITTLE },
    ]
}

/// A list in which each KID has its own number in its first bytes, so that it is in order.
fn list() -> Vec<u8> {
    let kid = |number: u32| {
        let mut kid = [0; 32];
        kid[..4].copy_from_slice(&(number << 16).to_be_bytes());
        kid
    };
    (0..LISTED).flat_map(kid).collect()
}

fn number_of(kid: &Kid) -> u32 {
    kid.as_bytes().first_chunk().map_or(0, |bytes| u32::from_be_bytes(*bytes) >> 16)
}

fn recipe(bytes: &[u8]) -> Decoded {
    let list = list();
    let Ok((recipe, len)) = Recipe::decode(bytes, Names::Listed(&list)) else {
        return Decoded::Refused;
    };
    let mut out = Vec::new();
    recipe.encode(&mut out, &mut number_of);
    assert_eq!(out.len(), len, "it says how long it is");
    // What follows it is not its own.
    out.extend_from_slice(bytes.get(out.len()..).unwrap_or_default());
    Decoded::Canonical(out)
}

fn first_recipe(bytes: &[u8]) -> Decoded {
    let decoded = Recipe::decode(bytes, Names::InPlace);
    read_if(decoded.is_ok_and(|(recipe, len)| len <= bytes.len() && recipe.size > 0))
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
    let format = usize::from(bytes.starts_with(MAGICS[1]));
    let Some(end) = bytes.len().checked_sub(FOOTERS[format]).filter(|end| *end >= MAGIC) else {
        return;
    };
    let long = |bytes: &[u8], at: usize| {
        bytes[end + at..].first_chunk().map_or(0, |bytes| u64::from_le_bytes(*bytes)) as usize
    };
    let at = long(bytes, 0).clamp(MAGIC, end);
    let sum = blake3::hash(&bytes[at..end]);
    let names = if format == 0 { 0 } else { long(bytes, 8).min((end - at) / 32) };
    let table = end - at - names * 32;
    // The number of recipes stays what it is.
    let fields: &[(usize, usize)] =
        if format == 0 { &[(0, at), (8, table)] } else { &[(0, at), (8, names), (16, table)] };
    for (field, number) in fields {
        bytes[end + field..][..8].copy_from_slice(&(*number as u64).to_le_bytes());
    }
    bytes[end + 24 + format * 8..][..8].copy_from_slice(&sum.as_bytes()[..8]);
}

fn index(bytes: &[u8]) -> Decoded {
    read_index(bytes, Names::Listed(&list()), Format::Listed)
}

fn first_index(bytes: &[u8]) -> Decoded {
    read_index(bytes, Names::InPlace, Format::First)
}

fn read_index(bytes: &[u8], names: Names<'_>, format: Format) -> Decoded {
    let name = bytes.get(16..48).and_then(|name| name.first_chunk().copied()).unwrap_or([0; 32]);
    let name = Kid::from_bytes(name);
    let dir = dir_of(&[("index", bytes)]);
    let opened = Index::open(&dir.path().join("index"), &name);
    let Ok(index) = opened.and_then(|index| index.ordered(names)) else {
        return Decoded::Refused;
    };
    let rows: Vec<(Kid, u32)> = index.rows(names).collect();
    assert!(rows.iter().all(|(kid, offset)| index.find(kid, names) == Some(*offset)), "finds all");
    if format == Format::Listed {
        // Numbers may be wider than they need be.
        return Decoded::Read;
    }
    let rows = rows.into_iter().map(|(kid, offset)| Row { kid, number: 0, offset }).collect();
    Decoded::Canonical(super::index::encode(index.pack_size(), &name, rows, format))
}
