//! Facts that come after their commits: as notes that git shows, beside those of others.

use std::time::Duration;

use reverser_git::{CommitId, Credentials, GitSink, GitWriter, GitWriterBuilder, Note, RemoteError, RemoteUrl};
use reverser_testbed::GitHttp;

use crate::{
    bed::{Bed, LIMIT, batch, commit, failure, git, id, plan, push, pushed},
    log::Log,
};

async fn note(writer: &GitWriter, commit: &CommitId, text: &str) {
    writer.note(Note { commit: commit.clone(), text: text.to_owned() }).await.unwrap();
}

/// Waits until all notes are on the remote.
async fn sent(writer: &GitWriter) {
    let mut state = writer.push_state();
    let sent = state.wait_for(|state| state.unpushed_notes == 0);
    let sent = tokio::time::timeout(LIMIT, sent).await.map(|sent| sent.map(|_| ()));
    sent.unwrap_or_else(|_| panic!("not sent: {:?}", *writer.push_state().borrow())).unwrap();
}

/// Subjects with what is noted about them, the oldest first.
fn noted(bed: &Bed) -> Vec<String> {
    let log = git(&bed.remote(), &["log", "--reverse", "--notes=reverser", "-z", "--format=%s:%N", "main"]);
    log.trim_end_matches('\0').split('\0').map(|entry| entry.trim_end().to_owned()).collect()
}

#[tokio::test]
async fn facts_about_a_commit_are_paragraphs_of_its_note_and_wait_until_it_is_pushed() {
    let bed = Bed::new().await;
    let writer = bed.start().await;
    push(&writer, "a", "1").await;
    bed.hold_pushes();
    let receipt = commit(&writer, "b", "1").await;
    for text in ["Fact: 1\nMore: x", "Fact: 2", "Fact: 1\nMore: x\n", "Fact: 2"] {
        note(&writer, &id(&receipt), text).await;
    }
    let local = git(&bed.local(), &["for-each-ref", "refs/notes"]);
    assert_eq!((writer.push_state().borrow().unpushed_notes, local.as_str()), (1, ""));
    bed.allow_pushes();
    sent(&writer).await;
    assert_eq!(noted(&bed), ["put a:", "put b:Fact: 1\nMore: x\n\nFact: 2"]);
    let committer = git(&bed.remote(), &["log", "-1", "--format=%an %ae %cn %ce", "refs/notes/reverser"]);
    assert_eq!(committer, "bot bot@example.com bot bot@example.com\n");
    // Here, too, and another run has nothing to add.
    let log = git(&bed.local(), &["notes", "--ref=reverser", "show", id(&receipt).as_str()]);
    assert_eq!(log, "Fact: 1\nMore: x\n\nFact: 2\n");
    bed.finish(writer).await;
    let tip = git(&bed.remote(), &["rev-parse", "refs/notes/reverser"]);
    let writer = bed.start().await;
    note(&writer, &id(&receipt), "Fact: 2").await;
    sent(&writer).await;
    assert_eq!(git(&bed.remote(), &["rev-parse", "refs/notes/reverser"]), tip);
    note(&writer, &id(&receipt), "Fact: 3").await;
    bed.finish(writer).await;
    assert_eq!(noted(&bed)[1], "put b:Fact: 1\nMore: x\n\nFact: 2\n\nFact: 3", "a writer's end waits for notes");
}

#[tokio::test]
async fn a_note_follows_its_commit_onto_somebody_elses_and_goes_with_one_that_is_dropped() {
    let bed = Bed::new().await;
    let writer = bed.start().await;
    push(&writer, "a", "1").await;
    let mut ids = Vec::new();
    for round in 0..3 {
        bed.refuse_pushes();
        let paths = [format!("kept-{round}"), format!("late-{round}"), format!("same-{round}")];
        for path in &paths {
            ids.push(id(&commit(&writer, path, "1").await));
        }
        note(&writer, &ids[3 * round], &format!("Fact: {}", paths[0])).await;
        note(&writer, &ids[3 * round + 2], "Fact: of nothing").await;
        failure(&writer).await;
        bed.others_say(&format!("theirs {round}"), &[(&paths[2], Some("1"))]);
        bed.allow_pushes();
        writer.retry_now().await.unwrap();
        let receipt = commit(&writer, &format!("after-{round}"), "1").await;
        pushed(&writer, &receipt).await;
        // By the id that it once had.
        note(&writer, &ids[3 * round + 1], &format!("Fact: {}", paths[1])).await;
        note(&writer, &ids[3 * round + 2], "Fact: of nothing").await;
    }
    sent(&writer).await;
    let expected: Vec<_> = (0..3)
        .flat_map(|round| {
            let kept = |path: &str| format!("put {path}-{round}:Fact: {path}-{round}");
            [format!("theirs {round}:"), kept("kept"), kept("late"), format!("put after-{round}:")]
        })
        .collect();
    assert_eq!(noted(&bed)[1..], expected);
    assert_eq!(git(&bed.remote(), &["notes", "--ref=reverser", "list"]).lines().count(), 6, "of no other commit");
    bed.finish(writer).await;
}

