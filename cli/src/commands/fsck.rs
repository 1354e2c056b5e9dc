//! `keg fsck`: every object, the log and every version, checked, and mended where that can be.

use std::io::{IsTerminal, Read, Write};
use std::time::Duration;

use keg::{
    Keg, Kid,
    fsck::Report,
    gc::{Source, SourceError},
};
use serde_json::json;

use crate::{args::Output, error::CommandError, find, output};

/// How long another Keg may take for one value.
const FETCH_TIMEOUT: Duration = Duration::from_secs(600);

/// Checks the Keg, running or not, and mends it if asked to; exit code 4 when something is (still)
/// damaged.
pub fn run(repair: bool, from: &[String], how: Output) -> Result<(), CommandError> {
    let keg = find::keg()?;
    let mut report = check(&keg, how)?;
    let mended = if repair && !report.is_clean() { Some(mend(&keg, &report, from)?) } else { None };
    if mended.is_some() {
        report = check(&keg, how)?;
    }
    if how.json {
        let mut document = json!(report);
        document["repair"] = json!(mended);
        output::json_line(&document)?;
    } else {
        tell(&report)?;
    }
    if report.is_clean() {
        return Ok(());
    }
    let count = report.damaged.len();
    let values = if count == 1 { "value" } else { "values" };
    let found = CommandError::damaged(format!("{count} damaged {values} found"));
    Err(found.hint(if repair {
        "push or import again what these lines name, or give a Keg that has it with --from URL"
    } else {
        "each line names a value and the paths that use it; `keg fsck --repair` mends what it can, \
         or push or import those again"
    }))
}

fn check(keg: &Keg, how: Output) -> Result<Report, CommandError> {
    let terminal = std::io::stderr().is_terminal() && !how.json;
    let mut helper = keg::spawn::command(&["work", "check"]);
    helper.env("KEG_HOME", keg.home());
    // One processor alone would only change between the two.
    let two = std::thread::available_parallelism().is_ok_and(|cores| cores.get() > 1);
    let helper = two.then_some(&mut helper);
    let report = keg::fsck::fsck_with(keg, helper, &mut |progress| {
        if terminal {
            let mut err = std::io::stderr().lock();
            let (objects, versions) = (progress.objects, progress.versions);
            let read = output::bytes(progress.bytes);
            write!(err, "\r{objects} objects, {read}, {versions} versions\x1b[K")
                .unwrap_or_default();
        }
    })?;
    if terminal {
        eprintln!();
    }
    Ok(report)
}

fn tell(report: &Report) -> Result<(), CommandError> {
    for damage in &report.damaged {
        let place = damage.kid.map(|kid| kid.to_string()).or_else(|| damage.place.clone());
        let used = if damage.paths.is_empty() { "nothing".into() } else { damage.paths.join(" ") };
        let place = place.unwrap_or_default();
        output::line(&format!("damaged: {place}: {} (used by {used})", damage.what))?;
    }
    output::line(&format!(
        "{}: {} objects, {}, {} versions checked in {:.1} s",
        if report.is_clean() { "clean" } else { "damaged" },
        report.objects,
        output::bytes(report.bytes),
        report.versions,
        report.seconds
    ))
}

fn mend(keg: &Keg, found: &Report, from: &[String]) -> Result<serde_json::Value, CommandError> {
    let peers: Vec<Peer> = from.iter().map(|url| Peer::new(url)).collect();
    let sources: Vec<&dyn Source> = peers.iter().map(|peer| peer as &dyn Source).collect();
    let report = keg::gc::repair(keg, found, &sources, &mut |object| {
        let kid = object.kid.short();
        match &object.from {
            Some(from) => eprintln!("mended {kid} from {from}"),
            None => eprintln!("not mended: {kid}: {}", object.failed.join("; ")),
        }
    })?;
    for path in &report.quarantined {
        eprintln!("the damaged bytes are in {}", path.display());
    }
    Ok(json!(report))
}

/// Another Keg, asked for files by their KIDs. Trees and commits come with `keg pull`.
struct Peer {
    url: String,
    agent: ureq::Agent,
}

impl Peer {
    fn new(url: &str) -> Self {
        let config = ureq::Agent::config_builder().timeout_global(Some(FETCH_TIMEOUT)).proxy(None);
        Self { url: url.trim_end_matches('/').to_owned(), agent: config.build().into() }
    }
}

impl Source for Peer {
    fn name(&self) -> String {
        self.url.clone()
    }

    fn fetch(&self, kid: &Kid) -> Result<Option<Box<dyn Read + '_>>, SourceError> {
        let answer = self.agent.get(format!("{}/-/kid/{kid}?raw", self.url)).call();
        match answer {
            Ok(answer) => Ok(Some(Box::new(answer.into_body().into_reader()))),
            Err(ureq::Error::StatusCode(404)) => Ok(None),
            Err(error) => Err(error.into()),
        }
    }
}
