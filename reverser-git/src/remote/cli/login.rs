//! What git is given to log in with: files in a folder of their own, and no secret in any argument or environment.
//!
//! ```text
//! <state folder>/known_hosts       host keys that were trusted on first use
//! <state folder>/login/            0700; git's working directory, so that no path needs quotes; gone with the remote
//!   config                         git's configuration: proxy, certificates, the header with a token, helpers
//!   credentials                    the answer of a credential helper, as gitcredentials(7) has it
//!   key, passphrase, askpass       the private key, what it is encrypted with, and what tells ssh
//!   known_hosts                    the server's host keys
//! ```
//!
//! All of it is read and compared before each command, and written when it differs from what was written last. A file
//! with the answer, and not git-credential-store(1): that helper deletes what a server refuses once, also in an outage.

use std::{
    collections::BTreeMap,
    fmt,
    fs::{self, DirBuilder, OpenOptions},
    io::{self, Write},
    os::unix::fs::{DirBuilderExt, OpenOptionsExt},
    path::{Path, PathBuf},
    process::Stdio,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

use tokio::process::Command;

use super::command::{Configuration, READ_LIMIT, SSH_COMMAND, git, run, users_ssh_command};
use crate::{
    blocking::blocking,
    credentials::{AccessError, RemoteAccess},
    remote::RemoteError,
    url::RemoteUrl,
};

mod material;

use material::Material;

/// Reads credentials and hands them to git.
pub(super) struct Login {
    url: RemoteUrl,
    folder: PathBuf,
    /// Whether the user has told git which ssh to use.
    has_ssh_command: bool,
    shared: Mutex<Shared>,
}

/// Locked for as long as files are written, never across an await.
struct Shared {
    access: RemoteAccess,
    /// What is in the folder.
    written: Material,
    /// The material whose key could be read.
    checked: Material,
}

impl Login {
    /// Returns the login in a folder beside which nothing else is; an error when nothing can come of it.
    pub(super) async fn open(url: RemoteUrl, access: RemoteAccess, folder: &Path) -> Result<Arc<Self>, RemoteError> {
        let folder = std::path::absolute(folder).map_err(|source| failed(&url, folder, &source))?;
        // One that was killed has left its files.
        clear(&folder).map_err(|source| failed(&url, &folder, &source))?;
        let has_ssh_command = url.is_ssh() && users_ssh_command(&url).await?;
        let shared = Shared { access, written: Material::default(), checked: Material::default() };
        let login = Arc::new(Self { url, folder, has_ssh_command, shared: Mutex::new(shared) });
        login.session().await?;
        Ok(login)
    }

    /// Replaces what the next command logs in with, unless nothing can come of it.
    pub(super) async fn replace_access(self: &Arc<Self>, access: RemoteAccess) -> Result<(), RemoteError> {
        let (login, trial) = (Arc::clone(self), access.clone());
        let read = blocking(move || Material::read(&login.url, &trial)).await;
        read.map_err(|reason| self.refused(reason))?;
        self.shared().access = access;
        Ok(())
    }

    /// Returns what one command needs, as things are at this moment.
    pub(super) async fn session(self: &Arc<Self>) -> Result<Session, RemoteError> {
        let login = Arc::clone(self);
        let session = blocking(move || login.write()).await?;
        if session.material.has_key() && self.shared().checked != session.material {
            session.check_key().await.map_err(|reason| self.refused(reason))?;
            self.shared().checked = session.material.clone();
        }
        Ok(session)
    }

    /// Reads what is configured, and writes it where git finds it.
    fn write(&self) -> Result<Session, RemoteError> {
        let mut shared = self.shared();
        let material =
            consistently(|| Material::read(&self.url, &shared.access)).map_err(|reason| self.refused(reason))?;
        if shared.written != material {
            let old = std::mem::take(&mut shared.written);
            if let Err(source) = self.replace(&old.files, &material.files) {
                // What is half written is written anew.
                let _ = clear(&self.folder);
                return Err(failed(&self.url, &self.folder, &source));
            }
            shared.written = material.clone();
        }
        let ssh_command = match &material.ssh_command {
            None if self.url.is_ssh() && !self.has_ssh_command => Some(SSH_COMMAND.to_owned()),
            ssh_command => ssh_command.clone(),
        };
        Ok(Session { material, folder: self.folder.clone(), ssh_command })
    }

    fn replace(&self, old: &BTreeMap<&str, String>, new: &BTreeMap<&str, String>) -> io::Result<()> {
        if !new.is_empty() {
            DirBuilder::new().recursive(true).mode(0o700).create(&self.folder)?;
        }
        for (name, content) in new.iter().filter(|(name, content)| old.get(*name) != Some(content)) {
            let (file, draft) = (self.folder.join(name), self.folder.join(format!("{name}.draft")));
            match fs::remove_file(&draft) {
                Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
                _ => {}
            }
            let mode = if *name == material::ASKPASS { 0o700 } else { 0o600 };
            OpenOptions::new().write(true).create_new(true).mode(mode).open(&draft)?.write_all(content.as_bytes())?;
            fs::rename(&draft, &file)?;
        }
        for name in old.keys().filter(|name| !new.contains_key(*name)) {
            fs::remove_file(self.folder.join(name))?;
        }
        Ok(())
    }

    fn refused(&self, reason: AccessError) -> RemoteError {
        RemoteError::Access { url: self.url.clone(), reason }
    }

    fn shared(&self) -> MutexGuard<'_, Shared> {
        // A panic under the lock has ended the remote's owner.
        self.shared.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Drop for Login {
    fn drop(&mut self) {
        if let Err(error) = clear(&self.folder) {
            tracing::warn!(folder = %self.folder.display(), %error, "files with credentials could not be removed");
        }
    }
}

/// Without what is secret.
impl fmt::Debug for Login {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Login").field("url", &self.url).field("access", &self.shared().access).finish_non_exhaustive()
    }
}

/// What one command logs in with.
pub(super) struct Session {
    material: Material,
    folder: PathBuf,
    /// For `GIT_SSH_COMMAND`; `None`: the user has a command of their own, or ssh isn't used.
    ssh_command: Option<String>,
}

impl Session {
    /// Makes a git command that may talk to the remote.
    pub(super) fn git(&self, git_dir: &Path, subcommand: &str) -> Command {
        let configuration = if self.material.is_isolated { Configuration::Ours } else { Configuration::Users };
        let include = format!("include.path={}", self.folder.join(material::CONFIG).display());
        let include = self.material.files.contains_key(material::CONFIG).then_some(include);
        let mut command = git(Some(git_dir), configuration, include.as_deref());
        command.envs(self.material.variables.iter().map(|(name, value)| (name, value)));
        for name in &self.material.without {
            command.env_remove(name);
        }
        if let Some(ssh_command) = &self.ssh_command {
            command.env("GIT_SSH_COMMAND", ssh_command);
        }
        if self.material.is_isolated {
            // curl looks for ~/.netrc.
            command.env("HOME", &self.folder).current_dir(&self.folder);
        }
        command.arg(subcommand);
        command
    }

    /// Puts what was said on one line, without secrets; of very much the beginning and the end.
    pub(super) fn words(&self, said: &[u8]) -> String {
        let said = String::from_utf8_lossy(said);
        // ssh draws a frame around its warning of a changed host key.
        let lines = said.lines().map(|line| line.trim().trim_matches('@').trim()).filter(|line| !line.is_empty());
        let mut words = lines.collect::<Vec<_>>().join("; ");
        for secret in &self.material.secrets {
            words = words.replace(secret.as_str(), "***");
        }
        shortened(without_userinfo(&words))
    }

    /// Whether OpenSSH can read the private key: ssh itself says nothing of a wrong passphrase, and tries on without.
    async fn check_key(&self) -> Result<(), AccessError> {
        let mut command = Command::new("ssh-keygen");
        command.args(["-y", "-f", material::KEY]).current_dir(&self.folder).env("LC_ALL", "C").stdin(Stdio::null());
        if self.material.files.contains_key(material::ASKPASS) {
            command.envs(self.material.variables.iter().map(|(name, value)| (name, value)));
        } else {
            command.args(["-P", ""]);
        }
        command.process_group(0).kill_on_drop(true);
        match run(command, READ_LIMIT).await {
            Ok(output) if output.status.success() => Ok(()),
            Ok(output) => Err(AccessError::Key { words: self.words(&output.stderr) }),
            // Some systems install ssh without it; then ssh's own words have to do.
            Err(_) => Ok(()),
        }
    }
}

/// Removes the files that a login makes, and their folder when nothing else is in it.
pub(crate) fn clear(folder: &Path) -> io::Result<()> {
    let gone = |removed: io::Result<()>| match removed {
        Err(error) if !matches!(error.kind(), io::ErrorKind::NotFound | io::ErrorKind::NotADirectory) => Err(error),
        _ => Ok(()),
    };
    for name in material::FILES {
        gone(fs::remove_file(folder.join(name)))?;
        gone(fs::remove_file(folder.join(format!("{name}.draft"))))?;
    }
    match fs::remove_dir(folder) {
        Err(error) if error.kind() == io::ErrorKind::DirectoryNotEmpty => Ok(()),
        removed => gone(removed),
    }
}

/// Reads until it reads the same twice: of files that change together, such as the keys of a Secret that kubelet swaps, some
/// may be read before and some after the change, but then not again.
fn consistently<T: PartialEq, E>(read: impl Fn() -> Result<T, E>) -> Result<T, E> {
    let mut before = read()?;
    for _ in 0..READS {
        let again = read()?;
        if again == before {
            break;
        }
        before = again;
    }
    Ok(before)
}

/// Files that change in between this often are beyond help; the server then says what it thinks of them.
const READS: usize = 5;

/// Replaces user and password in each URL: one may come from the user's own configuration, such as a proxy's.
fn without_userinfo(words: &str) -> String {
    let mut clean = String::with_capacity(words.len());
    let mut rest = words;
    while let Some((before, after)) = rest.split_once("://") {
        clean.push_str(before);
        clean.push_str("://");
        let authority = after.split(|c: char| c == '/' || c == '\'' || c == '"' || c.is_whitespace()).next();
        rest = match authority.and_then(|authority| authority.rsplit_once('@')) {
            Some((userinfo, _)) if userinfo.contains(':') => {
                clean.push_str("***");
                &after[userinfo.len()..]
            }
            _ => after,
        };
    }
    clean.push_str(rest);
    clean
}

/// A hook may print megabytes, which would stand in every error and log.
fn shortened(words: String) -> String {
    let count = words.chars().count();
    if count <= MOST_WORDS {
        return words;
    }
    let (head, tail): (String, String) =
        (words.chars().take(MOST_WORDS / 2).collect(), words.chars().skip(count - MOST_WORDS / 2).collect());
    format!("{head} … {tail}")
}

/// In characters: some 40 lines, more than forges say of a refusal.
const MOST_WORDS: usize = 4000;

fn failed(url: &RemoteUrl, folder: &Path, source: &io::Error) -> RemoteError {
    let reason = AccessError::File { file: folder.to_owned(), reason: source.to_string() };
    RemoteError::Access { url: url.clone(), reason }
}

#[cfg(test)]
mod tests;
