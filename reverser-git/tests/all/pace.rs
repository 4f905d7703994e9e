//! Fewer pushes, for users who want that.

use std::{num::NonZeroUsize, time::Duration};

use reverser_git::{GitWriter, PushPhase};

use crate::bed::{Bed, LIMIT, commit, git, push};

/// Longer than any test.
const LONG: Duration = Duration::from_secs(100_000);

/// Returns how often the remote's branch has moved.
fn pushes(bed: &Bed) -> usize {
    git(&bed.remote(), &["reflog", "show", "--format=%h", "main"]).lines().count()
}

async fn bed() -> Bed {
    let bed = Bed::new().await;
    git(&bed.remote(), &["config", "core.logAllRefUpdates", "always"]);
    bed
}

/// Waits until commits rest although no push is under way and none has failed.
async fn rests(writer: &GitWriter, commits: usize) {
    let mut state = writer.push_state();
    let rests = state.wait_for(|state| state.unpushed == commits && matches!(state.phase, PushPhase::Idle));
    tokio::time::timeout(LIMIT, rests).await.expect("nothing rests").unwrap();
}

async fn all_is_pushed(writer: &GitWriter) {
    let mut state = writer.push_state();
    let pushed = state.wait_for(|state| state.unpushed == 0);
    tokio::time::timeout(LIMIT, pushed).await.expect("not pushed").unwrap();
}

#[tokio::test]
async fn commits_after_a_push_wait_until_they_are_enough() {
    let bed = bed().await;
    let writer = bed.builder().push_interval(LONG).push_max_commits(NonZeroUsize::new(3).unwrap());
    let writer = writer.start().await.unwrap();
    commit(&writer, "a", "1").await;
    all_is_pushed(&writer).await;
    for (number, path) in ["b", "c"].into_iter().enumerate() {
        commit(&writer, path, "1").await;
        rests(&writer, number + 1).await;
    }
    commit(&writer, "d", "1").await;
    all_is_pushed(&writer).await;
    assert_eq!(pushes(&bed), 2);
    bed.finish(writer).await;
    assert_eq!(bed.subjects(), ["put a", "put b", "put c", "put d"]);
}

#[tokio::test]
async fn whoever_waits_for_a_push_and_whoever_closes_need_not_wait() {
    let bed = bed().await;
    let writer = bed.builder().push_interval(LONG).start().await.unwrap();
    for path in ["a", "b", "c"] {
        push(&writer, path, "1").await;
    }
    assert_eq!(pushes(&bed), 3);
    commit(&writer, "d", "1").await;
    rests(&writer, 1).await;
    bed.finish(writer).await;
    assert_eq!(bed.subjects().len(), 4);
}

#[tokio::test]
async fn what_waits_goes_out_when_the_interval_is_over() {
    let bed = bed().await;
    let writer = bed.builder().push_interval(Duration::from_secs(1)).start().await.unwrap();
    push(&writer, "a", "1").await;
    // Nothing else happens that could wake the writer.
    commit(&writer, "b", "1").await;
    all_is_pushed(&writer).await;
    bed.finish(writer).await;
}

#[tokio::test]
async fn what_an_earlier_run_left_goes_out_at_once() {
    let bed = bed().await;
    let writer = bed.builder().push_interval(LONG).start().await.unwrap();
    push(&writer, "a", "1").await;
    commit(&writer, "b", "1").await;
    rests(&writer, 1).await;
    writer.close(Duration::ZERO).await.unwrap();
    let writer = bed.builder().push_interval(LONG).start().await.unwrap();
    all_is_pushed(&writer).await;
    bed.finish(writer).await;
}
