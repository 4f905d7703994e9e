use std::{
    fs,
    os::unix::process::{CommandExt, ExitStatusExt},
    process::Command,
    time::Duration,
};

use reverser_git::{
    BranchName, Credentials, Files, GitSink, GitWriter, OpenError, Outcome, RemoteError, StartAt, remote::create_bare,
    testing::path,
};

use crate::{
    bed::{Bed, batch, commit, eventually, failure, git, plan, push, pushed},
    crash::process::others_commit,
};

#[tokio::test]
async fn the_first_start_needs_the_remote() {
    let bed = Bed::new().await;
    bed.take_remote_away();
    let error = bed.builder().start().await.unwrap_err();
    assert!(matches!(error, OpenError::Remote(RemoteError::NotFound { .. })), "{error:?}");
    assert!(error.to_string().contains(bed.remote().to_str().unwrap()), "{error}");
    bed.bring_remote_back();
    bed.finish(bed.start().await).await;
}

#[tokio::test]
async fn a_folder_that_is_no_repository_is_an_error() {
    let bed = Bed::new().await;
    bed.take_remote_away();
    fs::create_dir(bed.remote()).unwrap();
    let error = bed.builder().start().await.unwrap_err();
    assert!(error.to_string().starts_with("there is no git repository at"), "{error}");
}

#[tokio::test]
async fn later_starts_go_on_without_the_remote_and_push_what_is_left() {
    let bed = Bed::new().await;
    let writer = bed.start().await;
    push(&writer, "a", "1").await;
    bed.take_remote_away();
    commit(&writer, "b", "1").await;
    assert_eq!(writer.close(Duration::ZERO).await.unwrap().unpushed, 1);

    let writer = bed.start().await;
    assert_eq!(writer.push_state().borrow().unpushed, 1);
    let receipt = commit(&writer, "c", "1").await;
    failure(&writer).await;
    bed.bring_remote_back();
    pushed(&writer, &receipt).await;
    bed.finish(writer).await;
    assert_eq!(bed.subjects(), ["put a", "put b", "put c"]);
}

#[tokio::test]
async fn a_start_pushes_what_an_earlier_run_left() {
    let bed = Bed::new().await;
    let writer = bed.start().await;
    bed.take_remote_away();
    commit(&writer, "a", "1").await;
    writer.close(Duration::ZERO).await.unwrap();
    bed.bring_remote_back();
    bed.others_commit("theirs", "1");

    let writer = bed.start().await;
    bed.finish(writer).await;
    assert_eq!(bed.subjects(), ["others: theirs", "put a"]);
}

#[tokio::test]
async fn a_start_takes_in_what_others_pushed_meanwhile() {
    let bed = Bed::new().await;
    let writer = bed.start().await;
    push(&writer, "a", "1").await;
    bed.finish(writer).await;
    bed.others_commit("theirs", "1");
    let writer = bed.start().await;
    assert_eq!(writer.read(&path("theirs")).await.unwrap().as_deref(), Some(&b"1"[..]));
    let receipt = commit(&writer, "theirs", "1").await;
    assert_eq!(receipt.outcomes, [Outcome::Unchanged]);
    bed.finish(writer).await;
}

#[tokio::test]
async fn a_push_whose_answer_was_lost_is_not_repeated() {
    let bed = Bed::new().await;
    let writer = bed.start().await;
    push(&writer, "a", "1").await;
    let seen = bed.local().join("refs/remotes/origin/main");
    let before = fs::read(&seen).unwrap();
    push(&writer, "b", "1").await;
    push(&writer, "c", "1").await;
    bed.finish(writer).await;
    bed.others_commit("theirs", "1");
    // As a crash between the remote's answer and its note leaves it.
    fs::write(&seen, before).unwrap();

    let writer = bed.start().await;
    assert_eq!(writer.push_state().borrow().unpushed, 0);
    push(&writer, "d", "1").await;
    bed.finish(writer).await;
    assert_eq!(bed.subjects(), ["put a", "put b", "put c", "others: theirs", "put d"]);
}

