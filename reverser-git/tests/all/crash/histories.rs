//! Kills in histories that are seldom: each is made in a bed of its own, a process that goes on with it is killed at a point, and
//! another one ends it. What comes of it is the same at each point.

use std::{
    collections::BTreeMap, env, fs, os::unix::process::ExitStatusExt, path::Path, process::Command, sync::Arc,
    time::Duration,
};

use reverser_git::{
    Batch, Files, GitSink, GitWriter, MemorySigner, Note, OnConflict,
    testing::{faults::SELDOM, path},
};

use crate::bed::{Bed, LIMIT, commit, failure, git, id, plan, push};

#[tokio::test]
async fn what_is_put_aside_is_there_once() {
    let on_disk = SELDOM.into_iter().filter(|point| point.starts_with("aside-")).map(|point| format!("{point}:1"));
    let further = ["aside-folder-synced:2", "aside-created:1:full", "state-folder-synced:1:full"].map(str::to_owned);
    let points = ["replay-begun", "replay-made", "pack-created", "state-created", "state-renamed", "push-answered"];
    for fault in on_disk.chain(further).chain(soaked(&points).iter().map(|point| format!("{point}:1"))) {
        let bed = Bed::new().await;
        let writer = bed.start().await;
        push(&writer, "a", "1").await;
        push(&writer, "b", "1").await;
        bed.refuse_pushes();
        for (path, content) in [("a", "ours"), ("b", "ours"), ("c", "ours")] {
            commit(&writer, path, content).await;
        }
        leave(writer).await;
        bed.others_say("theirs", &[("a", Some("theirs"))]);
        bed.allow_pushes();
        meet(&bed, "aside", &fault);
        assert_eq!(bed.subjects(), ["put a", "put b", "theirs", "put b", "put c"], "{fault}");
        assert_eq!(bed.show("a"), "theirs");
        let branches = git(&bed.remote(), &["for-each-ref", "--format=%(refname:short)", "refs/heads"]);
        let aside: Vec<_> = branches.lines().filter(|branch| *branch != "main").collect();
        assert_eq!(aside.len(), 1, "{fault}: {branches}");
        assert_eq!(bed.log(aside[0], "%s"), ["put a", "put b", "theirs", "put a"], "{fault}");
        assert_eq!(git(&bed.local(), &["for-each-ref", "refs/aside"]), "", "{fault}");
    }
}

#[tokio::test]
async fn what_a_rewritten_history_lacks_is_written_again_once() {
    for point in ["restore-made", "state-renamed"].into_iter().chain(soaked(&[
        "replay-begun",
        "replay-made",
        "state-created",
        "seen-created",
        "push-begun",
        "push-answered",
    ])) {
        let bed = two_pushed_and_one_not().await;
        let clone = bed.others_clone();
        git(&clone, &["reset", "--quiet", "--hard", "HEAD~1"]);
        bed.others_push(&["--force"]);
        bed.allow_pushes();
        meet(&bed, "plain", &format!("{point}:1"));
        assert_eq!(bed.subjects(), ["put a", "[RESTORE] 1 file of a rewritten history", "put c"], "{point}");
        assert_eq!(bed.show("b"), "1");
    }
}

#[tokio::test]
async fn a_branch_that_is_gone_is_pushed_again_once() {
    for point in ["loss-noted", "seen-folder-synced"].into_iter().chain(soaked(&[
        "state-created",
        "state-renamed",
        "push-begun",
        "push-answered",
    ])) {
        let bed = two_pushed_and_one_not().await;
        git(&bed.remote(), &["update-ref", "-d", "refs/heads/main"]);
        bed.allow_pushes();
        meet(&bed, "plain", &format!("{point}:1"));
        assert_eq!(bed.subjects(), ["put a", "put b", "put c"], "{point}");
    }
}

