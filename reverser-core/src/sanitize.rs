//! From an object as the API serves it to the manifest that its author would have written.
//!
//! A deny-list, one table in `sanitize/rules.rs`: what isn't named there is kept, also `{}`, `[]`, `""`, `null` and the
//! fields of kinds that nobody has heard of. Some fields are written by authors and by servers (`clusterIP`,
//! `nodePort`, a Pod's `nodeName`); these are kept when the object shows that somebody sent them, by `kubectl apply`'s
//! annotation or its managedFields. An object that no server has stored (it has neither uid nor resourceVersion) is a
//! manifest already, and keeps them all.
//!
//! ```
//! use serde_json::json;
//!
//! let live = json!({
//!     "apiVersion": "v1", "kind": "Service",
//!     "metadata": {"name": "web", "uid": "4f1c", "resourceVersion": "812"},
//!     "spec": {"clusterIP": "10.96.0.17", "clusterIPs": ["10.96.0.17"], "ports": [{"port": 80}]},
//!     "status": {"loadBalancer": {}},
//! });
//! let authored = json!({
//!     "apiVersion": "v1", "kind": "Service", "metadata": {"name": "web"}, "spec": {"ports": [{"port": 80}]},
//! });
//! assert_eq!(reverser_core::Sanitizer::faithful().clean(live), authored);
//! ```

use std::{cell::LazyCell, collections::BTreeMap, sync::Arc};

use serde_json::Value;

use self::{
    evidence::Evidence,
    places::{Places, cut, take},
    rules::{RULES, Sharing, When},
};
use crate::{
    change::group_of,
    field_path::{At, Location, owned},
};

mod defaults;
mod evidence;
mod field_rule;
mod field_set;
mod minimal;
mod neat;
mod places;
mod read;
mod rules;
mod table;
#[cfg(test)]
mod tests;

pub use self::{
    defaults::{Defaults, DefaultsError},
    field_rule::FieldRule,
    rules::Rule,
};

/// Removes from objects what the API server and controllers own.
///
/// ```
/// use reverser_core::Sanitizer;
/// use serde_json::json;
///
/// let sanitizer = Sanitizer::faithful()
///     .keep("Pod:.spec.nodeName".parse()?)
///     .drop(r#".metadata.annotations["example.com/build"]"#.parse()?)?;
/// let pod = json!({"apiVersion": "v1", "kind": "Pod", "metadata": {"name": "a", "uid": "1"}, "spec": {"nodeName": "n"}});
/// assert_eq!(sanitizer.clean(pod)["spec"]["nodeName"], "n");
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Clone, Debug, PartialEq)]
pub struct Sanitizer {
    profile: Profile,
    keeps_status: bool,
    /// Shared, since a sanitizer is copied for each kind of status.
    keep: Arc<Vec<FieldRule>>,
    drop: Arc<Vec<FieldRule>>,
}

/// How much is removed.
///
/// ```
/// use reverser_core::{Profile, Sanitizer};
/// use serde_json::json;
///
/// let live = json!({
///     "apiVersion": "v1", "kind": "Service", "metadata": {"name": "web", "uid": "1"},
///     "spec": {"clusterIP": "10.96.0.17", "sessionAffinity": "None", "ports": [{"port": 80}]},
/// });
/// let spec = |profile| Sanitizer::new(profile).clean(live.clone())["spec"].clone();
/// assert_eq!(spec(Profile::Faithful), json!({"sessionAffinity": "None", "ports": [{"port": 80}]}));
/// assert_eq!(spec(Profile::Neat), json!({"ports": [{"port": 80}]}));
/// ```
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Profile {
    /// What servers own. Defaults that they filled in stay: the manifest says what the cluster runs.
    #[default]
    Faithful,
    /// Besides, what API defaulting filled in, where the object shows that nobody wrote it.
    Minimal,
    /// Besides, values that are API defaults of built-in kinds, whoever wrote them, and most metadata: what kubectl-neat
    /// removes, for people who are used to it.
    Neat,
}

impl Profile {
    /// Every profile, in the order of how much they remove.
    pub const ALL: [Self; 3] = [Self::Faithful, Self::Minimal, Self::Neat];

