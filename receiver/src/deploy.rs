//! The deploy of a push, for the person who waits for it.

use keg::{Keg, Kid, path::AppName};

use crate::{
    answer::Answer,
    follow::{self, FollowError, Outcome},
    request::Request,
    settle::{self, Failure},
};

/// Follows the deploy and settles the refs; why main is not deployed.
pub(crate) fn deploy(
    keg: &Keg,
    app: &AppName,
    request: &Request,
    source: &Kid,
    answer: &mut Answer<'_>,
) -> Result<(), String> {
    if request.no_wait {
        answer.say(&format!("       not waiting for the deploy; see keg log /deploys/{app}.json"));
        return Ok(());
    }
    let outcome = match watched(keg, app, source, answer) {
        Ok(outcome) => outcome,
        Err(error) => {
            return Err(format!("stored as {}, but not watched: {error}", source.short()));
        }
    };
    let failed = matches!(outcome, Outcome::Failed(..));
    if matches!(outcome, Outcome::Live(_) | Outcome::Failed(..) | Outcome::Superseded)
        && let Err(error) = settle::settle(keg, app, source, failed)
    {
        answer.say(&format!(" !     {error}"));
    }
    told(keg, app, source, outcome, answer)
}

/// Runs the watching.
fn watched(
    keg: &Keg,
    app: &AppName,
    source: &Kid,
    answer: &mut Answer<'_>,
) -> Result<Outcome, FollowError> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
    let runtime = runtime.map_err(FollowError::Runtime)?;
    runtime.block_on(follow::follow(keg, app, source, answer))
}

/// Says how a deploy ended, in full to the person and in one line to git.
fn told(
    keg: &Keg,
    app: &AppName,
    source: &Kid,
    outcome: Outcome,
    answer: &mut Answer<'_>,
) -> Result<(), String> {
    let kept = format!("the source is kept as {}", source.short());
    match outcome {
        Outcome::Live(running) => {
            let release = keg.objects().commit(&running.release).ok();
            let image = release.and_then(|commit| {
                commit.extra.get("image")?.as_str()?.parse::<Kid>().ok().map(|kid| kid.short())
            });
            answer.say(&format!("=====> live at {}", running.url));
            answer.say(&format!(
                "       source {}  image {}  release {}",
                source.short(),
                image.unwrap_or_else(|| "unknown".to_owned()),
                running.release.short()
            ));
            Ok(())
        }
        Outcome::Failed(Failure { step, message, hint }, shown) => {
            let started = step == "start";
            let what =
                if started { "start failed".to_owned() } else { format!("build failed: {step}") };
            // A build's log ends with the reason; that of a start is the mayor's.
            if started || !shown {
                answer.say(&format!(" !     {what}: {message}"));
                if let Some(hint) = hint {
                    answer.say(&format!("       {hint}"));
                }
            }
            let before = match serves(keg, app) {
                true => "; what ran before still runs",
                false => "",
            };
            answer.say(&format!("       {kept}{before}; push again to retry"));
            Err(format!("{what}: {message}"))
        }
        Outcome::Superseded => {
            answer.say("       a newer push took over; this one was not waited for");
            Ok(())
        }
        Outcome::NoBuilder => {
            answer.say(
                " !     no builder answered: is keg up running? It builds this source by itself",
            );
            Err(format!("not deployed: no builder answered; {kept}; start keg up"))
        }
        Outcome::NoMayor(release) => {
            let release = release.short();
            answer.say(&format!(
                " !     release {release} is built, but nothing started it: is keg up running?"
            ));
            Err(format!("release {release} is built, but nothing started it; start keg up"))
        }
        Outcome::TooLong => Err(format!(
            "the deploy takes too long to watch; see keg log /deploys/{app}.json; {kept}"
        )),
    }
}

/// Whether any machine serves a release of the app. Only for what is said, so errors mean no.
fn serves(keg: &Keg, app: &AppName) -> bool {
    let Ok(machines) = "/machines".parse() else { return false };
    let machines = keg.list(&machines).unwrap_or_default();
    machines.iter().any(|(machine, _)| {
        let path = format!("/machines/{machine}/apps/{app}.json").parse();
        let document = path.ok().and_then(|path| keg.get_json(&path).ok().flatten());
        document.is_some_and(|document| !document["live"].is_null())
    })
}
