//! The routes, and the answers to them.

use std::sync::Arc;

use axum::{
    Router,
    body::Body,
    extract::{Request, State},
    http::{HeaderName, HeaderValue, Method, Response, StatusCode, header, request::Parts},
    middleware::{self, Next},
    routing::any,
};
use keg::{
    Keg, Kid,
    object::{Entry, Kind, Value},
};
use maud::html;

use crate::{
    ask::{Ask, Form},
    assets, data,
    error::Fault,
    format::sentence,
    live::{self, Followers},
    location::Location,
    overview,
    pages::{self, Page},
    put, raw, search, stream_text,
    view::{Found, View},
};

/// What pages may load: only what this server serves; nothing inline.
const POLICY: &str = "default-src 'none'; style-src 'self'; script-src 'self'; img-src 'self'; \
                      connect-src 'self'; form-action 'self'; base-uri 'none'; \
                      frame-ancestors 'none'";

struct Web {
    keg: Arc<Keg>,
    followers: Followers,
}

/// Every path of the namespace as a page, as data, as bytes or as a stream of changes; `/-/…` for
/// what is no path: search, values by KID, streams, the style sheet. Meant as the fallback of a
/// service's routes, behind [`crate::guard`]. `followers`: the most event streams at once; whoever
/// comes then is told so.
pub fn router(keg: Arc<Keg>, followers: usize) -> Router {
    let web = Arc::new(Web { keg, followers: Followers::new(followers) });
    Router::new()
        .route("/-/search", any(answer_search))
        .route("/-/kid/{*rest}", any(answer_kid))
        .route("/-/stream/{id}", any(answer_stream))
        .route("/-/{asset}", any(answer_asset))
        // Browsers ask for it where a document, unlike a page, cannot name its icon.
        .route("/favicon.ico", any(answer_icon))
        .fallback(answer_path)
        .layer(middleware::from_fn(harden))
        .with_state(web)
}

/// Adds the headers that every answer carries.
async fn harden(request: Request, next: Next) -> Response<Body> {
    let mut response = next.run(request).await;
    let headers = response.headers_mut();
    for (name, value) in [
        (header::CONTENT_SECURITY_POLICY, POLICY),
        (header::X_CONTENT_TYPE_OPTIONS, "nosniff"),
        (header::X_FRAME_OPTIONS, "DENY"),
        (header::REFERRER_POLICY, "same-origin"),
        (HeaderName::from_static("cross-origin-resource-policy"), "same-origin"),
        (HeaderName::from_static("cross-origin-opener-policy"), "same-origin"),
        (header::CACHE_CONTROL, "no-cache"),
    ] {
        headers.entry(name).or_insert(HeaderValue::from_static(value));
    }
    headers.append(header::VARY, HeaderValue::from_static("accept"));
    response
}

async fn answer_path(State(web): State<Arc<Web>>, request: Request) -> Response<Body> {
    let mut ask = Ask::read(request.uri(), request.headers());
    if !matches!(*request.method(), Method::GET | Method::HEAD | Method::POST) {
        // Whoever writes is a program; only forms are posted.
        ask.form = Form::Json;
    }
    let location = Location::parse(request.uri().path());
    let known = location.as_ref().ok().cloned();
    let result = match location {
        Ok(location) => web.path(location, request, &ask).await,
        Err(error) => Err(Fault::bad_request(sentence(error))),
    };
    match result {
        Ok(response) => response,
        Err(fault) => web.fault(&fault, known, &ask).await,
    }
}

impl Web {
    async fn path(
        &self,
        location: Location,
        request: Request,
        ask: &Ask,
    ) -> Result<Response<Body>, Fault> {
        match *request.method() {
            Method::GET | Method::HEAD => {}
            Method::PUT => {
                let (head, body) = request.into_parts();
                return put::put(&self.keg, &location, &head.headers, body).await;
            }
            Method::POST => {
                let (head, body) = request.into_parts();
                return put::post(&self.keg, &location, &head.headers, body).await;
            }
            _ => return Err(no_such_method()),
        }
        if ask.form == Form::Watch {
            let path = location
                .current()
                .name_path()
                .ok_or_else(|| Fault::bad_request("A watch needs a path in UTF-8."))?;
            let since = live::resume(request.headers(), ask.since.as_deref())?;
            return self.followers.changes(&self.keg, &path, since);
        }
        let mut view = View::current(Arc::clone(&self.keg))?;
        match ask.form {
            Form::Log => {
                let found = view.find(&location).await.ok();
                // A document's history is that of its whole name.
                let location = found.as_ref().map_or(location, |found| found.location.clone());
                Ok(page(&pages::history::page(&view, &location, None, ask).await?, StatusCode::OK))
            }
            Form::LogJson => {
                let found = view.find(&location).await.ok();
                let location = found.map_or(location, |found| found.location);
                let (json, next) = pages::history::data(&view, &location, ask).await?;
                let next = next.map(|next| format!("{}?log&json&after={next}", location.url()));
                Ok(json_response(&json, next.as_deref()))
            }
            Form::Html => Ok(page(&pages::of(&mut view, &location, ask).await?, StatusCode::OK)),
            Form::Json | Form::Raw | Form::Watch => match view.find(&location).await {
                Ok(found) => self.value(&view, &found, ask).await,
                Err(_) if pages::is_empty(&view, &location).await? => {
                    let json = overview::data(&view, &location).await?;
                    Ok(json_response(&json.unwrap_or_else(|| serde_json::json!([])), None))
                }
                Err(fault) => Err(fault),
            },
        }
    }

