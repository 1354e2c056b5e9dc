//! One request: to a backend of its app and back.

use std::{
    cell::Cell,
    net::{IpAddr, SocketAddr},
    rc::Rc,
    time::Duration,
};

use http_body_util::Either;
use hyper::{
    Method, Request, Response, StatusCode, Uri, Version,
    body::{Body, Incoming},
    header::HeaderValue,
    http::request::Parts,
    upgrade::OnUpgrade,
};
use keg::path::AppName;
use tokio::{
    sync::OwnedSemaphorePermit,
    time::{Instant, sleep_until},
};

use super::{
    answer,
    body::{Answer, Upload},
    headers,
    host::{Asked, asked},
    pool::{Backend, Connection},
    table::{Absent, Table},
    tunnel,
};

/// How often a request is tried where the app cannot have seen it, or would not mind.
const MAX_TRIES: usize = 8;

/// Tries beyond one for each backend: one connection may have been closed while idle, and the
/// app may be moving.
const MORE_TRIES: usize = 2;

/// How long an app may take from the last byte of a request to the head of its answer.
const ANSWER_TIMEOUT: Duration = Duration::from_secs(300);

/// Most bytes of a request's URL.
const MAX_URI: usize = 16 * 1024;

/// The client whose connection a request came over.
#[derive(Clone)]
pub(super) struct Client {
    pub(super) peer: SocketAddr,
    pub(super) permit: Rc<OwnedSemaphorePermit>,
}

/// A request made ready for the app.
struct Prepared {
    request: Request<Upload>,
    /// To be sent again if a connection breaks: it has no body, and doing it twice is as good.
    again: Option<Parts>,
}

/// How sending it once went.
enum Sent {
    Answered(Response<Incoming>),
    /// The app has not seen it, or would not mind to see it again.
    Again(Box<Prepared>),
    BrokeOff,
    TooSlow,
}

/// Answers one request.
pub(super) async fn answer(
    table: &Table,
    client: Client,
    mut request: Request<Incoming>,
) -> Response<Answer> {
    let (app, host) = match asked(request.uri(), request.headers()) {
        Asked::App(app, host) => (app, host),
        Asked::Foreign(host) => return answer::foreign(&host),
        Asked::Unclear => {
            return answer::refused(StatusCode::BAD_REQUEST, "Send one Host header.");
        }
    };
    let upgrade = headers::wanted_upgrade(request.headers());
    let switch = upgrade.is_some().then(|| hyper::upgrade::on(&mut request));
    let peer = client.peer.ip();
    let prepared = match prepare(request, &host, peer, upgrade.as_ref()) {
        Ok(prepared) => prepared,
        Err(refusal) => return *refusal,
    };
    match deliver(table, &app, prepared).await {
        Ok(response) => to_client(&app, response, switch, client.permit),
        Err(refusal) => *refusal,
    }
}

fn prepare(
    request: Request<Incoming>,
    host: &str,
    peer: IpAddr,
    upgrade: Option<&HeaderValue>,
) -> Result<Prepared, Box<Response<Answer>>> {
    let refuse = |status, why: &str| Box::new(answer::refused(status, why));
    let (mut parts, body) = request.into_parts();
    if parts.method == Method::CONNECT {
        return Err(refuse(StatusCode::METHOD_NOT_ALLOWED, "This is no proxy for CONNECT."));
    }
    let path = parts.uri.path_and_query().map_or("/", |path| path.as_str());
    if path.len() > MAX_URI {
        return Err(refuse(StatusCode::URI_TOO_LONG, "The URL is too long."));
    }
    let uri = path.parse::<Uri>();
    let (Ok(uri), Ok(host)) = (uri, HeaderValue::from_str(host)) else {
        return Err(refuse(StatusCode::BAD_REQUEST, "The URL or host cannot be understood."));
    };
    (parts.uri, parts.version) = (uri, Version::HTTP_11);
    // Whatever hangs on the client's connection stays with it.
    parts.extensions.clear();
    let body = Upload::new(body);
    headers::to_app(&mut parts.headers, &host, peer, upgrade, body.size_hint().exact());
    let repeatable = parts.method.is_idempotent() && body.is_end_stream() && upgrade.is_none();
    let again = repeatable.then(|| parts.clone());
    Ok(Prepared { request: Request::from_parts(parts, body), again })
}

