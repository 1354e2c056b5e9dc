//! The router's own answers: plain words on what is wrong and what to do next.

use http_body_util::{Either, Full};
use hyper::{
    Response, StatusCode,
    header::{CACHE_CONTROL, CONTENT_TYPE, HeaderName, HeaderValue, RETRY_AFTER},
};
use keg::path::AppName;

use super::body::Answer;

/// Seconds after which a client may ask again for an app that is starting.
const RETRY_SECONDS: u16 = 1;

/// Nothing is served under this host.
pub(super) fn foreign(host: &str) -> Response<Answer> {
    // Printable ASCII only: the host is whatever the client sent.
    let host: String = host.chars().filter(char::is_ascii_graphic).collect();
    say(
        StatusCode::NOT_FOUND,
        &format!(
            "No app is served at {host}.\n\nApps are at http://<app>.localhost with the router's \
             port. To deploy one: git push keg main\n"
        ),
    )
}

/// There is no such app.
pub(super) fn unknown(app: &AppName) -> Response<Answer> {
    say(
        StatusCode::NOT_FOUND,
        &format!(
            "There is no app {app} here.\n\nTo deploy it, add the remote keg with the path \
             /git/{app} of this Keg to its repository, then: git push keg main\n"
        ),
    )
}

/// The app is there, but nothing of it serves now. `why`: what the mayor says of it.
pub(super) fn unavailable(app: &AppName, why: &str) -> Response<Answer> {
    let text = format!("{app} is not serving: {why}\n\nkeg logs {app} shows what it says.\n");
    let mut response = say(StatusCode::SERVICE_UNAVAILABLE, &text);
    response.headers_mut().insert(RETRY_AFTER, HeaderValue::from(RETRY_SECONDS));
    response
}

/// The app broke off before it answered.
pub(super) fn broke_off(app: &AppName) -> Response<Answer> {
    say(
        StatusCode::BAD_GATEWAY,
        &format!(
            "{app} broke off before it answered. It may have done what was asked.\n\nkeg logs \
             {app} shows what it says.\n"
        ),
    )
}

/// The app took too long.
pub(super) fn too_slow(app: &AppName, seconds: u64) -> Response<Answer> {
    say(
        StatusCode::GATEWAY_TIMEOUT,
        &format!(
            "{app} did not answer within {seconds} s.\n\nkeg logs {app} shows what it says.\n"
        ),
    )
}

/// A request that cannot be passed on.
pub(super) fn refused(status: StatusCode, why: &str) -> Response<Answer> {
    say(status, &format!("{why}\n"))
}

fn say(status: StatusCode, text: &str) -> Response<Answer> {
    let mut response = Response::new(Either::Right(Full::from(text.to_owned())));
    *response.status_mut() = status;
    for (name, value) in [
        (CONTENT_TYPE, "text/plain; charset=utf-8"),
        (CACHE_CONTROL, "no-store"),
        (HeaderName::from_static("x-content-type-options"), "nosniff"),
    ] {
        response.headers_mut().insert(name, HeaderValue::from_static(value));
    }
    response
}
