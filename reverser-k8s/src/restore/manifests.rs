//! The objects that stand in the files of a repository.

use std::collections::{BTreeMap, btree_map::Entry};

use reverser_core::{RepoPath, yaml::Documents};
use reverser_git::{Files, SinkError};
use serde_json::Value;

use crate::discover::Catalog;

/// An object as a file has it.
#[derive(Clone, PartialEq)]
pub struct Manifest {
    /// Where it stands.
    pub file: RepoPath,
    /// On which line of the file its document begins, counted from one.
    pub line: u64,
    /// As it says.
    pub api_version: String,
    /// As it says.
    pub kind: String,
    /// As it says; `None` for cluster-scoped objects, and for those that leave it open.
    pub namespace: Option<String>,
    /// As it says.
    pub name: String,
    pub(super) body: Value,
}

impl Manifest {
    /// Returns the API group, empty for the core group.
    pub fn group(&self) -> &str {
        self.api_version.split_once('/').map_or("", |(group, _)| group)
    }

    fn identity(&self) -> Identity {
        (self.group().to_owned(), self.kind.clone(), self.namespace.clone(), self.name.clone())
    }
}

/// Without its content, which may be anything.
impl std::fmt::Debug for Manifest {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Manifest({}:{} {} {} {})", self.file, self.line, self.api_version, self.kind, self.name)
    }
}

/// Group, kind, namespace and name: whatever version a file is written in.
type Identity = (String, String, Option<String>, String);

/// What the files of a folder hold.
#[derive(Debug, Default)]
pub struct Manifests {
    /// The objects, in the order of their files.
    pub objects: Vec<Manifest>,
    /// What was meant to be an object and isn't one: it can't be restored.
    pub broken: Vec<Broken>,
    /// Files in which nothing is an object: they are left alone.
    pub left: Vec<RepoPath>,
    /// Objects that are encrypted, which the API server would take as they are.
    pub sealed: Vec<Manifest>,
}

/// A document that is no object, and can't be left out silently.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Broken {
    /// The file.
    pub file: RepoPath,
    /// What is wrong, where, and what to do.
    pub reason: String,
}

impl Manifests {
    /// Reads all manifests among `files`: documents with `apiVersion` and `kind` in files called `.yaml`, `.yml` or `.json`, any number
    /// in each. All else is left alone, as are kustomize's own files, which the API doesn't serve.
    pub async fn read(files: &dyn Files) -> Result<Self, SinkError> {
        let mut manifests = Self::default();
        let mut places = BTreeMap::new();
        for file in files.list(None).await? {
            if !EXTENSIONS.iter().any(|extension| file.as_str().ends_with(extension)) {
                manifests.left.push(file);
            } else if let Some(content) = files.read(&file).await? {
                manifests.add(&file, &content, &mut places);
            }
        }
        Ok(manifests)
    }

    /// Returns what a cluster will serve that has the CustomResourceDefinitions among these, too.
    pub fn expected(&self, catalog: &Catalog) -> Catalog {
        catalog.expecting(self.objects.iter().map(|manifest| &manifest.body))
    }

    fn add(&mut self, file: &RepoPath, content: &[u8], places: &mut BTreeMap<Identity, RepoPath>) {
        let mut documents = Documents::new();
        documents.push(content);
        documents.finish();
        let mut is_manifest = false;
        while let Some(document) = documents.next_document() {
            let objects = match document.objects() {
                Ok(objects) => objects,
                Err(error) => {
                    is_manifest = true;
                    self.broken.push(Broken { file: file.clone(), reason: format!("{error}; correct it in Git") });
                    continue;
                }
            };
            for body in objects.into_iter().filter(is_object) {
                is_manifest = true;
                let is_sealed = !body["sops"]["mac"].is_null();
                match manifest(file, document.line(), body) {
                    Err(reason) => self.broken.push(Broken { file: file.clone(), reason }),
                    Ok(manifest) if is_sealed => self.sealed.push(manifest),
                    Ok(manifest) => self.add_once(manifest, places),
                }
            }
        }
        if !is_manifest {
            self.left.push(file.clone());
        }
    }

    fn add_once(&mut self, manifest: Manifest, places: &mut BTreeMap<Identity, RepoPath>) {
        match places.entry(manifest.identity()) {
            Entry::Vacant(place) => {
                place.insert(manifest.file.clone());
                self.objects.push(manifest);
            }
            Entry::Occupied(other) => self.broken.push(Broken {
                reason: format!(
                    "line {}: {} {} stands in {} as well, which is taken: remove one of them in Git",
                    manifest.line,
                    manifest.kind,
                    manifest.name,
                    other.get()
                ),
                file: manifest.file,
            }),
        }
    }
}

/// Whether a document is meant for the API.
fn is_object(body: &Value) -> bool {
    let text = |key: &str| body[key].as_str().filter(|text| !text.is_empty());
    text("kind").is_some() && text("apiVersion").is_some_and(|version| !version.starts_with("kustomize.config.k8s.io/"))
}

fn manifest(file: &RepoPath, line: u64, body: Value) -> Result<Manifest, String> {
    let text = |value: &Value| value.as_str().filter(|text| !text.is_empty()).map(str::to_owned);
    let metadata = &body["metadata"];
    let kind = text(&body["kind"]).unwrap_or_default();
    let Some(name) = text(&metadata["name"]) else {
        return Err(format!("line {line}: the {kind} has no metadata.name; give it one in Git"));
    };
    // YAML 1.1 has more words for true and false than one would think.
    if !matches!(metadata["namespace"], Value::Null | Value::String(_)) {
        return Err(format!("line {line}: the metadata.namespace of the {kind} is no text; put it in quotes in Git"));
    }
    // Names become parts of a URL, and a file may say anything.
    let namespace = text(&metadata["namespace"]);
    if let Some(wrong) = [Some(&name), namespace.as_ref()].into_iter().flatten().find(|name| !is_path_segment(name)) {
        return Err(format!("line {line}: no {kind} can be called {wrong:?}; correct it in Git"));
    }
    let api_version = text(&body["apiVersion"]).unwrap_or_default();
    Ok(Manifest { file: file.clone(), line, api_version, kind, namespace, name, body })
}

