//! Files and folders of a state folder: made, locked, cleared, and written so that they last.

use std::{
    fs::{self, File, OpenOptions, TryLockError},
    io::{self, Read, Seek, Write},
    os::unix::fs::DirBuilderExt,
    path::{Path, PathBuf},
    sync::Arc,
    time::{Duration, Instant},
};

use crate::{
    branch::BranchName,
    fault::{self, Step},
    objects::ObjectFormat,
    remote::cli::clear_login,
    store::OpenError,
};

/// Creates an empty bare repository, or finishes one that a crash left half made. Without git, so that no default of the
/// user's (template, object format, ref storage) gets in.
pub(crate) fn create(git_dir: &Path, branch: &BranchName) -> io::Result<()> {
    create_with(git_dir, branch, ObjectFormat::Sha1)
}

fn create_with(git_dir: &Path, branch: &BranchName, format: ObjectFormat) -> io::Result<()> {
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
    write_synced(&git_dir.join("tmp_config"), &git_dir.join("config"), config(format).as_bytes())?;
    // Last: it makes the folder a repository.
    write_synced(&git_dir.join("tmp_HEAD"), &head, format!("ref: {}\n", branch.full()).as_bytes())?;
    sync_folder(git_dir)
}

/// Puts an empty repository of this format in the place of one in which nothing is kept.
pub(crate) fn create_again(git_dir: &Path, branch: &BranchName, format: ObjectFormat) -> io::Result<()> {
    // First: without it the folder is no repository, and whatever a crash leaves is made anew.
    fs::remove_file(git_dir.join("HEAD"))?;
    sync_folder(git_dir)?;
    fs::remove_dir_all(git_dir)?;
    create_with(git_dir, branch, format)
}

/// Writes the repository's configuration anew.
pub(crate) fn replace_config(git_dir: &Path, config: &str) -> io::Result<()> {
    write_synced(&git_dir.join("tmp_config"), &git_dir.join("config"), config.as_bytes())?;
    sync_folder(git_dir)
}

/// Creates the state folder with what leads to it, where it isn't there: for its owner alone, since it holds what the
/// repository does.
pub(super) fn create_state_dir(folder: &Path) -> io::Result<()> {
    fs::DirBuilder::new().recursive(true).mode(0o700).create(folder)
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
    let deadline = Instant::now() + LOCK_LINGERS;
    loop {
        match file.try_lock() {
            Ok(()) => break,
            Err(TryLockError::Error(source)) => return Err(failed(source)),
            // Whatever tells of it would have to come from a process that is being killed.
            Err(TryLockError::WouldBlock) if Instant::now() < deadline => {
                std::thread::park_timeout(Duration::from_millis(10));
            }
            Err(TryLockError::WouldBlock) => {
                let mut holder = String::new();
                file.read_to_string(&mut holder).map_err(&failed)?;
                return Err(OpenError::Locked { folder: state_dir.to_owned(), holder: holder.trim().to_owned() });
            }
        }
    }
    let noted = file.set_len(0).and_then(|()| file.rewind());
    if let Err(error) = noted.and_then(|()| writeln!(file, "process {}", std::process::id())) {
        // A full disk: what is there can be pushed all the same.
        tracing::warn!(folder = %state_dir.display(), %error, "the lock could not be labelled with this process");
    }
    Ok(Lock(file))
}

/// A process that was killed while it started a child has left its lock with the child, for a moment.
const LOCK_LINGERS: Duration = Duration::from_secs(1);

/// Writes a pack with its index under `name`; durable when this returns. A failure leaves nothing of it.
pub(crate) fn write_pack_files(
    git_dir: &Path,
    branch: &BranchName,
    name: &str,
    pack: &[u8],
    index: &[u8],
) -> io::Result<()> {
    let folder = git_dir.join("objects/pack");
    let mut placed = Vec::new();
    let mut place = || {
        // The index last: a pack is there once it has one.
        for (extension, content) in [("pack", pack), ("idx", index)] {
            let target = folder.join(format!("pack-{name}.{extension}"));
            if !target.exists() {
                placed.push(target.clone());
            }
            write_synced(&folder.join(temporary_pack(&branch.encoded(), extension)), &target, content)?;
        }
        sync_folder(&folder)
    };
    let written = place();
    if written.is_err() {
        // The index first, for the same reason. What can't be removed is cleared at the next start.
        placed.iter().rev().for_each(|file| drop(fs::remove_file(file)));
    }
    written
}

