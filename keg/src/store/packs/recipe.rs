//! How an object is put together from a pack: its size, its base and its pieces.
//!
//! `size varint | depth u8 | base, if depth > 0 | pieces varint | pieces`; 0x10 in `depth` says
//! that the object is a tree, else it is a blob. A piece is
//! `kind u8 | length varint` and, by kind,
//!
//! | kind | what | fields |
//! |---|---|---|
//! | 0 | a slice of a block | block varint, start varint |
//! | 1 | a copy from the base | offset varint |
//! | 2 | a whole block, unpacked behind a prefix from the base | block, offset, length, varints |
//!
//! With 0x20 in `depth` there is one piece, all of the object, which is here: `prefix varint |
//! names varint | names | length of the frame varint | the frame, without its magic number`. The
//! frame is unpacked behind the first `prefix` bytes of the base, followed by the KIDs of `names`.
//!
//! Base and names are numbers in the pack's list of KIDs. In packs of the first format, which have
//! none, the base is a KID, and 0x20 is not known.

use super::{MAX_BLOCK, MAX_DEPTH, MAX_PREFIX, MAX_WITHIN, NARROW, list::Names};
use crate::{
    Kid,
    object::{
        Kind,
        wire::{DecodeError, Fields, bad, put_bytes, put_varint},
    },
};

/// Largest object a recipe may promise: 16 TiB.
const MAX_SIZE: u64 = 1 << 44;
/// The shortest piece has a kind, a length and one field.
const MIN_PIECE: usize = 3;
/// In the depth: the object is a tree.
const TREE: u8 = 0x10;

/// In the depth: the object is one frame, which is in the recipe.
const WITHIN: u8 = 0x20;
/// Most KIDs that a frame is unpacked behind.
const MAX_NAMES: usize = 8 << 10;

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
    /// What [`Source::Within`] is made of; else nothing.
    pub(crate) within: Within,
}

/// A frame that a recipe has in itself.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub(crate) struct Within {
    /// Follow the prefix: what a tree mentions that its base does not.
    pub(crate) names: Vec<Kid>,
    /// As [`bare`](super::bare) leaves it; at most [`MAX_WITHIN`] bytes.
    pub(crate) frame: Vec<u8>,
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
    /// From a frame in the recipe, packed with the first `prefix` bytes of the base before it. All
    /// of an object, or nothing.
    Within { prefix: u32 },
}

impl Recipe {
    /// How many objects have to be unpacked before it.
    pub(crate) fn depth(&self) -> u8 {
        self.base.map_or(0, |base| base.depth)
    }

    /// Appends its bytes; `number` lists a KID and says where.
    pub(crate) fn encode(&self, out: &mut Vec<u8>, number: &mut dyn FnMut(&Kid) -> u32) {
        let within = self.pieces.first().and_then(|piece| match piece.source {
            Source::Within { prefix } => Some(prefix),
            _ => None,
        });
        put_varint(out, self.size);
        let tree = if self.kind == Kind::Tree { TREE } else { 0 };
        out.push(self.depth() | tree | if within.is_some() { WITHIN } else { 0 });
        if let Some(base) = &self.base {
            put_varint(out, u64::from(number(&base.kid)));
        }
        if let Some(prefix) = within {
            put_varint(out, u64::from(prefix));
            put_varint(out, self.within.names.len() as u64);
            self.within.names.iter().for_each(|name| put_varint(out, u64::from(number(name))));
            return put_bytes(out, &self.within.frame);
        }
        put_varint(out, self.pieces.len() as u64);
        for Piece { len, source } in &self.pieces {
            let (kind, fields): (u8, &[u64]) = match source {
                Source::Slice { block, start } => (0, &[*block, u64::from(*start)]),
                Source::Copy { from } => (1, &[*from]),
                Source::Patch { block, from, prefix } => (2, &[*block, *from, u64::from(*prefix)]),
                Source::Within { .. } => continue,
            };
            out.push(kind);
            put_varint(out, *len);
            fields.iter().for_each(|field| put_varint(out, *field));
        }
    }

