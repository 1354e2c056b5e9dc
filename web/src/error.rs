//! Faults: what a person is told, apart from what the log is told.

use std::error::Error as StdError;

use axum::http::StatusCode;

/// A request that cannot be answered as asked.
#[derive(Debug)]
pub struct Fault {
    /// HTTP status.
    pub status: StatusCode,
    /// What is wrong, in plain words, for whoever asked.
    pub message: String,
    /// What to do next.
    pub hint: Option<String>,
    /// More, for programs: fields of the JSON answer.
    pub detail: Vec<(&'static str, serde_json::Value)>,
}

impl Fault {
    /// A fault with a message.
    pub fn new(status: StatusCode, message: impl Into<String>) -> Self {
        Self { status, message: message.into(), hint: None, detail: Vec::new() }
    }

    /// 400.
    pub fn bad_request(message: impl Into<String>) -> Self {
        Self::new(StatusCode::BAD_REQUEST, message)
    }

    /// 404.
    pub fn not_found(message: impl Into<String>) -> Self {
        Self::new(StatusCode::NOT_FOUND, message)
    }

    /// 404: a path that is not there.
    pub fn nothing_at(path: impl std::fmt::Display) -> Self {
        Self::not_found(format!("Nothing is at {path}."))
            .hint("What is there is listed from / on; ?log shows what was there before.")
    }

    /// What to do next.
    pub fn hint(mut self, hint: impl Into<String>) -> Self {
        self.hint = Some(hint.into());
        self
    }

    /// One more field of the JSON answer.
    pub fn with(mut self, key: &'static str, value: impl Into<serde_json::Value>) -> Self {
        self.detail.push((key, value.into()));
        self
    }

    /// Something failed inside: its causes go to stderr, the asker gets only `doing`.
    pub fn inside(doing: &str, error: &(dyn StdError + 'static)) -> Self {
        let mut line = format!("web: {doing}: {error}");
        let mut cause = error.source();
        while let Some(inner) = cause {
            line.push_str(": ");
            line.push_str(&inner.to_string());
            cause = inner.source();
        }
        eprintln!("{line}");
        Self::new(StatusCode::INTERNAL_SERVER_ERROR, format!("{doing} failed inside the Keg."))
            .hint("The log of `keg up` has the cause; `keg fsck` names damaged objects.")
    }

    /// The JSON answer.
    pub fn json(&self) -> serde_json::Value {
        let mut error = serde_json::json!({ "message": self.message });
        if let Some(hint) = &self.hint {
            error["hint"] = hint.clone().into();
        }
        for (key, value) in &self.detail {
            error[*key] = value.clone();
        }
        serde_json::json!({ "error": error })
    }
}
