//! The writer and the other sinks against real git and repositories on disk.

mod bed;
mod conformance;
mod crash;
mod probe;
mod push;
mod start;
mod write;
