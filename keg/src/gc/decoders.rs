//! The decoders of what collections keep (see [`crate::decoders`]).

use super::{floors::Floors, lease, policy::Policy};
use crate::decoders::{Decoded, Decoder, LITTLE, dir_of, file_of, read_if, unsealed};

pub(crate) fn all() -> Vec<Decoder> {
    let decoder = |name, decode| Decoder { name, decode, seal: unsealed, memory: LITTLE };
    vec![decoder("policy", policy), decoder("floors", floors), decoder("lease", read_lease)]
}

fn policy(bytes: &[u8]) -> Decoded {
    let json = serde_json::from_slice(bytes);
    read_if(json.is_ok_and(|json| Policy::parse(&json).is_ok()))
}

fn floors(bytes: &[u8]) -> Decoded {
    let dir = dir_of(&[("gc/history.json", bytes)]);
    let Ok(floors) = Floors::read(dir.path()) else { return Decoded::Refused };
    let written = floors.write(dir.path());
    let again = written.and_then(|()| Floors::read(dir.path()));
    assert!(again.is_ok_and(|again| again == floors), "what was read reads the same again");
    Decoded::Read
}

fn read_lease(bytes: &[u8]) -> Decoded {
    use std::io::{Seek, SeekFrom};
    let mut file = file_of(bytes);
    let read = file.seek(SeekFrom::Start(0)).ok().and_then(|_| lease::read(&file));
    read_if(read.is_some())
}