async fn deliver(
    table: &Table,
    app: &AppName,
    mut prepared: Prepared,
) -> Result<Response<Incoming>, Box<Response<Answer>>> {
    // A connection that was idle is tried once; what goes wrong then is not its age.
    let mut pooled = true;
    let tries = MAX_TRIES.min(table.backends(app) + MORE_TRIES);
    for _ in 0..tries {
        let Some(backend) = backend_of(table, app) else { break };
        let idle = if pooled { backend.pooled() } else { None };
        let connection = match idle {
            Some(connection) => connection,
            None => match backend.connect().await {
                Ok(connection) => connection,
                Err(_) => {
                    // It may be gone because the app has moved, and we have not heard yet.
                    let _ = table.refresh();
                    continue;
                }
            },
        };
        match send(table, &backend, connection, prepared).await {
            Sent::Answered(response) => return Ok(response),
            Sent::Again(back) => (prepared, pooled) = (*back, false),
            Sent::BrokeOff => return Err(Box::new(answer::broke_off(app))),
            Sent::TooSlow => {
                return Err(Box::new(answer::too_slow(app, ANSWER_TIMEOUT.as_secs())));
            }
        }
    }
    Err(Box::new(match table.absent(app) {
        _ if table.backends(app) > 0 => {
            answer::unavailable(app, "its process does not accept connections.")
        }
        Absent::Waiting(why) => answer::unavailable(app, &why),
        Absent::Unknown => answer::unknown(app),
    }))
}

/// The next backend to try. Where there is none, the routes are looked at once more: whoever was
/// just told that an app is live should find it.
fn backend_of(table: &Table, app: &AppName) -> Option<Rc<Backend>> {
    table.next_backend(app).or_else(|| {
        table.refresh().ok()?;
        table.next_backend(app)
    })
}

async fn send(
    table: &Table,
    backend: &Rc<Backend>,
    mut connection: Connection,
    prepared: Prepared,
) -> Sent {
    let Prepared { request, again } = prepared;
    let moved = request.body().moved();
    let sent = tokio::select! {
        sent = connection.sender.try_send_request(request) => sent,
        () = silence(&moved) => return Sent::TooSlow,
    };
    match sent {
        Ok(response) => {
            backend.recycle(connection);
            Sent::Answered(response)
        }
        Err(mut error) => match (error.take_message(), again) {
            (Some(request), again) => Sent::Again(Box::new(Prepared { request, again })),
            (None, Some(parts)) if connection.reused || has_moved(table, backend) => {
                let request = Request::from_parts(parts.clone(), Upload::none());
                Sent::Again(Box::new(Prepared { request, again: Some(parts) }))
            }
            (None, _) => Sent::BrokeOff,
        },
    }
}

/// Whether the app has left this backend. One that was stopped may close a connection that it has
/// just accepted; one that should be there and breaks off is not asked for the same again.
fn has_moved(table: &Table, backend: &Backend) -> bool {
    // Routes that cannot be read are as they were.
    let _ = table.refresh();
    backend.is_retired()
}

/// Over once nothing of the request has moved for too long.
async fn silence(moved: &Cell<Instant>) {
    loop {
        let until = moved.get() + ANSWER_TIMEOUT;
        if until <= Instant::now() {
            return;
        }
        sleep_until(until).await;
    }
}

fn to_client(
    app: &AppName,
    mut response: Response<Incoming>,
    switch: Option<OnUpgrade>,
    permit: Rc<OwnedSemaphorePermit>,
) -> Response<Answer> {
    let status = response.status();
    headers::to_client(status, response.headers_mut());
    if status == StatusCode::SWITCHING_PROTOCOLS {
        // Nobody asked it to.
        let Some(client) = switch else { return answer::broke_off(app) };
        let theirs = hyper::upgrade::on(&mut response);
        tokio::task::spawn_local(tunnel::join(client, theirs, permit));
    }
    let (mut parts, body) = response.into_parts();
    parts.version = Version::HTTP_11;
    parts.extensions.clear();
    Response::from_parts(parts, Either::Left(body))
}
