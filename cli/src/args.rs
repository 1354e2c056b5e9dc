//! The command line: every command, its arguments, and an example of each.

mod parts;

use std::path::PathBuf;

use clap::{Args, Parser, Subcommand};
use keg::pack::PackOptions;

pub use parts::{Change, Import, Mount, Service, Sync, Up, Update};

/// Push source, get a running process you can explain.
#[derive(Parser)]
#[command(name = "keg", version, propagate_version = true, max_term_width = 100)]
#[command(after_help = "Commands find the running Keg through $KEG_URL or $KEG_HOME.\n\
Exit codes: 0 done, 1 not possible, 2 wrong usage, 3 no Keg or wrong set-up, 4 damage found, \
5 another Keg or repository is away, 70 internal error; docs/errors.md has all messages and what to do.")]
pub struct Cli {
    #[command(subcommand)]
    pub command: Command,
}

/// Printing as JSON, for every command that prints.
#[derive(Args, Clone, Copy)]
pub struct Output {
    /// Print JSON: one document, or one per line for streams
    #[arg(long)]
    pub json: bool,
}

#[derive(Subcommand)]
pub enum Command {
    /// Start a Keg and everything in it, and stay in the foreground
    #[command(after_help = "Example:\n  keg up --home ~/keg\n\
        \x20 keg up --listen 127.0.0.1:7070 --router 127.0.0.1:8080 --keep")]
    Up(Up),
    /// Show whether a Keg is running, and its services and apps
    #[command(after_help = "Example:\n  keg status --json")]
    Status(Output),
    /// List the running processes
    #[command(after_help = "Example:\n  keg ps\n  keg ps --all        services and work as well")]
    Ps {
        /// Services and work of the Keg itself, too
        #[arg(long)]
        all: bool,
        #[command(flatten)]
        output: Output,
    },
    /// List the apps
    #[command(after_help = "Example:\n  keg apps")]
    Apps(Output),
    /// Show what an app prints
    #[command(after_help = "Example:\n  keg logs blog -f")]
    Logs {
        /// The app
        app: String,
        /// Go on printing as lines come
        #[arg(short, long)]
        follow: bool,
        /// Lines of the past to show
        #[arg(short = 'n', long, default_value_t = 200)]
        lines: usize,
        #[command(flatten)]
        output: Output,
    },
    /// List a directory of the namespace
    #[command(after_help = "Example:\n  keg ls /source/blog\n  keg ls /oci-images/blog@K-12ab34cd")]
    Ls {
        /// A path, with `@K-…` or `@17` a path at a version
        #[arg(default_value = "/")]
        path: String,
        #[command(flatten)]
        output: Output,
    },
    /// Print a file of the namespace
    #[command(after_help = "Example:\n  keg cat /source/blog/app.py\n  keg cat K-12ab34cd")]
    Cat {
        /// A path, a path at a version, or a KID
        path: String,
        #[command(flatten)]
        output: Output,
    },
    /// Show the versions in which a path changed
    #[command(after_help = "Example:\n  keg log /source/blog\n  keg log /source/blog@17")]
    Log {
        /// A path, with `@K-…` or `@17` the versions up to that one
        path: String,
        /// At most so many versions
        #[arg(short = 'n', long, default_value_t = 50)]
        limit: usize,
        #[command(flatten)]
        output: Output,
    },
    /// Compare two values: trees by names, text by lines
    #[command(after_help = "Example:\n  keg diff /source/blog@K-12ab34cd /source/blog")]
    Diff {
        /// A path, a path at a version, or a KID
        a: String,
        /// The other one
        b: String,
        #[command(flatten)]
        output: Output,
    },
    /// Print each change below a path as it happens
    #[command(after_help = "Example:\n  keg watch /oci-images --json\n  keg watch / --since 120")]
    Watch {
        /// A path
        path: String,
        /// Start after this sequence number instead of now
        #[arg(long)]
        since: Option<u64>,
        /// Stop after so many changes
        #[arg(long)]
        count: Option<usize>,
        #[command(flatten)]
        output: Output,
    },
    /// Bring packages into the Keg
    #[command(
        subcommand,
        after_help = "Example:\n  keg import debian trixie python3\n\
        \x20 keg import pypi -r requirements.txt"
    )]
    Import(Import),
    /// Say which source, build, image and release a process comes from
    #[command(after_help = "Example:\n  keg why 4242\n\
        \x20 keg why http://blog.localhost:8080\n  keg why K-12ab34cd --json")]
    Why {
        /// A PID (on the host or in the container), a KID, a URL, an app, or a path of a pointer
        target: String,
        #[command(flatten)]
        output: Output,
    },
    /// Put an earlier release of an app back in service
    #[command(
        after_help = "Example:\n  keg rollback blog      the release before the current one\n\
        \x20 keg rollback blog K-12ab34cd"
    )]
    Rollback {
        /// The app
        app: String,
        /// The release (default: the one before the current one)
        release: Option<String>,
        #[command(flatten)]
        output: Output,
    },
    /// Set a path to a value that is there already
    #[command(after_help = "Example:\n  keg cp /oci-images/blog /oci-images/staging\n\
        \x20 keg cp /apps/blog/config.json@K-12ab34cd /apps/other/config.json")]
    Cp {
        /// A path, a path at a version, or a KID
        from: String,
        /// The path to set
        to: String,
        #[command(flatten)]
        change: Change,
    },
    /// Move a path
    #[command(after_help = "Example:\n  keg mv /notes/a.txt /notes/b.txt")]
    Mv {
        /// The path that goes
        from: String,
        /// The path that comes
        to: String,
        #[command(flatten)]
        change: Change,
    },
    /// Remove a path; its history stays
    #[command(after_help = "Example:\n  keg rm /oci-images/staging -m 'not needed any more'")]
    Rm {
        /// A path
        path: String,
        #[command(flatten)]
        change: Change,
    },
    /// Set a path to a file, a directory or standard input
    #[command(after_help = "Example:\n  keg put /apps/blog/config.json config.json\n\
        \x20 echo '{}' | keg put /apps/blog/config.json -")]
    Put {
        /// The path to set
        path: String,
        /// A file, a directory, or `-`
        from: PathBuf,
        #[command(flatten)]
        change: Change,
    },
    /// Make a directory the newest version of a path; unchanged files are not read
    #[command(after_help = "Example:\n  keg commit ~/photos /photos -m 'the summer'")]
    Commit {
        /// A directory
        dir: PathBuf,
        /// The path to set
        path: String,
        #[command(flatten)]
        change: Change,
    },
    /// Write a tree as plain files
    #[command(after_help = "Example:\n  keg checkout /source/blog@K-12ab34cd blog-before")]
    Checkout {
        /// A path, a path at a version, or a KID
        path: String,
        /// A directory that is empty or not there
        dir: PathBuf,
        #[command(flatten)]
        output: Output,
    },
    /// Set a path to what it was in a version
    #[command(after_help = "Example:\n  keg revert /apps/blog/config.json@K-12ab34cd")]
    Revert {
        /// A path at a version
        path: String,
        #[command(flatten)]
        change: Change,
    },
    /// Point a path at a value in a git repository or another Keg
    #[command(after_help = "Example:\n  keg point /lib/x git+https://git.example/x.git#main:src\n\
        \x20 keg point /lib/x git+ssh://git@git.example/x.git#v1.2\n\
        \x20 keg point /peer/blog keg+http://127.0.0.1:7071/oci-images/blog\n\
        \x20 keg point /peer/blog keg+http://127.0.0.1:7071/oci-images/blog@K-12ab34cd\n\n\
        Without #REF the repository's HEAD is followed. All 40 digits of a commit, and @K-…, are \
        pins,\nwhich `keg update` leaves as they are.")]
    Point {
        /// The path to set
        path: String,
        /// git+URL[#REF[:PATH]] or keg+URL/PATH[@K-…]
        source: String,
        #[command(flatten)]
        change: Change,
    },
    /// Follow pointers to what their refs and paths stand for now
    #[command(after_help = "Example:\n  keg update /lib/x\n  keg update /lib /peer --json")]
    Update(Update),
    /// Fetch a path from another Keg
    #[command(after_help = "Example:\n  keg pull http://127.0.0.1:7071 /oci-images/blog\n\
        \x20 keg pull http://127.0.0.1:7071 /source/blog --to /review/blog")]
    Pull(Sync),
    /// Send a path to another Keg
    #[command(after_help = "Example:\n  keg push http://127.0.0.1:7071 /oci-images/blog")]
    Push(Sync),
    /// Make a Keg that has everything another one has: a backup
    #[command(after_help = "Example:\n  keg clone http://127.0.0.1:7070 /backup/keg")]
    Clone {
        /// The other Keg's address
        url: String,
        /// A directory that is empty, not there, or an earlier clone
        dir: PathBuf,
        #[command(flatten)]
        output: Output,
    },
    /// Move what no current name needs into packs: small, and read as before
    #[command(
        after_help = "Example:\n  keg pack\n  keg pack --all          for a Keg that only keeps\n  \
keg pack --level 16     4% smaller, in many times the time"
    )]
    Pack {
        /// What current names need, too
        #[arg(long)]
        all: bool,
        /// How hard to try, 1 (quick) to 19 (small)
        #[arg(long, default_value_t = PackOptions::default().level,
              value_parser = clap::value_parser!(i32).range(1..=19))]
        level: i32,
        #[command(flatten)]
        output: Output,
    },
    /// Show a value, or the namespace as it changes, as ordinary files
    #[command(after_help = "Example:\n  keg mount /mnt/blog /oci-images/blog@K-12ab34cd\n  \
