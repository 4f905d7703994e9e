//! `DirectorySink`: plans into a plain folder, without history.

use std::{
    collections::{BTreeMap, BTreeSet},
    fs::{self, File},
    io::{self, Write},
    path::{Path, PathBuf},
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicU64, Ordering},
    },
};

use reverser_core::{CommitPlan, Edit, RepoPath};

use crate::{
    blocking::blocking,
    sink::{Batch, Files, GitSink, Obstacle, Obstructed, Outcome, Receipt, SinkError, move_cursors, says_the_same},
};

/// Writes files into a folder. Each file is replaced by a rename, so that a reader sees the old or the new one.
///
/// Not promised, beside what [`GitSink`] asks for: a batch is not one step, so a crash may leave a part of it; cursors last
/// as long as the sink.
#[derive(Debug)]
pub struct DirectorySink {
    writer: Arc<Mutex<Writer>>,
    sequence: AtomicU64,
    name: Arc<str>,
}

impl DirectorySink {
    /// Opens the folder, and creates it when it isn't there.
    pub async fn open(folder: PathBuf) -> Result<Self, SinkError> {
        let name: Arc<str> = folder.display().to_string().into();
        let sink = Self {
            writer: Arc::new(Mutex::new(Writer { root: folder.clone(), cursors: BTreeMap::new() })),
            sequence: AtomicU64::new(0),
            name,
        };
        sink.blocking("create", move |_| fs::create_dir_all(&folder)).await?;
        Ok(sink)
    }

    async fn blocking<T: Send + 'static>(
        &self,
        action: &'static str,
        work: impl FnOnce(&mut Writer) -> io::Result<T> + Send + 'static,
    ) -> Result<T, SinkError> {
        let writer = Arc::clone(&self.writer);
        // A panic under the lock leaves nothing half done in memory.
        let work = move || work(&mut writer.lock().unwrap_or_else(PoisonError::into_inner));
        blocking(work).await.map_err(|error| SinkError::store(action, &self.name, error))
    }
}

#[async_trait::async_trait]
impl GitSink for DirectorySink {
    async fn commit(&self, batch: Batch) -> Result<Receipt, SinkError> {
        let (outcomes, obstructed) = self.blocking("write into", move |writer| writer.commit(batch)).await?;
        Ok(Receipt { outcomes, sequence: self.sequence.fetch_add(1, Ordering::Relaxed) + 1, obstructed })
    }

    async fn pushed(&self, _receipt: &Receipt) -> Result<(), SinkError> {
        Ok(())
    }

    async fn cursors(&self) -> Result<BTreeMap<String, String>, SinkError> {
        self.blocking("read from", |writer| Ok(writer.cursors.clone())).await
    }
}

#[async_trait::async_trait]
impl Files for DirectorySink {
    async fn list(&self, folder: Option<&RepoPath>) -> Result<Vec<RepoPath>, SinkError> {
        let folder = folder.cloned();
        self.blocking("list", move |writer| writer.list(folder.as_ref())).await
    }

    async fn read(&self, path: &RepoPath) -> Result<Option<Vec<u8>>, SinkError> {
        let path = path.clone();
        self.blocking("read from", move |writer| writer.read(&path)).await
    }
}

#[derive(Debug)]
struct Writer {
    root: PathBuf,
    cursors: BTreeMap<String, String>,
}

impl Writer {
    fn commit(&mut self, batch: Batch) -> io::Result<(Vec<Outcome>, Vec<Obstructed>)> {
        // Folders whose entries changed; synced once, at the end.
        let (mut touched, mut obstructed) = (BTreeSet::new(), Vec::new());
        let outcomes: io::Result<_> =
            batch.plans.iter().map(|plan| self.apply(plan, &mut touched, &mut obstructed)).collect();
        // A folder that a later edit has removed is in its parent, which is here too.
        for folder in touched.iter().filter(|folder| folder.is_dir()) {
            File::open(folder)?.sync_all()?;
        }
        let outcomes = outcomes?;
        move_cursors(&mut self.cursors, batch.cursors);
        Ok((outcomes, obstructed))
    }

    fn apply(
        &self,
        plan: &CommitPlan,
        touched: &mut BTreeSet<PathBuf>,
        obstructed: &mut Vec<Obstructed>,
    ) -> io::Result<Outcome> {
        let mut outcome = Outcome::Unchanged;
        for edit in &plan.edits {
            let changed = match edit {
                Edit::Delete { path } => self.delete(path, touched)?,
                Edit::Put { path, content } => match self.link_at(path)? {
                    Some(at) => {
                        obstructed.push(Obstructed { path: path.clone(), at, obstacle: Obstacle::SymbolicLink });
                        false
                    }
                    None => self.put(path, content, touched)?,
                },
            };
            if changed {
                outcome = Outcome::Written;
            }
        }
        Ok(outcome)
    }

    fn put(&self, path: &RepoPath, content: &[u8], touched: &mut BTreeSet<PathBuf>) -> io::Result<bool> {
        if self.read(path)?.is_some_and(|standing| says_the_same(path, &standing, content)) {
            return Ok(false);
        }
        let folder = self.make_folder(path, touched)?;
        let file = self.root.join(path.as_str());
        if kind(&file)? == Kind::Folder {
            fs::remove_dir_all(&file)?;
        }
        // One name, so that the next put takes away what a crash has left.
        let temporary = folder.join(TEMPORARY);
        let mut written = File::create(&temporary)?;
        written.write_all(content)?;
        written.sync_all()?;
        fs::rename(&temporary, &file)?;
        touched.insert(folder);
        Ok(true)
    }

