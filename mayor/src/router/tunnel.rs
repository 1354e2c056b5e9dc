//! After `101 Switching Protocols`: bytes both ways until both sides are done.

use std::rc::Rc;

use hyper::upgrade::OnUpgrade;
use hyper_util::rt::TokioIo;
use tokio::{io::copy_bidirectional_with_sizes, sync::OwnedSemaphorePermit};

/// Bytes of each direction that are in our hands at a time.
const BUFFER: usize = 16 * 1024;

/// Joins the two connections once both have switched. The permit counts the tunnel among the
/// clients' connections for as long as it lasts.
pub(super) async fn join(client: OnUpgrade, app: OnUpgrade, permit: Rc<OwnedSemaphorePermit>) {
    let (Ok(client), Ok(app)) = tokio::join!(client, app) else { return };
    let (mut client, mut app) = (TokioIo::new(client), TokioIo::new(app));
    // An error is either side going away, which both learn by their connection being closed.
    let _ = copy_bidirectional_with_sizes(&mut client, &mut app, BUFFER, BUFFER).await;
    drop(permit);
}