#[tokio::test]
async fn a_branch_that_is_absent_begins_at_the_default_branch() {
    let bed = Bed::new().await;
    bed.others_commit("theirs", "1");
    let writer = bed.builder().branch("clusters/one".parse().unwrap()).start().await.unwrap();
    assert_eq!(writer.push_state().borrow().unpushed, 0);
    push(&writer, "ours", "1").await;
    bed.finish(writer).await;
    assert_eq!(bed.log("clusters/one", "%s"), ["others: theirs", "put ours"]);
    assert_eq!(bed.subjects(), ["others: theirs"], "the default branch stays");
}

#[tokio::test]
async fn an_orphan_branch_has_our_files_alone() {
    let bed = Bed::new().await;
    bed.others_commit("theirs", "1");
    let builder = || bed.builder().branch("clusters/one".parse().unwrap()).start_at(StartAt::Orphan);
    let writer = builder().start().await.unwrap();
    push(&writer, "ours", "1").await;
    bed.finish(writer).await;
    // One that is there is gone on with.
    fs::remove_dir_all(bed.state_dir()).unwrap();
    let writer = builder().start().await.unwrap();
    push(&writer, "more", "1").await;
    bed.finish(writer).await;
    assert_eq!(bed.log("clusters/one", "%s %p")[0], "put ours ");
    assert_eq!(bed.log("clusters/one", "%s"), ["put ours", "put more"]);
    assert_eq!(git(&bed.remote(), &["ls-tree", "--name-only", "clusters/one"]), "more\nours\n");
    assert_eq!(bed.subjects(), ["others: theirs"]);
}

#[tokio::test]
async fn a_state_folder_has_one_writer() {
    let bed = Bed::new().await;
    let writer = bed.start().await;
    let error = bed.builder().start_apart().await.unwrap_err();
    assert!(matches!(error, OpenError::Locked { .. }), "{error:?}");
    let text = error.to_string();
    let holder = format!("process {}", std::process::id());
    assert!(text.contains(&holder) && text.contains(bed.state_dir().to_str().unwrap()), "{text}");
    bed.finish(writer).await;
    bed.finish(bed.start().await).await;
}

#[tokio::test]
async fn stale_locks_and_half_written_files_are_no_obstacle() {
    let bed = Bed::new().await;
    let writer = bed.start().await;
    push(&writer, "a", "1").await;
    bed.finish(writer).await;
    let local = bed.local();
    for lock in ["refs/heads/main.lock", "refs/reverser/main.lock", "refs/remotes/origin/main.lock", "packed-refs.lock"]
    {
        fs::write(local.join(lock), "").unwrap();
    }
    let half_pack = format!("objects/pack/pack-{}.pack", "1".repeat(40));
    let half_index = format!("objects/pack/pack-{}.idx", "2".repeat(40));
    let whole = fs::read_dir(local.join("objects/pack")).unwrap().map(|entry| entry.unwrap().path());
    let keep = whole.map(|pack| pack.with_extension("keep")).next().unwrap();
    fs::create_dir_all(local.join("objects/1a")).unwrap();
    fs::create_dir_all(local.join("objects/tmp_objdir-incoming-1/pack")).unwrap();
    let half = [
        "objects/pack/tmp_reverser.pack",
        "objects/pack/tmp_pack_1",
        "objects/pack/.tmp-4711-pack-1.pack",
        "objects/1a/tmp_obj_1",
        "objects/tmp_objdir-incoming-1/pack/tmp_pack_1",
        "objects/info/commit-graph.lock",
        "objects/pack/multi-pack-index.lock",
        &half_pack,
        &half_index,
        keep.to_str().unwrap(),
    ];
    for file in half {
        fs::write(local.join(file), "half").unwrap();
    }
    fs::write(local.join("refs/heads/main"), "").unwrap();

    let writer = bed.start().await;
    push(&writer, "b", "1").await;
    bed.finish(writer).await;
    assert!(!local.join("packed-refs.lock").exists());
    for file in half {
        assert!(!local.join(file).exists(), "{file}");
    }
    assert_eq!(git(&local, &["rev-parse", "main"]), git(&bed.remote(), &["rev-parse", "main"]));
}

