//! From a name to an object: among the files of a commit, or among those that are gone.

use std::{collections::BTreeMap, fmt};

use reverser_core::{RepoPath, yaml};
use reverser_git::{CommitId, ContentId, GitHistory, ReadError};
use serde_json::Value;

use super::name::{ObjectName, is_group, is_kind};

/// Who an object says it is, whatever version it is written in.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Identity {
    /// The API group; empty: the core group.
    pub group: String,
    /// Its kind.
    pub kind: String,
    /// Its namespace, if it says one.
    pub namespace: Option<String>,
    /// Its name.
    pub name: String,
}

impl Identity {
    /// Returns who an object says it is; `None`: it is none.
    pub fn of(body: &Value) -> Option<Self> {
        let text = |value: &Value| value.as_str().filter(|text| !text.is_empty()).map(str::to_owned);
        let api_version = text(&body["apiVersion"])?;
        let group = api_version.split_once('/').map_or("", |(group, _)| group);
        Some(Self {
            group: group.to_owned(),
            kind: text(&body["kind"])?,
            namespace: text(&body["metadata"]["namespace"]),
            name: text(&body["metadata"]["name"])?,
        })
    }

    /// Returns `namespace/name`, or the name alone.
    pub(super) fn place(&self) -> String {
        match &self.namespace {
            Some(namespace) => format!("{namespace}/{}", self.name),
            None => self.name.clone(),
        }
    }

    /// Returns the object among those of a file.
    pub(super) fn find_in(&self, content: &[u8]) -> Option<Value> {
        let text = std::str::from_utf8(content).ok()?;
        yaml::objects(text).ok()?.into_iter().find(|body| Self::of(body).as_ref() == Some(self))
    }

    /// Whether a file may be this object's by its name alone.
    pub(super) fn may_be_at(&self, path: &RepoPath) -> bool {
        path.as_str().to_lowercase().contains(&self.name.to_lowercase())
    }
}

/// As kubectl has it: `deployment.apps/web -n shop`.
impl fmt::Display for Identity {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let dot = if self.group.is_empty() { "" } else { "." };
        write!(f, "{}{dot}{}/{}", self.kind.to_lowercase(), self.group, self.name)?;
        self.namespace.iter().try_for_each(|namespace| write!(f, " -n {namespace}"))
    }
}

/// An object, and where its history begins to be read.
#[derive(Clone, Debug)]
pub struct Found {
    /// Who it is.
    pub object: Identity,
    /// Its file, below the reader's folder; the last one that it had, when it is gone.
    pub file: RepoPath,
    /// What it is; `None`: it is gone.
    pub body: Option<Value>,
    /// From which commit on it is read.
    pub(super) from: CommitId,
}

/// An object could not be found.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum FindError {
    /// The name is that of several.
    #[error("{name} is {} objects: name one of them, with -n and its group:\n{}", candidates.len(), listed(candidates))]
    Ambiguous {
        /// What was asked for.
        name: String,
        /// Which they are.
        candidates: Vec<Identity>,
    },
    /// The repository can't be read.
    #[error(transparent)]
    Read(#[from] ReadError),
    /// Neither the files nor those that are gone have it.
    #[error("there is no {name} in {place}, and never was as far as its history tells{}", suggested(suggestions))]
    Unknown {
        /// What was asked for.
        name: String,
        /// Where.
        place: String,
        /// What may have been meant.
        suggestions: Vec<Identity>,
    },
}

fn listed(objects: &[Identity]) -> String {
    let mut lines: Vec<_> = objects.iter().take(MOST_SHOWN).map(|object| format!("  {object}")).collect();
    if objects.len() > MOST_SHOWN {
        lines.push(format!("  and {} more", objects.len() - MOST_SHOWN));
    }
    lines.join("\n")
}

fn suggested(objects: &[Identity]) -> String {
    if objects.is_empty() { String::new() } else { format!("; did you mean\n{}", listed(objects)) }
}

/// Finds the object that is meant, among the files as they are, then among those that the history has lost.
pub async fn find(
    history: &GitHistory,
    name: &ObjectName,
    namespace: Option<&str>,
    progress: impl Fn(usize),
) -> Result<Found, FindError> {
    let tip = history.files().commit().id.clone();
    let all = objects_at(history, &tip).await?;
    let mut found: BTreeMap<Identity, Vec<&(RepoPath, Value)>> = BTreeMap::new();
    for entry in all.iter().filter(|(file, body)| is_meant(name, namespace, file, body)) {
        if let Some(object) = Identity::of(&entry.1) {
            found.entry(object).or_default().push(entry);
        }
    }
    if found.len() > 1 {
        let candidates = found.into_keys().collect();
        return Err(FindError::Ambiguous { name: shown(name, namespace), candidates });
    }
    if let Some((object, files)) = found.pop_first()
        && let Some((file, body)) = latest(history, &tip, files).await?
    {
        return Ok(Found { object, file, body: Some(body), from: tip });
    }
    match find_gone(history, name, namespace, &tip, progress).await? {
        Some(found) => Ok(found),
        None => Err(FindError::Unknown {
            name: shown(name, namespace),
            place: history.files().to_string(),
            suggestions: alike(name, &all),
        }),
    }
}

/// Returns which of an object's files was changed last: where a layout was changed, those of the other one may still be there.
async fn latest(
    history: &GitHistory,
    tip: &CommitId,
    files: Vec<&(RepoPath, Value)>,
) -> Result<Option<(RepoPath, Value)>, ReadError> {
    if let [only] = &files[..] {
        return Ok(Some((*only).clone()));
    }
    let mut latest = None;
    for entry in files {
        let found = history.versions(&entry.0, tip, MOST_COMMITS).await?;
        // Of two that were changed by one commit, the one that is newer.
        let ages = [found.versions.first(), found.versions.last()]
            .map(|version| version.map_or(usize::MAX, |version| version.age));
        if latest.as_ref().is_none_or(|(before, _)| ages < *before) {
            latest = Some((ages, entry.clone()));
        }
    }
    Ok(latest.map(|(_, entry)| entry))
}