#[tokio::test]
async fn waiting_notes_survive_a_restart_and_old_ids_are_known_after_one() {
    let bed = Bed::new().await;
    let writer = bed.start().await;
    push(&writer, "a", "1").await;
    bed.refuse_pushes();
    let (first, second) = (id(&commit(&writer, "b", "1").await), id(&commit(&writer, "c", "1").await));
    note(&writer, &first, "Fact: b").await;
    failure(&writer).await;
    writer.close(Duration::ZERO).await.unwrap();
    bed.others_commit("d", "1");
    bed.allow_pushes();
    let writer = bed.start().await;
    assert_eq!(writer.push_state().borrow().unpushed_notes, 1);
    sent(&writer).await;
    bed.finish(writer).await;
    // The run that has replayed it is over.
    let writer = bed.start().await;
    note(&writer, &second, "Fact: c").await;
    note(&writer, &second, "Fact: more").await;
    sent(&writer).await;
    assert_eq!(noted(&bed), ["put a:", "others: d:", "put b:Fact: b", "put c:Fact: c\n\nFact: more"]);
    bed.finish(writer).await;
}

// The server is on another thread than the gits that are waited for.
#[tokio::test(flavor = "multi_thread")]
async fn notes_of_several_writers_and_of_people_are_all_there() {
    let server = GitHttp::start().await.unwrap();
    server.create("notes").await.unwrap();
    let url = || -> RemoteUrl { server.url("notes").parse().unwrap() };
    let beds = [Bed::new().await, Bed::new().await];
    let builder =
        |bed: &Bed| -> GitWriterBuilder { GitWriter::open(url(), Credentials::FromGit).state_dir(bed.state_dir()) };
    let people = beds[0].folder("people");
    let first = builder(&beds[0]).start_apart().await.unwrap();
    push(&first, "a", "1").await;
    let second = builder(&beds[1]).start_apart().await.unwrap();
    git(&beds[0].folder(""), &["clone", "--quiet", &server.url("notes"), "people"]);
    for option in [["user.name", "Ann"], ["user.email", "ann@example.com"]] {
        git(&people, &["config", option[0], option[1]]);
    }
    let write = async |writer: GitWriter, name: &'static str| {
        let mut commits = Vec::new();
        for n in 0..10 {
            let receipt = commit(&writer, &format!("{name}-{n}"), "1").await;
            note(&writer, &id(&receipt), &format!("Fact: {name}-{n}")).await;
            commits.push(id(&receipt));
            if n % 4 == 0 {
                pushed(&writer, &receipt).await;
            }
        }
        (writer, commits)
    };
    let person = tokio::task::spawn_blocking({
        let people = people.clone();
        move || {
            for n in 0..3 {
                loop {
                    git(&people, &["fetch", "--quiet", "origin", "+refs/notes/*:refs/notes/*"]);
                    git(&people, &["notes", "--ref=reverser", "append", "-m", &format!("Seen: {n}"), "HEAD"]);
                    let push = crate::bed::command(&people, &["push", "--quiet", "origin", "refs/notes/reverser"]);
                    if { push }.output().unwrap().status.success() {
                        break;
                    }
                }
            }
        }
    });
    let ((first, _), (second, _)) = tokio::join!(write(first, "one"), write(second, "two"));
    person.await.unwrap();
    for writer in [&first, &second] {
        writer.pushed(&commit(writer, "end", "1").await).await.unwrap();
        sent(writer).await;
    }
    git(&people, &["fetch", "--quiet", "origin", "+refs/notes/*:refs/notes/*", "main:theirs"]);
    let log = git(&people, &["log", "--notes=reverser", "-z", "--format=%s:%N", "theirs"]);
    let entries: Vec<_> = log.split('\0').map(str::trim_end).collect();
    for name in ["one", "two"] {
        for n in 0..10 {
            assert!(entries.contains(&&*format!("put {name}-{n}:Fact: {name}-{n}")), "{name}-{n}: {entries:#?}");
        }
    }
    assert!(entries.contains(&"put a:Seen: 0\n\nSeen: 1\n\nSeen: 2"), "{entries:#?}");
    // Nothing was forced away: each of the remote's notes commits has the one before.
    assert_eq!(git(&people, &["rev-list", "--max-parents=0", "--count", "refs/notes/reverser"]), "1\n");
    for writer in [first, second] {
        assert_eq!(writer.close(LIMIT).await.unwrap().unpushed, 0);
    }
    git(&people, &["fsck", "--strict", "--no-dangling"]);
}

