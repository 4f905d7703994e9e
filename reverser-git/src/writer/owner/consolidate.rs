//! Joining packs while commits and pushes go on.
//!
//! git writes the joined pack beside those that stand, which takes as long as it takes; then, between two commits, the
//! joined ones are removed and the object database is opened again. Nothing can get lost by that:
//!
//! - A merge takes over every object of the packs that it replaces. Packs that are written meanwhile aren't touched.
//! - A rewrite leaves out what no ref reaches: states that newer ones have replaced, and commits that were made again elsewhere.
//!   A commit that is made meanwhile writes every object that it adds into a pack of its own, and everything else that it
//!   names is reachable from the state before it, which git reads first or finds in the state that it reads instead. Only a fetch
//!   could take something that is here, but unreachable, for granted; so no fetch runs beside a rewrite. A batch that has failed
//!   and is tried again may write the very pack that nothing named a moment ago; what is written meanwhile stays.
//! - Killed at any moment, the new pack or the old ones are whole, or both.

use std::{
    io,
    path::{Path, PathBuf},
    time::Duration,
};

use tokio::{sync::OwnedMutexGuard, time::Instant};

use crate::{
    fault,
    objects::Id,
    remote::cli::packs as git,
    sink::CommitId,
    store::{Join, JoinDue, finish},
    writer::owner::{Owner, blocking, gits::Gits},
};

/// How joining packs ended.
pub(super) struct Joined {
    join: Join,
    /// The name of the pack that has all of them.
    made: io::Result<String>,
    /// What the unpushed commits up to this one take since then.
    weight: Option<(Id, u64)>,
    took: Duration,
    /// Given back when the packs are removed.
    _no_fetch: Option<OwnedMutexGuard<()>>,
}

impl Owner {
    /// Begins to join packs when that is due and not under way.
    pub(super) fn consolidate_when_due(&mut self, now: Instant) {
        let packs = self.store().packs();
        let is_paused = now < self.join_pause && packs < CROWD;
        if !self.joining.is_empty() || is_paused || packs < 2 * self.packs_kept {
            return;
        }
        let due = self.store().join_due();
        let join = match due {
            JoinDue::Join(join) => join,
            JoinDue::NoRoom => {
                self.join_pause = Instant::now() + ROOM_PAUSE;
                if !std::mem::replace(&mut self.told_no_room, true) {
                    tracing::warn!(
                        packs,
                        "packs should be joined, and the disk has no room for that: commits go on, and it is looked at \
                         again; free some space"
                    );
                }
                return;
            }
            JoinDue::Nothing => return,
        };
        self.told_no_room = false;
        let mut store = self.store();
        store.begin_join();
        let (git_dir, span) = (store.git_dir().to_owned(), store.unpushed_span());
        drop(store);
        self.joining.spawn(consolidate(git_dir, join, span, self.gits.clone()));
    }

    /// Takes in how joining packs ended. On a failure they stay: it costs room and speed, nothing else.
    pub(super) async fn settle_join(&mut self, joined: Result<Joined, tokio::task::JoinError>) {
        let joined = joined.unwrap_or_else(|error| std::panic::resume_unwind(error.into_panic()));
        self.join_pause = Instant::now() + joined.took * PAUSE;
        let packs = self.store().packs();
        let made = match joined.made {
            Ok(made) => made,
            Err(error) => {
                tracing::warn!(%error, packs, "packs could not be joined; they stay");
                self.packs_kept = packs;
                return;
            }
        };
        let (join, weight) = (joined.join, joined.weight);
        let adopted = self.with_store(move |store| {
            weight.into_iter().for_each(|(tip, bytes)| store.weigh(tip, bytes));
            store.adopt(&join, &made)
        });
        match adopted.await {
            Ok(()) => {
                self.packs_kept = 0;
                tracing::debug!(before = packs, after = self.store().packs(), took = ?joined.took, "packs joined");
            }
            Err(error) => {
                tracing::warn!(%error, packs, "joined packs could not be removed");
                self.packs_kept = packs;
            }
        }
    }

    /// Returns when joining packs may go on that waited for its pause to pass when it was looked at, which may have been over since.
    pub(super) fn join_pause(&self, looked: Instant) -> Option<Instant> {
        let waits = self.joining.is_empty() && looked < self.join_pause;
        (waits && self.store().join_due() != JoinDue::Nothing).then_some(self.join_pause)
    }
}

async fn consolidate(git_dir: PathBuf, join: Join, unpushed: Option<(Id, Option<Id>)>, gits: Gits) -> Joined {
    let no_fetch = match join {
        Join::Merge { .. } => None,
        Join::Rewrite { .. } => Some(gits.no_fetch().await),
    };
    let begun = Instant::now();
    fault::reached("consolidation-begun");
    let made = gits.join(make(&git_dir, &join), no_fetch.is_some()).await;
    fault::reached("consolidation-made");
    let weight = match unpushed {
        Some((tip, base)) if made.is_ok() => weigh(&git_dir, tip, base).await.map(|bytes| (tip, bytes)),
        _ => None,
    };
    Joined { join, made, weight, took: begun.elapsed(), _no_fetch: no_fetch }
}

async fn make(git_dir: &Path, join: &Join) -> io::Result<String> {
    let made = git::join(git_dir, join).await?;
    let is_promised = matches!(join, Join::Merge { is_promised: true, .. });
    let (folder, name) = (git_dir.to_owned(), made.clone());
    blocking(move || finish(&folder, &name, is_promised)).await?;
    Ok(made)
}

/// Returns what the commits between `base` and `tip` take; `None` when git can't say, and the limit goes by what was written.
pub(super) async fn weigh(git_dir: &Path, tip: Id, base: Option<Id>) -> Option<u64> {
    let usage = git::disk_usage(git_dir, &CommitId::from(tip), base.map(CommitId::from).as_ref()).await;
    usage.inspect_err(|error| tracing::warn!(%error, "what isn't pushed could not be measured")).ok()
}

/// So many times as long as it took is paused between two joins, which is a fifth of one core at most.
const PAUSE: u32 = 4;

/// How long a disk that has no room is left alone.
const ROOM_PAUSE: Duration = Duration::from_secs(1);

/// From here on there is no pause.
const CROWD: usize = 40;

/// From here on commits wait while packs are joined: gix can see 4096 at once.
pub(super) const MOST_PACKS: usize = 1024;
