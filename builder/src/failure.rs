//! How a build fails, as people see it: one message with the cause and what to do next.

use std::{error::Error, fmt};

use serde::{Deserialize, Serialize};

/// Longest message or hint that is kept, in characters.
const MAX_TEXT: usize = 2000;
/// Longest chain of causes that is told.
const MAX_CAUSES: usize = 8;

/// The part of a build in which it failed.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Step {
    /// Reading the app and finding a buildpack for it.
    Detect,
    /// Getting packages.
    Import,
    /// The buildpack's build in its sandbox.
    Build,
    /// Putting the image and the release together.
    Image,
}

/// Why a build failed: a document's field `error`.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct Failure {
    /// Where.
    pub step: Step,
    /// What happened.
    pub message: String,
    /// What to do next.
    pub hint: String,
}

impl Failure {
    /// A failure in plain words. Control characters, which could come from an app, are left out.
    pub fn new(step: Step, message: impl AsRef<str>, hint: impl AsRef<str>) -> Self {
        Self { step, message: plain(message.as_ref()), hint: plain(hint.as_ref()) }
    }

    /// A failure told by an error and its causes.
    pub fn from_error(step: Step, error: &dyn Error, hint: &str) -> Self {
        let mut message = error.to_string();
        let mut cause = error.source();
        for _ in 0..MAX_CAUSES {
            let Some(error) = cause else { break };
            let text = error.to_string();
            // Transparent wrappers say the same again.
            if !message.ends_with(&text) {
                message = format!("{message}: {text}");
            }
            cause = error.source();
        }
        Self::new(step, message, hint)
    }
}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.message)
    }
}

impl Error for Failure {}

/// Turns any error into a [`Failure`] where the step and the way out are known.
pub trait OrFail<T> {
    /// The value, or a failure of `step` with the hint.
    ///
    /// # Errors
    /// The error and its causes, told in one message.
    fn or_fail(self, step: Step, hint: &str) -> Result<T, Failure>;
}

impl<T, E: Error + 'static> OrFail<T> for Result<T, E> {
    fn or_fail(self, step: Step, hint: &str) -> Result<T, Failure> {
        self.map_err(|error| Failure::from_error(step, &error, hint))
    }
}

/// The hint where the Keg itself does not work.
pub const KEG_HINT: &str = "check the disk and run `keg fsck`, then push again";

fn plain(text: &str) -> String {
    let keep = |c: &char| !c.is_control() || *c == '\n';
    text.chars().filter(keep).take(MAX_TEXT).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn causes_are_told_once() {
        let io = std::io::Error::other("disk full");
        let failure = Failure::from_error(Step::Image, &io, "x");
        assert_eq!(failure.message, "disk full");
        let json = serde_json::to_value(Failure::new(Step::Detect, "a\u{1b}[0mb", "c"));
        let want = serde_json::json!({"step": "detect", "message": "a[0mb", "hint": "c"});
        assert_eq!(json.expect("plain data"), want);
    }
}
