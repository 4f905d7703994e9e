//! Processes that are killed, at each named point and at any time, and disks that are full there.
//!
//! The short form meets each point once. The whole one, `REVERSER_SOAK=1`, kills more than 500 times.

use std::{
    collections::{HashMap, HashSet},
    env,
    ffi::OsStr,
    fs::{self, File},
    io::{BufRead, BufReader},
    os::unix::process::ExitStatusExt,
    path::{Path, PathBuf},
    process::{Child, Command, ExitStatus, Stdio},
    sync::mpsc::{Receiver, RecvTimeoutError, channel},
    thread,
    time::Duration,
};

use reverser_git::{
    BranchName, OpenError,
    remote::create_bare,
    testing::faults::{BETWEEN, ON_DISK},
};
use tempfile::TempDir;

use crate::{
    bed::{Bed, LIMIT, command, git},
    crash::process::{BATCHES, BED, last_of_batch},
};

mod full;
mod handles;
mod histories;
mod order;
pub(crate) mod process;

#[tokio::test]
async fn a_process_that_is_killed_anywhere_loses_and_doubles_nothing() {
    let mut random = Random(0x5eed);
    let times = if env::var_os("REVERSER_SOAK").is_some() { 10 } else { 1 };
    let mut rounds = Vec::new();
    for time in 0..times {
        for point in ON_DISK.into_iter().chain(BETWEEN) {
            // The n-th time on, so that it is met in other company each time.
            let most = if is_met_once(point) { 1 } else { 1 + time.min(3) };
            rounds.push(Round { point, end: End::KilledAt(1 + random.below(most)) });
        }
        for _ in 0..10 {
            rounds.push(Round { point: "any", end: End::KilledAfter(random.below(40), random.below(20_000)) });
        }
    }
    let counts = go(rounds).await;
    eprintln!("killed {} times, {} commits, {} of others", counts.rounds, counts.plans, counts.others);
    assert!(times == 1 || counts.rounds >= 500);
}

#[tokio::test]
async fn a_disk_that_is_full_anywhere_loses_and_doubles_nothing() {
    let rounds = ON_DISK.into_iter().map(|point| Round { point, end: End::FullAt(1) }).collect();
    let counts = go(rounds).await;
    eprintln!("full {} times, {} commits, {} of others", counts.rounds, counts.plans, counts.others);
}

#[tokio::test]
async fn a_state_folder_has_one_process() {
    let bed = Bed::new().await;
    let scene = Scene::at(bed.folder(""));
    let mut process = Process::start(&scene, &[], usize::MAX, None);
    process.lines_until(|said| said.iter().any(|line| line.starts_with("committed")));
    let error = bed.builder().start().await.unwrap_err();
    let id = format!("process {}", process.child.id());
    assert!(matches!(&error, OpenError::Locked { holder, .. } if *holder == id), "{error:?}, not {id}");
    process.kill();
    process.end();
    bed.finish(bed.start().await).await;
}

/// Plays the rounds in several beds at a time; each bed ends with all on the remote.
async fn go(rounds: Vec<Round>) -> Counts {
    let mut lanes: Vec<Vec<Round>> = (0..LANES).map(|_| Vec::new()).collect();
    for (number, round) in rounds.into_iter().enumerate() {
        lanes[number % LANES].push(round);
    }
    let lanes: Vec<_> = lanes.into_iter().map(|rounds| tokio::task::spawn_blocking(move || play(rounds))).collect();
    let mut counts = Counts::default();
    for lane in lanes {
        let lane = lane.await.unwrap();
        counts = Counts {
            rounds: counts.rounds + lane.rounds,
            plans: counts.plans + lane.plans,
            others: counts.others + lane.others,
        };
    }
    counts
}

fn play(rounds: Vec<Round>) -> Counts {
    let mut counts = Counts::default();
    let mut scene = Scene::new();
    for (number, round) in rounds.into_iter().enumerate() {
        // A history that stays short is looked at fast.
        if is_at_birth(round.point) || number % 30 == 29 {
            counts.add(scene.finish());
            scene = Scene::new();
        }
        scene.play(&round);
        counts.rounds += 1;
    }
    counts.add(scene.finish());
    counts
}

/// Whether a point is passed only while the repository is made.
fn is_at_birth(point: &str) -> bool {
    ["config", "head", "repository"].iter().any(|birth| point.starts_with(birth))
}

/// Whether a process comes there once, or not much oftener.
fn is_met_once(point: &str) -> bool {
    is_at_birth(point)
        || ["leftovers", "remote-seen", "consolidation", "pack-removed"].iter().any(|once| point.starts_with(once))
}

#[derive(Default)]
struct Counts {
    rounds: usize,
    plans: usize,
    others: usize,
}

impl Counts {
    fn add(&mut self, (plans, others): (usize, usize)) {
        self.plans += plans;
        self.others += others;
    }
}

#[derive(Debug)]
struct Round {
    point: &'static str,
    end: End,
}

