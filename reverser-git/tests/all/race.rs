//! Writers in processes of their own and people with plain git, all on one branch at the same time.

use std::{
    collections::{BTreeMap, HashMap},
    env, fs,
    io::{BufRead, BufReader, Read},
    path::{Path, PathBuf},
    process::{Child, Command, Stdio},
    time::{Duration, Instant},
};

use reverser_git::{Credentials, GitSink, GitWriter};
use reverser_testbed::{BareRepo, GitHttp};

use crate::bed::{LIMIT, batch, command, git, plan};

#[tokio::test(flavor = "multi_thread")]
async fn nobody_loses_a_commit_to_a_race_over_http() {
    let server = GitHttp::start().await.unwrap();
    let repo = server.create("team.git").await.unwrap();
    race(&repo, &server.url("team.git")).await;
}

/// Lets 4 writers and 2 people commit for a while, then looks for every commit that one of them was told is there.
async fn race(repo: &BareRepo, url: &str) {
    for (name, value) in [
        // What isn't a descendant of the tip is refused here, and each move of the branch is on record.
        ("receive.denyNonFastForwards", "true"),
        ("receive.denyDeletes", "true"),
        ("core.logAllRefUpdates", "always"),
    ] {
        repo.git(&["config", name, value]).await.unwrap();
    }
    repo.commit_as_other("main", "README.md", "hello\n").await.unwrap();
    let folder = tempfile::tempdir().unwrap();
    let duration = if env::var_os("REVERSER_SOAK").is_some() { SOAK } else { SHORT };
    let until = Instant::now() + duration;
    let people: Vec<_> = (0..2)
        .map(|n| {
            let (clone, url) = (folder.path().join(format!("person-{n}")), url.to_owned());
            tokio::task::spawn_blocking(move || commit_as_person(n, &clone, &url, until))
        })
        .collect();
    let mut writers: Vec<_> = (0..4).map(|n| start_writer(n, url, &folder.path().join(format!("state-{n}")))).collect();
    tokio::time::sleep_until(until.into()).await;
    // All at once, so that the last ones have the branch to themselves at last.
    writers.iter_mut().for_each(|writer| drop(writer.stdin.take()));
    let mut expected = BTreeMap::new();
    for (n, writer) in writers.iter_mut().enumerate() {
        expected.insert(format!("writer {n}"), end(writer));
    }
    let mut theirs = vec![];
    for person in people {
        theirs.extend(person.await.unwrap());
    }
    repo.fsck().await.unwrap();

    // Each commit of each writer once, and in its order.
    let mut found: BTreeMap<String, usize> = BTreeMap::new();
    for commit in repo.log("main").await.unwrap() {
        let Some((who, number)) = commit.subject().rsplit_once(": ") else { continue };
        let next = found.entry(who.to_owned()).or_default();
        assert_eq!(number, next.to_string(), "of {who}, lost or doubled or out of order");
        *next += 1;
    }
    assert_eq!(found, expected);
    assert!(found.values().all(|commits| *commits > 0), "{found:?}");
    // People's commits are where they were pushed, by id.
    assert!(!theirs.is_empty());
    for id in &theirs {
        repo.git(&["merge-base", "--is-ancestor", id, "main"]).await.unwrap();
    }
    // Nothing was forced: each value of the branch descends from the one before it.
    let moves = fs::read_to_string(repo.path().join("logs/refs/heads/main")).unwrap();
    let moves: Vec<_> = moves.lines().map(|line| (&line[..40], &line[41..81])).collect();
    let ages = ages(repo).await;
    for (from, to) in moves.iter().skip(1) {
        assert!(ages[*from] < ages[*to], "{from}..{to} isn't forward");
    }
}

/// Returns each commit's place in the branch's history, which is a line: everybody rebases.
async fn ages(repo: &BareRepo) -> HashMap<String, usize> {
    let ids = repo.git(&["rev-list", "--reverse", "main"]).await.unwrap();
    ids.lines().enumerate().map(|(age, id)| (id.to_owned(), age)).collect()
}

