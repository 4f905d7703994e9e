//! What Linux says of a process: its processor time and memory. Zeros elsewhere.

use std::{fs, time::Duration};

/// What a process has used so far.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Usage {
    /// Its own processor time.
    pub(crate) own: Duration,
    /// That of the children that have ended.
    pub(crate) children: Duration,
    pub(crate) resident_mib: f64,
    pub(crate) peak_mib: f64,
}

/// In a second; the kernel's interface has had this value on all of its platforms for decades.
const TICKS: u64 = 100;

impl Usage {
    pub(crate) fn of(pid: u32) -> Self {
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
    pub(crate) fn since(self, before: &Self) -> Self {
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