#[derive(Debug)]
enum End {
    /// The n-th time that the process comes to the point, its disk is full.
    FullAt(usize),
    /// After so many acknowledgements and microseconds.
    KilledAfter(usize, usize),
    /// The n-th time that the process comes to the point.
    KilledAt(usize),
}

/// A remote and a state folder, and what was said of them so far.
struct Scene {
    folder: PathBuf,
    /// The last plan that was acknowledged, or found when the process was gone.
    acknowledged: Option<usize>,
    /// What somebody else has put on the remote.
    others: HashSet<String>,
    /// Gone with this.
    _owned: Option<TempDir>,
}

impl Scene {
    fn new() -> Self {
        let owned = tempfile::tempdir().unwrap();
        let remote = owned.path().join("remote.git");
        let runtime = tokio::runtime::Handle::current();
        runtime.block_on(create_bare(&remote, &BranchName::default())).unwrap();
        Self { _owned: Some(owned), ..Self::at(remote.parent().unwrap().to_owned()) }
    }

    fn at(folder: PathBuf) -> Self {
        Self { folder, acknowledged: None, others: HashSet::new(), _owned: None }
    }

    fn play(&mut self, round: &Round) {
        let (batches, fault) = match round.end {
            End::FullAt(nth) => (12, Some(format!("{}:{nth}:full", round.point))),
            End::KilledAfter(..) => (usize::MAX, None),
            End::KilledAt(nth) => (400, Some(format!("{}:{nth}", round.point))),
        };
        let _ = fs::remove_file(self.passed());
        let mut process = Process::start(self, &[], batches, fault);
        if let End::KilledAfter(acknowledgements, microseconds) = round.end {
            process.lines_until(|said| {
                said.iter().filter(|line| line.starts_with("committed")).count() > acknowledgements
            });
            process.lines_for(Duration::from_micros(microseconds as u64));
            process.kill();
        }
        let (said, status) = process.end();
        self.hear(&said);
        match round.end {
            End::FullAt(_) => {
                assert!(status.success() && said.iter().any(|line| line == "closed"), "{round:?}: {status}: {said:?}");
                let passed = fs::read_to_string(self.passed()).unwrap();
                assert!(passed.lines().any(|point| point == round.point), "{round:?} was never met: {said:?}");
                for failure in said.iter().filter(|line| line.starts_with("failed")) {
                    assert!(failure.contains(self.folder.join("state").to_str().unwrap()), "{failure}");
                }
            }
            End::KilledAfter(..) | End::KilledAt(_) => {
                let errors = fs::read_to_string(self.errors()).unwrap();
                assert_eq!(status.signal(), Some(9), "{round:?} was never met: {status}: {said:?}, {errors}");
            }
        }
        self.check(&format!("{round:?}"));
    }

    fn hear(&mut self, said: &[String]) {
        for line in said {
            if let Some(number) = line.strip_prefix("committed ") {
                self.acknowledged = Some(number.parse().unwrap());
            } else if line.starts_with("others ") {
                assert!(self.others.insert(line.clone()), "{line}");
            }
        }
    }

    /// What is on this disk and on the remote is valid, in order, and nothing that was acknowledged is missing.
    fn check(&mut self, after: &str) {
        let local = self.folder.join("state/repository.git");
        if fs::exists(local.join("HEAD")).unwrap() {
            // A git that the killed process has left may still be at work, and packs vanish while fsck looks.
            let files = fs::read_dir(&local).unwrap().map(|file| file.unwrap().path());
            let is_at_work = |file: &PathBuf| file.file_name().unwrap().to_str().unwrap().starts_with("git-at-work");
            let at_work: Vec<_> = files.filter(is_at_work).map(|file| File::open(file).unwrap()).collect();
            at_work.iter().for_each(|file| file.lock().unwrap());
            git(&local, &["fsck", "--full", "--strict", "--no-dangling"]);
        }
        let state = command(&local, &["log", "-1", "--format=%B", "refs/reverser/main"]).output().unwrap();
        let state = String::from_utf8(state.stdout).unwrap();
        let cursor = state.lines().find_map(|line| line.strip_prefix("cursor count ")?.parse::<usize>().ok());
        let plans = if state.is_empty() { Vec::new() } else { plans(&local, "refs/reverser/main^") };
        let counted: Vec<_> = cursor.into_iter().flat_map(|last| 0..=last).collect();
        assert_eq!(plans, counted, "after {after}: each plan once, in order, up to the cursor");
        assert!(cursor >= self.acknowledged, "after {after}: {:?} was acknowledged, not {cursor:?}", self.acknowledged);
        // One batch at most was on its way, and it is there as a whole.
        let first = self.acknowledged.map_or(0, |last| last + 1);
        let ends = [self.acknowledged, Some(last_of_batch(first))];
        assert!(ends.contains(&cursor), "after {after}: {cursor:?} is the end of no batch of {ends:?}");

        self.acknowledged = cursor;

        let remote = self.folder.join("remote.git");
        git(&remote, &["fsck", "--full", "--strict", "--no-dangling"]);
        if command(&remote, &["rev-parse", "--verify", "--quiet", "main"]).output().unwrap().status.success() {
            let pushed = plans_of(&remote, "main");
            assert_eq!(pushed, counted[..pushed.len()], "after {after}: the remote has each plan once, in order");
        }
    }