    /// A place as data or bytes.
    async fn value(&self, view: &View, found: &Found, ask: &Ask) -> Result<Response<Body>, Fault> {
        if ask.form == Form::Raw {
            let Value::File { kid, .. } = &found.entry.value else {
                return Err(Fault::bad_request("Only files have bytes.").hint("Use ?json here."));
            };
            return raw::serve(&self.keg, kid, &found.location.title(), ask);
        }
        if found.within.is_none()
            && let Some(json) = overview::data(view, &found.location).await?
        {
            return Ok(json_response(&json, None));
        }
        let data = data::of(view, found, ask.after.as_deref()).await?;
        let next = data.next.map(|next| format!("{next}&json"));
        let mut response = json_response(&data.json, next.as_deref());
        if let Some(etag) = &data.etag {
            if ask.has(etag) {
                *response.status_mut() = StatusCode::NOT_MODIFIED;
                *response.body_mut() = Body::empty();
            }
            insert(&mut response, header::ETAG, etag);
        }
        Ok(response)
    }

    /// What is told when a request cannot be answered, in the form that was asked for.
    async fn fault(&self, fault: &Fault, location: Option<Location>, ask: &Ask) -> Response<Body> {
        if ask.form != Form::Html && ask.form != Form::Log {
            let mut response = json_response(&fault.json(), None);
            *response.status_mut() = fault.status;
            return response;
        }
        let ways = match (&location, View::current(Arc::clone(&self.keg))) {
            (Some(location), Ok(mut view)) if fault.status == StatusCode::NOT_FOUND => {
                pages::missing::ways(&mut view, location).await
            }
            _ => html! {},
        };
        let query = ask.query.clone().unwrap_or_default();
        page(&pages::missing::page(fault, location, ways, query), fault.status)
    }
}

async fn answer_search(State(web): State<Arc<Web>>, request: Request) -> Response<Body> {
    let (head, _) = request.into_parts();
    let ask = Ask::read(&head.uri, &head.headers);
    let query = ask.query.clone().unwrap_or_default();
    let hits = async {
        reading(&head)?;
        search::find(&View::current(Arc::clone(&web.keg))?, &query).await
    };
    match hits.await {
        Err(fault) => web.fault(&fault, None, &ask).await,
        Ok(hits) if ask.wants_json() => json_response(&search::data(&query, &hits), None),
        Ok(hits) => match hits.as_slice() {
            [only] => {
                let mut response = Response::new(Body::empty());
                *response.status_mut() = StatusCode::SEE_OTHER;
                insert(&mut response, header::LOCATION, &only.url);
                response
            }
            [] if !query.trim().is_empty() => {
                page(&search::page(&query, &hits), StatusCode::NOT_FOUND)
            }
            _ => page(&search::page(&query, &hits), StatusCode::OK),
        },
    }
}

/// `/-/kid/K-…` and `/-/kid/K-…/path`: a value, and what is below it.
async fn answer_kid(State(web): State<Arc<Web>>, request: Request) -> Response<Body> {
    let (head, _) = request.into_parts();
    let ask = Ask::read(&head.uri, &head.headers);
    let result = async {
        reading(&head)?;
        let location = Location::parse(head.uri.path())
            .map_err(|error| Fault::bad_request(sentence(error)))?;
        let view = View::current(Arc::clone(&web.keg))?;
        let found = value_at(&view, &location).await?;
        if ask.form != Form::Html {
            return web.value(&view, &found, &ask).await;
        }
        let mut shown = pages::value(&view, &found, &ask).await?;
        (shown.location, shown.forms, shown.watch) = (None, false, None);
        Ok(page(&shown, StatusCode::OK))
    };
    match result.await {
        Ok(response) => response,
        Err(fault) => web.fault(&fault, None, &ask).await,
    }
}

