//! What joins a change with the request that made it: digests of the object, in no matter which order its fields come.
//!
//! The object that a validating admission webhook is shown and the one that a watch shows later are the same but for
//! `metadata.resourceVersion`; of few kinds only their managed fields and their generation are the same.

use std::{fmt, hash::Hasher};

use serde::de::{DeserializeSeed, Deserializer, Error, MapAccess, SeqAccess, Visitor};
use serde_json::value::RawValue;
use siphasher::sip128::{Hasher128, SipHasher24};

/// Digests of one version of an object, and what else joins it with requests.
///
/// Digests of two fingerprinters with different keys don't compare, so that those of a Secret tell nobody anything.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Fingerprint {
    /// Of everything but `metadata.resourceVersion`.
    pub content: u128,
    /// Of `metadata.managedFields` and `metadata.generation`; `None` without managed fields, since a generation alone tells
    /// nobody apart.
    pub managed: Option<u128>,
    /// Of `spec.replicas`, where there is one: what the scale subresource changes.
    pub replicas: Option<u128>,
    /// Whether it has a `metadata.deletionTimestamp`.
    pub is_terminating: bool,
}

/// Makes fingerprints with one secret key.
///
/// ```
/// use reverser_core::Fingerprinter;
///
/// let fingerprinter = Fingerprinter::new(*b"a secret of 16 b");
/// let admitted = fingerprinter.of(r#"{"metadata": {"name": "web", "resourceVersion": "7"}, "data": {"a": "1", "b": "2"}}"#)?;
/// let watched = fingerprinter.of(r#"{"data": {"b": "2", "a": "1"}, "metadata": {"name": "web", "resourceVersion": "8"}}"#)?;
/// assert_eq!(admitted, watched);
///
/// let other = fingerprinter.of(r#"{"metadata": {"name": "web", "resourceVersion": "8"}, "data": {"a": "1", "b": "3"}}"#)?;
/// assert_ne!(admitted.content, other.content);
/// assert_eq!(other.managed, None);
/// # Ok::<(), serde_json::Error>(())
/// ```
#[derive(Clone)]
pub struct Fingerprinter {
    key: [u8; 16],
}

impl Fingerprinter {
    /// Returns one with that key. It has to be secret and chosen by chance.
    pub fn new(key: [u8; 16]) -> Self {
        Self { key }
    }

    /// Returns the fingerprint of an object as the API server serves it, in JSON.
    ///
    /// # Errors
    /// It is no JSON object, or nested deeper than 128 levels.
    pub fn of(&self, object: &str) -> Result<Fingerprint, serde_json::Error> {
        let mut found = Fingerprint::default();
        let mut deserializer = serde_json::Deserializer::from_str(object);
        let map = Map { key: &self.key, found: &mut found, level: Level::Object };
        let content = map.deserialize(&mut deserializer)?;
        deserializer.end()?;
        Ok(Fingerprint { content, ..found })
    }
}

/// Never shows the key.
impl fmt::Debug for Fingerprinter {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Fingerprinter")
    }
}

/// What a digest is of, so that no value looks like one of another type.
#[derive(Clone, Copy)]
enum Tag {
    Bool,
    Entry,
    Float,
    Integer,
    Map,
    Null,
    Sequence,
    Text,
}

fn hash(key: &[u8; 16], tag: Tag, parts: [&[u8]; 2]) -> u128 {
    let mut hasher = SipHasher24::new_with_key(key);
    hasher.write_u8(tag as u8);
    for part in parts {
        hasher.write_usize(part.len());
        hasher.write(part);
    }
    hasher.finish128().as_u128()
}

/// Digests the entries of a map in any order: their digests are added up.
struct Entries<'a> {
    key: &'a [u8; 16],
    sum: u128,
}

impl<'a> Entries<'a> {
    fn new(key: &'a [u8; 16]) -> Self {
        Self { key, sum: 0 }
    }

