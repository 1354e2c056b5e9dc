//! The routes that answer other Kegs.

use std::{net::IpAddr, sync::Arc};

use axum::{
    Router,
    body::Body,
    extract::{DefaultBodyLimit, Path, Request, State},
    http::{HeaderMap, StatusCode, header},
    response::{IntoResponse, Response},
    routing::post,
};
use keg::{Keg, sync::Verb};
use tokio::sync::Semaphore;

use crate::child;

/// Most requests at the same time; more are told to come again. Each is a process.
const MAX_REQUESTS: usize = 16;
/// What requests and answers are.
pub(crate) const MEDIA_TYPE: &str = "application/x-keg-sync";

/// Whether other Kegs may change this one.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Pushes {
    /// They may only pull.
    Refused,
    /// Those on this machine may push: requests whose `Host` is a loopback name, for a service
    /// that listens on loopback. Until there are rights that say who may.
    Loopback,
}

/// What the routes share.
pub(crate) struct Context {
    pub(crate) keg: Arc<Keg>,
    pub(crate) places: Arc<Semaphore>,
    pushes: Pushes,
}

/// The routes `POST /-/sync/<verb>`, to be put behind the guard of the service.
pub fn router(keg: Arc<Keg>, pushes: Pushes) -> Router {
    let places = Arc::new(Semaphore::new(MAX_REQUESTS));
    Router::new()
        .route("/-/sync/{verb}", post(answer))
        // Bodies are streamed and counted by `feed`.
        .layer(DefaultBodyLimit::disable())
        .with_state(Arc::new(Context { keg, places, pushes }))
}

/// Why a request is refused.
#[derive(Debug, thiserror::Error)]
pub(crate) enum HttpError {
    /// No such request.
    #[error("Kegs ask for trees, pack, offer-trees or offer-pack here; see docs/sync.md")]
    Verb,
    /// The body is something else.
    #[error("the request is not what a Keg sends (Content-Type: {MEDIA_TYPE})")]
    MediaType,
    /// A push from elsewhere.
    #[error("this Keg takes pushes from its own machine only; pull from the other side instead")]
    NotLocal,
    /// Too many at once.
    #[error("too many pulls and pushes at the same time; try again in a few seconds")]
    Busy,
    /// The child process could not do it.
    #[error("the request cannot be answered: {0}")]
    Child(String),
}

impl IntoResponse for HttpError {
    fn into_response(self) -> Response {
        let status = match &self {
            Self::Verb => StatusCode::NOT_FOUND,
            Self::MediaType => StatusCode::UNSUPPORTED_MEDIA_TYPE,
            Self::NotLocal => StatusCode::FORBIDDEN,
            Self::Busy => StatusCode::SERVICE_UNAVAILABLE,
            Self::Child(_) => StatusCode::INTERNAL_SERVER_ERROR,
        };
        let headers =
            [(header::CONTENT_TYPE, "text/plain; charset=utf-8"), (header::RETRY_AFTER, "5")];
        (status, headers, format!("{self}\n")).into_response()
    }
}

async fn answer(
    State(context): State<Arc<Context>>,
    Path(verb): Path<String>,
    request: Request,
) -> Result<Response<Body>, HttpError> {
    let verb: Verb = verb.parse().map_err(|_| HttpError::Verb)?;
    let headers = request.headers();
    // A form or a script of a web page cannot send this type without being asked first.
    if text(headers, header::CONTENT_TYPE) != Some(MEDIA_TYPE) {
        return Err(HttpError::MediaType);
    }
    if verb.is_offer() {
        let local = text(headers, header::HOST).is_some_and(is_loopback);
        if context.pushes != Pushes::Loopback || !local || headers.contains_key(header::ORIGIN) {
            return Err(HttpError::NotLocal);
        }
    }
    child::answer(&context, verb, request.into_body()).await
}

fn text(headers: &HeaderMap, name: header::HeaderName) -> Option<&str> {
    headers.get(name)?.to_str().ok()
}

/// Whether `name[:port]` is `localhost` or a loopback address.
fn is_loopback(host: &str) -> bool {
    let name = match host.rsplit_once(':') {
        Some((name, port)) if !port.ends_with(']') => name,
        _ => host,
    };
    let address = match name.strip_prefix('[').and_then(|name| name.strip_suffix(']')) {
        Some(inside) => inside.parse().map(IpAddr::V6),
        None => name.parse().map(IpAddr::V4),
    };
    name.eq_ignore_ascii_case("localhost") || address.is_ok_and(|address| address.is_loopback())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_this_machine_is_local() {
        for host in ["localhost", "LOCALHOST:80", "127.0.0.1:7070", "[::1]:7070", "[::1]"] {
            assert!(is_loopback(host), "{host}");
        }
        for host in ["", "keg.example", "10.0.0.1", "localhost.example:1", "[fe80::1]:1", "::1:9"] {
            assert!(!is_loopback(host), "{host}");
        }
    }
}
