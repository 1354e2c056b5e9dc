//! The read side of the OCI distribution specification 1.1: end-1, end-2, end-3, end-8.

use std::sync::Arc;

use axum::{
    Router,
    body::Body,
    extract::{Request, State},
    http::{
        HeaderMap, HeaderName, HeaderValue, Method, Response, StatusCode,
        header::{self, CONTENT_TYPE},
        request::Parts,
    },
    response::IntoResponse,
};
use bytes::Bytes;
use keg::{Keg, path::AppName};
use oci_spec::distribution::ErrorCode;

use crate::{
    digest::{DigestError, OciDigest},
    error::Refusal,
    image::{CONFIG_TYPE, MANIFEST_TYPE},
    layer::{Layer, LayerError, Layers},
    range::{Wanted, wanted},
    releases::{Found, Repositories, Repository, RepositoryError, Tag},
    stream,
};

/// Longest path the specification's clients send (names up to 255, digests up to 135).
const MAX_PATH: usize = 1024;
/// Tags of one page when the client names no number.
const DEFAULT_TAGS: usize = 100;
/// Most tags of one page.
const MAX_TAGS: usize = 1000;

const CONTENT_DIGEST: HeaderName = HeaderName::from_static("docker-content-digest");
const API_VERSION: HeaderName = HeaderName::from_static("docker-distribution-api-version");

struct Registry {
    keg: Arc<Keg>,
    repositories: Repositories,
    layers: Arc<Layers>,
}

/// The routes `/v2/…` over the releases in `/oci-images`.
///
/// Tags of a repository (an app) are `latest` and each release's KID, whole or its first digits.
pub fn router(keg: Arc<Keg>) -> Router {
    let state = Arc::new(Registry {
        keg,
        repositories: Repositories::default(),
        layers: Arc::new(Layers::default()),
    });
    Router::new()
        .route("/v2", axum::routing::any(serve))
        .route("/v2/", axum::routing::any(serve))
        .route("/v2/{*rest}", axum::routing::any(serve))
        .with_state(state)
}

async fn serve(State(registry): State<Arc<Registry>>, request: Request) -> Response<Body> {
    let (parts, _) = request.into_parts();
    let mut response = match registry.answer(&parts).await {
        Ok(response) => response,
        Err(refusal) => refusal.into_response(),
    };
    response.headers_mut().insert(API_VERSION, HeaderValue::from_static("registry/2.0"));
    response
        .headers_mut()
        .insert(header::X_CONTENT_TYPE_OPTIONS, HeaderValue::from_static("nosniff"));
    if parts.method == Method::HEAD {
        *response.body_mut() = Body::empty();
    }
    response
}

/// What a path of the API asks for.
#[derive(Debug, PartialEq, Eq)]
enum Target<'a> {
    Base,
    Manifest { name: &'a str, reference: &'a str },
    Blob { name: &'a str, digest: &'a str },
    Upload,
    Tags { name: &'a str },
    Unknown,
}

/// Reads a path from the right, since names may contain `blobs` and the like.
fn target(path: &str) -> Target<'_> {
    let rest = path.strip_prefix("/v2").unwrap_or(path).trim_start_matches('/');
    if rest.is_empty() {
        return Target::Base;
    }
    let parts: Vec<&str> = rest.rsplitn(4, '/').collect();
    let name = |tail: usize| rest[..rest.len() - tail].trim_end_matches('/');
    match parts.as_slice() {
        ["list", "tags", ..] => Target::Tags { name: name("tags/list".len()) },
        [_, "uploads", "blobs", ..] => Target::Upload,
        [reference, "manifests", ..] => {
            Target::Manifest { name: name("manifests/".len() + reference.len()), reference }
        }
        [digest, "blobs", ..] => Target::Blob { name: name("blobs/".len() + digest.len()), digest },
        _ => Target::Unknown,
    }
}

impl Registry {
    async fn answer(&self, request: &Parts) -> Result<Response<Body>, Refusal> {
        let path = request.uri.path();
        if path.len() > MAX_PATH {
            let message = "the path is longer than 1024 bytes";
            return Err(Refusal::new(StatusCode::URI_TOO_LONG, ErrorCode::NameInvalid, message));
        }
        let target = target(path);
        if !matches!(request.method, Method::GET | Method::HEAD) || target == Target::Upload {
            return Err(Refusal::read_only());
        }
        match target {
            Target::Base => Ok(json_response(b"{}".to_vec(), "application/json")),
            Target::Manifest { name, reference } => {
                self.manifest(&*self.repository(name).await?, reference, &request.headers).await
            }
            Target::Blob { name, digest } => {
                self.blob(&*self.repository(name).await?, digest, &request.headers).await
            }
            Target::Tags { name } => {
                let app = name;
                tags(app, &*self.repository(name).await?, request.uri.query().unwrap_or(""))
            }
            Target::Upload | Target::Unknown => Err(Refusal::new(
                StatusCode::NOT_FOUND,
                ErrorCode::Unsupported,
                "no such endpoint; this registry has /v2/, manifests, blobs and tags/list",
            )),
        }
    }