#[tokio::test(flavor = "current_thread")]
async fn a_server_that_takes_no_notes_is_told_of_once_and_the_branch_goes_on() {
    let (bed, log) = (Bed::new().await, Log::begin());
    let writer = bed.start().await;
    git(&bed.remote(), &["config", "receive.hideRefs", "refs/notes"]);
    let receipt = commit(&writer, "a", "1").await;
    note(&writer, &id(&receipt), "Fact: a").await;
    let mut state = writer.push_state();
    for n in 0..3 {
        let refused = state.wait_for(|state| state.notes_error.is_some());
        let error = tokio::time::timeout(LIMIT, refused).await.unwrap().unwrap().notes_error.clone().unwrap();
        assert!(matches!(error, RemoteError::NotesRefused { .. }), "{error:?}");
        assert!(error.to_string().contains("refs/notes/reverser: deny updating a hidden ref"), "{error}");
        push(&writer, &format!("b-{n}"), "1").await;
        writer.retry_now().await.unwrap();
    }
    assert_eq!(log.text().matches("notes could not be pushed").count(), 1);
    git(&bed.remote(), &["config", "--unset", "receive.hideRefs"]);
    writer.retry_now().await.unwrap();
    sent(&writer).await;
    assert!(writer.push_state().borrow().notes_error.is_none());
    assert_eq!(noted(&bed)[0], "put a:Fact: a");
    bed.finish(writer).await;
}

#[tokio::test]
async fn texts_that_a_partial_copy_lacks_are_fetched_before_they_are_joined() {
    let bed = Bed::new().await;
    git(&bed.remote(), &["config", "uploadpack.allowFilter", "true"]);
    bed.others_commit("other/a", "1");
    let writer = bed.builder().under("mine".parse().unwrap()).start().await.unwrap();
    let receipt = commit(&writer, "b", "1").await;
    pushed(&writer, &receipt).await;
    let clone = bed.others_clone();
    git(&clone, &["notes", "--ref=reverser", "add", "-m", "Seen: yes", "HEAD"]);
    git(&clone, &["push", "--quiet", "origin", "refs/notes/reverser"]);
    note(&writer, &id(&receipt), "Fact: b").await;
    sent(&writer).await;
    assert_eq!(noted(&bed), ["others: other/a:", "put b:Seen: yes\n\nFact: b"]);
    bed.finish(writer).await;
}

#[tokio::test]
async fn a_repository_without_a_remote_has_its_notes() {
    let bed = Bed::new().await;
    let writer = GitWriter::local(&bed.remote()).unwrap().start().await.unwrap();
    let receipt = commit(&writer, "a", "1").await;
    note(&writer, &id(&receipt), "Fact: a").await;
    sent(&writer).await;
    git(
        &bed.remote(),
        &["-c", "user.name=Ann", "-c", "user.email=a@b.c", "notes", "--ref=reverser", "append", "-m", "Seen", "main"],
    );
    note(&writer, &id(&receipt), "Fact: b").await;
    sent(&writer).await;
    assert_eq!(noted(&bed), ["put a:Fact: a\n\nSeen\n\nFact: b"]);
    bed.finish_local(writer).await;
}

#[tokio::test]
async fn hundreds_of_notes_are_one_push() {
    let bed = Bed::new().await;
    let writer = bed.start().await;
    bed.hold_pushes();
    let plans = (0..600).map(|n| plan(&format!("{}/{n}", n / 50), "1"));
    let receipt = writer.commit(batch(plans)).await.unwrap();
    let notes = receipt.outcomes.iter().map(|outcome| {
        let reverser_git::Outcome::Committed(commit) = outcome else { panic!("{outcome:?}") };
        let writer = writer.clone();
        let commit = commit.clone();
        tokio::spawn(async move { note(&writer, &commit, &format!("Fact: {commit}")).await })
    });
    for noted in notes.collect::<Vec<_>>() {
        noted.await.unwrap();
    }
    bed.allow_pushes();
    sent(&writer).await;
    assert_eq!(git(&bed.remote(), &["notes", "--ref=reverser", "list"]).lines().count(), 600);
    assert_eq!(git(&bed.remote(), &["rev-list", "--count", "refs/notes/reverser"]), "1\n");
    bed.finish(writer).await;
}
