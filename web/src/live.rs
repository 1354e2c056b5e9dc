//! Server-sent events: changes of the namespace, and the lines of streams.

use std::{sync::Arc, time::Duration};

use axum::{
    body::Body,
    http::{HeaderMap, HeaderValue, Response, StatusCode, header},
};
use bytes::Bytes;
use futures_util::stream;
use keg::{
    Keg, NamePath,
    stream::{StreamError, StreamReader},
    watch::WatchError,
};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};

use crate::{
    error::Fault,
    feed::{Feeds, Follower},
    format::sentence,
    stream_text,
};

/// Silence after which a comment is sent, so that a connection that is gone is noticed.
const HEARTBEAT: Duration = Duration::from_secs(15);
/// Longest line that is waited for; a longer one is sent in pieces.
const MAX_LINE: usize = 64 * 1024;

/// Counts the followers.
pub struct Followers {
    places: Arc<Semaphore>,
    most: usize,
    feeds: Feeds,
}

impl Followers {
    /// `most`: event streams at once, over all clients.
    pub fn new(most: usize) -> Self {
        Self { places: Arc::new(Semaphore::new(most)), most, feeds: Feeds::default() }
    }

    fn join(&self) -> Result<OwnedSemaphorePermit, Fault> {
        Arc::clone(&self.places).try_acquire_owned().map_err(|_| {
            let message = format!("{} others follow changes already.", self.most);
            Fault::new(StatusCode::SERVICE_UNAVAILABLE, message)
                .hint("Close some pages, try again.")
        })
    }

    /// The changes below a path after version `since` (or from now on), as events:
    /// `event: change`, `data: {"seq", "commit", "path", "old", "new"}`. The event's id is the
    /// version up to which everything was sent; `event: compacted` means: list again.
    ///
    /// # Errors
    /// The names cannot be followed, or too many follow already.
    pub fn changes(
        &self,
        keg: &Keg,
        path: &NamePath,
        since: Option<u64>,
    ) -> Result<Response<Body>, Fault> {
        let permit = self.join()?;
        let follower = match self.feeds.follow(keg, path, since) {
            Ok(follower) => follower,
            Err(error) => return refused(&error),
        };
        let first = format!("retry: 1000\n: from version {}\n\n", follower.seq());
        let state = Some((Some(first), follower, permit));
        Ok(events(stream::unfold(state, |state| async move {
            let (first, mut follower, permit) = state?;
            if let Some(first) = first {
                return Some((Ok(Bytes::from(first)), Some((None, follower, permit))));
            }
            tokio::task::yield_now().await;
            let (text, more) = next_changes(&mut follower).await;
            Some((Ok(text), more.then_some((None, follower, permit))))
        })))
    }

    /// The lines of a stream from an offset on, as events: each holds one or more whole lines, its
    /// id is the offset after them. `event: end` tells that the stream is sealed.
    ///
    /// # Errors
    /// There is no such stream, or too many follow already.
    pub fn lines(&self, keg: &Keg, id: &str, from: u64) -> Result<Response<Body>, Fault> {
        let permit = self.join()?;
        let reader = keg.streams().open(id).map_err(|error| stream_fault(&error))?;
        let lines = Lines { reader: reader.from_offset(from), rest: Vec::new(), sent: from };
        let state = Some((lines, permit));
        Ok(events(stream::unfold(state, |state| async move {
            let (mut lines, permit) = state?;
            tokio::task::yield_now().await;
            let (text, more) = lines.next().await;
            Some((Ok(Bytes::from(text)), more.then_some((lines, permit))))
        })))
    }
}

/// Where a client that reconnects was: its last event's id, else what the URL says.
pub fn resume(headers: &HeaderMap, asked: Option<&str>) -> Result<Option<u64>, Fault> {
    let last = headers.get("last-event-id").and_then(|value| value.to_str().ok());
    match last.or(asked).filter(|text| !text.is_empty()) {
        None => Ok(None),
        Some(text) => text
            .parse()
            .map(Some)
            .map_err(|_| Fault::bad_request("since and from must be numbers.")),
    }
}

/// What a stream's error is to the one who asked.
pub fn stream_fault(error: &StreamError) -> Fault {
    match error {
        StreamError::Id(_) | StreamError::Missing(_) => Fault::not_found(sentence(error)),
        other => Fault::inside("Reading the stream", other),
    }
}

async fn next_changes(follower: &mut Follower) -> (Bytes, bool) {
    match tokio::time::timeout(HEARTBEAT, follower.next()).await {
        Err(_) => (Bytes::from_static(b": \n\n"), true),
        Ok(Ok(events)) => (events, true),
        Ok(Err(error)) => (Bytes::from(ending(&error)), false),
    }
}

fn refused(error: &WatchError) -> Result<Response<Body>, Fault> {
    match error {
        WatchError::Compacted { .. } => {
            let text = ending(error);
            Ok(events(stream::once(async move { Ok(Bytes::from(text)) })))
        }
        other => Err(Fault::inside("Following the names", other)),
    }
}

fn ending(error: &WatchError) -> String {
    let json = match error {
        WatchError::Compacted { since, oldest, newest } => serde_json::json!({
            "message": error.to_string(), "since": since, "oldest": oldest, "newest": newest,
        }),
        other => Fault::inside("Following the names", other).json(),
    };
    let event = if matches!(error, WatchError::Compacted { .. }) { "compacted" } else { "failed" };
    format!("event: {event}\ndata: {json}\n\n")
}

/// A stream read as whole lines.
struct Lines {
    reader: StreamReader,
    /// The beginning of a line whose end has not come yet.
    rest: Vec<u8>,
    /// The offset after everything sent.
    sent: u64,
}

impl Lines {
    async fn next(&mut self) -> (String, bool) {
        match tokio::time::timeout(HEARTBEAT, self.reader.next()).await {
            Err(_) => (": \n\n".to_owned(), true),
            Ok(Ok(Some(bytes))) => {
                self.rest.extend_from_slice(&bytes);
                let whole = match self.rest.iter().rposition(|byte| *byte == b'\n') {
                    Some(at) => at + 1,
                    None if self.rest.len() >= MAX_LINE => self.rest.len(),
                    None => return (": \n\n".to_owned(), true),
                };
                (self.event(whole), true)
            }
            Ok(Ok(None)) => {
                let last =
                    if self.rest.is_empty() { String::new() } else { self.event(self.rest.len()) };
                (format!("{last}event: end\ndata: {}\n\n", self.sent), false)
            }
            Ok(Err(error)) => {
                let json = Fault::inside("Reading the stream", &error).json();
                (format!("event: failed\ndata: {json}\n\n"), false)
            }
        }
    }

    /// An event of the first `len` bytes that are at hand.
    fn event(&mut self, len: usize) -> String {
        let bytes: Vec<u8> = self.rest.drain(..len).collect();
        self.sent += len as u64;
        let mut text = format!("id: {}\n", self.sent);
        for line in stream_text::lines(&String::from_utf8_lossy(&bytes)) {
            text.push_str("data: ");
            text.push_str(&line);
            text.push('\n');
        }
        text.push('\n');
        text
    }
}

fn events<S>(stream: S) -> Response<Body>
where
    S: futures_util::Stream<Item = Result<Bytes, std::convert::Infallible>> + Send + 'static,
{
    let mut response = Response::new(Body::from_stream(stream));
    let headers = response.headers_mut();
    headers.insert(header::CONTENT_TYPE, HeaderValue::from_static("text/event-stream"));
    headers.insert(header::CACHE_CONTROL, HeaderValue::from_static("no-store"));
    response
}
