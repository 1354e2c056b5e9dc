//! What a command says when it cannot do what was asked: a cause, a hint, an exit code.

use std::{error::Error, fmt, io};

use keg::{
    names::{CommitError, NamesError},
    store::StoreError,
    watch::WatchError,
};

/// Who can mend it; decides the exit code.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Kind {
    /// What was asked for is not there, or cannot be: exit 1.
    User,
    /// The command line is wrong: exit 2 (clap exits with the same).
    Cli,
    /// The machine or the Keg's set-up is wrong: no Keg, no rights, port taken: exit 3.
    Config,
    /// `keg fsck` found damage: exit 4.
    Damaged,
    /// What is asked for is elsewhere, and cannot be had from there now: exit 5.
    Away,
    /// The reader went away; not an error worth words: exit 141, as a shell reports SIGPIPE.
    BrokenPipe,
    /// Our bug, or a disk that fails: exit 70.
    Internal,
}

impl Kind {
    /// The documented exit code (`docs/errors.md`).
    pub fn exit_code(self) -> i32 {
        match self {
            Self::User => 1,
            Self::Cli => 2,
            Self::Config => 3,
            Self::Damaged => 4,
            Self::Away => 5,
            Self::BrokenPipe => 141,
            Self::Internal => 70,
        }
    }
}

/// An error on its way to a person.
#[derive(Debug)]
pub struct CommandError {
    kind: Kind,
    message: String,
    hint: Option<String>,
    source: Option<Box<dyn Error + Send + Sync>>,
}

impl CommandError {
    fn new(kind: Kind, message: impl Into<String>) -> Self {
        Self { kind, message: message.into(), hint: None, source: None }
    }

    /// What was asked for is not there or not possible.
    pub fn user(message: impl Into<String>) -> Self {
        Self::new(Kind::User, message)
    }

    /// The machine or the set-up is wrong.
    pub fn config(message: impl Into<String>) -> Self {
        Self::new(Kind::Config, message)
    }

    /// The command line is wrong.
    pub fn cli(message: impl Into<String>) -> Self {
        Self::new(Kind::Cli, message)
    }

    /// `keg fsck` found damage.
    pub fn damaged(message: impl Into<String>) -> Self {
        Self::new(Kind::Damaged, message)
    }

    /// Another Keg or a repository does not answer, or not as it should.
    pub fn away(message: impl Into<String>) -> Self {
        Self::new(Kind::Away, message)
    }

    /// The same error as the cause of another, with its hint.
    pub fn within(self, message: impl Into<String>) -> Self {
        let (kind, hint) = (self.kind, self.hint.clone());
        Self { kind, message: message.into(), hint, source: Some(Box::new(self)) }
    }

    /// Something that should not happen did; `source` says what.
    pub fn internal(
        message: impl Into<String>,
        source: impl Into<Box<dyn Error + Send + Sync>>,
    ) -> Self {
        Self { source: Some(source.into()), ..Self::new(Kind::Internal, message) }
    }

    /// Adds the cause.
    pub fn because(mut self, source: impl Into<Box<dyn Error + Send + Sync>>) -> Self {
        self.source = Some(source.into());
        self
    }

    /// Adds what to do next.
    pub fn hint(mut self, hint: impl Into<String>) -> Self {
        self.hint = Some(hint.into());
        self
    }

    /// A command line that clap cannot read.
    pub fn usage(error: &clap::Error) -> Self {
        let text = error.render().to_string();
        let first = text.lines().next().unwrap_or_default();
        Self::cli(first.trim_start_matches("error: ")).hint("`keg help COMMAND` shows examples")
    }

    /// Writes it the way the user asked for (`--json` or words) and gives the exit code.
    pub fn report(&self, json: bool) -> i32 {
        if self.kind == Kind::BrokenPipe {
            return self.kind.exit_code();
        }
        let causes = self.causes();
        if json {
            let document = serde_json::json!({
                "error": { "message": self.message, "causes": causes, "hint": self.hint }
            });
            eprintln!("{document}");
        } else {
            eprintln!("Error: {}", self.message);
            for cause in causes {
                eprintln!("Caused by: {cause}");
            }
            if let Some(hint) = &self.hint {
                eprintln!("Hint: {hint}");
            }
        }
        self.kind.exit_code()
    }

    fn causes(&self) -> Vec<String> {
        let mut causes: Vec<String> = Vec::new();
        let mut next = self.source.as_deref().map(|e| e as &(dyn Error + 'static));
        while let Some(error) = next {
            let text = error.to_string();
            // Many errors say their cause themselves.
            if !causes.last().unwrap_or(&self.message).ends_with(&text) {
                causes.push(text);
            }
            next = error.source();
        }
        causes
    }
}

impl fmt::Display for CommandError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.message)
    }
}

