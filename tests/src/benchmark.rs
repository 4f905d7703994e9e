//! What the benchmark programs share: each is the command that it measures, too.

use std::{
    env, fs,
    io::{Write, stdout},
    process::ExitCode,
    thread,
    time::Duration,
};

use clap::Parser;
use reverser_testbed::ControlPlane;

use crate::{LIMIT, Running};

/// Runs a benchmark program, or the command, when that is what it was started as.
pub fn run<A, F>(measure: impl FnOnce(A) -> F) -> anyhow::Result<ExitCode>
where
    A: Parser,
    F: Future<Output = anyhow::Result<ExitCode>>,
{
    // What is measured runs in a process of its own, and is never an old build.
    if env::args().nth(1).as_deref() == Some("watch") {
        return Ok(reverser_bin::main());
    }
    let args = A::parse();
    tokio::runtime::Runtime::new()?.block_on(measure(args))
}

/// Prints a line.
pub fn say(line: &str) -> anyhow::Result<()> {
    Ok(writeln!(stdout(), "{line}")?)
}

/// Returns what figures depend on: cores, the API server's version, and how this was built.
pub async fn machine(plane: &ControlPlane) -> anyhow::Result<String> {
    let cores = thread::available_parallelism()?;
    let build = if cfg!(debug_assertions) { "debug build: no measure of anything" } else { "release build" };
    Ok(format!("{cores} cores, Kubernetes {}, {build}", plane.version().await?))
}

/// Returns the value below which so many percent are, of times in order; the limit of patience when there is none.
pub fn percentile(took: &[Duration], percent: usize) -> Duration {
    took.get((took.len() * percent).div_ceil(100).saturating_sub(1)).copied().unwrap_or(LIMIT)
}

/// What a process has used so far.
#[derive(Clone, Copy, Debug, Default)]
pub struct Usage {
    /// Its own processor time.
    pub own: Duration,
    /// That of the children that have ended.
    pub children: Duration,
    /// Its memory now.
    pub resident_mib: f64,
    /// The most that it has had.
    pub peak_mib: f64,
}

/// In a second; the kernel's interface has had this value on all of its platforms for decades.
const TICKS: u64 = 100;

impl Usage {
    /// Returns what Linux says of a process that runs; zeros elsewhere.
    pub fn of(running: &Running) -> Self {
        let Some(pid) = running.pid() else { return Self::default() };
        let stat = fs::read_to_string(format!("/proc/{pid}/stat")).unwrap_or_default();
        // Behind the name, which may have blanks: state is the third field of all. proc(5)
        let fields: Vec<u64> = stat.rsplit(") ").next().map(numbers).unwrap_or_default();
        let ticks = |from: usize| {
            let ticks: u64 = fields.get(from..from + 2).map(|both| both.iter().sum()).unwrap_or_default();
            Duration::from_millis(ticks * 1_000 / TICKS)
        };
        let status = fs::read_to_string(format!("/proc/{pid}/status")).unwrap_or_default();
        let mib = |name: &str| {
            let line = status.lines().find_map(|line| line.strip_prefix(name));
            line.and_then(|kib| kib.trim().strip_suffix(" kB")?.parse::<f64>().ok()).unwrap_or(0.0) / 1024.0
        };
        Self { own: ticks(11), children: ticks(13), resident_mib: mib("VmRSS:"), peak_mib: mib("VmHWM:") }
    }

    /// Returns what was used since; memory as it is now.
    pub fn since(self, before: &Self) -> Self {
        Self {
            own: self.own.saturating_sub(before.own),
            children: self.children.saturating_sub(before.children),
            ..self
        }
    }
}

fn numbers(fields: &str) -> Vec<u64> {
    // The state is a letter, and some fields are negative.
    fields.split_whitespace().map(|field| field.parse().unwrap_or(0)).collect()
}
