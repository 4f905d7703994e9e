//! What a request asks for, as far as it can join a change with whoever made it.

use reverser_core::{Actor, Fingerprinter};
use serde::{Deserialize, Serialize};

use crate::uuid::uuid;

/// Names an object for ever: `metadata.uid`, which is a UUID.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub(super) struct Uid(u128);

impl Uid {
    /// Returns the uid of that text; one that is no UUID, as only a server other than Kubernetes' own makes it, is digested.
    pub(super) fn of(text: &str, fingerprinter: &Fingerprinter) -> Self {
        Self(uuid(text).unwrap_or_else(|| {
            let object = serde_json::json!({ "uid": text }).to_string();
            fingerprinter.of(&object).map_or(0, |fingerprint| fingerprint.content)
        }))
    }
}

/// A request that would write something, if the API server goes on to do it.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Fact {
    pub(super) actor: Actor,
    pub(super) deed: Deed,
}

/// What would be written.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub(super) enum Deed {
    Create(Write),
    Delete(Deletion),
    /// Of a Pod, through its subresource `eviction`, which knows neither uid nor version.
    Evict {
        namespace: String,
        name: String,
    },
    Update(Write),
    /// Of whatever has a subresource `scale`.
    Scale(Write),
}

/// A version of an object to come.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub(super) struct Write {
    pub(super) uid: Uid,
    /// The version that it replaces; 0 for a creation.
    pub(super) replaced: u64,
    /// [D1](reverser_core::Fingerprint::content) of the object; of a scale the replicas.
    pub(super) content: u128,
    /// [D2](reverser_core::Fingerprint::managed) of the object.
    pub(super) managed: Option<u128>,
    /// Stands for the version of the API that the object is written in.
    pub(super) api_version: u32,
    /// Whether a watch may show the same object otherwise, so that only D2 joins.
    pub(super) may_differ: bool,
    /// Whether the object is what it was: then nothing is written, and there is no event.
    pub(super) is_noop: bool,
    pub(super) is_terminating: bool,
    /// The name of a CustomResourceDefinition that is created.
    pub(super) defines: Option<String>,
}

/// An object that is to go.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub(super) struct Deletion {
    pub(super) uid: Uid,
    /// Its version at that moment.
    pub(super) replaced: u64,
    /// Whether somebody else has deleted it before: then this request isn't why it goes.
    pub(super) is_terminating: bool,
    pub(super) namespace: Option<String>,
    pub(super) owners: Vec<Uid>,
    pub(super) takes_along: Option<Root>,
}

/// What takes other objects along when it is deleted, by a name that these know.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub(super) enum Root {
    /// A CustomResourceDefinition: `widgets.example.com`.
    Definition(String),
    Namespace(String),
}

/// Stands for a version of an API: the same for the same one, in every run.
pub(super) fn api_version(version: &str) -> u32 {
    crc32fast::hash(version.as_bytes())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_uid_is_a_uuid_or_a_digest() {
        let fingerprinter = Fingerprinter::new([7; 16]);
        let of = |text: &str| Uid::of(text, &fingerprinter);
        assert_eq!(of("00000000-0000-0000-0000-0000000000ff"), Uid(255));
        assert_eq!(of("4f1c0000-0000-4000-8000-00000000000a"), Uid(0x4f1c_0000_0000_4000_8000_0000_0000_000a));
        let others = ["", "u-1", "4F1C0000-0000-4000-8000-00000000000A", "4f1c000000004000800000000000000a", "\"", "ü"];
        for (index, text) in others.iter().enumerate() {
            assert_ne!(of(text), of("4f1c0000-0000-4000-8000-00000000000a"), "{text}");
            assert!(others[..index].iter().all(|other| of(other) != of(text)), "{text}");
            assert_eq!(of(text), of(text));
        }
    }
}
