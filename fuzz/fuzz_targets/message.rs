//! Whatever a message says, the commit has one subject line and ends with our trailers, each on a line of its own.
#![no_main]

use std::sync::LazyLock;

use libfuzzer_sys::fuzz_target;
use reverser_core::{Actor, Change, message::with_trailers, testing};

static CHANGES: LazyLock<Vec<Change>> = LazyLock::new(testing::hostile_changes);

fuzz_target!(|input: (&str, &str)| {
    let (message, actor) = input;
    let change = CHANGES[0].clone().by(Actor::user(actor));
    let text = with_trailers(message, &change);
    let (head, trailers) = text.trim_end().rsplit_once("\n\n").expect("trailers are a paragraph");
    let keys: Vec<_> = trailers.lines().filter_map(|line| line.split(':').next()).collect();
    assert_eq!(keys, ["Reverser-Actor", "Reverser-Evidence", "Reverser-Uid", "Reverser-Resource-Version"]);
    assert!(head.lines().all(|line| line != "---" && !line.to_lowercase().starts_with("reverser-")), "{head}");
    assert!(!head.lines().next().unwrap_or_default().trim().is_empty() && head.lines().nth(1).unwrap_or("") == "");
    assert!(!text.chars().any(|c| c != '\n' && c.is_control()));
});
