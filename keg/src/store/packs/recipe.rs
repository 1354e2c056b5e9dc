//! How an object is put together from a pack: its size, its base and its pieces.
//!
//! `size varint | depth u8 | base KID, if depth > 0 | pieces varint | pieces`; 0x10 in `depth` says
//! that the object is a tree, else it is a blob. A piece is
//! `kind u8 | length varint` and, by kind,
//!
//! | kind | what | fields |
//! |---|---|---|
//! | 0 | a slice of a block | block varint, start varint |
//! | 1 | a copy from the base | offset varint |
//! | 2 | a whole block, unpacked behind a prefix from the base | block, offset, length, varints |

use super::{MAX_BLOCK, MAX_DEPTH, MAX_PREFIX};
use crate::{
    Kid,
    object::{
        Kind,
        wire::{DecodeError, Fields, bad, put_varint},
    },
};

/// Largest object a recipe may promise: 16 TiB.
const MAX_SIZE: u64 = 1 << 44;
/// The shortest piece has a kind, a length and one field.
const MIN_PIECE: usize = 3;
/// In the depth: the object is a tree.
const TREE: u8 = 0x10;

/// What an object is made of.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(crate) struct Recipe {
    /// A blob or a tree: how its KID is made from its bytes.
    pub(crate) kind: Kind,
    /// Its size in bytes: the sum of the pieces' lengths.
    pub(crate) size: u64,
    /// What its copies and prefixes are taken from.
    pub(crate) base: Option<Base>,
    /// In order.
    pub(crate) pieces: Vec<Piece>,
}

/// The object that another is a difference to.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) struct Base {
    pub(crate) kid: Kid,
    /// Of the object itself: one more than the base's, at most [`MAX_DEPTH`].
    pub(crate) depth: u8,
}

/// Some consecutive bytes of an object.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) struct Piece {
    /// In bytes, never 0.
    pub(crate) len: u64,
    pub(crate) source: Source,
}

/// Where a piece comes from. `block` is the block's offset in the pack.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Source {
    /// From a block of its own right.
    Slice { block: u64, start: u32 },
    /// From the base.
    Copy { from: u64 },
    /// A whole block that was packed with `prefix` bytes of the base before it.
    Patch { block: u64, from: u64, prefix: u32 },
}

impl Recipe {
    /// How many objects have to be unpacked before it.
    pub(crate) fn depth(&self) -> u8 {
        self.base.map_or(0, |base| base.depth)
    }

    /// Appends its bytes.
    pub(crate) fn encode(&self, out: &mut Vec<u8>) {
        put_varint(out, self.size);
        out.push(self.depth() | if self.kind == Kind::Tree { TREE } else { 0 });
        if let Some(base) = &self.base {
            out.extend_from_slice(base.kid.as_bytes());
        }
        put_varint(out, self.pieces.len() as u64);
        for Piece { len, source } in &self.pieces {
            let (kind, fields): (u8, &[u64]) = match source {
                Source::Slice { block, start } => (0, &[*block, u64::from(*start)]),
                Source::Copy { from } => (1, &[*from]),
                Source::Patch { block, from, prefix } => (2, &[*block, *from, u64::from(*prefix)]),
            };
            out.push(kind);
            put_varint(out, *len);
            fields.iter().for_each(|field| put_varint(out, *field));
        }
    }

    /// Reads one from the start of `bytes`; what follows it is not looked at.
    ///
    /// # Errors
    /// Whatever the encoder cannot have made.
    pub(crate) fn decode(bytes: &[u8]) -> Result<Self, DecodeError> {
        let mut fields = Fields::new(bytes);
        let size = fields.varint("size")?;
        if size == 0 || size > MAX_SIZE {
            return Err(bad("size", format!("{size} bytes are not a size of a packed object")));
        }
        let depth = fields.byte("depth")?;
        let kind = if depth & TREE == 0 { Kind::Blob } else { Kind::Tree };
        let base = match depth & !TREE {
            0 => None,
            depth @ 1..=MAX_DEPTH => {
                Some(Base { kid: Kid::from_bytes(fields.array("base")?), depth })
            }
            depth => return Err(bad("depth", format!("{depth} is more than {MAX_DEPTH}"))),
        };
        let count = fields.count(MIN_PIECE, "pieces")?;
        let mut pieces = Vec::with_capacity(count);
        let mut sum = 0u64;
        for _ in 0..count {
            let piece = Piece::decode(&mut fields, base.is_some())?;
            sum = sum.saturating_add(piece.len);
            pieces.push(piece);
        }
        if sum != size {
            return Err(bad("size", format!("it says {size}, but the pieces have {sum} bytes")));
        }
        Ok(Self { kind, size, base, pieces })
    }
}

