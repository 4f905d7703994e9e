//! What is in the cluster and not in Git: found, listed, and deleted when that is asked for.

use std::{collections::HashSet, sync::Arc};

use reverser_core::{LeftOut, ObjectRef, RefuseSecrets, Resource, Seal, Selector};
use serde_json::Value;

use super::{Failure, Outcome, Place, Restore, Restored, Told, order::Stage, place_of};
use crate::{api_error::ApiError, discover::defines, report::chain, reverser::is_mass_deletion};

/// What a restore could delete. Nothing has been deleted yet.
#[derive(Debug, Default)]
pub struct Extra {
    /// Selected objects that Git doesn't have, in the order of their deletion.
    pub objects: Vec<ObjectRef>,
    /// Objects that would take others with them, and stay.
    pub kept: Vec<Kept>,
    /// Where nothing is deleted, as it could not be read what is there.
    pub unread: Vec<ApiError>,
    /// How many selected objects there are in the cluster, those that Git has among them.
    pub of: usize,
    /// A mistake is more likely than that so many are to go: `(how many, out of how many)` of all or of one resource.
    pub mass: Option<(usize, usize)>,
}

/// An object that Git doesn't have and that stays.
#[derive(Clone, Debug)]
pub struct Kept {
    /// The object.
    pub object: ObjectRef,
    /// Why.
    pub why: String,
}

impl Restore {
    /// Looks for selected objects that no file has. Never among them: noise, what is sensitive, since Git can't have it, and what is
    /// on its way out. A namespace or a definition is among them only when all that would go with it is, too, or is the cluster's own.
    ///
    /// The answer is right only where all files could be read.
    pub async fn extra(&self) -> Extra {
        let mut extra = Extra::default();
        for resource in self.catalog.watchable() {
            if self.options.selector.resource(resource).is_err() || RefuseSecrets.is_sensitive(resource) {
                continue;
            }
            let (mut found, mut of) = (Vec::new(), 0);
            match self.in_scope(resource).await {
                Err(error) => extra.unread.push(error),
                Ok(objects) => {
                    of = objects.len();
                    found.extend(objects.into_iter().filter(|object| !self.known.contains(&place_of(object))));
                }
            }
            if is_mass_deletion(found.len(), of) {
                extra.mass = Some((found.len(), of));
            }
            extra.of += of;
            extra.objects.extend(found);
        }
        if is_mass_deletion(extra.objects.len(), extra.of) {
            extra.mass = Some((extra.objects.len(), extra.of));
        }
        self.keep_what_takes_others_along(&mut extra).await;
        extra.objects.sort_by_key(|object| std::cmp::Reverse(stage(object)));
        extra
    }

    /// Deletes these very objects, in the reverse of the order in which they would be applied; an object that was made anew since
    /// stays.
    pub async fn prune(&self, extra: &Extra, told: Told<'_>) -> Vec<Restored> {
        let mut done = Vec::new();
        for of_stage in extra.objects.chunk_by(|a, b| stage(a) == stage(b)) {
            done.extend(self.in_parallel(of_stage.iter().map(|object| self.delete(object)), told).await);
        }
        done
    }

    async fn delete(&self, object: &ObjectRef) -> Restored {
        let outcome = match self.requests.delete(object).await {
            Ok(()) => Outcome::Deleted,
            Err(error) => Outcome::Failed(Failure::of_deletion(error, object)),
        };
        Restored::extra(object, outcome)
    }

    /// Returns the selected objects of a resource.
    async fn in_scope(&self, resource: &Arc<Resource>) -> Result<Vec<ObjectRef>, ApiError> {
        let selector = &self.options.selector;
        let namespaces: Vec<_> = match resource.namespaced && !selector.namespaces.is_empty() {
            true => selector.namespaces.iter().map(|namespace| Some(namespace.as_str())).collect(),
            false => vec![None],
        };
        let mut objects = Vec::new();
        for namespace in namespaces {
            let is_selected = |body: &Value| is_living(body) && is_captured(selector, resource, body).is_ok();
            let found = self.requests.list(resource, namespace, is_selected).await;
            let found = found.map_err(|error| ApiError::of(error, "list", resource, namespace))?;
            objects.extend(found.iter().filter_map(|body| ObjectRef::of(resource, body)));
        }
        Ok(objects)
    }

