//! The flags that say which changes are coalesced.

use std::time::Duration;

use clap::Args;
use reverser_core::{Coalescing, Filter};

use super::{duration, heading::COMMITS, select::filter};

#[derive(Clone, Debug, Default, Args)]
pub(crate) struct CoalesceArgs {
    /// Commit what a service account changes at most so often
    ///
    /// Of each object, the first change by a service account is committed at once, and then one in so long a time, with
    /// its last state. Somebody else's change and a deletion end that at once: what has waited is committed before
    /// them, so no commit has two authors' changes. Nothing waits where nobody knows who did it. What waits isn't in
    /// Git: a crash loses nothing of it, as the next start reads it again.
    #[arg(long, help_heading = COMMITS, display_order = 6, value_name = "DURATION", value_parser = duration)]
    pub(crate) coalesce: Option<Duration>,
    /// Only what this filter takes: 'resource=configmaps user=*:bot'
    ///
    /// May be repeated: what one of them takes is coalesced. As with --only; user= is about service accounts, which are called
    /// system:serviceaccount:NAMESPACE:NAME.
    #[arg(long, help_heading = COMMITS, display_order = 7, value_name = "FILTER", value_parser = filter, requires = "coalesce")]
    pub(crate) coalesce_only: Vec<Filter>,
}

impl CoalesceArgs {
    /// Returns what was asked for.
    pub(crate) fn coalescing(self) -> Coalescing {
        Coalescing { interval: self.coalesce.unwrap_or_default(), only: self.coalesce_only }
    }
}
