//! The `keg` binary: commands, reports, and the entry of every service process.

mod args;
mod commands;
mod error;
mod find;
mod front;
mod output;
mod progress;
mod service;
mod up;
mod work;

use clap::Parser;

use crate::{
    args::{Cli, Command},
    error::CommandError,
};

fn main() {
    // Written to a closed pipe we want an error, as Rust has it; children get the default back.
    let cli = match Cli::try_parse() {
        Ok(cli) => cli,
        Err(error) if error.use_stderr() && std::env::args_os().any(|arg| arg == "--json") => {
            std::process::exit(CommandError::usage(&error).report(true));
        }
        Err(error) => error.exit(),
    };
    let json = cli.command.wants_json();
    let code = match run(cli.command) {
        Ok(code) => code,
        Err(error) => error.report(json),
    };
    std::process::exit(code);
}

fn run(command: Command) -> Result<i32, CommandError> {
    match command {
        Command::Sandbox { args } => return Ok(sandbox::main(&args)),
        Command::Work { args } => return work::run(&args),
        Command::Service(args) => service::run(args)?,
        Command::Up(args) => up::up(args)?,
        Command::Status(output) => return commands::status::run(output),
        Command::Ps { all, output } => commands::ps::run(all, output)?,
        Command::Apps(output) => commands::apps::run(output)?,
        Command::Logs { app, follow, lines, output } => {
            commands::logs::run(&app.parse()?, follow, lines, output)?;
        }
        Command::Ls { path, output } => commands::ls::run(&path, output)?,
        Command::Cat { path, output } => commands::cat::run(&path, output)?,
        Command::Log { path, limit, output } => commands::log::run(&path, limit, output)?,
        Command::Diff { a, b, output } => commands::diff::run(&a, &b, output)?,
        Command::Watch { path, since, count, output } => {
            commands::watch::run(&path, since, count, output)?;
        }
        Command::Import(args) => commands::import::run(args)?,
        Command::Why { target, output } => commands::why::run(&target, output)?,
        Command::Rollback { app, release, output } => {
            commands::rollback::run(&app.parse()?, release.as_deref(), output)?;
        }
        Command::Cp { from, to, change } => commands::names::cp(&from, &to, &change)?,
        Command::Mv { from, to, change } => commands::names::mv(&from, &to, &change)?,
        Command::Rm { path, change } => commands::names::rm(&path, &change)?,
        Command::Revert { path, change } => commands::names::revert(&path, &change)?,
        Command::Put { path, from, change } => commands::files::put(&path, &from, &change)?,
        Command::Commit { dir, path, change } => commands::files::commit(&dir, &path, &change)?,
        Command::Checkout { path, dir, output } => {
            commands::files::check_out(&path, &dir, output)?;
        }
        Command::Point { path, source, change } => {
            commands::point::point(&path, &source, &change)?;
        }
        Command::Update(args) => commands::point::update(&args)?,
        Command::Pull(args) => commands::sync::pull(&args)?,
        Command::Push(args) => commands::sync::push(&args)?,
        Command::Clone { url, dir, output } => commands::sync::clone(&url, &dir, output)?,
        Command::Pack { all, level, output } => commands::pack::run(all, level, output)?,
        Command::Mount(args) => commands::mount::mount(&args)?,
        Command::Unmount { dirs, discard, output } => {
            for dir in dirs {
                commands::mount::unmount(&dir, discard, output)?;
            }
        }
        Command::Fsck { repair, from, output } => commands::fsck::run(repair, &from, output)?,
        Command::Gc { dry_run, output } => commands::gc::collect(dry_run, output)?,
        Command::Du { path, output } => commands::gc::du(&path, output)?,
        Command::Completions { shell } => commands::completions::run(shell)?,
    }
    Ok(0)
}