keg mount /mnt/keg            the whole namespace, as it changes, until Ctrl-C\n  \
keg mount --live /mnt/apps /apps\n  \
keg mount --rw /photos ~/photos   to be written; then `keg commit ~/photos /photos`\n  \
keg mount                     lists working copies")]
    Mount(Mount),
    /// Take away what `keg mount` put there
    #[command(
        visible_alias = "umount",
        after_help = "Example:\n  keg unmount /mnt/blog\n  keg unmount ~/photos --discard"
    )]
    Unmount {
        /// The directories
        #[arg(required = true, value_name = "DIR")]
        dirs: Vec<PathBuf>,
        /// Throw away what was written in a working copy and not committed
        #[arg(long)]
        discard: bool,
        #[command(flatten)]
        output: Output,
    },
    /// Check every object, the log and every version
    #[command(
        after_help = "Example:\n  keg fsck\n  keg fsck --repair --from http://127.0.0.1:7071"
    )]
    Fsck {
        /// Mend what is damaged from packs and other Kegs; damaged bytes go to `quarantine/`
        #[arg(long)]
        repair: bool,
        /// Another Keg's address to fetch sound values from
        #[arg(long, value_name = "URL", requires = "repair")]
        from: Vec<String>,
        #[command(flatten)]
        output: Output,
    },
    /// Collect garbage: what no name, kept version, lease or mount needs
    #[command(
        after_help = "Example:\n  keg gc --dry-run    what would go, and why large things stay\n\
        \x20 keg gc"
    )]
    Gc {
        /// Change nothing
        #[arg(long)]
        dry_run: bool,
        #[command(flatten)]
        output: Output,
    },
    /// Show what a path takes: in all, and only because of it
    #[command(after_help = "Example:\n  keg du /packages\n  keg du /oci-images/blog@K-12ab34cd")]
    Du {
        /// A path, with `@K-…` or `@17` a path at a version
        #[arg(default_value = "/")]
        path: String,
        #[command(flatten)]
        output: Output,
    },
    /// Print shell completions
    #[command(after_help = "Example:\n  keg completions bash > /etc/bash_completion.d/keg")]
    Completions {
        /// The shell
        shell: clap_complete::Shell,
    },
    /// A service process, started by `keg up`
    #[command(hide = true)]
    Service(Service),
    /// A work process, started by a service
    #[command(hide = true, disable_help_flag = true)]
    Work {
        #[arg(trailing_var_arg = true, allow_hyphen_values = true)]
        args: Vec<String>,
    },
    /// The process that sets up one container
    #[command(hide = true, disable_help_flag = true)]
    Sandbox {
        #[arg(trailing_var_arg = true, allow_hyphen_values = true)]
        args: Vec<String>,
    },
}

