//! Pointers: where they lead, and what is here of it.
//!
//! Pages show what is here. They fetch nothing: no request may make this Keg ask another machine.

use axum::http::StatusCode;
use keg::{
    object::{Entry, Value},
    pointer,
    store::Objects,
};
use maud::{Markup, html};

use super::{Page, directory, parts};
use crate::{
    ask::Ask,
    error::Fault,
    view::{Found, View, store_fault},
};

/// The page of a pointer: where it leads, and, where it is a directory, what is in it.
pub async fn page(view: &View, found: &Found, ask: &Ask) -> Result<Page, Fault> {
    let Some(directory) = view.directory(&found.entry).await? else {
        return Ok(directory::special(found));
    };
    let title = found.location.display();
    let content = html! {
        h1 { span.path { (title) } }
        p.lead { "A pointer." }
        (parts::facts(&facts(&found.entry)))
        (directory::listing(view, &found.location, &directory, ask).await?)
    };
    Ok(Page::new(found, title, content).watching(view.seq, found.location.url()))
}

/// Where an entry leads; nothing if it is no pointer.
pub fn facts(entry: &Entry) -> Vec<(&'static str, Markup)> {
    let Value::Pointer { source, reference, kid } = &entry.value else { return Vec::new() };
    vec![
        ("Source", html! { code { (source) } }),
        ("Follows", html! { code { (reference) } }),
        ("Resolved to", parts::kid_or_dash(kid.map(|k| k.to_string()).as_deref())),
    ]
}

/// For a pointer to a file that is here, that file; any other entry as it is.
pub fn file_of(objects: &dyn Objects, entry: Entry) -> Result<Entry, Fault> {
    let Value::Pointer { kid: Some(kid), .. } = &entry.value else { return Ok(entry) };
    let seen = pointer::seen(objects, &entry).map_err(|e| store_fault(kid, &e))?.into_owned();
    Ok(if matches!(seen.value, Value::File { .. }) { seen } else { entry })
}

/// Why there is nothing below an entry, if it is a pointer whose value is not here.
pub fn away(objects: &dyn Objects, entry: &Entry) -> Option<Fault> {
    let absent = pointer::is_absent(objects, entry).unwrap_or(false);
    let Value::Pointer { source, reference, .. } = &entry.value else { return None };
    if !absent {
        return None;
    }
    let said = format!("It is below a pointer to {source} ({reference}) that is not here.");
    let fault = Fault::new(StatusCode::SERVICE_UNAVAILABLE, said);
    Some(fault.hint("`keg ls` of the path on this machine fetches it; `keg update` follows it."))
}
