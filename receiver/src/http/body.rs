//! A request's body on its way to a child, within limits of size and patience.

use std::time::Duration;

use axum::body::{Body, BodyDataStream};
use futures_util::StreamExt;
use tokio::{
    io::AsyncWriteExt,
    process::ChildStdin,
    time::{Instant, timeout},
};

use crate::MAX_BODY;

/// Longest silence of a client in the middle of its request.
const IDLE: Duration = Duration::from_secs(60);
/// How long a client may be slow before its rate counts.
const GRACE: Duration = Duration::from_secs(30);
/// Fewest bytes per second, on average, of the time spent waiting for the client.
const MIN_RATE: f64 = 1024.0;

/// Passes a body on to the child's stdin, which is closed at the end: a child whose client stopped
/// early finds its input cut off. When the child takes no more, the rest is read and dropped.
pub(super) async fn feed(body: Body, stdin: ChildStdin) {
    let mut body = Limited::new(body.into_data_stream());
    let mut stdin = Some(stdin);
    loop {
        match body.next().await {
            Ok(Some(chunk)) => {
                if let Some(child) = &mut stdin
                    && child.write_all(&chunk).await.is_err()
                {
                    stdin = None;
                }
            }
            Ok(None) => return,
            Err(error) => {
                eprintln!("a push or fetch was cut off: {error}");
                return;
            }
        }
    }
}

/// Why a body is cut off.
#[derive(Debug, thiserror::Error)]
pub(super) enum CutOff {
    /// The client sent nothing for [`IDLE`].
    #[error("the client sent nothing for {} seconds", IDLE.as_secs())]
    Idle,
    /// The client is slower than [`MIN_RATE`].
    #[error("the client sent less than {MIN_RATE} bytes per second")]
    Slow,
    /// More than [`MAX_BODY`].
    #[error("the request has over {MAX_BODY} bytes")]
    TooLarge,
    /// The connection.
    #[error("the connection failed: {0}")]
    Connection(#[from] axum::Error),
}

/// A body with limits.
struct Limited {
    body: BodyDataStream,
    received: u64,
    waited: Duration,
}

impl Limited {
    fn new(body: BodyDataStream) -> Self {
        Self { body, received: 0, waited: Duration::ZERO }
    }

    /// The next bytes; `None` at the end. Only time spent waiting for the client counts.
    async fn next(&mut self) -> Result<Option<bytes::Bytes>, CutOff> {
        let start = Instant::now();
        let next = timeout(IDLE, self.body.next()).await.map_err(|_| CutOff::Idle)?;
        self.waited += start.elapsed();
        let Some(chunk) = next.transpose()? else { return Ok(None) };
        self.received += chunk.len() as u64;
        if self.received > MAX_BODY {
            return Err(CutOff::TooLarge);
        }
        let least = MIN_RATE * self.waited.as_secs_f64();
        if self.waited > GRACE && (self.received as f64) < least {
            return Err(CutOff::Slow);
        }
        Ok(Some(chunk))
    }
}

#[cfg(test)]
mod tests {
    use futures_util::stream;

    use super::*;

    /// What becomes of a client that sends `chunk` bytes every `pause` seconds, `count` times.
    async fn check(chunk: usize, pause: u64, count: usize) -> Result<u64, CutOff> {
        let body = stream::unfold(0, move |sent| async move {
            tokio::time::sleep(Duration::from_secs(pause)).await;
            let bytes = bytes::Bytes::from(vec![0; chunk]);
            (sent < count).then_some((Ok::<_, std::io::Error>(bytes), sent + 1))
        });
        let mut body = Limited::new(Body::from_stream(body).into_data_stream());
        while body.next().await?.is_some() {}
        Ok(body.received)
    }

    #[tokio::test(start_paused = true)]
    async fn slow_clients_are_cut_off() {
        assert!(matches!(check(10, 61, 1).await, Err(CutOff::Idle)));
        assert!(matches!(check(1000, 10, 100).await, Err(CutOff::Slow)));
        assert!(matches!(check(20_000, 10, 100).await, Ok(2_000_000)));
        // Slow for a moment only.
        assert!(matches!(check(1, 7, 3).await, Ok(3)));
    }
}
