//! The audit log, object by object.

use std::collections::{BTreeMap, BTreeSet, HashMap, HashSet};

use serde_json::{Value, json};

use crate::soak::NAMESPACES;

/// The lives of all objects that the users changed, by uid.
#[derive(Debug, Default)]
pub(super) struct History {
    pub(super) lives: HashMap<String, Life>,
    /// When which version was made: times as the log writes them, which compare as text.
    writes: Vec<Write>,
    made: HashSet<u64>,
}

#[derive(Debug)]
struct Write {
    received: String,
    answered: String,
    version: u64,
}

#[derive(Debug, Default)]
pub(super) struct Life {
    /// `apps/v1/deployments`.
    pub(super) resource: String,
    /// `namespace/name`.
    pub(super) name: String,
    /// By resourceVersion; until it is deleted.
    pub(super) changes: BTreeMap<u64, Change>,
    pub(super) gone: Option<Gone>,
    /// Who deleted it, if nothing held it.
    pub(super) deleted: Option<Certain>,
}

#[derive(Debug)]
pub(super) struct Change {
    /// Who was answered with this version: one of them made it, and the others changed nothing.
    pub(super) users: BTreeSet<String>,
    pub(super) authored: Value,
    /// Whether it is what was before but for the replicas: that is what a scale request shows.
    pub(super) is_derived: bool,
    /// Who it was for certain: it has a value that nobody else writes.
    pub(super) certain: Option<Certain>,
}

impl Change {
    fn new(authored: Value) -> Self {
        Self { users: BTreeSet::new(), authored, is_derived: false, certain: None }
    }

    fn by(&mut self, user: &str) {
        self.users.insert(user.to_owned());
    }
}

/// Who it was, and when.
#[derive(Clone, Debug)]
pub(super) struct Certain {
    pub(super) user: String,
    pub(super) received: String,
    pub(super) answered: String,
}

/// A deletion, which has no version in the log.
#[derive(Debug)]
pub(super) struct Gone {
    received: String,
    answered: String,
}

/// A scale request's answer.
struct Scaled {
    uid: String,
    version: u64,
    replicas: u64,
    user: String,
    answered: String,
}

impl History {
    pub(super) fn read(audit: &str) -> Self {
        let mut history = Self::default();
        let mut scales = vec![];
        for line in audit.lines() {
            let Ok(event) = serde_json::from_str::<Value>(line) else { continue };
            if let Some(write) = Accepted::read(&event) {
                history.add(&write, &mut scales);
            }
        }
        history.scale(scales);
        for life in history.lives.values_mut() {
            // What is written behind its deletion releases it.
            if let Some((deleted, _)) = life.changes.iter().find(|(_, change)| change.authored.is_null()) {
                let deleted = *deleted;
                life.changes.retain(|version, _| *version < deleted);
            }
        }
        history
    }

    /// Returns between which versions a deletion was.
    pub(super) fn bounds(&self, gone: &Gone) -> (u64, u64) {
        let before = self.writes.iter().filter(|write| write.answered < gone.received).map(|write| write.version);
        let after = self.writes.iter().filter(|write| write.received > gone.answered).map(|write| write.version);
        (before.max().unwrap_or(0), after.min().unwrap_or(u64::MAX))
    }

    fn add(&mut self, write: &Accepted<'_>, scales: &mut Vec<Scaled>) {
        let answer = write.answer;
        let gone = || Gone { received: write.received.to_owned(), answered: write.answered.to_owned() };
        if answer["kind"] == "Status" {
            if let Some(uid) = answer["details"]["uid"].as_str() {
                let life = self.life(uid, write, write.name);
                life.gone.get_or_insert_with(gone);
                life.deleted = Some(write.certain());
            }
            return;
        }
        if let Some(items) = answer["items"].as_array().filter(|_| write.verb == "deletecollection") {
            for item in items {
                if let (Some(uid), Some(name)) = (text(item, "/metadata/uid"), text(item, "/metadata/name")) {
                    self.life(uid, write, name).gone.get_or_insert_with(gone);
                }
            }
            return;
        }
        let (Some(uid), Some(version)) = (text(answer, "/metadata/uid"), text(answer, "/metadata/resourceVersion"))
        else {
            return;
        };
        let (Ok(version), name) = (version.parse::<u64>(), text(answer, "/metadata/name").unwrap_or(write.name)) else {
            return;
        };
        if write.verb == "delete" || answer["metadata"]["deletionTimestamp"].is_string() {
            let is_deleted = write.verb == "delete";
            let life = self.life(uid, write, name);
            if is_deleted {
                life.gone.get_or_insert_with(gone);
            }
            // A finalizer holds it; the answer of a plain deletion is what it was.
            let is_held = answer["metadata"]["deletionTimestamp"].is_string();
            if is_held {
                life.changes.entry(version).or_insert_with(|| Change::new(Value::Null)).by(write.user);
            }
        } else if write.subresource == "scale" {
            if self.made.contains(&version) {
                return; // as many as before
            }
            // A Scale leaves out none.
            let replicas = answer["spec"]["replicas"].as_u64().unwrap_or(0);
            let (uid, user, answered) = (uid.to_owned(), write.user.to_owned(), write.answered.to_owned());
            scales.push(Scaled { uid, version, replicas, user, answered });
        } else {
            let life = self.life(uid, write, name);
            let change = life.changes.entry(version).or_insert_with(|| Change::new(authored(answer)));
            change.by(write.user);
            if write.is_own {
                change.certain = Some(write.certain());
            }
        }
        // What changes nothing answers with a version that was made earlier.
        if self.made.insert(version) {
            let (received, answered) = (write.received.to_owned(), write.answered.to_owned());
            self.writes.push(Write { received, answered, version });
        }
    }

