//! The state folder over a long time: packs stay few and small, nothing is lost while they are joined, and what isn't pushed
//! has a limit.

use std::{
    collections::BTreeSet,
    env, fs,
    io::Write,
    path::Path,
    process::{Command, Stdio},
    time::{Duration, Instant},
};

use reverser_git::{Credentials, Files, GitSink, GitWriter, PushPhase, SinkError, testing::path};
use reverser_testbed::write_script;

use crate::bed::{Bed, LIMIT, batch, command, commit, eventually, failure, git, plan, push};

/// The short form of the soak: `REVERSER_PACKS_PUSHES=2000 REVERSER_PACKS_FILES=10000` is the whole one.
#[tokio::test]
async fn an_always_on_writer_has_few_packs_and_little_waste() {
    let (pushes, files) = (number(PUSHES, 100), number(FILES, 1_000));
    let bed = Bed::new().await;
    import(&bed.remote(), files);
    let writer = bed.start().await;
    let (mut most, mut worst) = (0, 0.0_f64);
    for n in 0..pushes {
        push(&writer, &at(n * 7919 % files), &format!("n: {n}\n")).await;
        most = most.max(bed.packs());
        assert!(most < 50, "{most} packs after {n} pushes");
        if (n + 1) % (pushes / 5) == 0 {
            // What is being joined is there twice for a moment.
            let (bytes, ideal, waste) = eventually("packs as small as git's", async || {
                let (bytes, ideal) = (bytes(&bed.local()), bytes_repacked(&bed));
                let waste = bytes as f64 / ideal as f64;
                if waste > 1.3 {
                    say(&format!("{bytes} bytes in {} packs, {ideal} repacked", bed.packs()));
                }
                (waste <= 1.3).then_some((bytes, ideal, waste))
            })
            .await;
            worst = worst.max(waste);
            say(&format!("{} pushes: {} packs, {bytes} bytes, {ideal} repacked: {waste:.3}", n + 1, bed.packs()));
        }
    }
    say(&format!("at most {most} packs, {worst:.3} times the size of git repack -ad"));
    let unreachable = count_unreachable(&bed.local());
    assert!(unreachable < pushes, "{unreachable} of {pushes} states that newer ones replaced are still there");
    bed.finish(writer).await;
    assert_eq!(bed.subjects().len(), pushes + 1);
}

#[tokio::test]
async fn packs_are_joined_while_the_remote_is_away_too() {
    let bed = Bed::new().await;
    import(&bed.remote(), 1_000);
    let writer = bed.start().await;
    bed.take_remote_away();
    for n in 0..150 {
        commit(&writer, &at(n), &format!("n: {n}\n")).await;
    }
    eventually("few packs", async || (bed.packs() < 50).then_some(())).await;
    bed.bring_remote_back();
    bed.finish(writer).await;
    assert_eq!(bed.subjects().len(), 151);
}

/// Commits by many callers and of another writer, while packs are joined all the time.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn nothing_is_lost_while_packs_are_joined_under_load() {
    let bed = Bed::new().await;
    import(&bed.remote(), 500);
    let writer = bed.start().await;
    let callers: Vec<_> = (0..4)
        .map(|caller| {
            let writer = writer.clone();
            tokio::spawn(async move {
                for n in 0..60 {
                    let file = format!("ours/{caller}/{n}");
                    commit(&writer, &file, &file).await;
                    if n % 3 == 0 {
                        // Reads through what is being joined.
                        let read = writer.read(&path(&at(n))).await.unwrap();
                        assert!(read.is_some(), "{}", at(n));
                    }
                }
            })
        })
        .collect();
    let others = bed.builder().state_dir(bed.folder("state-2")).start_apart().await.unwrap();
    for n in 0..8 {
        push(&others, &format!("theirs/{n}"), "x").await;
    }
    assert_eq!(others.close(LIMIT).await.unwrap().unpushed, 0);
    for caller in callers {
        caller.await.unwrap();
    }
    bed.finish(writer).await;
    let subjects = bed.subjects();
    let different: BTreeSet<_> = subjects.iter().collect();
    assert_eq!((subjects.len(), different.len()), (1 + 4 * 60 + 8, 1 + 4 * 60 + 8));
}

