//! One of Keg's decoders, the one that `KEG_FUZZ` names, fed with what covers more of it.
//!
//! Each input is given as it is, and with checksums that fit. What is asked of it is what
//! `keg/tests/decoders` asks, by the same code.

#![no_main]

#[path = "../../keg/tests/decoders/check.rs"]
mod check;
#[path = "../../keg/tests/decoders/memory.rs"]
mod memory;

use std::sync::OnceLock;

use keg::decoders::Decoder;
use libfuzzer_sys::fuzz_target;

static DECODER: OnceLock<Decoder> = OnceLock::new();

fn named() -> Decoder {
    let name = std::env::var("KEG_FUZZ").unwrap_or_default();
    let all = keg::decoders::all();
    let names: Vec<&str> = all.iter().map(|decoder| decoder.name).collect();
    let found = all.iter().find(|decoder| decoder.name == name);
    *found.unwrap_or_else(|| panic!("KEG_FUZZ={name:?} is no decoder; there are {names:?}"))
}

fn give(decoder: &Decoder, input: &[u8]) {
    if let Some(what) = check::fault(decoder, input) {
        panic!("{}: {what}", decoder.name);
    }
}

fuzz_target!(|input: &[u8]| {
    let decoder = DECODER.get_or_init(named);
    give(decoder, input);
    let mut sealed = input.to_vec();
    (decoder.seal)(&mut sealed);
    if sealed != input {
        give(decoder, &sealed);
    }
});