#[tokio::test]
async fn a_shallow_remote_is_refused_with_advice() {
    let bed = Bed::new().await;
    bed.others_commit("a", "1");
    bed.others_commit("a", "2");
    let source = format!("file://{}", bed.remote().display());
    git(&bed.folder("."), &["clone", "--quiet", "--bare", "--depth=1", &source, "shallow.git"]);
    let url = bed.folder("shallow.git").to_str().unwrap().parse().unwrap();
    let error = GitWriter::open(url, Credentials::FromGit).state_dir(bed.state_dir()).start().await.unwrap_err();
    assert!(matches!(error, OpenError::Remote(RemoteError::Shallow { .. })), "{error:?}");
    assert!(error.to_string().contains("git fetch --unshallow"), "{error}");
}

#[tokio::test]
async fn a_branch_that_is_called_like_a_leftover_keeps_its_state() {
    for name in ["tmp_work", "release.keep"] {
        let bed = Bed::new().await;
        let builder = || bed.builder().branch(name.parse().unwrap());
        let writer = builder().start().await.unwrap();
        bed.take_remote_away();
        commit(&writer, "a", "1").await;
        failure(&writer).await;
        writer.close(Duration::ZERO).await.unwrap();
        let writer = builder().start().await.unwrap();
        assert_eq!(writer.push_state().borrow().unpushed, 1, "{name}");
        bed.bring_remote_back();
        writer.retry_now().await.unwrap();
        bed.finish(writer).await;
    }
}

#[tokio::test]
async fn an_empty_state_ref_is_an_error_and_no_new_beginning() {
    let bed = Bed::new().await;
    let writer = bed.start().await;
    push(&writer, "a", "1").await;
    bed.finish(writer).await;
    let state = bed.local().join("refs/reverser/main");
    let content = fs::read(&state).unwrap();
    fs::write(&state, "").unwrap();
    let error = bed.builder().start().await.unwrap_err();
    assert!(matches!(error, OpenError::Store(_)), "{error:?}");
    fs::write(&state, content).unwrap();
    bed.finish(bed.start().await).await;
}

/// What is derived from the state isn't fsynced.
#[tokio::test]
async fn a_branch_that_a_power_failure_left_empty_is_written_again() {
    let bed = Bed::new().await;
    let writer = bed.start().await;
    push(&writer, "a", "1").await;
    bed.finish(writer).await;
    let branch = bed.local().join("refs/heads/main");
    let content = fs::read(&branch).unwrap();
    fs::write(&branch, "").unwrap();
    let writer = bed.start().await;
    assert_eq!(fs::read(&branch).unwrap(), content);
    push(&writer, "b", "1").await;
    bed.finish(writer).await;
}

#[tokio::test]
async fn what_else_is_in_the_state_folder_stays() {
    let bed = Bed::new().await;
    let theirs =
        ["login-service/main.c", "login/main.c", "login.txt", "logins/1"].map(|name| bed.state_dir().join(name));
    for file in &theirs {
        fs::create_dir_all(file.parent().unwrap()).unwrap();
        fs::write(file, "theirs").unwrap();
    }
    let left = ["login/credentials", "login-2/key"].map(|name| bed.state_dir().join(name));
    for file in &left {
        fs::create_dir_all(file.parent().unwrap()).unwrap();
        fs::write(file, "secret").unwrap();
    }
    bed.finish(bed.start().await).await;
    assert!(theirs.iter().all(|file| file.exists()) && left.iter().all(|file| !file.exists()));
    assert!(!bed.state_dir().join("login-2").exists());
}

#[tokio::test]
async fn a_git_that_outlived_a_killed_writer_is_ended_before_its_locks_are_cleared() {
    let bed = Bed::new().await;
    let writer = bed.start().await;
    push(&writer, "a", "1").await;
    bed.finish(writer).await;
    // As every git of a writer has it.
    let input = fs::File::open(bed.local().join("git-at-work")).unwrap();
    input.lock_shared().unwrap();
    let mut orphan = Command::new("sleep").arg("1000").stdin(input).process_group(0).spawn().unwrap();
    let writer = bed.start().await;
    assert_eq!(orphan.wait().unwrap().signal(), Some(15));
    push(&writer, "b", "1").await;
    bed.finish(writer).await;
}