/// Commits, rebases and pushes as people do; returns the commits that the remote took.
fn commit_as_person(n: usize, clone: &Path, url: &str, until: Instant) -> Vec<String> {
    git(Path::new("/"), &["clone", "--quiet", url, clone.to_str().unwrap()]);
    for (name, value) in [("user.name", "Bob"), ("user.email", "bob@example.com"), ("gc.auto", "0")] {
        git(clone, &["config", name, value]);
    }
    let mut taken = vec![];
    while Instant::now() < until || taken.is_empty() {
        fs::write(clone.join(format!("person-{n}")), taken.len().to_string()).unwrap();
        git(clone, &["add", "--all"]);
        git(clone, &["commit", "--quiet", "--allow-empty", "-m", &format!("person {n}")]);
        while !command(clone, &["push", "--quiet", "origin", "HEAD:main"]).output().unwrap().status.success() {
            git(clone, &["pull", "--quiet", "--rebase", "origin", "main"]);
            assert!(Instant::now() < until + LIMIT, "person {n} never gets a turn");
        }
        taken.push(git(clone, &["rev-parse", "HEAD"]).trim().to_owned());
    }
    taken
}

fn start_writer(n: usize, url: &str, state: &Path) -> Child {
    Command::new(env::current_exe().unwrap())
        .args(["--exact", "race::a_process_commits_until_its_input_ends", "--nocapture"])
        .env(NAME, format!("writer {n}"))
        .env(URL, url)
        .env(STATE, state)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .unwrap()
}

/// Waits for a writer's end; returns how many commits it has made.
fn end(writer: &mut Child) -> usize {
    let lines = BufReader::new(writer.stdout.take().unwrap()).lines().map_while(Result::ok);
    let commits = lines.filter_map(|line| line.split_once(COMMITTED)?.1.parse().ok()).last();
    assert!(writer.wait().unwrap().success());
    commits.expect("it says how many")
}

/// Not a test of its own: the process of the tests above, told by its environment where to commit.
#[tokio::test(flavor = "multi_thread")]
async fn a_process_commits_until_its_input_ends() {
    let Some(state) = env::var_os(STATE).map(PathBuf::from) else { return };
    let (name, url) = (env::var(NAME).unwrap(), env::var(URL).unwrap());
    let writer = GitWriter::open(url.parse().unwrap(), Credentials::FromGit).state_dir(state).start().await.unwrap();
    let mut ended = tokio::task::spawn_blocking(|| std::io::stdin().read_to_end(&mut vec![]));
    let folder = name.replace(' ', "-");
    let mut pace = tokio::time::interval(PACE);
    let mut commits = 0;
    while !ended.is_finished() {
        // Every fifth is of a file that all of them write.
        let path = if commits % 5 == 4 { "shared".to_owned() } else { format!("{folder}/{}", commits % 50) };
        let mut plan = plan(&path, &format!("{name} {commits}"));
        plan.message = format!("{name}: {commits}\n");
        writer.commit(batch([plan])).await.unwrap();
        commits += 1;
        pace.tick().await;
    }
    (&mut ended).await.unwrap().unwrap();
    let closed = writer.close(LIMIT).await.unwrap();
    assert_eq!(closed.unpushed, 0, "{closed:?}");
    say_committed(commits);
}

#[expect(clippy::print_stdout, reason = "the test that started this process reads it")]
fn say_committed(commits: usize) {
    println!("\n{COMMITTED}{commits}");
}

const NAME: &str = "REVERSER_TEST_NAME";
const URL: &str = "REVERSER_TEST_URL";
const STATE: &str = "REVERSER_TEST_STATE";
const COMMITTED: &str = "committed in all: ";

/// How long all commit, and how long with `REVERSER_SOAK` in the environment.
const SHORT: Duration = Duration::from_secs(4);
const SOAK: Duration = Duration::from_secs(60);

/// Between two commits of a writer: what a busy cluster makes.
const PACE: Duration = Duration::from_millis(20);
