//! What there is one of for all writers of a branch: the choices of the first one.

use std::{num::NonZeroUsize, time::Duration};

use crate::{
    conflict::OnConflict,
    deflate::CompressionLevel,
    writer::{StartAt, owner::Pacing},
};

/// The choices that all writers of a branch share. `None`: left to the default, or to whoever came first.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Shared {
    pub(super) compression: Option<CompressionLevel>,
    pub(super) on_conflict: Option<OnConflict>,
    pub(super) push_interval: Option<Duration>,
    pub(super) push_max_commits: Option<NonZeroUsize>,
    pub(super) start_at: Option<StartAt>,
    pub(super) unpushed_bytes: Option<u64>,
}

impl Shared {
    pub(super) fn compression(&self) -> CompressionLevel {
        self.compression.unwrap_or_default()
    }

    pub(super) fn on_conflict(&self) -> OnConflict {
        self.on_conflict.unwrap_or_default()
    }

    pub(super) fn pacing(&self) -> Pacing {
        Pacing { interval: self.push_interval.unwrap_or_default(), max_commits: self.push_max_commits }
    }

    pub(super) fn start_at(&self) -> StartAt {
        self.start_at.unwrap_or_default()
    }

    pub(super) fn unpushed_bytes(&self) -> u64 {
        self.unpushed_bytes.unwrap_or(UNPUSHED_BYTES)
    }

    /// Returns the options that somebody who joins has chosen otherwise than they are here, and that aren't taken.
    pub(super) fn contradicted_by(&self, asked: &Self) -> Vec<&'static str> {
        let (ours, theirs) = (self.pacing(), asked.pacing());
        [
            ("compression", asked.compression.is_some() && asked.compression() != self.compression()),
            ("on_conflict", asked.on_conflict.is_some() && asked.on_conflict() != self.on_conflict()),
            ("push_interval", asked.push_interval.is_some() && theirs.interval != ours.interval),
            ("push_max_commits", asked.push_max_commits.is_some() && theirs.max_commits != ours.max_commits),
            ("start_at", asked.start_at.is_some() && asked.start_at() != self.start_at()),
            ("unpushed_bytes", asked.unpushed_bytes.is_some() && asked.unpushed_bytes() != self.unpushed_bytes()),
        ]
        .into_iter()
        .filter_map(|(option, differs)| differs.then_some(option))
        .collect()
    }
}

const UNPUSHED_BYTES: u64 = 1 << 30;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_what_was_chosen_can_contradict_and_a_default_is_a_choice_when_it_is_named() {
        let all = Shared {
            compression: CompressionLevel::try_from(1).ok(),
            on_conflict: Some(OnConflict::Stop),
            push_interval: Some(Duration::from_secs(5)),
            push_max_commits: NonZeroUsize::new(3),
            start_at: Some(StartAt::Orphan),
            unpushed_bytes: Some(1),
        };
        let none = Shared::default();
        let named = ["compression", "on_conflict", "push_interval", "push_max_commits", "start_at", "unpushed_bytes"];
        assert_eq!(none.contradicted_by(&all), named);
        assert!(all.contradicted_by(&all).is_empty());
        assert!(all.contradicted_by(&none).is_empty(), "nothing was chosen");
        let usual = Shared { on_conflict: Some(OnConflict::Ours), ..none };
        assert_eq!(all.contradicted_by(&usual), ["on_conflict"]);
        assert!(none.contradicted_by(&usual).is_empty(), "it is the default");
    }
}
