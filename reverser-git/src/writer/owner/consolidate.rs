//! Joining packs, when no push reads them.

use crate::{
    fault,
    remote::cli,
    store::Store,
    writer::owner::{Owner, Phase},
};

impl Owner {
    /// Joins packs when they are many: between two pushes, and when they are very many also beside one.
    pub(super) async fn consolidate_when_due(&mut self) {
        let is_pushing = matches!(self.phase, Phase::Pushing { .. });
        if self.store().packs() >= if is_pushing { MOST_PACKS } else { MANY_PACKS } {
            self.consolidate().await;
        }
    }

    /// Joins packs while no push reads them. On a failure they stay: it costs speed, nothing else.
    pub(super) async fn consolidate(&mut self) {
        let packs = self.store().packs();
        if packs < 2 * self.packs_kept {
            return;
        }
        let git_dir = self.store().git_dir().to_owned();
        fault::reached("consolidation-begun");
        let joined = cli::consolidate(&git_dir).await;
        fault::reached("consolidation-made");
        let reopened = self.with_store(Store::reopen).await;
        match (joined, reopened) {
            (Ok(()), Ok(())) => self.packs_kept = 0,
            (Err(error), _) => {
                tracing::warn!(%error, packs, "packs could not be joined");
                self.packs_kept = packs;
            }
            (_, Err(error)) => {
                tracing::warn!(%error, packs, "the repository could not be opened again");
                self.packs_kept = packs;
            }
        }
    }
}

/// From here on packs are joined between two pushes.
const MANY_PACKS: usize = 32;

/// From here on they are joined also while a push runs: git finds the objects in the joined pack, or the push fails and is
/// tried again.
const MOST_PACKS: usize = 256;
