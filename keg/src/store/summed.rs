//! Small JSON files that decide what stays: with a checksum, so that a flipped bit is no decision.
//!
//! The member `sum` is the first 16 digits of the BLAKE3 of the document without it, as it is
//! written. A file of an earlier version of Keg has none and is taken as it is.

use serde::{Serialize, de::DeserializeOwned};
use serde_json::{Map, Value as Json};

const SUM: &str = "sum";

/// A document as a file.
pub(crate) fn to_text(document: &impl Serialize) -> Result<String, serde_json::Error> {
    let mut document = serde_json::to_value(document)?;
    if let Json::Object(members) = &mut document {
        let sum = sum_of(members);
        members.insert(SUM.to_owned(), Json::String(sum));
    }
    Ok(document.to_string() + "\n")
}

/// A document from a file. `T` should refuse members that it does not know: the name of one that
/// may be left out might be what is damaged.
///
/// # Errors
/// What is wrong with it.
pub(crate) fn from_text<T: DeserializeOwned>(text: &[u8]) -> Result<T, String> {
    let parsed: Result<Map<String, Json>, _> = serde_json::from_slice(text);
    let mut members = parsed.map_err(|error| error.to_string())?;
    if let Some(sum) = members.remove(SUM)
        && sum != sum_of(&members)
    {
        return Err("its checksum does not match".to_owned());
    }
    serde_json::from_value(Json::Object(members)).map_err(|error| error.to_string())
}

fn sum_of(members: &Map<String, Json>) -> String {
    let text = serde_json::to_string(members).unwrap_or_default();
    blake3::hash(text.as_bytes()).to_hex()[..16].to_owned()
}