#[tokio::test]
async fn a_process_that_is_killed_while_it_joins_packs_loses_nothing() {
    let bed = Bed::new().await;
    import(&bed.remote(), 500);
    let (folder, said) = (bed.local().join("objects/pack"), bed.folder("said"));
    let is_joining = || {
        // git's own name for a pack that isn't whole.
        let is_half = |name: fs::DirEntry| name.file_name().to_string_lossy().starts_with("tmp_pack_");
        fs::read_dir(&folder).is_ok_and(|names| names.flatten().any(is_half))
    };
    let mut next = 0;
    for _round in 0..number(KILLS, 4) {
        let mut child = Command::new(env::current_exe().unwrap())
            .args(["--exact", "packs::a_process_commits_and_joins_until_it_is_killed", "--nocapture"])
            .env(BED, bed.folder("."))
            .env(NEXT, next.to_string())
            .stdout(fs::File::create(&said).unwrap())
            .stderr(Stdio::null())
            .spawn()
            .unwrap();
        let committed = || {
            let text = fs::read_to_string(&said).unwrap();
            text.lines().rev().find_map(|line| line.strip_prefix("committed ")?.parse::<usize>().ok())
        };
        // What the one before it left is gone by then.
        eventually("commits", async || committed()).await;
        let deadline = Instant::now() + LIMIT;
        while !is_joining() {
            assert!(Instant::now() < deadline, "no packs are joined after {:?}: {:?}", committed(), files(&folder));
        }
        child.kill().unwrap();
        child.wait().unwrap();
        next = committed().unwrap() + 1;
        git(&bed.local(), &["fsck", "--full", "--strict", "--no-dangling"]);
    }
    // What a git leaves that was killed with it.
    for name in ["tmp_pack_x", "tmp_idx_x", "pack-0123.pack", "pack-0123.rev", "pack-0123.keep", "pack-0123.promisor"] {
        fs::write(folder.join(name), "half").unwrap();
    }
    let writer = bed.start().await;
    let left: Vec<_> =
        files(&folder).into_iter().filter(|name| name.starts_with("tmp_") || name.contains("0123.")).collect();
    assert_eq!(left, Vec::<String>::new());
    for n in 0..next {
        assert!(writer.read(&path(&format!("ours/{n}"))).await.unwrap().is_some(), "ours/{n} is lost");
    }
    bed.finish(writer).await;
    let subjects = bed.subjects();
    let expected: Vec<_> = (0..subjects.len() - 1).map(|n| format!("put ours/{n}")).collect();
    assert_eq!(subjects[1..], expected);
}

#[tokio::test]
async fn a_join_that_outlived_a_killed_writer_is_ended_by_the_next_start() {
    let bed = Bed::new().await;
    // So large that what is small beside it is joined alone.
    let writer = bed.start().await;
    push(&writer, "large", &noise(0, 200_000)).await;
    bed.finish(writer).await;
    let (programs, joins, ended) = (bed.folder("programs"), bed.folder("joins"), bed.folder("ended"));
    fs::create_dir(&programs).unwrap();
    let path_variable = env::var("PATH").unwrap();
    let lines = format!(
        "PATH='{path_variable}'\ncase \"$*\" in *--stdin-packs*)\ntrap 'echo >{}; exit 1' TERM\necho >{}\nsleep 1000 &\nwait\nesac\nexec git \"$@\"",
        ended.display(),
        joins.display()
    );
    write_script(&programs.join("git"), &lines).unwrap();
    let mut child = Command::new(env::current_exe().unwrap())
        .args(["--exact", "packs::a_process_commits_and_joins_until_it_is_killed", "--nocapture"])
        .env(BED, bed.folder("."))
        .env("PATH", format!("{}:{path_variable}", programs.display()))
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .spawn()
        .unwrap();
    eventually("packs that are joined", async || joins.exists().then_some(())).await;
    child.kill().unwrap();
    child.wait().unwrap();
    assert!(!ended.exists());
    let writer = bed.start().await;
    assert!(ended.exists());
    let left = files(&bed.local()).into_iter().filter(|name| name.starts_with("git-at-work-"));
    assert_eq!(left.collect::<Vec<_>>(), [""; 0]);
    bed.finish(writer).await;
}

