//! The way back: from the files of a repository to a cluster.
//!
//! ```text
//! Files ─► Manifests ─► select ─► stage by stage: definitions, namespaces, … webhooks ─► deletions, if asked for
//!                                 each object: dry run ─► nothing, or one write
//! ```
//!
//! Objects are applied by server-side apply, as the field manager `reverser`. An object that is as its file says isn't written. Fields
//! that others have added since are taken away, too, with [`Conflicts::TakeBack`]: what is restored is what was.

mod align;
mod apply;
mod definitions;
mod failure;
mod manifests;
mod object;
mod order;
mod prune;
mod requests;

use std::{collections::HashSet, num::NonZeroUsize, sync::Arc, time::Duration};

use futures::{StreamExt, stream};
use kube::Client;
use reverser_core::{NOISE, ObjectRef, RepoPath, Resource, Sanitizer, Selector};

pub use self::{
    failure::{Failure, FieldConflict},
    manifests::{Broken, Manifest, Manifests},
    prune::{Extra, Kept},
};
use self::{order::Stage, requests::Requests};
use crate::discover::{Catalog, DiscoverError, defines};

/// Whether anything is written.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Run {
    /// Objects are created and changed.
    #[default]
    Apply,
    /// The API server says what it would do, and stores nothing.
    DryRun,
}

/// What happens to fields that others have written and that the file has otherwise, or not at all.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Conflicts {
    /// The object is left as it is, and the fields are named.
    #[default]
    Report,
    /// They become what the file says.
    TakeBack,
}

/// How to restore.
#[derive(Clone, Debug)]
pub struct RestoreOptions {
    /// Which of the objects are restored, and among which extra ones are sought. Noise is restored where a file has it, and never
    /// deleted.
    pub selector: Selector,
    /// What of a live object would stand in a file: only that is ever taken away from an object.
    pub sanitizer: Sanitizer,
    /// Whether anything is written.
    pub run: Run,
    /// What happens to others' fields.
    pub conflicts: Conflicts,
    /// How many objects of a stage are in work at once; 8 otherwise.
    pub parallel: NonZeroUsize,
    /// How long the API server may take to serve the kinds of definitions that were applied; a minute otherwise.
    pub establish_limit: Duration,
}

impl Default for RestoreOptions {
    fn default() -> Self {
        Self {
            selector: Selector::default(),
            sanitizer: Sanitizer::faithful(),
            run: Run::default(),
            conflicts: Conflicts::default(),
            parallel: NonZeroUsize::MIN.saturating_add(7),
            establish_limit: Duration::from_secs(60),
        }
    }
}

/// What became of an object; in a dry run, what would.
#[derive(Debug)]
pub enum Outcome {
    /// It wasn't there.
    Created,
    /// It was there, and something was written.
    Changed,
    /// It was there and extra.
    Deleted,
    /// It is as it was.
    Failed(Failure),
    /// It was there as the file says: nothing was written.
    Unchanged,
}

/// An object, and what became of it.
#[derive(Debug)]
pub struct Restored {
    /// The file that has it; `None` for one that was deleted.
    pub file: Option<RepoPath>,
    /// As the file says, or as the API server serves it.
    pub api_version: String,
    /// As the file says, or as the API server serves it.
    pub kind: String,
    /// `None` for cluster-scoped objects.
    pub namespace: Option<String>,
    /// Its name; empty for a file that is no object.
    pub name: String,
    /// What became of it.
    pub outcome: Outcome,
}

/// Hears of each object as soon as it is done; called from the restore itself, it must not block.
pub type Told<'a> = &'a (dyn Fn(&Restored) + Send + Sync);

/// Restores a cluster's objects from files.
///
/// ```no_run
/// use reverser_git::{At, Credentials, GitReader};
/// use reverser_k8s::{Catalog, restore::{Manifests, Restore, RestoreOptions, Restored}};
///
/// # async fn example() -> Result<(), Box<dyn std::error::Error>> {
/// let client = kube::Client::try_default().await?;
/// let url = "https://git.example.com/team/cluster.git".parse()?;
/// let files = GitReader::open(url, Credentials::FromGit).at(At::Named("v1.4".into())).start().await?;
/// let manifests = Manifests::read(&files).await?;
/// let catalog = Catalog::read(&client).await?;
/// let mut restore = Restore::new(client, catalog, manifests, RestoreOptions::default());
/// let restored = restore.apply(&|object| println!("{} {:?}", object.name, object.outcome)).await?;
/// assert!(!restored.iter().any(Restored::is_failed));
/// # Ok(()) }
/// ```
#[derive(Debug)]
pub struct Restore {
    requests: Requests,
    /// What is served.
    catalog: Catalog,
    options: RestoreOptions,
    chosen: Vec<Chosen>,
    /// All objects of the files, selected or not, as far as their kinds are known.
    known: HashSet<Place>,
    broken: Vec<Broken>,
    unselected: usize,
    /// What isn't there before this restore, and would be after it.
    coming: Coming,
}

/// What objects need that others of the restore make.
#[derive(Debug, Default)]
struct Coming {
    namespaces: HashSet<String>,
    /// Group and plural.
    resources: HashSet<(String, String)>,
}

impl Coming {
    fn of(chosen: &[Chosen]) -> Self {
        let mut coming = Self::default();
        for Chosen { manifest, .. } in chosen {
            if Stage::of(manifest.group(), &manifest.kind) == Stage::Namespaces {
                coming.namespaces.insert(manifest.name.clone());
            }
            coming.resources.extend(defines(&manifest.body).map(|(resource, _)| (resource.group, resource.plural)));
        }
        coming
    }
}

/// Group and plural, namespace, name.
type Place = (String, String, Option<String>, String);

