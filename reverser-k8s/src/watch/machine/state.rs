//! Where a machine stands.

use std::{collections::BTreeMap, time::Duration};

use serde_json::Value;
use tokio::time::Instant;

/// Each with what it needs alone. A version is that of the last event which was handed on.
#[derive(Debug)]
pub(super) enum State {
    /// Open a stream that begins with everything there is.
    Begin { lifetime: Duration },
    /// Ask how far the server is: below `version` it was set back.
    Check { version: String },
    /// Open a stream of what comes after `version`.
    Connect { version: String, lifetime: Duration },
    /// Read from the stream what there is; complete at the server's bookmark. By namespace and name.
    Initial { objects: BTreeMap<(String, String), Value>, opened: Instant, heard: Instant, lifetime: Duration },
    /// Read the next page of everything there is.
    List { objects: Vec<Value>, page: Option<String> },
    /// Find out which version each object had at `version`, from where events are to be read.
    Recall { version: String },
    /// Find out what happened after `from`, which the server no longer tells by itself.
    Recover { from: String },
    /// Read the stream.
    Stream { version: String, opened: Instant, lifetime: Duration },
    /// Try again later.
    Wait { until: Instant, then: Box<Self> },
}

impl State {
    pub(super) fn first_page() -> Self {
        Self::List { objects: vec![], page: None }
    }
}

/// What has been said of where the watch stands.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Standing {
    /// Nothing yet.
    Unsaid,
    /// That it can't go on.
    Failed,
    /// That it goes on.
    Said,
}