    /// A last process pushes what is there; returns how many plans the remote has, and how many commits of others.
    fn finish(mut self) -> (usize, usize) {
        let (said, status) = Process::start(&self, &[], 2, None).end();
        assert!(status.success(), "{status}: {said:?}");
        self.hear(&said);
        self.check("the end");
        let remote = self.folder.join("remote.git");
        let log = subjects(&remote, "main");
        let mut count = HashMap::new();
        log.iter().for_each(|subject| *count.entry(subject).or_insert(0) += 1);
        assert!(self.others.iter().all(|others| count.get(others) == Some(&1)), "{:?}: {log:?}", self.others);
        let last = self.acknowledged.unwrap();
        assert_eq!(plans_of(&remote, "main"), (0..=last).collect::<Vec<_>>());
        (last + 1, self.others.len())
    }

    /// What the last process had to complain about.
    fn errors(&self) -> PathBuf {
        self.folder.join("errors")
    }

    /// Where a process notes the points that it passes.
    fn passed(&self) -> PathBuf {
        self.folder.join("passed")
    }
}

fn plans(repository: &Path, tip: &str) -> Vec<usize> {
    if command(repository, &["rev-parse", "--verify", "--quiet", tip]).output().unwrap().status.success() {
        plans_of(repository, tip)
    } else {
        Vec::new()
    }
}

fn plans_of(repository: &Path, tip: &str) -> Vec<usize> {
    subjects(repository, tip).iter().filter_map(|subject| subject.strip_prefix("plan ")?.parse().ok()).collect()
}

/// The oldest first.
fn subjects(repository: &Path, tip: &str) -> Vec<String> {
    let log = git(repository, &["log", "--first-parent", "--reverse", "--format=%s", tip]);
    log.lines().map(str::to_owned).collect()
}

/// A process that counts, and what it says.
struct Process {
    child: Child,
    lines: Receiver<String>,
    said: Vec<String>,
}

impl Process {
    /// Starts it, by `wrapper` when there is one.
    fn start(scene: &Scene, wrapper: &[&str], batches: usize, fault: Option<String>) -> Self {
        let program = env::current_exe().unwrap();
        let words: Vec<_> = wrapper.iter().map(OsStr::new).chain([program.as_os_str()]).collect();
        let mut command = Command::new(words[0]);
        command
            .args(&words[1..])
            .args(["--exact", "crash::process::a_process_counts_in_commits", "--nocapture"])
            .env(BED, &scene.folder)
            .env(BATCHES, batches.to_string())
            .env("REVERSER_FAULT_LOG", scene.passed())
            .stdout(Stdio::piped());
        match fault {
            Some(fault) => command.env("REVERSER_FAULT", fault),
            None => command.env_remove("REVERSER_FAULT"),
        };
        let mut child = command.stderr(File::create(scene.errors()).unwrap()).spawn().unwrap();
        let (sender, lines) = channel();
        let output = BufReader::new(child.stdout.take().unwrap());
        thread::spawn(move || output.lines().map_while(Result::ok).try_for_each(|line| sender.send(line)));
        Self { child, lines, said: Vec::new() }
    }

    /// Waits for the next line.
    fn line(&mut self) {
        let line = self.lines.recv_timeout(LIMIT);
        self.said.push(line.unwrap_or_else(|error| panic!("{error} after {:?}", self.said)));
    }

    fn lines_until(&mut self, is_enough: impl Fn(&[String]) -> bool) {
        while !is_enough(&self.said) {
            self.line();
        }
    }

    /// Takes what is said in this time.
    fn lines_for(&mut self, time: Duration) {
        while let Ok(line) = self.lines.recv_timeout(time) {
            self.said.push(line);
        }
    }

    fn kill(&mut self) {
        self.child.kill().unwrap();
    }

    /// Waits for the process to end; returns what it said.
    fn end(mut self) -> (Vec<String>, ExitStatus) {
        loop {
            match self.lines.recv_timeout(LIMIT) {
                Ok(line) => self.said.push(line),
                Err(RecvTimeoutError::Disconnected) => break,
                Err(RecvTimeoutError::Timeout) => {
                    self.kill();
                    panic!("the process hangs after {:?}", self.said);
                }
            }
        }
        (std::mem::take(&mut self.said), self.child.wait().unwrap())
    }
}

/// Numbers for variety, the same in each run (xorshift; Marsaglia 2003).
struct Random(u64);

impl Random {
    fn below(&mut self, limit: usize) -> usize {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        (self.0 % limit as u64) as usize
    }
}

/// So many beds at a time: each waits for its disk most of the time.
const LANES: usize = 4;
