//! The flags that say which changes become one commit.

use std::{num::NonZeroUsize, time::Duration};

use clap::{Args, ValueEnum, builder::PossibleValue};
use reverser_core::{Batching, Grouping};

use super::{duration, heading::COMMITS};

/// Which changes become one commit, and how long they gather for that.
#[derive(Clone, Copy, Debug, Default, Args)]
pub(crate) struct GroupArgs {
    /// Which changes become one commit
    ///
    /// A replayed log is grouped by its own times, and a complete list is one commit in any case.
    #[arg(long, help_heading = COMMITS, display_order = 1, value_name = "GROUPING", value_enum, default_value_t)]
    pub(crate) group: GroupingName,
    /// Commit what has gathered so long after the last change
    ///
    /// By default 0 with --group change, 2s with actor, and --group-max-age with interval. With --group change it gathers for one
    /// push, and each change is still a commit of its own. What has gathered isn't in Git: a crash loses nothing of it, as the
    /// next start reads it again.
    #[arg(long, help_heading = COMMITS, display_order = 2, value_name = "DURATION", value_parser = duration)]
    pub(crate) group_quiet: Option<Duration>,
    /// Commit it so long after its first change [default: 10s]
    ///
    /// Whatever still comes. With a --group-quiet of more than 2s the default is five times that.
    #[arg(long, help_heading = COMMITS, display_order = 3, value_name = "DURATION", value_parser = duration)]
    pub(crate) group_max_age: Option<Duration>,
    /// Commit it when it is so many changes [default: 1000]
    #[arg(long, help_heading = COMMITS, display_order = 4, value_name = "CHANGES")]
    pub(crate) group_max_changes: Option<NonZeroUsize>,
    /// Commit it when it is so many bytes [default: 8388608]
    #[arg(long, help_heading = COMMITS, display_order = 5, value_name = "BYTES")]
    pub(crate) group_max_bytes: Option<NonZeroUsize>,
}

impl GroupArgs {
    /// Returns what was asked for; a quiet time makes for a longer maximum age than usual, and a maximum age is what an
    /// interval is.
    pub(crate) fn batching(self) -> Batching {
        let usual = Batching::new(self.group.0);
        let longer = self.group_quiet.map(|quiet| quiet.saturating_mul(5));
        let max_age = self.group_max_age.unwrap_or_else(|| longer.unwrap_or_default().max(usual.max_age));
        let quiet = match usual.grouping {
            Grouping::Interval => max_age,
            Grouping::Actor | Grouping::Change => usual.quiet,
        };
        Batching {
            grouping: usual.grouping,
            quiet: self.group_quiet.unwrap_or(quiet),
            max_age,
            max_changes: self.group_max_changes.unwrap_or(usual.max_changes),
            max_bytes: self.group_max_bytes.unwrap_or(usual.max_bytes),
        }
    }
}

/// The name of a grouping.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct GroupingName(pub(crate) Grouping);

impl ValueEnum for GroupingName {
    fn value_variants<'a>() -> &'a [Self] {
        &[Self(Grouping::Change), Self(Grouping::Actor), Self(Grouping::Interval)]
    }

    fn to_possible_value(&self) -> Option<PossibleValue> {
        Some(PossibleValue::new(self.0.name()).help(match self.0 {
            Grouping::Actor => "what one user changes in one go; needs --attribution, as nobody is known without",
            Grouping::Change => "each change: the history is the audit trail",
            Grouping::Interval => "all that changes within --group-max-age, whoever did it; the trailers name them",
        }))
    }
}

#[cfg(test)]
mod tests {
    use clap::Parser;

    use super::*;
    use crate::args::{Cli, Command};

    #[test]
    fn changes_gather_as_the_flags_say() {
        let batching = |flags: &[&str]| {
            let typed = ["reverser", "watch", "--repo", "x"].iter().chain(flags);
            let Command::Watch(args) = Cli::try_parse_from(typed).unwrap().command else { panic!("watch") };
            args.group.batching()
        };
        let seconds = |batching: Batching| (batching.quiet.as_secs(), batching.max_age.as_secs());
        assert_eq!(batching(&[]), Batching::default());
        for grouping in Grouping::ALL {
            assert_eq!(batching(&["--group", grouping.name()]), Batching::new(grouping));
        }
        assert_eq!(seconds(batching(&["--group", "interval", "--group-max-age", "1m"])), (60, 60));
        assert_eq!(seconds(batching(&["--group", "interval", "--group-quiet", "3s"])), (3, 15));
        assert_eq!(seconds(batching(&["--group", "actor", "--group-quiet", "1m 30s"])), (90, 450));
        assert_eq!(seconds(batching(&["--group", "actor", "--group-quiet", "0", "--group-max-age", "1s"])), (0, 1));
        assert_eq!(batching(&["--group-max-changes", "5"]).max_changes.get(), 5);
        assert_eq!(batching(&["--group-max-bytes", "5"]).max_bytes.get(), 5);
    }
}
