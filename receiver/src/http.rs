//! Git over HTTP: the smart protocol at `/git/<app>`.
//!
//! The front only moves bytes: each request is answered by a child process, which gets the body as
//! its stdin and whose stdout is the response. Bodies are never held whole, and a child whose client
//! went away finishes what it stored.
//!
//! Protocol: <https://git-scm.com/docs/http-protocol>.

mod body;
mod child;

use std::sync::Arc;

use axum::{
    Router,
    body::Body,
    extract::{DefaultBodyLimit, Path, Query, Request, State, rejection::PathRejection},
    http::{HeaderMap, StatusCode, header},
    response::{IntoResponse, Response},
    routing::{get, post},
};
use keg::{Keg, path::AppName};
use tokio::sync::Semaphore;

use crate::{MAX_BODY, work::Task};

/// Most pushes at the same time, those whose deploy is followed among them; more are told to come
/// again.
const MAX_PUSHES: usize = 64;
/// Most other requests at the same time.
const MAX_OTHERS: usize = 32;
/// Longest `Git-Protocol` header that is passed on.
const MAX_PROTOCOL: usize = 100;

/// What the routes share.
#[derive(Clone)]
pub struct Context {
    keg: Arc<Keg>,
    pushes: Arc<Semaphore>,
    others: Arc<Semaphore>,
}

impl Context {
    /// Routes for this Keg.
    pub fn new(keg: Arc<Keg>) -> Self {
        let semaphore = |permits| Arc::new(Semaphore::new(permits));
        Self { keg, pushes: semaphore(MAX_PUSHES), others: semaphore(MAX_OTHERS) }
    }

    /// The places for a task.
    fn places(&self, task: Task) -> Arc<Semaphore> {
        Arc::clone(if task == Task::Push { &self.pushes } else { &self.others })
    }
}

/// The routes below `/git/<app>`; `.git` after the app's name is allowed.
pub fn router(context: Context) -> Router {
    Router::new()
        .route("/git/{app}/info/refs", get(info_refs))
        .route("/git/{app}/git-receive-pack", post(receive_pack))
        .route("/git/{app}/git-upload-pack", post(upload_pack))
        // Bodies are streamed and counted here.
        .layer(DefaultBodyLimit::disable())
        .with_state(context)
}

