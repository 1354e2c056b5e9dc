//! The end that answers: reads one request, writes one answer.

use std::io::{Read, Write};

use super::{
    Limits, Message, Progress, Verb, apply,
    error::{SyncError, broken, protocol},
    message::{Offer, PackOrder, Resume, Want, WantTrees},
    pack::{PackSender, receive_pack},
    receive::{Expecting, receive_trees},
    trees::{Held, TreeSender},
    walk::{entry_kid, entry_named},
    wire::{Input, failed, put_entry, put_named, put_option, start},
};
use crate::{
    Keg, Kid,
    gc::Lease,
    names::{CommitError, Expected, Version},
    object::{Entry, Kind, wire::put_varint},
};

/// The answer begins: here is what was asked for.
pub(super) const FOUND: u8 = 1;
/// The answer to an offer: these blobs are missing.
pub(super) const WANTED: u8 = 1;
/// … the name is something else.
pub(super) const CONFLICT: u8 = 2;
/// … the name has moved.
pub(super) const DONE: u8 = 3;

/// How much history is looked through for the commits at which a push stopped.
const MAX_HELD: usize = 1 << 22;

/// Answers one request. A failure is told to the other side and returned.
///
/// # Errors
/// The request's, the store's, or the connection's. What had come by then is kept.
pub fn serve(
    keg: &Keg,
    verb: Verb,
    request: &mut dyn Read,
    answer: &mut dyn Write,
) -> Result<(), SyncError> {
    let (asked, given) = match verb {
        Verb::Trees => (Message::WantTrees, Message::Trees),
        Verb::Pack => (Message::WantPack, Message::Pack),
        Verb::OfferTrees => (Message::OfferTrees, Message::OfferedTrees),
        Verb::OfferPack => (Message::OfferPack, Message::OfferedPack),
    };
    send(answer, &start(given))?;
    let mut done = || {
        let mut input = Input::open(Box::new(&mut *request), asked)?;
        match verb {
            Verb::Trees => trees(keg, &mut input, answer),
            Verb::Pack => pack(keg, &mut input, answer),
            Verb::OfferTrees => offered_trees(keg, &mut input, answer),
            Verb::OfferPack => offered_pack(keg, &mut input, answer),
        }
    };
    let done = done();
    if let Err(error) = &done {
        send(answer, &failed(&error.to_string()))?;
    }
    answer.flush().map_err(broken)?;
    done
}

fn send(answer: &mut dyn Write, bytes: &[u8]) -> Result<(), SyncError> {
    answer.write_all(bytes).map_err(broken)
}

fn trees(keg: &Keg, input: &mut Input<'_>, answer: &mut dyn Write) -> Result<(), SyncError> {
    let WantTrees { want, haves, resume } = WantTrees::read(input)?;
    input.end()?;
    let value = match &want {
        Want::Path(path) => {
            apply::current(keg, path)?.ok_or_else(|| SyncError::Absent { path: path.clone() })?
        }
        Want::Value(kind, kid) => apply::entry_of(keg, *kind, kid)?,
    };
    let objects = keg.objects();
    let mut base = None;
    for (kind, kid) in &haves {
        if objects.kind(kid)? == Some(*kind) {
            base = Some((*kind, *kid));
            break;
        }
    }
    let again = |resume: &Resume| {
        entry_kid(&value) == Some(resume.value) && resume.base == base.map(|(_, kid)| kid)
    };
    let skip = resume.filter(again).map_or(0, |resume| resume.objects);
    let mut out = vec![FOUND];
    put_entry(&mut out, Some(&value))?;
    put_option(&mut out, base.as_ref(), put_named);
    send(answer, &out)?;
    let mut sender = TreeSender::new(objects, &value, base, &haves, skip);
    while let Some(chunk) = sender.next()? {
        send(answer, &chunk)?;
    }
    Ok(())
}

fn pack(keg: &Keg, input: &mut Input<'_>, answer: &mut dyn Write) -> Result<(), SyncError> {
    let order = PackOrder::read(input)?;
    input.end()?;
    let mut sender = PackSender::new(keg.objects(), &order);
    while let Some(chunk) = sender.next()? {
        send(answer, &chunk)?;
    }
    Ok(())
}

fn offered_trees(
    keg: &Keg,
    input: &mut Input<'_>,
    answer: &mut dyn Write,
) -> Result<(), SyncError> {
    let _lease = Lease::hold(keg, "a push", &[])?;
    let offer = Offer::read(input)?;
    let now = apply::current(keg, &offer.path)?;
    if !holds(offer.expected, now.as_ref()) {
        input.drain();
        return conflict(answer, now.as_ref());
    }
    let base = now.as_ref().and_then(entry_named).filter(|_| offer.compared);
    let haves: Vec<(Kind, Kid)> = base.into_iter().collect();
    let expecting = Expecting {
        value: &offer.value,
        base,
        haves: &haves,
        limits: Limits::default(),
        durable: &mut |_| Ok(()),
        told: &mut |_| {},
    };
    let received = receive_trees(keg, input, expecting)?;
    let mut out = vec![WANTED];
    received.missing.put(&mut out)?;
    send(answer, &out)
}

fn offered_pack(keg: &Keg, input: &mut Input<'_>, answer: &mut dyn Write) -> Result<(), SyncError> {
    let _lease = Lease::hold(keg, "a push", &[])?;
    let (offer, order) = Offer::read_pack(input)?;
    let now = apply::current(keg, &offer.path)?;
    if !holds(offer.expected, now.as_ref()) {
        input.drain();
        return conflict(answer, now.as_ref());
    }
    check_trust(keg, &order, now.as_ref(), offer.compared)?;
    receive_pack(keg, input, &order, Progress::default(), &mut |_| {})?;
    input.end()?;
    let author = if offer.author.is_empty() { "a push" } else { &offer.author };
    let message = format!("Push {}", offer.path);
    match apply::set(keg, &offer.path, &offer.value, now.as_ref(), (author, &message)) {
        Ok(Version { seq, commit, .. }) => {
            let mut out = vec![DONE];
            put_varint(&mut out, seq);
            out.extend_from_slice(commit.as_bytes());
            send(answer, &out)
        }
        Err(SyncError::Commit(CommitError::Conflict { .. }) | SyncError::Conflict { .. }) => {
            conflict(answer, apply::current(keg, &offer.path)?.as_ref())
        }
        Err(error) => Err(error),
    }
}

/// What a walk leaves out must be here: only what names lead to is believed to be.
fn check_trust(
    keg: &Keg,
    order: &PackOrder,
    now: Option<&Entry>,
    compared: bool,
) -> Result<(), SyncError> {
    let base = now.and_then(entry_named).filter(|_| compared);
    if order.base != base {
        return Err(protocol("a pack compared with something else than what the name is"));
    }
    let mut held = Held::new(keg.objects(), MAX_HELD);
    if let Some((Kind::Commit, kid)) = base {
        held.add(&kid);
    }
    match order.ends.stops.iter().find(|stop| !held.holds(stop)) {
        Some(stop) => Err(protocol(format!("it takes {stop} to be here, but it is not"))),
        None => Ok(()),
    }
}

fn holds(expected: Expected, now: Option<&Entry>) -> bool {
    match expected {
        Expected::Any => false,
        Expected::Absent => now.is_none(),
        Expected::Kid(kid) => now.and_then(Entry::kid) == Some(kid),
    }
}

fn conflict(answer: &mut dyn Write, now: Option<&Entry>) -> Result<(), SyncError> {
    let mut out = vec![CONFLICT];
    put_entry(&mut out, now)?;
    send(answer, &out)
}
