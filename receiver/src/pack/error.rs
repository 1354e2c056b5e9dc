//! Why a pack is refused.

use std::io;

use gix_hash::ObjectId;
use gix_object::Kind;

use crate::fsck::Fault;

/// Why a pack cannot be taken. The texts are what the person who pushed reads.
#[derive(Debug, thiserror::Error)]
pub(crate) enum PackError {
    /// The stream ended early.
    #[error("the pack ends in the middle (after {0} bytes): the connection broke, push again")]
    Truncated(u64),
    /// Not a pack.
    #[error("what was sent is not a git pack of version 2 or 3")]
    Signature,
    /// The header promises more than is taken.
    #[error(
        "the pack has {count} objects, but at most {} are taken at once; \
         push older commits first: git push keg <older commit>:main",
        super::MAX_OBJECTS
    )]
    TooManyObjects {
        /// What the header says.
        count: u32,
    },
    /// An entry's header makes no sense.
    #[error("the pack is damaged: the entry at byte {offset} has no valid header")]
    Header {
        /// Where the entry starts.
        offset: u64,
    },
    /// The zlib stream of an entry is damaged.
    #[error("the pack is damaged: the entry at byte {offset} cannot be inflated")]
    Inflate {
        /// Where the entry starts.
        offset: u64,
    },
    /// The entry is longer or shorter than its header says.
    #[error("the pack is damaged: the entry at byte {offset} is not as long as it says")]
    Size {
        /// Where the entry starts.
        offset: u64,
    },
    /// The instructions of a delta do not fit its base.
    #[error("the pack is damaged: the delta at byte {offset} does not apply to its base")]
    Delta {
        /// Where the entry starts.
        offset: u64,
    },
    /// A delta whose base is nowhere.
    #[error("the pack has {count} deltas whose base is missing, the first one on {base}")]
    MissingBase {
        /// The first base that is missing.
        base: String,
        /// How many deltas are left.
        count: usize,
    },
    /// The trailing SHA-1 does not match.
    #[error("the pack is damaged: its checksum does not match its bytes; push again")]
    Checksum,
    /// Bytes follow the pack.
    #[error("bytes follow the end of the pack")]
    Trailing,
    /// An object appears twice.
    #[error("object {0} appears twice in the pack")]
    Duplicate(ObjectId),
    /// An object is larger than allowed.
    #[error(
        "the {what} at byte {offset} of the pack has {size} bytes, but at most {max} are taken"
    )]
    TooLarge {
        /// What it is.
        what: &'static str,
        /// Where the entry starts.
        offset: u64,
        /// Its size.
        size: u64,
        /// The limit.
        max: u64,
    },
    /// The pack costs more work than its size allows.
    #[error(
        "the pack unfolds to too much data for its size (over {0} MiB); \
         repack it with shorter delta chains: git repack -a -d -f --depth=20, then push again"
    )]
    Work(u64),
    /// The SHA-1 collision attack was found.
    #[error("an object of the pack carries a SHA-1 collision attack")]
    Collision,
    /// An object is malformed, as `git fsck --strict` would say.
    #[error("{kind} {id} is malformed: {fault}; rewrite the commits that hold it, then push")]
    Fsck {
        /// The object.
        id: ObjectId,
        /// Its kind.
        kind: Kind,
        /// What is wrong with it.
        fault: Fault,
    },
    /// An object names another that is neither in the pack nor in this app.
    #[error("{kind} {id} is missing: it is neither in the pack nor in this app's repository")]
    MissingObject {
        /// The object that is missing.
        id: ObjectId,
        /// The kind it should have.
        kind: Kind,
    },
    /// An object is used as two kinds.
    #[error("object {id} is used as a {expected}, but it is a {found}")]
    WrongKind {
        /// The object.
        id: ObjectId,
        /// What others take it for.
        expected: Kind,
        /// What it is.
        found: Kind,
    },
    /// More distinct objects are named than are taken.
    #[error("the pack names too many objects that it does not hold")]
    TooManyLinks,
    /// A pack of the app's repository in the Keg cannot be read.
    #[error("pack {pack} of this app cannot be read from the Keg; run keg fsck")]
    Stored {
        /// Its name.
        pack: String,
        /// Why.
        #[source]
        source: Box<dyn std::error::Error + Send + Sync>,
    },
    /// The disk or the connection failed.
    #[error("{doing} failed: {source}")]
    Io {
        /// What was being done.
        doing: &'static str,
        /// The cause.
        source: io::Error,
    },
}

impl PackError {
    /// Wraps an input/output error with what was being done.
    pub(crate) fn io(doing: &'static str) -> impl FnOnce(io::Error) -> Self {
        move |source| Self::Io { doing, source }
    }
}