/// Why a request is refused. Git shows the text as `remote:` lines.
#[derive(Debug, thiserror::Error)]
pub(crate) enum HttpError {
    /// The path names no app.
    #[error("{0}")]
    Name(String),
    /// Nothing was pushed to this app.
    #[error("there is no app {0} here; the first push makes it: git push keg main")]
    NoApp(AppName),
    /// Not a service of git's.
    #[error("this is a git repository; use git clone or git push with this address")]
    Service,
    /// The body is of another kind.
    #[error("the request is not what git sends ({0})")]
    MediaType(&'static str),
    /// The body is too large.
    #[error("the push has over {} GiB; push older commits first", MAX_BODY >> 30)]
    TooLarge,
    /// Too many requests at once.
    #[error("too many pushes and fetches at the same time; try again in a few seconds")]
    Busy,
    /// The child process could not do it.
    #[error("the request cannot be answered: {0}")]
    Child(String),
}

impl IntoResponse for HttpError {
    fn into_response(self) -> Response {
        let status = match &self {
            Self::Name(_) | Self::NoApp(_) => StatusCode::NOT_FOUND,
            Self::Service => StatusCode::BAD_REQUEST,
            Self::MediaType(_) => StatusCode::UNSUPPORTED_MEDIA_TYPE,
            Self::TooLarge => StatusCode::PAYLOAD_TOO_LARGE,
            Self::Busy => StatusCode::SERVICE_UNAVAILABLE,
            Self::Child(_) => StatusCode::INTERNAL_SERVER_ERROR,
        };
        let headers = [(header::CONTENT_TYPE, "text/plain; charset=utf-8")];
        (status, headers, format!("{self}\n")).into_response()
    }
}

/// What a child is started with.
pub(crate) struct Job {
    task: Task,
    app: AppName,
    gzip: bool,
    protocol: Option<String>,
}

type AppPath = Result<Path<String>, PathRejection>;

#[derive(serde::Deserialize)]
struct Service {
    service: Option<String>,
}

async fn info_refs(
    State(context): State<Context>,
    path: AppPath,
    Query(query): Query<Service>,
    headers: HeaderMap,
) -> Result<Response, HttpError> {
    let app = app_name(path)?;
    let (task, media_type) = match query.service.as_deref() {
        Some("git-receive-pack") => {
            (Task::AdvertisePush, "application/x-git-receive-pack-advertisement")
        }
        Some("git-upload-pack") => {
            (Task::AdvertiseFetch, "application/x-git-upload-pack-advertisement")
        }
        _ => return Err(HttpError::Service),
    };
    if task == Task::AdvertiseFetch {
        exists(&context, &app)?;
    }
    let job = Job { task, app, gzip: false, protocol: protocol(&headers) };
    child::answer(&context, job, Body::empty(), media_type).await
}

async fn receive_pack(
    State(context): State<Context>,
    path: AppPath,
    request: Request,
) -> Result<Response, HttpError> {
    let app = app_name(path)?;
    service(&context, Task::Push, app, request, "receive-pack").await
}

async fn upload_pack(
    State(context): State<Context>,
    path: AppPath,
    request: Request,
) -> Result<Response, HttpError> {
    let app = app_name(path)?;
    exists(&context, &app)?;
    service(&context, Task::Fetch, app, request, "upload-pack").await
}

/// Checks the headers of a request with a body, and answers it.
async fn service(
    context: &Context,
    task: Task,
    app: AppName,
    request: Request,
    name: &str,
) -> Result<Response, HttpError> {
    let headers = request.headers();
    let text = |name| headers.get(name).and_then(|value| value.to_str().ok()).unwrap_or_default();
    if text(header::CONTENT_TYPE) != format!("application/x-git-{name}-request") {
        return Err(HttpError::MediaType("Content-Type"));
    }
    let gzip = match text(header::CONTENT_ENCODING) {
        "" | "identity" => false,
        "gzip" | "x-gzip" => true,
        _ => return Err(HttpError::MediaType("Content-Encoding")),
    };
    if text(header::CONTENT_LENGTH).parse::<u64>().is_ok_and(|length| length > MAX_BODY) {
        return Err(HttpError::TooLarge);
    }
    let job = Job { task, app, gzip, protocol: protocol(headers) };
    let media_type = format!("application/x-git-{name}-result");
    child::answer(context, job, request.into_body(), &media_type).await
}

/// The app in the path.
fn app_name(path: AppPath) -> Result<AppName, HttpError> {
    let Path(name) = path.map_err(|_| HttpError::Name("the address is not valid UTF-8".into()))?;
    let name = name.strip_suffix(".git").unwrap_or(&name);
    name.parse().map_err(|error| HttpError::Name(format!("{error}")))
}

/// Whether anything was pushed to the app.
fn exists(context: &Context, app: &AppName) -> Result<(), HttpError> {
    let path = format!("/git/{app}").parse().map_err(|_| HttpError::NoApp(app.clone()))?;
    match context.keg.get(&path) {
        Ok(Some(_)) => Ok(()),
        Ok(None) => Err(HttpError::NoApp(app.clone())),
        Err(error) => Err(HttpError::Child(error.to_string())),
    }
}

/// The `Git-Protocol` header, if git could have sent it.
fn protocol(headers: &HeaderMap) -> Option<String> {
    let text = headers.get("git-protocol")?.to_str().ok()?;
    let plain = |byte: u8| byte.is_ascii_alphanumeric() || b"=:-._".contains(&byte);
    (text.len() <= MAX_PROTOCOL && text.bytes().all(plain)).then(|| text.to_owned())
}
