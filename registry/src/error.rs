//! Errors as the distribution specification writes them: a code, and a message for people. The
//! inside of an error goes to stderr, never to the client.

use std::error::Error as StdError;

use axum::{
    body::Body,
    http::{HeaderValue, Response, StatusCode, header},
    response::IntoResponse,
};
use oci_spec::distribution::ErrorCode;

/// A refusal: status, code of the specification, and what to tell the client.
#[derive(Debug)]
pub struct Refusal {
    status: StatusCode,
    code: ErrorCode,
    message: String,
    allow: Option<&'static str>,
}

impl Refusal {
    /// A refusal with a message.
    pub fn new(status: StatusCode, code: ErrorCode, message: impl Into<String>) -> Self {
        Self { status, code, message: message.into(), allow: None }
    }

    /// The repository's name is not one.
    pub fn name_invalid(name: &str) -> Self {
        let name: String = name.chars().take(100).collect();
        let message = format!("{name:?} is not an app name: use 1 to 40 of a-z, 0-9 and -");
        Self::new(StatusCode::BAD_REQUEST, ErrorCode::NameInvalid, message)
    }

    /// No such app, or none of its releases.
    pub fn name_unknown(app: &str) -> Self {
        let message =
            format!("no release of {app:?} is in this Keg; push its source with git first");
        Self::new(StatusCode::NOT_FOUND, ErrorCode::NameUnknown, message)
    }

    /// The method changes something, which this registry does not do yet.
    pub fn read_only() -> Self {
        Self {
            allow: Some("GET, HEAD"),
            ..Self::new(
                StatusCode::METHOD_NOT_ALLOWED,
                ErrorCode::Unsupported,
                "this registry only serves what the Keg built; push source with git instead",
            )
        }
    }

    /// Something went wrong here: logged with its causes, told without them.
    pub fn internal(what: &str, error: &dyn StdError) -> Self {
        eprintln!("registry: {what}: {}", chain(error));
        let message = format!("{what}: an error inside the Keg; its log says more");
        Self::new(StatusCode::INTERNAL_SERVER_ERROR, ErrorCode::Unsupported, message)
    }
}

/// An error and its causes on one line.
pub fn chain(error: &dyn StdError) -> String {
    let mut line = error.to_string();
    let mut cause = error.source();
    while let Some(inner) = cause {
        line.push_str(": ");
        line.push_str(&inner.to_string());
        cause = inner.source();
    }
    line
}

impl IntoResponse for Refusal {
    fn into_response(self) -> Response<Body> {
        let json = serde_json::json!({
            "errors": [{ "code": self.code, "message": self.message }]
        });
        let mut response = Response::new(Body::from(json.to_string()));
        *response.status_mut() = self.status;
        let headers = response.headers_mut();
        headers.insert(header::CONTENT_TYPE, HeaderValue::from_static("application/json"));
        if let Some(allow) = self.allow {
            headers.insert(header::ALLOW, HeaderValue::from_static(allow));
        }
        if self.status == StatusCode::SERVICE_UNAVAILABLE {
            headers.insert(header::RETRY_AFTER, HeaderValue::from_static("2"));
        }
        response
    }
}
