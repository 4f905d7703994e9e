//! What a watch has shown of an object.

use jiff::Timestamp;
use serde_json::Value;

use crate::audit::answer::{Mark, asked_at};

/// One version of an object, as it was watched.
#[derive(Debug)]
pub(super) struct Seen {
    pub(super) version: u64,
    pub(super) created: Option<i64>,
    /// When its deletion was asked for.
    pub(super) asked: Option<i64>,
    /// Of its last second: earlier ones were in the version before, too.
    pub(super) marks: Vec<Mark>,
    pub(super) owners: Vec<String>,
    pub(super) replicas: Option<i64>,
    /// The version before, of what can be scaled.
    pub(super) before: Option<Scalable>,
}

/// What a scaling is seen by: it changes the replicas, and leaves no mark.
#[derive(Clone, Copy, Debug)]
pub(super) struct Scalable {
    pub(super) version: u64,
    pub(super) newest: Option<i64>,
    pub(super) replicas: Option<i64>,
}

impl Seen {
    pub(super) fn of(version: u64, body: &Value) -> Self {
        let metadata = &body["metadata"];
        let time = |value: &Value| value.as_str()?.parse::<Timestamp>().ok();
        let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
        let entries = metadata["managedFields"].as_array();
        let mut marks: Vec<_> = entries
            .into_iter()
            .flatten()
            .filter_map(|entry| {
                let second = time(&entry["time"])?.as_second();
                Some(Mark { manager: text(&entry["manager"]), subresource: text(&entry["subresource"]), second })
            })
            .collect();
        let newest = marks.iter().map(|mark| mark.second).max();
        marks.retain(|mark| Some(mark.second) == newest);
        let owners = metadata["ownerReferences"].as_array().into_iter().flatten().map(|owner| text(&owner["uid"]));
        let grace = metadata["deletionGracePeriodSeconds"].as_i64();
        Self {
            version,
            created: time(&metadata["creationTimestamp"]).map(|created| created.as_second()),
            asked: time(&metadata["deletionTimestamp"]).and_then(|deletion| asked_at(deletion, grace)),
            marks,
            owners: owners.collect(),
            replicas: body["spec"]["replicas"].as_i64(),
            before: None,
        }
    }
}
