//! Which version of each object a watch has told of last: an event doesn't name the version that it replaces.

use std::{
    collections::HashMap,
    hash::{BuildHasher, RandomState},
};

use reverser_core::Operation;
use serde_json::Value;

use crate::uuid::uuid;

/// The last version of each object, by its uid: 25 bytes, of which a table holds 29 to 57 for each, depending on how full
/// it is. Bounded by the objects that there are.
#[derive(Clone, Debug, Default)]
pub(super) struct Versions {
    of: HashMap<[u8; 16], u64>,
    /// Tells apart what is no UUID, as aggregated APIs may have it.
    hashers: [RandomState; 2],
    /// Whether objects that aren't among these are new.
    is_complete: bool,
}

impl Versions {
    /// Returns the versions of all objects that there are.
    pub(super) fn all<'a>(objects: impl IntoIterator<Item = &'a Value>) -> Self {
        let mut versions = Self { is_complete: true, ..Self::default() };
        for object in objects {
            let metadata = &object["metadata"];
            if let (Some(uid), Some(version)) = (metadata["uid"].as_str(), version_of(metadata)) {
                versions.note(uid, version);
            }
        }
        versions
    }

    /// Takes note of the version of an object.
    pub(super) fn note(&mut self, uid: &str, version: u64) {
        self.of.insert(self.key(uid), version);
    }

    /// Says that these are all that can be found out.
    pub(super) fn completed(self) -> Self {
        Self { is_complete: true, ..self }
    }

    /// Takes note of what became of an object, in the order in which it happened; returns the version that was before it,
    /// where that is known.
    pub(super) fn step(&mut self, operation: Operation, object: &Value) -> Option<u64> {
        let metadata = &object["metadata"];
        let key = self.key(metadata["uid"].as_str()?);
        let version = version_of(metadata)?;
        let before = match operation {
            Operation::Create => {
                self.of.insert(key, version);
                None
            }
            Operation::Delete => self.of.remove(&key),
            Operation::Update => self.of.insert(key, version),
        };
        // Versions of one resource compare as integers (KEP-5504).
        before.filter(|before| *before < version)
    }

    pub(super) fn is_complete(&self) -> bool {
        self.is_complete
    }

    fn key(&self, uid: &str) -> [u8; 16] {
        let hashed = || {
            let [high, low] = self.hashers.each_ref().map(|hasher| u128::from(hasher.hash_one(uid)));
            high << 64 | low
        };
        uuid(uid).unwrap_or_else(hashed).to_ne_bytes()
    }
}

fn version_of(metadata: &Value) -> Option<u64> {
    metadata["resourceVersion"].as_str()?.parse().ok()
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    const UID: &str = "0a1b2c3d-4e5f-6071-8293-a4b5c6d7e8f9";

    fn object(uid: &str, version: &str) -> Value {
        json!({"metadata": {"uid": uid, "resourceVersion": version}})
    }

    #[test]
    fn each_step_tells_the_version_before_it_and_a_creation_none() {
        for uid in [UID, "not-a-uuid", ""] {
            let mut versions = Versions::all([&object(uid, "7"), &object("another", "8")]);
            assert_eq!(versions.step(Operation::Update, &object(uid, "9")), Some(7));
            assert_eq!(versions.step(Operation::Update, &object(uid, "12")), Some(9));
            assert_eq!(versions.step(Operation::Delete, &object(uid, "13")), Some(12));
            assert_eq!(versions.step(Operation::Delete, &object(uid, "13")), None, "it is gone");
            assert_eq!(versions.step(Operation::Create, &object(uid, "14")), None);
            assert_eq!(versions.step(Operation::Update, &object(uid, "15")), Some(14));
            assert_eq!(versions.step(Operation::Update, &object("another", "16")), Some(8));
        }
    }

    #[test]
    fn what_is_not_known_or_does_not_compare_is_not_told() {
        let mut versions = Versions::all([&object(UID, "7")]);
        assert_eq!(versions.step(Operation::Update, &object("new", "9")), None);
        assert_eq!(versions.step(Operation::Update, &object(UID, "v10")), None, "no integer");
        assert_eq!(versions.step(Operation::Update, &object(UID, "7")), None, "not later");
        assert_eq!(versions.step(Operation::Update, &json!({"metadata": {"resourceVersion": "8"}})), None, "no uid");
    }

    #[test]
    fn an_object_takes_some_thirty_bytes() {
        assert_eq!(size_of::<([u8; 16], u64)>(), 24);
    }
}
