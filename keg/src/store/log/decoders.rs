//! The decoders of the log's files (see [`crate::decoders`]).

use super::{
    index::SealedIndex,
    record::{CHECK, Check, OVERHEAD, Record, RecordKind, push, push_object},
    segment::{MAGIC, Met, Position, Trust, scan},
};
use crate::{
    Kid,
    decoders::{Decoded, Decoder, LITTLE, dir_of, file_of, read_if, seal_end, unsealed},
};

pub(crate) fn all() -> Vec<Decoder> {
    vec![
        Decoder { name: "log-record", decode: record, seal: seal_record, memory: LITTLE },
        Decoder { name: "log-segment", decode: segment, seal: unsealed, memory: LITTLE },
        Decoder { name: "log-index", decode: index, seal: seal_end, memory: LITTLE },
        Decoder { name: "log-head", decode: head, seal: unsealed, memory: LITTLE },
    ]
}

fn record(bytes: &[u8]) -> Decoded {
    let Some(record) = Record::parse(bytes).filter(Record::is_whole) else {
        return Decoded::Refused;
    };
    let mut out = Vec::new();
    match record.kind {
        RecordKind::Object(kind) => {
            push_object(&mut out, record.by(), kind, &record.kid, record.payload);
        }
        kind => push(&mut out, kind, &record.kid, record.payload),
    }
    // What follows it is not its own.
    out.extend_from_slice(&bytes[record.size()..]);
    Decoded::Canonical(out)
}

fn seal_record(bytes: &mut [u8]) {
    let Some(record) = Record::parse(bytes) else { return };
    let (size, by, kind) = (record.size(), record.by(), record.kind);
    let mut sum = *blake3::hash(&bytes[..size - CHECK]).as_bytes();
    if let (Check::Kid, RecordKind::Object(kind)) = (by, kind) {
        let kid = kind.kid_of(record.payload);
        bytes[5..37].copy_from_slice(kid.as_bytes());
        sum = *kid.as_bytes();
    }
    bytes[size - CHECK..size].copy_from_slice(&sum[..CHECK]);
}

/// Every way to walk over a segment, and reading what was met.
fn segment(bytes: &[u8]) -> Decoded {
    if !bytes.starts_with(MAGIC) {
        return Decoded::Refused;
    }
    let file = file_of(bytes);
    let start = Position { segment: 1, offset: MAGIC.len() as u32 };
    let mut met_any = false;
    for trust in [Trust::Whole, Trust::MayBeTorn] {
        let end = scan(&file, start, u32::MAX, trust, &mut |met| {
            met_any = true;
            if let Met::Object(_, place) = met {
                let whole = place.at.offset as usize + place.len as usize + OVERHEAD;
                assert!(whole <= bytes.len(), "an object beyond the end");
            }
        });
        let end = end.map_or(0, |end| end as usize);
        assert!(end <= bytes.len().max(MAGIC.len()), "a walk beyond the end");
    }
    read_if(met_any)
}

/// An index says of which size its segment is: there is one.
fn index(bytes: &[u8]) -> Decoded {
    let size = bytes.get(8..16).and_then(|size| size.first_chunk());
    let size = size.map_or(0, |size| u64::from_le_bytes(*size));
    let dir = dir_of(&[("00000001.idx", bytes), ("00000001.seg", MAGIC)]);
    let segment = std::fs::OpenOptions::new().write(true).open(dir.path().join("00000001.seg"));
    // As long as it says, without a block of it.
    if segment.and_then(|file| file.set_len(size)).is_err() {
        return Decoded::Refused;
    }
    let Ok(Some(index)) = SealedIndex::read(dir.path(), 1) else { return Decoded::Refused };
    let objects = index.objects().count();
    for (kid, _) in index.objects() {
        index.find(&kid);
    }
    let mut found = Vec::new();
    let any = Kid::from_bytes(*bytes.last_chunk().unwrap_or(&[0; 32])).short();
    if let Ok(prefix) = any.parse() {
        index.candidates(&prefix, &mut found, 20);
    }
    for seq in [0, 1, 7, u64::MAX] {
        index.root(seq);
    }
    assert!(objects <= bytes.len() && found.len() <= 20);
    read_if(index.is_whole())
}

/// `log/HEAD`: any position and number, so it is held against the log.
fn head(bytes: &[u8]) -> Decoded {
    let base = {
        let mut segment = MAGIC.to_vec();
        let kind = RecordKind::Base;
        push(&mut segment, kind, &Kid::from_bytes([7; 32]), &0u64.to_le_bytes());
        segment
    };
    let dir = dir_of(&[("log/HEAD", bytes), ("log/00000001.seg", &base)]);
    let log = super::Log::open(&dir.path().join("log"), Check::Sum);
    read_if(log.is_ok_and(|log| log.latest().is_ok()))
}
