//! `GitHistory`: what led to a commit, file by file.

use std::{
    path::{Path, PathBuf},
    sync::{Arc, Mutex, PoisonError},
};

use jiff::Timestamp;
use reverser_core::{RepoPath, Signature};

use crate::{
    blocking::blocking,
    commit::Commit,
    deflate::CompressionLevel,
    notes,
    objects::{Id, Kind, Objects},
    reader::{GitReader, ReadError},
    remote::CliRemote,
    sink::{CommitId, SinkError},
    trees::{self, Folder},
};

/// Reads how files of a branch came to be what they are, along first parents: a merge is what it brought. It takes no part in
/// anything and no lock, as a [`GitReader`], which it has for the commit that it begins at.
///
/// Of a repository elsewhere it has commits and trees, and asks for contents as they are read.
#[derive(Debug)]
pub struct GitHistory {
    /// It goes first, with the credentials; and what it fetches contents with.
    remote: Option<(CliRemote, String)>,
    objects: Arc<Mutex<Objects>>,
    notes: Option<Id>,
    reader: GitReader,
}

/// The content of a file, which is the same wherever this is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct ContentId(Id);

/// A commit, and what it made of a file.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Version {
    /// The commit.
    pub commit: CommitId,
    /// Its first parent.
    pub parent: Option<CommitId>,
    /// What the file has since; `None`: it is gone.
    pub content: Option<ContentId>,
    /// What it had before; `None`: it wasn't there.
    pub before: Option<ContentId>,
    /// How many commits of the look came after it.
    pub age: usize,
    /// Whether it has a parent that isn't here, as the first commits of a shallow clone: what it seems to make may be older.
    pub is_cut: bool,
}

/// The part of a history that was looked at.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Versions {
    /// The commits that changed the file, the latest first.
    pub versions: Vec<Version>,
    /// Where to go on; `None`: that was all.
    pub next: Option<CommitId>,
    /// How many commits were looked at.
    pub commits: usize,
    /// Whether the history goes on elsewhere: this is a shallow clone.
    pub is_cut: bool,
}

/// What a commit did to a file.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PathChange {
    /// The file.
    pub path: RepoPath,
    /// What it had before; `None`: it wasn't there.
    pub before: Option<ContentId>,
    /// What it has since; `None`: it is gone.
    pub content: Option<ContentId>,
}

/// What a commit says.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct HistoryCommit {
    /// Its id.
    pub id: CommitId,
    /// Its first parent.
    pub parent: Option<CommitId>,
    /// Whose change it is; `None` when that isn't `Name <mail>`.
    pub author: Option<Signature>,
    /// When it was made, as its author's date says.
    pub authored_at: Timestamp,
    /// When it was committed.
    pub committed_at: Timestamp,
    /// All of its message.
    pub message: String,
}

impl GitHistory {
    pub(crate) async fn open(
        reader: GitReader,
        git_dir: PathBuf,
        remote: Option<(CliRemote, String)>,
        notes: Option<CommitId>,
    ) -> Result<Self, SinkError> {
        let fetched = notes.as_ref().map(Id::try_from).transpose()?;
        let is_here = remote.is_none();
        let open = move || {
            let objects = Objects::open(&git_dir, CompressionLevel::default())?;
            let notes = if is_here { objects.reference(notes::REF)? } else { fetched };
            Ok::<_, SinkError>((objects, notes))
        };
        let (objects, notes) = blocking(open).await?;
        Ok(Self { remote, objects: Arc::new(Mutex::new(objects)), notes, reader })
    }

    /// Returns the files of the commit at which this begins.
    pub fn files(&self) -> &GitReader {
        &self.reader
    }

    /// Returns a commit.
    pub async fn commit(&self, id: &CommitId) -> Result<HistoryCommit, ReadError> {
        let id = id.clone();
        self.read(move |objects| {
            let object = Id::try_from(&id)?;
            let commit = commit_of(objects, object)?;
            let malformed = || objects.malformed(object);
            Ok(HistoryCommit {
                parent: commit.parents.first().map(|parent| (*parent).into()),
                author: commit.authored_by(),
                authored_at: commit.authored_at().ok_or_else(malformed)?,
                committed_at: commit.committed_at().ok_or_else(malformed)?,
                message: String::from_utf8_lossy(&commit.message).into_owned(),
                id,
            })
        })
        .await
    }

    /// Returns the commits from `from` on that changed the file at a path, after a look at so many commits at most.
    pub async fn versions(&self, path: &RepoPath, from: &CommitId, most: usize) -> Result<Versions, ReadError> {
        let (path, from) = (self.reader.rooted(path), from.clone());
        self.read(move |objects| versions(objects, &path, Id::try_from(&from)?, most)).await
    }

    /// Returns what a commit changed of the files below the reader's folder.
    pub async fn changes(&self, commit: &CommitId) -> Result<Vec<PathChange>, ReadError> {
        let (commit, under) = (commit.clone(), self.reader.under().cloned());
        self.read(move |objects| {
            let commit = commit_of(objects, Id::try_from(&commit)?)?;
            let before = parent_of(objects, &commit).map(|parent| commit_of(objects, parent)).transpose()?;
            let before = before.map_or(objects.empty_tree(), |before| before.tree);
            let content =
                |file: Option<trees::File>| file.filter(|file| file.is_regular()).map(|file| ContentId(file.id));
            let changes = trees::difference(before, commit.tree, objects)?.into_iter().filter_map(|change| {
                let path = below(&change.path, under.as_ref())?;
                Some(PathChange { path, before: content(change.before), content: content(change.file) })
            });
            Ok(changes.collect())
        })
        .await
    }

