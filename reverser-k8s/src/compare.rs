//! A cluster beside Git, object by object: what is missing there, what is extra, what is different.

mod versions;

use std::{collections::HashSet, sync::Arc};

use reverser_core::{
    Change, Drift, Edit, ObjectRef, Operation, Pipeline, Rendered, RepoPath, Resource, SealError, Wanted,
};
use reverser_git::{Files, SinkError, says_the_same};
use serde_json::Value;

use self::versions::Versions;
use crate::{
    api_error::ApiError,
    list::{Lister, Page},
};

/// An object in which Git differs from the cluster.
///
/// Its `Debug` shows no content.
pub struct Difference {
    /// How.
    pub drift: Drift,
    /// The object; without a uid where there is but a file.
    pub object: ObjectRef,
    /// Its file.
    pub path: RepoPath,
    /// What the file says; `None`: there is none.
    pub git: Option<Vec<u8>>,
    /// What it would say; `None`: the object is gone.
    pub live: Option<Vec<u8>>,
    /// Whether the change is recorded that leaves such a difference: it may be there because its operation or its user
    /// isn't asked for.
    pub wanted: Wanted,
}

impl std::fmt::Debug for Difference {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Difference")
            .field("drift", &self.drift)
            .field("path", &self.path)
            .field("wanted", &self.wanted)
            .finish_non_exhaustive()
    }
}

/// What was found while comparing, as it is found.
#[derive(Debug)]
pub enum Finding {
    /// Git and cluster differ.
    Differs(Difference),
    /// An object can't be compared, since it is sensitive and can't be sealed.
    Refused(SealError),
}

/// What was compared.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct Compared {
    /// How many objects were captured, and not on their way out.
    pub objects: usize,
    /// How many of them have a file.
    pub files: usize,
    /// The state of the cluster that was compared.
    pub version: String,
}

