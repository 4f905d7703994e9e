//! Periodic verification: is Git what the cluster holds?
//!
//! ```text
//! catch up with the remote ─► begin: source S is recorded up to P ─► list S as it was at P, compare ─► settle
//!                                    └── from here on: what the recorder takes in ───────────────────────┘
//! ```
//!
//! Exact although changes keep coming: everything up to P is in Git or about to be, so a file has to say what its object was
//! at P, unless something of it was recorded since. That is looked up, and the file read again, in the recorder's turn,
//! in which the repair is committed, too. A change under way is never taken for a difference, and a repair never turns
//! back time.

use std::{
    collections::BTreeMap,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use jiff::Timestamp;
use reverser_core::{Drift, Drifted, Edit, ObjectRef, Operation, RepoPath, Resource, Wanted};
use reverser_git::{Batch, SinkError, says_the_same};
use tokio::time::{Instant, sleep_until};

use super::{Reverser, commit_id, lists::is_mass_deletion};
use crate::{
    api_error::ApiError,
    compare::{CompareError, Difference, Finding, compare},
    list::Lister,
    report::Notice,
    source::Source,
};

/// How many differences are repaired by one commit. The others follow at once.
const REPAIRS: usize = 1_000;

/// How many bytes of files are in memory for that.
const REPAIR_BYTES: usize = 32 << 20;

/// How often the remote is looked at in the course of an interval.
const LOOKS: u32 = 10;

/// What a verification of one resource has found.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Verified {
    /// What was compared.
    pub resource: Arc<Resource>,
    /// The namespace it was compared in; `None`: everywhere.
    pub namespace: Option<String>,
    /// How many objects there are.
    pub objects: usize,
    /// Objects without a file.
    pub missing: usize,
    /// Files without an object.
    pub extra: usize,
    /// Files that say something else than their objects.
    pub different: usize,
    /// Files of another version than the one that is captured.
    pub superseded: usize,
    /// What the selector leaves out by user, field manager or operation, in which Git may differ. The last stays, and the others
    /// are repaired.
    pub left_out: usize,
    /// When the comparison was over.
    pub at: Timestamp,
    /// How long it took.
    pub took: Duration,
}

impl Verified {
    /// Returns in how many objects Git differed although it shouldn't; should be 0.
    pub fn drifted(&self) -> usize {
        self.missing + self.extra + self.different
    }

    fn count(&mut self, drifted: &Drifted) {
        *match drifted.drift {
            _ if drifted.is_left_out => &mut self.left_out,
            Drift::Different => &mut self.different,
            Drift::Extra => &mut self.extra,
            Drift::Missing => &mut self.missing,
            Drift::Superseded => &mut self.superseded,
        } += 1;
    }
}

/// What can be verified: who lists what each source tells of.
#[derive(Clone, Debug, Default)]
pub(super) struct Listers(Arc<Mutex<Rota>>);

#[derive(Debug, Default)]
struct Rota {
    /// With the turn at which each was verified last.
    listers: BTreeMap<String, (u64, Arc<dyn Lister>)>,
    turn: u64,
}

impl Listers {
    pub(super) fn add(&self, source: &dyn Source) {
        if let Some(lister) = source.lister() {
            self.rota().listers.insert(source.id().to_owned(), (0, lister));
        }
    }

    pub(super) fn remove(&self, source: &str) {
        self.rota().listers.remove(source);
    }

    /// Returns whose turn it is: the one that has waited longest.
    fn next(&self) -> Option<(String, Arc<dyn Lister>)> {
        let mut rota = self.rota();
        rota.turn += 1;
        let turn = rota.turn;
        let (source, (last, lister)) = rota.listers.iter_mut().min_by_key(|(_, (last, _))| *last)?;
        *last = turn;
        Some((source.clone(), Arc::clone(lister)))
    }

    fn len(&self) -> u32 {
        u32::try_from(self.rota().listers.len()).unwrap_or(u32::MAX)
    }

