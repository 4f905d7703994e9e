//! What is asked of the sink until it answers.

use std::time::Duration;

use reverser_core::RepoPath;
use reverser_git::{Backoff, Batch, Files, Outcome, SinkError};

use super::Reverser;
use crate::report::Notice;

impl Reverser {
    pub(super) async fn commit_batch(&self, batch: &Batch) -> Result<Vec<Outcome>, SinkError> {
        if *batch == Batch::default() {
            return Ok(vec![]);
        }
        let receipt = self.persist(|| self.sink.commit(batch.clone())).await?;
        self.tell_obstructed(&receipt);
        Ok(receipt.outcomes)
    }

    /// Asks the sink for as long as it takes, unless that is limited: what was read must not be lost to a full disk.
    pub(super) async fn persist<T, F>(&self, ask: impl Fn() -> F) -> Result<T, SinkError>
    where
        F: Future<Output = Result<T, SinkError>>,
    {
        let mut backoff = Backoff::new(Duration::from_millis(250), Duration::from_secs(60));
        let mut tried = 1;
        loop {
            match ask().await {
                Ok(answer) => {
                    if tried > 1 {
                        self.reporter.report(Notice::SinkRecovered);
                    }
                    return Ok(answer);
                }
                Err(error @ SinkError::Closed { .. }) => return Err(error),
                Err(error) if self.tries == Some(tried) => return Err(error),
                Err(error) => {
                    tried += 1;
                    self.reporter.report(Notice::SinkFailed(&error));
                    tokio::time::sleep(backoff.next_wait()).await;
                }
            }
        }
    }
}

/// Reads what the sink has for as long as it takes.
#[derive(Debug)]
pub(super) struct Persistent<'a>(pub(super) &'a Reverser);

#[async_trait::async_trait]
impl Files for Persistent<'_> {
    async fn list(&self, folder: Option<&RepoPath>) -> Result<Vec<RepoPath>, SinkError> {
        self.0.persist(|| self.0.sink.list(folder)).await
    }

    async fn read(&self, path: &RepoPath) -> Result<Option<Vec<u8>>, SinkError> {
        self.0.persist(|| self.0.sink.read(path)).await
    }
}