/// A manifest that is restored.
#[derive(Debug)]
struct Chosen {
    manifest: Manifest,
    /// `None` while nothing is known to serve it.
    object: Option<ObjectRef>,
}

impl Restore {
    /// Takes of the manifests what is selected; `catalog` is what the cluster serves.
    pub fn new(client: Client, catalog: Catalog, manifests: Manifests, options: RestoreOptions) -> Self {
        let expected = manifests.expected(&catalog);
        let mut restore = Self {
            requests: Requests::new(client),
            catalog,
            options,
            chosen: Vec::new(),
            known: HashSet::new(),
            broken: manifests.broken,
            unselected: 0,
            coming: Coming::default(),
        };
        // Whatever is in Git was worth recording.
        let selector =
            Selector { include: NOISE.iter().map(|row| row.name).collect(), ..restore.options.selector.clone() };
        for manifest in manifests.objects {
            let resource = expected.of_kind(&manifest.api_version, &manifest.kind).cloned();
            let object = resource.as_ref().map(|resource| restore.object_of(&manifest, resource));
            restore.known.extend(object.as_ref().map(place_of));
            // One of a kind that nobody knows is selected by what it says itself.
            let named = object.clone().unwrap_or_else(|| restore.object_of(&manifest, &guessed(&manifest)));
            if selector.file(&named, &manifest.body, &|_section, _key| true) {
                restore.chosen.push(Chosen { manifest, object });
            } else {
                restore.unselected += 1;
            }
        }
        restore.coming = Coming::of(&restore.chosen);
        for manifest in &manifests.sealed {
            let resource = expected.of_kind(&manifest.api_version, &manifest.kind);
            restore.known.extend(resource.map(|resource| place_of(&restore.object_of(manifest, resource))));
        }
        restore
    }

    /// Returns how many objects are selected.
    pub fn selected(&self) -> usize {
        self.chosen.len()
    }

    /// Returns how many objects of the files aren't selected.
    pub fn unselected(&self) -> usize {
        self.unselected
    }

    /// Applies all objects, stage by stage, and returns what became of each, those that couldn't be read among them. One that fails
    /// keeps no other one from being restored.
    ///
    /// # Errors
    /// What the cluster serves could not be read.
    pub async fn apply(&mut self, told: Told<'_>) -> Result<Vec<Restored>, DiscoverError> {
        let mut restored: Vec<_> = std::mem::take(&mut self.broken).into_iter().map(Restored::unreadable).collect();
        restored.iter().for_each(told);
        let mut late = Vec::new();
        for stage in Stage::ALL {
            let of_stage = |chosen: &Chosen| Stage::of(chosen.manifest.group(), &chosen.manifest.kind) == stage;
            let chosen: Vec<_> = self.chosen.extract_if(.., |chosen| of_stage(chosen)).collect();
            let (served, unserved) = chosen.into_iter().partition(|chosen| self.is_served(chosen));
            late.extend::<Vec<_>>(unserved);
            let mut done = self.apply_stage(&served, told).await;
            if stage == Stage::Definitions && self.options.run == Run::Apply {
                self.establish(&served, &mut done, told).await?;
            }
            restored.extend(done);
        }
        restored.extend(self.apply_late(late, told).await?);
        Ok(restored)
    }

    fn is_served(&self, chosen: &Chosen) -> bool {
        chosen.object.as_ref().is_some_and(|object| self.catalog.serves(&object.resource))
    }

    fn object_of(&self, manifest: &Manifest, resource: &Arc<Resource>) -> ObjectRef {
        let named = manifest.namespace.as_deref().unwrap_or(self.requests.client.default_namespace());
        ObjectRef {
            resource: Arc::clone(resource),
            namespace: resource.namespaced.then(|| named.to_owned()),
            name: manifest.name.clone(),
            uid: None,
        }
    }

    /// Works on many at once, and returns what became of each.
    async fn in_parallel<F: Future<Output = Restored>>(
        &self,
        work: impl Iterator<Item = F>,
        told: Told<'_>,
    ) -> Vec<Restored> {
        let done = stream::iter(work).buffer_unordered(self.options.parallel.get());
        done.inspect(told).collect().await
    }
}

impl Restored {
    fn of(chosen: &Chosen, outcome: Outcome) -> Self {
        let Manifest { file, api_version, kind, namespace, name, .. } = &chosen.manifest;
        let object = chosen.object.as_ref();
        Self {
            file: Some(file.clone()),
            api_version: api_version.clone(),
            kind: kind.clone(),
            namespace: object.map_or_else(|| namespace.clone(), |object| object.namespace.clone()),
            name: name.clone(),
            outcome,
        }
    }

    fn unreadable(broken: Broken) -> Self {
        Self {
            file: Some(broken.file),
            api_version: String::new(),
            kind: String::new(),
            namespace: None,
            name: String::new(),
            outcome: Outcome::Failed(Failure::Unreadable(broken.reason)),
        }
    }

    /// Returns whether it failed.
    pub fn is_failed(&self) -> bool {
        matches!(self.outcome, Outcome::Failed(_))
    }
}

fn place_of(object: &ObjectRef) -> Place {
    let Resource { group, plural, .. } = &*object.resource;
    (group.clone(), plural.clone(), object.namespace.clone(), object.name.clone())
}

/// Returns what a kind that nothing serves is most likely called.
fn guessed(manifest: &Manifest) -> Arc<Resource> {
    let version = manifest.api_version.rsplit('/').next().unwrap_or_default();
    let plural = format!("{}s", manifest.kind.to_lowercase());
    let resource = Resource::new(manifest.group(), version, &manifest.kind, plural);
    Arc::new(Resource { namespaced: manifest.namespace.is_some(), ..resource })
}
