//! The conformance suites of [`Layout`](crate::Layout), [`CommitMessage`](crate::CommitMessage) and
//! [`Seal`](crate::Seal): every implementation passes its one, users' own too. They panic where the contract is broken,
//! and say with what.

mod layout;
mod message;
mod seal;

pub use layout::{hostile_objects, layout_conforms};
pub use message::{hostile_changes, message_conforms};
pub use seal::seal_conforms;
