//! Ports for servers that have to be told where they listen.

use std::{
    hash::{BuildHasher, RandomState},
    io,
    net::{Ipv4Addr, TcpListener},
    sync::{
        LazyLock,
        atomic::{AtomicU64, Ordering},
    },
};

use crate::error::Error;

/// Returns a port that nobody listens at on loopback, each time another one.
///
/// It is none of those that a system gives to whoever asks for any, for a server or for a connection: it stays free until a server
/// binds it, also when that server is started again. Another process that chooses in the same way may still be quicker.
pub fn free_port() -> Result<u16, Error> {
    let failed = |source| Error::Io { action: "find", what: "a free port".into(), source };
    let mut last = io::Error::from(io::ErrorKind::AddrInUse);
    for _ in 0..ATTEMPTS {
        let turn = NEXT.fetch_add(1, Ordering::Relaxed) % u64::from(BEYOND - FIRST);
        let port = FIRST + u16::try_from(turn).unwrap_or_default();
        match TcpListener::bind((Ipv4Addr::LOCALHOST, port)) {
            Ok(_free) => return Ok(port),
            Err(error) => last = error,
        }
    }
    Err(failed(last))
}

/// Begins somewhere else in each process, so that those that run side by side are seldom in each other's way.
static NEXT: LazyLock<AtomicU64> = LazyLock::new(|| AtomicU64::new(RandomState::new().hash_one(()) >> 1));

/// Above what well-known servers take, and below what Linux gives out by default (`net.ipv4.ip_local_port_range`; others begin
/// at 49,152, RFC 6335).
const FIRST: u16 = 12_000;
const BEYOND: u16 = 32_768;

/// So many in a row are never taken where there is nothing wrong.
const ATTEMPTS: usize = 1_000;

#[cfg(test)]
mod tests {
    use std::collections::HashSet;

    use super::*;

    #[test]
    fn ports_differ_and_are_none_that_a_system_gives_out() {
        let ports: HashSet<u16> = (0..100).map(|_| free_port().unwrap()).collect();
        assert_eq!(ports.len(), 100);
        assert!(ports.iter().all(|port| (FIRST..BEYOND).contains(port)), "{ports:?}");
    }

    #[test]
    fn a_port_that_is_taken_is_left_out() {
        let next = FIRST + u16::try_from(NEXT.load(Ordering::Relaxed) % u64::from(BEYOND - FIRST)).unwrap();
        // Another test may have moved on meanwhile: then this one is passed over all the same.
        let taken = TcpListener::bind((Ipv4Addr::LOCALHOST, next));
        let ports: Vec<u16> = (0..100).map(|_| free_port().unwrap()).collect();
        assert!(taken.is_err() || !ports.contains(&next), "{next}: {ports:?}");
    }
}
