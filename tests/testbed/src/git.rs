//! A bare repository on disk, and git to look into it.

use std::{
    env, fs,
    path::{Path, PathBuf},
    process::Stdio,
};

use tempfile::TempDir;
use tokio::{io::AsyncWriteExt, process::Command};

use crate::{
    error::{Error, tail},
    script::write_script,
};

/// A bare repository on disk: a remote, or a look at what somebody pushed.
#[derive(Debug)]
pub struct BareRepo {
    path: PathBuf,
    /// Removes the repository with us; `None` for one that stays.
    _temporary: Option<TempDir>,
}

impl BareRepo {
    /// Makes a bare repository, which stays; its branch is to be `main`.
    pub async fn create(path: impl Into<PathBuf>) -> Result<Self, Error> {
        let path = path.into();
        fs::create_dir_all(&path).map_err(Error::io("create", &path))?;
        git(&path, &["init", "--quiet", "--bare", "--initial-branch=main", "."]).await?;
        // A collection in the background would still write when a temporary folder is removed.
        for off in ["receive.autogc", "maintenance.auto"] {
            git(&path, &["config", off, "false"]).await?;
        }
        git(&path, &["config", "gc.auto", "0"]).await?;
        Ok(Self { path, _temporary: None })
    }

    /// Makes a bare repository in a temporary folder, which goes away with it.
    pub async fn temporary() -> Result<Self, Error> {
        let folder = tempfile::Builder::new().prefix("reverser-testbed-").tempdir();
        let folder = folder.map_err(Error::io("create", env::temp_dir()))?;
        let repo = Self::create(folder.path().join("repo.git")).await?;
        Ok(Self { _temporary: Some(folder), ..repo })
    }

    /// Takes a bare repository that is there already.
    pub fn existing(path: impl Into<PathBuf>) -> Self {
        Self { path: path.into(), _temporary: None }
    }

    /// Returns its folder.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Returns its `file://` URL.
    pub fn url(&self) -> String {
        format!("file://{}", self.path.display())
    }

    /// Refuses every push with this message, by a real pre-receive hook; `None` takes pushes again.
    pub fn refuse_pushes(&self, message: Option<&str>) -> Result<(), Error> {
        let hook = self.path.join("hooks").join("pre-receive");
        let Some(message) = message else {
            return match fs::remove_file(&hook) {
                Err(error) if error.kind() != std::io::ErrorKind::NotFound => Err(Error::io("remove", &hook)(error)),
                _ => Ok(()),
            };
        };
        let folder = self.path.join("hooks");
        fs::create_dir_all(&folder).map_err(Error::io("create", &folder))?;
        write_script(&hook, &format!("cat >&2 <<'MESSAGE'\n{message}\nMESSAGE\nexit 1"))
    }

    /// Runs git in the repository and returns what it prints, without the last line's end.
    pub async fn git(&self, arguments: &[&str]) -> Result<String, Error> {
        git(&self.path, arguments).await
    }

    /// Returns the id of the branch's tip, `None` before its first commit.
    pub async fn tip(&self, branch: &str) -> Result<Option<String>, Error> {
        let name = format!("refs/heads/{branch}");
        let line = self.git(&["for-each-ref", "--format=%(objectname)", &name]).await?;
        Ok(Some(line).filter(|line| !line.is_empty()))
    }

    /// Returns the branch's commits along the first parents, oldest first.
    pub async fn log(&self, branch: &str) -> Result<Vec<LoggedCommit>, Error> {
        if self.tip(branch).await?.is_none() {
            return Ok(vec![]);
        }
        // Control characters that no name or message holds: unit and record separator.
        let format = "--format=%H%x1f%an%x1f%ae%x1f%aI%x1f%cn%x1f%cI%x1f%B%x1e";
        let log = self.git(&["log", "--first-parent", "--reverse", format, branch, "--"]).await?;
        Ok(log.split('\x1e').filter_map(|record| LoggedCommit::parse(record.trim_start_matches('\n'))).collect())
    }

    /// Returns the paths of all files of the branch, in byte order.
    pub async fn files(&self, branch: &str) -> Result<Vec<String>, Error> {
        if self.tip(branch).await?.is_none() {
            return Ok(vec![]);
        }
        let paths = self.git(&["ls-tree", "-r", "-z", "--name-only", branch]).await?;
        Ok(paths.split('\0').filter(|path| !path.is_empty()).map(str::to_owned).collect())
    }

    /// Returns a file's content at the branch's tip, byte for byte; an error when there is no such file.
    pub async fn read(&self, branch: &str, path: &str) -> Result<String, Error> {
        run(&self.path, &["cat-file", "blob", &format!("{branch}:{path}")], &[], &[]).await
    }

    /// Commits a file to the branch as somebody else who works in the same repository; returns the commit's id.
    pub async fn commit_as_other(&self, branch: &str, path: &str, content: &str) -> Result<String, Error> {
        let blob = run(&self.path, &["hash-object", "-w", "--stdin"], &[], content.as_bytes()).await?;
        let entry = format!("100644 {}\t{path}\0", blob.trim_end());
        self.change_as_other(branch, &entry, &format!("Edit {path}")).await
    }