fn shown(name: &ObjectName, namespace: Option<&str>) -> String {
    namespace.map_or_else(|| name.to_string(), |namespace| format!("{name} -n {namespace}"))
}

/// Returns all objects of a commit, with their files.
async fn objects_at(history: &GitHistory, commit: &CommitId) -> Result<Vec<(RepoPath, Value)>, ReadError> {
    let files: Vec<_> = history.files_of(commit).await?.into_iter().filter(|(path, _)| is_manifest(path)).collect();
    let mut objects = Vec::new();
    for files in files.chunks(AT_ONCE) {
        let contents = contents(history, files.iter().map(|(_, content)| *content)).await?;
        for ((path, _), content) in files.iter().zip(contents) {
            objects.extend(objects_in(&content).into_iter().map(|body| (path.clone(), body)));
        }
    }
    Ok(objects)
}

pub(super) async fn contents(
    history: &GitHistory,
    ids: impl Iterator<Item = ContentId>,
) -> Result<Vec<Vec<u8>>, ReadError> {
    history.contents(&ids.collect::<Vec<_>>()).await
}

fn objects_in(content: &[u8]) -> Vec<Value> {
    let objects = std::str::from_utf8(content).ok().and_then(|text| yaml::objects(text).ok()).unwrap_or_default();
    objects.into_iter().filter(|body| Identity::of(body).is_some()).collect()
}

pub(super) fn is_manifest(path: &RepoPath) -> bool {
    [".yaml", ".yml", ".json"].iter().any(|end| path.as_str().ends_with(end))
}

fn is_meant(name: &ObjectName, namespace: Option<&str>, file: &RepoPath, body: &Value) -> bool {
    let Some(object) = Identity::of(body) else { return false };
    if namespace.is_some() && object.namespace.is_some() && object.namespace.as_deref() != namespace {
        return false;
    }
    match name {
        ObjectName::File(path) => path == file,
        ObjectName::Object { kind, group, name } => {
            let mut folders: Vec<_> = file.segments().collect();
            folders.pop();
            object.name == *name
                && is_kind(kind, &object.kind, &folders)
                && group.as_ref().is_none_or(|group| is_group(group, &object.group))
        }
    }
}

/// Finds an object that was deleted: the last file that had it.
async fn find_gone(
    history: &GitHistory,
    name: &ObjectName,
    namespace: Option<&str>,
    tip: &CommitId,
    progress: impl Fn(usize),
) -> Result<Option<Found>, ReadError> {
    let may_be = |path: &RepoPath| match name {
        ObjectName::File(file) => path == file,
        ObjectName::Object { name, .. } => path.as_str().to_lowercase().contains(&name.to_lowercase()),
    };
    let mut next = Some(tip.clone());
    for looked_at in 0..MOST_COMMITS {
        let Some(commit) = next else { break };
        let changes = history.changes(&commit).await?;
        let gone = changes.into_iter().filter(|change| change.before.is_some() && is_manifest(&change.path));
        for change in gone.filter(|change| may_be(&change.path)) {
            let before = contents(history, change.before.into_iter()).await?;
            let bodies = before.iter().flat_map(|content| objects_in(content));
            if let Some(body) = bodies.into_iter().find(|body| is_meant(name, namespace, &change.path, body))
                && let Some(object) = Identity::of(&body)
            {
                return Ok(Some(Found { object, file: change.path, body: None, from: commit }));
            }
        }
        progress(looked_at);
        next = history.commit(&commit).await?.parent;
    }
    Ok(None)
}

/// Returns what may have been meant: the same name, or a kind's names that are like it.
fn alike(name: &ObjectName, all: &[(RepoPath, Value)]) -> Vec<Identity> {
    let ObjectName::Object { kind, name, .. } = name else { return Vec::new() };
    let is_like = |object: &Identity| {
        object.name == *name
            || is_kind(kind, &object.kind, &[])
                && (object.name.contains(name.as_str())
                    || name.contains(&object.name)
                    || distance(&object.name, name) <= 2)
    };
    let mut objects: Vec<_> = all.iter().filter_map(|(_, body)| Identity::of(body)).filter(is_like).collect();
    objects.sort_by_key(|object| distance(&object.name, name));
    objects.dedup();
    objects
}

/// How many characters have to be changed, added or left out (Levenshtein).
fn distance(a: &str, b: &str) -> usize {
    let b: Vec<_> = b.chars().collect();
    let mut row: Vec<usize> = (0..=b.len()).collect();
    for (i, x) in a.chars().enumerate() {
        let mut diagonal = std::mem::replace(&mut row[0], i + 1);
        for (j, y) in b.iter().enumerate() {
            let cost = diagonal + usize::from(x != *y);
            let least = cost.min(row[j] + 1).min(row[j + 1] + 1);
            diagonal = std::mem::replace(&mut row[j + 1], least);
        }
    }
    row.last().copied().unwrap_or_default()
}

const MOST_SHOWN: usize = 10;

/// So many files are in memory at a time.
const AT_ONCE: usize = 1_000;

/// So many commits are looked through for an object that is gone.
const MOST_COMMITS: usize = 100_000;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_close_by_what_has_to_be_changed() {
        for (a, b, changes) in [("web", "web", 0), ("web", "wbe", 2), ("", "ab", 2), ("frontend", "fronted", 1)] {
            assert_eq!(distance(a, b), changes, "{a} {b}");
        }
    }
}
