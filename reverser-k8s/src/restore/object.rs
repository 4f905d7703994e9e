//! One object, from what it is to what its file says.

use reverser_core::{ObjectRef, Sanitizer};
use serde_json::Value;

use super::{
    Conflicts, Failure, Outcome, Run,
    align::{aligned, merge_patch, written},
    failure::{FieldConflict, field_conflicts},
    requests::{Effect, MANAGER, Requests},
};

/// Brings one object in line with its file.
pub(super) struct Task<'a> {
    pub(super) requests: &'a Requests,
    pub(super) object: &'a ObjectRef,
    /// What the file says, without what servers own.
    pub(super) manifest: &'a Value,
    /// Says what of a live object would stand in a file.
    pub(super) sanitizer: &'a Sanitizer,
    pub(super) run: Run,
    pub(super) conflicts: Conflicts,
}

/// What was found out by dry runs.
enum Step {
    /// Apply it.
    Apply { force: bool },
    /// Patch it: beside what the file says otherwise, there are fields that the file doesn't have.
    Patch(Value),
    /// Nothing differs.
    Stop,
}

impl Task<'_> {
    /// Returns what became of it. `live` is the object as it was a moment ago; each attempt that somebody else's change overtakes
    /// begins anew.
    pub(super) async fn run(&self, mut live: Option<Value>) -> Result<Outcome, Failure> {
        for _ in 0..ATTEMPTS {
            let done = match &live {
                None => self.create().await,
                Some(live) => self.change(live).await,
            };
            match done {
                Err(Failure::Moving) => {
                    let again = self.requests.get(&self.object.resource, self.object).await;
                    live = again.map_err(|error| Failure::of(error, self.object))?;
                }
                done => return done,
            }
        }
        Err(Failure::Moving)
    }

    /// Applies without a look at what is there.
    pub(super) async fn apply_unseen(&self) -> Result<Outcome, Failure> {
        self.apply(None, self.is_forced(), self.effect()).await.map(|_| Outcome::Changed)
    }

    async fn create(&self) -> Result<Outcome, Failure> {
        self.apply(None, self.is_forced(), self.effect()).await.map(|_| Outcome::Created)
    }

    async fn change(&self, live: &Value) -> Result<Outcome, Failure> {
        if !live["metadata"]["deletionTimestamp"].is_null() {
            return Err(Failure::Deleting);
        }
        let step = match self.step(live).await {
            // A webhook with side effects: then the write itself has to tell.
            Err(Failure::Refused { words }) if words.contains("does not support dry run") && self.run == Run::Apply => {
                Step::Apply { force: self.is_forced() }
            }
            step => step?,
        };
        let version = |object: &Value| object["metadata"]["resourceVersion"].clone();
        let written = match (step, self.run) {
            (Step::Stop, _) => return Ok(Outcome::Unchanged),
            (_, Run::DryRun) => return Ok(Outcome::Changed),
            (Step::Apply { force }, Run::Apply) => self.apply(Some(live), force, Effect::Real).await?,
            (Step::Patch(patch), Run::Apply) => self.merge(patch, live, Effect::Real).await?,
        };
        Ok(if version(&written) == version(live) { Outcome::Unchanged } else { Outcome::Changed })
    }

    /// Finds out by dry runs what has to be written. An apply alone takes nothing away that others have added since, and one that
    /// only adds our name to the owners of fields isn't worth a write.
    async fn step(&self, live: &Value) -> Result<Step, Failure> {
        let force = self.is_forced();
        let (force, merged) = match self.apply(Some(live), force, Effect::None).await {
            // What we have written by a patch is ours as well.
            Err(Failure::Conflict(conflicts)) if conflicts.iter().all(is_ours) => {
                (true, self.apply(Some(live), true, Effect::None).await?)
            }
            merged => (force, merged?),
        };
        let aligned = aligned(&merged, &self.sanitizer.clean(merged.clone()), self.manifest);
        let apply = || if is_same(&merged, live) { Step::Stop } else { Step::Apply { force } };
        if aligned == merged {
            return Ok(apply());
        }
        let Some(patch) = patch(live, &aligned) else { return Ok(Step::Stop) };
        // What the server fills in comes back, as does what can't be taken away.
        let patched = match self.merge(patch.clone(), live, Effect::None).await {
            Ok(patched) => patched,
            Err(Failure::Immutable { .. } | Failure::Refused { .. }) => return Ok(apply()),
            Err(error) => return Err(error),
        };
        if is_same(&patched, live) {
            return Ok(Step::Stop);
        }
        if is_same(&patched, &merged) {
            return Ok(Step::Apply { force });
        }
        match self.conflicts {
            Conflicts::TakeBack => Ok(Step::Patch(patch)),
            Conflicts::Report => {
                let taken = merge_patch(&comparable(&merged), &comparable(&patched)).unwrap_or_default();
                Err(Failure::Conflict(written(&taken, &merged)))
            }
        }
    }

    async fn apply(&self, live: Option<&Value>, force: bool, effect: Effect) -> Result<Value, Failure> {
        let mut manifest = self.manifest.clone();
        if let (Some(live), Some(metadata)) = (live, manifest["metadata"].as_object_mut()) {
            // Refused when somebody else has changed it since: it would be compared with what is no longer there.
            metadata.insert("resourceVersion".into(), live["metadata"]["resourceVersion"].clone());
        }
        let applied = self.requests.apply(self.object, &manifest, force, effect).await;
        applied.map_err(|error| self.refused(error))
    }

    async fn merge(&self, mut patch: Value, live: &Value, effect: Effect) -> Result<Value, Failure> {
        for field in ["resourceVersion", "uid"] {
            patch["metadata"][field] = live["metadata"][field].clone();
        }
        self.requests.merge(self.object, &patch, effect).await.map_err(|error| self.refused(error))
    }

    fn refused(&self, error: kube::Error) -> Failure {
        match &error {
            // Gone or made meanwhile.
            kube::Error::Api(status) if status.code == 409 && field_conflicts(status).is_empty() => Failure::Moving,
            _ => Failure::of(error, self.object),
        }
    }

    fn is_forced(&self) -> bool {
        self.conflicts == Conflicts::TakeBack
    }

    fn effect(&self) -> Effect {
        match self.run {
            Run::Apply => Effect::Real,
            Run::DryRun => Effect::None,
        }
    }
}

fn is_ours(conflict: &FieldConflict) -> bool {
    conflict.manager.starts_with(&format!("{MANAGER:?}"))
}

/// Whether both are the same but for what each write notes down.
fn is_same(a: &Value, b: &Value) -> bool {
    comparable(a) == comparable(b)
}

fn comparable(object: &Value) -> Value {
    let mut object = object.clone();
    if let Some(metadata) = object["metadata"].as_object_mut() {
        NOTES.iter().for_each(|field| drop(metadata.remove(*field)));
    }
    object
}

/// Returns the patch from one to the other without what each write notes down.
fn patch(live: &Value, aligned: &Value) -> Option<Value> {
    merge_patch(&comparable(live), &comparable(aligned))
}

const NOTES: [&str; 3] = ["generation", "managedFields", "resourceVersion"];

/// How often one object is begun anew: controllers write to an object several times when it is made, and then rest.
const ATTEMPTS: usize = 10;