    /// Returns what it is called in arguments and files.
    ///
    /// ```
    /// use reverser_core::Profile;
    ///
    /// assert_eq!(Profile::ALL.map(Profile::name), ["faithful", "minimal", "neat"]);
    /// assert_eq!(Profile::default().name(), "faithful");
    /// ```
    pub fn name(self) -> &'static str {
        match self {
            Self::Faithful => "faithful",
            Self::Minimal => "minimal",
            Self::Neat => "neat",
        }
    }
}

impl Sanitizer {
    /// Returns a sanitizer of this profile.
    ///
    /// ```
    /// use reverser_core::{Profile, Sanitizer};
    ///
    /// assert_eq!(Sanitizer::new(Profile::Minimal), Sanitizer::minimal());
    /// ```
    pub fn new(profile: Profile) -> Self {
        Self { profile, keeps_status: false, keep: Arc::default(), drop: Arc::default() }
    }

    /// Removes what servers own and keeps the defaults that they filled in: the manifest says what the cluster runs.
    ///
    /// ```
    /// # use serde_json::json;
    /// let live = json!({
    ///     "apiVersion": "apps/v1", "kind": "Deployment",
    ///     "metadata": {"name": "web", "uid": "1", "generation": 3},
    ///     "spec": {"replicas": 2, "revisionHistoryLimit": 10}, "status": {"replicas": 2},
    /// });
    /// let manifest = json!({
    ///     "apiVersion": "apps/v1", "kind": "Deployment", "metadata": {"name": "web"},
    ///     "spec": {"replicas": 2, "revisionHistoryLimit": 10},
    /// });
    /// assert_eq!(reverser_core::Sanitizer::faithful().clean(live), manifest);
    /// ```
    pub fn faithful() -> Self {
        Self::new(Profile::Faithful)
    }

    /// Removes also what API defaulting filled in, as far as managedFields show that nobody wrote it: what was applied
    /// with `kubectl apply`, client-side or server-side, comes back as it was given. Fields that others wrote by create,
    /// replace or patch stay, since these own the defaults too; [`minimize`](Self::minimize) can tell.
    ///
    /// ```
    /// # use serde_json::json;
    /// let live = json!({
    ///     "apiVersion": "apps/v1", "kind": "Deployment",
    ///     "metadata": {"name": "web", "uid": "1", "managedFields": [
    ///         {"manager": "kubectl", "operation": "Apply", "fieldsV1": {"f:spec": {"f:replicas": {}}}},
    ///     ]},
    ///     "spec": {"replicas": 2, "revisionHistoryLimit": 10},
    /// });
    /// assert_eq!(reverser_core::Sanitizer::minimal().clean(live)["spec"], json!({"replicas": 2}));
    /// ```
    pub fn minimal() -> Self {
        Self::new(Profile::Minimal)
    }

    /// Removes also values that are API defaults of built-in kinds, whoever wrote them, and all metadata but name,
    /// namespace, labels, annotations and finalizers: what kubectl-neat removes, as far as the manifest still says the same.
    ///
    /// ```
    /// # use serde_json::json;
    /// let live = json!({
    ///     "apiVersion": "v1", "kind": "Service", "metadata": {"name": "web", "uid": "1"},
    ///     "spec": {"type": "ClusterIP", "sessionAffinity": "None", "ports": [{"port": 80, "protocol": "TCP", "targetPort": 80}]},
    /// });
    /// assert_eq!(reverser_core::Sanitizer::neat().clean(live)["spec"], json!({"ports": [{"port": 80}]}));
    /// ```
    pub fn neat() -> Self {
        Self::new(Profile::Neat)
    }

    /// Keeps the top-level `status`: for custom resources without a status subresource, whose `status` is the author's
    /// field like any other. The object doesn't show which it is; API discovery does (`RESOURCE/status`).
    ///
    /// ```
    /// # use reverser_core::Sanitizer;
    /// # use serde_json::json;
    /// let widget = json!({"apiVersion": "example.com/v1", "kind": "Widget", "metadata": {"name": "a"}, "status": "on"});
    /// assert!(Sanitizer::faithful().clean(widget.clone())["status"].is_null());
    /// assert_eq!(Sanitizer::faithful().keep_status().clean(widget)["status"], "on");
    /// ```
    #[must_use]
    pub fn keep_status(self) -> Self {
        Self { keeps_status: true, ..self }
    }