impl Piece {
    fn decode(fields: &mut Fields<'_>, based: bool) -> Result<Self, DecodeError> {
        let kind = fields.byte("kind of piece")?;
        let len = fields.varint("length of a piece")?;
        let most = if kind == 1 { MAX_SIZE } else { MAX_BLOCK as u64 };
        if len == 0 || len > most {
            return Err(bad("length of a piece", format!("{len} is not 1 to {most}")));
        }
        if kind > 0 && !based {
            return Err(bad("kind of piece", "it needs a base, and there is none"));
        }
        let source = match kind {
            0 => {
                let (block, start) = (fields.varint("block")?, fields.u32("start")?);
                if u64::from(start) + len > MAX_BLOCK as u64 {
                    return Err(bad("start", "the slice is beyond what a block can hold"));
                }
                Source::Slice { block, start }
            }
            1 => Source::Copy { from: fields.varint("offset")? },
            2 => {
                let (block, from) = (fields.varint("block")?, fields.varint("offset")?);
                let prefix = fields.u32("prefix")?;
                if prefix as usize > MAX_PREFIX {
                    return Err(bad("prefix", format!("it is longer than {MAX_PREFIX} bytes")));
                }
                Source::Patch { block, from, prefix }
            }
            kind => return Err(bad("kind of piece", format!("{kind} is not known"))),
        };
        let (Source::Copy { from } | Source::Patch { from, .. }) = source else {
            return Ok(Self { len, source });
        };
        if from > MAX_SIZE {
            return Err(bad("offset", "it is beyond the largest object"));
        }
        Ok(Self { len, source })
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    pub(crate) fn example() -> Recipe {
        let base = Base { kid: Kid::of_blob(b"base"), depth: 3 };
        let slice = Source::Slice { block: 8, start: 77 };
        let patch = Source::Patch { block: 300, from: 4096, prefix: 8192 };
        let pieces = vec![
            Piece { len: 1 << 20, source: Source::Copy { from: 5 } },
            Piece { len: 100, source: slice },
            Piece { len: 4000, source: patch },
        ];
        Recipe { kind: Kind::Tree, size: (1 << 20) + 4100, base: Some(base), pieces }
    }

    #[test]
    fn a_recipe_round_trips() {
        let mut bytes = Vec::new();
        example().encode(&mut bytes);
        bytes.extend_from_slice(b"the next one");
        assert_eq!(Recipe::decode(&bytes), Ok(example()));
    }

    #[test]
    fn impossible_recipes_are_refused() {
        let check = |change: &dyn Fn(&mut Recipe), want: &str| {
            let mut recipe = example();
            change(&mut recipe);
            let mut bytes = Vec::new();
            recipe.encode(&mut bytes);
            let error = Recipe::decode(&bytes).expect_err(want).to_string();
            assert!(error.contains(want), "{want}: {error}");
        };
        check(&|recipe| recipe.size += 1, "the pieces have");
        check(&|recipe| recipe.size = 0, "not a size");
        check(&|recipe| recipe.size = u64::MAX, "not a size");
        check(&|recipe| recipe.base = None, "needs a base");
        check(&|recipe| recipe.base.as_mut().unwrap().depth = 9, "more than 8");
        check(&|recipe| recipe.pieces[0].len = 0, "is not 1 to");
        check(&|recipe| recipe.pieces[1].len = u64::MAX, "is not 1 to");
        let far = Source::Slice { block: 8, start: u32::MAX };
        check(&|recipe| recipe.pieces[1].source = far, "beyond what a block");
        let long = Source::Patch { block: 8, from: 0, prefix: u32::MAX };
        check(&|recipe| recipe.pieces[2].source = long, "longer than");
        let beyond = Source::Copy { from: u64::MAX };
        check(&|recipe| recipe.pieces[0].source = beyond, "beyond the largest");
        let mut bytes = vec![5, 0];
        put_varint(&mut bytes, u64::MAX);
        assert_eq!(Recipe::decode(&bytes), Err(DecodeError::Short("pieces")));
    }

    proptest! {
        #[test]
        fn any_bytes_decode_or_are_refused(
            bytes in proptest::collection::vec(any::<u8>(), 0..300),
        ) {
            if let Ok(recipe) = Recipe::decode(&bytes) {
                let mut again = Vec::new();
                recipe.encode(&mut again);
                prop_assert!(bytes.starts_with(&again));
            }
        }

        #[test]
        fn any_change_decodes_or_is_refused(at in 0usize..64, byte in any::<u8>()) {
            let mut bytes = Vec::new();
            example().encode(&mut bytes);
            let at = at % bytes.len();
            bytes[at] = byte;
            let _ = Recipe::decode(&bytes);
        }
    }
}
