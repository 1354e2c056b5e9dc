//! The decoders of the store's files (see [`crate::decoders`]).

use super::{condemned, format, log, packs};
use crate::decoders::{Decoded, Decoder, LITTLE, dir_of, read_if, unsealed};

pub(crate) fn all() -> Vec<Decoder> {
    let mut all = vec![
        Decoder { name: "format", decode: read_format, seal: unsealed, memory: LITTLE },
        condemned::DECODER,
    ];
    all.extend(log::decoders::all());
    all.extend(packs::decoders::all());
    all
}

fn read_format(bytes: &[u8]) -> Decoded {
    let dir = dir_of(&[("format.json", bytes)]);
    read_if(format::check(dir.path()).is_ok())
}
