//! Entry of the work processes: one piece of work, then exit.

use std::path::Path;

use crate::{error::CommandError, find};

/// Runs one piece of work and gives its exit code.
pub fn run(args: &[String]) -> Result<i32, CommandError> {
    let unknown = || CommandError::cli("`keg work` is started by the Keg's services");
    let (what, rest) = args.split_first().ok_or_else(unknown)?;
    match (what.as_str(), rest) {
        ("receive", rest) => Ok(receiver::work_receive(rest)),
        ("import", [key]) => {
            let keg = find::keg()?;
            let _row = keg::process::register(&keg, "work/import", key)?;
            Ok(importer::work_import(&keg, key))
        }
        ("build", [app]) => {
            let keg = find::keg()?;
            let _row = keg::process::register(&keg, "work/build", app)?;
            Ok(builder::work_build(&keg, &app.parse()?))
        }
        ("egress", [app]) => {
            let keg = find::keg()?;
            let _row = keg::process::register(&keg, "work/egress", app)?;
            Ok(mayor::work_egress())
        }
        ("check", []) => check(find::keg()?.home()),
        ("sync", rest) => Ok(peer::work(&*find::keg()?, rest)),
        ("layer", rest) => Ok(registry::work_layer(&*find::keg()?, rest)),
        _ => Err(unknown()),
    }
}

/// Half of `keg fsck`: what to read comes in, what was found goes out.
fn check(home: &Path) -> Result<i32, CommandError> {
    let told = &mut std::io::stdout().lock();
    keg::store::work_check(home, &mut std::io::stdin().lock(), told)?;
    Ok(0)
}
