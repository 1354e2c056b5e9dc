//! Packs into one pack: without what is not kept, and without making anything anew that can be
//! taken as it is.
//!
//! Blocks of which at least half is kept are copied with their checksums; of the others, and of
//! short ones such as each pack has at its end, what is kept goes into new, solid frames. Recipes
//! only get new places: bases, and so depths, stay what they are.

use std::{
    collections::{BTreeMap, HashMap},
    path::PathBuf,
    sync::Arc,
};

use super::encode::pack;
use crate::{
    Kid,
    store::{
        StoreError,
        packs::{
            MAX_BLOCK, Pack, PackSet, PackWriter, PackedBlob, Piece, Prefer, Recipe, Source,
            Stored, remove_pack,
        },
    },
};

/// Frames shorter than this are filled up where there are several.
const SHORT: usize = MAX_BLOCK / 4;

/// What became of some packs.
pub(super) enum Joined {
    /// One pack has what is kept of them; it is durable and was read back.
    Into(Kid),
    /// Nothing of them is kept.
    Nothing,
    /// Something in them cannot be read: they are left as they are, and `keg fsck` names it.
    Damaged,
}

/// Where packs are joined, and how.
pub(super) struct Joiner<'a> {
    pub(super) home: &'a std::path::Path,
    pub(super) set: &'a Arc<PackSet>,
    /// zstd's level for new frames.
    pub(super) level: i32,
}

/// An object that is kept.
struct Kept {
    kid: Kid,
    pack: usize,
    recipe: Recipe,
}

/// Offset of a block in one of the packs.
type At = (usize, u64);

/// How a block is used.
#[derive(Default)]
struct Use {
    /// As a whole, behind a prefix.
    whole: bool,
    /// From where to where, in what it unpacks to.
    ranges: Vec<(u32, u32)>,
}

/// Where a block's bytes are in the new pack.
enum Moved {
    /// At this offset, as they were.
    Whole(u64),
    /// In new frames, in the order of the old block.
    Parts(Vec<Part>),
}

/// A part of an old block in a new frame.
struct Part {
    /// From where in the old block,
    from: u32,
    /// to where.
    to: u32,
    /// Number of the new frame.
    frame: usize,
    /// Where in that.
    at: u32,
}

impl Joiner<'_> {
    /// Makes one pack, written to `path` until it is finished, of what `keep` says of each of
    /// these. What is kept twice is taken from where it is least deep.
    ///
    /// # Errors
    /// The disk's; then there is no new pack.
    pub(super) fn join(
        &self,
        packs: &[Arc<Pack>],
        keep: &dyn Fn(&Kid, &Pack, &Recipe) -> bool,
        path: PathBuf,
    ) -> Result<Joined, StoreError> {
        let Some(kept) = choose(packs, keep) else { return Ok(Joined::Damaged) };
        if kept.is_empty() {
            return Ok(Joined::Nothing);
        }
        let mut output = Output {
            writer: PackWriter::create(path)?,
            level: self.level,
            frame: Vec::new(),
            frames: Vec::new(),
        };
        let Some(moved) = output.blocks(packs, &uses(&kept))? else { return Ok(Joined::Damaged) };
        output.close_frame()?;
        for one in &kept {
            let Some(recipe) = output.recipe(one, &moved) else { return Ok(Joined::Damaged) };
            output.writer.object(one.kid, &recipe);
        }
        let name = output.writer.finish(self.home)?;
        if self.is_whole(&name, &kept) {
            return Ok(Joined::Into(name));
        }
        if packs.iter().all(|pack| *pack.name() != name) {
            remove_pack(self.home, &name)?;
        }
        Ok(Joined::Damaged)
    }

    /// Reads every object back from the new pack.
    fn is_whole(&self, name: &Kid, kept: &[Kept]) -> bool {
        let Ok(pack) = Pack::open(self.home, name) else { return false };
        kept.iter().all(|one| {
            let Ok(Some(found)) = pack.found(&one.kid) else { return false };
            let mut blob = PackedBlob::new(self.set, one.kid, found, Prefer::Packed);
            blob.hash().is_ok_and(|hash| hash == one.kid)
        })
    }
}

/// What is kept, bases first; `None`: a recipe is damaged.
fn choose(packs: &[Arc<Pack>], keep: &dyn Fn(&Kid, &Pack, &Recipe) -> bool) -> Option<Vec<Kept>> {
    let mut chosen: HashMap<Kid, usize> = HashMap::new();
    let mut kept: Vec<Kept> = Vec::new();
    for (number, pack) in packs.iter().enumerate() {
        for (kid, recipe) in pack.recipes() {
            let recipe = recipe.ok()?;
            if !keep(&kid, pack, &recipe) {
                continue;
            }
            match chosen.get(&kid) {
                Some(at) if kept[*at].recipe.depth() <= recipe.depth() => {}
                Some(at) => kept[*at] = Kept { kid, pack: number, recipe },
                None => {
                    chosen.insert(kid, kept.len());
                    kept.push(Kept { kid, pack: number, recipe });
                }
            }
        }
    }
    // A base is always less deep.
    kept.sort_by_key(|one| (one.recipe.depth(), one.pack, first_block(&one.recipe)));
    Some(kept)
}