    async fn repository(&self, name: &str) -> Result<Arc<Repository>, Refusal> {
        let app: AppName = name.parse().map_err(|_| Refusal::name_invalid(name))?;
        self.repositories
            .open(&self.keg, &app)
            .await
            .map_err(refuse)?
            .ok_or_else(|| Refusal::name_unknown(name))
    }

    async fn manifest(
        &self,
        repository: &Repository,
        reference: &str,
        headers: &HeaderMap,
    ) -> Result<Response<Body>, Refusal> {
        let unknown = |message: String| {
            Refusal::new(StatusCode::NOT_FOUND, ErrorCode::ManifestUnknown, message)
        };
        let bytes = if reference.contains(':') {
            let digest = digest(reference, ErrorCode::ManifestUnknown)?;
            let found = repository.find(&self.keg, &self.layers, digest).await.map_err(refuse)?;
            match found {
                Some(Found::Bytes(bytes)) if is_manifest(&bytes) => bytes,
                _ => return Err(unknown(format!("no manifest has the digest {digest}"))),
            }
        } else {
            let kid = match repository.tag(reference) {
                Tag::Release(kid) => kid,
                Tag::Unknown => {
                    let tag: String = reference.chars().take(130).collect();
                    return Err(unknown(format!(
                        "no release is tagged {tag:?}; tags are latest and K-… of a release"
                    )));
                }
                Tag::Ambiguous(kids) => {
                    let kids: Vec<String> = kids.iter().take(8).map(ToString::to_string).collect();
                    return Err(unknown(format!("several releases fit: {}", kids.join(", "))));
                }
            };
            let image = repository.image(&self.keg, &self.layers, kid).await;
            let (release, layers) = image.map_err(refuse)?;
            release.manifest(&layers)
        };
        let digest = OciDigest::of(&bytes);
        Ok(conditional(headers, digest, json_response(bytes, MANIFEST_TYPE)))
    }

    async fn blob(
        &self,
        repository: &Repository,
        text: &str,
        headers: &HeaderMap,
    ) -> Result<Response<Body>, Refusal> {
        let digest = digest(text, ErrorCode::BlobUnknown)?;
        let found = repository.find(&self.keg, &self.layers, digest).await.map_err(refuse)?;
        let response = match found {
            Some(Found::Layer(layer)) => self.layer(layer, headers)?,
            Some(Found::Bytes(bytes)) => json_response(bytes, CONFIG_TYPE),
            None => {
                let message = format!("no blob of this repository has the digest {digest}");
                let code = ErrorCode::BlobUnknown;
                return Err(Refusal::new(StatusCode::NOT_FOUND, code, message));
            }
        };
        Ok(conditional(headers, digest, response))
    }

    fn layer(&self, layer: Layer, headers: &HeaderMap) -> Result<Response<Body>, Refusal> {
        let wanted = match headers.get(header::IF_RANGE) {
            // Some other version is meant: give all of this one.
            Some(etag) if etag.as_bytes() != format!("\"{}\"", layer.digest).as_bytes() => {
                Wanted::Whole
            }
            _ => {
                let range = headers.get(header::RANGE).and_then(|v| v.to_str().ok());
                wanted(range, layer.size)
            }
        };
        let (status, range) = match wanted {
            Wanted::Whole => (StatusCode::OK, 0..layer.size),
            Wanted::Part(range) => (StatusCode::PARTIAL_CONTENT, range),
            Wanted::Unsatisfiable => {
                let message = format!("the blob has {} bytes", layer.size);
                let status = StatusCode::RANGE_NOT_SATISFIABLE;
                let refusal = Refusal::new(status, ErrorCode::SizeInvalid, message);
                let mut response = refusal.into_response();
                insert(&mut response, header::CONTENT_RANGE, &format!("bytes */{}", layer.size));
                return Ok(response);
            }
        };
        let body = stream::body(&self.keg, &layer, range.clone())
            .map_err(|e| Refusal::internal("reading the layer", &e))?;
        let mut response = Response::new(body);
        *response.status_mut() = status;
        insert(&mut response, CONTENT_TYPE, "application/octet-stream");
        insert(&mut response, header::CONTENT_LENGTH, &(range.end - range.start).to_string());
        insert(&mut response, header::ACCEPT_RANGES, "bytes");
        if status == StatusCode::PARTIAL_CONTENT {
            let value = format!("bytes {}-{}/{}", range.start, range.end - 1, layer.size);
            insert(&mut response, header::CONTENT_RANGE, &value);
        }
        Ok(response)
    }
}

