//! The canonical bytes of a commit (`docs/store.md`, "Commit").

use serde_json::{Map, Value as Json};

use super::wire::{DecodeError, Fields, bad, put_bytes, put_signed, put_varint};
use super::{Commit, MAX_OBJECT};
use crate::kid::Kid;

/// The format written now.
const FORMAT: u8 = 1;
/// Most versions one commit may follow.
const MAX_PARENTS: usize = 64;

impl Commit {
    /// The canonical bytes.
    ///
    /// # Errors
    /// More than 64 parents, or larger than [`MAX_OBJECT`].
    pub fn encode(&self) -> Result<Vec<u8>, DecodeError> {
        if self.parents.len() > MAX_PARENTS {
            return Err(bad("parents", "more than 64"));
        }
        let mut out = vec![FORMAT];
        out.extend_from_slice(self.tree.as_bytes());
        put_varint(&mut out, self.parents.len() as u64);
        for parent in &self.parents {
            out.extend_from_slice(parent.as_bytes());
        }
        put_bytes(&mut out, self.author.as_bytes());
        put_signed(&mut out, self.time_ms);
        put_bytes(&mut out, self.message.as_bytes());
        put_bytes(&mut out, canonical_object(&self.extra).as_bytes());
        if out.len() > MAX_OBJECT {
            return Err(DecodeError::TooBig { bytes: out.len(), limit: MAX_OBJECT });
        }
        Ok(out)
    }

    /// The commit these bytes are the one encoding of.
    ///
    /// # Errors
    /// Anything else than exactly what [`Commit::encode`] makes.
    pub fn decode(bytes: &[u8]) -> Result<Self, DecodeError> {
        if bytes.len() > MAX_OBJECT {
            return Err(DecodeError::TooBig { bytes: bytes.len(), limit: MAX_OBJECT });
        }
        let mut fields = Fields::new(bytes);
        match fields.byte("format")? {
            FORMAT => {}
            other => return Err(DecodeError::Format(other)),
        }
        let tree = Kid::from_bytes(fields.array("tree")?);
        let count = fields.count(32, "parents")?;
        if count > MAX_PARENTS {
            return Err(bad("parents", "more than 64"));
        }
        let parents = (0..count)
            .map(|_| Ok(Kid::from_bytes(fields.array("parents")?)))
            .collect::<Result<_, DecodeError>>()?;
        let author = fields.text("author")?.to_owned();
        let time_ms = fields.signed("time")?;
        let message = fields.text("message")?.to_owned();
        let text = fields.text("extra")?;
        fields.end()?;
        let extra: Map<String, Json> =
            serde_json::from_str(text).map_err(|error| bad("extra", error.to_string()))?;
        if canonical_object(&extra) != text {
            return Err(bad("extra", "not canonical JSON (sorted keys, no spaces)"));
        }
        Ok(Self { tree, parents, author, time_ms, message, extra })
    }
}

/// Canonical JSON: keys sorted by their bytes at every depth, no spaces.
pub fn canonical_json(value: &Json) -> String {
    sorted(value).to_string()
}

fn canonical_object(map: &Map<String, Json>) -> String {
    sorted_map(map).to_string()
}

fn sorted(value: &Json) -> Json {
    match value {
        Json::Object(map) => sorted_map(map),
        Json::Array(items) => Json::Array(items.iter().map(sorted).collect()),
        other => other.clone(),
    }
}

fn sorted_map(map: &Map<String, Json>) -> Json {
    let mut pairs: Vec<_> = map.iter().collect();
    pairs.sort_by(|left, right| left.0.cmp(right.0));
    Json::Object(pairs.into_iter().map(|(key, value)| (key.clone(), sorted(value))).collect())
}
