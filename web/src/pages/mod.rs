//! The pages: which one a place has, and what is on each.

mod app;
mod build;
mod builds;
mod code;
mod directory;
pub mod history;
mod home;
mod index;
mod layout;
pub mod log;
mod machine;
pub mod missing;
mod object;
mod package;
mod packages;
pub mod parts;
pub mod pointers;
mod process;
mod release;
mod source;

pub use layout::{Page, document};

use keg::object::Value;

use crate::{
    ask::Ask,
    error::Fault,
    location::Location,
    overview,
    view::{Found, View},
};

/// Directories that appear with their first entry; until then they are empty, not missing.
const SECTIONS: &[&str] =
    &["apps", "builds", "deploys", "machines", "oci-images", "packages", "source", "users"];

/// Whether a place that has no value is an empty directory all the same: a section, or an app that
/// is known from elsewhere.
///
/// # Errors
/// A failure inside.
pub async fn is_empty(view: &View, location: &Location) -> Result<bool, Fault> {
    if !view.is_of(location) {
        return Ok(false);
    }
    Ok(match location.texts().as_deref() {
        Some([section]) => SECTIONS.contains(section),
        Some(["apps", name]) => overview::app_names(view).await?.contains(*name),
        _ => false,
    })
}

/// The page of a place.
///
/// # Errors
/// The place is not there, or a failure inside.
pub async fn of(view: &mut View, location: &Location, ask: &Ask) -> Result<Page, Fault> {
    let found = match view.find(location).await {
        Ok(found) => found,
        // An app may have no configuration, and so no directory, and still have a page.
        Err(fault) if !view.is_of(location) => return Err(fault),
        Err(fault) => match location.texts().as_deref() {
            Some(["apps", name]) => return app::page(view, None, location, name, ask).await,
            Some([section]) if SECTIONS.contains(section) => {
                return directory::empty(view, location, section, ask).await;
            }
            _ => return Err(fault),
        },
    };
    let location = found.location.clone();
    let names = location.texts().unwrap_or_default();
    match names.as_slice() {
        [] if location.names().is_empty() => home::page(view, &found, ask).await,
        ["apps"] => index::apps(view, &found, ask).await,
        ["apps", name] => app::page(view, Some(&found), &location, name, ask).await,
        ["builds"] => builds::page(view, &found, ask).await,
        ["builds", key] if is_key(key) => build::page(view, &found, key).await,
        ["builds", key, "log"] if is_key(key) => build::log_page(view, &found, key).await,
        ["deploys"] => index::deploys(view, &found).await,
        ["machines"] => index::machines(view, &found).await,
        ["machines", name] => machine::page(view, &found, name).await,
        ["machines", name, "processes"] => machine::processes(view, &found, name).await,
        ["machines", name, "processes", id] => process::page(view, &found, name, id).await,
        ["packages"] => packages::page(view, &found).await,
        ["packages", "locks" | "requests"] => packages::all(view, &found).await,
        ["packages", "locks", key] => package::lock(view, &found, key).await,
        ["packages", "debian", _, "pool", name] | ["packages", "pypi", "wheels", name] => {
            package::page(view, &found, name, ask).await
        }
        ["oci-images", app] => release::page(view, &found, app, ask).await,
        ["source", app, ..] if found.within.is_some() => source::page(view, &found, app, ask).await,
        _ => value(view, &found, ask).await,
    }
}

/// Whether a name is a build's key, not `layers` or `packs`.
fn is_key(name: &str) -> bool {
    name.len() == 16 && name.bytes().all(|byte| byte.is_ascii_hexdigit())
}

/// The page of a value without a page of its own: a directory, a document, a file.
///
/// # Errors
/// A failure inside.
pub async fn value(view: &View, found: &Found, ask: &Ask) -> Result<Page, Fault> {
    match &found.entry.value {
        Value::Tree { .. } | Value::Commit { .. } => directory::page(view, found, ask).await,
        Value::File { .. } => match view.entry_json(&found.entry).await? {
            Some(json) if found.location.title().ends_with(".json") => {
                Ok(object::page(view, found, &json))
            }
            _ => code::page(view, found).await,
        },
        Value::Pointer { .. } => pointers::page(view, found, ask).await,
        _ => Ok(directory::special(found)),
    }
}
