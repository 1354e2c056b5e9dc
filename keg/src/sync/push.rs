//! The end that offers values: push.

use std::io::{self, Read};

use super::{
    Body, Message, Options, Progress, Transport, Verb, apply,
    error::{SyncError, broken, protocol},
    memo::Memo,
    message::{Missing, Offer, PackOrder},
    pack::{PackSender, missing_bytes},
    serve::{CONFLICT, DONE, WANTED},
    trees::TreeSender,
    walk::{entry_kid, entry_named},
    wire::Input,
};
use crate::{
    Keg, Kid,
    names::Expected,
    object::{Entry, Kind},
    path::NamePath,
};

/// How often a push is tried while the other side changes the name under it.
const MAX_TRIES: usize = 3;

/// What a push has done.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Pushed {
    /// The value, which is there whole.
    pub value: Entry,
    /// The number of the version there that has it; `None`: it was there already.
    pub seq: Option<u64>,
    /// Blobs that were missing there.
    pub blobs: u64,
    /// Bytes of the last two requests.
    pub sent: u64,
}

/// Sets `to` there to what `from` is here, sending what is missing there. Its former value there
/// must be one that this Keg knows; `/` sends all versions.
///
/// # Errors
/// [`SyncError::Conflict`] if `to` has changed there; [`SyncError`] otherwise.
pub fn push(
    keg: &Keg,
    transport: &mut dyn Transport,
    from: &NamePath,
    to: &NamePath,
    options: &mut Options<'_>,
) -> Result<Pushed, SyncError> {
    let absent = || SyncError::Absent { path: from.clone() };
    let value = apply::current(keg, from)?.ok_or_else(absent)?;
    let mut memo = Memo::open(keg, transport.name(), &format!("{to} {from}"));
    let here = entry_kid(&value);
    // What is there already is only asked about.
    let usable =
        |seen: &Option<Kid>| seen.is_none_or(|kid| Some(kid) != here && is_here(keg, &kid));
    let known = memo.seen.filter(usable);
    let mut offer = Offer {
        path: to.clone(),
        compared: known.flatten().is_some(),
        expected: known.map_or(Expected::Any, expecting),
        value,
        author: options.author.clone(),
    };
    for _ in 0..MAX_TRIES {
        let pushed = offer_once(keg, transport, &offer, options.progress)?;
        let found = match pushed {
            Offered::Done(pushed) => {
                memo.seen = Some(here);
                memo.save()?;
                return Ok(pushed);
            }
            Offered::Conflict(found) => found,
        };
        if found.as_ref() == Some(&offer.value) {
            memo.seen = Some(here);
            memo.save()?;
            return Ok(Pushed { value: offer.value, seq: None, blobs: 0, sent: 0 });
        }
        let there = found.as_ref().and_then(Entry::kid);
        let replace = match (&found, &there) {
            (None, _) => true,
            (Some(_), Some(_)) if options.force || memo.seen == Some(there) => true,
            (Some(_), Some(kid)) => memo.came(kid) || was_ours(keg, from, &offer.value, kid)?,
            (Some(_), None) => false,
        };
        if !replace {
            return Err(SyncError::Conflict { path: to.clone(), here, there });
        }
        offer.expected = expecting(there);
        offer.compared = there.is_some_and(|kid| is_here(keg, &kid));
    }
    Err(SyncError::Conflict { path: to.clone(), here, there: None })
}

/// Whether a value there is one that this Keg's name had before.
fn was_ours(keg: &Keg, from: &NamePath, value: &Entry, kid: &Kid) -> Result<bool, SyncError> {
    match entry_named(value) {
        Some((Kind::Commit, new)) => apply::follows(keg.objects(), &new, kid),
        _ => apply::was(keg, from, kid),
    }
}

fn is_here(keg: &Keg, kid: &Kid) -> bool {
    matches!(keg.objects().kind(kid), Ok(Some(_)))
}

fn expecting(kid: Option<Kid>) -> Expected {
    kid.map_or(Expected::Absent, Expected::Kid)
}

enum Offered {
    Done(Pushed),
    Conflict(Option<Entry>),
}