    /// Reads one from the start of `bytes`, and says how many it has; what follows it is not
    /// looked at.
    ///
    /// # Errors
    /// Whatever the encoder cannot have made.
    pub(crate) fn decode(bytes: &[u8], names: Names<'_>) -> Result<(Self, usize), DecodeError> {
        let mut fields = Fields::new(bytes);
        let size = fields.varint("size")?;
        if size == 0 || size > MAX_SIZE {
            return Err(bad("size", format!("{size} bytes are not a size of a packed object")));
        }
        let first = fields.byte("depth")?;
        let kind = if first & TREE == 0 { Kind::Blob } else { Kind::Tree };
        let known = if names.len() == 0 { TREE } else { TREE | WITHIN };
        let base = match first & !known {
            0 => None,
            depth @ 1..=MAX_DEPTH => Some(Base { kid: names.read(&mut fields, "base")?, depth }),
            depth => return Err(bad("depth", format!("{depth} is more than {MAX_DEPTH}"))),
        };
        let mut recipe = Self { kind, size, base, pieces: Vec::new(), within: Within::default() };
        if first & known & WITHIN == 0 {
            recipe.read_pieces(&mut fields)?;
        } else {
            recipe.read_within(&mut fields, names)?;
        }
        Ok((recipe, bytes.len() - fields.left()))
    }

    fn read_pieces(&mut self, fields: &mut Fields<'_>) -> Result<(), DecodeError> {
        let count = fields.count(MIN_PIECE, "pieces")?;
        self.pieces.reserve_exact(count);
        let mut sum = 0u64;
        for _ in 0..count {
            let piece = Piece::decode(fields, self.base.is_some())?;
            sum = sum.saturating_add(piece.len);
            self.pieces.push(piece);
        }
        let size = self.size;
        if sum != size {
            return Err(bad("size", format!("it says {size}, but the pieces have {sum} bytes")));
        }
        Ok(())
    }

    fn read_within(
        &mut self,
        fields: &mut Fields<'_>,
        names: Names<'_>,
    ) -> Result<(), DecodeError> {
        if self.size > NARROW as u64 || self.base.is_none() {
            return Err(bad("size", "a frame in a recipe has a base and at most 4 MiB"));
        }
        let prefix = prefix(fields)?;
        let count = fields.count(1, "names")?;
        if count > MAX_NAMES {
            return Err(bad("names", format!("{count} are more than {MAX_NAMES}")));
        }
        self.within.names.reserve_exact(count);
        for _ in 0..count {
            self.within.names.push(names.read(fields, "names")?);
        }
        let frame = fields.bytes("frame")?;
        if frame.len() > MAX_WITHIN {
            return Err(bad("frame", format!("it is longer than {MAX_WITHIN} bytes")));
        }
        self.within.frame = frame.to_vec();
        self.pieces.push(Piece { len: self.size, source: Source::Within { prefix } });
        Ok(())
    }
}

