//! Makes and runs every git command.

use std::{
    ffi::OsStr,
    io,
    path::Path,
    process::{Output, Stdio},
    sync::Arc,
    time::Duration,
};

use tokio::{process::Command, time::timeout};

use crate::{
    process_group::{ProcessGroup, Signal},
    remote::RemoteError,
    store::at_work,
    url::RemoteUrl,
};

/// Whose configuration a git command sees.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Configuration {
    /// What is set here and in the local repository.
    Ours,
    /// The user's and the system's too.
    Users,
}

/// Makes every git command; `extra` is one more setting, `name=value`.
pub(super) fn git(git_dir: Option<&Path>, configuration: Configuration, extra: Option<&str>) -> Command {
    let mut command = Command::new("git");
    for option in [
        "gc.auto=0",                // consolidation is ours
        "maintenance.auto=0",       // and this is its other name
        "core.hooksPath=/dev/null", // the user's hooks are for the user's work
        "fetch.unpackLimit=1",      // packs, not loose objects
        "fetch.prune=false",        // refs are ours to remove
        "push.gpgSign=false",       // a push certificate is a choice that nobody made here
        "core.fsync=all", // what git writes into the queue must last as well; unknown before 2.36, and ignored
    ] {
        command.args(["-c", option]);
    }
    if let Some(option) = extra {
        command.args(["-c", option]);
    }
    if let Some(git_dir) = git_dir {
        command.arg("--git-dir").arg(git_dir);
    }
    for (variable, _) in std::env::vars_os().filter(|(name, _)| !is_passed_on(&name.to_string_lossy(), configuration)) {
        command.env_remove(variable);
    }
    if configuration == Configuration::Ours {
        command.env("GIT_CONFIG_GLOBAL", "/dev/null").env("GIT_CONFIG_NOSYSTEM", "1");
    }
    command
        .env("LC_ALL", "C") // its messages are read
        .env("GIT_TERMINAL_PROMPT", "0") // nobody is there to answer
        .env("GIT_ASKPASS", "")
        .env("GCM_INTERACTIVE", "never")
        // What isn't here is fetched by ourselves, in one go. A fetch that fetches what it lacks starts itself, and that one
        // itself, without an end. Unknown before 2.39.4 and 2.45, and ignored.
        .env("GIT_NO_LAZY_FETCH", "1")
        .stdin(git_dir.and_then(at_work).map_or_else(Stdio::null, Stdio::from))
        .process_group(0) // Ctrl-C ends us in our own order, not the push under way
        .kill_on_drop(true);
    command
}

/// Whether git gets a variable of ours.
fn is_passed_on(variable: &str, configuration: Configuration) -> bool {
    match variable {
        "GIT_EXEC_PATH" => true, // where git is
        "SSH_ASKPASS" => false,  // nobody is there to answer
        _ if variable.starts_with("GIT_TRACE") || variable == "GIT_CURL_VERBOSE" => false, // its messages are read
        _ if LOCAL_VARIABLES.contains(&variable) => false,
        "SSH_AUTH_SOCK" => configuration == Configuration::Users,
        _ => configuration == Configuration::Users || !variable.starts_with("GIT_"),
    }
}

/// What `git rev-parse --local-env-vars` lists points at a repository of whoever started us.
const LOCAL_VARIABLES: [&str; 10] = [
    "GIT_DIR",
    "GIT_WORK_TREE",
    "GIT_INDEX_FILE",
    "GIT_COMMON_DIR",
    "GIT_NAMESPACE",
    "GIT_OBJECT_DIRECTORY",
    "GIT_ALTERNATE_OBJECT_DIRECTORIES",
    "GIT_SHALLOW_FILE",
    "GIT_GRAFT_FILE",
    "GIT_PREFIX",
];

/// Runs a command to its end, within a limit. When it is not waited for until then, all that it has started ends with it.
pub(super) async fn run(mut command: Command, limit: Duration) -> Result<Output, Failure> {
    let child = command.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().map_err(Failure::Spawn)?;
    let mut unfinished = Unfinished(child.id().and_then(ProcessGroup::of));
    let output = timeout(limit, child.wait_with_output()).await;
    match output {
        Ok(output) => {
            unfinished.0 = None;
            output.map_err(Failure::Spawn)
        }
        Err(_elapsed) => Err(Failure::TimeOut(limit)),
    }
}

/// Ended with this: git leaves the work to children, which a push that is killed would leave behind.
struct Unfinished(Option<ProcessGroup>);

impl Drop for Unfinished {
    fn drop(&mut self) {
        if let Some(group) = self.0 {
            // Not SIGKILL: a receive-pack on this machine would leave the branch locked for ever.
            group.end(Signal::TERM);
        }
    }
}

/// A command didn't come to an end of its own.
pub(super) enum Failure {
    Spawn(io::Error),
    TimeOut(Duration),
}

impl Failure {
    pub(super) fn of(self, action: &'static str, url: &RemoteUrl) -> RemoteError {
        match self {
            Self::Spawn(source) => RemoteError::Spawn { source: Arc::new(source) },
            Self::TimeOut(limit) => RemoteError::TimeOut { action, url: url.clone(), limit },
        }
    }
}

/// Whether the user has told git which ssh to use, in the environment or in `core.sshCommand`.
pub(super) async fn users_ssh_command(url: &RemoteUrl) -> Result<bool, RemoteError> {
    let is_set = |variable: &str| std::env::var_os(variable).as_deref().is_some_and(|value| value != OsStr::new(""));
    if is_set("GIT_SSH_COMMAND") || is_set("GIT_SSH") {
        return Ok(true);
    }
    let mut command = git(None, Configuration::Users, None);
    command.args(["config", "--get", "core.sshCommand"]).current_dir("/");
    let output = run(command, READ_LIMIT).await.map_err(|failure| failure.of("configure", url))?;
    Ok(output.status.success())
}

/// Never asks; gives up on a host that doesn't answer, and on a connection that died.
pub(super) const SSH_COMMAND: &str = "ssh -o BatchMode=yes -o ConnectTimeout=15 -o ServerAliveInterval=15";

/// For what is answered with a few lines.
pub(super) const READ_LIMIT: Duration = Duration::from_secs(30);

/// For what moves commits; a first fetch may be large.
pub(super) const TRANSFER_LIMIT: Duration = Duration::from_secs(600);
