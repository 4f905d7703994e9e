//! The process that is killed: this test binary started again, which counts in commits.

use std::{
    collections::BTreeMap,
    env, fmt, fs,
    io::Write,
    path::{Path, PathBuf},
    process::Stdio,
};

use reverser_git::{Batch, GitSink, GitWriter, OpenError, Outcome};

use crate::bed::{LIMIT, command};

/// Told by its environment where and how long to commit; a short run of its own otherwise, which shows what it does.
#[tokio::test]
async fn a_process_counts_in_commits() {
    if let Some(folder) = env::var_os(BED) {
        let batches = env::var(BATCHES).unwrap().parse().unwrap();
        count(&PathBuf::from(folder), batches).await;
        return;
    }
    let bed = crate::bed::Bed::new().await;
    count(&bed.folder(""), 3).await;
    bed.check();
    let mut subjects = bed.subjects();
    // Where it stands is a matter of who is faster.
    subjects.retain(|subject| subject != "others 0");
    assert_eq!(subjects, ["plan 0", "plan 1", "plan 2", "plan 3"]);
}

/// Goes on where the cursor is, as a watch does, with somebody else's commit now and then. What fails is tried again, and must not be there already.
async fn count(folder: &Path, batches: usize) {
    let writer = start(folder).await;
    let cursors = writer.cursors().await.unwrap();
    let mut next = cursors.get("count").map_or(0, |last| last.parse::<usize>().unwrap() + 1);
    for number in 0..batches {
        let last = last_of_batch(next);
        let batch = batch(next..=last);
        for attempt in 0.. {
            let before = writer.cursors().await.unwrap();
            match writer.commit(batch.clone()).await {
                Ok(receipt) => {
                    let is_commit = |outcome: &Outcome| matches!(outcome, Outcome::Committed(_));
                    assert!(receipt.outcomes.iter().all(is_commit), "{next} was there: {receipt:?}");
                    break;
                }
                Err(error) => {
                    say(format_args!("failed: {error}"));
                    assert!(attempt < 3, "a disk is full once: {error:?}");
                    assert_eq!(writer.cursors().await.unwrap(), before, "a batch that failed counts");
                }
            }
        }
        say(format_args!("committed {last}"));
        if number % 10 == 0 && others_commit(folder, next).await {
            say(format_args!("others {next}"));
        }
        next = last + 1;
    }
    let closed = writer.close(LIMIT).await.unwrap();
    assert_eq!(closed.unpushed, 0, "{closed:?}");
    say(format_args!("closed"));
}

async fn start(folder: &Path) -> GitWriter {
    loop {
        let url = folder.join("remote.git").to_str().unwrap().parse().unwrap();
        let builder = GitWriter::open(url, reverser_git::Credentials::FromGit).state_dir(folder.join("state"));
        match builder.start().await {
            Ok(writer) => return writer,
            // A full disk is met once, and whoever supervises the process starts it again.
            Err(error @ (OpenError::Folder { .. } | OpenError::Store(_))) => say(format_args!("failed: {error}")),
            Err(error) => panic!("{error:?}"),
        }
    }
}

/// Returns the last number of the batch that begins with this one: batches of one, two and three.
pub(super) fn last_of_batch(first: usize) -> usize {
    first + (first / 2) % 3
}

fn batch(numbers: std::ops::RangeInclusive<usize>) -> Batch {
    let cursors = BTreeMap::from([("count".to_owned(), numbers.end().to_string())]);
    let plan = |n: usize| {
        let mut plan = crate::bed::plan(&format!("folder-{}/file-{}", n % 5, n % 40), &n.to_string());
        plan.message = format!("plan {n}");
        plan
    };
    Batch { plans: numbers.map(plan).collect(), cursors }
}

/// Somebody else commits at the remote, unless a push is faster; returns whether it was done.
pub(crate) async fn others_commit(folder: &Path, number: usize) -> bool {
    let remote = folder.join("remote.git");
    let has_branch = fs::exists(remote.join("refs/heads/main")).unwrap();
    let from = if has_branch { "from refs/heads/main^0\n" } else { "" };
    let stream = format!(
        "commit refs/heads/main\ncommitter Bob <bob@example.com> 1700000000 +0000\ndata <<END\nothers {number}\nEND\n{from}\
         M 100644 inline others/{number}\ndata <<END\n{number}\nEND\n\ndone\n"
    );
    let mut child =
        command(&remote, &["fast-import", "--quiet", "--done"]).stdin(Stdio::piped()).stderr(Stdio::null()).spawn();
    let child = child.as_mut().unwrap();
    child.stdin.take().unwrap().write_all(stream.as_bytes()).unwrap();
    child.wait().unwrap().success()
}

#[expect(clippy::print_stdout, reason = "the test that started this process reads it")]
fn say(what: fmt::Arguments<'_>) {
    println!("{what}");
}

pub(super) const BED: &str = "REVERSER_TEST_BED";
pub(super) const BATCHES: &str = "REVERSER_TEST_BATCHES";
