//! The decoders of what mounts keep (see [`crate::decoders`]).

use super::{bases, live, working};
use crate::decoders::{Decoded, Decoder, LITTLE, dir_of, read_if, unsealed};

pub(crate) fn all() -> Vec<Decoder> {
    let decoder = |name, decode| Decoder { name, decode, seal: unsealed, memory: LITTLE };
    vec![
        decoder("image-bases", image_bases),
        decoder("working-copy", working_copy),
        decoder("live-mount", live_mount),
    ]
}

fn image_bases(bytes: &[u8]) -> Decoded {
    let dir = dir_of(&[("bases", bytes)]);
    read_if(!bases::read(dir.path()).is_empty())
}

fn working_copy(bytes: &[u8]) -> Decoded {
    let dir = dir_of(&[("work/0123456789abcdef/copy.json", bytes)]);
    read_if(!working::held(dir.path()).is_empty())
}

fn live_mount(bytes: &[u8]) -> Decoded {
    read_if(live::is_record(bytes))
}