/// The rule that is common to all names: <https://kubernetes.io/docs/concepts/overview/working-with-objects/names/#path-segment-names>
fn is_path_segment(name: &str) -> bool {
    !matches!(name, "." | "..") && !name.contains(['/', '%'])
}

/// What kubectl reads in a folder.
const EXTENSIONS: [&str; 3] = [".yaml", ".yml", ".json"];

#[cfg(test)]
mod tests {
    use super::*;

    fn read(files: &[(&str, &str)]) -> Manifests {
        let (mut manifests, mut places) = (Manifests::default(), BTreeMap::new());
        for (path, content) in files {
            manifests.add(&path.parse().unwrap(), content.as_bytes(), &mut places);
        }
        manifests
    }

    fn names(manifests: &Manifests) -> Vec<&str> {
        manifests.objects.iter().map(|manifest| manifest.name.as_str()).collect()
    }

    #[test]
    fn every_document_of_a_file_is_an_object_of_its_own() {
        let two = "# both\nkind: A\napiVersion: v1\nmetadata: {name: a}\n---\n---\napiVersion: x.io/v1\nkind: B\nmetadata: {name: b, namespace: shop}\n";
        let list = r#"{"apiVersion": "v1", "kind": "List", "items": [{"apiVersion": "v1", "kind": "C", "metadata": {"name": "c"}}]}"#;
        let manifests = read(&[("two.yaml", two), ("list.json", list)]);
        assert_eq!(names(&manifests), ["a", "b", "c"]);
        let b = &manifests.objects[1];
        assert_eq!((b.group(), b.namespace.as_deref(), b.line), ("x.io", Some("shop"), 7));
        assert!(manifests.broken.is_empty() && manifests.left.is_empty());
    }

    #[test]
    fn what_is_no_manifest_is_left_alone() {
        let kustomization = "apiVersion: kustomize.config.k8s.io/v1beta1\nkind: Kustomization\nresources: [a.yaml]\n";
        let files = [
            ("kustomization.yaml", kustomization),
            ("k/kustomization.yaml", "resources: [a.yaml]\n"),
            ("values.yaml", "a: 1\nkind: x\n"),
            ("empty.yaml", "# nothing\n"),
            ("list.yaml", "- 1\n- 2\n"),
        ];
        let manifests = read(&files);
        assert_eq!(manifests.left.len(), files.len());
        assert!(manifests.objects.is_empty() && manifests.broken.is_empty());
        // Flux has a kind of that name, which the API serves; and an object may be called so.
        let object =
            "apiVersion: kustomize.toolkit.fluxcd.io/v1\nkind: Kustomization\nmetadata: {name: kustomization}\n";
        assert_eq!(names(&read(&[("kustomization.yaml", object)])), ["kustomization"]);
    }

    #[test]
    fn what_is_broken_says_where_and_what_to_do() {
        for (text, said) in [
            ("apiVersion: v1\nkind: A\n b: 1\n", "line 3"),
            ("\n\napiVersion: v1\nkind: A\nmetadata: {generateName: a-}\n", "the A has no metadata.name"),
            ("apiVersion: v1\nkind: A\nmetadata: {name: a/../../b}\n", r#"no A can be called "a/../../b""#),
            ("apiVersion: v1\nkind: A\nmetadata: {name: a, namespace: n}\n", "is no text; put it in quotes"),
            ("apiVersion: v1\nkind: A\nmetadata: {name: a, namespace: ..}\n", r#"no A can be called "..""#),
        ] {
            let manifests = read(&[("a.yaml", text)]);
            let [broken] = &manifests.broken[..] else { panic!("{text}: {manifests:?}") };
            assert!(broken.reason.contains(said) && broken.reason.contains("in Git"), "{}", broken.reason);
            assert!(manifests.objects.is_empty() && manifests.left.is_empty());
        }
        // What stands beside it is an object all the same.
        let beside = read(&[("a.yaml", "kind: A\napiVersion: v1\nmetadata: {name: a}\n---\n{\n")]);
        assert_eq!((names(&beside), beside.broken.len()), (vec!["a"], 1));
    }

    #[test]
    fn an_object_that_stands_in_two_files_is_taken_from_the_first() {
        let text = |version: &str| format!("apiVersion: apps/{version}\nkind: A\nmetadata: {{name: a}}\n");
        let manifests = read(&[("a.yaml", &text("v1")), ("b.yaml", &text("v2"))]);
        assert_eq!(manifests.objects[0].api_version, "apps/v1");
        assert!(manifests.broken[0].reason.contains("A a stands in a.yaml as well"), "{manifests:?}");
    }

    #[test]
    fn what_is_encrypted_never_becomes_an_object() {
        let sealed = "apiVersion: v1\nkind: Secret\nmetadata: {name: a}\nstringData: {a: 'ENC[AES256_GCM]'}\nsops: {mac: 'ENC[x]'}\n";
        let manifests = read(&[("a.sops.yaml", sealed)]);
        assert!(manifests.objects.is_empty() && manifests.sealed.len() == 1 && manifests.left.is_empty());
    }
}