#[tokio::test]
async fn a_push_whose_answer_was_lost_is_found_below_a_commit_of_a_clock_that_is_behind() {
    let bed = Bed::new().await;
    let writer = bed.start().await;
    push(&writer, "a", "1").await;
    push(&writer, "others/7", "ours").await;
    bed.refuse_pushes();
    for path in ["b", "c"] {
        let mut batch = batch([plan(path, "1")]);
        batch.cursors.insert("source".to_owned(), path.to_owned());
        writer.commit(batch).await.unwrap();
    }
    failure(&writer).await;
    writer.close(Duration::ZERO).await.unwrap();
    // The first one has arrived.
    git(&bed.remote(), &["fetch", "--quiet", bed.local().to_str().unwrap(), "refs/reverser/main"]);
    git(&bed.remote(), &["update-ref", "refs/heads/main", "FETCH_HEAD~2"]);
    assert!(others_commit(&bed.folder(""), 7).await);
    bed.allow_pushes();
    let writer = bed.start().await;
    assert_eq!(writer.push_state().borrow().last_rewrite, None);
    assert_eq!(writer.cursors().await.unwrap().get("source").map(String::as_str), Some("c"));
    bed.finish(writer).await;
    assert_eq!(bed.subjects(), ["put a", "put others/7", "put b", "others 7", "put c"]);
    assert_eq!(bed.show("others/7"), "7\n");
}

#[tokio::test]
async fn a_writer_that_was_dropped_has_lost_nothing() {
    let bed = Bed::new().await;
    let writer = bed.start().await;
    for n in 0..20 {
        commit(&writer, &format!("file-{n}"), "x").await;
    }
    drop(writer);
    let writer = eventually("the state folder is free", || async {
        match bed.builder().start_apart().await {
            Ok(writer) => Some(writer),
            Err(OpenError::Locked { .. }) => None,
            Err(error) => panic!("{error:?}"),
        }
    })
    .await;
    bed.finish(writer).await;
    let expected: Vec<_> = (0..20).map(|n| format!("put file-{n}")).collect();
    assert_eq!(bed.subjects(), expected);
}

#[tokio::test]
async fn a_state_folder_of_another_remote_is_refused_and_says_whose_it_is() {
    let bed = Bed::new().await;
    let writer = bed.start().await;
    push(&writer, "a", "1").await;
    bed.finish(writer).await;
    let other = bed.folder("other.git");
    create_bare(&other, &BranchName::default()).await.unwrap();
    let url = other.to_str().unwrap().parse().unwrap();
    let error = GitWriter::open(url, Credentials::FromGit).state_dir(bed.state_dir()).start().await.unwrap_err();
    assert!(matches!(error, OpenError::OtherRemote { .. }), "{error:?}");
    assert!(error.to_string().contains(bed.remote().to_str().unwrap()), "{error}");
    bed.finish(bed.start().await).await;
}

#[tokio::test]
async fn a_lock_that_a_killed_fetch_left_does_not_stop_the_next_one() {
    let bed = Bed::new().await;
    let writer = bed.start().await;
    push(&writer, "a", "1").await;
    fs::create_dir_all(bed.local().join("refs/incoming")).unwrap();
    fs::write(bed.local().join("refs/incoming/main.lock"), "").unwrap();
    bed.others_commit("theirs", "1");
    push(&writer, "b", "1").await;
    bed.finish(writer).await;
    assert_eq!(bed.subjects(), ["put a", "others: theirs", "put b"]);
}

#[tokio::test]
async fn a_ref_of_the_remote_that_names_nothing_is_no_obstacle() {
    let bed = Bed::new().await;
    let writer = bed.start().await;
    push(&writer, "a", "1").await;
    bed.finish(writer).await;
    fs::write(bed.local().join("refs/remotes/origin/main"), "1".repeat(40)).unwrap();
    bed.others_commit("theirs", "1");
    let writer = bed.start().await;
    push(&writer, "b", "1").await;
    bed.finish(writer).await;
    assert_eq!(bed.subjects(), ["put a", "others: theirs", "put b"]);
}

#[tokio::test]
async fn a_state_folder_is_for_its_owner_alone() {
    use std::os::unix::fs::PermissionsExt;
    let bed = Bed::new().await;
    bed.finish(bed.start().await).await;
    assert_eq!(fs::metadata(bed.state_dir()).unwrap().permissions().mode() & 0o777, 0o700);
}