    async fn keep_what_takes_others_along(&self, extra: &mut Extra) {
        let going: HashSet<Place> = extra.objects.iter().map(place_of).collect();
        for object in std::mem::take(&mut extra.objects) {
            let kept = match stage(&object) {
                Stage::Namespaces => self.kept_in_namespace(&object.name, &going).await,
                Stage::Definitions => self.kept_by_definition(&object, &going).await,
                _ => Ok(None),
            };
            match kept {
                Ok(None) => extra.objects.push(object),
                Ok(Some(other)) => extra.kept.push(Kept { object, why: format!("{other} would go with it") }),
                Err(error) => extra
                    .kept
                    .push(Kept { object, why: format!("what would go with it is not known: {}", chain(&error)) }),
            }
        }
    }

    /// Returns something in a namespace that isn't to go: it may be a Secret, which nobody could bring back.
    async fn kept_in_namespace(&self, namespace: &str, going: &HashSet<Place>) -> Result<Option<String>, ApiError> {
        for resource in self.catalog.watchable().filter(|resource| resource.namespaced) {
            if let Some(kept) = self.kept_of(resource, Some(namespace), going).await? {
                return Ok(Some(kept));
            }
        }
        Ok(None)
    }

    /// Returns an object of the definition's kind that isn't to go.
    async fn kept_by_definition(&self, object: &ObjectRef, going: &HashSet<Place>) -> Result<Option<String>, ApiError> {
        let definition = self.requests.get(&object.resource, object).await;
        let definition =
            definition.map_err(|error| ApiError::of(error, "get", &object.resource, None))?.unwrap_or_default();
        let defined: Vec<_> = defines(&definition).map(|(resource, _)| resource).collect();
        for resource in
            self.catalog.watchable().filter(|resource| defined.iter().any(|one| one.is_version_of(resource)))
        {
            if let Some(kept) = self.kept_of(resource, None, going).await? {
                return Ok(Some(kept));
            }
        }
        Ok(None)
    }

    /// Returns the first object that neither goes nor is the cluster's own.
    async fn kept_of(
        &self,
        resource: &Arc<Resource>,
        namespace: Option<&str>,
        going: &HashSet<Place>,
    ) -> Result<Option<String>, ApiError> {
        let all = Selector::default();
        let is_noise = |body: &Value| matches!(is_captured(&all, resource, body), Err(LeftOut::Noise(_)));
        if matches!(all.resource(resource), Err(LeftOut::Noise(_))) {
            return Ok(None);
        }
        let goes =
            |body: &Value| ObjectRef::of(resource, body).is_some_and(|object| going.contains(&place_of(&object)));
        let stays = |body: &Value| !is_noise(body) && !goes(body);
        let found = self.requests.list(resource, namespace, stays).await;
        let found = found.map_err(|error| ApiError::of(error, "list", resource, namespace))?;
        let name = |body: &Value| {
            format!("{}/{}", resource.qualified(), body["metadata"]["name"].as_str().unwrap_or_default())
        };
        Ok(found.first().map(name))
    }
}

impl Restored {
    /// Returns the record of an object that Git doesn't have.
    pub fn extra(object: &ObjectRef, outcome: Outcome) -> Self {
        Self {
            file: None,
            api_version: object.resource.api_version(),
            kind: object.resource.kind.clone(),
            namespace: object.namespace.clone(),
            name: object.name.clone(),
            outcome,
        }
    }
}

fn stage(object: &ObjectRef) -> Stage {
    Stage::of(&object.resource.group, &object.resource.kind)
}

fn is_living(body: &Value) -> bool {
    body["metadata"]["deletionTimestamp"].is_null()
}

fn is_captured(selector: &Selector, resource: &Arc<Resource>, body: &Value) -> Result<(), LeftOut> {
    ObjectRef::of(resource, body).map_or(Err(LeftOut::NotSelected), |object| selector.object(&object, Some(body)))
}
