//! Transactions and their outcomes as bytes, for a process that commits for another.
//!
//! They live in memory that the processes of one machine share and never on disk, so their form
//! may change with the version of the queue (`queue.rs`). What is read is checked like anything
//! from outside.

use serde_json::Map;

use super::batch::Outcome;
use crate::{
    Kid,
    names::{CommitError, Expected, Planned, Step, Txn, Version},
    object::{
        Entry, EntryName, Kind, Tree,
        wire::{DecodeError, Fields, bad, put_bytes, put_signed, put_varint},
    },
    store::Object,
};

const ANY: u8 = 0;
const ABSENT: u8 = 1;
const KID: u8 = 2;

const MADE: u8 = 1;
const CONFLICT: u8 = 2;
const ALONE: u8 = 3;
const UNSYNCED: u8 = 4;

/// A transaction of another process.
pub(super) struct Request {
    txn: Txn,
    values: Vec<Option<Entry>>,
    documents: Vec<(Kid, Object)>,
    time_ms: i64,
}

impl Request {
    pub(super) fn planned(&self) -> Planned<'_> {
        Planned {
            txn: &self.txn,
            values: self.values.clone(),
            documents: self.documents.clone(),
            time_ms: self.time_ms,
        }
    }

    pub(super) fn decode(bytes: &[u8]) -> Result<Self, DecodeError> {
        let mut fields = Fields::new(bytes);
        let mut txn = Txn::new(fields.text("author")?, fields.text("message")?);
        txn.extra = match fields.text("extra")? {
            "" => Map::new(),
            text => serde_json::from_str(text).map_err(|error| bad("extra", error.to_string()))?,
        };
        let time_ms = fields.signed("time")?;
        for _ in 0..fields.count(2, "expectations")? {
            let path = path(&mut fields)?;
            let expected = match fields.byte("expectation")? {
                ANY => Expected::Any,
                ABSENT => Expected::Absent,
                KID => Expected::Kid(Kid::from_bytes(fields.array("KID")?)),
                _ => return Err(bad("expectation", "not a known one")),
            };
            txn.expected.push((path, expected));
        }
        let mut values = Vec::new();
        for _ in 0..fields.count(2, "steps")? {
            txn.steps.push((path(&mut fields)?, Step::Remove));
            values.push(take_entry(&mut fields)?);
        }
        let mut documents = Vec::new();
        for _ in 0..fields.count(1, "documents")? {
            let bytes = fields.bytes("document")?.to_vec();
            documents.push((Kid::of_blob(&bytes), Object { kind: Kind::Blob, bytes }));
        }
        fields.end()?;
        Ok(Self { txn, values, documents, time_ms })
    }
}

/// The bytes of a transaction.
pub(super) fn encode(planned: &Planned<'_>) -> Result<Vec<u8>, DecodeError> {
    let Planned { txn, values, documents, time_ms } = planned;
    let mut out = Vec::with_capacity(512);
    put_bytes(&mut out, txn.author.as_bytes());
    put_bytes(&mut out, txn.message.as_bytes());
    if txn.extra.is_empty() {
        put_bytes(&mut out, b"");
    } else {
        let text = serde_json::to_vec(&txn.extra).map_err(|e| bad("extra", e.to_string()))?;
        put_bytes(&mut out, &text);
    }
    put_signed(&mut out, *time_ms);
    put_varint(&mut out, txn.expected.len() as u64);
    for (path, expected) in &txn.expected {
        put_bytes(&mut out, path.as_str().as_bytes());
        match expected {
            Expected::Any => out.push(ANY),
            Expected::Absent => out.push(ABSENT),
            Expected::Kid(kid) => {
                out.push(KID);
                out.extend_from_slice(kid.as_bytes());
            }
        }
    }
    put_varint(&mut out, txn.steps.len() as u64);
    for ((path, _), value) in txn.steps.iter().zip(values) {
        put_bytes(&mut out, path.as_str().as_bytes());
        put_entry(&mut out, value.as_ref())?;
    }
    put_varint(&mut out, documents.len() as u64);
    for (_, document) in documents {
        put_bytes(&mut out, &document.bytes);
    }
    Ok(out)
}

/// What a process is told about the transaction that another one made for it.
#[derive(Debug, PartialEq)]
pub(super) enum Reply {
    /// It is made, and durable.
    Made(Version),
    /// The expectation with this index does not hold.
    Conflict(usize, Option<Entry>),
    /// It was not made: do it yourself, and find out why.
    Alone,
    /// It was written but not synced, for this reason (`errno`).
    Unsynced(i32),
}

impl Reply {
    /// What a process is told of its transaction. What is neither made nor a conflict, it finds out
    /// itself: errors have more to say than fits here.
    pub(super) fn of(planned: &Planned<'_>, outcome: Outcome) -> Self {
        match outcome {
            Ok(version) => Self::Made(version),
            Err(CommitError::Conflict { path, expected, found }) => {
                let same = |(at, what): &(_, _)| *at == path && *what == expected;
                let index = planned.txn.expected.iter().position(same);
                let conflict = |index| Self::Conflict(index, found.map(|found| *found));
                index.map_or(Self::Alone, conflict)
            }
            Err(_) => Self::Alone,
        }
    }

