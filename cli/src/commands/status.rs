//! `keg status`: is a Keg running, and how are its services and apps.

use serde_json::json;

use crate::{args::Output, commands::ps, error::CommandError, find, output};

/// Prints the state; exit code 3 when nothing runs.
pub fn run(how: Output) -> Result<i32, CommandError> {
    let home = find::home()?;
    let Some(running) = find::running(&home)? else {
        if how.json {
            output::json_line(&json!({"running": false, "home": home}))?;
        } else {
            output::line(&format!("No Keg is running in {}", home.display()))?;
            output::line(&format!("Start it with: keg up --home {}", home.display()))?;
        }
        return Ok(3);
    };
    let keg = find::keg()?;
    let rows = keg::process::rows(&keg)?;
    let (services, apps): (Vec<_>, Vec<_>) = rows.into_iter().partition(|row| row["app"].is_null());
    let head = keg.head()?;
    if how.json {
        let mut document = json!(running);
        document["running"] = true.into();
        document["version"] = json!({"seq": head.seq, "commit": head.commit});
        document["services"] = json!(services);
        document["processes"] = json!(apps);
        output::json_line(&document)?;
        return Ok(0);
    }
    output::line(&format!("Keg is up at {} (home {})", running.url, running.home.display()))?;
    output::line(&format!(
        "Version {} {}, since {}",
        head.seq,
        head.commit.short(),
        running.started
    ))?;
    output::line("")?;
    ps::print(&services)?;
    if !apps.is_empty() {
        output::line("")?;
        ps::print(&apps)?;
    }
    Ok(0)
}