/// Who uses a repository.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Users {
    /// Also others, so that locks are taken and given back as git does.
    Others,
    /// The writer alone: a lock that is there is one that a crash has left.
    Us,
}

/// Writes a ref as git does, by a lock file's rename; durable when this returns. A failure leaves the ref as it was.
pub(super) fn write_ref_file(file: &Path, content: &[u8], users: Users) -> io::Result<()> {
    let lock = lock_of(file);
    if users == Users::Others {
        take_ref_lock(&lock)?;
    }
    let before = match fs::read(file) {
        Ok(before) => Some(before),
        Err(error) if error.kind() == io::ErrorKind::NotFound => None,
        Err(error) => return Err(error),
    };
    let folder = file.parent().unwrap_or(Path::new("."));
    let written = write_synced(&lock, file, content).and_then(|()| sync_folder(folder));
    if written.is_err() && fs::read(file).is_ok_and(|now| Some(now) != before) {
        // Moved, and perhaps not for good: whoever asked is told that it failed, and asks again.
        let restored = match before {
            Some(before) => fs::write(&lock, before).and_then(|()| fs::rename(&lock, file)),
            None => fs::remove_file(file),
        };
        if let Err(error) = restored {
            tracing::error!(%error, file = %file.display(), "a ref could not be moved back after a failure");
        }
    }
    if written.is_err() && users == Users::Others {
        // They would wait for it; whether it is gone is told by the next write.
        let _ = fs::remove_file(&lock);
    }
    written
}

/// Returns where git takes the lock of a ref.
fn lock_of(file: &Path) -> PathBuf {
    let mut lock = file.as_os_str().to_owned();
    lock.push(".lock");
    lock.into()
}

/// Writes a ref that is derived from another one by a lock file's rename, and leaves it to the system when it is durable: each
/// start writes it anew.
pub(super) fn show_ref_file(file: &Path, content: &[u8]) -> io::Result<()> {
    let lock = lock_of(file);
    fs::create_dir_all(file.parent().unwrap_or(Path::new(".")))?;
    write_renamed(&lock, file, content, |_| Ok(()))
}

/// Removes what a process that was killed has left in a repository that others use, too: the writer's own files alone.
pub(super) fn clear_own_leftovers(git_dir: &Path, branch: &BranchName) -> io::Result<()> {
    let branch = branch.encoded();
    let locks = ["refs/reverser", "refs/reverser-moved"].map(|folder| format!("{folder}/{branch}.lock"));
    let packs = ["pack", "idx"].map(|extension| format!("objects/pack/{}", temporary_pack(&branch, extension)));
    for file in locks.iter().chain(&packs) {
        match fs::remove_file(git_dir.join(file)) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
            _ => {}
        }
    }
    Ok(())
}

/// The name of a pack, or its index, of a branch's writer that isn't whole yet.
pub(super) fn temporary_pack(branch: &str, extension: &str) -> String {
    format!("tmp_reverser-{branch}.{extension}")
}

/// Returns the git folder of the user's own repository: a bare one, also where it is still to be made, or that of a working
/// tree.
pub(crate) fn repository_in(folder: &Path) -> Result<PathBuf, OpenError> {
    let inside = folder.join(".git");
    if inside.is_dir() {
        return Ok(inside);
    }
    let is_free = match fs::read_dir(folder) {
        Ok(mut entries) => entries.next().is_none(),
        Err(error) if error.kind() == io::ErrorKind::NotFound => true,
        Err(source) => return Err(OpenError::Folder { folder: folder.to_owned(), source: Arc::new(source) }),
    };
    // Without HEAD: what a crash has left half made.
    if is_free || ["HEAD", "objects", "reverser"].iter().any(|name| folder.join(name).exists()) {
        return Ok(folder.to_owned());
    }
    Err(OpenError::NoRepository { folder: folder.to_owned() })
}

