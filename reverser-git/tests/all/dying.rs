//! Remotes that die in the middle of a push, or never answer. What HTTP adds to that is in the workspace's suite.

use std::{fs, time::Duration};

use reverser_git::RemoteError;
use reverser_testbed::write_script;
use rustix::process::{Pid, test_kill_process};

use crate::bed::{Bed, commit, eventually, failure, push, pushed};

#[tokio::test]
async fn a_remote_that_is_killed_before_it_moves_the_branch_gets_the_push_again() {
    let bed = Bed::new().await;
    let writer = bed.start().await;
    push(&writer, "a", "1").await;
    hook(&bed, "pre-receive", "kill -9 $PPID");
    commit(&writer, "b", "1").await;
    let error = failure(&writer).await;
    assert!(matches!(error, RemoteError::Network { .. }), "{error:?}");
    let last = commit(&writer, "c", "1").await;
    assert_eq!(bed.subjects(), ["put a"]);
    fs::remove_file(bed.remote().join("hooks/pre-receive")).unwrap();
    pushed(&writer, &last).await;
    bed.finish(writer).await;
    assert_eq!(bed.subjects(), ["put a", "put b", "put c"]);
}

#[tokio::test]
async fn a_remote_that_is_killed_after_it_moved_the_branch_is_not_pushed_to_twice() {
    let bed = Bed::new().await;
    let writer = bed.start().await;
    push(&writer, "a", "1").await;
    // Each time: no push is ever answered.
    hook(&bed, "post-receive", "kill -9 $PPID");
    for path in ["b", "c"] {
        push(&writer, path, "1").await;
    }
    bed.finish(writer).await;
    assert_eq!(bed.subjects(), ["put a", "put b", "put c"]);
}

#[tokio::test]
async fn a_push_to_a_remote_that_hangs_is_ended_and_tried_again() {
    let bed = Bed::new().await;
    let writer = bed.builder().transfer_limit(Duration::from_secs(2)).start().await.unwrap();
    push(&writer, "a", "1").await;
    let pid_file = bed.folder("pid");
    hook(&bed, "pre-receive", &format!("echo $$ >{}; exec sleep 1000", pid_file.display()));
    let last = commit(&writer, "b", "1").await;
    let error = failure(&writer).await;
    assert!(matches!(error, RemoteError::TimeOut { .. }), "{error:?}");
    // On a busy machine it isn't the first push that gets as far as the hook.
    let pid =
        eventually("the hook", async || Pid::from_raw(fs::read_to_string(&pid_file).ok()?.trim().parse().ok()?)).await;
    eventually("what hangs on this machine ends too", || async { test_kill_process(pid).err() }).await;
    fs::remove_file(bed.remote().join("hooks/pre-receive")).unwrap();
    pushed(&writer, &last).await;
    bed.finish(writer).await;
    assert_eq!(bed.subjects(), ["put a", "put b"]);
}

fn hook(bed: &Bed, name: &str, command: &str) {
    let hook = bed.remote().join("hooks").join(name);
    fs::create_dir_all(hook.parent().unwrap()).unwrap();
    write_script(&hook, command).unwrap();
}