    fn add(&mut self, name: &str, value: u128) {
        self.sum = self.sum.wrapping_add(hash(self.key, Tag::Entry, [name.as_bytes(), &value.to_le_bytes()]));
    }

    fn end(self) -> u128 {
        hash(self.key, Tag::Map, [&self.sum.to_le_bytes(), &[]])
    }
}

/// Digests any value.
struct Digest<'a>(&'a [u8; 16]);

impl<'de> DeserializeSeed<'de> for Digest<'_> {
    type Value = u128;

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<u128, D::Error> {
        deserializer.deserialize_any(self)
    }
}

impl<'de> Visitor<'de> for Digest<'_> {
    type Value = u128;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a JSON value")
    }

    fn visit_bool<E: Error>(self, value: bool) -> Result<u128, E> {
        Ok(hash(self.0, Tag::Bool, [&[u8::from(value)], &[]]))
    }

    fn visit_i64<E: Error>(self, value: i64) -> Result<u128, E> {
        Ok(hash(self.0, Tag::Integer, [&i128::from(value).to_le_bytes(), &[]]))
    }

    fn visit_u64<E: Error>(self, value: u64) -> Result<u128, E> {
        Ok(hash(self.0, Tag::Integer, [&i128::from(value).to_le_bytes(), &[]]))
    }

    fn visit_f64<E: Error>(self, value: f64) -> Result<u128, E> {
        Ok(hash(self.0, Tag::Float, [&value.to_bits().to_le_bytes(), &[]]))
    }

    fn visit_str<E: Error>(self, value: &str) -> Result<u128, E> {
        Ok(hash(self.0, Tag::Text, [value.as_bytes(), &[]]))
    }

    fn visit_unit<E: Error>(self) -> Result<u128, E> {
        Ok(hash(self.0, Tag::Null, [&[], &[]]))
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut items: A) -> Result<u128, A::Error> {
        let mut hasher = SipHasher24::new_with_key(self.0);
        hasher.write_u8(Tag::Sequence as u8);
        while let Some(item) = items.next_element_seed(Digest(self.0))? {
            hasher.write_u128(item);
        }
        Ok(hasher.finish128().as_u128())
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<u128, A::Error> {
        let mut entries = Entries::new(self.0);
        while let Some(name) = map.next_key::<std::borrow::Cow<'de, str>>()? {
            let value = map.next_value_seed(Digest(self.0))?;
            entries.add(&name, value);
        }
        Ok(entries.end())
    }
}

/// Which map of an object is read.
enum Level {
    Metadata,
    Object,
    Spec,
}

/// Digests a map of an object, and takes note of what is found there.
struct Map<'a> {
    key: &'a [u8; 16],
    found: &'a mut Fingerprint,
    level: Level,
}

impl<'de> DeserializeSeed<'de> for Map<'_> {
    type Value = u128;

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<u128, D::Error> {
        deserializer.deserialize_map(self)
    }
}

