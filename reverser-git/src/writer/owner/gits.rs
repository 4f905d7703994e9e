//! The gits that write packs beside the owner: one that fetches, and one that joins packs.

use std::{future::Future, path::PathBuf, sync::Arc};

use tokio::sync::{Mutex, Notify, OwnedMutexGuard};

use crate::{
    store::clear_temporary_packs,
    writer::owner::{blocking, push::Round},
};

/// Which of them run. What one that fails leaves of its pack is removed by whichever ends last, since nothing tells whose
/// it is.
#[derive(Clone, Debug)]
pub(super) struct Gits {
    git_dir: PathBuf,
    fetching: Arc<Mutex<()>>,
    joining: Arc<Mutex<()>>,
    /// The branch, or a join, wants to fetch, or wants that nothing is fetched.
    wanted: Arc<Notify>,
}

impl Gits {
    pub(super) fn new(git_dir: PathBuf) -> Self {
        Self { git_dir, fetching: Arc::default(), joining: Arc::default(), wanted: Arc::default() }
    }

    /// Waits until nothing is fetched; nothing is before the guard is dropped.
    pub(super) async fn no_fetch(&self) -> OwnedMutexGuard<()> {
        self.fetching().await
    }

    /// Fetches what has time, and gives way to whoever else wants to fetch: `None` then.
    pub(super) async fn fetch_aside<T, E>(&self, fetch: impl Future<Output = Result<T, E>>) -> Option<Result<T, E>> {
        let _fetching = Arc::clone(&self.fetching).try_lock_owned().ok()?;
        let fetched = tokio::select! {
            fetched = fetch => Some(fetched),
            () = self.wanted.notified() => None,
        };
        if !matches!(fetched, Some(Ok(_)))
            && let Ok(_no_join) = self.joining.try_lock()
        {
            self.clear().await;
        }
        fetched
    }

    async fn fetching(&self) -> OwnedMutexGuard<()> {
        if let Ok(free) = Arc::clone(&self.fetching).try_lock_owned() {
            return free;
        }
        self.wanted.notify_waiters();
        Arc::clone(&self.fetching).lock_owned().await
    }

    /// Fetches, and looks after what is left when that fails.
    pub(super) async fn fetch(&self, fetch: impl Future<Output = Round>) -> Round {
        let _fetching = self.fetching().await;
        let round = fetch.await;
        if matches!(round, Round::Failed(_))
            && let Ok(_no_join) = self.joining.try_lock()
        {
            self.clear().await;
        }
        round
    }

    /// Joins packs, and looks after what is left when that fails, or a fetch beside it.
    pub(super) async fn join<T, E>(&self, join: impl Future<Output = Result<T, E>>, is_alone: bool) -> Result<T, E> {
        let joining = self.joining.lock().await;
        let made = join.await;
        drop(joining);
        let no_fetch = match made {
            _ if is_alone => None,
            // Room is needed elsewhere.
            Err(_) => Some(self.fetching().await),
            Ok(_) => match Arc::clone(&self.fetching).try_lock_owned() {
                Err(_) => return made,
                no_fetch => no_fetch.ok(),
            },
        };
        self.clear().await;
        drop(no_fetch);
        made
    }

    /// Removes what is left of half written packs; for when none of them runs.
    pub(super) async fn clear(&self) {
        let git_dir = self.git_dir.clone();
        if let Err(error) = blocking(move || clear_temporary_packs(&git_dir)).await {
            tracing::warn!(%error, "what a git has left of a pack could not be removed; the next start does it");
        }
    }
}

#[cfg(test)]
mod tests {
    use std::fs;

    use super::*;
    use crate::remote::RemoteError;

    #[tokio::test]
    async fn a_fetch_that_fails_leaves_what_a_join_is_writing() {
        let folder = tempfile::tempdir().unwrap();
        let half = folder.path().join("objects/pack/tmp_pack_1");
        fs::create_dir_all(half.parent().unwrap()).unwrap();
        let gits = Gits::new(folder.path().to_owned());
        let fail = || {
            gits.fetch(async {
                Round::Failed(RemoteError::Spawn { source: Arc::new(std::io::ErrorKind::Other.into()) })
            })
        };
        for made in [Ok(()), Err(())] {
            let join = async {
                fs::write(&half, "half").unwrap();
                fail().await;
                assert!(half.exists(), "it is being written");
                made
            };
            assert_eq!(gits.join(join, false).await, made);
            assert!(!half.exists(), "nobody writes it any more");
        }
        fs::write(&half, "half").unwrap();
        fail().await;
        assert!(!half.exists());
        // What has time gives way.
        let (begun, has_begun) = tokio::sync::oneshot::channel();
        let aside = gits.fetch_aside(async {
            fs::write(&half, "half").unwrap();
            begun.send(()).unwrap();
            std::future::pending::<Result<(), ()>>().await
        });
        let wanted = async {
            has_begun.await.unwrap();
            gits.fetch(async { Round::Moved(None) }).await
        };
        let (aside, round) = tokio::join!(aside, wanted);
        assert!(aside.is_none() && matches!(round, Round::Moved(None)) && !half.exists());
        assert_eq!(gits.fetch_aside(async { Ok::<_, ()>(1) }).await, Some(Ok(1)));
        // Nor does a join touch what is being fetched.
        gits.fetch(async {
            fs::write(&half, "half").unwrap();
            assert_eq!(gits.join(async { Ok::<_, ()>(()) }, false).await, Ok(()));
            assert!(half.exists());
            Round::Moved(None)
        })
        .await;
    }
}