    fn delete(&self, path: &RepoPath, touched: &mut BTreeSet<PathBuf>) -> io::Result<bool> {
        if !self.is_below_folders(path)? || kind(&self.root.join(path.as_str()))? != Kind::File {
            return Ok(false);
        }
        let file = self.root.join(path.as_str());
        fs::remove_file(&file)?;
        // Git has no empty folders either.
        for folder in file.ancestors().skip(1).take_while(|folder| *folder != self.root) {
            touched.insert(folder.to_owned());
            if fs::read_dir(folder)?.next().is_some() {
                return Ok(true);
            }
            fs::remove_dir(folder)?;
        }
        touched.insert(self.root.clone());
        Ok(true)
    }

    /// Returns the symbolic link that a put would lead through or replace.
    fn link_at(&self, path: &RepoPath) -> io::Result<Option<String>> {
        let mut at = self.root.clone();
        for segment in path.segments() {
            at.push(segment);
            match kind(&at)? {
                Kind::Folder => {}
                Kind::Link => return Ok(Some(self.below_root(&at))),
                Kind::File | Kind::Nothing => return Ok(None),
            }
        }
        // A folder, whose place the file would take.
        let mut folders = vec![at];
        while let Some(folder) = folders.pop() {
            for entry in fs::read_dir(folder)? {
                let entry = entry?.path();
                match kind(&entry)? {
                    Kind::Folder => folders.push(entry),
                    Kind::Link => return Ok(Some(self.below_root(&entry))),
                    Kind::File | Kind::Nothing => {}
                }
            }
        }
        Ok(None)
    }

    fn below_root(&self, path: &Path) -> String {
        path.strip_prefix(&self.root).unwrap_or(path).to_string_lossy().into_owned()
    }

    /// Makes the folders that lead to a file, in the place of files that are in the way.
    fn make_folder(&self, path: &RepoPath, touched: &mut BTreeSet<PathBuf>) -> io::Result<PathBuf> {
        let mut folder = self.root.clone();
        for segment in parents(path) {
            let next = folder.join(segment);
            match kind(&next)? {
                Kind::Folder => {}
                found => {
                    if found == Kind::File {
                        fs::remove_file(&next)?;
                    }
                    fs::create_dir(&next)?;
                    touched.insert(folder);
                }
            }
            folder = next;
        }
        Ok(folder)
    }

    /// Returns whether only folders lead to a path; a symbolic link is none.
    fn is_below_folders(&self, path: &RepoPath) -> io::Result<bool> {
        let mut folder = self.root.clone();
        for segment in parents(path) {
            folder.push(segment);
            match kind(&folder)? {
                Kind::Folder => {}
                Kind::File | Kind::Link | Kind::Nothing => return Ok(false),
            }
        }
        Ok(true)
    }

    fn read(&self, path: &RepoPath) -> io::Result<Option<Vec<u8>>> {
        let file = self.root.join(path.as_str());
        if !self.is_below_folders(path)? || kind(&file)? != Kind::File { Ok(None) } else { fs::read(file).map(Some) }
    }

    fn list(&self, folder: Option<&RepoPath>) -> io::Result<Vec<RepoPath>> {
        let mut paths = Vec::new();
        let mut folders = vec![match folder {
            Some(folder) if !self.is_below_folders(folder)? => return Ok(paths),
            Some(folder) => self.root.join(folder.as_str()),
            None => self.root.clone(),
        }];
        while let Some(folder) = folders.pop() {
            if kind(&folder)? != Kind::Folder {
                continue;
            }
            for entry in fs::read_dir(folder)? {
                let entry = entry?;
                match kind(&entry.path())? {
                    Kind::Folder => folders.push(entry.path()),
                    Kind::File if entry.file_name() != TEMPORARY => {
                        let path = entry.path();
                        // A name that isn't a `RepoPath` is somebody else's.
                        let below = path.strip_prefix(&self.root).ok().and_then(Path::to_str);
                        paths.extend(below.and_then(|path| path.parse::<RepoPath>().ok()));
                    }
                    Kind::File | Kind::Link | Kind::Nothing => {}
                }
            }
        }
        paths.sort_unstable_by(|a, b| a.as_str().cmp(b.as_str()));
        Ok(paths)
    }
}

/// What stands at a path, links not followed.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Kind {
    File,
    Folder,
    Link,
    Nothing,
}

fn kind(path: &Path) -> io::Result<Kind> {
    match fs::symlink_metadata(path) {
        Ok(found) if found.is_dir() => Ok(Kind::Folder),
        Ok(found) if found.is_symlink() => Ok(Kind::Link),
        Ok(_) => Ok(Kind::File),
        Err(error) if matches!(error.kind(), io::ErrorKind::NotFound | io::ErrorKind::NotADirectory) => {
            Ok(Kind::Nothing)
        }
        Err(error) => Err(error),
    }
}

fn parents(path: &RepoPath) -> impl Iterator<Item = &str> {
    let path = path.as_str();
    path.rsplit_once('/').into_iter().flat_map(|(parents, _)| parents.split('/'))
}

/// Where a file is written before it is moved into its place.
const TEMPORARY: &str = ".reverser-tmp";
