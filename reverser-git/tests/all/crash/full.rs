//! A disk that is full for a while: a small file system of its own where one can be mounted, and a limit on the size of
//! files anywhere.

use std::{
    env, fs, io,
    io::Write,
    path::{Path, PathBuf},
    process::Command,
    time::Duration,
};

use reverser_git::{Files, GitSink, GitWriter, Remedy, SinkError};
use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};

use crate::{
    bed::{Bed, commit, eventually, failure, git, id, plan, push, pushed},
    crash::process::others_commit,
};

#[tokio::test]
async fn a_full_disk_stops_commits_alone_and_only_until_there_is_room() {
    let bed = Bed::new().await;
    let state = bed.state_dir();
    fs::create_dir(&state).unwrap();
    let mount = "mount -t tmpfs -o size=16m tmpfs \"$0\" && exec \"$@\"";
    let own = ["unshare", "--user", "--map-root-user", "--mount", "sh", "-c", mount, state.to_str().unwrap()];
    let trial = Command::new(own[0]).args(&own[1..]).arg("true").output();
    match trial {
        Ok(output) if output.status.success() => play(&own, TMPFS, &bed),
        // Not by `eprintln!`, of which nobody sees anything while the test passes.
        trial => writeln!(io::stderr(), "no file system can be mounted here, only a limit on files is met: {trial:?}")
            .unwrap(),
    }
    fs::remove_dir_all(bed.folder("remote.git")).unwrap();
    let bed = Bed::new().await;
    play(&["sh", "-c", "trap '' XFSZ; exec \"$0\" \"$@\""], LIMIT_ON_FILES, &bed);
}

fn play(wrapper: &[&str], disk: &str, bed: &Bed) {
    let output = Command::new(wrapper[0])
        .args(&wrapper[1..])
        .arg(env::current_exe().unwrap())
        .args(["--exact", "crash::full::a_process_meets_a_full_disk", "--nocapture"])
        .env(DISK, disk)
        .env(FOLDER, bed.folder(""))
        .env("REVERSER_FAULT_LOG", bed.folder("passed"))
        .output()
        .unwrap();
    assert!(output.status.success(), "{disk}: {}", String::from_utf8_lossy(&output.stderr));
}

/// The process of the test above; alone, it has a limit on files, from which it returns.
#[tokio::test]
async fn a_process_meets_a_full_disk() {
    match env::var_os(FOLDER).map(|folder| Bed::at(Path::new(&folder))) {
        Some(bed) if env::var(DISK).unwrap() == TMPFS => {
            let disk = Disk::Own(bed.state_dir().join("ballast"));
            commits_fail_until_there_is_room(&bed, &disk).await;
            pushes_go_on_and_fetches_wait_for_room(&bed, &disk).await;
            packs_are_joined_once_there_is_room(&bed, &disk).await;
        }
        Some(bed) => {
            commits_fail_until_there_is_room(&bed, &Disk::Limit).await;
            a_join_that_finds_no_room_leaves_nothing(&bed).await;
        }
        // Not within the other tests' process, whose files have no such limit.
        None => assert!(getrlimit(Resource::Fsize).current.is_none()),
    }
}

async fn commits_fail_until_there_is_room(bed: &Bed, disk: &Disk) {
    let writer = bed.start().await;
    push(&writer, "before", "1").await;
    let (files, cursors) = (files(&bed.local()), writer.cursors().await.unwrap());
    disk.leave(0);
    for _ in 0..3 {
        let mut batch = crate::bed::batch([plan("during", "1"), plan("during-2", "1")]);
        batch.cursors.insert("count".to_owned(), "1".to_owned());
        let error = writer.commit(batch).await.unwrap_err();
        assert!(matches!(error, SinkError::Full { .. }), "{error:?}");
        assert_eq!(error.remedy(), Remedy::FixConfiguration);
        let text = error.to_string();
        assert!(text.contains(bed.local().to_str().unwrap()) && text.contains("free space"), "{text}");
        assert_eq!(writer.read(&"during".parse().unwrap()).await.unwrap(), None);
        assert_eq!(writer.cursors().await.unwrap(), cursors);
        assert_eq!(self::files(&bed.local()), files, "something is left of it");
    }
    disk.free();
    push(&writer, "during", "1").await;
    bed.finish(writer).await;
    assert_eq!(bed.subjects(), ["put before", "put during"]);
}

async fn pushes_go_on_and_fetches_wait_for_room(bed: &Bed, disk: &Disk) {
    bed.refuse_pushes();
    let writer = bed.start().await;
    commit(&writer, "waiting", "1").await;
    failure(&writer).await;
    disk.leave(0);
    bed.allow_pushes();
    let tip = |commits: usize| async move { (bed.subjects().len() == commits).then_some(()) };
    eventually("the push with a full disk", || tip(3)).await;
    writer.close(Duration::ZERO).await.unwrap();

    // A start needs no room either; what is fetched does.
    let writer = start_again(bed).await;
    writer.commit(crate::bed::batch([plan("x", "1")])).await.unwrap_err();
    disk.free();
    bed.refuse_pushes();
    let waiting = commit(&writer, "after-others", "1").await;
    failure(&writer).await;
    // Past the hook, so that ours can't be faster.
    assert!(others_commit(&bed.folder(""), 7).await);
    disk.leave(0);
    bed.allow_pushes();
    let error = eventually("the fetch that finds no room", || async {
        let error = failure(&writer).await.to_string();
        error.contains("No space left").then_some(error)
    })
    .await;
    assert!(error.contains(bed.remote().to_str().unwrap()), "{error}");
    disk.free();
    pushed(&writer, &waiting).await;
    bed.finish(writer).await;
    let subjects = ["put before", "put during", "put waiting", "others 7", "put after-others"];
    assert_eq!(bed.subjects(), subjects);
}

