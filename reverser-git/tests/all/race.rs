//! Writers in processes of their own and people with plain git, all on one branch at the same time.

use std::{
    collections::{BTreeMap, HashMap},
    env, fs,
    path::{Path, PathBuf},
    process::Command,
    time::{Duration, Instant},
};

use reverser_git::{Credentials, GitSink, GitWriter, KnownHosts, Secret};
use reverser_testbed::{BareRepo, GitHttp, Sshd};

use crate::bed::{LIMIT, batch, command, eventually, plan};

mod process;

use process::{Ended, WriterProcess, say};

#[tokio::test(flavor = "multi_thread")]
async fn nobody_loses_a_commit_to_a_race_over_http() {
    let server = GitHttp::start().await.unwrap();
    let repo = server.create("team.git").await.unwrap();
    race(&repo, &Address::http(server.url("team.git"))).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn nobody_loses_a_commit_to_a_race_over_ssh() {
    let server = Sshd::start().await.unwrap();
    let repo = server.create("team.git").await.unwrap();
    let folder = tempfile::tempdir().unwrap();
    let known_hosts = folder.path().join("known_hosts");
    fs::write(&known_hosts, server.known_hosts().unwrap()).unwrap();
    let key = server.key("racer", "").await.unwrap();
    race(&repo, &Address { url: server.url("team.git"), login: Some([key, known_hosts]) }).await;
}

/// Whoever has lost a race begins anew, and is behind again: the others need no more than a push.
#[tokio::test(flavor = "multi_thread")]
async fn a_writer_with_a_backlog_has_its_turn_beside_others_that_never_stop() {
    let server = GitHttp::start().await.unwrap();
    let repo = server.create("team.git").await.unwrap();
    keep_records(&repo).await;
    let (address, folder) = (Address::http(server.url("team.git")), tempfile::tempdir().unwrap());
    let mut others: Vec<_> = (0..3).map(|n| WriterProcess::start(n, &address, folder.path())).collect();
    eventually("the first push", async || repo.tip("main").await.unwrap()).await;
    let writer = address.writer(&folder.path().join("late")).await;
    let mut waits = vec![];
    for turn in 0..TURNS {
        let backlog = (0..BACKLOG).map(|n| plan(&format!("late/{n}"), &turn.to_string()));
        let (begun, before) = (Instant::now(), moves(&repo).len());
        let receipt = writer.commit(batch(backlog)).await.unwrap();
        let pushed = tokio::time::timeout(2 * LIMIT, writer.pushed(&receipt)).await;
        waits.push((begun.elapsed(), moves(&repo).len() - before));
        pushed.unwrap_or_else(|_| panic!("no turn: {waits:?}, and {:?}", writer.push_state().borrow())).unwrap();
    }
    say(&format!("turns of {BACKLOG} commits, with how often the branch moved meanwhile: {waits:?}"));
    others.iter_mut().for_each(WriterProcess::stop);
    others.into_iter().for_each(|other| drop(other.end()));
    assert_eq!(writer.close(LIMIT).await.unwrap().unpushed, 0);
    repo.fsck().await.unwrap();
}

/// Where a repository is, and how to log in there.
#[derive(Clone, Debug)]
struct Address {
    url: String,
    /// A private key and the known hosts, for ssh.
    login: Option<[PathBuf; 2]>,
}

impl Address {
    fn http(url: String) -> Self {
        Self { url, login: None }
    }

    /// Runs git as people do; returns whether it succeeded.
    fn git(&self, folder: &Path, arguments: &[&str]) -> bool {
        self.command(folder, arguments).output().unwrap().status.success()
    }

    fn command(&self, folder: &Path, arguments: &[&str]) -> Command {
        let mut command = command(folder, arguments);
        if let Some([key, known_hosts]) = &self.login {
            let options = "-F /dev/null -o BatchMode=yes -o IdentitiesOnly=yes";
            let (key, known_hosts) = (key.display(), known_hosts.display());
            command.env("GIT_SSH_COMMAND", format!("ssh {options} -o UserKnownHostsFile={known_hosts} -i {key}"));
        }
        command
    }

    async fn writer(&self, state: &Path) -> GitWriter {
        let credentials = match self.login.clone() {
            None => Credentials::FromGit,
            Some([key, known_hosts]) => Credentials::Ssh {
                key: Secret::File(key),
                passphrase: None,
                known_hosts: KnownHosts::File(known_hosts),
            },
        };
        GitWriter::open(self.url.parse().unwrap(), credentials).state_dir(state.to_owned()).start().await.unwrap()
    }
}

/// Has a repository refuse what isn't a descendant of the tip, and note each move of a branch.
async fn keep_records(repo: &BareRepo) {
    for (name, value) in
        [("receive.denyNonFastForwards", "true"), ("receive.denyDeletes", "true"), ("core.logAllRefUpdates", "always")]
    {
        repo.git(&["config", name, value]).await.unwrap();
    }
}

/// Returns each move of the branch on record: from where to where.
fn moves(repo: &BareRepo) -> Vec<(String, String)> {
    let moves = fs::read_to_string(repo.path().join("logs/refs/heads/main")).unwrap();
    moves.lines().map(|line| (line[..40].to_owned(), line[41..81].to_owned())).collect()
}

/// Lets 4 writers and 2 people commit for a while, then looks for every commit that one of them was told is there.
async fn race(repo: &BareRepo, address: &Address) {
    keep_records(repo).await;
    repo.commit_as_other("main", "README.md", "hello\n").await.unwrap();
    let folder = tempfile::tempdir().unwrap();
    let duration = if env::var_os("REVERSER_SOAK").is_some() { SOAK } else { SHORT };
    let until = Instant::now() + duration;
    let people: Vec<_> = (0..2)
        .map(|n| {
            let (clone, address) = (folder.path().join(format!("person-{n}")), address.clone());
            tokio::task::spawn_blocking(move || commit_as_person(n, &clone, &address, until))
        })
        .collect();
    let mut writers: Vec<_> = (0..4).map(|n| WriterProcess::start(n, address, folder.path())).collect();
    tokio::time::sleep_until(until.into()).await;
    // All at once, so that the last ones have the branch to themselves at last.
    writers.iter_mut().for_each(WriterProcess::stop);
    let ended: Vec<Ended> = writers.into_iter().map(WriterProcess::end).collect();
    let mut theirs = Person::default();
    for person in people {
        theirs.add(person.await.unwrap());
    }
    repo.fsck().await.unwrap();
    say(&format!("writers: {ended:?}; people: {} commits, {} refused", theirs.taken.len(), theirs.refused));
    let expected = ended.into_iter().map(|ended| (ended.name, ended.commits)).collect();
    each_is_there_once(repo, &expected).await;
    // People's commits are where they were pushed, by id.
    assert!(!theirs.taken.is_empty());
    for id in &theirs.taken {
        repo.git(&["merge-base", "--is-ancestor", id, "main"]).await.unwrap();
    }
    // Nothing was forced: each value of the branch descends from the one before it.
    let ages = ages(repo).await;
    for (from, to) in moves(repo).iter().skip(1) {
        assert!(ages[from] < ages[to], "{from}..{to} isn't forward");
    }
}

/// Each commit of each writer is on the branch once, in its order.
async fn each_is_there_once(repo: &BareRepo, expected: &BTreeMap<String, usize>) {
    let mut found: BTreeMap<String, usize> = BTreeMap::new();
    for commit in repo.log("main").await.unwrap() {
        let Some((who, number)) = commit.subject().rsplit_once(": ") else { continue };
        let next = found.entry(who.to_owned()).or_default();
        assert_eq!(number, next.to_string(), "of {who}, lost or doubled or out of order");
        *next += 1;
    }
    assert_eq!(found, *expected);
    assert!(found.values().all(|commits| *commits > 0), "{found:?}");
}

/// Returns each commit's place in the branch's history, which is a line: everybody rebases.
async fn ages(repo: &BareRepo) -> HashMap<String, usize> {
    let ids = repo.git(&["rev-list", "--reverse", "main"]).await.unwrap();
    ids.lines().enumerate().map(|(age, id)| (id.to_owned(), age)).collect()
}

/// What the remote has said to a person.
#[derive(Debug, Default)]
struct Person {
    /// The commits that it took.
    taken: Vec<String>,
    /// How many pushes it refused.
    refused: usize,
}

impl Person {
    fn add(&mut self, other: Self) {
        self.taken.extend(other.taken);
        self.refused += other.refused;
    }
}

/// Commits, rebases and pushes as people do.
fn commit_as_person(n: usize, clone: &Path, address: &Address, until: Instant) -> Person {
    let git = |arguments: &[&str]| assert!(address.git(clone, arguments), "person {n}: git {arguments:?}");
    assert!(address.git(Path::new("/"), &["clone", "--quiet", &address.url, clone.to_str().unwrap()]));
    for (name, value) in [("user.name", "Bob"), ("user.email", "bob@example.com"), ("gc.auto", "0")] {
        git(&["config", name, value]);
    }
    let mut person = Person::default();
    while Instant::now() < until || person.taken.is_empty() {
        fs::write(clone.join(format!("person-{n}")), person.taken.len().to_string()).unwrap();
        git(&["add", "--all"]);
        git(&["commit", "--quiet", "--allow-empty", "-m", &format!("person {n}")]);
        while !address.git(clone, &["push", "--quiet", "origin", "HEAD:main"]) {
            person.refused += 1;
            git(&["pull", "--quiet", "--rebase", "origin", "main"]);
            assert!(Instant::now() < until + LIMIT, "person {n} never gets a turn");
        }
        let tip = address.command(clone, &["rev-parse", "HEAD"]).output().unwrap();
        person.taken.push(String::from_utf8(tip.stdout).unwrap().trim().to_owned());
    }
    person
}

/// How long all commit, and how long with `REVERSER_SOAK` in the environment.
const SHORT: Duration = Duration::from_secs(4);
const SOAK: Duration = Duration::from_secs(60);

/// How often a writer has to wait for its turn, for two minutes at most, and how many commits have gathered meanwhile.
const TURNS: usize = 2;
const BACKLOG: usize = 20;
