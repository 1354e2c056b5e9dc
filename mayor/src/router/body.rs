//! Bodies: streamed through, never held.

use std::{
    cell::Cell,
    pin::Pin,
    rc::Rc,
    task::{Context, Poll},
};

use bytes::Bytes;
use http_body_util::{Either, Full};
use hyper::body::{Body, Frame, Incoming, SizeHint};
use tokio::time::Instant;

/// The body of an answer: the app's, or our own words.
pub(super) type Answer = Either<Incoming, Full<Bytes>>;

/// The body of a request on its way to the app. It tells when something of it was last taken, so
/// that a long upload is no silence of the app.
pub(super) struct Upload {
    /// `None`: there is no body.
    inner: Option<Incoming>,
    moved: Rc<Cell<Instant>>,
}

impl Upload {
    pub(super) fn new(inner: Incoming) -> Self {
        let inner = Some(inner).filter(|body| !body.is_end_stream());
        Self { inner, moved: Rc::new(Cell::new(Instant::now())) }
    }

    pub(super) fn none() -> Self {
        Self { inner: None, moved: Rc::new(Cell::new(Instant::now())) }
    }

    /// When something of it was last taken.
    pub(super) fn moved(&self) -> Rc<Cell<Instant>> {
        Rc::clone(&self.moved)
    }
}

impl Body for Upload {
    type Data = Bytes;
    type Error = hyper::Error;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, hyper::Error>>> {
        let Some(inner) = &mut self.inner else { return Poll::Ready(None) };
        let polled = Pin::new(inner).poll_frame(context);
        if polled.is_ready() {
            self.moved.set(Instant::now());
        }
        polled
    }

    fn is_end_stream(&self) -> bool {
        self.inner.as_ref().is_none_or(Body::is_end_stream)
    }

    fn size_hint(&self) -> SizeHint {
        self.inner.as_ref().map_or_else(|| SizeHint::with_exact(0), Body::size_hint)
    }
}