fn is_manifest(bytes: &[u8]) -> bool {
    serde_json::from_slice::<serde_json::Value>(bytes)
        .is_ok_and(|json| json.get("mediaType").is_some_and(|t| t == MANIFEST_TYPE))
}

fn digest(text: &str, absent: ErrorCode) -> Result<OciDigest, Refusal> {
    text.parse().map_err(|error: DigestError| match error {
        DigestError::Malformed(_) => {
            Refusal::new(StatusCode::BAD_REQUEST, ErrorCode::DigestInvalid, error.to_string())
        }
        DigestError::Algorithm(_) => Refusal::new(StatusCode::NOT_FOUND, absent, error.to_string()),
    })
}

fn refuse(error: RepositoryError) -> Refusal {
    match &error {
        RepositoryError::Layer(inner) if matches!(**inner, LayerError::Busy) => Refusal::new(
            StatusCode::SERVICE_UNAVAILABLE,
            ErrorCode::TooManyRequests,
            inner.to_string(),
        ),
        _ => Refusal::internal("reading the release", &error),
    }
}

/// `tags/list?n=…&last=…`: a page of the sorted tags, with a `Link` to the next.
fn tags(app: &str, repository: &Repository, query: &str) -> Result<Response<Body>, Refusal> {
    let field = |key: &str| {
        query.split('&').filter_map(|pair| pair.split_once('=')).find(|(k, _)| *k == key)
    };
    let count = match field("n").map(|(_, n)| n.parse::<usize>()) {
        None => DEFAULT_TAGS,
        Some(Ok(count)) => count.min(MAX_TAGS),
        Some(Err(_)) => {
            let message = "n must be a number of tags";
            return Err(Refusal::new(StatusCode::BAD_REQUEST, ErrorCode::Unsupported, message));
        }
    };
    let last = field("last").map_or("", |(_, last)| last);
    let after: Vec<String> =
        repository.tags().into_iter().filter(|tag| tag.as_str() > last).collect();
    let page = &after[..after.len().min(count)];
    let json = serde_json::json!({ "name": app, "tags": page });
    let mut response = json_response(json.to_string().into_bytes(), "application/json");
    if let Some(end) = page.last().filter(|_| page.len() < after.len()) {
        let link = format!("</v2/{app}/tags/list?n={count}&last={end}>; rel=\"next\"");
        insert(&mut response, header::LINK, &link);
    }
    Ok(response)
}

fn json_response(bytes: Vec<u8>, media_type: &'static str) -> Response<Body> {
    let mut response = Response::new(Body::empty());
    insert(&mut response, header::CONTENT_LENGTH, &bytes.len().to_string());
    *response.body_mut() = Body::from(Bytes::from(bytes));
    response.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static(media_type));
    response
}

/// Adds what every value with a digest carries; answers 304 to a client that has it.
fn conditional(
    headers: &HeaderMap,
    digest: OciDigest,
    mut response: Response<Body>,
) -> Response<Body> {
    let etag = format!("\"{digest}\"");
    let has = |value: &HeaderValue| {
        value.to_str().is_ok_and(|v| v.split(',').any(|tag| tag.trim() == etag))
    };
    if headers.get_all(header::IF_NONE_MATCH).iter().any(has) {
        response = Response::new(Body::empty());
        *response.status_mut() = StatusCode::NOT_MODIFIED;
    }
    insert(&mut response, header::ETAG, &etag);
    insert(&mut response, CONTENT_DIGEST, &digest.to_string());
    response
}

fn insert(response: &mut Response<Body>, name: HeaderName, value: &str) {
    let value = HeaderValue::from_str(value).expect("because it is made of ASCII only");
    response.headers_mut().insert(name, value);
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn paths_are_read_from_the_right() {
        for (path, want) in [
            ("/v2", Target::Base),
            ("/v2/", Target::Base),
            ("/v2/blog/tags/list", Target::Tags { name: "blog" }),
            ("/v2/blog/manifests/latest", Target::Manifest { name: "blog", reference: "latest" }),
            ("/v2/a/blobs/sha256:0", Target::Blob { name: "a", digest: "sha256:0" }),
            (
                "/v2/a/blobs/uploads/manifests/x",
                Target::Manifest { name: "a/blobs/uploads", reference: "x" },
            ),
            ("/v2/a/blobs/uploads/", Target::Upload),
            ("/v2/a/blobs/uploads/77", Target::Upload),
            ("/v2/tags/list", Target::Tags { name: "" }),
            ("/v2/manifests/x", Target::Manifest { name: "", reference: "x" }),
            ("/v2/blog", Target::Unknown),
            ("/v2/_catalog", Target::Unknown),
        ] {
            assert_eq!(target(path), want, "{path}");
        }
    }
}
