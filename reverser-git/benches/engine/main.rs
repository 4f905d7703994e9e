//! How fast the writer commits, how much that takes on disk and in memory, and how fast it compares and pushes: each beside
//! git doing the same in the same run, through the public interface, into real repositories with real fsyncs.
//!
//! `cargo bench -p reverser-git` prints a line for each bar: the figure, its ratio and the limit. Ratios, because the
//! machine's own speed is no property of ours. Words behind `--` choose: `commits`, `rollouts`, `wide`, `mixed`, `fsync`,
//! `flat`, `memory`, `compare`, `history`, `push`. A slow machine is no failure; a missing commit, or a repository that `git fsck` doesn't like, is one.

#![expect(clippy::unwrap_used, reason = "a benchmark that can't go on says so by a panic")]

use std::{
    env,
    io::{self, Write},
    path::Path,
};

mod bed;
mod commits;
mod compare;
mod fast_import;
mod history;
mod machine;
mod memory;
mod push;

/// How much is measured.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Size {
    /// Files in the repository, from few to many.
    pub(crate) files: [usize; 3],
    /// Commits a batch.
    pub(crate) commits: usize,
    /// How often; the fastest counts.
    pub(crate) turns: usize,
}

const WHOLE: Size = Size { files: [1_000, 10_000, 100_000], commits: 5_000, turns: 3 };

/// Enough to see that it runs: `cargo test --benches`.
const TINY: Size = Size { files: [20, 40, 60], commits: 20, turns: 1 };

#[tokio::main]
async fn main() {
    let arguments: Vec<String> = env::args().skip(1).collect();
    if let [role, state_dir, files, commits] = &arguments[..]
        && role == memory::ROLE
    {
        return memory::run(Path::new(state_dir), files.parse().unwrap(), commits.parse().unwrap()).await;
    }
    let size = if arguments.iter().any(|argument| argument == "--bench") { WHOLE } else { TINY };
    let chosen: Vec<&str> = arguments.iter().map(String::as_str).filter(|word| !word.starts_with('-')).collect();
    let is_chosen = |name: &str| chosen.is_empty() || chosen.contains(&name);
    print(&machine::description());
    if is_chosen("commits") {
        commits::single_updates(size).await;
    }
    if is_chosen("rollouts") {
        commits::rollouts(size).await;
    }
    if is_chosen("wide") {
        commits::wide(size).await;
    }
    if is_chosen("mixed") {
        commits::mixed(size).await;
    }
    if is_chosen("fsync") {
        commits::durable_batches(size).await;
    }
    if is_chosen("flat") {
        commits::flat(size).await;
    }
    if is_chosen("memory") {
        memory::resident(size).await;
    }
    if is_chosen("compare") {
        compare::unchanged(size).await;
    }
    if is_chosen("history") {
        history::of_one_file(size).await;
    }
    if is_chosen("push") {
        push::beside_git(size).await;
    }
}

/// Prints a line at once: the whole takes minutes.
pub(crate) fn print(line: &str) {
    let mut out = io::stdout();
    writeln!(out, "{line}").unwrap();
}
