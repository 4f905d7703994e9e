//! Asking somebody who knows which values of a manifest are defaults.

use std::fmt::Debug;

use async_trait::async_trait;
use serde_json::{Map, Value};

use super::{Sanitizer, cut, evidence::Evidence, minimal, parts};
use crate::field_path::{At, Location};

/// Knows what the API server makes of a manifest.
///
/// # Contract
/// Nothing is stored. The answer is what the server would store, with all defaults filled in.
///
/// ```
/// use reverser_core::sanitize::{Defaults, DefaultsError, Sanitizer};
/// use serde_json::{Value, json};
///
/// /// Knows one default of one kind.
/// #[derive(Debug)]
/// struct OneReplica;
///
/// #[async_trait::async_trait]
/// impl Defaults for OneReplica {
///     async fn complete(&self, manifest: &Value) -> Result<Option<Value>, DefaultsError> {
///         let mut object = manifest.clone();
///         if object["spec"]["replicas"].is_null() {
///             object["spec"]["replicas"] = 1.into();
///         }
///         Ok(Some(object))
///     }
/// }
///
/// # futures::executor::block_on(async {
/// let object = json!({"apiVersion": "v1", "kind": "App", "metadata": {"name": "a"}, "spec": {"replicas": 1, "image": "x"}});
/// let minimal = Sanitizer::minimal().minimize(object, &OneReplica).await?;
/// assert_eq!(minimal["spec"], json!({"image": "x"}));
/// # Ok::<(), DefaultsError>(()) }).unwrap();
/// ```
#[async_trait]
pub trait Defaults: Debug + Send + Sync {
    /// Returns what the server would store if it were given `manifest`, or `None` when it refuses it. The manifest has
    /// the uid and the resourceVersion of the object that it is about, where that has them.
    async fn complete(&self, manifest: &Value) -> Result<Option<Value>, DefaultsError>;
}

/// Nobody could say what the defaults are.
#[derive(Debug, thiserror::Error)]
#[error("could not ask for the defaults of {object}")]
pub struct DefaultsError {
    /// The object, as `KIND/NAME`.
    pub object: String,
    /// Why.
    #[source]
    pub source: Box<dyn std::error::Error + Send + Sync>,
}

/// Questions for one object. A Deployment of 60 fields takes some 60; past this the rest of the fields is kept.
const QUESTIONS: usize = 400;

impl Sanitizer {
    /// Returns the cleaned object without what `defaults` puts back: a value goes if without it the server would still
    /// store the same. What somebody is known to have applied stays all the same.
    ///
    /// Asks some questions for each field, at most 400.
    ///
    /// # Errors
    /// Those of `defaults`. A refused manifest is an answer, not an error.
    pub async fn minimize(&self, object: Value, defaults: &dyn Defaults) -> Result<Value, DefaultsError> {
        let identity = |field| object["metadata"].get(field).cloned().map(|value| (field, value));
        let version: Vec<_> = ["uid", "resourceVersion"].into_iter().filter_map(identity).collect();
        let wanted = self.clean(object.clone());
        let unapplied = minimal::unapplied(&wanted, &Evidence::of(&object));
        let mut search = Search { sanitizer: self, defaults, version, wanted: &wanted, left: QUESTIONS };
        search.shrink(wanted.clone(), unapplied).await
    }
}

struct Search<'a> {
    sanitizer: &'a Sanitizer,
    defaults: &'a dyn Defaults,
    version: Vec<(&'static str, Value)>,
    /// What the server has to store.
    wanted: &'a Value,
    left: usize,
}

impl Search<'_> {
    /// Removes from `manifest` what isn't needed of `candidates`: many together where that can be, large parts before
    /// small ones.
    async fn shrink(&mut self, mut manifest: Value, candidates: Vec<Location>) -> Result<Value, DefaultsError> {
        let mut work = vec![candidates];
        while let Some(places) = work.pop() {
            if places.is_empty() || self.left == 0 {
                continue;
            }
            let mut without = manifest.clone();
            cut(&mut without, places.clone());
            if self.is_the_same(&without).await? {
                manifest = without;
            } else if let [place] = places.as_slice() {
                work.push(fields(&manifest, place));
            } else {
                let (some, others) = places.split_at(places.len() / 2);
                work.extend([some.to_vec(), others.to_vec()]);
            }
        }
        Ok(manifest)
    }

    async fn is_the_same(&mut self, manifest: &Value) -> Result<bool, DefaultsError> {
        self.left -= 1;
        let mut question = manifest.clone();
        let metadata =
            question.as_object_mut().map(|object| object.entry("metadata").or_insert_with(|| Map::new().into()));
        if let Some(Value::Object(metadata)) = metadata {
            metadata.extend(self.version.iter().map(|(field, value)| ((*field).to_owned(), value.clone())));
        }
        let answer = self.defaults.complete(&question).await?;
        Ok(answer.is_some_and(|stored| self.sanitizer.clean(stored) == *self.wanted))
    }
}

/// Returns the places of the fields below `place`. Items of lists aren't asked about one by one, only what is in them: no
/// default adds one to a list that is there.
fn fields(manifest: &Value, place: &[At<'static>]) -> Vec<Location> {
    let is_item = |place: &Location| matches!(place.last(), Some(At::Index(_)));
    let below = parts(manifest, place).into_iter();
    below.flat_map(|place| if is_item(&place) { fields(manifest, &place) } else { vec![place] }).collect()
}
