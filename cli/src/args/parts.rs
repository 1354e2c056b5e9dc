//! Arguments that several commands share, or that are many.

use std::{net::SocketAddr, path::PathBuf};

use clap::{Args, Subcommand};

use super::Output;

/// What every command that changes names takes.
#[derive(Args, Clone)]
pub struct Change {
    /// Why, for `keg log`
    #[arg(short, long)]
    pub message: Option<String>,
    /// Replace what is there
    #[arg(short, long)]
    pub force: bool,
    #[command(flatten)]
    pub output: Output,
}

/// What moving a path between Kegs takes.
#[derive(Args, Clone)]
pub struct Sync {
    /// The other Keg's address
    pub url: String,
    /// The path, here or there
    pub path: String,
    /// Under another name where it arrives
    #[arg(long, value_name = "PATH")]
    pub to: Option<String>,
    /// Replace what was changed where it arrives (its versions stay)
    #[arg(short, long)]
    pub force: bool,
    #[command(flatten)]
    pub output: Output,
}

/// What following pointers takes.
#[derive(Args, Clone)]
pub struct Update {
    /// Pointers, or directories with pointers below
    #[arg(required = true, value_name = "PATH")]
    pub paths: Vec<String>,
    /// Why, for `keg log`
    #[arg(short, long)]
    pub message: Option<String>,
    #[command(flatten)]
    pub output: Output,
}

#[derive(Args)]
pub struct Up {
    /// The Keg's directory, on a real file system
    #[arg(long, env = "KEG_HOME")]
    pub home: Option<PathBuf>,
    /// Where git, the registry, REST and the web UI listen
    #[arg(long, default_value = "127.0.0.1:7070")]
    pub listen: SocketAddr,
    /// Where apps are reached, as http://<app>.localhost:PORT
    #[arg(long, default_value = "127.0.0.1:8080")]
    pub router: SocketAddr,
    /// Leave apps running when told to stop
    #[arg(long)]
    pub keep: bool,
    #[command(flatten)]
    pub output: Output,
}

#[derive(Subcommand)]
pub enum Import {
    /// Debian packages with all they depend on, configured, as one root file system
    #[command(after_help = "Example:\n  keg import debian trixie python3 ca-certificates")]
    Debian {
        /// The suite, such as trixie
        suite: String,
        /// The packages
        #[arg(required = true)]
        packages: Vec<String>,
        /// What they stand on: `essential` (configured) or `none` (only what they depend on)
        #[arg(long, default_value = "essential", value_parser = ["essential", "none"])]
        base: String,
        /// Look for newer versions, even if this was imported before
        #[arg(long)]
        refresh: bool,
        #[command(flatten)]
        output: Output,
    },
    /// Python packages as wheels
    #[command(after_help = "Example:\n  keg import pypi flask gunicorn==23.0\n\
        \x20 keg import pypi -r requirements.txt")]
    Pypi {
        /// Requirements, as pip writes them
        #[arg(required_unless_present = "file")]
        requirements: Vec<String>,
        /// A requirements file
        #[arg(short = 'r', long = "requirement", value_name = "FILE")]
        file: Option<PathBuf>,
        /// For this suite's Python
        #[arg(long, default_value = "trixie")]
        suite: String,
        /// Look for newer versions, even if this was imported before
        #[arg(long)]
        refresh: bool,
        #[command(flatten)]
        output: Output,
    },
}

#[derive(Args)]
pub struct Service {
    /// Which
    #[arg(value_parser = ["front", "mayor", "router"])]
    pub name: String,
    /// The listening socket it was given
    #[arg(long)]
    pub fd: Option<i32>,
    /// Leave apps running when told to stop
    #[arg(long)]
    pub keep: bool,
}

#[derive(Args)]
pub struct Mount {
    /// The directory to mount at; with --rw the path
    pub first: Option<String>,
    /// A path, a path at a version, or a KID; with --rw the directory
    pub second: Option<String>,
    /// Make a working copy of PATH, that can be written, at DIR: `keg mount --rw PATH DIR`
    #[arg(long, requires = "second")]
    pub rw: bool,
    /// Stay in the foreground and show each name at its current value (the default without a path)
    #[arg(long, conflicts_with = "rw")]
    pub live: bool,
    #[command(flatten)]
    pub output: Output,
}
