//! The KIDs that a pack mentions, each once: 32 bytes that do not compress.

use std::collections::HashMap;

use crate::{
    Kid,
    object::wire::{DecodeError, Fields, bad},
};

/// The KIDs that the recipes of a pack mention.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Names<'a> {
    /// Each is where it is mentioned: the first format.
    InPlace,
    /// Recipes have their numbers in this list, 32 bytes each.
    Listed(&'a [u8]),
}

impl Names<'_> {
    /// How many there are.
    pub(super) fn len(self) -> usize {
        match self {
            Self::InPlace => 0,
            Self::Listed(list) => list.len() / 32,
        }
    }

    /// The one with a number.
    pub(super) fn get(self, number: u32) -> Option<Kid> {
        let Self::Listed(list) = self else { return None };
        list.get(number as usize * 32..)?.first_chunk().map(|kid| Kid::from_bytes(*kid))
    }

    /// Reads one that a recipe mentions.
    ///
    /// # Errors
    /// It is not in the list.
    pub(super) fn read(
        self,
        fields: &mut Fields<'_>,
        field: &'static str,
    ) -> Result<Kid, DecodeError> {
        if let Self::InPlace = self {
            return fields.array(field).map(Kid::from_bytes);
        }
        let number = fields.u32(field)?;
        self.get(number).ok_or_else(|| bad(field, format!("there is no KID {number}")))
    }
}

/// The KIDs that a pack mentions, each once.
#[derive(Default)]
pub(super) struct List {
    bytes: Vec<u8>,
    numbers: HashMap<Kid, u32>,
}

impl List {
    /// The number of a KID, which is listed if it is not yet.
    pub(super) fn number(&mut self, kid: &Kid) -> u32 {
        let next = self.numbers.len() as u32;
        let number = *self.numbers.entry(*kid).or_insert(next);
        if number == next {
            self.bytes.extend_from_slice(kid.as_bytes());
        }
        number
    }

    /// Its bytes, and how many KIDs they are.
    pub(super) fn into_bytes(self) -> (Vec<u8>, u64) {
        (self.bytes, self.numbers.len() as u64)
    }
}
