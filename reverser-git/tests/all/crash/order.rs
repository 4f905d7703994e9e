//! What is durable when: a power failure can't be played, so the calls are watched.

use std::{
    fs,
    io::{self, Write},
    process::Command,
};

use crate::{
    bed::Bed,
    crash::{Process, Scene},
};

#[tokio::test]
async fn each_commit_is_durable_in_the_order_that_a_power_failure_needs() {
    let bed = Bed::new().await;
    let scene = Scene::at(bed.folder(""));
    let calls = scene.folder.join("calls");
    let strace = ["strace", "-f", "-y", "-e", "trace=fsync,fdatasync,rename,renameat,renameat2", "-o"];
    let wrapper: Vec<_> = strace.into_iter().chain([calls.to_str().unwrap()]).collect();
    // In some containers nobody may trace.
    let may_trace = Command::new("strace").args(["-o", "/dev/null", "true"]).output();
    let may_trace = may_trace.is_ok_and(|output| output.status.success());
    let (said, status) = Process::start(&scene, &if may_trace { wrapper } else { vec![] }, 4, None).end();
    assert!(status.success(), "{said:?}");

    let passed = fs::read_to_string(scene.passed()).unwrap();
    assert_order(&passed.lines().filter_map(of_point).collect::<Vec<_>>(), 4);
    if may_trace {
        let calls = fs::read_to_string(calls).unwrap();
        assert_order(&calls.lines().filter_map(of_call).collect::<Vec<_>>(), 4);
    } else {
        // Not by `eprintln!`, of which nobody sees anything while the test passes.
        let note = "strace can't be used here: the order is that of the writer's own notes";
        writeln!(io::stderr(), "{note}").unwrap();
    }
}

/// Each state stands upon what was made durable before it; a replay onto somebody else's commit moves it too.
fn assert_order(steps: &[&str], commits: usize) {
    let states: Vec<_> = steps.iter().enumerate().filter(|(_, step)| **step == "state renamed").collect();
    assert!(states.len() >= commits, "{steps:?}");
    for (at, _) in states {
        assert_eq!(steps.get(at - 6..at + 2), Some(&ORDER[..]), "{steps:?}");
    }
}

/// DESIGN.md section 6: pack, index, their folder, the ref's lock file, its rename, the ref's folder.
const ORDER: [&str; 8] = [
    "pack synced",
    "pack renamed",
    "index synced",
    "index renamed",
    "packs synced",
    "state synced",
    "state renamed",
    "states synced",
];

fn of_point(point: &str) -> Option<&'static str> {
    let point = match point {
        "pack-folder-synced" => "packs synced".to_owned(),
        "state-folder-synced" => "states synced".to_owned(),
        _ => point.replace('-', " "),
    };
    ORDER.into_iter().find(|step| *step == point)
}

/// Reads `4711  fsync(9</tmp/x/state/repository.git/objects/pack/tmp_reverser-main.pack>) = 0`. A call that another thread's
/// interrupts has its arguments where it begins, and that is where it counts.
fn of_call(call: &str) -> Option<&'static str> {
    let has = |part: &str| call.contains(part);
    let (is_sync, is_rename) = (has("fsync(") || has("fdatasync("), has("rename"));
    match () {
        () if is_sync && has("pack/tmp_reverser-main.pack>") => Some("pack synced"),
        () if is_rename && has("pack/tmp_reverser-main.pack\"") => Some("pack renamed"),
        () if is_sync && has("pack/tmp_reverser-main.idx>") => Some("index synced"),
        () if is_rename && has("pack/tmp_reverser-main.idx\"") => Some("index renamed"),
        () if is_sync && has("state/repository.git/objects/pack>") => Some("packs synced"),
        () if is_sync && has("refs/reverser/main.lock>") => Some("state synced"),
        () if is_rename && has("refs/reverser/main.lock\"") => Some("state renamed"),
        () if is_sync && has("refs/reverser>") => Some("states synced"),
        () => None,
    }
}
