//! The command as a child process: what the suite and the benchmark share.

pub mod benchmark;

use std::{
    env, io,
    path::{Path, PathBuf},
    process::{ExitStatus, Stdio},
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use reverser_testbed::eventually;
pub use reverser_testbed::free_port;
use tempfile::TempDir;
use tokio::{
    io::{AsyncBufReadExt, AsyncRead, BufReader},
    process::{Child, Command},
    task::JoinHandle,
};

/// How long anything may take that takes a moment: a deadline for a machine that is busy with other things.
pub const LIMIT: Duration = Duration::from_secs(60);

/// A home for the command in a temporary folder. It sees nothing of the user who runs it here, and leaves nothing behind.
#[derive(Debug)]
pub struct Home {
    program: PathBuf,
    folder: TempDir,
}

impl Home {
    /// Makes a home; `program` is the command.
    pub fn new(program: impl Into<PathBuf>) -> io::Result<Self> {
        let folder = tempfile::Builder::new().prefix("reverser-tests-").tempdir()?;
        Ok(Self { program: program.into(), folder })
    }

    /// Returns the folder, which is the command's current one, too.
    pub fn path(&self) -> &Path {
        self.folder.path()
    }

    /// Returns the command, ready to be started.
    pub fn command(&self, arguments: &[&str]) -> Command {
        let mut command = Command::new(&self.program);
        command
            .args(arguments)
            .current_dir(self.path())
            .env_clear()
            .env("HOME", self.path())
            .env("GIT_CONFIG_NOSYSTEM", "1")
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .kill_on_drop(true);
        // Where programs are, those of the control plane of `demo` among them.
        for name in ["PATH", "KUBEBUILDER_ASSETS", "CARGO_TARGET_DIR"] {
            command.envs(env::var_os(name).map(|value| (name, value)));
        }
        command
    }

    /// Runs the command to its end.
    pub async fn run(&self, arguments: &[&str]) -> Finished {
        Running::spawn(self.command(arguments)).end(LIMIT).await
    }

    /// Starts the command.
    pub fn start(&self, arguments: &[&str]) -> Running {
        Running::spawn(self.command(arguments))
    }
}

/// A command that runs; dropping it kills it.
#[derive(Debug)]
pub struct Running {
    child: Child,
    said: Arc<Mutex<String>>,
    /// One for standard output, one for standard error.
    readers: Vec<JoinHandle<()>>,
}

/// A command that has ended.
#[derive(Debug)]
pub struct Finished {
    /// How it ended.
    pub status: ExitStatus,
    /// What it printed, on standard output and standard error.
    pub said: String,
}

impl Running {
    /// Starts a command whose outputs are pipes.
    ///
    /// # Panics
    /// When it can't be started.
    pub fn spawn(mut command: Command) -> Self {
        Self::start(&mut command)
    }

    /// Starts a command whose outputs are pipes, which may be started again.
    ///
    /// # Panics
    /// When it can't be started.
    pub fn start(command: &mut Command) -> Self {
        let mut child = command.spawn().unwrap_or_else(|error| panic!("{command:?}: {error}"));
        let said = Arc::default();
        let readers = [
            child.stdout.take().map(|output| tokio::spawn(read(output, Arc::clone(&said)))),
            child.stderr.take().map(|output| tokio::spawn(read(output, Arc::clone(&said)))),
        ];
        Self { child, said, readers: readers.into_iter().flatten().collect() }
    }

    /// Returns what it has printed so far.
    pub fn said(&self) -> String {
        lock(&self.said).clone()
    }

    /// Returns the process id; `None` once it has ended.
    pub fn pid(&self) -> Option<u32> {
        self.child.id()
    }

    /// Returns whether it has ended.
    pub fn has_ended(&mut self) -> bool {
        self.child.try_wait().is_ok_and(|status| status.is_some())
    }

    /// Waits until it has printed this text.
    ///
    /// # Panics
    /// When it ends without, or is late.
    pub async fn says(&self, text: &str) {
        self.says_times(1, text).await;
    }

    /// Waits until it has printed this text so many times.
    ///
    /// # Panics
    /// When it ends without, or is late.
    pub async fn says_times(&self, times: usize, text: &str) {
        eventually(&format!("{text:?} to be said"), LIMIT, || {
            // Asked first: what has ended has been read to its end.
            let has_ended = self.readers.iter().all(JoinHandle::is_finished);
            let said = self.said();
            let found = said.matches(text).count() >= times;
            assert!(found || !has_ended, "ended without saying {text:?}:\n{said}");
            std::future::ready(if found { Ok(()) } else { Err(said) })
        })
        .await;
    }

    /// Asks it to end, as Kubernetes does, and waits until it has.
    pub async fn terminate(self) -> Finished {
        self.signal("TERM").await;
        self.end(LIMIT).await
    }

    /// Holds it, as on a machine that has no time for it, until it is [`resume`](Self::resume)d.
    pub async fn pause(&self) {
        self.signal("STOP").await;
    }

    /// Lets it go on.
    pub async fn resume(&self) {
        self.signal("CONT").await;
    }

    /// Ends it as a crash would, and waits until it has.
    pub async fn kill(mut self) -> Finished {
        self.child.start_kill().expect("a process that runs can be killed");
        self.end(LIMIT).await
    }

    /// Waits until it ends by itself.
    ///
    /// # Panics
    /// When it hasn't ended within `limit`.
    pub async fn end(mut self, limit: Duration) -> Finished {
        let status = tokio::time::timeout(limit, self.child.wait()).await;
        let status = status.unwrap_or_else(|_elapsed| panic!("still runs after {limit:?}:\n{}", self.said()));
        for reader in &mut self.readers {
            reader.await.expect("reading doesn't panic");
        }
        Finished { status: status.expect("a child can be waited for"), said: self.said() }
    }

    async fn signal(&self, name: &str) {
        let Some(pid) = self.pid() else { return };
        // The shell has `kill` built in.
        let sent = Command::new("sh").args(["-c", "kill -s $1 $2", "sh", name, &pid.to_string()]).status().await;
        assert!(sent.is_ok_and(|status| status.success()), "process {pid} can't be sent {name}");
    }
}

impl Finished {
    /// Checks how it ended, and returns what it said.
    ///
    /// # Panics
    /// When the exit code is another.
    pub fn exits_with(self, code: i32) -> String {
        assert_eq!(self.status.code(), Some(code), "{}", self.said);
        self.said
    }
}

async fn read(output: impl AsyncRead + Unpin, said: Arc<Mutex<String>>) {
    let mut lines = BufReader::new(output).lines();
    while let Ok(Some(line)) = lines.next_line().await {
        let mut said = lock(&said);
        said.push_str(&line);
        said.push('\n');
    }
}

fn lock(said: &Mutex<String>) -> MutexGuard<'_, String> {
    said.lock().unwrap_or_else(PoisonError::into_inner)
}