    pub(super) fn encode(&self) -> Result<Vec<u8>, DecodeError> {
        let mut out = Vec::with_capacity(80);
        match self {
            Self::Made(version) => {
                out.push(MADE);
                put_varint(&mut out, version.seq);
                out.extend_from_slice(version.commit.as_bytes());
                out.extend_from_slice(version.tree.as_bytes());
            }
            Self::Conflict(index, found) => {
                out.push(CONFLICT);
                put_varint(&mut out, *index as u64);
                put_entry(&mut out, found.as_ref())?;
            }
            Self::Alone => out.push(ALONE),
            Self::Unsynced(errno) => {
                out.push(UNSYNCED);
                put_signed(&mut out, i64::from(*errno));
            }
        }
        Ok(out)
    }

    pub(super) fn decode(bytes: &[u8]) -> Result<Self, DecodeError> {
        let mut fields = Fields::new(bytes);
        let reply = match fields.byte("reply")? {
            MADE => {
                let seq = fields.varint("seq")?;
                let commit = Kid::from_bytes(fields.array("commit")?);
                let tree = Kid::from_bytes(fields.array("tree")?);
                Self::Made(Version { seq, commit, tree })
            }
            CONFLICT => {
                let index = usize::try_from(fields.varint("index")?).unwrap_or(usize::MAX);
                Self::Conflict(index, take_entry(&mut fields)?)
            }
            ALONE => Self::Alone,
            UNSYNCED => {
                let errno = i32::try_from(fields.signed("errno")?);
                Self::Unsynced(errno.map_err(|_| bad("errno", "not a number of an error"))?)
            }
            _ => return Err(bad("reply", "not a known one")),
        };
        fields.end()?;
        Ok(reply)
    }
}

fn path(fields: &mut Fields<'_>) -> Result<crate::NamePath, DecodeError> {
    fields
        .text("path")?
        .parse()
        .map_err(|error: crate::path::PathError| bad("path", error.to_string()))
}

/// An entry as the only one of a tree, so that it has one encoding here and in the store.
fn put_entry(out: &mut Vec<u8>, entry: Option<&Entry>) -> Result<(), DecodeError> {
    let mut tree = Tree::default();
    if let Some(entry) = entry {
        let name = EntryName::new("e").map_err(|error| bad("name", error.to_string()))?;
        tree.entries.insert(name, entry.clone());
    }
    put_bytes(out, &tree.encode()?);
    Ok(())
}

fn take_entry(fields: &mut Fields<'_>) -> Result<Option<Entry>, DecodeError> {
    let tree = Tree::decode(fields.bytes("entry")?)?;
    Ok(tree.entries.into_values().next())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{object::Value, testing::noise};

    /// A transaction with one of everything.
    fn txn() -> Txn {
        let path = |text: &str| text.parse().expect("a path");
        Txn::new("Ada <a@b>", "why")
            .extra("provenance", serde_json::json!({ "of": [1, 2] }))
            .expect(path("/a"), Expected::Absent)
            .expect(path("/b/c"), Expected::Kid(Kid::of_blob(b"c")))
            .expect(path("/d"), Expected::Any)
            .set(path("/link"), Entry::symlink("/a"))
            .set_json(path("/document"), serde_json::json!({ "n": 1 }))
            .remove(path("/gone"))
    }

    fn encoded(txn: &Txn) -> Vec<u8> {
        let mut documents = Vec::new();
        let values = txn.values(&mut |bytes| {
            let entry = Entry::file(Kid::of_blob(&bytes), bytes.len() as u64);
            documents.push((Kid::of_blob(&bytes), Object { kind: Kind::Blob, bytes }));
            Ok(entry)
        });
        let values = values.expect("nothing is stored");
        encode(&Planned { txn, values, documents, time_ms: -5 }).expect("it fits")
    }

    #[test]
    fn transactions_arrive_as_they_were() {
        let txn = txn();
        let request = Request::decode(&encoded(&txn)).expect("what was encoded");
        let Planned { txn: arrived, values, documents, time_ms } = request.planned();
        assert_eq!((&arrived.author, &arrived.message), (&txn.author, &txn.message));
        assert_eq!((&arrived.extra, &arrived.expected), (&txn.extra, &txn.expected));
        let paths = |txn: &Txn| txn.steps.iter().map(|(at, _)| at.clone()).collect::<Vec<_>>();
        assert_eq!(paths(arrived), paths(&txn));
        assert_eq!(values[0], Some(Entry::symlink("/a")));
        assert!(matches!(values[1], Some(Entry { value: Value::File { size: 7, .. }, .. })));
        assert_eq!((values[2].is_none(), time_ms), (true, -5));
        assert_eq!(documents, [(Kid::of_blob(b"{\"n\":1}"), documents[0].1.clone())]);
    }

    #[test]
    fn what_is_damaged_is_refused() {
        let bytes = encoded(&txn());
        for cut in 0..bytes.len() {
            assert!(Request::decode(&bytes[..cut]).is_err(), "cut off after {cut}");
        }
        for seed in 0..500 {
            // Whatever it is, it does not panic or take much memory.
            let _ = Request::decode(&noise(seed, 200));
            let _ = Reply::decode(&noise(seed, 200));
        }
    }

    #[test]
    fn answers_arrive_as_they_were() {
        let kid = Kid::of_blob(b"x");
        let replies = [
            Reply::Made(Version { seq: 1 << 40, commit: kid, tree: Kid::of_blob(b"y") }),
            Reply::Conflict(3, Some(Entry::file(kid, 1))),
            Reply::Conflict(0, None),
            Reply::Alone,
            Reply::Unsynced(5),
        ];
        for reply in replies {
            let bytes = reply.encode().expect("it fits");
            assert_eq!(Reply::decode(&bytes), Ok(reply));
            assert!(Reply::decode(&bytes[..bytes.len() - 1]).is_err());
        }
    }
}
