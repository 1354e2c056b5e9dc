//! Requests through the router: keep-alive, streams, WebSockets.