#[tokio::test]
async fn contents_that_were_fetched_are_there_or_come_again() {
    for point in ["contents-fetched", "state-renamed"].into_iter().chain(soaked(&[
        "replay-begun",
        "state-created",
        "seen-created",
    ])) {
        let bed = Bed::new().await;
        git(&bed.remote(), &["config", "uploadpack.allowFilter", "true"]);
        bed.others_commit("mine/a", "1");
        bed.others_commit("mine/a", "2");
        bed.others_commit("other/b", "1");
        meet(&bed, "below", &format!("{point}:1"));
        bed.take_remote_away();
        let writer = bed.builder().under(path("mine")).start().await.unwrap();
        assert_eq!(writer.read(&path("a")).await.unwrap().as_deref(), Some(&b"2"[..]), "{point}");
        assert_eq!(writer.read(&path("c")).await.unwrap().as_deref(), Some(&b"ours"[..]), "{point}");
        writer.close(Duration::ZERO).await.unwrap();
        bed.bring_remote_back();
        let subjects = bed.subjects();
        assert_eq!(subjects.iter().filter(|subject| *subject == "put c").count(), 1, "{point}: {subjects:?}");
    }
}

#[tokio::test]
async fn commits_that_are_signed_at_the_start_are_there_once() {
    for point in ["unpushed-signed", "state-renamed"].into_iter().chain(soaked(&[
        "pack-created",
        "pack-folder-synced",
        "state-created",
        "push-begun",
        "push-answered",
    ])) {
        let bed = Bed::new().await;
        let writer = bed.start().await;
        push(&writer, "a", "1").await;
        bed.refuse_pushes();
        commit(&writer, "b", "1").await;
        commit(&writer, "c", "1").await;
        leave(writer).await;
        bed.allow_pushes();
        meet(&bed, "signed", &format!("{point}:1"));
        assert_eq!(bed.subjects(), ["put a", "put b", "put c"], "{point}");
        for unpushed in ["main", "main^"] {
            let commit = git(&bed.remote(), &["cat-file", "commit", unpushed]);
            assert!(commit.contains("\ngpgsig "), "{point}: {commit}");
        }
    }
}

#[tokio::test]
async fn notes_are_there_once_about_what_became_of_their_commits() {
    let on_the_way = ["replay-made", "state-renamed", "notes-made", "notes-pushed"];
    for point in on_the_way.into_iter().chain(soaked(&["replay-begun", "state-created", "pack-folder-synced"])) {
        let bed = Bed::new().await;
        let writer = bed.start().await;
        push(&writer, "a", "1").await;
        bed.refuse_pushes();
        for path in ["b", "c"] {
            let commit = id(&commit(&writer, path, "1").await);
            writer.note(Note { commit, text: format!("Fact: {path}") }).await.unwrap();
        }
        leave(writer).await;
        bed.others_say("theirs", &[("d", Some("1"))]);
        bed.allow_pushes();
        meet(&bed, "plain", &format!("{point}:1"));
        let log = git(&bed.remote(), &["log", "--reverse", "--notes=reverser", "--format=%s:%N", "main"]);
        let expected = "put a:\ntheirs:\nput b:Fact: b\n\nput c:Fact: c\n\n";
        assert_eq!(log, expected, "{point}");
        let notes = git(&bed.remote(), &["notes", "--ref=reverser", "list"]);
        assert_eq!(notes.lines().count(), 2, "{point}: {notes}");
    }
}

#[tokio::test]
async fn a_note_that_was_taken_survives() {
    let bed = Bed::new().await;
    let writer = bed.start().await;
    push(&writer, "a", "1").await;
    writer.close(LIMIT).await.unwrap();
    meet(&bed, "noted", "note-durable:1");
    let note = git(&bed.remote(), &["notes", "--ref=reverser", "show", "main"]);
    assert_eq!(note, "Fact: noted\n");
}

#[tokio::test]
async fn a_repository_without_a_remote_has_each_commit_once() {
    let more = ["pack-created", "index-renamed", "pack-folder-synced", "state-created", "state-folder-synced"];
    let further = ["batch-durable", "push-begun", "push-answered", "seen-created"];
    for point in
        ["state-renamed", "branch-moved", "seen-renamed"].into_iter().chain(soaked(&more)).chain(soaked(&further))
    {
        for nth in [1, 3] {
            let bed = Bed::new().await;
            meet(&bed, "local", &format!("{point}:{nth}"));
            let subjects = git(&bed.local(), &["log", "--reverse", "--format=%s", "main"]);
            assert_eq!(subjects, "put 0\nput 1\nput 2\nput 3\n", "{point}:{nth}");
        }
    }
}

