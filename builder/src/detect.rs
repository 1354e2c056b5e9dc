//! Detection: which pack builds the app, and what it needs for that.

use std::{path::Path, time::Duration};

use keg::kid::Kid;
use sandbox::{Bind, Exit};

use crate::{
    app::{Config, Source},
    failure::{Failure, KEG_HINT, OrFail as _, Step},
    halt::{Halt, Wanted},
    packs::{Pack, Packs},
    plan,
    run::{Program, Said, run},
    stage::{self, Stage},
    workdir::read_foreign,
};

/// Longest detection.
const TIMEOUT: Duration = Duration::from_secs(30);
/// Exit code of a pack that does not take the app, by the Buildpack API.
const NOT_MINE: i32 = 100;
/// Where packs leave what they found: not shown to the build.
const RESULTS: &str = "/layers";

/// Runs `bin/detect` of each pack named until one does not pass the app on, all in one sandbox.
const SCRIPT: &str = r#"
for pack in "$@"; do
    export CNB_BUILDPACK_DIR="/cnb/buildpacks/$pack" CNB_BUILD_PLAN_PATH="/layers/$pack.toml"
    : > "$CNB_BUILD_PLAN_PATH"
    code=0
    "$CNB_BUILDPACK_DIR/bin/detect" > "/layers/$pack.log" 2>&1 || code=$?
    echo "$code" > "/layers/$pack.code"
    if [ "$code" != 100 ]; then break; fi
done
"#;

/// What detection finds.
#[derive(Debug)]
pub struct Detected {
    /// The pack.
    pub pack: Pack,
    /// What it needs.
    pub wanted: plan::Wanted,
}

/// Finds the pack for an app on the given base, a root file system with a shell.
///
/// # Errors
/// No pack takes the app, one refuses it, or the sandbox fails.
pub fn detect(
    stage: &Stage<'_>,
    base: &Kid,
    packs: &Packs,
    source: &Source,
    config: &Config,
    wanted: &mut Wanted<'_>,
) -> Result<Detected, Halt> {
    let step = Step::Detect;
    let objects = stage.keg.objects();
    let suite = config.suite.as_deref();
    let tree = stage::with_platform(objects, base, packs, suite, None).or_fail(step, KEG_HINT)?;
    let root = stage.mount_root(step, "detect-root", &tree)?;
    let results = stage.work.writable_dir("detect").or_fail(step, KEG_HINT)?;
    let mut args = vec!["/bin/sh".to_owned(), "-c".to_owned(), SCRIPT.to_owned()];
    args.push("detect".to_owned());
    args.extend(packs.order.iter().map(Pack::directory));
    let program = Program {
        step,
        what: "the detection",
        id: stage.container("detect"),
        root: &root,
        args,
        env: stage::platform_env(),
        binds: vec![
            Bind { source: stage.app.clone(), target: "/app".to_owned(), read_only: true },
            Bind { source: results.clone(), target: RESULTS.to_owned(), read_only: false },
        ],
        dir: stage.work.dir("detect-run").or_fail(step, KEG_HINT)?,
        timeout: TIMEOUT,
    };
    let mut said = Said::default();
    let exit = run(program, wanted, &mut |line| {
        said.hear(line);
    })?;
    if !exit.success() {
        return Err(said.failure(step, "the detection", &exit).into());
    }
    Ok(decide(&results, packs, source)?)
}

/// Reads what the packs left: the first that did not pass the app on decides.
fn decide(results: &Path, packs: &Packs, source: &Source) -> Result<Detected, Failure> {
    let step = Step::Detect;
    for pack in &packs.order {
        let read = |end: &str| {
            let file = results.join(format!("{}.{end}", pack.directory()));
            read_foreign(&file).or_fail(step, KEG_HINT).map(Option::unwrap_or_default)
        };
        match read("code")?.trim().parse::<i32>() {
            Ok(0) => {
                let hint = "this is a mistake in the buildpack, not in the app";
                let wanted = plan::parse(&pack.id, &read("toml")?).or_fail(step, hint)?;
                return Ok(Detected { pack: pack.clone(), wanted });
            }
            Ok(NOT_MINE) => {}
            code => {
                let mut said = Said::default();
                for line in read("log")?.lines() {
                    said.hear(line.as_bytes());
                }
                let exit = Exit { code: code.ok(), ..Exit::default() };
                let what = format!("bin/detect of {}", pack.id);
                return Err(said.failure(step, &what, &exit));
            }
        }
    }
    Err(nobody(packs, source))
}

/// No pack takes the app: says what each looks for.
fn nobody(packs: &Packs, source: &Source) -> Failure {
    let names: Vec<String> = packs
        .order
        .iter()
        .map(|pack| format!("{} ({})", pack.short_name(), pack.looks_for))
        .collect();
    let message = match source.commit.message.trim() {
        "" => "no buildpack takes this app".to_owned(),
        _ => format!("no buildpack takes this app (git commit {})", short_git(source)),
    };
    let hint =
        format!("at its root there must be what one of them looks for: {}", names.join("; "));
    Failure::new(Step::Detect, message, hint)
}

fn short_git(source: &Source) -> &str {
    const SHORT: usize = 10;
    let git = source.git().unwrap_or("unknown");
    git.get(..SHORT).unwrap_or(git)
}