/// Creates the lock file of a ref in a repository that others use, too, as git does; waits for somebody who holds it.
pub(super) fn take_ref_lock(lock: &Path) -> io::Result<()> {
    let deadline = Instant::now() + LONGEST_REF_LOCK;
    loop {
        match OpenOptions::new().write(true).create_new(true).open(lock) {
            Ok(_) => return Ok(()),
            // Held for a moment, while git packs refs: not worth a timer on this thread.
            Err(error) if error.kind() == io::ErrorKind::AlreadyExists && Instant::now() < deadline => {
                std::thread::yield_now();
            }
            Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {
                let words = format!("{} is held by another process; remove it when there is none", lock.display());
                return Err(io::Error::new(error.kind(), words));
            }
            Err(error) => return Err(error),
        }
    }
}

/// As long as git by default waits for the lock of all packed refs: core.packedRefsTimeout, git-config(1).
const LONGEST_REF_LOCK: Duration = Duration::from_secs(1);

/// Removes the credentials that a process that was killed has left, and nothing else that is in the state folder.
pub(super) fn clear_logins(state_dir: &Path, name: &str) -> io::Result<()> {
    for entry in fs::read_dir(state_dir)? {
        let entry = entry?;
        let found = entry.file_name();
        let number = found
            .to_str()
            .and_then(|found| found.strip_prefix(name))
            .map(|rest| rest.strip_prefix('-').unwrap_or(rest));
        if number.is_some_and(|number| number.bytes().all(|byte| byte.is_ascii_digit())) && entry.file_type()?.is_dir()
        {
            clear_login(&entry.path())?;
        }
    }
    Ok(())
}

/// Writes a file under another name, fsyncs it and moves it into place; the folder is the caller's to sync.
pub(super) fn write_synced(temporary: &Path, target: &Path, content: &[u8]) -> io::Result<()> {
    write_renamed(temporary, target, content, |file| {
        file.sync_all()?;
        fault::on_disk(Step::Synced, target)
    })
}

/// Writes a file under another name, has it made durable or not, and moves it into place.
fn write_renamed(
    temporary: &Path,
    target: &Path,
    content: &[u8],
    finish: impl FnOnce(&File) -> io::Result<()>,
) -> io::Result<()> {
    let write = || {
        let mut file = File::create(temporary)?;
        fault::on_disk(Step::Created, target)?;
        file.write_all(content)?;
        fault::on_disk(Step::Written, target)?;
        finish(&file)
    };
    let renamed = write().and_then(|()| fs::rename(temporary, target));
    if renamed.is_err() {
        // On a full disk it takes room that others need. What can't be removed is cleared at the next start.
        let _ = fs::remove_file(temporary);
    }
    renamed.and_then(|()| fault::on_disk(Step::Renamed, target))
}

/// Makes renames in a folder durable.
pub(super) fn sync_folder(folder: &Path) -> io::Result<()> {
    File::open(folder)?.sync_all()?;
    fault::on_disk(Step::FolderSynced, folder)
}

/// Other formats than git's first one are an extension, which version 0 doesn't have; gitrepository-layout(5).
fn config(format: ObjectFormat) -> String {
    match format {
        ObjectFormat::Sha1 => CONFIG.to_owned(),
        ObjectFormat::Sha256 => {
            let version = CONFIG.replace("repositoryformatversion = 0", "repositoryformatversion = 1");
            format!("{version}[extensions]\n\tobjectFormat = {format}\n")
        }
    }
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_pack_whose_index_fails_leaves_no_file() {
        let folder = tempfile::tempdir().unwrap();
        let packs = folder.path().join("objects/pack");
        // A folder where the index has to be.
        fs::create_dir_all(packs.join("pack-1.idx")).unwrap();
        write_pack_files(folder.path(), &BranchName::default(), "1", b"pack", b"index").unwrap_err();
        let left: Vec<_> = fs::read_dir(packs).unwrap().map(|entry| entry.unwrap().file_name()).collect();
        assert_eq!(left, ["pack-1.idx"]);
    }
}