/// One resource could not be compared to its end.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum CompareError {
    /// It can't be listed.
    #[error(transparent)]
    List(#[from] ApiError),
    /// Git can't be read.
    #[error(transparent)]
    Read(#[from] SinkError),
    /// The API server doesn't list it as it was: what it lists has another version.
    #[error("the API server can't list {resource} as of a resourceVersion")]
    Version {
        /// `group/version/plural`.
        resource: String,
    },
}

/// Compares what `pipeline` makes of a complete list with what `files` say, as a sweep would: files that it doesn't own
/// are nobody's business, and those of equal meaning are equal. `found` gets each difference as it is met: those of
/// objects in the list's order, then those of files. Holds one page of the list, and a path for each object.
///
/// `version`: the list is that of this very version.
pub async fn compare(
    pipeline: &Pipeline,
    files: &dyn Files,
    lister: &dyn Lister,
    version: Option<&str>,
    found: &mut (dyn FnMut(Finding) + Send),
) -> Result<Compared, CompareError> {
    let mut page = lister.first(version).await?;
    if version.is_some_and(|version| version != page.version) {
        return Err(CompareError::Version { resource: lister.resource().to_string() });
    }
    let mut compared = Compared { version: std::mem::take(&mut page.version), ..Compared::default() };
    let mut alive = HashSet::new();
    loop {
        let Page { objects, next, .. } = page;
        for object in objects {
            let Some(living) = render(pipeline, lister.resource(), object, found) else { continue };
            alive.insert(living.path.clone());
            compared.objects += 1;
            // Refused: it may stand there all the same, sealed by another run.
            let Some(content) = living.content else { continue };
            let standing = files.read(&living.path).await?;
            compared.files += usize::from(standing.is_some());
            if standing.as_deref().is_some_and(|standing| says_the_same(&living.path, standing, &content)) {
                continue;
            }
            let (drift, wanted) = match standing {
                Some(_) => (Drift::Different, living.updated),
                None => (Drift::Missing, living.created),
            };
            let Living { path, object, .. } = living;
            found(Finding::Differs(Difference { drift, object, path, git: standing, live: Some(content), wanted }));
        }
        match next {
            Some(next) => page = lister.next(&next).await?,
            None => break,
        }
    }
    let mut orphan = |orphan: Orphan| found(Finding::Differs(orphan.differs(pipeline)));
    orphans(pipeline, files, lister.resource(), lister.namespace(), &alive, &mut orphan).await?;
    Ok(compared)
}

/// An object that is there.
struct Living {
    object: ObjectRef,
    path: RepoPath,
    /// `None`: it isn't written.
    content: Option<Vec<u8>>,
    /// Whether its creation, and an update of it, is recorded.
    created: Wanted,
    updated: Wanted,
}

/// Returns what a listed object should be in Git; `None`: nothing, as it isn't captured or on its way out.
fn render(
    pipeline: &Pipeline,
    resource: &Arc<Resource>,
    object: Value,
    found: &mut (dyn FnMut(Finding) + Send),
) -> Option<Living> {
    let reference = ObjectRef::of(resource, &object)?;
    let mut change = Change::new(reference, Operation::Create, Some(object));
    let created = pipeline.selector.change(&change);
    change.operation = Operation::Update;
    let updated = pipeline.selector.change(&change);
    let (object, body) = (change.object, change.body?);
    let (path, content) = match pipeline.render_listed(&object, body) {
        Rendered::Write(Edit::Put { path, content }) => (path, Some(content)),
        Rendered::Refuse(error) => {
            found(Finding::Refused(error));
            (pipeline.place(&object), None)
        }
        // The last two are of changes alone.
        Rendered::Write(Edit::Delete { .. }) | Rendered::Leave(_) | Rendered::Skip(_) | Rendered::WriteIfBy(..) => {
            return None;
        }
    };
    Some(Living { object, path, content, created, updated })
}

/// A file without an object.
pub(crate) struct Orphan {
    pub(crate) object: ObjectRef,
    pub(crate) path: RepoPath,
    /// The object has its file in the listed version.
    pub(crate) has_moved: bool,
    body: Value,
    content: Vec<u8>,
}

impl Orphan {
    fn differs(self, pipeline: &Pipeline) -> Difference {
        let Self { object, path, has_moved, body, content } = self;
        let drift = if has_moved { Drift::Superseded } else { Drift::Extra };
        // The file is all that is known of the object.
        let change = Change::new(object, drift.operation(), Some(body));
        let wanted = match drift {
            // The object is somewhere else, and that is for no filter to say.
            Drift::Superseded => Wanted::Yes,
            Drift::Different | Drift::Extra | Drift::Missing => pipeline.selector.change(&change),
        };
        Difference { drift, object: change.object, path, git: Some(content), live: None, wanted }
    }
}

/// Finds the files that `pipeline` would have written for objects of `resource`, in whatever version, in `namespace` (`None`:
/// anywhere), and that aren't among those of objects that are alive. Returns how many of those there are.
pub(crate) async fn orphans(
    pipeline: &Pipeline,
    files: &dyn Files,
    resource: &Arc<Resource>,
    namespace: Option<&str>,
    alive: &HashSet<RepoPath>,
    found: &mut (dyn FnMut(Orphan) + Send),
) -> Result<usize, SinkError> {
    let mut versions = Versions::new(&*pipeline.layout, resource);
    let mut kept = 0;
    for path in files.list(versions.root()).await? {
        if alive.contains(&path) {
            kept += 1;
            continue;
        }
        if !versions.may_hold(&path) {
            continue;
        }
        let Some(content) = files.read(&path).await? else { continue };
        if let Some((object, body)) = pipeline.owned(&path, &content, resource, namespace) {
            // An object is the same one in each version.
            let here = ObjectRef { resource: Arc::clone(resource), ..object.clone() };
            let has_moved = alive.contains(&pipeline.place(&here));
            found(Orphan { object, path, has_moved, body, content });
        }
    }
    Ok(kept)
}

#[cfg(test)]
mod tests {
    use reverser_core::Selector;
    use reverser_git::{
        Batch, GitSink, MemorySink,
        testing::{plan, put},
    };
    use serde_json::json;

    use super::*;
    use crate::{fixture::configmaps, list::Remembered};

    fn object(name: &str, value: &str) -> Value {
        json!({"metadata": {"name": name, "namespace": "shop", "uid": "1"}, "data": {"key": value}})
    }

    fn file(name: &str, value: &str) -> Edit {
        let text = format!(
            "apiVersion: v1\nkind: ConfigMap\nmetadata:\n  name: {name}\n  namespace: shop\ndata:\n  key: \"{value}\"\n"
        );
        put(&format!("v1/configmaps/shop/{name}.yaml"), &text)
    }

    async fn sink(files: impl IntoIterator<Item = Edit>) -> MemorySink {
        let sink = MemorySink::new();
        for file in files {
            sink.commit(Batch { plans: vec![plan("put", [file])], ..Batch::default() }).await.unwrap();
        }
        sink
    }

    /// Returns what is found, in words, and what was compared.
    async fn compared(pipeline: &Pipeline, files: &MemorySink, lister: &Remembered) -> (Vec<String>, Compared) {
        let mut told = Vec::new();
        let mut found = |finding| match finding {
            Finding::Differs(difference) => {
                let Difference { drift, path, git, live, wanted, .. } = difference;
                let is = |there: bool| if there { "there" } else { "absent" };
                let wanted = if wanted == Wanted::Yes { String::new() } else { format!(" {wanted:?}") };
                told.push(format!("{drift} {path} {} {}{wanted}", is(git.is_some()), is(live.is_some())));
            }
            Finding::Refused(error) => told.push(error.to_string()),
        };
        let compared = compare(pipeline, files, lister, None, &mut found).await.unwrap();
        (told, compared)
    }

    #[tokio::test]
    async fn differences_of_meaning_are_found_and_files_of_others_are_not() {
        let files = sink([
            file("same", "1"),
            file("different", "1"),
            file("extra", "1"),
            put(
                "v1/configmaps/shop/formatted.yaml",
                "{kind: ConfigMap, data: {key: '1'}, apiVersion: v1, metadata: {namespace: shop, name: formatted}}",
            ),
            put("v1/configmaps/shop/hand-written.yaml", "# mine\n"),
            put("v1/configmaps/shop/kustomization.yaml", "kind: Kustomization\n"),
            put("v1/secrets/shop/other.yaml", "kind: Secret\n"),
        ])
        .await;
        let mut dying = object("extra", "1");
        dying["metadata"]["deletionTimestamp"] = "2026-01-01T00:00:00Z".into();
        let objects =
            [object("different", "2"), dying, object("formatted", "1"), object("missing", "1"), object("same", "1")];
        let lister = Remembered::new(configmaps()).at(7, objects);
        let (told, compared) = compared(&Pipeline::default(), &files, &lister).await;
        assert_eq!(
            told,
            [
                "different v1/configmaps/shop/different.yaml there there",
                "missing v1/configmaps/shop/missing.yaml absent there",
                "extra v1/configmaps/shop/extra.yaml there absent",
            ]
        );
        assert_eq!(compared, Compared { objects: 4, files: 3, version: "7".into() });
    }

    #[tokio::test]
    async fn a_file_of_another_version_is_superseded_where_the_object_is_alive_and_extra_where_not() {
        let old = |name: &str| {
            let text =
                format!("apiVersion: example.com/v1beta1\nkind: Widget\nmetadata: {{name: {name}, namespace: shop}}\n");
            put(&format!("example.com/v1beta1/widgets/shop/{name}.yaml"), &text)
        };
        let files = sink([old("alive"), old("gone")]).await;
        let widgets = Arc::new(Resource::new("example.com", "v1", "Widget", "widgets"));
        let lister = Remembered::new(widgets).at(7, [object("alive", "1")]);
        let (told, _) = compared(&Pipeline::default(), &files, &lister).await;
        assert_eq!(
            told,
            [
                "missing example.com/v1/widgets/shop/alive.yaml absent there",
                "superseded example.com/v1beta1/widgets/shop/alive.yaml there absent",
                "extra example.com/v1beta1/widgets/shop/gone.yaml there absent",
            ]
        );
    }

    #[tokio::test]
    async fn what_a_filter_of_operations_or_users_leaves_out_is_told_with_the_difference() {
        let files = sink([file("different", "1"), file("extra", "1")]).await;
        let lister = Remembered::new(configmaps()).at(7, [object("different", "2"), object("missing", "1")]);
        let told = async |except: &str| {
            let selector = Selector { except: vec![except.parse().unwrap()], ..Selector::default() };
            let told = compared(&Pipeline { selector, ..Pipeline::default() }, &files, &lister).await.0;
            told.iter().map(|line| line.split(' ').nth(4).unwrap_or("Yes")[..2].to_owned()).collect::<Vec<_>>()
        };
        assert_eq!(told("operation=delete").await, ["Ye", "Ye", "No"]);
        assert_eq!(told("operation=update").await, ["No", "Ye", "Ye"]);
        assert_eq!(told("operation=create").await, ["Ye", "No", "Ye"]);
        assert_eq!(told("user=bot").await, ["By", "By", "By"]);
        assert_eq!(told("user=bot name=missing").await, ["Ye", "By", "Ye"]);
    }

    #[tokio::test]
    async fn an_object_that_can_not_be_sealed_is_neither_missing_nor_is_its_file_extra() {
        let secrets = Arc::new(Resource::new("", "v1", "Secret", "secrets").without_status());
        let standing = "apiVersion: v1\nkind: Secret\nmetadata: {name: a, namespace: shop}\nsops: {}\n";
        let files = sink([put("v1/secrets/shop/a.yaml", standing)]).await;
        let lister = Remembered::new(secrets).at(7, [object("a", "1"), object("b", "1")]);
        let (told, _) = compared(&Pipeline::default(), &files, &lister).await;
        assert_eq!(told.len(), 2);
        assert!(told.iter().all(|line| line.contains("is sensitive")), "{told:?}");
    }

    #[tokio::test]
    async fn a_list_of_another_version_is_no_list_of_this_one() {
        #[derive(Debug)]
        struct Always(Remembered);
        #[async_trait::async_trait]
        impl Lister for Always {
            fn resource(&self) -> &Arc<Resource> {
                self.0.resource()
            }
            fn namespace(&self) -> Option<&str> {
                None
            }
            async fn first(&self, _version: Option<&str>) -> Result<Page, ApiError> {
                self.0.first(None).await
            }
            async fn next(&self, page: &str) -> Result<Page, ApiError> {
                self.0.next(page).await
            }
        }
        let lister = Always(Remembered::new(configmaps()).at(7, []));
        let error = compare(&Pipeline::default(), &MemorySink::new(), &lister, Some("6"), &mut |_| {}).await;
        assert!(matches!(error, Err(CompareError::Version { .. })), "{error:?}");
    }
}
