//! `PUT` of a document: compare-and-swap on one name.

use std::time::Duration;

use axum::{
    body::{Body, to_bytes},
    http::{HeaderMap, HeaderValue, Response, StatusCode, header},
};
use bytes::Bytes;
use keg::{CommitError, Expected, Keg, Kid, NamePath, Txn, Version, object::Entry, path::AppName};
use serde_json::{Map, Value as Json, json};

use crate::{ask::form_decode, error::Fault, format::sentence, location::Location};

/// Largest document.
pub const MAX_BODY: usize = 1 << 20;
/// How long a document may take to come.
const BODY_TIMEOUT: Duration = Duration::from_secs(20);
/// Who changes made here are by, until people are known.
const AUTHOR: &str = "service/web";
/// Largest number of processes of a type.
const MAX_SCALE: u64 = 32;
/// Least limits that anything starts with; those of `mayor/src/config.rs`.
const LEAST: [(&str, f64); 3] = [("memory", 4_194_304.0), ("cpus", 0.01), ("pids", 2.0)];

/// Sets `/apps/<app>/….json` to the JSON object in the body, if the name is what `If-Match: "K-…"`
/// says, or absent with `If-None-Match: *`.
///
/// # Errors
/// 403 outside `/apps`, 412 when the name is something else (both are told), 413, 422, 428.
pub async fn put(
    keg: &Keg,
    location: &Location,
    headers: &HeaderMap,
    body: Body,
) -> Result<Response<Body>, Fault> {
    let path = writable(location)?;
    let expected = precondition(headers)?;
    let bytes = bytes(body).await?;
    let version = set(keg, &path, expected, &bytes)?;
    let found = keg.get_at(&path, &version);
    let found = found.map_err(|error| Fault::inside("Reading it back", &error))?;
    let kid = found.as_ref().and_then(Entry::kid);
    let json =
        json!({ "path": path.as_str(), "kid": kid, "seq": version.seq, "version": version.commit });
    let mut response = Response::new(Body::from(json.to_string()));
    if expected == Expected::Absent {
        *response.status_mut() = StatusCode::CREATED;
    }
    let headers = response.headers_mut();
    headers.insert(header::CONTENT_TYPE, HeaderValue::from_static("application/json"));
    if let Some(etag) = kid.and_then(|kid| HeaderValue::from_str(&format!("\"{kid}\"")).ok()) {
        headers.insert(header::ETAG, etag);
    }
    Ok(response)
}

/// The same by a form of a page: `document` is the JSON, `expected` the KID it was made from
/// (empty: there was none). Answers by sending the browser back to the app.
///
/// # Errors
/// As [`put`]; 403 when the browser does not say which page the form is on.
pub async fn post(
    keg: &Keg,
    location: &Location,
    headers: &HeaderMap,
    body: Body,
) -> Result<Response<Body>, Fault> {
    let path = writable(location)?;
    // Any page can send a form; the guard has checked the origin of those that tell it.
    if !headers.contains_key(header::ORIGIN) {
        return Err(Fault::new(StatusCode::FORBIDDEN, "A form must tell its Origin.")
            .hint("Programs use PUT with If-Match."));
    }
    let bytes = bytes(body).await?;
    let text = String::from_utf8_lossy(&bytes);
    let field = |name: &str| {
        let mut fields = text.split('&').filter_map(|pair| pair.split_once('='));
        fields.find(|(key, _)| *key == name).map(|(_, value)| form_decode(value))
    };
    let expected = match field("expected").as_deref() {
        Some("") => Expected::Absent,
        Some(kid) => Expected::Kid(kid.parse().map_err(|error| invalid(sentence(error)))?),
        None => return Err(Fault::bad_request("The form lacks its field expected.")),
    };
    let document = field("document").unwrap_or_default();
    set(keg, &path, expected, document.as_bytes()).map_err(|fault| match fault.hint {
        Some(_) => fault,
        None => fault.hint("Nothing was changed. Go back to the form, which still has your text."),
    })?;
    let app = path.components().nth(1).unwrap_or_default();
    let mut response = Response::new(Body::empty());
    *response.status_mut() = StatusCode::SEE_OTHER;
    let back = HeaderValue::from_str(&format!("/apps/{app}"));
    let back = back.expect("because an app's name is ASCII");
    response.headers_mut().insert(header::LOCATION, back);
    Ok(response)
}

