//! Files and folders of a state folder: made, locked, cleared, and written so that they last.

use std::{
    fs::{self, File, OpenOptions, TryLockError},
    io::{self, Read, Seek, Write},
    path::Path,
    sync::Arc,
};

use crate::{branch::BranchName, store::OpenError};

/// Creates an empty bare repository, or finishes one that a crash left half made. Without git, so that no default of the
/// user's (template, object format, ref storage) gets in.
pub(crate) fn create(git_dir: &Path, branch: &BranchName) -> io::Result<()> {
    let head = git_dir.join("HEAD");
    if head.exists() {
        return Ok(());
    }
    for folder in ["objects/info", "objects/pack", "refs/heads", "refs/tags"] {
        fs::create_dir_all(git_dir.join(folder))?;
    }
    for folder in ["objects", "refs"] {
        sync_folder(&git_dir.join(folder))?;
    }
    write_synced(&git_dir.join("tmp_config"), &git_dir.join("config"), CONFIG.as_bytes())?;
    // Last: it makes the folder a repository.
    write_synced(&git_dir.join("tmp_HEAD"), &head, format!("ref: {}\n", branch.full()).as_bytes())?;
    sync_folder(git_dir)
}

/// The lock of a state folder, given back when it is dropped.
#[derive(Debug)]
pub(super) struct Lock(File);

impl Drop for Lock {
    fn drop(&mut self) {
        // Closing isn't enough: a child process that is being started has a copy of every open file for a moment. An error
        // leaves just that.
        let _ = self.0.unlock();
    }
}

/// Takes the lock of the state folder and leaves the process id in it, for the error that the next one gets.
pub(super) fn lock(state_dir: &Path) -> Result<Lock, OpenError> {
    let failed = |source| OpenError::Folder { folder: state_dir.to_owned(), source: Arc::new(source) };
    let path = state_dir.join("lock");
    let mut file =
        OpenOptions::new().read(true).write(true).create(true).truncate(false).open(path).map_err(&failed)?;
    match file.try_lock() {
        Ok(()) => {}
        Err(TryLockError::Error(source)) => return Err(failed(source)),
        Err(TryLockError::WouldBlock) => {
            let mut holder = String::new();
            file.read_to_string(&mut holder).map_err(&failed)?;
            return Err(OpenError::Locked { folder: state_dir.to_owned(), holder: holder.trim().to_owned() });
        }
    }
    file.set_len(0).and_then(|()| file.rewind()).map_err(&failed)?;
    writeln!(file, "process {}", std::process::id()).map_err(&failed)?;
    Ok(Lock(file))
}

/// Removes what a process that was killed has left: locks, which would make git fail, refs whose content a power failure
/// has swallowed, and files that were being written.
pub(super) fn clear_leftovers(git_dir: &Path) -> io::Result<()> {
    let is_lock = |entry: &fs::DirEntry| entry.file_name().to_string_lossy().ends_with(".lock");
    let mut folders = vec![git_dir.join("refs")];
    while let Some(folder) = folders.pop() {
        for entry in fs::read_dir(folder)? {
            let entry = entry?;
            if entry.file_type()?.is_dir() {
                folders.push(entry.path());
            } else if is_lock(&entry) || entry.metadata()?.len() == 0 {
                fs::remove_file(entry.path())?;
            }
        }
    }
    for folder in [git_dir.to_owned(), git_dir.join("objects/pack")] {
        for entry in fs::read_dir(folder)? {
            let entry = entry?;
            if is_lock(&entry) || entry.file_name().to_string_lossy().starts_with("tmp_") {
                fs::remove_file(entry.path())?;
            }
        }
    }
    Ok(())
}

pub(super) fn count_packs(git_dir: &Path) -> io::Result<usize> {
    let mut packs = 0;
    for entry in fs::read_dir(git_dir.join("objects/pack"))? {
        packs += usize::from(entry?.path().extension().is_some_and(|extension| extension == "pack"));
    }
    Ok(packs)
}

/// Writes a file under another name, fsyncs it and moves it into place; the folder is the caller's to sync.
pub(super) fn write_synced(temporary: &Path, target: &Path, content: &[u8]) -> io::Result<()> {
    let mut file = File::create(temporary)?;
    file.write_all(content)?;
    file.sync_all()?;
    drop(file);
    fs::rename(temporary, target)
}

/// Makes renames in a folder durable.
pub(super) fn sync_folder(folder: &Path) -> io::Result<()> {
    File::open(folder)?.sync_all()
}

const CONFIG: &str = "\
[core]
	repositoryformatversion = 0
	bare = true
[gc]
	auto = 0
[maintenance]
	auto = false
";
