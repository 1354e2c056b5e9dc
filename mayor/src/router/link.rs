//! A TCP connection to an app that can be looked at from outside while hyper owns it.

use std::{
    io,
    pin::Pin,
    sync::{Arc, Weak},
    task::{Context, Poll, ready},
};

use rustix::net::{RecvFlags, Shutdown, recv, shutdown};
use tokio::{
    io::{AsyncRead, AsyncWrite, ReadBuf},
    net::TcpStream,
};

/// The end that hyper reads and writes.
pub(super) struct Link(Arc<TcpStream>);

/// The end that stays with the pool; it does not keep the connection open.
pub(super) struct Gauge(Weak<TcpStream>);

/// Both ends of a new connection.
pub(super) fn link(stream: TcpStream) -> (Link, Gauge) {
    let stream = Arc::new(stream);
    let gauge = Gauge(Arc::downgrade(&stream));
    (Link(stream), gauge)
}

impl Gauge {
    /// Whether an idle connection is still silent and open, asked of the kernel: hyper knows of
    /// a close only once the event loop has come round to it.
    pub(super) fn is_quiet(&self) -> bool {
        let Some(stream) = self.0.upgrade() else { return false };
        let mut byte = [0u8; 1];
        let peeked = recv(&*stream, &mut byte, RecvFlags::PEEK | RecvFlags::DONTWAIT);
        matches!(peeked, Err(rustix::io::Errno::AGAIN))
    }
}

impl AsyncRead for Link {
    fn poll_read(
        self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        loop {
            ready!(self.0.poll_read_ready(context))?;
            match self.0.try_read_buf(buffer) {
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {}
                result => return Poll::Ready(result.map(|_| ())),
            }
        }
    }
}

impl Link {
    fn poll_try(
        &self,
        context: &mut Context<'_>,
        mut write: impl FnMut(&TcpStream) -> io::Result<usize>,
    ) -> Poll<io::Result<usize>> {
        loop {
            ready!(self.0.poll_write_ready(context))?;
            match write(&self.0) {
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {}
                result => return Poll::Ready(result),
            }
        }
    }
}

impl AsyncWrite for Link {
    fn poll_write(
        self: Pin<&mut Self>,
        context: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        self.poll_try(context, |stream| stream.try_write(bytes))
    }

    fn poll_write_vectored(
        self: Pin<&mut Self>,
        context: &mut Context<'_>,
        slices: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        self.poll_try(context, |stream| stream.try_write_vectored(slices))
    }

    fn is_write_vectored(&self) -> bool {
        true
    }

    fn poll_flush(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }

    fn poll_shutdown(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        match shutdown(&*self.0, Shutdown::Write) {
            Ok(()) | Err(rustix::io::Errno::NOTCONN) => Poll::Ready(Ok(())),
            Err(error) => Poll::Ready(Err(error.into())),
        }
    }
}

#[cfg(test)]
mod tests {
    use std::{io::Write, net::TcpListener};

    use super::*;

    #[tokio::test]
    async fn a_close_is_seen_before_the_event_loop_sees_it() {
        let listener = TcpListener::bind("127.0.0.1:0").expect("a port");
        let address = listener.local_addr().expect("it listens");
        let open = async || {
            let (link, gauge) = link(TcpStream::connect(address).await.expect("it listens"));
            (link, gauge, listener.accept().expect("a connection").0)
        };
        let (_link, gauge, app) = open().await;
        assert!(gauge.is_quiet());
        drop(app);
        assert!(!gauge.is_quiet(), "closed");

        let (_link, gauge, mut app) = open().await;
        app.write_all(b"HTTP/1.1 408 Request Timeout").expect("open");
        assert!(!gauge.is_quiet(), "an answer that nobody asked for");

        let (link, gauge, _app) = open().await;
        drop(link);
        assert!(!gauge.is_quiet(), "dropped by hyper");
    }
}
