//! The writer and the other sinks against real git and repositories on disk.

#![expect(clippy::unwrap_used, reason = "a test fails by a panic")]

mod access;
mod bed;
mod conflict;
mod conformance;
mod crash;
mod dying;
mod history;
mod hostile;
mod keys;
mod local;
mod log;
mod notes;
mod pace;
mod packs;
mod partial;
mod probe;
mod programs;
mod push;
mod race;
mod reader;
mod replay;
mod rewritten;
mod sha256;
mod share;
mod sign;
mod start;
mod tools;
mod write;
