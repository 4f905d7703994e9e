//! A child process that never outlives us.
//!
//! ```text
//! us ── pipe ──► sh: read go && exec server       the server's pid is known before it runs
//!  └─── pipe ──► sh: read word; "done" or kill    the watchdog
//! ```
//! A `drop`, also that of a panic, kills and reaps the server and then tells the watchdog that it is done. When we end
//! without (a signal), the pipes close, and the watchdog kills the server. `PR_SET_PDEATHSIG` would be shorter, but is
//! Linux only, is bound to the thread that started the child, and needs `unsafe`.

use std::{
    ffi::OsStr,
    fs::{self, File},
    io::{self, Write},
    os::unix::process::CommandExt,
    path::{Path, PathBuf},
    process::{self, ChildStdin, Command, ExitStatus, Stdio},
};

use crate::error::{Error, tail};

/// A running server; dropping it kills it, and returns when it has ended.
#[derive(Debug)]
pub(crate) struct Child {
    name: &'static str,
    process: process::Child,
    /// `None` once the server has been reaped and its pid means nothing any more.
    watchdog: Option<Watchdog>,
    log: PathBuf,
}

impl Child {
    /// Starts the program in a process group of its own, so that a Ctrl-C in our terminal leaves its end to us.
    /// What it prints is appended to `log`.
    pub(crate) fn start<A: AsRef<OsStr>>(
        name: &'static str,
        program: &Path,
        arguments: impl IntoIterator<Item = A>,
        log: &Path,
    ) -> Result<Self, Error> {
        let failed = |source| Error::Io { action: "start", what: program.display().to_string(), source };
        let output = File::options().create(true).append(true).open(log).map_err(Error::io("open", log))?;
        // Until it reads its line, it is a shell that ends when we do: there is no moment without a guard.
        let mut process = Command::new("sh")
            .args(["-c", r#"read -r go && exec "$@" </dev/null"#, name])
            .arg(program)
            .args(arguments)
            .stdin(Stdio::piped())
            .stdout(output.try_clone().map_err(failed)?)
            .stderr(output)
            .process_group(0)
            .spawn()
            .map_err(failed)?;
        let gate = process.stdin.take();
        let watchdog = match Watchdog::start(process.id()) {
            Ok(watchdog) => watchdog,
            Err(error) => {
                drop(gate); // ends the shell
                process.wait().map_err(failed)?;
                return Err(failed(error));
            }
        };
        let child = Self { name, process, watchdog: Some(watchdog), log: log.to_owned() };
        gate.map_or(Ok(()), |mut gate| gate.write_all(b"go\n")).map_err(failed)?;
        Ok(child)
    }

    /// Returns an error with the end of the log when the server has ended by itself.
    pub(crate) fn alive(&mut self) -> Result<(), Error> {
        let ended = self.process.try_wait().map_err(|source| Error::Io {
            action: "ask for the state of",
            what: self.name.into(),
            source,
        })?;
        match ended {
            Some(status) => Err(self.ended(status)),
            None => Ok(()),
        }
    }

    /// Returns the process id.
    pub(crate) fn id(&self) -> u32 {
        self.process.id()
    }

    /// Sends a signal, such as `STOP`.
    pub(crate) fn signal(&self, signal: &str) -> Result<(), Error> {
        let failed = |source| Error::Io { action: "signal", what: self.name.into(), source };
        // The shell has `kill` built in.
        let sent = Command::new("sh").args(["-c", "kill -s $1 $2", "sh", signal, &self.id().to_string()]).status();
        match sent.map_err(failed)? {
            status if status.success() => Ok(()),
            status => Err(failed(io::Error::other(status.to_string()))),
        }
    }

    fn ended(&mut self, status: ExitStatus) -> Error {
        self.watchdog = None;
        let log = fs::read(&self.log).unwrap_or_default();
        Error::Ended { server: self.name, status, log: self.log.clone(), tail: tail(&String::from_utf8_lossy(&log)) }
    }
}

impl Drop for Child {
    fn drop(&mut self) {
        // Both fail only for a process that has been reaped, which is what we want; a drop can't report anyway.
        let _ = self.process.kill();
        let _ = self.process.wait();
        self.watchdog = None;
    }
}

/// Kills a process by its id, unless it is dropped first.
#[derive(Debug)]
struct Watchdog {
    process: process::Child,
    pipe: Option<ChildStdin>,
}

impl Watchdog {
    fn start(pid: u32) -> io::Result<Self> {
        let mut process = Command::new("sh")
            .args(["-c", r#"read -r word; [ "$word" = done ] || kill -9 "$1""#, "watchdog", &pid.to_string()])
            // It may outlive us by a moment: it must keep neither our output open nor our folder busy.
            .stdin(Stdio::piped())
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .current_dir("/")
            .process_group(0)
            .spawn()?;
        let pipe = process.stdin.take();
        Ok(Self { process, pipe })
    }
}

impl Drop for Watchdog {
    fn drop(&mut self) {
        if let Some(mut pipe) = self.pipe.take() {
            let _ = pipe.write_all(b"done\n");
        }
        let _ = self.process.wait();
    }
}

/// Returns whether a process runs; one that has ended and that nobody has reaped does not.
#[cfg(test)]
pub(crate) fn is_running(pid: u32) -> bool {
    let signal = Command::new("kill").args(["-0", &pid.to_string()]).stderr(Stdio::null()).status();
    let is_zombie = fs::read_to_string(format!("/proc/{pid}/stat")).is_ok_and(|stat| stat.contains(") Z "));
    signal.is_ok_and(|status| status.success()) && !is_zombie
}

#[cfg(test)]
mod tests {
    use std::{
        env,
        io::{BufRead, BufReader},
        time::Duration,
    };

    use super::*;
    use crate::eventually;

    #[test]
    fn a_dropped_child_has_ended_and_left_its_log() {
        let folder = tempfile::tempdir().unwrap();
        let log = folder.path().join("log");
        let child = start_sleeper(&log);
        let pid = child.id();
        assert!(is_running(pid));
        drop(child);
        assert!(!is_running(pid));
        assert!(log.is_file());
    }

    #[tokio::test]
    async fn a_child_that_ends_by_itself_is_reported_with_its_log() {
        let folder = tempfile::tempdir().unwrap();
        let log = folder.path().join("log");
        let script = "echo no such flag >&2; exit 3";
        let mut child = Child::start("server", Path::new("/bin/sh"), ["-c", script], &log).unwrap();
        // `alive` is true until the shell has run.
        let error = eventually("the child to end", Duration::from_secs(10), || {
            let alive = child.alive();
            async move { alive.map_or_else(Ok, Err) }
        })
        .await;
        let text = error.to_string();
        assert!(text.contains("server ended with exit status: 3") && text.contains("no such flag"), "{text}");
    }

    #[tokio::test]
    async fn a_child_ends_with_a_parent_that_is_killed() {
        let folder = tempfile::tempdir().unwrap();
        let mut parent = Command::new(env::current_exe().unwrap())
            .args(["--exact", "child::tests::parent_that_is_killed", "--nocapture"])
            .env(PARENT, folder.path())
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let lines = BufReader::new(parent.stdout.take().unwrap()).lines().map(Result::unwrap);
        let pid: u32 = lines.filter_map(|line| line.split_once(PID)?.1.parse().ok()).next().unwrap();
        assert!(is_running(pid));
        parent.kill().unwrap();
        parent.wait().unwrap();
        eventually("the child to end", Duration::from_secs(10), || async move {
            if is_running(pid) { Err("running") } else { Ok(()) }
        })
        .await;
    }

    /// Not a test of its own: what [`a_child_ends_with_a_parent_that_is_killed`] runs, in a process that it can kill.
    #[test]
    fn parent_that_is_killed() {
        let Some(folder) = env::var_os(PARENT) else { return };
        let child = start_sleeper(&Path::new(&folder).join("log"));
        writeln!(io::stdout(), "\n{PID}{}", child.id()).unwrap();
        std::thread::park();
    }

    fn start_sleeper(log: &Path) -> Child {
        Child::start("sleeper", Path::new("/bin/sleep"), ["600"], log).unwrap()
    }

    const PARENT: &str = "REVERSER_TESTBED_PARENT";
    const PID: &str = "pid of the child: ";
}