fn offer_once(
    keg: &Keg,
    transport: &mut dyn Transport,
    offer: &Offer,
    progress: &mut dyn FnMut(Progress),
) -> Result<Offered, SyncError> {
    let objects = keg.objects();
    let base = match offer.expected {
        Expected::Kid(kid) if offer.compared => objects.kind(&kid)?.map(|kind| (kind, kid)),
        _ => None,
    };
    let only_ask = offer.expected == Expected::Any;
    let mut trees = TreeSender::new(objects, &offer.value, base, &[], 0);
    let mut more = || if only_ask { Ok(None) } else { trees.next() };
    let mut stream = Chunks::new(offer.encode()?, &mut more);
    let answer = transport.exchange(Verb::OfferTrees, Body::Stream(&mut stream));
    let mut input = match stream.failed.take() {
        Some(error) => return Err(error),
        None => Input::open(answer.map_err(broken)?, Message::OfferedTrees)?,
    };
    let missing = match input.tag()? {
        WANTED if !only_ask => Missing::read(&mut input)?,
        CONFLICT => return Ok(Offered::Conflict(input.entry()?)),
        other => return Err(protocol(format!("an answer of kind {other}"))),
    };
    input.end()?;
    drop(input);
    let sent = stream.made;
    let ends = trees.into_ends();
    let order = PackOrder { value: offer.value.clone(), base, ends, missing };
    offer_pack(keg, transport, offer, &order, sent, progress)
}

/// The second round trip, after so many bytes of the first.
fn offer_pack(
    keg: &Keg,
    transport: &mut dyn Transport,
    offer: &Offer,
    order: &PackOrder,
    before: u64,
    progress: &mut dyn FnMut(Progress),
) -> Result<Offered, SyncError> {
    let objects = keg.objects();
    let blobs = order.missing.bits.ones();
    let bytes_total = missing_bytes(objects, order)?;
    let mut pack = PackSender::new(objects, order);
    let mut more = || {
        let chunk = pack.next()?;
        let (blobs_sent, bytes) = pack.sent();
        progress(Progress {
            blobs: blobs_sent,
            blobs_total: blobs,
            bytes,
            bytes_total,
            objects: 0,
        });
        Ok(chunk)
    };
    let mut stream = Chunks::new(offer.encode_pack(order)?, &mut more);
    let answer = transport.exchange(Verb::OfferPack, Body::Stream(&mut stream));
    let mut input = match stream.failed.take() {
        Some(error) => return Err(error),
        None => Input::open(answer.map_err(broken)?, Message::OfferedPack)?,
    };
    match input.tag()? {
        DONE => {
            let seq = input.number(u64::MAX, "the number of a version")?;
            input.kid()?;
            input.end()?;
            let (value, sent) = (offer.value.clone(), before + stream.made);
            Ok(Offered::Done(Pushed { value, seq: Some(seq), blobs, sent }))
        }
        CONFLICT => Ok(Offered::Conflict(input.entry()?)),
        other => Err(protocol(format!("an answer of kind {other}"))),
    }
}

/// What gives the next bytes.
type More<'a> = dyn FnMut() -> Result<Option<Vec<u8>>, SyncError> + 'a;

/// Bytes that are made while they are read.
struct Chunks<'a> {
    chunk: Vec<u8>,
    at: usize,
    /// Bytes that were read.
    made: u64,
    more: &'a mut More<'a>,
    failed: Option<SyncError>,
}

impl<'a> Chunks<'a> {
    fn new(head: Vec<u8>, more: &'a mut More<'a>) -> Self {
        Self { chunk: head, at: 0, made: 0, more, failed: None }
    }
}

impl Read for Chunks<'_> {
    fn read(&mut self, buf: &mut [u8]) -> io::Result<usize> {
        if self.at == self.chunk.len() && !buf.is_empty() {
            self.at = 0;
            match (self.more)() {
                Ok(chunk) => self.chunk = chunk.unwrap_or_default(),
                Err(error) => {
                    self.failed = Some(error);
                    return Err(io::Error::other("what is to be sent cannot be read"));
                }
            }
        }
        let len = buf.len().min(self.chunk.len() - self.at);
        buf[..len].copy_from_slice(&self.chunk[self.at..self.at + len]);
        self.at += len;
        self.made += len as u64;
        Ok(len)
    }
}
