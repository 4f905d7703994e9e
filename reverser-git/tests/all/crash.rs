//! A process that is killed: its own, which is this test binary started again.

use std::{
    env, fs,
    io::{BufRead, BufReader},
    ops::Range,
    path::{Path, PathBuf},
    process::{Command, Stdio},
    time::Duration,
};

use reverser_git::{GitSink, testing::path};

use crate::bed::{Bed, commit, git};

#[tokio::test]
async fn a_killed_process_loses_no_acknowledged_commit() {
    let bed = Bed::new().await;
    let mut acknowledged = 0;
    for round in 1..=6 {
        let mut child = Command::new(env::current_exe().unwrap())
            .args(["--exact", "crash::a_process_commits_until_it_is_killed", "--nocapture"])
            .env(BED, bed.folder("."))
            .env(NEXT, acknowledged.to_string())
            .stdout(Stdio::piped())
            .stderr(Stdio::null())
            .spawn()
            .unwrap();
        let lines = BufReader::new(child.stdout.take().unwrap()).lines();
        let counts =
            lines.map_while(Result::ok).filter_map(|line| line.strip_prefix("committed ")?.parse::<usize>().ok());
        // After another number of commits each time, so that the kill meets commits and pushes at other points.
        acknowledged = counts.take(7 * round).last().expect("the process has committed nothing") + 1;
        child.kill().unwrap();
        child.wait().unwrap();
        git(&bed.local(), &["fsck", "--full", "--strict", "--no-dangling"]);
    }
    let writer = bed.start().await;
    let cursor = writer.cursors().await.unwrap().get("count").unwrap().parse::<usize>().unwrap();
    assert!(cursor + 1 >= acknowledged, "the cursor is at {cursor}, {acknowledged} were acknowledged");
    for n in 0..acknowledged {
        assert!(writer.read(&path(&format!("file-{n}"))).await.unwrap().is_some(), "file-{n} is lost");
    }
    commit(&writer, "last", "1").await;
    bed.finish(writer).await;
    // One commit each, in order, and nothing after what the cursor says.
    let mut expected: Vec<_> = (0..=cursor).map(|n| format!("put file-{n}")).collect();
    expected.push("put last".to_owned());
    assert_eq!(bed.subjects(), expected);
}

/// The process of the test above, told by its environment where to commit; without that a few commits show what it does.
#[tokio::test]
async fn a_process_commits_until_it_is_killed() {
    let Some(folder) = env::var_os(BED).map(PathBuf::from) else {
        let bed = Bed::new().await;
        commit_counting(&absolute(&bed.folder(".")), 0..3).await;
        assert_eq!(bed.subjects(), ["put file-0", "put file-1", "put file-2"]);
        return;
    };
    let first: usize = env::var(NEXT).unwrap().parse().unwrap();
    commit_counting(&absolute(&folder), first..usize::MAX).await;
}

async fn commit_counting(folder: &Path, numbers: Range<usize>) {
    let url = folder.join("remote.git").to_str().unwrap().parse().unwrap();
    let builder = reverser_git::GitWriter::open(url, reverser_git::Credentials::FromGit);
    let writer = builder.state_dir(folder.join("state")).start().await.unwrap();
    for n in numbers {
        let mut batch = crate::bed::batch([crate::bed::plan(&format!("file-{n}"), &n.to_string())]);
        batch.cursors.insert("count".to_owned(), n.to_string());
        writer.commit(batch).await.unwrap();
        say_committed(n);
    }
    let closed = writer.close(Duration::from_secs(30)).await.unwrap();
    assert_eq!(closed.unpushed, 0, "{closed:?}");
}

#[expect(clippy::print_stdout, reason = "the test that started this process reads it")]
fn say_committed(number: usize) {
    println!("committed {number}");
}

fn absolute(path: &Path) -> PathBuf {
    fs::canonicalize(path).unwrap_or_else(|_| path.to_owned())
}

const BED: &str = "REVERSER_TEST_BED";
const NEXT: &str = "REVERSER_TEST_NEXT";