/// The process of the tests above, told by its environment where to commit; without that a few commits show what it does.
#[tokio::test]
async fn a_process_commits_and_joins_until_it_is_killed() {
    let Some(folder) = env::var_os(BED) else {
        let bed = Bed::new().await;
        commit_counting(&bed.folder("."), 0..40).await;
        assert_eq!(bed.subjects().len(), 40);
        return;
    };
    commit_counting(Path::new(&folder), number(NEXT, 0)..usize::MAX).await;
}

async fn commit_counting(folder: &Path, numbers: std::ops::Range<usize>) {
    let folder = fs::canonicalize(folder).unwrap();
    let url = folder.join("remote.git").to_str().unwrap().parse().unwrap();
    let builder = GitWriter::open(url, Credentials::FromGit).state_dir(folder.join("state"));
    let writer = builder.start().await.unwrap();
    // The kill may have met a commit that nobody heard of.
    let first = writer.list(Some(&path("ours"))).await.unwrap().len().max(numbers.start);
    for n in first..numbers.end {
        commit(&writer, &format!("ours/{n}"), "x").await;
        say(&format!("committed {n}"));
    }
    assert_eq!(writer.close(LIMIT).await.unwrap().unpushed, 0);
}

#[tokio::test]
async fn commits_wait_at_the_limit_and_go_on_when_a_push_has_succeeded() {
    let bed = Bed::new().await;
    let start = async || bed.builder().unpushed_bytes(100_000).start().await.unwrap();
    let writer = start().await;
    // So large that packs beside it aren't joined, by which what they take would be less.
    push(&writer, "before", &noise(0, 100_000)).await;
    bed.take_remote_away();
    let taken = fill(&writer).await;
    let state = writer.push_state().borrow().clone();
    assert!(state.is_full && state.unpushed == taken, "{state:?}");
    assert!((100_000..130_000).contains(&state.unpushed_bytes), "{state:?}");

    // Whoever waits when the writer is closed hears that it wasn't taken; everything else is answered.
    let waiting = tokio::spawn({
        let writer = writer.clone();
        async move { writer.commit(batch([plan("refused", "1")])).await }
    });
    assert!(writer.read(&path("file-0")).await.unwrap().is_some());
    assert_eq!(writer.cursors().await.unwrap(), Default::default());
    assert_eq!(writer.close(Duration::ZERO).await.unwrap().unpushed, taken);
    let refused = tokio::time::timeout(LIMIT, waiting).await.unwrap().unwrap();
    assert!(matches!(refused, Err(SinkError::Closed { .. })), "{refused:?}");

    // The same after a restart: nothing lost, no room, until the remote is back.
    let writer = start().await;
    assert_eq!(writer.push_state().borrow().unpushed, taken);
    assert!(writer.push_state().borrow().unpushed_bytes > 50_000, "{:?}", *writer.push_state().borrow());
    fill(&writer).await;
    bed.bring_remote_back();
    push(&writer, "after", "1").await;
    let mut state = writer.push_state();
    let room =
        state.wait_for(|state| !state.is_full && matches!(state.phase, PushPhase::Idle) && state.unpushed_bytes == 0);
    tokio::time::timeout(LIMIT, room).await.unwrap().unwrap();
    let listed = writer.list(None).await.unwrap();
    assert!(listed.contains(&path("file-0")) && !listed.contains(&path("refused")));
    bed.finish(writer).await;
    let subjects = bed.subjects();
    assert_eq!(subjects.iter().filter(|subject| *subject == "put file-0").count(), 1);
}

