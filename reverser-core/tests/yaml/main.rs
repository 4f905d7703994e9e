//! What reading a hostile text costs.

#![allow(clippy::disallowed_methods, clippy::disallowed_types, reason = "what tests the core is not pure")]

use std::{
    env, fs,
    io::{Write, stdout},
    process::Command,
};

use reverser_core::yaml;

mod hostile;

use hostile::hostile;

/// In a process of its own each, whose peak counts the text itself, too.
#[test]
fn ten_hostile_megabytes_cost_an_error_and_little_memory() {
    for number in 0..hostile::COUNT {
        let output = Command::new(env::current_exe().unwrap())
            .args(["--exact", "one_hostile_text", "--nocapture"])
            .env(NUMBER, number.to_string())
            .output()
            .unwrap();
        let said = String::from_utf8_lossy(&output.stdout);
        assert!(output.status.success(), "{}: {said}{}", hostile(number).name, String::from_utf8_lossy(&output.stderr));
        if cfg!(target_os = "linux") {
            let peak = said.split_once(PEAK).unwrap().1.split_whitespace().next().unwrap();
            assert!(peak.parse::<usize>().unwrap() < 100_000, "{}: {peak} kB", hostile(number).name);
        }
    }
}

/// Not a test of its own: what [`ten_hostile_megabytes_cost_an_error_and_little_memory`] runs.
#[test]
fn one_hostile_text() {
    let Ok(number) = env::var(NUMBER) else { return };
    let hostile = hostile(number.parse().unwrap());
    match yaml::parse(&hostile.text) {
        Ok(read) => assert!(hostile.is_legal && read.len() == 1),
        Err(error) => assert!(!hostile.is_legal, "{error}"),
    }
    let status = fs::read_to_string("/proc/self/status").unwrap_or_default();
    let peak = status.lines().find_map(|line| line.strip_prefix("VmHWM:")).unwrap_or_default();
    writeln!(stdout(), "{PEAK}{peak}").unwrap();
}

const NUMBER: &str = "REVERSER_HOSTILE_TEXT";
const PEAK: &str = "peak of memory: ";
