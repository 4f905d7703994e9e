//! What a process that was killed has left in a repository: cleared before anything else is done there.

use std::{
    collections::BTreeMap,
    ffi::OsString,
    fs::{self, File},
    io::{self, Seek, Write},
    path::{Path, PathBuf},
    process::Stdio,
    sync::{
        atomic::{AtomicU64, Ordering},
        mpsc,
    },
    time::Duration,
};

use crate::process_group::{ProcessGroup, Signal};

/// Ends what is still at work here, then removes what git would stumble over or keep for ever: locks, refs of git's whose content
/// a power failure has swallowed, files that were being written, and packs that lack their index or their content.
pub(super) fn clear_leftovers(git_dir: &Path) -> io::Result<()> {
    end_orphans(git_dir)?;
    let mut folders = vec![git_dir.join("refs")];
    while let Some(folder) = folders.pop() {
        for entry in fs::read_dir(folder)? {
            let entry = entry?;
            if entry.file_type()?.is_dir() {
                folders.push(entry.path());
            } else if is_leftover_ref(&entry.path())? {
                fs::remove_file(entry.path())?;
            }
        }
    }
    let objects = git_dir.join("objects");
    // Loose objects, which older gits and people leave, are in folders of two digits; `info` has the commit graph.
    let mut folders = vec![git_dir.to_owned(), objects.clone()];
    for entry in fs::read_dir(&objects)? {
        let entry = entry?;
        if entry.file_type()?.is_dir() && !is_leftover(&entry) {
            folders.push(entry.path());
        }
    }
    for folder in folders {
        for entry in fs::read_dir(folder)? {
            let entry = entry?;
            if !is_leftover(&entry) {
                continue;
            }
            // A folder holds what was being received.
            let is_folder = entry.file_type()?.is_dir();
            if is_folder { fs::remove_dir_all(entry.path()) } else { fs::remove_file(entry.path()) }?;
        }
    }
    clear_half_packs(&objects.join("pack"))
}

/// A lock, or a ref without content. A branch may have any of the other names that leftovers have elsewhere; and our own refs
/// are fsynced before they are there, so that an empty one is damage that a person has to hear of.
fn is_leftover_ref(file: &Path) -> io::Result<bool> {
    let is_lock = file.extension().is_some_and(|extension| extension == "lock");
    let is_own =
        file.components().rev().nth(1).is_some_and(|folder| OWN_REFS.iter().any(|own| folder.as_os_str() == *own));
    Ok(is_lock || !is_own && file.metadata()?.len() == 0)
}

/// The folders of refs that nothing can be derived from.
const OWN_REFS: [&str; 2] = ["reverser", "aside"];

/// `tmp_pack_…` and `tmp_obj_…` are of index-pack and its like, `tmp_objdir-…` of fetch, `.tmp-<pid>-pack-…` of repack;
/// `.keep` saves a pack from repack until the fetch that brought it has moved its ref.
fn is_leftover(entry: &fs::DirEntry) -> bool {
    let name = entry.file_name();
    let name = name.to_string_lossy();
    name.starts_with("tmp_") || name.starts_with(".tmp-") || name.ends_with(".lock") || name.ends_with(".keep")
}

/// Removes what a git that failed or was ended here has left of the packs that it was writing: on a full disk that is most of
/// the room there was. No other git may be writing one: nothing tells whose they are.
pub(crate) fn clear_temporary_packs(git_dir: &Path) -> io::Result<()> {
    for entry in fs::read_dir(git_dir.join("objects/pack"))? {
        let entry = entry?;
        let name = entry.file_name();
        // Not our own, `tmp_reverser`: commits go on meanwhile.
        if ["tmp_pack_", "tmp_idx_", "tmp_rev_"].iter().any(|start| name.to_string_lossy().starts_with(start)) {
            fs::remove_file(entry.path())?;
        }
    }
    Ok(())
}

/// Removes the files of packs that aren't whole. What is in them is elsewhere, or was never promised: a pack has both before
/// a ref names it, and before those go whose objects it joins.
fn clear_half_packs(folder: &Path) -> io::Result<()> {
    let mut packs: BTreeMap<OsString, Vec<PathBuf>> = BTreeMap::new();
    for entry in fs::read_dir(folder)? {
        let file = entry?.path();
        if let Some(name) = file.file_stem().filter(|name| name.to_string_lossy().starts_with("pack-")) {
            packs.entry(name.to_owned()).or_default().push(file);
        }
    }
    for files in packs.into_values() {
        let has = |extension| files.iter().any(|file| file.extension().is_some_and(|found| found == extension));
        if !(has("pack") && has("idx")) {
            files.iter().try_for_each(fs::remove_file)?;
        }
    }
    Ok(())
}

