//! The objects of one stage, and those whose kinds come late.

use std::collections::{HashMap, HashSet};

use reverser_core::{ObjectRef, Resource, Sanitizer};
use serde_json::Value;

use super::{Chosen, Failure, Outcome, Restore, Restored, Run, Told, object::Task};
use crate::discover::DiscoverError;

/// From how many objects on a list is asked for, in the place of each object.
const WORTH_A_LIST: usize = 20;

/// What is there of the objects that are restored, by (group, plural, namespace).
type Live = HashMap<(String, String, Option<String>), HashMap<String, Value>>;

impl Restore {
    /// Applies objects that need nothing of each other.
    pub(super) async fn apply_stage(&self, chosen: &[Chosen], told: Told<'_>) -> Vec<Restored> {
        let live = self.live(chosen).await;
        self.in_parallel(chosen.iter().map(|chosen| self.apply_one(chosen, &live)), told).await
    }

    /// Applies what nothing served when its turn was: an API server in the cluster may have come up, and a definition may be
    /// somewhere where nobody looks for it.
    pub(super) async fn apply_late(
        &mut self,
        late: Vec<Chosen>,
        told: Told<'_>,
    ) -> Result<Vec<Restored>, DiscoverError> {
        if late.is_empty() {
            return Ok(Vec::new());
        }
        if self.options.run == Run::Apply {
            self.catalog = self.requests.discover().await?;
        }
        let (served, unserved): (Vec<_>, Vec<_>) = late
            .into_iter()
            .map(|mut chosen| {
                let resource = self.catalog.of_kind(&chosen.manifest.api_version, &chosen.manifest.kind).cloned();
                chosen.object = match resource {
                    Some(resource) => Some(self.object_of(&chosen.manifest, &resource)),
                    None => chosen.object,
                };
                chosen
            })
            .partition(|chosen| self.is_served(chosen));
        let unserved: Vec<_> = unserved.iter().map(|chosen| Restored::of(chosen, self.unserved(chosen))).collect();
        unserved.iter().for_each(told);
        let mut restored = self.apply_stage(&served, told).await;
        restored.extend(unserved);
        Ok(restored)
    }

    /// Returns what becomes of an object whose kind nothing serves.
    fn unserved(&self, chosen: &Chosen) -> Outcome {
        let is_coming = chosen.object.as_ref().is_some_and(|object| {
            let Resource { group, plural, .. } = &*object.resource;
            self.coming.resources.contains(&(group.clone(), plural.clone()))
        });
        // A dry run can't ask about it.
        if self.options.run == Run::DryRun && is_coming {
            return Outcome::Created;
        }
        let manifest = &chosen.manifest;
        Outcome::Failed(Failure::not_served(&manifest.api_version, &manifest.kind, &self.catalog))
    }

    async fn apply_one(&self, chosen: &Chosen, live: &Live) -> Restored {
        let Some(object) = &chosen.object else { return Restored::of(chosen, self.unserved(chosen)) };
        let sanitizer = self.sanitizer_of(&object.resource);
        // A file that somebody has made of a live object may hold what the server owns.
        let mut manifest = sanitizer.clean(chosen.manifest.body.clone());
        if let Some(namespace) = &object.namespace {
            manifest["metadata"]["namespace"] = namespace.as_str().into();
        }
        let task = Task {
            requests: &self.requests,
            object,
            manifest: &manifest,
            sanitizer: &sanitizer,
            run: self.options.run,
            conflicts: self.options.conflicts,
        };
        let outcome = match self.live_one(object, live).await {
            Ok(found) => task.run(found).await,
            // Whoever may write and not read.
            Err(Failure::Api(error)) if error.is_forbidden() => task.apply_unseen().await,
            Err(error) => Err(error),
        };
        let outcome = match outcome {
            Err(Failure::NoNamespace { namespace }) if self.is_coming(&namespace) => Outcome::Created,
            outcome => outcome.unwrap_or_else(Outcome::Failed),
        };
        Restored::of(chosen, outcome)
    }

    /// Whether a namespace that isn't there would be made by this restore, if it weren't a dry run.
    fn is_coming(&self, namespace: &str) -> bool {
        self.options.run == Run::DryRun && self.coming.namespaces.contains(namespace)
    }

    fn sanitizer_of(&self, resource: &Resource) -> Sanitizer {
        let sanitizer = self.options.sanitizer.clone();
        if resource.has_status { sanitizer } else { sanitizer.keep_status() }
    }

    async fn live_one(&self, object: &ObjectRef, live: &Live) -> Result<Option<Value>, Failure> {
        let Resource { group, plural, .. } = &*object.resource;
        match live.get(&(group.clone(), plural.clone(), object.namespace.clone())) {
            Some(listed) => Ok(listed.get(&object.name).cloned()),
            None => {
                let found = self.requests.get(&object.resource, object).await;
                found.map_err(|error| Failure::of_request(error, object))
            }
        }
    }

    /// Lists what is there where many objects are asked about; where that isn't allowed, each is asked about alone.
    async fn live(&self, chosen: &[Chosen]) -> Live {
        let mut wanted: HashMap<_, HashSet<&str>> = HashMap::new();
        for object in chosen.iter().filter_map(|chosen| chosen.object.as_ref()) {
            wanted.entry((&object.resource, &object.namespace)).or_default().insert(&object.name);
        }
        let mut live = Live::new();
        for ((resource, namespace), names) in wanted.into_iter().filter(|(_, names)| names.len() >= WORTH_A_LIST) {
            let is_wanted =
                |object: &Value| object["metadata"]["name"].as_str().is_some_and(|name| names.contains(name));
            if let Ok(found) = self.requests.list_by_name(resource, namespace.as_deref(), is_wanted).await {
                live.insert((resource.group.clone(), resource.plural.clone(), namespace.clone()), found);
            }
        }
        live
    }
}