    /// Removes a file from the branch as somebody else who works in the same repository; returns the commit's id.
    pub async fn remove_as_other(&self, branch: &str, path: &str) -> Result<String, Error> {
        // Mode 0 removes; git still reads an object id before the path.
        self.change_as_other(branch, &format!("0 {}\t{path}\0", "0".repeat(40)), &format!("Remove {path}")).await
    }

    /// Checks that all objects are there and sound.
    pub async fn fsck(&self) -> Result<(), Error> {
        self.git(&["fsck", "--full", "--strict", "--no-dangling", "--no-progress"]).await.map(drop)
    }

    /// Commits one line of `git update-index --index-info`, without a work tree.
    async fn change_as_other(&self, branch: &str, entry: &str, message: &str) -> Result<String, Error> {
        let folder = TempDir::new().map_err(Error::io("create", env::temp_dir()))?;
        let index = [("GIT_INDEX_FILE", folder.path().join("index"))];
        let git = async |arguments: &[&str], input: &str| {
            run(&self.path, arguments, &index, input.as_bytes()).await.map(|output| output.trim_end().to_owned())
        };
        let tip = self.tip(branch).await?;
        let mut commit = vec!["commit-tree", "-m", message];
        if let Some(tip) = &tip {
            git(&["read-tree", tip], "").await?;
            commit.extend(["-p", tip]);
        }
        git(&["update-index", "-z", "--index-info"], entry).await?;
        let tree = git(&["write-tree"], "").await?;
        commit.push(&tree);
        let id = git(&commit, "").await?;
        // With the old value, so that it fails rather than undo a push that came in between.
        let (name, old) = (format!("refs/heads/{branch}"), tip.unwrap_or_else(|| "0".repeat(id.len())));
        git(&["update-ref", &name, &id, &old], "").await?;
        Ok(id)
    }
}

/// A commit as `git log` shows it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LoggedCommit {
    /// Its id.
    pub id: String,
    /// The author's name.
    pub author: String,
    /// The author's address.
    pub author_email: String,
    /// When it was authored, in ISO 8601 with the author's offset.
    pub authored_at: String,
    /// The committer's name.
    pub committer: String,
    /// When it was committed, in ISO 8601.
    pub committed_at: String,
    /// The whole message.
    pub message: String,
}

impl LoggedCommit {
    fn parse(record: &str) -> Option<Self> {
        let mut fields = record.split('\x1f').map(str::to_owned);
        Some(Self {
            id: fields.next().filter(|id| !id.is_empty())?,
            author: fields.next()?,
            author_email: fields.next()?,
            authored_at: fields.next()?,
            committer: fields.next()?,
            committed_at: fields.next()?,
            message: fields.next()?,
        })
    }

    /// Returns the message's first line.
    pub fn subject(&self) -> &str {
        self.message.lines().next().unwrap_or_default()
    }
}

/// Runs git in a folder, with no setting of the user who runs the tests, and returns what it prints on stdout, without
/// the last line's end.
pub async fn git(folder: &Path, arguments: &[&str]) -> Result<String, Error> {
    let output = run(folder, arguments, &[], &[]).await?;
    Ok(output.strip_suffix('\n').map(str::to_owned).unwrap_or(output))
}

async fn run(folder: &Path, arguments: &[&str], variables: &[(&str, PathBuf)], input: &[u8]) -> Result<String, Error> {
    let failed = |source| Error::Io { action: "run", what: "git".into(), source };
    let mut git = command(folder);
    git.args(arguments).envs(variables.iter().cloned());
    git.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
    let mut child = git.spawn().map_err(failed)?;
    let mut stdin = child.stdin.take();
    let write = async {
        if let Some(stdin) = &mut stdin {
            let _ = stdin.write_all(input).await; // a git that does not read it says why on stderr
        }
        drop(stdin);
    };
    let ((), output) = tokio::join!(write, child.wait_with_output());
    let output = output.map_err(failed)?;
    if !output.status.success() {
        let said = [output.stderr, output.stdout].concat();
        return Err(Error::Git {
            arguments: arguments.join(" "),
            folder: folder.to_owned(),
            output: tail(String::from_utf8_lossy(&said).trim_end()),
        });
    }
    Ok(String::from_utf8_lossy(&output.stdout).into_owned())
}

/// Makes every git command of the test bed: the same on each machine, and not in a repository that a hook which runs
/// the tests may have named in the environment.
pub(crate) fn command(folder: &Path) -> Command {
    let mut git = Command::new("git");
    for (name, _) in env::vars_os().filter(|(name, _)| name.to_string_lossy().starts_with("GIT_")) {
        git.env_remove(name);
    }
    git.current_dir(folder)
        .env("GIT_CONFIG_GLOBAL", "/dev/null")
        .env("GIT_CONFIG_NOSYSTEM", "1")
        .env("GIT_TERMINAL_PROMPT", "0") // else a refused password waits for somebody to type one
        .env("LC_ALL", "C")
        .envs(OTHER)
        .kill_on_drop(true);
    git
}

/// Who commits when a test plays somebody else.
const OTHER: [(&str, &str); 4] = [
    ("GIT_AUTHOR_NAME", "other"),
    ("GIT_AUTHOR_EMAIL", "other@example.invalid"),
    ("GIT_COMMITTER_NAME", "other"),
    ("GIT_COMMITTER_EMAIL", "other@example.invalid"),
];
