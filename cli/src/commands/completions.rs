//! `keg completions`: completions for the user's shell.

use std::io::{self, Write};

use clap::CommandFactory;

use crate::{args::Cli, error::CommandError};

/// Prints the script a shell loads.
pub fn run(shell: clap_complete::Shell) -> Result<(), CommandError> {
    let mut script = Vec::new();
    clap_complete::generate(shell, &mut Cli::command(), "keg", &mut script);
    io::stdout().write_all(&script)?;
    Ok(())
}
