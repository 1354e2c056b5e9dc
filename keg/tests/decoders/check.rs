//! What is asked of a decoder, here and by `fuzz/`.

use std::panic::{AssertUnwindSafe, catch_unwind};

use keg::decoders::{Decoded, Decoder};

use super::memory;

/// What is wrong with how a decoder takes an input; `None`: nothing.
pub fn fault(decoder: &Decoder, input: &[u8]) -> Option<String> {
    memory::start();
    let decoded = catch_unwind(AssertUnwindSafe(|| (decoder.decode)(input)));
    let most = memory::most();
    match decoded {
        Err(panic) => {
            let text = panic.downcast_ref::<String>().map(String::as_str);
            let text = text.or_else(|| panic.downcast_ref::<&str>().copied());
            Some(format!("it panics: {}", text.unwrap_or("?")))
        }
        Ok(_) if most > decoder.memory + 64 * input.len() => {
            Some(format!("it takes {most} bytes of memory"))
        }
        Ok(Decoded::Canonical(bytes)) if bytes != input => {
            Some(format!("it is written otherwise: {}", hex(&bytes)))
        }
        Ok(_) => None,
    }
}

pub fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}