    /// Returns all files of a commit below the reader's folder.
    pub async fn files_of(&self, commit: &CommitId) -> Result<Vec<(RepoPath, ContentId)>, ReadError> {
        let (commit, under) = (commit.clone(), self.reader.under().cloned());
        self.read(move |objects| {
            let tree = commit_of(objects, Id::try_from(&commit)?)?.tree;
            let folder = under.as_ref().map(RepoPath::as_str).unwrap_or_default();
            let mut files = Vec::new();
            Folder::of(tree).walk(folder.as_bytes(), objects, &mut |path, file| {
                let path = below(path, under.as_ref()).filter(|_| file.is_regular());
                files.extend(path.map(|path| (path, ContentId(file.id))));
            })?;
            Ok(files)
        })
        .await
    }

    /// Returns contents, in the order of the ids. What isn't here is fetched in one go.
    pub async fn contents(&self, ids: &[ContentId]) -> Result<Vec<Vec<u8>>, ReadError> {
        self.bring(ids).await?;
        let ids = ids.to_vec();
        self.read(move |objects| ids.iter().map(|id| objects.read(id.0, Kind::Blob)).collect()).await
    }

    /// Returns what was noted about a commit later, in `refs/notes/reverser`.
    pub async fn note(&self, commit: &CommitId) -> Result<Option<String>, ReadError> {
        let Some(tip) = self.notes else { return Ok(None) };
        let commit = commit.clone();
        let find = move |objects: &mut Objects| {
            let tree = commit_of(objects, tip)?.tree;
            let (_, standing) = notes::place(&mut Folder::of(tree), Id::try_from(&commit)?, objects)?;
            Ok(standing.map(|file| ContentId(file.id)))
        };
        let Some(text) = self.read(find).await? else { return Ok(None) };
        let text = self.contents(&[text]).await?;
        Ok(text.first().map(|text| String::from_utf8_lossy(text).into_owned()))
    }

    async fn bring(&self, ids: &[ContentId]) -> Result<(), ReadError> {
        let Some((remote, refspec)) = &self.remote else { return Ok(()) };
        let ids = ids.to_vec();
        let lack = move |objects: &mut Objects| {
            Ok(ids.iter().filter(|id| !objects.has(id.0)).map(|id| CommitId::from(id.0)).collect::<Vec<_>>())
        };
        let lacking = self.read(lack).await?;
        if !lacking.is_empty() {
            remote.objects_of(&lacking, refspec).await?;
        }
        Ok(())
    }

    async fn read<T: Send + 'static>(
        &self,
        work: impl FnOnce(&mut Objects) -> Result<T, SinkError> + Send + 'static,
    ) -> Result<T, ReadError> {
        let objects = Arc::clone(&self.objects);
        // A panic under the lock leaves nothing half done: nothing is ever changed.
        Ok(blocking(move || work(&mut objects.lock().unwrap_or_else(PoisonError::into_inner))).await?)
    }
}

fn commit_of(objects: &Objects, id: Id) -> Result<Commit, SinkError> {
    Commit::parse(&objects.read(id, Kind::Commit)?).ok_or_else(|| objects.malformed(id))
}

/// Returns a commit's first parent, if that is here.
fn parent_of(objects: &Objects, commit: &Commit) -> Option<Id> {
    commit.parents.first().copied().filter(|parent| objects.has(*parent))
}

fn below(path: &[u8], under: Option<&RepoPath>) -> Option<RepoPath> {
    let path = std::str::from_utf8(path).ok()?;
    let path = match under {
        Some(under) => path.strip_prefix(under.as_str())?.strip_prefix('/')?,
        None => path,
    };
    Path::new(path).file_name()?;
    path.parse().ok()
}

fn versions(objects: &Objects, path: &RepoPath, from: Id, most: usize) -> Result<Versions, SinkError> {
    let names: Vec<_> = path.as_str().split('/').collect();
    let mut found = Versions { versions: Vec::new(), next: None, commits: 0, is_cut: false };
    let mut commit = commit_of(objects, from)?;
    let mut way = look_up(objects, commit.tree, &names, &[])?;
    let mut at = Some(from);
    while let Some(id) = at {
        if found.commits == most {
            found.next = Some(id.into());
            break;
        }
        found.commits += 1;
        at = parent_of(objects, &commit);
        let is_cut = at.is_none() && !commit.parents.is_empty();
        found.is_cut |= is_cut;
        let before = match at {
            Some(parent) => {
                commit = commit_of(objects, parent)?;
                look_up(objects, commit.tree, &names, &way)?
            }
            None => Vec::new(),
        };
        let content = |way: &[Id]| way.get(names.len()).map(|id| ContentId(*id));
        let (content, was) = (content(&way), content(&before));
        if content != was {
            let (commit, parent) = (id.into(), at.map(CommitId::from));
            found.versions.push(Version { commit, parent, content, before: was, age: found.commits - 1, is_cut });
        }
        way = before;
    }
    Ok(found)
}

/// Returns the ids of a tree, of the folders in it that lead to a file, and of the file, as far as they are there. From where it
/// is as on another `way`, nothing is read.
fn look_up(objects: &Objects, tree: Id, names: &[&str], way: &[Id]) -> Result<Vec<Id>, SinkError> {
    let mut found = vec![tree];
    for (depth, name) in names.iter().enumerate() {
        if way.get(depth) == found.last() {
            found.extend(way.iter().skip(depth + 1));
            break;
        }
        let Some(folder) = found.last() else { break };
        let bytes = objects.read(*folder, Kind::Tree)?;
        let entry = trees::find_in(&bytes, name.as_bytes(), objects.format().id_bytes());
        let is_last = depth + 1 == names.len();
        match entry.filter(|file| if is_last { file.is_regular() } else { file.is_folder() }) {
            Some(file) => found.push(file.id),
            None => break,
        }
    }
    Ok(found)
}