async fn packs_are_joined_once_there_is_room(bed: &Bed, disk: &Disk) {
    let writer = bed.start().await;
    commit(&writer, "large", &noise(400_000)).await;
    let begun = met(bed, "consolidation-begun");
    // Enough for more packs, until they are worth being joined, not for all of them once more.
    disk.leave(600_000);
    let mut last = None;
    for _ in 0..30 {
        last = Some(id(&commit(&writer, "noise", &noise(20_000)).await));
    }
    assert!(bed.packs() > 30, "{}", bed.packs());
    assert_eq!(met(bed, "consolidation-begun"), begun, "commits need the room that there is");
    disk.free();
    eventually("joined packs", || async { (bed.packs() < 8).then_some(()) }).await;
    assert_eq!(half_packs(bed), [""; 0]);
    bed.finish(writer).await;
    let tip = git(&bed.remote(), &["rev-parse", "main"]);
    assert_eq!(Some(tip.trim()), last.as_ref().map(|id| id.as_str()));
}

async fn a_join_that_finds_no_room_leaves_nothing(bed: &Bed) {
    let writer = bed.start().await;
    // Each pack has its room, and the least that are joined have not.
    limit_files(Some(30_000));
    let commits = commit_until_packs_are_joined(bed, &writer).await;
    let ended = || (met(bed, "consolidation-made") == met(bed, "consolidation-begun")).then_some(());
    eventually("the end of the join", || async { ended() }).await;
    eventually("nothing left of it", || async { half_packs(bed).is_empty().then_some(()) }).await;
    assert!(bed.packs() >= commits, "{} packs of {commits}", bed.packs());
    limit_files(None);
    // It is tried again when packs are twice as many.
    commit_until_packs_are_joined(bed, &writer).await;
    eventually("joined packs", || async { (bed.packs() < 8).then_some(()) }).await;
    bed.finish(writer).await;
}

/// Returns how many commits that took.
async fn commit_until_packs_are_joined(bed: &Bed, writer: &GitWriter) -> usize {
    let begun = met(bed, "consolidation-begun");
    for commits in 0..1_000 {
        if met(bed, "consolidation-begun") > begun {
            return commits;
        }
        commit(writer, "noise", &noise(40_000)).await;
    }
    panic!("packs aren't joined: {}", bed.packs());
}

/// How often the process came to a point.
fn met(bed: &Bed, point: &str) -> usize {
    let passed = fs::read_to_string(bed.folder("passed")).unwrap();
    passed.lines().filter(|passed| *passed == point).count()
}

/// What a git is writing, or has left.
fn half_packs(bed: &Bed) -> Vec<String> {
    let is_half = |file: &String| file.contains("/pack/tmp_pack") || file.contains("/pack/tmp_idx");
    files(&bed.local()).into_iter().filter(is_half).collect()
}

async fn start_again(bed: &Bed) -> GitWriter {
    bed.builder().start().await.unwrap_or_else(|error| panic!("with a full disk: {error:?}"))
}

/// Where the state folder is.
enum Disk {
    /// Files are limited.
    Limit,
    /// A file system of its own, with this file to fill it.
    Own(PathBuf),
}

impl Disk {
    /// Leaves so many bytes.
    fn leave(&self, bytes: u64) {
        match self {
            Self::Limit => limit_files(Some(bytes)),
            Self::Own(ballast) => {
                let mut file = fs::File::create(ballast).unwrap();
                let full = std::iter::repeat_with(|| file.write_all(&[0; 4096])).find_map(Result::err).unwrap();
                assert_eq!(full.kind(), io::ErrorKind::StorageFull);
                file.set_len(file.metadata().unwrap().len() - bytes).unwrap();
            }
        }
    }

    fn free(&self) {
        match self {
            Self::Limit => limit_files(None),
            Self::Own(ballast) => fs::remove_file(ballast).unwrap(),
        }
    }
}

fn limit_files(bytes: Option<u64>) {
    setrlimit(Resource::Fsize, Rlimit { current: bytes, maximum: None }).unwrap();
}

/// The names of all files below.
fn files(folder: &Path) -> Vec<String> {
    let mut names = Vec::new();
    for entry in fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            names.extend(files(&path));
        } else {
            names.push(path.to_str().unwrap().to_owned());
        }
    }
    names.sort();
    names
}

/// Text that zlib can't make much smaller, another one each time.
fn noise(bytes: usize) -> String {
    use std::hash::{BuildHasher, RandomState};
    let words = std::iter::repeat_with(|| format!("{:016x}", RandomState::new().hash_one(0)));
    words.take(bytes / 16).collect()
}

const DISK: &str = "REVERSER_TEST_DISK";
const FOLDER: &str = "REVERSER_TEST_FOLDER";
const LIMIT_ON_FILES: &str = "a limit on files";
const TMPFS: &str = "tmpfs";