/// Checks and sets a document.
fn set(keg: &Keg, path: &NamePath, expected: Expected, bytes: &[u8]) -> Result<Version, Fault> {
    let document = document(bytes)?;
    check(path, &document)?;
    let txn = Txn::new(AUTHOR, &format!("set {path}"))
        .expect(path.clone(), expected)
        .set_json(path.clone(), Json::Object(document));
    match keg.commit(txn) {
        Ok(version) => Ok(version),
        Err(CommitError::Conflict { expected, found, .. }) => {
            Err(conflict(path, &expected, found.as_deref()))
        }
        Err(error @ CommitError::NotADirectory { .. }) => {
            Err(Fault::new(StatusCode::CONFLICT, sentence(error)))
        }
        Err(error) => Err(Fault::inside("Setting the document", &error)),
    }
}

/// The path, if it is one that people may set.
fn writable(location: &Location) -> Result<NamePath, Fault> {
    let refused = |message: &str| Err(Fault::new(StatusCode::FORBIDDEN, message));
    if location.at().is_some() {
        return refused("Only the current version can be changed: leave out @K-….");
    }
    let Some(texts) = location.texts() else { return refused("A name to set must be UTF-8.") };
    match texts.as_slice() {
        ["apps", app, .., last] if last.ends_with(".json") => {
            if let Err(error) = app.parse::<AppName>() {
                return Err(Fault::new(StatusCode::FORBIDDEN, sentence(error)));
            }
        }
        _ => {
            return refused(
                "Only documents /apps/<app>/….json can be set; services write the rest.",
            );
        }
    }
    location.name_path().ok_or_else(|| Fault::bad_request("It is not a path of the namespace."))
}

fn precondition(headers: &HeaderMap) -> Result<Expected, Fault> {
    let text = |name| headers.get(name).and_then(|value| value.to_str().ok()).map(str::trim);
    match (text(header::IF_MATCH), text(header::IF_NONE_MATCH)) {
        (None, Some("*")) => Ok(Expected::Absent),
        (Some(tag), None) => {
            let kid = tag.trim_matches('"').parse::<Kid>();
            let wrong = |error| Fault::bad_request(format!("If-Match: {error}."));
            kid.map(Expected::Kid).map_err(wrong)
        }
        _ => Err(Fault::new(StatusCode::PRECONDITION_REQUIRED, "Say what you are changing.").hint(
            "Send If-Match: \"K-…\" with the KID you read (it is the ETag), or If-None-Match: * \
             for a new document.",
        )),
    }
}

async fn bytes(body: Body) -> Result<Bytes, Fault> {
    let read = tokio::time::timeout(BODY_TIMEOUT, to_bytes(body, MAX_BODY)).await;
    let read = read.map_err(|_| {
        let message = format!("The body did not come within {} s.", BODY_TIMEOUT.as_secs());
        Fault::new(StatusCode::REQUEST_TIMEOUT, message)
            .hint("Content-Length must be the number of bytes that are sent.")
    })?;
    read.map_err(|_| {
        let status = StatusCode::PAYLOAD_TOO_LARGE;
        Fault::new(status, "The body broke off or is larger than 1 MiB, the most for a document.")
    })
}

fn document(bytes: &[u8]) -> Result<Map<String, Json>, Fault> {
    match serde_json::from_slice(bytes) {
        Ok(Json::Object(document)) => Ok(document),
        Ok(_) => Err(invalid("The document must be a JSON object.")),
        Err(error) => Err(invalid(format!("The document is not JSON: {error}."))),
    }
}

fn invalid(message: impl Into<String>) -> Fault {
    Fault::new(StatusCode::UNPROCESSABLE_ENTITY, message)
}

fn conflict(path: &NamePath, expected: &Expected, found: Option<&Entry>) -> Fault {
    let kid = |kid: Option<Kid>| kid.map_or(Json::Null, |kid| Json::from(kid.to_string()));
    let expected = match expected {
        Expected::Kid(kid) => Some(*kid),
        Expected::Absent | Expected::Any => None,
    };
    let found = found.and_then(Entry::kid);
    let words = |kid: &Option<Kid>| kid.map_or_else(|| "nothing".to_owned(), |kid| kid.to_string());
    let message =
        format!("{path} has changed: you expected {}, it is {}.", words(&expected), words(&found));
    Fault::new(StatusCode::PRECONDITION_FAILED, message)
        .hint("Read it again, make your change on top, and send that.")
        .with("expected", kid(expected))
        .with("found", kid(found))
}

