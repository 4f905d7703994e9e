//! End to end: real API servers, real Git, and the command as a process of its own.
//!
//! ```text
//! a test: kubectl, kube-rs ──► API server ──► reverser (a child process) ──► Git remote ◄── the test looks here
//! ```
//!
//! Where no control plane can be had, the tests fail; none is skipped.
#![expect(clippy::unwrap_used, reason = "all of it is tests, also what has no `#[test]`")]

mod audit_webhook;
mod authors;
mod authors_admission;
mod blame;
mod capture;
mod changes;
mod check;
mod churn;
mod corpus;
mod crowd;
mod defaults;
mod demo;
mod diff;
mod discovery;
mod embed;
mod errors;
mod faults;
mod forge;
mod grouping;
mod history;
mod identities;
mod ignoring;
mod login;
mod metrics;
mod neat;
mod objects;
mod outages;
mod readers;
mod reasons;
mod recovery;
mod refusals;
mod registration;
mod remote;
mod replaced;
mod replay;
mod restore;
mod restoring;
mod sanitize;
mod scene;
mod secrets;
mod selection;
mod sharing;
mod signing;
mod snapshot;
mod soak;
mod templates;
mod verify;
mod waiting;
mod webhook;
mod webhook_down;
mod withdrawn;
