//! What callers may take of us.

use std::time::Duration;

/// How much, how many and how long. What each does at its end is said with it.
#[derive(Clone, Debug)]
pub struct Limits {
    /// How many connections there are at a time. Others wait to be accepted. Default: 512; an API server keeps 25 that are idle.
    pub connections: usize,
    /// How long TLS takes to begin. A connection that is slower is closed. Default: 5 s.
    pub handshake: Duration,
    /// How long after its beginning a connection has asked for something that it may ask for. One that hasn't is closed: it is
    /// in the way of others. Default: 10 s.
    pub introduction: Duration,
    /// How long one that has may be silent, or take for the head of its next request, until it is closed. Default: 3 min. API
    /// servers close theirs after 90 s, and should be first: a request that meets a closing connection is lost.
    pub idle: Duration,
    /// How long a body takes, with the wait for its turn. It is answered with 408 after that. Default: 10 s, which is the
    /// longest that API servers wait for a webhook by default.
    pub body: Duration,
    /// How large an admission request is, in bytes. It is answered with 413 beyond. Default: 20 MiB: the object and the one
    /// before, of the 1.5 MiB each that etcd takes, in JSON, where API servers write a `<`, of which HTML is full, in six bytes.
    pub admission_bytes: usize,
    /// How large a batch of audit events is, in bytes. It is answered with 413 beyond. Default: 32 MiB; API servers send 10
    /// MiB at most by default (`--audit-webhook-truncate-max-batch-size`), where that is on at all.
    pub audit_bytes: usize,
    /// How many bytes of bodies are in memory at a time, of each of both kinds; what they become is not counted. Others wait
    /// for their turn. At least as much as the largest body. Default: 64 MiB.
    pub bytes_in_flight: usize,
    /// How long requests under way have at the end. Those that are not answered by then are cut off. Default: 5 s.
    pub farewell: Duration,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            connections: 512,
            handshake: Duration::from_secs(5),
            introduction: Duration::from_secs(10),
            idle: Duration::from_secs(180),
            body: Duration::from_secs(10),
            admission_bytes: 20 * MIB,
            audit_bytes: 32 * MIB,
            bytes_in_flight: 64 * MIB,
            farewell: Duration::from_secs(5),
        }
    }
}

const MIB: usize = 1 << 20;