    /// Keeps the values that `rule` means, whatever else would remove them. Of a part that goes, only these stay. Where a
    /// profile removes defaults, rules look at what is left when servers' fields are gone: `[1]` may be `[0]` by then.
    ///
    /// ```
    /// # use reverser_core::Sanitizer;
    /// # use serde_json::json;
    /// let sanitizer = Sanitizer::faithful().keep("Service:.status.loadBalancer.ingress[*].ip".parse()?);
    /// let service = json!({
    ///     "apiVersion": "v1", "kind": "Service", "metadata": {"name": "web"},
    ///     "status": {"conditions": [], "loadBalancer": {"ingress": [{"ip": "192.0.2.7", "ipMode": "VIP"}]}},
    /// });
    /// assert_eq!(sanitizer.clean(service)["status"], json!({"loadBalancer": {"ingress": [{"ip": "192.0.2.7"}]}}));
    /// # Ok::<(), reverser_core::FieldPathError>(())
    /// ```
    #[must_use]
    pub fn keep(mut self, rule: FieldRule) -> Self {
        Arc::make_mut(&mut self.keep).push(rule);
        self
    }

    /// Removes the values that `rule` means, whoever wrote them.
    ///
    /// # Errors
    /// The rule may mean a field that names the object; a manifest without it isn't one.
    ///
    /// ```
    /// # use reverser_core::Sanitizer;
    /// # use serde_json::json;
    /// let sanitizer = Sanitizer::faithful().drop(r#"Pod:.spec.containers[?(@.name=="istio-proxy")]"#.parse()?)?;
    /// let pod = json!({
    ///     "apiVersion": "v1", "kind": "Pod", "metadata": {"name": "a"},
    ///     "spec": {"containers": [{"name": "web"}, {"name": "istio-proxy"}]},
    /// });
    /// assert_eq!(sanitizer.clean(pod)["spec"]["containers"], json!([{"name": "web"}]));
    ///
    /// assert!(Sanitizer::faithful().drop(".metadata.name".parse()?).is_err());
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    pub fn drop(mut self, rule: FieldRule) -> Result<Self, DropError> {
        if let Some(field) = rule.identity() {
            return Err(DropError { rule: rule.to_string(), field });
        }
        Arc::make_mut(&mut self.drop).push(rule);
        Ok(self)
    }

    /// Returns the deny-list, a row each, in the order in which one would read it.
    ///
    /// ```
    /// let rows = reverser_core::Sanitizer::rules();
    /// assert!(rows.iter().any(|row| row.path() == ".metadata.managedFields" && row.kinds().is_empty()));
    /// assert!(rows.iter().all(|row| row.source().starts_with("https://")));
    /// ```
    pub fn rules() -> &'static [Rule] {
        RULES
    }

    /// Returns the object without what servers own. A map or list that this empties goes too; one that was empty stays.
    /// Cleaning twice is cleaning once, unless a rule keeps `uid` or `resourceVersion` and not what shows who wrote a
    /// field: that looks like an object as a server has it. What isn't an object comes back as it is.
    ///
    /// ```
    /// # use reverser_core::Sanitizer;
    /// # use serde_json::json;
    /// let live = json!({
    ///     "apiVersion": "example.com/v1", "kind": "Widget",
    ///     "metadata": {"name": "a", "resourceVersion": "7", "annotations": {
    ///         "kubectl.kubernetes.io/last-applied-configuration": "{}",
    ///     }},
    ///     "spec": {"labels": {}, "note": "", "parent": null},
    /// });
    /// let manifest = Sanitizer::faithful().clean(live);
    /// assert_eq!(manifest["metadata"], json!({"name": "a"}), "the annotations are empty without that one");
    /// assert_eq!(manifest["spec"], json!({"labels": {}, "note": "", "parent": null}), "somebody wrote these");
    /// assert_eq!(Sanitizer::faithful().clean(manifest.clone()), manifest);
    /// ```
    #[must_use]
    pub fn clean(&self, mut object: Value) -> Value {
        let cuts = self.cuts(&object);
        let applied = self.applied_blindly(&object);
        cut(&mut object, cuts);
        let defaults = match (self.profile, applied) {
            (Profile::Neat, _) => lost(&object, &neat::neat(object.clone())),
            (Profile::Minimal, Some(applied)) => {
                let free = Places::new(minimal::unapplied(&object, &Evidence::of_manifest(&object, applied)));
                let mut defaults = lost(&object, &neat::without_defaults(object.clone()));
                defaults.retain(|place| free.cover(place));
                defaults
            }
            _ => return object,
        };
        let defaults = self.spare_kept(&object, defaults);
        take(&mut object, defaults);
        object
    }

    /// Returns the manifest that was applied, where managedFields are hidden, as `kubectl get` does it: nothing shows what
    /// others wrote since. What nobody applied and is a default may go all the same.
    fn applied_blindly(&self, object: &Value) -> Option<Value> {
        let is_blind = self.profile == Profile::Minimal && object["metadata"]["managedFields"].is_null();
        if is_blind { Evidence::of(object).last_applied } else { None }
    }

    /// Finds all before removing any: conditions and evidence see the object as it came.
    fn cuts(&self, object: &Value) -> Vec<Location> {
        let (group, kind) = type_of(object);
        let is_stored = is_stored(object);
        // Read for few objects: most have nothing that a shared row is about.
        let evidence = LazyCell::new(|| Evidence::of(object));
        // Asked once: one object may have very many webhooks, and very many annotations.
        let mut annotated = BTreeMap::new();
        let mut cuts = vec![];
        table::rows_of(group, kind).walk(object, &mut |rule, value, location| {
            let holds = match rule.when {
                When::Annotated(prefix) => *annotated.entry(prefix).or_insert_with(|| rule.when.holds(object, value)),
                when => when.holds(object, value),
            };
            let is_status = self.keeps_status && matches!(location, [At::Key(key)] if key == "status");
            let is_authored = || {
                rule.sharing != Sharing::Never && (!is_stored || evidence.is_authored(value, location, rule.sharing))
            };
            if holds && !is_status && !is_authored() {
                cuts.push(owned(location));
            }
        });
        if self.profile == Profile::Minimal {
            cuts.extend(minimal::unwritten(object, &evidence));
        }
        cuts.extend(found(&self.drop, object));
        self.spare_kept(object, cuts)
    }

    /// Returns what of `cuts` may be cut when the user's `keep` rules hold.
    fn spare_kept(&self, object: &Value, cuts: Vec<Location>) -> Vec<Location> {
        if self.keep.is_empty() {
            return cuts;
        }
        let kept = Places::new(found(&self.keep, object));
        cuts.into_iter().flat_map(|cut| kept.spare(object, cut)).collect()
    }
}