/// Checks the fields of `config.json` that Keg reads; others are kept as they are.
fn check(path: &NamePath, document: &Map<String, Json>) -> Result<(), Fault> {
    if path.components().count() != 3 || path.file_name() != Some("config.json") {
        return Ok(());
    }
    let positive = |value: &Json| value.as_f64().is_some_and(|number| number > 0.0);
    let wrong = |field: &str, want: &str| {
        Err(invalid(format!("{field} must be {want}.")).with("field", field))
    };
    for (field, value) in document {
        let inner = value.as_object();
        match field.as_str() {
            "suite" if value.as_str().is_none_or(str::is_empty) => {
                return wrong("suite", "the name of a Debian suite");
            }
            "egress" | "socket" if !value.is_boolean() => return wrong(field, "true or false"),
            "grace" if !positive(value) => return wrong("grace", "seconds, more than 0"),
            "env" if !inner.is_some_and(|map| map.iter().all(|(k, v)| is_variable(k, v))) => {
                return wrong("env", "an object of NAME: \"value\", without = and NUL in names");
            }
            "scale" => {
                let fits = |v: &Json| v.as_u64().is_some_and(|count| count <= MAX_SCALE);
                if !inner.is_some_and(|map| map.values().all(fits)) {
                    return wrong("scale", "an object of process type: 0 to 32");
                }
            }
            "limits" => {
                let least = |map: &Map<String, Json>, name: &str, least: f64| {
                    let number = map.get(name).map(|value| value.as_f64().unwrap_or(0.0));
                    number.is_none_or(|number| number >= least)
                };
                let fits = |map: &Map<String, Json>| {
                    LEAST.iter().all(|(name, number)| least(map, name, *number))
                };
                if !inner.is_some_and(fits) {
                    return wrong(
                        "limits",
                        "an object of memory (bytes, at least 4194304), cpus (at least 0.01) and \
                         pids (at least 2)",
                    );
                }
            }
            "check" => {
                let path = inner
                    .and_then(|map| map.get("path"))
                    .is_none_or(|path| path.as_str().is_some_and(|path| path.starts_with('/')));
                let timeout = inner.and_then(|map| map.get("timeout")).is_none_or(positive);
                if inner.is_none() || !path || !timeout {
                    return wrong("check", "{\"path\": \"/…\", \"timeout\": seconds}");
                }
            }
            _ => {}
        }
    }
    Ok(())
}

fn is_variable(name: &str, value: &Json) -> bool {
    let value = value.as_str().is_some_and(|value| !value.contains('\0'));
    !name.is_empty() && !name.contains(['=', '\0']) && value
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test(start_paused = true)]
    async fn a_body_that_does_not_come_is_not_waited_for() {
        let begun = futures_util::stream::once(async { Ok::<_, std::io::Error>("{") });
        let never = futures_util::stream::pending();
        let body = Body::from_stream(futures_util::StreamExt::chain(begun, never));
        let fault = bytes(body).await.expect_err("it never ends");
        assert_eq!(fault.status, StatusCode::REQUEST_TIMEOUT);
    }

    #[test]
    fn only_documents_of_apps_can_be_set() {
        for (url, allowed) in [
            ("/apps/blog/config.json", true),
            ("/apps/blog/x/y.json", true),
            ("/apps/blog", false),
            ("/apps/config.json", false),
            ("/apps/blog/config", false),
            ("/apps/Blog/config.json", false),
            ("/source/blog/a.json", false),
            ("/apps/blog/config.json@K-0123abcd", false),
            ("/apps/blog/%FF.json", false),
        ] {
            let location = Location::parse(url).expect(url);
            assert_eq!(writable(&location).is_ok(), allowed, "{url}");
        }
    }

    #[test]
    fn configurations_are_checked() {
        let path: NamePath = "/apps/blog/config.json".parse().expect("a path");
        for (json, bad) in [
            (json!({}), None),
            (
                json!({ "suite": "trixie", "env": { "A": "b" }, "scale": { "web": 2 }, "new": 1 }),
                None,
            ),
            (json!({ "suite": "" }), Some("suite")),
            (json!({ "env": { "A": 1 } }), Some("env")),
            (json!({ "env": { "A=": "x" } }), Some("env")),
            (json!({ "scale": { "web": -1 } }), Some("scale")),
            (json!({ "scale": { "web": 33 } }), Some("scale")),
            (json!({ "limits": { "memory": 4096 } }), Some("limits")),
            (json!({ "limits": { "memory": 0 } }), Some("limits")),
            (json!({ "check": { "path": "x" } }), Some("check")),
            (json!({ "egress": "yes" }), Some("egress")),
            (json!({ "grace": 0 }), Some("grace")),
        ] {
            let document = json.as_object().expect("an object");
            let found = check(&path, document).err();
            let field = found.as_ref().and_then(|fault| fault.detail.first()?.1.as_str());
            assert_eq!(field, bad, "{json}");
        }
    }
}
