//! Puts a [`Reverser`] together.

use std::{
    sync::{Arc, Mutex},
    time::Duration,
};

use reverser_core::{Batching, Coalescing, Pipeline, Writers};

use super::{Reverser, ReverserBuilder, recording::Recording};
use crate::{attribute::ActorSource, queue::Load, report::Reporter};

impl ReverserBuilder {
    /// Sets all of the pure stages: what is selected, how it is cleaned, placed, worded and sealed.
    #[must_use]
    pub fn pipeline(mut self, pipeline: Pipeline) -> Self {
        self.0.pipeline = Arc::new(pipeline);
        self
    }

    /// Sets who knows who did it. Default: nobody.
    #[must_use]
    pub fn actors(mut self, actors: impl ActorSource + 'static) -> Self {
        self.0.actors = Arc::new(actors);
        self
    }

    /// Sets how long after it was read a change waits when nobody knows who made it, for somebody who does; at most an hour. It
    /// holds back later changes of its own object alone, and counts as not read until it is committed. Default, `None`: as
    /// long as the source of actors says ([`ActorSource::patience`]).
    #[must_use]
    pub fn attribution_wait(mut self, wait: Option<Duration>) -> Self {
        self.0.attribution_wait = wait;
        self
    }

    /// Sets which of the changes that sources report become one commit, and how long they gather for that. Default: each
    /// at once. What has gathered counts as not read until it is committed, so that a crash loses nothing. It is committed
    /// early when it takes all the room that [`queue_bytes`](Self::queue_bytes) leaves, when a complete list comes, and at
    /// the end.
    #[must_use]
    pub fn batching(mut self, batching: Batching) -> Self {
        self.0.batching = batching;
        self
    }

    /// Sets which changes by service accounts that sources report are coalesced: of each object one per interval is committed,
    /// with its last state. Default: none. What waits counts as not read, and is committed early where what gathers is.
    #[must_use]
    pub fn coalescing(mut self, coalescing: Coalescing) -> Self {
        self.0.coalescing = coalescing;
        self
    }

    /// Sets who hears what happens. Default: `tracing`.
    #[must_use]
    pub fn reporter(mut self, reporter: impl Reporter + 'static) -> Self {
        self.0.reporter = Arc::new(reporter);
        self
    }

    /// Lets a sweep delete as much as it finds.
    #[must_use]
    pub fn allow_mass_delete(mut self, allow: bool) -> Self {
        self.0.allow_mass_delete = allow;
        self
    }

    /// Sets how often Git is asked before its failure is returned. Default: for ever, as befits a recorder; a command that
    /// somebody waits for should end.
    #[must_use]
    pub fn tries(mut self, tries: usize) -> Self {
        self.0.tries = Some(tries);
        self
    }

    /// Sets how many bytes of rendered writes wait for Git; at the bound the watches stop reading and later go on from
    /// their resourceVersions. Default: 64 MiB.
    #[must_use]
    pub fn queue_bytes(mut self, bytes: usize) -> Self {
        self.0.load = Load::new(bytes);
        self
    }

    /// Sets how often [`Reverser::run`] compares each resource with a complete list, one after the other, and repairs what
    /// differs in Git. Zero: never. Default: one hour.
    #[must_use]
    pub fn verify_every(mut self, interval: Duration) -> Self {
        self.0.verify_every = interval;
        self
    }

    /// Returns the finished one.
    pub fn build(mut self) -> Reverser {
        let ignored = self.0.pipeline.selector.ignore_managers.iter().cloned();
        let recording = Recording::live(self.0.batching, &self.0.coalescing);
        self.0.recording = Arc::new(tokio::sync::Mutex::new(recording));
        self.0.writers = Arc::new(Mutex::new(Writers::new(ignored)));
        self.0
    }
}
