//! A request's body on its way to a child, within limits of patience.

use std::time::Duration;

use axum::body::Body;
use futures_util::StreamExt;
use tokio::{io::AsyncWriteExt, process::ChildStdin, time::timeout};

/// Longest silence of a client in the middle of its request: it may be hashing a large file.
const IDLE: Duration = Duration::from_secs(600);

/// Passes a body on to the child's stdin, which is closed at the end: a child whose client stopped
/// early finds its input cut off. When the child takes no more, the rest is read and dropped. How
/// much may come is the child's to say, which knows what it asked for.
pub(crate) async fn feed(body: Body, stdin: ChildStdin) {
    let mut body = body.into_data_stream();
    let mut stdin = Some(stdin);
    while let Ok(Some(Ok(chunk))) = timeout(IDLE, body.next()).await {
        if let Some(child) = &mut stdin
            && child.write_all(&chunk).await.is_err()
        {
            stdin = None;
        }
    }
}