impl<'de> Visitor<'de> for Map<'_> {
    type Value = u128;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self.level {
            Level::Metadata => "the metadata of an object",
            Level::Object => "an object",
            Level::Spec => "the spec of an object",
        })
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<u128, A::Error> {
        let Self { key, found, level } = self;
        let (mut entries, mut managed) = (Entries::new(key), Entries::new(key));
        let mut is_managed = false;
        while let Some(name) = map.next_key::<std::borrow::Cow<'de, str>>()? {
            // A custom resource may have anything as its spec.
            let text = map.next_value::<&'de RawValue>()?.get();
            let nested = match (&level, &*name) {
                (Level::Object, "metadata") => Some(Level::Metadata),
                (Level::Object, "spec") if text.starts_with('{') => Some(Level::Spec),
                _ => None,
            };
            let digest = match nested {
                Some(level) => Map { key, found, level }.deserialize(&mut serde_json::Deserializer::from_str(text)),
                None => Digest(key).deserialize(&mut serde_json::Deserializer::from_str(text)),
            };
            let digest = digest.map_err(A::Error::custom)?;
            match (&level, &*name) {
                (Level::Metadata, "resourceVersion") => continue,
                (Level::Metadata, "managedFields" | "generation") => {
                    is_managed |= name == "managedFields" && !matches!(text, "null" | "[]");
                    managed.add(&name, digest);
                }
                (Level::Metadata, "deletionTimestamp") => found.is_terminating = text != "null",
                (Level::Spec, "replicas") => found.replicas = Some(digest),
                _ => {}
            }
            entries.add(&name, digest);
        }
        if let Level::Metadata = level {
            found.managed = is_managed.then(|| managed.end());
        }
        Ok(entries.end())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of(object: &str) -> Fingerprint {
        Fingerprinter::new([7; 16]).of(object).unwrap()
    }

    #[test]
    fn what_differs_has_another_digest() {
        let values = [
            "null",
            "true",
            "false",
            "0",
            "1",
            "-1",
            "1.5",
            r#""""#,
            r#""1""#,
            "[]",
            "[[]]",
            "{}",
            "[1,2]",
            "[2,1]",
            "[12]",
            r#"{"a":1}"#,
            r#"{"a":{"b":1}}"#,
            r#"{"a":1,"b":2}"#,
            r#"{"a":2,"b":1}"#,
            r#"{"b":1}"#,
        ];
        let digests: std::collections::HashSet<_> =
            values.iter().map(|value| of(&format!(r#"{{"data": {value}}}"#)).content).collect();
        assert_eq!(digests.len(), values.len());
    }

    #[test]
    fn the_version_and_the_order_of_fields_make_no_difference() {
        let a = of(r#"{"kind":"A","metadata":{"name":"a","resourceVersion":"1"},"spec":{"x":[{"p":1,"q":"\u00e9"}]}}"#);
        let b = of(
            r#"{"spec": {"x": [{"q": "é", "p": 1}]}, "metadata": {"resourceVersion": "22", "name": "a"}, "kind": "A"}"#,
        );
        assert_eq!(a, b);
        assert_ne!(a.content, of(r#"{"kind":"A","metadata":{"name":"a"},"spec":{"resourceVersion":"1"}}"#).content);
    }

    #[test]
    fn what_joins_beside_the_content_is_found() {
        let object = |replicas: u32, time: &str| {
            of(&format!(
                r#"{{"metadata":{{"generation":2,"managedFields":[{{"time":"{time}"}}],"deletionTimestamp":"2026-11-27T08:00:00Z"}},
                "spec":{{"replicas":{replicas}}}}}"#
            ))
        };
        let one = object(1, "a");
        assert!(one.is_terminating);
        let two = object(2, "a");
        assert_eq!(one.managed, two.managed);
        assert_ne!((one.replicas, one.content), (two.replicas, two.content));
        assert_ne!(one.managed, object(1, "b").managed);
        assert!(one.managed.is_some());
        for nobody in ["", r#","managedFields":[]"#, r#","managedFields":null"#] {
            assert_eq!(of(&format!(r#"{{"metadata":{{"generation":1{nobody}}}}}"#)).managed, None, "{nobody}");
        }
        let scale = of(r#"{"kind":"Scale","spec":{"replicas":1}}"#);
        assert_eq!(scale.replicas, one.replicas);
        assert_eq!(of(r#"{"spec":"text"}"#).replicas, None);
    }

    #[test]
    fn digests_of_two_keys_do_not_compare() {
        let object = r#"{"data":{"password":"aHVudGVyMg=="}}"#;
        assert_ne!(of(object).content, Fingerprinter::new([8; 16]).of(object).unwrap().content);
    }

    #[test]
    fn what_is_no_object_is_an_error() {
        for text in ["", "[]", "1", "{", "{} {}", r#"{"metadata":1}"#, &format!(r#"{{"a":{}"#, "[".repeat(1000))] {
            assert!(Fingerprinter::new([7; 16]).of(text).is_err(), "{text}");
        }
    }
}
