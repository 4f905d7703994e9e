//! The conformance suites of [`Layout`], [`CommitMessage`] and [`Seal`]: every implementation passes its one, users' own
//! too. They panic where the contract is broken, and say with what.

mod layout;

pub use layout::{hostile_objects, layout_conforms};
