//! select ─► sanitize ─► place ─► render ─► seal: from a change to one file's edit, and on to a commit's plan.

use std::sync::Arc;

use jiff::Timestamp;
use serde_json::Value;

use crate::{
    Change, CommitMessage, CommitPlan, DefaultLayout, DefaultMessage, Edit, Layout, LeftOut, ObjectRef, Operation,
    RefuseSecrets, RepoPath, Resource, Sanitizer, Seal, SealError, Selector, identity,
    message::{Synced, with_trailers, without_trailers},
    yaml,
};

/// The pure stages between a source and a Git writer; every source goes through the same ones.
#[derive(Clone, Debug)]
pub struct Pipeline {
    /// What is captured.
    pub selector: Selector,
    /// What the server owns and Git doesn't get.
    pub sanitizer: Sanitizer,
    /// Where files stand.
    pub layout: Arc<dyn Layout>,
    /// What commits say.
    pub message: Arc<dyn CommitMessage>,
    /// What may only be written encrypted.
    pub seal: Arc<dyn Seal>,
}

impl Default for Pipeline {
    fn default() -> Self {
        Self {
            selector: Selector::default(),
            sanitizer: Sanitizer::faithful(),
            layout: Arc::new(DefaultLayout),
            message: Arc::new(DefaultMessage),
            seal: Arc::new(RefuseSecrets),
        }
    }
}

/// What the pure stages make of a change.
#[derive(Debug)]
pub enum Rendered {
    /// Nothing is written: it isn't selected. An object that was selected before has left the selection; whether it
    /// was can be told from the file that stands at [`Pipeline::place`].
    Leave(LeftOut),
    /// Nothing is written: it is sensitive and can't be sealed.
    Refuse(SealError),
    /// This is written.
    Write(Edit),
}

impl Pipeline {
    /// Returns what to write for `change`, and takes its body. An object whose deletion was accepted (it has a
    /// `deletionTimestamp`) counts as deleted, whatever its finalizers still do: the change becomes a
    /// [`Operation::Delete`].
    pub fn render(&self, change: &mut Change) -> Rendered {
        let body = change.body.take();
        if let Some(body) = &body {
            if let Err(why) = self.selector.object(&change.object, body) {
                return Rendered::Leave(why);
            }
            if !body["metadata"]["deletionTimestamp"].is_null() {
                change.operation = Operation::Delete;
            }
        } else if let Err(why) = self.selector.resource(&change.object.resource) {
            return Rendered::Leave(why);
        }
        let path = self.place(&change.object);
        match body {
            Some(body) if change.operation != Operation::Delete => match self.manifest(&change.object, body) {
                Ok(text) => Rendered::Write(Edit::Put { path, content: text.into_bytes() }),
                Err(error) => Rendered::Refuse(error),
            },
            _ => Rendered::Write(Edit::Delete { path }),
        }
    }

    /// Returns the sanitizer for objects of `resource`: where it has no status subresource, `status` is authored.
    pub fn sanitizer_of(&self, resource: &Resource) -> Sanitizer {
        let sanitizer = self.sanitizer.clone();
        if resource.has_status { sanitizer } else { sanitizer.keep_status() }
    }

    /// Returns the object's path below the writer's root.
    pub fn place(&self, object: &ObjectRef) -> RepoPath {
        self.layout.place(object)
    }

    /// Returns whether a file is one that this pipeline would have written for a captured object of `resource` in
    /// `namespace` (`None`: any): only such a file may be removed when its object is gone.
    pub fn owns(&self, path: &RepoPath, content: &[u8], resource: &Arc<Resource>, namespace: Option<&str>) -> bool {
        let Some(body) = std::str::from_utf8(content).ok().and_then(|text| yaml::parse(text).ok()).and_then(single)
        else {
            return false;
        };
        let Some(object) = ObjectRef::of(resource, &body) else { return false };
        body["apiVersion"] == resource.api_version().as_str()
            && body["kind"] == resource.kind.as_str()
            && namespace.is_none_or(|namespace| object.namespace.as_deref() == Some(namespace))
            && self.selector.object(&object, &body).is_ok()
            && self.place(&object) == *path
    }

    /// Returns the commit for one change.
    pub fn plan(&self, change: &Change, edit: Edit, now: Timestamp) -> CommitPlan {
        CommitPlan {
            author: change.attribution.actor().map(identity::author),
            date: change.at.unwrap_or(now),
            message: with_trailers(&self.message.change(change), change),
            edits: vec![edit],
        }
    }

    /// Returns the commit that brings many files in line with complete lists.
    pub fn sync_plan(&self, sync: &Synced, edits: Vec<Edit>, now: Timestamp) -> CommitPlan {
        CommitPlan { author: None, date: now, message: without_trailers(&self.message.sync(sync)), edits }
    }

