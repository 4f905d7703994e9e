//! What an audit event shows of an object: in its answer, and of what was sent.

use jiff::{SignedDuration, Timestamp};
use serde::{Deserialize, Deserializer, de::DeserializeOwned};
use serde_json::value::RawValue;

/// What an answer says of which object it is about.
#[derive(Clone, Debug, Default, Deserialize)]
pub(super) struct Answer {
    #[serde(default)]
    pub(super) metadata: Meta,
    /// Of a Status; a custom resource may have anything there, as in `items`.
    #[serde(default, deserialize_with = "if_such")]
    details: Option<Details>,
    /// Of a list.
    #[serde(default, deserialize_with = "if_such")]
    pub(super) items: Option<Vec<Self>>,
}

#[derive(Clone, Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct Meta {
    pub(super) uid: Option<String>,
    resource_version: Option<String>,
    managed_fields: Option<Vec<Manager>>,
    pub(super) owner_references: Option<Vec<Details>>,
    pub(super) deletion_timestamp: Option<Timestamp>,
    deletion_grace_period_seconds: Option<i64>,
}

#[derive(Clone, Debug, Deserialize)]
struct Manager {
    #[serde(default)]
    manager: String,
    #[serde(default)]
    subresource: String,
    time: Option<Timestamp>,
}

#[derive(Clone, Debug, Deserialize)]
pub(super) struct Details {
    pub(super) uid: String,
}

/// Reads what is of that shape, and takes anything else for nothing.
fn if_such<'de, D: Deserializer<'de>, T: DeserializeOwned>(deserializer: D) -> Result<Option<T>, D::Error> {
    let text = <&RawValue>::deserialize(deserializer)?;
    Ok(serde_json::from_str(text.get()).ok())
}

impl Answer {
    pub(super) fn uid(&self) -> Option<&str> {
        let uid = self.metadata.uid.as_deref().or_else(|| Some(&*self.details.as_ref()?.uid));
        uid.filter(|uid| !uid.is_empty())
    }

    pub(super) fn version(&self) -> Option<u64> {
        self.metadata.resource_version.as_ref()?.parse().ok()
    }
}

impl Meta {
    pub(super) fn marks(&self) -> impl Iterator<Item = Mark> {
        self.managed_fields.iter().flatten().filter_map(|entry| {
            let Manager { manager, subresource, time } = entry.clone();
            Some(Mark { manager, subresource, second: time?.as_second() })
        })
    }

    /// Returns the second in which the deletion was asked for.
    pub(super) fn asked_at(&self) -> Option<i64> {
        asked_at(self.deletion_timestamp?, self.deletion_grace_period_seconds)
    }
}

/// Returns the second in which a deletion was asked for: a deletionTimestamp is when the grace period ends.
pub(super) fn asked_at(deletion: Timestamp, grace_seconds: Option<i64>) -> Option<i64> {
    let grace = SignedDuration::from_secs(grace_seconds.unwrap_or(0));
    deletion.checked_sub(grace).ok().map(|asked| asked.as_second())
}

/// That a field manager was at work.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Mark {
    pub(super) manager: String,
    pub(super) subresource: String,
    pub(super) second: i64,
}

/// Returns the version that stands in an object, or a patch, that was sent.
pub(super) fn sent_version(sent: &RawValue) -> Option<String> {
    #[derive(Deserialize)]
    struct Sent {
        metadata: Meta,
    }
    serde_json::from_str::<Sent>(sent.get()).ok()?.metadata.resource_version
}