fn first_block(recipe: &Recipe) -> u64 {
    recipe.pieces.iter().find_map(|piece| block_of(&piece.source)).unwrap_or(u64::MAX)
}

fn block_of(source: &Source) -> Option<u64> {
    match source {
        Source::Slice { block, .. } | Source::Patch { block, .. } => Some(*block),
        Source::Copy { .. } | Source::Within { .. } => None,
    }
}

fn uses(kept: &[Kept]) -> BTreeMap<At, Use> {
    let mut uses: BTreeMap<At, Use> = BTreeMap::new();
    for one in kept {
        for piece in &one.recipe.pieces {
            match piece.source {
                Source::Slice { block, start } => {
                    // A slice ends within the largest block, as its recipe was checked.
                    let range = (start, start + piece.len as u32);
                    uses.entry((one.pack, block)).or_default().ranges.push(range);
                }
                Source::Patch { block, .. } => {
                    uses.entry((one.pack, block)).or_default().whole = true;
                }
                Source::Copy { .. } | Source::Within { .. } => {}
            }
        }
    }
    for used in uses.values_mut() {
        merge(&mut used.ranges);
    }
    uses
}

/// Ranges that overlap or touch become one.
fn merge(ranges: &mut Vec<(u32, u32)>) {
    ranges.sort_unstable();
    ranges.dedup_by(|next, last| {
        let touch = next.0 <= last.1;
        if touch {
            last.1 = last.1.max(next.1);
        }
        touch
    });
}

/// The new pack while it is written.
struct Output {
    writer: PackWriter,
    level: i32,
    /// The open frame.
    frame: Vec<u8>,
    /// Where the closed ones are.
    frames: Vec<u64>,
}

impl Output {
    /// Takes over all blocks that are used; `None`: one is damaged.
    fn blocks(
        &mut self,
        packs: &[Arc<Pack>],
        uses: &BTreeMap<At, Use>,
    ) -> Result<Option<HashMap<At, Moved>>, StoreError> {
        let mut moved = HashMap::with_capacity(uses.len());
        for (at, used) in uses {
            let Ok(stored) = packs[at.0].stored(at.1) else { return Ok(None) };
            let live: usize = used.ranges.iter().map(|(from, to)| (to - from) as usize).sum();
            let worth = stored.raw_len() >= SHORT && live * 2 >= stored.raw_len();
            let place = if used.whole || worth {
                Moved::Whole(self.writer.copy(&stored)?)
            } else {
                match self.parts(&stored, &used.ranges)? {
                    Some(parts) => Moved::Parts(parts),
                    None => return Ok(None),
                }
            };
            moved.insert(*at, place);
        }
        Ok(Some(moved))
    }

    fn parts(
        &mut self,
        stored: &Stored,
        ranges: &[(u32, u32)],
    ) -> Result<Option<Vec<Part>>, StoreError> {
        let Ok(bytes) = stored.unpack(&[]) else { return Ok(None) };
        let mut parts = Vec::with_capacity(ranges.len());
        for (from, to) in ranges {
            let Some(part) = bytes.get(*from as usize..*to as usize) else { return Ok(None) };
            if self.frame.len() + part.len() > MAX_BLOCK {
                self.close_frame()?;
            }
            let (frame, at) = (self.frames.len(), self.frame.len() as u32);
            parts.push(Part { from: *from, to: *to, frame, at });
            self.frame.extend_from_slice(part);
        }
        Ok(Some(parts))
    }

    fn close_frame(&mut self) -> Result<(), StoreError> {
        if !self.frame.is_empty() {
            let packed = pack(&[], &self.frame, self.level)?;
            self.frames.push(self.writer.block(self.frame.len(), &packed)?);
            self.frame.clear();
        }
        Ok(())
    }

    /// The recipe with its new places; `None`: a slice is beyond its block.
    fn recipe(&self, one: &Kept, moved: &HashMap<At, Moved>) -> Option<Recipe> {
        let place = |piece: &Piece| {
            let source = match piece.source {
                Source::Copy { .. } | Source::Within { .. } => piece.source,
                Source::Patch { block, from, prefix } => {
                    let Moved::Whole(block) = moved.get(&(one.pack, block))? else { return None };
                    Source::Patch { block: *block, from, prefix }
                }
                Source::Slice { block, start } => match moved.get(&(one.pack, block))? {
                    Moved::Whole(block) => Source::Slice { block: *block, start },
                    Moved::Parts(parts) => {
                        let found = parts.partition_point(|part| part.to <= start);
                        let part = parts.get(found)?;
                        let block = self.frames[part.frame];
                        Source::Slice { block, start: part.at + (start - part.from) }
                    }
                },
            };
            Some(Piece { len: piece.len, source })
        };
        let pieces = one.recipe.pieces.iter().map(place).collect::<Option<Vec<_>>>()?;
        Some(Recipe { pieces, ..one.recipe.clone() })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ranges_that_touch_become_one() {
        let mut ranges = vec![(5, 9), (0, 3), (3, 4), (6, 7), (20, 21), (8, 12)];
        merge(&mut ranges);
        assert_eq!(ranges, [(0, 4), (5, 12), (20, 21)]);
    }
}
