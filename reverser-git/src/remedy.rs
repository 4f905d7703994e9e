//! What helps against a failure: the class that drives retries and the words of a status.

use std::fmt;

/// What to do about a failure. Shown to people and followed by the writer's loop.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Remedy {
    /// A person has to correct an argument, a permission or a credential; the writer goes on trying, slowly.
    FixConfiguration,
    /// Somebody else moved the branch: fetch, replay, push again.
    RefetchAndReplay,
    /// The program or the part that reports this has to be started again.
    Restart,
    /// It will pass: wait and try again.
    Retry,
}

impl fmt::Display for Remedy {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::FixConfiguration => "fix the configuration",
            Self::RefetchAndReplay => "fetch and replay",
            Self::Restart => "start again",
            Self::Retry => "retry",
        })
    }
}
