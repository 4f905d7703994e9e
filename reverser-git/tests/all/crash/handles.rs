//! Two writers of one branch in a process that is killed while both commit.

use std::{
    collections::BTreeMap,
    env, fs,
    path::{Path, PathBuf},
    process::{Command, Stdio},
};

use reverser_git::{Batch, GitSink, GitWriter, testing::path};

use crate::{
    bed::{Bed, LIMIT, eventually, git, plan},
    crash::process::others_commit,
};

#[tokio::test]
async fn what_either_of_two_writers_was_told_is_there_once_after_a_kill() {
    let bed = Bed::new().await;
    let rounds = if env::var_os("REVERSER_SOAK").is_some() { 100 } else { 4 };
    let points = ["batch-durable", "state-renamed", "push-answered", "replay-made", "pack-created"];
    let mut acknowledged = [None, None];
    for round in 0..rounds {
        let said = bed.folder("said");
        let mut command = Command::new(env::current_exe().unwrap());
        command.args(["--exact", "crash::handles::a_process_commits_by_two_writers", "--nocapture"]);
        command.env(FOLDER, bed.folder("")).stdout(fs::File::create(&said).unwrap()).stderr(Stdio::null());
        // Every other one is killed at any time.
        if round % 2 == 0 {
            command.env("REVERSER_FAULT", format!("{}:{}", points[round / 2 % points.len()], 1 + round % 3));
        }
        let mut child = command.spawn().unwrap();
        let lines = || fs::read_to_string(&said).unwrap().lines().map(str::to_owned).collect::<Vec<_>>();
        if round % 2 == 1 {
            let enough = 10 + round * 7 % 40;
            eventually("commits", async || (lines().len() > enough).then_some(())).await;
            child.kill().unwrap();
        }
        assert!(!child.wait().unwrap().success());
        for (handle, last) in FOLDERS.iter().zip(&mut acknowledged) {
            let told = lines().iter().rev().find_map(|line| line.strip_prefix(&format!("{handle} "))?.parse().ok());
            *last = told.or(*last);
        }
        let cursors = cursors(&bed);
        for (handle, last) in FOLDERS.iter().zip(&mut acknowledged) {
            let cursor: Option<usize> = cursors.get(*handle).copied();
            assert!(cursor >= *last && cursor <= last.map_or(Some(0), |last| Some(last + 1)), "{round}: {handle}");
            assert_eq!(plans_below(&bed.local(), "refs/reverser/main^", handle), counted(cursor), "{round}: {handle}");
            *last = cursor;
        }
    }
    bed.finish(bed.start().await).await;
    for (handle, last) in FOLDERS.iter().zip(acknowledged) {
        assert_eq!(plans_below(&bed.remote(), "main", handle), counted(last), "{handle}");
    }
}

/// The process of the test above, told by its environment where to commit; it ends by itself when it is alone.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_process_commits_by_two_writers() {
    let Some(folder) = env::var_os(FOLDER) else {
        let bed = Bed::new().await;
        count_both(&bed, 3).await;
        assert_eq!(plans_below(&bed.remote(), "main", "b"), [0, 1, 2]);
        return;
    };
    count_both(&Bed::at(Path::new(&folder)), usize::MAX).await;
}

async fn count_both(bed: &Bed, limit: usize) {
    let start = async |handle: &str| bed.builder().under(path(handle)).start().await.unwrap();
    let (a, b) = (start(FOLDERS[0]).await, start(FOLDERS[1]).await);
    let both = [(&a, FOLDERS[0]), (&b, FOLDERS[1])]
        .map(|(writer, handle)| tokio::spawn(count(writer.clone(), handle, bed.folder(""), limit)));
    for count in both {
        count.await.unwrap();
    }
    assert_eq!(a.close(LIMIT).await.unwrap().error.map(|error| error.to_string()), None);
    bed.finish(b).await;
}

/// Goes on where the cursor is, as a watch does, with somebody else's commit now and then.
async fn count(writer: GitWriter, handle: &'static str, folder: PathBuf, limit: usize) {
    let last = writer.cursors().await.unwrap().get(handle).cloned();
    let first = last.map_or(0, |last| last.parse::<usize>().unwrap() + 1);
    for n in first..limit {
        let cursors = BTreeMap::from([(handle.to_owned(), n.to_string())]);
        let mut plan = plan(&format!("file-{}", n % 7), &n.to_string());
        plan.message = format!("{handle} {n}");
        writer.commit(Batch { plans: vec![plan], cursors }).await.unwrap();
        say(&format!("{handle} {n}"));
        if n % 10 == 9 {
            others_commit(&folder, n).await;
        }
    }
}

/// The numbers of a writer's commits, the oldest first.
fn plans_below(repository: &Path, tip: &str, handle: &str) -> Vec<usize> {
    let log = git(repository, &["log", "--first-parent", "--reverse", "--format=%s", tip]);
    log.lines().filter_map(|subject| subject.strip_prefix(handle)?.strip_prefix(' ')?.parse().ok()).collect()
}

fn counted(last: Option<usize>) -> Vec<usize> {
    last.into_iter().flat_map(|last| 0..=last).collect()
}

/// What the state says of each writer.
fn cursors(bed: &Bed) -> BTreeMap<String, usize> {
    let state = git(&bed.local(), &["log", "-1", "--format=%B", "refs/reverser/main"]);
    let cursor = |line: &str| {
        let (handle, position) = line.strip_prefix("cursor ")?.split_once(' ')?;
        Some((handle.to_owned(), position.parse().ok()?))
    };
    state.lines().filter_map(cursor).collect()
}

#[expect(clippy::print_stdout, reason = "the test that started this process reads it")]
fn say(line: &str) {
    println!("{line}");
}

const FOLDER: &str = "REVERSER_TEST_FOLDER";
const FOLDERS: [&str; 2] = ["a", "b"];
