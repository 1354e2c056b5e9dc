//! The style sheet, the script and the icon, embedded.

use std::sync::LazyLock;

use axum::{
    body::Body,
    http::{HeaderValue, Response, StatusCode, header},
};
use bytes::Bytes;
use keg::Kid;

use crate::ask::Ask;

/// A file that is part of this program. Its address holds its hash, so it is fetched once.
pub struct Asset {
    name: &'static str,
    content_type: &'static str,
    bytes: &'static [u8],
    hash: LazyLock<String>,
}

/// The style sheet.
pub static STYLE: Asset = Asset {
    name: "style.css",
    content_type: "text/css; charset=utf-8",
    bytes: include_bytes!("../assets/style.css"),
    hash: LazyLock::new(|| hash(STYLE.bytes)),
};

/// Live updates; everything else works without it.
pub static SCRIPT: Asset = Asset {
    name: "live.js",
    content_type: "text/javascript; charset=utf-8",
    bytes: include_bytes!("../assets/live.js"),
    hash: LazyLock::new(|| hash(SCRIPT.bytes)),
};

/// The barrel.
pub static ICON: Asset = Asset {
    name: "icon.svg",
    content_type: "image/svg+xml",
    bytes: include_bytes!("../assets/icon.svg"),
    hash: LazyLock::new(|| hash(ICON.bytes)),
};

fn hash(bytes: &[u8]) -> String {
    Kid::of_blob(bytes).to_hex()[..16].to_owned()
}

impl Asset {
    /// Where it is served.
    pub fn url(&self) -> String {
        format!("/-/{}?v={}", self.name, *self.hash)
    }

    /// The answer to a request for it; only the address with its hash is good for ever.
    pub fn serve(&self, ask: &Ask, query: Option<&str>) -> Response<Body> {
        let etag = format!("\"{}\"", *self.hash);
        let mut response = Response::new(Body::empty());
        if ask.has(&etag) {
            *response.status_mut() = StatusCode::NOT_MODIFIED;
        } else {
            *response.body_mut() = Body::from(Bytes::from_static(self.bytes));
        }
        let etag = HeaderValue::from_str(&etag).expect("because hex digits make a valid header");
        let versioned = query.and_then(|query| query.strip_prefix("v=")) == Some(&**self.hash);
        let cache = if versioned { "public, max-age=31536000, immutable" } else { "no-cache" };
        let headers = response.headers_mut();
        headers.insert(header::CONTENT_TYPE, HeaderValue::from_static(self.content_type));
        headers.insert(header::ETAG, etag);
        headers.insert(header::CACHE_CONTROL, HeaderValue::from_static(cache));
        response
    }
}

/// The asset of a name under `/-/`.
pub fn named(name: &str) -> Option<&'static Asset> {
    [&STYLE, &SCRIPT, &ICON].into_iter().find(|asset| asset.name == name)
}
