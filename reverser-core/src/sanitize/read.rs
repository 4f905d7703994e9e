//! Reading an object without building what is removed anyway.
//!
//! Half of a live object is its managed fields, its status and the copy that `kubectl apply` keeps of it. Whether they
//! are needed is known before they come: a server writes `apiVersion` and `kind` first.

use std::fmt;

use serde::de::{DeserializeSeed, Deserializer, IgnoredAny, MapAccess, SeqAccess, Visitor};
use serde_json::{Map, Value};

use super::{Profile, Sanitizer, evidence::LAST_APPLIED, table};
use crate::{
    change::group_of,
    reason::{CHANGE_CAUSE, REASON},
};

impl Sanitizer {
    /// Returns the object that `json` holds, without the large parts that [`clean`](Self::clean) would remove: `status`,
    /// and what shows who wrote a field where neither a row of the table nor a reason asks for that. Cleaning the result gives the same as
    /// cleaning the whole object. Metadata other than that is there, also the managers' names and times.
    ///
    /// # Errors
    /// `json` isn't an object, or not JSON.
    ///
    /// ```
    /// # use reverser_core::Sanitizer;
    /// let json = r#"{
    ///   "apiVersion": "apps/v1", "kind": "Deployment",
    ///   "metadata": {"name": "web", "managedFields": [{"manager": "kubectl", "fieldsV1": {"f:spec": {}}}]},
    ///   "spec": {"replicas": 2}, "status": {"replicas": 2}
    /// }"#;
    /// let object = Sanitizer::faithful().read(json)?;
    /// assert_eq!(object["metadata"]["managedFields"][0]["manager"], "kubectl");
    /// assert!(object["metadata"]["managedFields"][0]["fieldsV1"].is_null() && object["status"].is_null());
    /// # Ok::<(), serde_json::Error>(())
    /// ```
    pub fn read(&self, json: &str) -> Result<Value, serde_json::Error> {
        let mut deserializer = serde_json::Deserializer::from_str(json);
        let object = self.deserialize(&mut deserializer)?;
        deserializer.end()?;
        Ok(object)
    }

    /// Returns whether rows about this kind, or the profile, ask who wrote a field.
    fn needs_evidence(&self, api_version: Option<&str>, kind: Option<&str>) -> bool {
        let (Some(api_version), Some(kind)) = (api_version, kind) else { return true };
        self.profile == Profile::Minimal
            || !self.keep.is_empty()
            || table::rows_of(group_of(api_version), kind).has_shared
    }
}

/// Does what [`Sanitizer::read`] does to an object inside of something else, such as a watch event, in the same pass.
impl<'de> DeserializeSeed<'de> for &Sanitizer {
    type Value = Value;

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<Value, D::Error> {
        deserializer.deserialize_map(self)
    }
}

impl<'de> Visitor<'de> for &Sanitizer {
    type Value = Value;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("an object")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut entries: A) -> Result<Value, A::Error> {
        let has_status = self.keeps_status || !self.keep.is_empty();
        let mut object = Map::new();
        while let Some(key) = entries.next_key::<String>()? {
            let text = |key| object.get(key).and_then(Value::as_str);
            let value = match key.as_str() {
                "status" if !has_status => {
                    entries.next_value::<IgnoredAny>()?;
                    continue;
                }
                "metadata" if !self.needs_evidence(text("apiVersion"), text("kind")) => {
                    entries.next_value_seed(Without(METADATA))?
                }
                _ => entries.next_value()?,
            };
            object.insert(key, value);
        }
        Ok(Value::Object(object))
    }
}

/// Reads a value, and skips what these say of its keys. In a list it is about each item.
#[derive(Clone, Copy)]
struct Without(&'static [(&'static str, Skip)]);

#[derive(Clone, Copy)]
enum Skip {
    /// Something below it.
    Below(&'static [(&'static str, Self)]),
    /// What it says, but not that it is there.
    Text,
    /// All of it.
    Whole,
}

const MANAGED_FIELDS: &str = "managedFields";

/// Returns whether the metadata so far, where servers write annotations before managed fields, say why the object was changed:
/// managed fields tell whether that was its last change.
fn says_why(metadata: &Map<String, Value>) -> bool {
    let annotations = metadata.get("annotations").and_then(Value::as_object);
    annotations.is_some_and(|annotations| [REASON, CHANGE_CAUSE].iter().any(|key| annotations.contains_key(*key)))
}

const METADATA: &[(&str, Skip)] = &[
    ("annotations", Skip::Below(&[(LAST_APPLIED, Skip::Text)])),
    (MANAGED_FIELDS, Skip::Below(&[("fieldsV1", Skip::Whole)])),
];

impl<'de> DeserializeSeed<'de> for Without {
    type Value = Value;

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<Value, D::Error> {
        deserializer.deserialize_any(self)
    }
}

impl<'de> Visitor<'de> for Without {
    type Value = Value;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a JSON value")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut entries: A) -> Result<Value, A::Error> {
        let mut map = Map::new();
        while let Some(key) = entries.next_key::<String>()? {
            let skip = self.0.iter().find(|(its, _)| *its == key).map(|(_, skip)| *skip);
            let value = match skip {
                None => entries.next_value()?,
                Some(Skip::Below(_)) if key == MANAGED_FIELDS && says_why(&map) => entries.next_value()?,
                Some(Skip::Below(keys)) => entries.next_value_seed(Self(keys))?,
                Some(Skip::Text) => {
                    entries.next_value::<IgnoredAny>()?;
                    Value::String(String::new())
                }
                Some(Skip::Whole) => {
                    entries.next_value::<IgnoredAny>()?;
                    continue;
                }
            };
            map.insert(key, value);
        }
        Ok(Value::Object(map))
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut items: A) -> Result<Value, A::Error> {
        let mut list = vec![];
        while let Some(item) = items.next_element_seed(self)? {
            list.push(item);
        }
        Ok(Value::Array(list))
    }

    fn visit_bool<E>(self, value: bool) -> Result<Value, E> {
        Ok(value.into())
    }

    fn visit_i64<E>(self, value: i64) -> Result<Value, E> {
        Ok(value.into())
    }

    fn visit_u64<E>(self, value: u64) -> Result<Value, E> {
        Ok(value.into())
    }

    fn visit_f64<E: serde::de::Error>(self, value: f64) -> Result<Value, E> {
        serde_json::Number::from_f64(value).map(Value::Number).ok_or_else(|| E::custom("not a finite number"))
    }

    fn visit_str<E>(self, value: &str) -> Result<Value, E> {
        Ok(value.into())
    }

    fn visit_string<E>(self, value: String) -> Result<Value, E> {
        Ok(value.into())
    }

    fn visit_unit<E>(self) -> Result<Value, E> {
        Ok(Value::Null)
    }
}