#[tokio::test]
async fn a_batch_that_waits_for_room_is_committed_by_closing_when_the_push_succeeds() {
    let bed = Bed::new().await;
    let writer = bed.builder().unpushed_bytes(1).start().await.unwrap();
    push(&writer, "before", "1").await;
    bed.take_remote_away();
    commit(&writer, "taken", "1").await;
    failure(&writer).await;
    let waiting = tokio::spawn({
        let writer = writer.clone();
        async move { writer.commit(batch([plan("waiting", "1")])).await }
    });
    let mut state = writer.push_state();
    tokio::time::timeout(LIMIT, state.wait_for(|state| state.is_full)).await.unwrap().unwrap();
    bed.bring_remote_back();
    bed.finish(writer).await;
    waiting.await.unwrap().unwrap();
    assert_eq!(bed.subjects(), ["put before", "put taken", "put waiting"]);
}

/// Commits what doesn't compress until the writer says that it is full; returns how many were taken.
async fn fill(writer: &GitWriter) -> usize {
    let mut state = writer.push_state();
    for n in 0..100 {
        let content = noise(n, 1_000);
        let taken = writer.commit(batch([plan(&format!("file-{n}"), &content)]));
        tokio::select! {
            receipt = taken => drop(receipt.unwrap()),
            full = state.wait_for(|state| state.is_full) => {
                full.unwrap();
                return usize::try_from(n).unwrap();
            }
        }
    }
    panic!("not full: {:?}", *writer.push_state().borrow());
}

/// Text that zlib can make half as large, of so many words of 16 letters.
fn noise(seed: u64, words: usize) -> String {
    let mut noise = seed;
    let word = || {
        noise = noise.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(seed + 1);
        format!("{:016x}", noise.rotate_left(20))
    };
    std::iter::repeat_with(word).take(words).collect()
}

/// Makes a branch with files in folders of a thousand.
fn import(remote: &Path, files: usize) {
    let mut stream = "commit refs/heads/main\ncommitter A <a@example.com> 1700000000 +0000\ndata 4\nbase\n".to_owned();
    for n in 0..files {
        let content = format!("n: before {n}\n");
        stream.push_str(&format!("M 644 inline {}\ndata {}\n{content}\n", at(n), content.len()));
    }
    let mut import = command(remote, &["fast-import", "--quiet"]).stdin(Stdio::piped()).spawn().unwrap();
    import.stdin.take().unwrap().write_all(stream.as_bytes()).unwrap();
    assert!(import.wait().unwrap().success());
}

fn at(n: usize) -> String {
    format!("v1/configmaps/namespace-{}/object-{n:06}.yaml", n / 1_000)
}

fn bytes(repository: &Path) -> u64 {
    let folder = repository.join("objects/pack");
    files(&folder)
        .iter()
        .filter(|name| name.ends_with(".pack") || name.ends_with(".idx"))
        // Whatever is removed meanwhile counts no longer.
        .filter_map(|name| fs::metadata(folder.join(name)).ok())
        .map(|file| file.len())
        .sum()
}

/// What `git repack -ad` makes of a copy.
fn bytes_repacked(bed: &Bed) -> u64 {
    let copy = bed.folder("copy.git");
    let _ = fs::remove_dir_all(&copy);
    let status = Command::new("cp").arg("-r").arg(bed.local()).arg(&copy).status().unwrap();
    if !status.success() {
        return 1; // a pack went while it was copied
    }
    match command(&copy, &["repack", "-a", "-d", "-q"]).status().unwrap().success() {
        true => bytes(&copy),
        false => 1,
    }
}

fn count_unreachable(repository: &Path) -> usize {
    git(repository, &["fsck", "--unreachable", "--no-reflogs"]).lines().filter(|line| line.contains("commit")).count()
}

fn files(folder: &Path) -> Vec<String> {
    let entries = fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().file_name());
    entries.map(|name| name.to_string_lossy().into_owned()).collect()
}

fn number(variable: &str, otherwise: usize) -> usize {
    env::var(variable).map_or(otherwise, |number| number.parse().unwrap())
}

#[expect(clippy::print_stdout, reason = "figures for people, and for the test that started this process")]
fn say(line: &str) {
    println!("{line}");
}

const PUSHES: &str = "REVERSER_PACKS_PUSHES";
const FILES: &str = "REVERSER_PACKS_FILES";
const KILLS: &str = "REVERSER_PACKS_KILLS";
const BED: &str = "REVERSER_PACKS_BED";
const NEXT: &str = "REVERSER_PACKS_NEXT";