impl Command {
    /// Whether errors are wanted as JSON.
    pub fn wants_json(&self) -> bool {
        match self {
            Self::Up(Up { output, .. })
            | Self::Status(output)
            | Self::Ps { output, .. }
            | Self::Apps(output)
            | Self::Logs { output, .. }
            | Self::Ls { output, .. }
            | Self::Cat { output, .. }
            | Self::Log { output, .. }
            | Self::Diff { output, .. }
            | Self::Watch { output, .. }
            | Self::Import(Import::Debian { output, .. } | Import::Pypi { output, .. })
            | Self::Why { output, .. }
            | Self::Rollback { output, .. }
            | Self::Checkout { output, .. }
            | Self::Pack { output, .. }
            | Self::Clone { output, .. }
            | Self::Pull(Sync { output, .. })
            | Self::Push(Sync { output, .. })
            | Self::Mount(Mount { output, .. })
            | Self::Unmount { output, .. }
            | Self::Gc { output, .. }
            | Self::Du { output, .. }
            | Self::Update(Update { output, .. })
            | Self::Fsck { output, .. } => output.json,
            Self::Cp { change, .. }
            | Self::Point { change, .. }
            | Self::Mv { change, .. }
            | Self::Rm { change, .. }
            | Self::Put { change, .. }
            | Self::Commit { change, .. }
            | Self::Revert { change, .. } => change.output.json,
            _ => false,
        }
    }
}
