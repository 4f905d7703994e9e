//! Commits a second, and what one takes on disk.

use std::time::Duration;

use reverser_core::{CommitPlan, Edit};

use crate::{
    Size,
    bed::{self, Bed, Layout},
    fast_import::FastImport,
    print,
};

/// One file updated by each commit, in repositories of few and of many files.
pub(crate) async fn single_updates(size: Size) {
    let mut smallest = None;
    for files in size.files {
        let edit = |turn, n| bed::update(Layout::Spread, n, files, turn, size.commits);
        let measured = measure(Layout::Spread, files, size.commits, size.turns, edit).await;
        measured.print(&format!("{files} files, {} updates", size.commits), 3.0);
        let cost = measured.ours.div_duration_f64(*smallest.get_or_insert(measured.ours));
        print(&format!("  cost of a commit: ratio {cost:.2} to that with {} files (limit 2)", size.files[0]));
    }
}

/// Updates that look different enough to have to be read as YAML, both versions, before they count as changes.
pub(crate) async fn rollouts(size: Size) {
    let files = size.files[1];
    let edit = |turn, n| bed::rollout(Layout::Spread, n, files, turn, size.commits);
    let measured = measure(Layout::Spread, files, size.commits, size.turns, edit).await;
    measured.print(&format!("{files} files, {} updates of several lines, read as YAML", size.commits), 3.0);
}

/// Folders as large as they should be at most.
pub(crate) async fn wide(size: Size) {
    let files = size.files[2];
    let edit = |turn, n| bed::update(Layout::Wide, n, files, turn, size.commits);
    let measured = measure(Layout::Wide, files, size.commits, size.turns, edit).await;
    measured.print(&format!("{files} files, 1000 in a folder, {} updates", size.commits), 3.0);
}

/// A third each of creates, updates and deletes.
pub(crate) async fn mixed(size: Size) {
    let files = size.files[1];
    let edit = |turn: usize, n: usize| {
        let number = turn * size.commits + n;
        match n % 3 {
            0 => bed::put(&Layout::Spread.path(files + number, files), bed::content(files + number, 0)),
            1 => bed::update(Layout::Spread, n, files, turn, size.commits),
            // What the commit before the last has created.
            _ => Edit::Delete { path: Layout::Spread.path(files + number - 2, files).parse().unwrap() },
        }
    };
    let measured = measure(Layout::Spread, files, size.commits, size.turns, edit).await;
    measured.print(&format!("{files} files, {} creates, updates and deletes", size.commits), 3.0);
}

/// One folder with all the files: no target, but a figure to know.
pub(crate) async fn flat(size: Size) {
    let (files, commits) = (size.files[2], size.commits / 25 + 1);
    let edit = |turn, n| bed::update(Layout::Flat, n, files, turn, commits);
    let measured = measure(Layout::Flat, files, commits, 1, edit).await;
    measured.print(&format!("{files} files in one folder, {commits} updates"), 1.0);
}

/// Batches that are waited for one after the other, so that each has its own fsyncs.
pub(crate) async fn durable_batches(size: Size) {
    let files = size.files[1];
    let bed = Bed::with_files(Layout::Spread, files).await;
    let writer = bed.start().await;
    let mut made = 0;
    for plans in [1, 10, 100] {
        let batches = (size.commits / plans / 5).clamp(1, 200);
        let mut took = Duration::ZERO;
        for _ in 0..batches {
            let edit = |n| bed::update(Layout::Spread, made + n, files, 0, size.commits);
            took += bed::commit(&writer, bed::plans(plans, 0, edit)).await;
            made += plans;
            // Else pushes run beside, one after the other.
            bed::settle(&writer).await;
        }
        let rate = f64::from(u32::try_from(batches * plans).unwrap()) / took.as_secs_f64();
        let each = took / u32::try_from(batches).unwrap();
        print(&format!("batches of {plans} with fsync: {rate:.0} commits/s, {each:.1?} a batch"));
    }
    bed.close(writer).await;
}

struct Measured {
    commits: usize,
    /// The fastest of all turns.
    ours: Duration,
    theirs: Duration,
    /// Of the largest pack.
    our_bytes: u64,
    their_bytes: u64,
}

impl Measured {
    fn print(&self, what: &str, limit: f64) {
        let count = f64::from(u32::try_from(self.commits).unwrap());
        let rate = |took: Duration| count / took.as_secs_f64();
        let kilobytes = |bytes: u64| bytes as f64 / count / 1000.0;
        print(&format!(
            "{what}: {:.0} commits/s, git fast-import {:.0}; ratio {:.2} (limit {limit})",
            rate(self.ours),
            rate(self.theirs),
            self.theirs.div_duration_f64(self.ours)
        ));
        print(&format!(
            "  a commit in one pack: {:.2} KB (limit 2.5), git fast-import {:.2}",
            kilobytes(self.our_bytes),
            kilobytes(self.their_bytes)
        ));
    }
}

/// Makes the same commits in turns, both ways.
async fn measure(
    layout: Layout,
    files: usize,
    commits: usize,
    turns: usize,
    edit: impl Fn(usize, usize) -> Edit,
) -> Measured {
    let bed = Bed::with_files(layout, files).await;
    let peer = FastImport::clone_of(&bed);
    let writer = bed.start().await;
    let mut measured = Measured { commits, ours: Duration::MAX, theirs: Duration::MAX, our_bytes: 0, their_bytes: 0 };
    for turn in 0..turns {
        let plans: Vec<CommitPlan> = bed::plans(commits, turn, |n| edit(turn, n));
        let (took, bytes) = peer.commit(&plans);
        measured.theirs = measured.theirs.min(took);
        measured.their_bytes = measured.their_bytes.max(bytes);
        let before = bed.packs();
        measured.ours = measured.ours.min(bed::commit(&writer, plans).await);
        let mut new = bed.packs();
        new.retain(|name, _| !before.contains_key(name));
        assert_eq!(new.len(), 1, "one batch, one pack: {new:?}");
        measured.our_bytes = measured.our_bytes.max(new.into_values().sum());
        bed::settle(&writer).await;
    }
    bed.close(writer).await;
    peer.check(&bed);
    measured
}
