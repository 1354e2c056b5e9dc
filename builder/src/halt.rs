//! How a build ends before its end.

use keg::{Keg, kid::Kid, path::AppName};

use crate::{app, failure::Failure};

/// Why a build does not go on.
#[derive(Debug)]
pub enum Halt {
    /// It failed.
    Failed(Failure),
    /// A newer source came in: this one is no longer wanted.
    Superseded,
}

impl From<Failure> for Halt {
    fn from(failure: Failure) -> Self {
        Self::Failed(failure)
    }
}

/// Asks, while a build waits, whether it is still wanted.
pub struct Wanted<'a> {
    keg: &'a Keg,
    app: &'a AppName,
    source: Kid,
    seq: u64,
}

impl<'a> Wanted<'a> {
    /// For a build of this source.
    pub fn new(keg: &'a Keg, app: &'a AppName, source: Kid) -> Self {
        Self { keg, app, source, seq: 0 }
    }

    /// Nothing, while the source is the app's newest. Cheap where no name has changed.
    ///
    /// # Errors
    /// [`Halt::Superseded`].
    pub fn check(&mut self) -> Result<(), Halt> {
        // A Keg that cannot be read for a moment is no reason to stop: the build's own reads tell.
        let Ok(head) = self.keg.head() else { return Ok(()) };
        if head.seq == self.seq {
            return Ok(());
        }
        self.seq = head.seq;
        match app::source(self.keg, self.app) {
            Ok(Some(source)) if source.kid != self.source => Err(Halt::Superseded),
            Ok(None) => Err(Halt::Superseded),
            _ => Ok(()),
        }
    }
}
