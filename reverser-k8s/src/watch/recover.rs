//! What happened in a gap: after a 410 a watch can't say, but etcd still knows.
//!
//! ```text
//! cursor ──410──► read the past ─┬─► etcd has it:      each version; then watch on from there
//!                                ├─► etcd forgot it:   everything at the oldest revision it has; then read on from there
//!                                └─► no past to read:  everything as it is
//! ```
//!
//! An API server forgets when it restarts. etcd keeps five to ten minutes (kube-apiserver's
//! `--etcd-compaction-interval`), and lists with `resourceVersionMatch=Exact` are answered from it. What that
//! guarantees, and how it was chosen: docs/decisions/recovering-history.md.

mod requests;
mod walk;

use reverser_core::{Change, ObjectRef};
use serde_json::Value;

use self::{
    requests::Requests,
    walk::{Reading, Step, Unreadable, read},
};
use crate::{api_error::ApiError, list::List};

/// How much of a history is held at once, as text; as values it is about five times as much. What is longer comes in parts.
/// Several watches recover at the same time: when an API server restarts, all of them have a gap.
const BYTES: usize = 2 << 20;

/// What could be found out.
#[derive(Debug)]
pub(super) enum Recovery {
    /// What happened, in order, each with the version that it made.
    Changes {
        changes: Vec<Change>,
        /// Up to where these are all.
        until: String,
        /// Whether that was now; else more is to be recovered from there.
        is_all: bool,
    },
    /// Everything as it was at the oldest revision that etcd has. What came then is to be recovered from there.
    State { objects: Vec<Value>, version: String },
    /// Nothing: what is there now is to be listed.
    Unavailable { why: &'static str },
}

/// Finds out what happened after `cursor`.
pub(super) async fn recover(list: &List, cursor: &str) -> Result<Recovery, ApiError> {
    // Versions of one resource compare as integers (KEP-5504).
    let Ok(cursor) = cursor.parse() else { return Ok(Recovery::Unavailable { why: "positions are no integers" }) };
    let requests = Requests { list };
    Ok(match read(&requests, cursor, BYTES).await? {
        Reading::Forgotten { oldest } => match requests.everything_at(oldest).await {
            Ok(objects) => Recovery::State { objects, version: oldest.to_string() },
            Err(Unreadable::Failed(error)) => return Err(error),
            // Compacted again meanwhile.
            Err(_) => Recovery::Unavailable { why: COMPACTED },
        },
        Reading::Steps { steps, until, is_all } => {
            let changes = steps.into_iter().filter_map(|step| change(list, step).transpose());
            Recovery::Changes { changes: changes.collect::<Result<_, _>>()?, until: until.to_string(), is_all }
        }
        Reading::Unsupported(why) => Recovery::Unavailable { why },
    })
}

/// Why the older part of a history is gone.
pub(super) const COMPACTED: &str = "etcd was compacted";

/// Returns a step as a watch would have reported it.
fn change(list: &List, step: Step) -> Result<Option<Change>, ApiError> {
    let mut object = list.read(&step.body)?;
    // A deletion has a version of its own there, not that of the last write.
    object["metadata"]["resourceVersion"] = step.version.to_string().into();
    let reference = ObjectRef::of(&list.resource, &object);
    Ok(reference.map(|reference| Change { at: step.at, ..Change::new(reference, step.operation, Some(object)) }))
}
