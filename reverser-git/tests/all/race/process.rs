//! A writer in a process of its own: writers of one process would share a branch.

use std::{
    env,
    io::{BufRead, BufReader, Read},
    path::{Path, PathBuf},
    process::{Child, Command, Stdio},
    time::Duration,
};

use reverser_git::GitSink;

use super::Address;
use crate::bed::{LIMIT, batch, plan};

/// A process that commits all the time, until its input ends.
pub(super) struct WriterProcess {
    name: String,
    child: Child,
}

/// What a process has done.
#[derive(Debug)]
pub(super) struct Ended {
    pub(super) name: String,
    pub(super) commits: usize,
}

impl WriterProcess {
    pub(super) fn start(n: usize, address: &Address, folder: &Path) -> Self {
        let name = format!("writer {n}");
        let mut command = Command::new(env::current_exe().unwrap());
        command
            .args(["--exact", "race::process::a_process_commits_until_its_input_ends", "--nocapture"])
            .env(NAME, &name)
            .env(URL, &address.url)
            .env(STATE, folder.join(format!("state-{n}")))
            .stdin(Stdio::piped())
            .stdout(Stdio::piped());
        if let Some([key, known_hosts]) = &address.login {
            command.env(KEY, key).env(KNOWN_HOSTS, known_hosts);
        }
        Self { name, child: command.spawn().unwrap() }
    }

    /// Lets it commit no more.
    pub(super) fn stop(&mut self) {
        drop(self.child.stdin.take());
    }

    /// Waits until all is pushed and it has ended.
    pub(super) fn end(mut self) -> Ended {
        let lines = BufReader::new(self.child.stdout.take().unwrap()).lines().map_while(Result::ok);
        let commits = lines.filter_map(|line| line.split_once(COMMITTED)?.1.parse().ok()).last();
        assert!(self.child.wait().unwrap().success());
        Ended { name: self.name, commits: commits.expect("it says how many") }
    }
}

/// Not a test of its own: the process of the tests above it, told by its environment where to commit.
#[tokio::test(flavor = "multi_thread")]
async fn a_process_commits_until_its_input_ends() {
    let Some(state) = env::var_os(STATE).map(PathBuf::from) else { return };
    let (name, url) = (env::var(NAME).unwrap(), env::var(URL).unwrap());
    let path = |variable| env::var_os(variable).map(PathBuf::from);
    let login = path(KEY).zip(path(KNOWN_HOSTS)).map(<[_; 2]>::from);
    let writer = Address { url, login }.writer(&state).await;
    let mut ended = tokio::task::spawn_blocking(|| std::io::stdin().read_to_end(&mut vec![]));
    let mut pace = tokio::time::interval(PACE);
    let mut commits = 0;
    // Also where it is stopped before it has begun, as on a busy machine.
    while commits == 0 || !ended.is_finished() {
        // Every fifth is of a file that all of them write.
        let path = if commits % 5 == 4 { "shared".to_owned() } else { format!("{}/{}", folder(&name), commits % 50) };
        let mut plan = plan(&path, &format!("{name} {commits}"));
        plan.message = format!("{name}: {commits}\n");
        writer.commit(batch([plan])).await.unwrap();
        commits += 1;
        pace.tick().await;
    }
    (&mut ended).await.unwrap().unwrap();
    let closed = writer.close(LIMIT).await.unwrap();
    assert_eq!(closed.unpushed, 0, "{closed:?}");
    say(&format!("{COMMITTED}{commits}"));
}

/// Returns the folder of a writer's files.
fn folder(name: &str) -> String {
    name.replace(' ', "-")
}

#[expect(clippy::print_stdout, reason = "for the test that started this process, and for `--nocapture`")]
pub(super) fn say(line: &str) {
    println!("\n{line}");
}

const NAME: &str = "REVERSER_TEST_NAME";
const URL: &str = "REVERSER_TEST_URL";
const STATE: &str = "REVERSER_TEST_STATE";
const KEY: &str = "REVERSER_TEST_KEY";
const KNOWN_HOSTS: &str = "REVERSER_TEST_KNOWN_HOSTS";
const COMMITTED: &str = "committed in all: ";

/// Between two commits of a writer: what a busy cluster makes.
const PACE: Duration = Duration::from_millis(20);