impl Error for CommandError {
    fn source(&self) -> Option<&(dyn Error + 'static)> {
        self.source.as_deref().map(|e| e as &(dyn Error + 'static))
    }
}

impl From<io::Error> for CommandError {
    fn from(error: io::Error) -> Self {
        if error.kind() == io::ErrorKind::BrokenPipe {
            return Self::new(Kind::BrokenPipe, "the reader went away");
        }
        if matches!(error.kind(), io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded) {
            return Self::config("the disk is full; nothing was lost")
                .because(error)
                .hint(FULL_HINT);
        }
        Self::internal("reading or writing failed", error)
            .hint("try again; if it stays so, `dmesg` shows whether the disk is well")
    }
}

/// Errors of the Keg itself: damage and full disks are told from what nobody should meet.
macro_rules! keg_errors {
    ($($error:ty => $message:literal),* $(,)?) => {$(
        impl From<$error> for CommandError {
            fn from(error: $error) -> Self {
                let (kind, hint) = kind_of(&error);
                Self { kind, ..Self::internal($message, error).hint(hint) }
            }
        }
    )*};
}

keg_errors! {
    StoreError => "the Keg's store could not answer",
    NamesError => "the Keg's names could not be read",
    CommitError => "the change could not be made",
    WatchError => "watching the Keg failed",
    keg::process::ProcessError => "the process table could not be used",
    keg::stream::StreamError => "a stream of the Keg could not be read",
}

const FULL_HINT: &str = "free some space on the Keg's file system (`df -h`), then try again";
const FSCK_HINT: &str = "run `keg fsck` to check the Keg; `df -h` shows whether its disk is full";

/// Who can mend an error of the Keg, and how.
fn kind_of(error: &(dyn Error + 'static)) -> (Kind, &'static str) {
    if let Some(WatchError::Compacted { .. }) = error.downcast_ref() {
        return (Kind::User, "`keg log /` lists the versions; leave --since out to begin now");
    }
    if let Some(NamesError::NoVersion { .. }) = error.downcast_ref() {
        return (Kind::User, "`keg log /` lists the versions");
    }
    if let Some(CommitError::NotADirectory { .. }) = error.downcast_ref() {
        return (Kind::User, "choose another path, or `keg rm` what is in the way");
    }
    if let Some(CommitError::Below { .. }) = error.downcast_ref() {
        return (Kind::User, "`keg rm` removes it whole, `keg checkout` gives files to change");
    }
    match store_error(error) {
        Some(StoreError::Corrupt { .. } | StoreError::Log { .. }) => {
            (Kind::Damaged, "`keg fsck` names all that is damaged, and the paths that use it")
        }
        Some(StoreError::Full { .. }) => (Kind::Config, FULL_HINT),
        Some(StoreError::Io { .. } | StoreError::ReadOnly { .. }) => (Kind::Config, FSCK_HINT),
        _ => (Kind::Internal, FSCK_HINT),
    }
}

/// The store's error at the root of another. Transparent errors are not in their own chains.
fn store_error<'a>(error: &'a (dyn Error + 'static)) -> Option<&'a StoreError> {
    let mut next = Some(error);
    while let Some(error) = next {
        let found = match (error.downcast_ref(), error.downcast_ref(), error.downcast_ref()) {
            (Some(NamesError::Store(error)), _, _) => Some(error),
            (_, Some(WatchError::Names(error)), _) => return store_error(error),
            (_, _, Some(CommitError::Store(error))) => Some(error),
            _ => error.downcast_ref(),
        };
        if found.is_some() {
            return found;
        }
        next = error.source();
    }
    None
}

impl From<importer::ImportError> for CommandError {
    fn from(error: importer::ImportError) -> Self {
        Self::user(error.message()).hint(error.hint())
    }
}

impl From<keg::path::PathError> for CommandError {
    fn from(error: keg::path::PathError) -> Self {
        Self::user(error.to_string())
            .hint("paths look like /oci-images/blog; `keg ls /` lists them")
    }
}

impl From<keg::path::AppNameError> for CommandError {
    fn from(error: keg::path::AppNameError) -> Self {
        Self::user(error.to_string()).hint("`keg apps` lists the apps there are")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn damage_and_full_disks_are_told_from_bugs() {
        let kid = keg::Kid::of_blob(b"x");
        let corrupt = || StoreError::Corrupt { kid, what: "its bytes hash to another".to_owned() };
        let full = || StoreError::Full {
            what: "writing".to_owned(),
            source: io::Error::from(io::ErrorKind::StorageFull),
        };
        for (error, want) in [
            (CommandError::from(corrupt()), Kind::Damaged),
            (NamesError::from(corrupt()).into(), Kind::Damaged),
            (WatchError::from(NamesError::from(full())).into(), Kind::Config),
            (CommitError::from(full()).into(), Kind::Config),
            (StoreError::Poisoned.into(), Kind::Internal),
            (StoreError::Missing { kid }.into(), Kind::Internal),
            (NamesError::NoVersion { seq: 9 }.into(), Kind::User),
        ] {
            assert_eq!(error.kind, want, "{error:?}");
            assert!(error.hint.is_some(), "{error:?}");
        }
    }

    #[test]
    fn a_cause_is_said_once() {
        let error = StoreError::Full {
            what: "writing".to_owned(),
            source: io::Error::from(io::ErrorKind::StorageFull),
        };
        let source: io::Error = io::Error::other("no such disk");
        let again = CommandError::config("cannot start: no such disk").because(source);
        assert_eq!(again.causes(), Vec::<String>::new());
        assert_eq!(CommandError::from(error).causes().len(), 2);
    }
}