/// Ends the commands of git that a killed process has left running: they would find their files gone, and move refs
/// that somebody else moves.
///
/// Each has [`at_work`]'s file or a [`GitInput`], locked, as its standard input, which goes with it.
fn end_orphans(git_dir: &Path) -> io::Result<()> {
    end_orphans_with(git_dir, &git_dir.join(AT_WORK))?;
    for entry in fs::read_dir(git_dir)? {
        let entry = entry?;
        if entry.file_name().to_string_lossy().starts_with(INPUT) {
            end_orphans_with(git_dir, &entry.path())?;
            fs::remove_file(entry.path())?;
        }
    }
    Ok(())
}

/// Ends those that have this file as their standard input.
fn end_orphans_with(git_dir: &Path, path: &Path) -> io::Result<()> {
    let file = File::create(path)?;
    if file.try_lock().is_ok() {
        return Ok(());
    }
    // The lock itself waits without an end; a thread that stays so holds nothing but its own open file.
    let (done, is_done) = mpsc::channel();
    std::thread::spawn(move || drop(done.send(file.lock())));
    if let Ok(locked) = is_done.recv_timeout(ORPHANS_FINISH) {
        return locked;
    }
    tracing::warn!(folder = %git_dir.display(), "a git of an earlier run is still at work here, and is ended");
    for signal in [Signal::TERM, Signal::KILL] {
        for group in groups_with_input(&fs::canonicalize(path)?) {
            group.end(signal);
        }
        if let Ok(locked) = is_done.recv_timeout(ORPHANS_END) {
            return locked;
        }
    }
    let text = format!("a git that an earlier run has started is still at work in {}: end it", git_dir.display());
    Err(io::Error::new(io::ErrorKind::TimedOut, text))
}

/// Returns the standard input for a git that works in this repository: it tells the next start that it does. `None` where
/// there is no writer's repository.
pub(crate) fn at_work(git_dir: &Path) -> Option<File> {
    let file = File::open(git_dir.join(AT_WORK)).ok()?;
    file.try_lock_shared().ok()?;
    Some(file)
}

/// What a git reads that works in this repository: a file, since a pipe has to be filled while it runs. It tells the next
/// start that there is one, as [`at_work`] does, and goes with this.
#[derive(Debug)]
pub(crate) struct GitInput {
    path: PathBuf,
    file: File,
}

impl GitInput {
    pub(crate) fn create(git_dir: &Path, text: &str) -> io::Result<Self> {
        static NEXT: AtomicU64 = AtomicU64::new(0);
        let path = git_dir.join(format!("{INPUT}{}", NEXT.fetch_add(1, Ordering::Relaxed)));
        let file = File::options().read(true).write(true).create(true).truncate(true).open(&path)?;
        let mut input = Self { path, file };
        input.file.lock_shared()?;
        input.file.write_all(text.as_bytes())?;
        input.file.rewind()?;
        Ok(input)
    }

    /// Returns the standard input of one git.
    pub(crate) fn stdio(&self) -> io::Result<Stdio> {
        Ok(self.file.try_clone()?.into())
    }
}

impl Drop for GitInput {
    fn drop(&mut self) {
        // What can't be removed is cleared at the next start.
        let _ = fs::remove_file(&self.path);
    }
}

/// Always empty. Not `.lock`: that is what is cleared.
const AT_WORK: &str = "git-at-work";

/// How the names of [`GitInput`]s begin.
const INPUT: &str = "git-at-work-";

/// Returns the process groups, each led by a git, whose standard input is this file. Where there is no `/proc` there are
/// none, and they are waited for.
fn groups_with_input(file: &Path) -> Vec<ProcessGroup> {
    let Ok(processes) = fs::read_dir("/proc") else { return Vec::new() };
    let id = |entry: fs::DirEntry| {
        let has_it = fs::read_link(entry.path().join("fd/0")).is_ok_and(|input| input == file);
        entry.file_name().to_str().filter(|_| has_it)?.parse().ok()
    };
    processes.filter_map(Result::ok).filter_map(id).filter_map(ProcessGroup::of).collect()
}

/// A push that is under way is nearly always done by then.
const ORPHANS_FINISH: Duration = Duration::from_secs(1);

/// For each signal: git that is asked to end removes its locks, also those of a remote on this machine.
const ORPHANS_END: Duration = Duration::from_secs(10);
