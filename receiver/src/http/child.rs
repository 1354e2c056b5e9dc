//! A child process that answers one request.

use std::{io, process::Stdio};

use axum::{
    body::Body,
    http::{StatusCode, header},
    response::Response,
};
use bytes::{Bytes, BytesMut};
use futures_util::stream;
use rustix::process::{Signal, set_parent_process_death_signal};
use tokio::{
    io::AsyncReadExt,
    process::{Child, ChildStdout, Command},
    task::JoinHandle,
};

use super::{Context, HttpError, Job, body};
use crate::work::GZIP;

/// Bytes read from a child at once.
const CHUNK: usize = 64 << 10;

/// Starts a child and makes its output the response. The status line waits for the first output,
/// so that a child that fails at once becomes an error.
pub(super) async fn answer(
    context: &Context,
    job: Job,
    request: Body,
    media_type: &str,
) -> Result<Response, HttpError> {
    let permit = context.places(job.task).try_acquire_owned().map_err(|_| HttpError::Busy)?;
    let mut child = start(context, &job).map_err(|error| HttpError::Child(error.to_string()))?;
    let (Some(stdin), Some(stdout)) = (child.stdin.take(), child.stdout.take()) else {
        return Err(HttpError::Child("it has no pipes".to_owned()));
    };
    let feeding = tokio::spawn(body::feed(request, stdin));
    // The child outlives a client that goes away: what is stored is also deployed and settled.
    let ending = tokio::spawn(async move {
        let _permit = permit;
        child.wait().await.is_ok_and(|status| status.success())
    });
    let mut output = Output { stdout, rest: Some((feeding, ending)) };
    let first = output.next().await.map_err(|error| HttpError::Child(error.to_string()))?;
    let state = (first, output);
    let body = stream::try_unfold(state, |(first, mut output)| async move {
        let chunk = match first {
            Some(chunk) => Some(chunk),
            None => output.next().await?,
        };
        Ok::<_, io::Error>(chunk.map(|chunk| (chunk, (None, output))))
    });
    let response = Response::builder()
        .status(StatusCode::OK)
        .header(header::CONTENT_TYPE, media_type)
        .header(header::CACHE_CONTROL, "no-cache, max-age=0, must-revalidate")
        .body(Body::from_stream(body));
    response.map_err(|error| HttpError::Child(error.to_string()))
}

fn start(context: &Context, job: &Job) -> io::Result<Child> {
    let mut args = vec!["work", "receive", job.task.name(), job.app.as_str()];
    if job.gzip {
        args.push(GZIP);
    }
    let mut command = Command::from(keg::spawn::command(&args));
    command.env("KEG_HOME", context.keg.home());
    match &job.protocol {
        Some(protocol) => command.env("GIT_PROTOCOL", protocol),
        None => command.env_remove("GIT_PROTOCOL"),
    };
    // What is stored needs nobody to watch it; a push that outlived the Keg would wait for ever.
    // SAFETY: a plain system call between fork and exec.
    unsafe {
        command.pre_exec(|| Ok(set_parent_process_death_signal(Some(Signal::KILL))?));
    }
    command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::inherit()).spawn()
}

/// What a child writes, then the end of what the client sends: a response that ends earlier would
/// break the connection of a client that is still sending, and it would not read the reason.
struct Output {
    stdout: ChildStdout,
    /// The feeding of the child, and whether it ended well.
    rest: Option<(JoinHandle<()>, JoinHandle<bool>)>,
}

impl Output {
    /// The next bytes; `None` at the end. The answer of a child that was killed is broken off, for
    /// git takes one that merely ends to be complete, and waits.
    async fn next(&mut self) -> io::Result<Option<Bytes>> {
        let mut chunk = BytesMut::with_capacity(CHUNK);
        if self.stdout.read_buf(&mut chunk).await? > 0 {
            return Ok(Some(chunk.freeze()));
        }
        let Some((feeding, ending)) = self.rest.take() else { return Ok(None) };
        feeding.await.map_err(io::Error::other)?;
        match ending.await.map_err(io::Error::other)? {
            true => Ok(None),
            false => Err(io::Error::other("its process failed; see the log of keg up")),
        }
    }
}