fn prefix(fields: &mut Fields<'_>) -> Result<u32, DecodeError> {
    let prefix = fields.u32("prefix")?;
    if prefix as usize > MAX_PREFIX {
        return Err(bad("prefix", format!("it is longer than {MAX_PREFIX} bytes")));
    }
    Ok(prefix)
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
                Source::Patch { block, from, prefix: prefix(fields)? }
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

    /// Two KIDs.
    fn list() -> Vec<u8> {
        [Kid::of_blob(b"base"), Kid::of_blob(b"name")].map(|kid| *kid.as_bytes()).concat()
    }

    fn encoded(recipe: &Recipe) -> Vec<u8> {
        let mut bytes = Vec::new();
        recipe.encode(&mut bytes, &mut |kid| u32::from(*kid != Kid::of_blob(b"base")));
        bytes
    }

    fn decode(bytes: &[u8]) -> Result<Recipe, DecodeError> {
        let list = list();
        let (recipe, len) = Recipe::decode(bytes, Names::Listed(&list))?;
        assert_eq!(encoded(&recipe), bytes[..len], "there is one way to write it");
        Ok(recipe)
    }

    fn example() -> Recipe {
        let base = Base { kid: Kid::of_blob(b"base"), depth: 3 };
        let slice = Source::Slice { block: 8, start: 77 };
        let patch = Source::Patch { block: 300, from: 4096, prefix: 8192 };
        let pieces = vec![
            Piece { len: 1 << 20, source: Source::Copy { from: 5 } },
            Piece { len: 100, source: slice },
            Piece { len: 4000, source: patch },
        ];
        let (kind, size, within) = (Kind::Tree, (1 << 20) + 4100, Within::default());
        Recipe { kind, size, base: Some(base), pieces, within }
    }

    fn frame_inside() -> Recipe {
        let names = vec![Kid::of_blob(b"name"), Kid::of_blob(b"base")];
        let pieces = vec![Piece { len: 5000, source: Source::Within { prefix: 4990 } }];
        let within = Within { names, frame: vec![7; 40] };
        Recipe { size: 5000, pieces, within, ..example() }
    }

    #[test]
    fn a_recipe_round_trips() {
        for recipe in [example(), frame_inside()] {
            let mut bytes = encoded(&recipe);
            let whole = bytes.len();
            bytes.extend_from_slice(b"the next one");
            assert_eq!(decode(&bytes), Ok(recipe));
            for cut in 0..whole {
                decode(&bytes[..cut]).expect_err("a torn recipe");
            }
        }
    }

    #[test]
    fn recipes_of_the_first_format_are_read() {
        let bytes = encoded(&example());
        let at = bytes.iter().position(|byte| *byte == 0x13).unwrap() + 1;
        let mut first = bytes[..at].to_vec();
        first.extend_from_slice(Kid::of_blob(b"base").as_bytes());
        first.extend_from_slice(&bytes[at + 1..]);
        let decoded = Recipe::decode(&first, Names::InPlace);
        assert_eq!(decoded, Ok((example(), first.len())));
        let error = Recipe::decode(&encoded(&frame_inside()), Names::InPlace).unwrap_err();
        assert!(error.to_string().contains("more than 8"), "{error}");
    }

    #[test]
    fn impossible_recipes_are_refused() {
        let check = |recipe: Recipe, change: &dyn Fn(&mut Recipe), want: &str| {
            let mut recipe = recipe;
            change(&mut recipe);
            let error = decode(&encoded(&recipe)).expect_err(want).to_string();
            assert!(error.contains(want), "{want}: {error}");
        };
        let pieces = |change: &dyn Fn(&mut Recipe), want| check(example(), change, want);
        pieces(&|recipe| recipe.size += 1, "the pieces have");
        pieces(&|recipe| recipe.size = 0, "not a size");
        pieces(&|recipe| recipe.size = u64::MAX, "not a size");
        pieces(&|recipe| recipe.base = None, "needs a base");
        pieces(&|recipe| recipe.base.as_mut().unwrap().depth = 9, "more than 8");
        pieces(&|recipe| recipe.pieces[0].len = 0, "is not 1 to");
        pieces(&|recipe| recipe.pieces[1].len = u64::MAX, "is not 1 to");
        let far = Source::Slice { block: 8, start: u32::MAX };
        pieces(&|recipe| recipe.pieces[1].source = far, "beyond what a block");
        let long = Source::Patch { block: 8, from: 0, prefix: u32::MAX };
        pieces(&|recipe| recipe.pieces[2].source = long, "longer than");
        let beyond = Source::Copy { from: u64::MAX };
        pieces(&|recipe| recipe.pieces[0].source = beyond, "beyond the largest");
        let within = |change: &dyn Fn(&mut Recipe), want| check(frame_inside(), change, want);
        within(&|recipe| recipe.size = NARROW as u64 + 1, "at most 4 MiB");
        within(&|recipe| recipe.base = None, "has a base");
        within(&|recipe| recipe.within.frame = vec![0; MAX_WITHIN + 1], "longer than 4096");
        let many = vec![Kid::of_blob(b"name"); MAX_NAMES + 1];
        within(&|recipe| recipe.within.names = many.clone(), "more than 8192");
        let long = Source::Within { prefix: MAX_PREFIX as u32 + 1 };
        within(&|recipe| recipe.pieces[0].source = long, "longer than");
        let mut bytes = vec![5, 0];
        put_varint(&mut bytes, u64::MAX);
        assert_eq!(decode(&bytes), Err(DecodeError::Short("pieces")));
        let mut bytes = Vec::new();
        frame_inside().encode(&mut bytes, &mut |_| 2);
        let error = decode(&bytes).unwrap_err().to_string();
        assert!(error.contains("no KID 2"), "{error}");
    }

    proptest! {
        #[test]
        fn any_bytes_decode_or_are_refused(
            bytes in proptest::collection::vec(any::<u8>(), 0..300),
        ) {
            let _ = decode(&bytes);
            let _ = Recipe::decode(&bytes, Names::InPlace);
        }

        #[test]
        fn any_change_decodes_or_is_refused(at in 0usize..64, byte in any::<u8>()) {
            for mut bytes in [encoded(&example()), encoded(&frame_inside())] {
                let at = at % bytes.len();
                bytes[at] = byte;
                let _ = decode(&bytes);
            }
        }
    }
}