    fn rota(&self) -> MutexGuard<'_, Rota> {
        // Nothing under the lock panics.
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Reverser {
    /// Verifies one resource after the other, each once in an interval, until it is dropped.
    pub(super) async fn verify_all(self, listers: Listers) {
        let (mut due, mut looked) = (Instant::now(), None::<Instant>);
        loop {
            // What takes longer than its share puts the others off; it doesn't make them come all at once.
            due = (due + self.verify_every / listers.len().max(1)).max(Instant::now());
            sleep_until(due).await;
            let Some((source, lister)) = listers.next() else { continue };
            if looked.is_none_or(|looked| looked.elapsed() >= self.verify_every / LOOKS) {
                looked = Some(Instant::now());
                if let Err(error) = self.sink.catch_up().await {
                    // Whoever pushes tells it, and what is known can be compared all the same.
                    tracing::debug!(%error, "what others have pushed isn't known");
                }
            }
            loop {
                match self.verify(&source, &*lister).await {
                    Ok(has_more) if has_more => {}
                    Ok(_) => break,
                    Err(error) => {
                        self.recording.lock().await.seen.end();
                        self.reporter.report(Notice::NotVerified { source: &source, error: &error });
                        break;
                    }
                }
            }
        }
    }

    /// Verifies what `source` tells of, and repairs what differs; returns whether there is more to repair.
    pub(super) async fn verify(&self, source: &str, lister: &dyn Lister) -> Result<bool, CompareError> {
        let begun = Instant::now();
        let Some(position) = self.recording.lock().await.seen.begin(source, lister.resource()) else {
            // It hasn't been listed yet.
            return Ok(false);
        };
        let ignores_managers = !self.pipeline.selector.ignore_managers.is_empty();
        let mut found = Found { ignores_managers, ..Found::default() };
        let mut take = |finding| found.take(finding);
        let compared = match compare(&self.pipeline, &*self.sink, lister, Some(&position), &mut take).await {
            Ok(compared) => compared,
            // Nothing has happened for so long that nobody knows any more how it was. A bookmark comes every minute.
            Err(CompareError::List(ApiError::Expired)) => {
                self.recording.lock().await.seen.end();
                return Ok(false);
            }
            Err(error) => return Err(error),
        };
        let verified = Verified {
            resource: Arc::clone(lister.resource()),
            namespace: lister.namespace().map(str::to_owned),
            objects: compared.objects,
            missing: 0,
            extra: 0,
            different: 0,
            superseded: 0,
            left_out: found.left_out,
            at: Timestamp::now(),
            took: begun.elapsed(),
        };
        let files = compared.files + found.extra;
        self.settle_verification(verified, found, files, position.parse().ok()).await
    }

    /// Takes out what was recorded meanwhile, and commits what is left, in the recorder's turn.
    async fn settle_verification(
        &self,
        mut verified: Verified,
        found: Found,
        files: usize,
        position: Option<u64>,
    ) -> Result<bool, CompareError> {
        let mut recording = self.recording.lock().await;
        let Some(since) = recording.seen.end().filter(|since| !since.is_void()) else {
            // Git was brought in line with a list meanwhile.
            return Ok(false);
        };
        let (mut repaired, mut edits, mut extra) = (Vec::new(), Vec::new(), 0);
        let is_mass_deletion = is_mass_deletion(found.extra, files) && !self.allow_mass_delete;
        for suspect in found.suspects {
            let (path, live) = (&suspect.path, suspect.live.as_deref());
            let is_excused = since.excuses(path, live)
                || recording.touches(path)
                || position.is_some_and(|position| self.lock_written().is_ahead(path, position, live));
            if is_excused {
                continue;
            }
            let Some((drifted, edit)) = self.confirm(suspect, verified.namespace.as_deref()).await? else { continue };
            verified.count(&drifted);
            extra += usize::from(drifted.drift == Drift::Extra);
            if drifted.drift != Drift::Extra || !is_mass_deletion {
                repaired.push(drifted);
                edits.push(edit);
            }
        }
        if is_mass_deletion && extra > 0 {
            self.reporter.report(Notice::Held { resource: &verified.resource, files: found.extra, of: files });
        }
        edits.iter().for_each(|edit| self.lock_written().note(edit));
        let mut plans = Vec::new();
        if !repaired.is_empty() {
            plans.push(self.pipeline.verify_plan(&repaired, edits, Timestamp::now()));
        }
        let outcomes = self.commit_batch(&Batch { plans, cursors: BTreeMap::new() }).await?;
        let commit = outcomes.first().and_then(commit_id);
        self.reporter.report(Notice::Verified { verified: &verified, commit });
        // Without a commit it would be the same again.
        Ok(found.has_more && outcomes.iter().any(|outcome| *outcome != reverser_git::Outcome::Unchanged))
    }

    /// Looks at a file again: nothing is recorded meanwhile. Returns how it differs and what helps.
    async fn confirm(&self, suspect: Suspect, namespace: Option<&str>) -> Result<Option<(Drifted, Edit)>, SinkError> {
        let Suspect { drift, object, path, live, is_left_out } = suspect;
        let standing = self.persist(|| self.sink.read(&path)).await?;
        let (drift, edit) = match (standing, live) {
            (Some(standing), Some(live)) if says_the_same(&path, &standing, &live) => return Ok(None),
            (Some(_), Some(content)) => (Drift::Different, Edit::Put { path, content }),
            (None, Some(content)) => (Drift::Missing, Edit::Put { path, content }),
            (Some(standing), None) if self.pipeline.owns(&path, &standing, &object.resource, namespace) => {
                (drift, Edit::Delete { path })
            }
            (_, None) => return Ok(None),
        };
        Ok(Some((Drifted { drift, object, is_left_out }, edit)))
    }
}

/// What a comparison has found, before anybody asked what was recorded meanwhile.
#[derive(Debug, Default)]
struct Found {
    /// Changes of some field managers aren't recorded, but for deletions.
    ignores_managers: bool,
    suspects: Vec<Suspect>,
    bytes: usize,
    /// Files without an object, all of them.
    extra: usize,
    /// Differences that the selector asks for.
    left_out: usize,
    /// There were more than fit.
    has_more: bool,
}

struct Suspect {
    drift: Drift,
    object: ObjectRef,
    path: RepoPath,
    live: Option<Vec<u8>>,
    is_left_out: bool,
}

/// Never shows content.
impl std::fmt::Debug for Suspect {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Suspect").field("drift", &self.drift).field("path", &self.path).finish_non_exhaustive()
    }
}

impl Found {
    fn take(&mut self, finding: Finding) {
        // What can't be sealed was told when it was read.
        let Finding::Differs(Difference { drift, object, path, git: _, live, wanted }) = finding else { return };
        if wanted == Wanted::No {
            self.left_out += 1;
            return;
        }
        self.extra += usize::from(drift == Drift::Extra);
        let bytes = live.as_ref().map_or(0, Vec::len);
        if self.suspects.len() >= REPAIRS || self.bytes + bytes > REPAIR_BYTES && !self.suspects.is_empty() {
            self.has_more = true;
            return;
        }
        self.bytes += bytes;
        let is_left_out =
            matches!(wanted, Wanted::By(_)) || self.ignores_managers && drift.operation() != Operation::Delete;
        self.suspects.push(Suspect { drift, object, path, live, is_left_out });
    }
}
