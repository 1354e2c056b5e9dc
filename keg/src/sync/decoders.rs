//! The decoders of messages, and of what is remembered of peers (see [`crate::decoders`]).

use std::io::{self, Cursor, Read};

use super::{
    Body, Limits, MAX_DOCUMENT, Message, Options, Transport, Verb,
    error::SyncError,
    memo::Memo,
    message::{Offer, PackOrder, WantTrees},
    pull, serve,
    wire::Input,
};
use crate::{
    Keg, NamePath, Txn,
    decoders::{Decoded, Decoder, LITTLE, read_if, unsealed},
    object::{EntryName, Tree},
};

/// One frame may become the largest tree there is.
const LARGEST: usize = MAX_DOCUMENT + 4 * LITTLE;
/// The peer and path that a memory is of.
const OF: (&str, &str) = ("scripted", "/x /x");

pub(crate) fn all() -> Vec<Decoder> {
    let decoder = |name, decode| Decoder { name, decode, seal: unsealed, memory: LARGEST };
    vec![
        decoder("sync-want-trees", |bytes| message(bytes, Message::WantTrees)),
        decoder("sync-want-pack", |bytes| message(bytes, Message::WantPack)),
        decoder("sync-offer-trees", |bytes| message(bytes, Message::OfferTrees)),
        decoder("sync-offer-pack", |bytes| message(bytes, Message::OfferPack)),
        decoder("sync-request", request),
        decoder("sync-answers", answers),
        Decoder { name: "sync-memo", decode: memo, seal: unsealed, memory: 2 * LITTLE },
    ]
}

/// The start of a message, which has one form, but for the frame its bits are in.
fn message(bytes: &[u8], kind: Message) -> Decoded {
    let read = || -> Result<Decoded, SyncError> {
        let mut input = Input::open(Box::new(Cursor::new(bytes)), kind)?;
        let encoded = match kind {
            Message::WantTrees => WantTrees::read(&mut input)?.encode(),
            Message::OfferTrees => Offer::read(&mut input)?.encode()?,
            Message::WantPack => {
                let order = PackOrder::read(&mut input)?;
                let again = order.encode()?;
                let mut again = Input::open(Box::new(Cursor::new(&again)), kind)?;
                assert!(PackOrder::read(&mut again)? == order, "it reads the same again");
                return Ok(Decoded::Read);
            }
            _ => {
                let (offer, order) = Offer::read_pack(&mut input)?;
                offer.encode_pack(&order)?;
                return Ok(Decoded::Read);
            }
        };
        let mut rest = bytes.get(input.count() as usize..).unwrap_or_default().to_vec();
        let mut whole = encoded;
        whole.append(&mut rest);
        // Control characters of a text are replaced, so it may be written otherwise.
        Ok(if kind == Message::OfferTrees { Decoded::Read } else { Decoded::Canonical(whole) })
    };
    read().unwrap_or(Decoded::Refused)
}

/// The first byte says which request the others are: whoever answers believes nothing.
fn request(bytes: &[u8]) -> Decoded {
    let Some((verb, mut bytes)) = bytes.split_first() else { return Decoded::Refused };
    let keg = Keg::in_memory();
    let mut tree = Tree::default();
    let put = || -> Option<()> {
        let entry = keg.objects().put_bytes(b"a file").ok()?;
        tree.entries.insert(EntryName::new("f").ok()?, entry);
        let entry = keg.objects().put_tree(&tree).ok()?;
        keg.commit(Txn::new("t", "m").set("/x".parse().ok()?, entry)).ok().map(drop)
    };
    let mut put = put;
    if put().is_none() {
        return Decoded::Refused;
    }
    let mut answer = Vec::new();
    let verb = Verb::ALL[usize::from(*verb) % Verb::ALL.len()];
    read_if(serve(&keg, verb, &mut bytes, &mut answer).is_ok())
}

/// Two answers to a pull: the length of the first (u16), and both.
fn answers(bytes: &[u8]) -> Decoded {
    let Some((len, bytes)) = bytes.split_first_chunk() else { return Decoded::Refused };
    let at = usize::from(u16::from_le_bytes(*len)).min(bytes.len());
    let (trees, pack) = bytes.split_at(at);
    let keg = Keg::in_memory();
    let mut way = Scripted(vec![pack.to_vec(), trees.to_vec()]);
    let path = NamePath::root().join("x");
    let Ok(path) = path else { return Decoded::Refused };
    let limits = Limits { objects: 1 << 16, bytes: 1 << 24 };
    let mut options =
        Options { author: "t".to_owned(), force: true, limits, progress: &mut |_| {} };
    let pulled = pull(&keg, &mut way, &path, &path, &mut options);
    let moved = keg.head().is_ok_and(|head| head.seq > 0);
    assert!(pulled.is_ok() || !moved, "no name moves before all is there");
    read_if(pulled.is_ok())
}

/// Answers what it was given, from the last.
struct Scripted(Vec<Vec<u8>>);

impl Transport for Scripted {
    fn name(&self) -> &str {
        OF.0
    }

    fn exchange<'a>(&'a mut self, _: Verb, _: Body<'_>) -> io::Result<Box<dyn Read + 'a>> {
        let answer = self.0.pop().ok_or(io::ErrorKind::ConnectionReset)?;
        Ok(Box::new(Cursor::new(answer)))
    }
}

fn memo(bytes: &[u8]) -> Decoded {
    let keg = Keg::in_memory();
    let written = Memo::open(&keg, OF.0, OF.1).replace(bytes);
    if written.is_err() {
        return Decoded::Refused;
    }
    let memo = Memo::open(&keg, OF.0, OF.1);
    read_if(memo.seen.is_some() || memo.resume.is_some())
}
