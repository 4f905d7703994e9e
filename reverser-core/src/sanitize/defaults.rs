//! Asking somebody who knows which values of a manifest are defaults.

use std::fmt::Debug;

use async_trait::async_trait;
use serde_json::{Map, Value};

use super::{
    Profile, Sanitizer,
    evidence::{Evidence, LAST_APPLIED},
    found, is_stored, minimal,
    places::{Places, cut, parts},
};
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
///
/// ```
/// use std::error::Error;
///
/// use reverser_core::sanitize::DefaultsError;
///
/// let error = DefaultsError { object: "Deployment/web".into(), source: "connection refused".into() };
/// assert_eq!(error.to_string(), "could not ask for the defaults of Deployment/web");
/// assert_eq!(error.source().unwrap().to_string(), "connection refused");
/// ```
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
    /// Asks some questions for each field, at most 400, and one when the server refuses the object as it is.
    ///
    /// # Errors
    /// Those of `defaults`. A refused manifest is an answer, not an error.
    ///
    /// ```
    /// # use reverser_core::{Sanitizer, sanitize::{Defaults, DefaultsError}};
    /// # use serde_json::{Value, json};
    /// /// A server that refuses whatever it is given: nothing can be told of it.
    /// #[derive(Debug)]
    /// struct Refuse;
    ///
    /// #[async_trait::async_trait]
    /// impl Defaults for Refuse {
    ///     async fn complete(&self, _manifest: &Value) -> Result<Option<Value>, DefaultsError> {
    ///         Ok(None)
    ///     }
    /// }
    ///
    /// # futures::executor::block_on(async {
    /// let live = json!({"kind": "App", "metadata": {"name": "a", "uid": "1"}, "spec": {"replicas": 1}});
    /// let sanitizer = Sanitizer::faithful();
    /// assert_eq!(sanitizer.minimize(live.clone(), &Refuse).await?, sanitizer.clean(live));
    /// # Ok::<(), DefaultsError>(()) }).unwrap();
    /// ```
    pub async fn minimize(&self, object: Value, defaults: &dyn Defaults) -> Result<Value, DefaultsError> {
        // What evidence calls a default is compared, too.
        let strict = match self.profile {
            Profile::Minimal => Self { profile: Profile::Faithful, ..self.clone() },
            Profile::Faithful | Profile::Neat => self.clone(),
        };
        let (cleaned, wanted) = (self.clean(object.clone()), strict.clean(object.clone()));
        let mut search = Search { sanitizer: &strict, defaults, object: &object, wanted: &wanted, left: QUESTIONS };
        if search.is_the_same(&cleaned).await? {
            search.shrink(cleaned).await
        } else if cleaned != wanted && search.is_the_same(&wanted).await? {
            search.shrink(wanted.clone()).await
        } else {
            Ok(cleaned)
        }
    }
}

struct Search<'a> {
    sanitizer: &'a Sanitizer,
    defaults: &'a dyn Defaults,
    /// As it came: its version goes along with each question, and it says who wrote what.
    object: &'a Value,
    /// What the server has to store.
    wanted: &'a Value,
    left: usize,
}

impl Search<'_> {
    /// Removes from `manifest` what isn't needed and nobody is known to have applied: many values together where that can
    /// be, large parts before small ones.
    async fn shrink(&mut self, mut manifest: Value) -> Result<Value, DefaultsError> {
        let kept = Places::new(found(&self.sanitizer.keep, &manifest));
        let unapplied = minimal::unapplied(&manifest, &Evidence::of(self.object)).into_iter();
        let mut work = vec![unapplied.flat_map(|place| kept.spare(&manifest, place)).collect::<Vec<_>>()];
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
        let own = &self.object["metadata"];
        let mut question = manifest.clone();
        if let Some(metadata) = entry(&mut question, "metadata") {
            for field in ["uid", "resourceVersion"] {
                set(metadata, field, &own[field]);
            }
        }
        let Some(mut stored) = self.defaults.complete(&question).await? else { return Ok(false) };
        // The values are compared. The witnesses of the answer would be others than the object's: `kubectl get` hides
        // managedFields, and nobody applied the question. A manifest that wasn't stored has none.
        let applied = &own["annotations"][LAST_APPLIED];
        if is_stored(self.object)
            && let Some(metadata) = entry(&mut stored, "metadata")
        {
            set(metadata, "managedFields", &own["managedFields"]);
        }
        if !applied.is_null()
            && let Some(annotations) = stored.get_mut("metadata").and_then(|metadata| entry(metadata, "annotations"))
        {
            set(annotations, LAST_APPLIED, applied);
        }
        Ok(self.sanitizer.clean(stored) == *self.wanted)
    }
}

/// Returns the map at `key`, made where there is nothing.
fn entry<'v>(object: &'v mut Value, key: &str) -> Option<&'v mut Map<String, Value>> {
    object.as_object_mut()?.entry(key).or_insert_with(|| Map::new().into()).as_object_mut()
}

/// Null stands for none.
fn set(map: &mut Map<String, Value>, key: &str, value: &Value) {
    if value.is_null() {
        map.remove(key);
    } else {
        map.insert(key.to_owned(), value.clone());
    }
}

/// Returns the places of the fields below `place`. Items of lists aren't asked about one by one, only what is in them: no
/// default adds one to a list that is there.
fn fields(manifest: &Value, place: &[At<'static>]) -> Vec<Location> {
    let is_item = |place: &Location| matches!(place.last(), Some(At::Index(_)));
    let below = parts(manifest, place).into_iter();
    below.flat_map(|place| if is_item(&place) { fields(manifest, &place) } else { vec![place] }).collect()
}