/// The process of the tests above, told by its environment what to go on with; alone it begins a repository without a remote.
#[tokio::test]
async fn a_process_goes_on() {
    let Some(folder) = env::var_os(FOLDER) else {
        let bed = Bed::new().await;
        count_in_own_repository(&bed.local()).await;
        assert_eq!(git(&bed.local(), &["rev-list", "--count", "main"]), "4\n");
        return;
    };
    let bed = Bed::at(Path::new(&folder));
    let builder = match &*env::var(HOW).unwrap() {
        "aside" => bed.builder().on_conflict(OnConflict::Branch),
        "below" => bed.builder().under(path("mine")),
        "local" => return count_in_own_repository(&bed.local()).await,
        "noted" | "plain" => bed.builder(),
        "signed" => bed.builder().signer(Arc::new(MemorySigner::new())),
        other => panic!("{other}"),
    };
    let writer = loop {
        match builder.clone().start().await {
            Ok(writer) => break writer,
            // A full disk is met once, and whoever supervises the process starts it again.
            Err(error) => assert!(env::var(FAULT).is_ok_and(|fault| fault.ends_with(":full")), "{error:?}"),
        }
    };
    if env::var(HOW).unwrap() == "below" {
        commit(&writer, "c", "ours").await;
    }
    // Another one finds it there.
    if env::var(HOW).unwrap() == "noted" && env::var(FAULT).is_ok() {
        let commit = id(&commit(&writer, "b", "1").await);
        writer.note(Note { commit, text: "Fact: noted".to_owned() }).await.unwrap();
    }
    let closed = writer.close(LIMIT).await.unwrap();
    assert_eq!(closed.unpushed, 0, "{closed:?}");
}

async fn count_in_own_repository(folder: &Path) {
    let writer = GitWriter::local(folder).unwrap().start().await.unwrap();
    let first = writer.cursors().await.unwrap().get("count").map_or(0, |last| last.parse::<usize>().unwrap() + 1);
    for n in first..4 {
        let cursors = BTreeMap::from([("count".to_owned(), n.to_string())]);
        let receipt = writer.commit(Batch { plans: vec![plan(&n.to_string(), "1")], cursors }).await.unwrap();
        writer.pushed(&receipt).await.unwrap();
    }
    assert_eq!(writer.close(LIMIT).await.unwrap().unpushed, 0);
}

/// Further points, for the whole form alone.
fn soaked(points: &[&'static str]) -> Vec<&'static str> {
    if env::var_os("REVERSER_SOAK").is_some() { points.to_vec() } else { Vec::new() }
}

/// A remote that has `a` and `b` and refuses pushes, and a state folder that has `c`, too.
async fn two_pushed_and_one_not() -> Bed {
    let bed = Bed::new().await;
    let writer = bed.start().await;
    push(&writer, "a", "1").await;
    push(&writer, "b", "1").await;
    bed.refuse_pushes();
    commit(&writer, "c", "1").await;
    leave(writer).await;
    bed
}

/// Ends a writer whose commits stay here.
async fn leave(writer: GitWriter) {
    failure(&writer).await;
    writer.close(Duration::ZERO).await.unwrap();
}

/// Lets a process meet a fault, and another one none. What is on the disk after each is valid.
fn meet(bed: &Bed, how: &str, fault: &str) {
    for fault in [Some(fault), None] {
        let mut command = Command::new(env::current_exe().unwrap());
        command.args(["--exact", "crash::histories::a_process_goes_on", "--nocapture"]);
        command.env(FOLDER, bed.folder("")).env(HOW, how).env_remove(FAULT);
        command.env("REVERSER_FAULT_LOG", bed.folder("passed"));
        fault.map(|fault| command.env(FAULT, fault));
        let output = command.output().unwrap();
        let is_killed = fault.is_some_and(|fault| !fault.ends_with(":full"));
        let is_as_wanted = if is_killed { output.status.signal() == Some(9) } else { output.status.success() };
        assert!(is_as_wanted, "{how}, {fault:?}: {output:?}");
        if let Some((point, _)) = fault.and_then(|fault| fault.split_once(':')) {
            let passed = fs::read_to_string(bed.folder("passed")).unwrap();
            assert!(passed.lines().any(|passed| passed == point), "{point} was never met: {passed}");
        }
        for repository in [bed.local(), bed.remote()] {
            if repository.join("HEAD").exists() {
                git(&repository, &["fsck", "--full", "--strict", "--no-dangling"]);
            }
        }
    }
}

const FOLDER: &str = "REVERSER_TEST_FOLDER";
const HOW: &str = "REVERSER_TEST_HOW";
const FAULT: &str = "REVERSER_FAULT";
