//! A child process that answers one request.

use std::{io, process::Stdio, sync::Arc};

use axum::{
    body::Body,
    http::{StatusCode, header},
    response::Response,
};
use bytes::{Bytes, BytesMut};
use futures_util::stream;
use keg::sync::Verb;
use rustix::process::{Signal, set_parent_process_death_signal};
use tokio::{
    io::AsyncReadExt,
    process::{Child, ChildStdout, Command},
    sync::OwnedSemaphorePermit,
    task::JoinHandle,
};

use crate::{
    CHUNK,
    feed::feed,
    http::{Context, HttpError, MEDIA_TYPE},
};

/// Starts a child and makes its output the response. The status line waits for the first output,
/// so that a child that fails at once becomes an error.
pub(crate) async fn answer(
    context: &Context,
    verb: Verb,
    request: Body,
) -> Result<Response<Body>, HttpError> {
    let places = Arc::clone(&context.places);
    let permit = places.try_acquire_owned().map_err(|_| HttpError::Busy)?;
    let failed = |error: io::Error| HttpError::Child(error.to_string());
    let mut child = start(context, verb).map_err(failed)?;
    let (Some(stdin), Some(stdout)) = (child.stdin.take(), child.stdout.take()) else {
        return Err(HttpError::Child("its process has no pipes".to_owned()));
    };
    let feeding = tokio::spawn(feed(request, stdin));
    let mut output = Output { stdout, child, feeding: Some(feeding), _permit: permit };
    let first = output.next().await.map_err(failed)?;
    let body = stream::try_unfold((first, output), |(first, mut output)| async move {
        let chunk = match first {
            Some(chunk) => Some(chunk),
            None => output.next().await?,
        };
        Ok::<_, io::Error>(chunk.map(|chunk| (chunk, (None, output))))
    });
    let response = Response::builder()
        .status(StatusCode::OK)
        .header(header::CONTENT_TYPE, MEDIA_TYPE)
        .header(header::CACHE_CONTROL, "no-store")
        .body(Body::from_stream(body));
    response.map_err(|error| HttpError::Child(error.to_string()))
}

fn start(context: &Context, verb: Verb) -> io::Result<Child> {
    let mut command = Command::from(keg::spawn::command(&["work", "sync", verb.as_str()]));
    command.env("KEG_HOME", context.keg.home());
    // SAFETY: a plain system call between fork and exec.
    unsafe {
        command.pre_exec(|| Ok(set_parent_process_death_signal(Some(Signal::KILL))?));
    }
    // When the client goes away there is nobody to answer: what has come is kept by the child as
    // it comes, and what it has not made durable by then is sent again.
    command.kill_on_drop(true);
    command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::inherit()).spawn()
}

/// What a child writes, then the end of what the client sends: a response that ends earlier would
/// break the connection of a client that is still sending, and it would not read the reason.
struct Output {
    stdout: ChildStdout,
    child: Child,
    feeding: Option<JoinHandle<()>>,
    _permit: OwnedSemaphorePermit,
}

impl Output {
    /// The next bytes; `None` at the end. The answer of a child that was killed is broken off.
    async fn next(&mut self) -> io::Result<Option<Bytes>> {
        let mut chunk = BytesMut::with_capacity(CHUNK);
        if self.stdout.read_buf(&mut chunk).await? > 0 {
            return Ok(Some(chunk.freeze()));
        }
        if let Some(feeding) = self.feeding.take() {
            feeding.await.map_err(io::Error::other)?;
        }
        // 1: it has said so in its answer.
        match self.child.wait().await?.code() {
            Some(0 | 1) => Ok(None),
            _ => Err(io::Error::other("its process failed; see the log of keg up")),
        }
    }
}

impl Drop for Output {
    fn drop(&mut self) {
        if let Some(feeding) = &self.feeding {
            feeding.abort();
        }
    }
}
