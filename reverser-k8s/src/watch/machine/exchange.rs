//! What a machine asks for, and what it is told.

use std::{collections::BTreeSet, sync::Arc, time::Duration};

use reverser_core::{Fingerprint, Operation};
use serde_json::Value;
use tokio::time::Instant;

use super::super::{recover::Recovery, versions::Versions};
use crate::{api_error::ApiError, list::Page};

/// What is to be done, and told by an [`Input`].
#[derive(Clone, Debug, PartialEq, Eq)]
pub(in crate::watch) enum Request<'a> {
    /// Ask for the version that the server is at: [`Input::Current`].
    Current,
    /// Open a stream for that long, `None`: one that begins with everything there is: [`Input::Opened`].
    Open { from: Option<&'a str>, lifetime: Duration },
    /// Ask for a page of a list, `None`: the first: [`Input::Page`].
    Page(Option<&'a str>),
    /// Read the stream: [`Input::Bookmark`], [`Input::Ended`], [`Input::Object`], or at that time [`Input::Late`].
    Read { until: Option<Instant> },
    /// Find out what happened after that version, first up to the next one that was read: [`Input::Recovered`].
    Recover { from: &'a str, read: &'a BTreeSet<u64> },
    /// Do nothing until then: [`Input::Waited`].
    Sleep(Instant),
    /// Find out which version each object had at that one: [`Input::Versions`].
    Versions { at: &'a str },
}

/// What came of a [`Request`].
#[derive(Debug)]
pub(in crate::watch) enum Input {
    Bookmark {
        version: String,
        ends_list: bool,
    },
    Current(Result<String, ApiError>),
    Ended(End),
    Late,
    /// What joins it with its request, where that is asked for.
    Object(Operation, Value, Option<Arc<Fingerprint>>),
    Opened(Result<(), ApiError>),
    Page(Result<Page, ApiError>),
    Recovered(Result<Recovery, ApiError>),
    Versions(Result<Versions, ApiError>),
    Waited,
}

/// How a stream ended.
#[derive(Debug)]
pub(in crate::watch) enum End {
    /// By the server, in good order.
    Closed,
    /// With an error: the connection's, or an event of the server's.
    Failed(ApiError),
    /// By us: nothing came for so long that nobody is there.
    Silent,
}