/// Returns the places that `after` lacks of `before`; lists are of the same length.
fn lost(before: &Value, after: &Value) -> Vec<Location> {
    let below = |at: At<'static>, places: Vec<Location>| -> Vec<Location> {
        places.into_iter().map(|place| [std::slice::from_ref(&at), &place].concat()).collect()
    };
    match (before, after) {
        (Value::Object(before), Value::Object(after)) => {
            let of_key = |(key, value): (&String, &Value)| {
                let places = after.get(key).map_or_else(|| vec![vec![]], |left| lost(value, left));
                below(At::Key(key.clone().into()), places)
            };
            before.iter().flat_map(of_key).collect()
        }
        (Value::Array(before), Value::Array(after)) => {
            let items = before.iter().zip(after).enumerate();
            items.flat_map(|(index, (before, after))| below(At::Index(index), lost(before, after))).collect()
        }
        _ => vec![],
    }
}

/// Returns where `object` has what these rules mean.
fn found(rules: &[FieldRule], object: &Value) -> Vec<Location> {
    let (group, kind) = type_of(object);
    rules.iter().filter(|rule| rule.is_about(group, kind)).flat_map(|rule| rule.find(object)).collect()
}

/// Returns whether a server has stored the object: it gave it these.
fn is_stored(object: &Value) -> bool {
    ["uid", "resourceVersion"].iter().any(|key| !object["metadata"][key].is_null())
}

/// Returns group and kind, empty where it doesn't say them.
fn type_of(object: &Value) -> (&str, &str) {
    let text = |key: &str| object[key].as_str().unwrap_or_default();
    (group_of(text("apiVersion")), text("kind"))
}

/// A rule would drop a field without which a manifest names no object.
///
/// ```
/// # use reverser_core::Sanitizer;
/// let error = Sanitizer::faithful().drop("Pod:.metadata[*]".parse()?).unwrap_err();
/// assert!(error.to_string().starts_with(r#""Pod:.metadata[*]" may drop .metadata.generateName, without which"#));
/// # Ok::<(), reverser_core::FieldPathError>(())
/// ```
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{rule:?} may drop {field}, without which a manifest names no object; name the fields that are to go")]
pub struct DropError {
    rule: String,
    field: String,
}
