//! Who made an object what it is: the repository's history, read back as the history of an object.
//!
//! ```text
//! ObjectName ─► find ─► Found ─► Life: a Step for each commit that changed it, the latest first
//!                                 │  with Facts: who, when, how known
//!                                 ├─► object: which step each field is from
//!                                 └─► field: all values that it had
//! ```
//!
//! An object is who it says it is: by API group, kind, namespace and name. So it is found again where a file was renamed by another
//! layout, and in a file with others. No cluster is asked.

mod facts;
mod find;
mod life;
mod name;

use std::collections::BTreeMap;

use reverser_core::{FieldPath, leaves::Leaves};
use reverser_git::{GitHistory, ReadError};
use serde_json::Value;

pub use self::{
    facts::Facts,
    find::{FindError, Found, Identity, find},
    life::{Change, Life, Step},
    name::{ObjectName, ObjectNameError},
};

/// Which step each field of an object is from.
#[derive(Clone, Debug, Default)]
pub struct Blame {
    /// The steps that anything is from, the latest first.
    pub steps: Vec<Step>,
    /// The latest step of all, also when nothing is from it: it may have taken something away.
    pub latest: Option<Step>,
    /// All fields as they are, none when the object is gone.
    pub fields: Leaves,
    /// By path, the index of the step that a field is from.
    pub origins: BTreeMap<String, usize>,
    /// Whether the history goes on elsewhere: fields of the last step may be older.
    pub is_cut: bool,
}

/// A field at one time.
#[derive(Clone, Debug)]
pub struct FieldStep {
    /// What happened.
    pub step: Step,
    /// What there was since then at the path and below it; nothing: it was taken away, or its object.
    pub values: Leaves,
    /// The value as a whole, where the path means a single one that is there.
    pub value: Option<Value>,
}

/// Returns which step each field of the object is from. Reads no further back than that takes; of one that is gone, who deleted it.
pub async fn object(history: &GitHistory, found: &Found, progress: impl Fn(usize)) -> Result<Blame, ReadError> {
    let mut life = Life::new(history, found);
    let mut rest = found.body.as_ref().map(Leaves::of).unwrap_or_default();
    let mut blame = Blame { fields: rest.clone(), ..Blame::default() };
    while !rest.is_empty() || blame.latest.is_none() {
        let Some(step) = life.next(&progress).await? else { break };
        let before = step.before.as_ref().map(Leaves::of).unwrap_or_default();
        let newer = rest.take_newer_than(&before);
        if blame.latest.is_none() {
            blame.latest = Some(step.clone());
        }
        if !newer.is_empty() {
            blame.origins.extend(newer.iter().map(|(path, _)| (path, blame.steps.len())));
            blame.steps.push(step);
        }
    }
    blame.is_cut = life.is_cut();
    Ok(blame)
}

/// Returns all that a field was, the latest first, and whether the history goes on elsewhere.
pub async fn field(
    history: &GitHistory,
    found: &Found,
    path: &FieldPath,
    progress: impl Fn(usize),
) -> Result<(Vec<FieldStep>, bool), ReadError> {
    let (mut life, mut steps) = (Life::new(history, found), Vec::new());
    let at = |body: &Option<Value>| body.as_ref().map(|body| Leaves::at(body, path)).unwrap_or_default();
    while let Some(step) = life.next(&progress).await? {
        let (values, before) = (at(&step.body), at(&step.before));
        if values != before {
            let value = step.body.as_ref().and_then(|body| path.only(body)).cloned();
            steps.push(FieldStep { step, values, value });
        }
    }
    Ok((steps, life.is_cut()))
}
