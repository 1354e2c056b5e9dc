//! Blobs as they are, so that nothing a user stored can act on this origin: never HTML, always
//! sandboxed.

use std::io::Read as _;

use axum::{
    body::Body,
    http::{HeaderName, HeaderValue, Response, StatusCode, header},
};
use bytes::Bytes;
use futures_util::stream;
use keg::{Keg, Kid, store::BlobRead};

use crate::{ask::Ask, error::Fault, location::encode, view::store_fault};

/// Bytes read at a time.
const STEP: usize = 128 * 1024;
/// Bytes looked at to tell text from other things.
const SNIFFED: usize = 4096;
/// Largest image shown in a page.
pub const MAX_IMAGE: u64 = 16 << 20;
/// What a browser may do with a blob that it shows: nothing but show it.
const SANDBOX: &str = "sandbox; default-src 'none'; img-src 'self'; style-src 'unsafe-inline'";

/// The type of an image that browsers show, by the file's name. SVG is one: as an image it runs no
/// script, and opened by itself it is sandboxed.
pub fn image_type(name: &str) -> Option<&'static str> {
    let extension = name.rsplit_once('.')?.1.to_ascii_lowercase();
    Some(match extension.as_str() {
        "png" => "image/png",
        "jpg" | "jpeg" => "image/jpeg",
        "gif" => "image/gif",
        "webp" => "image/webp",
        "avif" => "image/avif",
        "svg" => "image/svg+xml",
        "ico" => "image/x-icon",
        _ => return None,
    })
}

/// Sends a blob: images and text to look at, anything else to keep.
///
/// # Errors
/// The blob is not here, or damaged.
pub fn serve(keg: &Keg, kid: &Kid, name: &str, ask: &Ask) -> Result<Response<Body>, Fault> {
    let etag = format!("\"{kid}\"");
    if ask.has(&etag) {
        let mut response = Response::new(Body::empty());
        *response.status_mut() = StatusCode::NOT_MODIFIED;
        set(&mut response, header::ETAG, &etag);
        return Ok(response);
    }
    let failed = |error| store_fault(kid, &error);
    let size = keg.objects().blob_size(kid).map_err(failed)?;
    let mut blob = keg.objects().open_blob(kid).map_err(failed)?;
    let mut head = vec![0; SNIFFED];
    let read = fill(&mut blob, &mut head);
    let read = read.map_err(|error| Fault::inside(&format!("Reading {}", kid.short()), &error))?;
    head.truncate(read);
    let kind = match image_type(name) {
        Some(kind) => kind,
        None if name.ends_with(".json") && is_text(&head) => "application/json",
        None if is_text(&head) => "text/plain; charset=utf-8",
        None => "application/octet-stream",
    };
    let mut response = Response::new(body(*kid, head, blob));
    set(&mut response, header::CONTENT_TYPE, kind);
    set(&mut response, header::CONTENT_LENGTH, &size.to_string());
    set(&mut response, header::ETAG, &etag);
    set(&mut response, header::CONTENT_SECURITY_POLICY, SANDBOX);
    let mut disposition =
        if kind == "application/octet-stream" { "attachment" } else { "inline" }.to_owned();
    disposition.push_str("; filename*=UTF-8''");
    encode(name.as_bytes(), &mut disposition);
    set(&mut response, header::CONTENT_DISPOSITION, &disposition);
    Ok(response)
}

/// Plain text that is made here, such as a log.
pub fn text(body: Body) -> Response<Body> {
    let mut response = Response::new(body);
    set(&mut response, header::CONTENT_TYPE, "text/plain; charset=utf-8");
    set(&mut response, header::CONTENT_SECURITY_POLICY, SANDBOX);
    response
}

fn set(response: &mut Response<Body>, name: HeaderName, value: &str) {
    if let Ok(value) = HeaderValue::from_str(value) {
        response.headers_mut().insert(name, value);
    }
}

/// Text is UTF-8 without NUL; the last character may be cut.
fn is_text(head: &[u8]) -> bool {
    if head.contains(&0) {
        return false;
    }
    match std::str::from_utf8(head) {
        Ok(_) => true,
        Err(error) => error.error_len().is_none(),
    }
}

fn fill(from: &mut dyn BlobRead, into: &mut [u8]) -> std::io::Result<usize> {
    let mut done = 0;
    while done < into.len() {
        match from.read(&mut into[done..])? {
            0 => break,
            read => done += read,
        }
    }
    Ok(done)
}

/// The head that was read already, then the rest in steps.
fn body(kid: Kid, head: Vec<u8>, blob: Box<dyn BlobRead>) -> Body {
    Body::from_stream(stream::unfold(Some((head, blob)), move |state| async move {
        let (ready, mut blob) = state?;
        if !ready.is_empty() {
            return Some((Ok(Bytes::from(ready)), Some((Vec::new(), blob))));
        }
        tokio::task::yield_now().await;
        let mut step = vec![0; STEP];
        match blob.read(&mut step) {
            Ok(0) => None,
            Ok(read) => {
                step.truncate(read);
                Some((Ok(Bytes::from(step)), Some((Vec::new(), blob))))
            }
            Err(error) => {
                eprintln!("web: {kid} breaks off: {error}");
                Some((Err(error), None))
            }
        }
    }))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn text_is_told_from_other_things() {
        let cut = &"aé".as_bytes()[..2];
        for (head, want) in [
            (&b""[..], true),
            (b"hello\n", true),
            (cut, true),
            (b"\x7fELF\0", false),
            (b"\xff\xfe", false),
        ] {
            assert_eq!(is_text(head), want, "{head:?}");
        }
    }
}