    fn manifest(&self, object: &ObjectRef, mut body: Value) -> Result<String, SealError> {
        // Items of a list come without these two.
        if body["apiVersion"].is_null() {
            body["apiVersion"] = object.resource.api_version().into();
        }
        if body["kind"].is_null() {
            body["kind"] = object.resource.kind.as_str().into();
        }
        let text = yaml::to_string(&self.sanitizer_of(&object.resource).clean(body));
        if self.seal.is_sensitive(&object.resource) { self.seal.seal(object, &text) } else { Ok(text) }
    }
}

fn single(mut documents: Vec<Value>) -> Option<Value> {
    if documents.len() == 1 { documents.pop() } else { None }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::{Actor, Attribution};

    fn resource(plural: &str, kind: &str) -> Arc<Resource> {
        Arc::new(Resource {
            group: String::new(),
            version: "v1".into(),
            kind: kind.into(),
            plural: plural.into(),
            namespaced: true,
            has_status: true,
        })
    }

    fn change(resource: &Arc<Resource>, operation: Operation, body: Value) -> Change {
        Change::new(ObjectRef::of(resource, &body).unwrap(), operation, Some(body))
    }

    fn live() -> Value {
        json!({"metadata": {"name": "a", "namespace": "shop", "uid": "1", "resourceVersion": "7"}, "data": {"k": "no"}})
    }

    #[test]
    fn an_object_becomes_a_clean_manifest_at_its_place() {
        let pipeline = Pipeline::default();
        let mut change = change(&resource("configmaps", "ConfigMap"), Operation::Create, live());
        let Rendered::Write(edit) = pipeline.render(&mut change) else { panic!("captured") };
        let Edit::Put { path, content } = &edit else { panic!("written") };
        assert_eq!(path.as_str(), "v1/configmaps/shop/a.yaml");
        insta::assert_snapshot!(String::from_utf8_lossy(content), @r#"
        apiVersion: v1
        kind: ConfigMap
        metadata:
          name: a
          namespace: shop
        data:
          k: "no"
        "#);
        let plan = pipeline.plan(&change, edit, Timestamp::UNIX_EPOCH);
        assert_eq!(plan.message.lines().next(), Some("[CREATE] v1/configmaps/a"));
        assert!(plan.message.contains("Reverser-Resource-Version: 7"), "{}", plan.message);
    }

    #[test]
    fn an_accepted_deletion_is_a_deletion_whatever_finalizers_do() {
        let mut body = live();
        body["metadata"]["deletionTimestamp"] = "2026-01-01T00:00:00Z".into();
        let mut change = change(&resource("configmaps", "ConfigMap"), Operation::Update, body);
        assert!(matches!(Pipeline::default().render(&mut change), Rendered::Write(Edit::Delete { .. })));
        assert_eq!(change.operation, Operation::Delete);
    }

    #[test]
    fn a_secret_is_refused_and_its_value_is_in_no_message() {
        let body = json!({"metadata": {"name": "s", "namespace": "shop"}, "data": {"password": "aHVudGVyMg=="}});
        let mut change = change(&resource("secrets", "Secret"), Operation::Create, body);
        let Rendered::Refuse(error) = Pipeline::default().render(&mut change) else { panic!("refused") };
        assert!(error.to_string().contains("v1/secrets/s") && !format!("{error:?}").contains("aHVudGVyMg"), "{error}");
    }

    #[test]
    fn the_author_is_named_only_with_evidence() {
        let pipeline = Pipeline::default();
        let change = change(&resource("configmaps", "ConfigMap"), Operation::Create, live());
        let edit = || Edit::Delete { path: "a".parse().unwrap() };
        assert_eq!(pipeline.plan(&change, edit(), Timestamp::UNIX_EPOCH).author, None);
        let known = change.by(Actor::user("alice"));
        assert!(matches!(known.attribution, Attribution::Known { .. }));
        assert_eq!(pipeline.plan(&known, edit(), Timestamp::UNIX_EPOCH).author.unwrap().name(), "alice");
    }

    #[test]
    fn only_files_that_it_would_write_are_owned() {
        let pipeline = Pipeline::default();
        let configmaps = resource("configmaps", "ConfigMap");
        let text = b"apiVersion: v1\nkind: ConfigMap\nmetadata:\n  name: a\n  namespace: shop\n";
        let owns =
            |path: &str, text: &[u8], namespace| pipeline.owns(&path.parse().unwrap(), text, &configmaps, namespace);
        assert!(owns("v1/configmaps/shop/a.yaml", text, None));
        assert!(owns("v1/configmaps/shop/a.yaml", text, Some("shop")));
        assert!(!owns("v1/configmaps/shop/a.yaml", text, Some("other")));
        assert!(!owns("v1/configmaps/shop/hand-written.yaml", text, None));
        assert!(!owns("v1/configmaps/shop/a.yaml", b"# notes", None));
        assert!(!owns(
            "v1/configmaps/shop/a.yaml",
            b"apiVersion: v1\nkind: Other\nmetadata: {name: a, namespace: shop}\n",
            None
        ));
    }
}