    /// A scale request's answer is a Scale: the object is as before, but for its replicas.
    fn scale(&mut self, mut scales: Vec<Scaled>) {
        scales.sort_by_key(|scaled| scaled.version);
        for Scaled { uid, version, replicas, user, answered } in scales {
            let Some(life) = self.lives.get_mut(&uid) else { continue };
            // A Scale doesn't show that its object waits for a finalizer, nor a deletion of many at which version that began.
            if life.gone.as_ref().is_some_and(|gone| gone.received < answered) {
                continue;
            }
            let before = life.changes.range(..version).next_back().map(|(_, change)| change.authored.clone());
            if let Some(change) = life.changes.get_mut(&version) {
                change.by(&user);
                continue;
            }
            let Some(mut authored) = before.filter(|before| !before.is_null()) else { continue };
            authored["spec"]["replicas"] = json!(replicas);
            let mut change = Change { is_derived: true, ..Change::new(authored) };
            change.by(&user);
            life.changes.insert(version, change);
        }
    }

    fn life(&mut self, uid: &str, write: &Accepted<'_>, name: &str) -> &mut Life {
        let life = self.lives.entry(uid.to_owned()).or_default();
        if life.name.is_empty() {
            life.resource.clone_from(&write.resource);
            life.name = format!("{}/{name}", write.namespace);
        }
        life
    }
}

/// A write that was carried out.
struct Accepted<'a> {
    verb: &'a str,
    user: &'a str,
    resource: String,
    subresource: &'a str,
    namespace: &'a str,
    name: &'a str,
    received: &'a str,
    answered: &'a str,
    answer: &'a Value,
    /// Whether it wrote a value that nobody else writes.
    is_own: bool,
}

impl<'a> Accepted<'a> {
    fn read(event: &'a Value) -> Option<Self> {
        let at = |pointer: &str| text(event, pointer);
        let namespace = at("/objectRef/namespace").filter(|namespace| NAMESPACES.contains(namespace))?;
        let code = event["responseStatus"]["code"].as_u64()?;
        let is_dry_run = at("/requestURI")?.contains("dryRun=");
        if !(200..300).contains(&code) || is_dry_run || event["stage"] != "ResponseComplete" {
            return None;
        }
        let (version, plural) = (at("/objectRef/apiVersion")?, at("/objectRef/resource")?);
        let resource = match at("/objectRef/apiGroup") {
            Some(group) => format!("{group}/{version}/{plural}"),
            None => format!("{version}/{plural}"),
        };
        if !["configmaps", "deployments", "widgets"].contains(&plural)
            || at("/objectRef/name") == Some(crate::soak::ROOT_CA)
        {
            return None;
        }
        Some(Self {
            verb: at("/verb")?,
            user: at("/user/username")?,
            resource,
            subresource: at("/objectRef/subresource").unwrap_or_default(),
            namespace,
            name: at("/objectRef/name").unwrap_or_default(),
            received: at("/requestReceivedTimestamp")?,
            answered: at("/stageTimestamp")?,
            answer: &event["responseObject"],
            is_own: ["/data/value", "/spec/value", "/spec/template/metadata/annotations/value"]
                .iter()
                .filter_map(|path| event["requestObject"].pointer(path)?.as_str())
                .any(|value| at("/user/username").is_some_and(|user| value.starts_with(&format!("{user}-")))),
        })
    }

    fn certain(&self) -> Certain {
        let [user, received, answered] = [self.user, self.received, self.answered].map(str::to_owned);
        Certain { user, received, answered }
    }
}

/// Returns what users author of an object, as far as they do here.
pub(in crate::soak) fn authored(object: &Value) -> Value {
    let metadata = &object["metadata"];
    let mut annotations = metadata["annotations"].clone();
    if let Some(annotations) = annotations.as_object_mut() {
        // A Deployment's controller writes it.
        annotations.remove("deployment.kubernetes.io/revision");
    }
    let mut spec = object["spec"].clone();
    if let Some(template) = spec.pointer_mut("/template/metadata").and_then(Value::as_object_mut) {
        template.remove("creationTimestamp");
    }
    let some = |value: &Value| Some(value.clone()).filter(|value| !value.is_null() && *value != json!({}));
    json!({
        "labels": some(&metadata["labels"]),
        "annotations": some(&annotations),
        "finalizers": some(&metadata["finalizers"]),
        "data": object["data"],
        "spec": spec,
    })
}

fn text<'a>(value: &'a Value, pointer: &str) -> Option<&'a str> {
    value.pointer(pointer)?.as_str().filter(|text| !text.is_empty())
}