/// The value that `/-/kid/K-…/path` names.
async fn value_at(view: &View, location: &Location) -> Result<Found, Fault> {
    let names = location.names();
    let text = names.get(2).map(|name| name.to_string_lossy()).unwrap_or_default();
    let prefix = text.parse().map_err(|error| Fault::not_found(sentence(error)))?;
    let kid: Kid = view.keg().resolve(&prefix).map_err(|e| crate::view::resolve_fault(&e))?;
    let failed = |error| crate::view::store_fault(&kid, &error);
    let mut entry = match view.kind(&kid)? {
        Some(Kind::Tree) => view.keg().objects().tree_entry(&kid).map_err(failed)?,
        Some(Kind::Commit) => Entry::commit(kid),
        _ => Entry::file(kid, view.keg().objects().blob_size(&kid).map_err(failed)?),
    };
    let mut within = None;
    for at in 3..=names.len() {
        if let Value::Commit { kid } = &entry.value {
            within = Some((*kid, Arc::new(view.commit(kid).await?), at));
        }
        let Some(name) = names.get(at) else { break };
        let missing = || Fault::nothing_at(location.display());
        let directory = view.directory(&entry).await?.ok_or_else(missing)?;
        entry = view.name_in(&directory, name.as_bytes()).await?.ok_or_else(missing)?;
    }
    Ok(Found { location: location.clone(), entry, within, version: None })
}

/// `/-/stream/<id>`: live lines; `?raw`: what there is; `?json`: its size and whether it ended.
async fn answer_stream(State(web): State<Arc<Web>>, request: Request) -> Response<Body> {
    let (head, _) = request.into_parts();
    let ask = Ask::read(&head.uri, &head.headers);
    let result = async {
        reading(&head)?;
        let id = head.uri.path().rsplit('/').next().unwrap_or_default().to_owned();
        if ask.form == Form::Raw {
            let tail = stream_text::tail(&web.keg, &id, pages::log::SHOWN * 16);
            let tail = tail.ok_or_else(|| Fault::not_found(format!("There is no stream {id}.")))?;
            return Ok(raw::text(Body::from(tail.text)));
        }
        if ask.form == Form::Json {
            let tail = stream_text::tail(&web.keg, &id, 0);
            let tail = tail.ok_or_else(|| Fault::not_found(format!("There is no stream {id}.")))?;
            let json = serde_json::json!({ "stream": id, "size": tail.end, "sealed": tail.sealed });
            return Ok(json_response(&json, None));
        }
        let from = live::resume(&head.headers, ask.from.as_deref())?;
        web.followers.lines(&web.keg, &id, from.unwrap_or(0))
    };
    match result.await {
        Ok(response) => response,
        Err(fault) => web.fault(&fault, None, &ask).await,
    }
}

async fn answer_asset(State(web): State<Arc<Web>>, request: Request) -> Response<Body> {
    let (head, _) = request.into_parts();
    let ask = Ask::read(&head.uri, &head.headers);
    let name = head.uri.path().trim_start_matches("/-/");
    match (reading(&head), assets::named(name)) {
        (Ok(()), Some(asset)) => asset.serve(&ask, head.uri.query()),
        (Err(fault), _) => web.fault(&fault, None, &ask).await,
        (Ok(()), None) => web.fault(&Fault::not_found("There is no such file."), None, &ask).await,
    }
}

async fn answer_icon(State(web): State<Arc<Web>>, request: Request) -> Response<Body> {
    let (head, _) = request.into_parts();
    let ask = Ask::read(&head.uri, &head.headers);
    match reading(&head) {
        Ok(()) => assets::ICON.serve(&ask, None),
        Err(fault) => web.fault(&fault, None, &ask).await,
    }
}

fn reading(head: &Parts) -> Result<(), Fault> {
    match head.method {
        Method::GET | Method::HEAD => Ok(()),
        _ => Err(no_such_method()),
    }
}

fn no_such_method() -> Fault {
    Fault::new(
        StatusCode::METHOD_NOT_ALLOWED,
        "Here one can GET and HEAD, and PUT documents of apps.",
    )
}

fn page(page: &Page, status: StatusCode) -> Response<Body> {
    let mut response = Response::new(Body::from(pages::document(page).into_string()));
    *response.status_mut() = status;
    insert(&mut response, header::CONTENT_TYPE, "text/html; charset=utf-8");
    response
}

fn json_response(json: &serde_json::Value, next: Option<&str>) -> Response<Body> {
    let mut response = Response::new(Body::from(format!("{json}\n")));
    insert(&mut response, header::CONTENT_TYPE, "application/json");
    if let Some(next) = next {
        insert(&mut response, header::LINK, &format!("<{next}>; rel=\"next\""));
    }
    response
}

/// Sets a header; a value that cannot be one (never made here) is left out.
fn insert(response: &mut Response<Body>, name: HeaderName, value: &str) {
    if let Ok(value) = HeaderValue::from_str(value) {
        response.headers_mut().insert(name, value);
    }
}
