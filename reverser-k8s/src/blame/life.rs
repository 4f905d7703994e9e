//! What became of one object, commit by commit, from the latest to the first.

use std::collections::VecDeque;

use reverser_core::RepoPath;
use reverser_git::{CommitId, ContentId, GitHistory, ReadError, Version};
use serde_json::Value;

use super::{
    Facts, Found, Identity,
    find::{contents, is_manifest},
};

/// One commit in an object's life.
#[derive(Clone, Debug)]
pub struct Step {
    /// What happened.
    pub change: Change,
    /// Who did it, and how that is known.
    pub facts: Facts,
    /// Its file, below the reader's folder.
    pub file: RepoPath,
    /// The object since then; `None`: gone.
    pub body: Option<Value>,
    /// The object before; `None`: it wasn't there.
    pub before: Option<Value>,
}

/// What a commit did to an object.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Change {
    /// It wasn't there before.
    Created,
    /// It is gone since.
    Deleted,
    /// It was there in the first commit that is here, as in a shallow clone: since when, and by whom, isn't known.
    Found,
    /// Its file has another place since; it may have been changed as well.
    Moved {
        /// Where it was.
        from: RepoPath,
    },
    /// It was there and is.
    Updated,
}

/// Reads an object's steps.
#[derive(Debug)]
pub struct Life<'a> {
    history: &'a GitHistory,
    object: Identity,
    file: RepoPath,
    /// Those of the file that were found and not read yet.
    versions: VecDeque<Version>,
    /// Where to look for more.
    next: Option<CommitId>,
    /// What came before the commit that made the object; there it may have been gone, or have stood elsewhere.
    before_creation: Option<CommitId>,
    looked_at: usize,
    is_cut: bool,
}

impl<'a> Life<'a> {
    /// Begins where the object was found.
    pub fn new(history: &'a GitHistory, found: &Found) -> Self {
        let (object, file, next) = (found.object.clone(), found.file.clone(), Some(found.from.clone()));
        Self {
            history,
            object,
            file,
            versions: VecDeque::new(),
            next,
            before_creation: None,
            looked_at: 0,
            is_cut: false,
        }
    }

    /// Whether the history goes on elsewhere, as in a shallow clone: the first step may not have been the first.
    pub fn is_cut(&self) -> bool {
        self.is_cut
    }

    /// Returns the step before the last one that was returned; `None`: that was all. `progress` is told how many commits were
    /// looked at so far.
    pub async fn next(&mut self, progress: &impl Fn(usize)) -> Result<Option<Step>, ReadError> {
        loop {
            if let Some(version) = self.versions.pop_front() {
                match self.step(version).await? {
                    Some(step) => return Ok(Some(step)),
                    // Another object of the same file.
                    None => continue,
                }
            }
            let Some(from) = self.next.take() else { return Ok(None) };
            let found = self.history.versions(&self.file, &from, AT_ONCE).await?;
            self.looked_at += found.commits;
            progress(self.looked_at);
            self.versions = found.versions.into();
            self.next = found.next;
            self.is_cut |= found.is_cut;
        }
    }

    async fn step(&mut self, version: Version) -> Result<Option<Step>, ReadError> {
        let mut body = self.read(version.content).await?;
        let mut before = self.read(version.before).await?;
        if body == before {
            return Ok(None);
        }
        let file = self.file.clone();
        let mut facts = Facts::read(self.history, &version.commit, &self.object).await?;
        let change = match (&body, &before) {
            (None, None) => return Ok(None),
            (Some(_), Some(_)) => Change::Updated,
            (Some(_), None) if version.is_cut => {
                facts.forget();
                Change::Found
            }
            (Some(_), None) => match self.elsewhere_before(&version, &facts).await? {
                Some((from, was)) => {
                    before = Some(was);
                    // Whatever was at this place before is another life of the file.
                    self.go_on(from.clone(), version.parent.clone());
                    Change::Moved { from }
                }
                None => {
                    self.before_creation.clone_from(&version.parent);
                    Change::Created
                }
            },
            (None, Some(_)) => match (self.elsewhere_since(&version, &facts).await?, self.before_creation.take()) {
                // It was moved there, and deleted there before it was made again here.
                (Some((file, _)), Some(from)) => {
                    self.go_on(file, Some(from));
                    return Ok(None);
                }
                (Some((_, now)), None) if before.as_ref() == Some(&now) => return Ok(None),
                (Some((_, now)), None) => {
                    body = Some(now);
                    Change::Updated
                }
                (None, _) => Change::Deleted,
            },
        };
        Ok(Some(Step { change, facts, file, body, before }))
    }

    fn go_on(&mut self, file: RepoPath, from: Option<CommitId>) {
        self.file = file;
        self.versions.clear();
        self.next = from;
    }

    async fn read(&self, content: Option<ContentId>) -> Result<Option<Value>, ReadError> {
        let content = contents(self.history, content.into_iter()).await?;
        Ok(content.first().and_then(|content| self.object.find_in(content)))
    }

    /// Returns where the object stood before the commit that made this file: in one that the commit removed, or that was there
    /// besides. The latter only where the commit isn't of changes: files of another layout stay where they are, and a change that made
    /// the object tells that it wasn't there.
    async fn elsewhere_before(&self, version: &Version, facts: &Facts) -> Result<Option<(RepoPath, Value)>, ReadError> {
        let Some(parent) = &version.parent else { return Ok(None) };
        let removed = self.history.changes(&version.commit).await?.into_iter();
        let removed = removed.filter(|change| change.content.is_none() || !self.object.may_be_at(&change.path));
        let removed: Vec<_> =
            removed.filter_map(|change| Some((change.path, change.before?))).take(MOST_FILES).collect();
        let beside = if facts.is_of_changes { Vec::new() } else { self.history.files_of(parent).await? };
        let beside = beside.into_iter().filter(|(path, _)| self.object.may_be_at(path));
        self.find_among(removed.into_iter().chain(beside)).await
    }

    /// Returns where the object stands after the commit that removed it from this file.
    async fn elsewhere_since(&self, version: &Version, facts: &Facts) -> Result<Option<(RepoPath, Value)>, ReadError> {
        if facts.is_of_changes {
            return Ok(None);
        }
        let added = self.history.files_of(&version.commit).await?.into_iter();
        self.find_among(added.filter(|(path, _)| self.object.may_be_at(path))).await
    }

    async fn find_among(
        &self,
        files: impl Iterator<Item = (RepoPath, ContentId)>,
    ) -> Result<Option<(RepoPath, Value)>, ReadError> {
        let files: Vec<_> = files.filter(|(path, _)| is_manifest(path) && *path != self.file).collect();
        let contents = contents(self.history, files.iter().map(|(_, content)| *content)).await?;
        let mut found = files.into_iter().zip(contents);
        Ok(found.find_map(|((path, _), content)| Some((path, self.object.find_in(&content)?))))
    }
}

/// So many commits are looked at before what was found is read, which may be all that is needed.
const AT_ONCE: usize = 1_000;

/// So many files that one commit removed are read to see whether the object was in one of them.
const MOST_FILES: usize = 5_000;
