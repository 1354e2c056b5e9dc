//! `keg apps`: every app, what serves it, and how its newest deploy went.

use keg::{Keg, path::AppName};
use serde_json::{Value as Json, json};

use crate::{args::Output, error::CommandError, find, output};

/// Prints the apps.
pub fn run(how: Output) -> Result<(), CommandError> {
    let keg = find::keg()?;
    let mut apps = Vec::new();
    for (name, _) in keg.list(&"/source".parse()?)? {
        if let Ok(app) = name.parse::<AppName>() {
            apps.push(describe(&keg, &app)?);
        }
    }
    if how.json {
        return output::json_line(&Json::Array(apps));
    }
    if apps.is_empty() {
        return output::line("No apps yet. Push one: git push keg main");
    }
    let rows: Vec<Vec<String>> = apps
        .iter()
        .map(|app| {
            vec![
                output::field(app, "app"),
                output::field(app, "state"),
                output::short(app, "live"),
                output::short(app, "source"),
                output::field(app, "url"),
            ]
        })
        .collect();
    output::table(&["APP", "STATE", "RELEASE", "SOURCE", "URL"], &rows)
}

/// One app as a document: `state` is the machine's for a built release, the deploy's before.
fn describe(keg: &Keg, app: &AppName) -> Result<Json, CommandError> {
    let machine = keg::machine::name();
    let deploy = keg.get_json(&format!("/deploys/{app}.json").parse()?)?.unwrap_or_default();
    let here =
        keg.get_json(&format!("/machines/{machine}/apps/{app}.json").parse()?)?.unwrap_or_default();
    let source = keg.get(&format!("/source/{app}").parse()?)?.and_then(|entry| entry.kid());
    let state = match deploy["state"].as_str() {
        Some("built") => here["state"].clone(),
        Some(other) => json!(other),
        None => json!("pushed"),
    };
    let error = [&here["error"], &deploy["error"]].into_iter().find(|error| !error.is_null());
    Ok(json!({
        "app": app.as_str(),
        "state": state,
        "live": here["live"],
        "release": deploy["release"],
        "source": source,
        "url": here["url"],
        "error": error,
    }))
}
