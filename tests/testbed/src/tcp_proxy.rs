//! A way between a client and a server that fails as networks and load balancers do.
//!
//! ```text
//! client ──► TcpProxy ──► server        bytes pass as they are: TLS goes through, and only its ends can read it
//!               ▲
//!   set: for as long as it is so        refuses, limit, stalls, bytes_per_second, doubles
//!   end, end_after: once                cut, reset, orphan what is there
//! ```
//!
//! "Duplicate connection" stands for two faults:
//! - [`Ending::Orphan`]: the client loses its connection, and the server doesn't hear of it. It goes on to send into the old
//!   one while the client opens another: both ends of the way disagree on how many there are, as after a load balancer's
//!   failover. It is the one that a watch meets: with TLS nobody in between can repeat what was said.
//! - [`Faults::doubles`]: what a client sends reaches the server twice, and one answer is passed on, as from a load balancer that
//!   repeats a request whose answer it missed. Only for what goes without TLS, such as a push to [`GitHttp`](crate::GitHttp).

use std::{
    io,
    net::{Ipv4Addr, SocketAddr},
    num::NonZeroU32,
    sync::{
        Arc, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicU64, AtomicUsize, Ordering},
    },
};

use tokio::{
    net::{TcpListener, TcpSocket, TcpStream},
    sync::watch,
    task::{JoinHandle, JoinSet},
};

use crate::error::Error;

mod connection;

/// A running proxy on loopback; it ends, and its connections break, when it is dropped.
#[derive(Debug)]
pub struct TcpProxy {
    address: SocketAddr,
    shared: Arc<Shared>,
    server: JoinHandle<()>,
}

/// What is wrong with the way for as long as it is [`set`](TcpProxy::set). Default: nothing.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Faults {
    /// How fast each connection passes on what the server sends. The server meets a slow reader: little is held here.
    pub bytes_per_second: Option<NonZeroU32>,
    /// Connections that come are opened to the server twice: both get what the client sends, one answers it.
    pub doubles: bool,
    /// How many connections there may be; one more is closed at once.
    pub limit: Option<usize>,
    /// Nobody listens: connections are refused. Those that are there stay.
    pub refuses: bool,
    /// Nothing passes, not even the end of a connection, and none is closed: they are half-open. What was sent meanwhile
    /// passes when this is over.
    pub stalls: bool,
}

/// How a connection ends.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Ending {
    /// Both sides see it closed, as by a proxy that is restarted.
    Cut,
    /// The client sees it closed. To the server it is open, and somebody still reads what it sends.
    Orphan,
    /// Both sides see it reset (RST), as by a machine that has forgotten it.
    Reset,
}

impl TcpProxy {
    /// Starts a proxy on a free loopback port.
    pub async fn start(target: SocketAddr) -> Result<Self, Error> {
        let failed = |source| Error::Io { action: "listen on", what: "a loopback port".into(), source };
        let place = Place::take().map_err(failed)?;
        let listener = place.listen().map_err(failed)?;
        let address = place.address;
        let shared = Arc::new(Shared {
            target,
            faults: watch::Sender::default(),
            ends: watch::Sender::new(Ending::Cut),
            trap: Mutex::default(),
            counters: Counters::default(),
        });
        let server = tokio::spawn(serve(place, listener, Arc::clone(&shared)));
        Ok(Self { address, shared, server })
    }

    /// Returns where it listens.
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// Puts faults in, and takes away those that were there. They hold for connections that are there, too.
    pub fn set(&self, faults: Faults) {
        self.shared.faults.send_replace(faults);
    }

    /// Takes all faults away, also an [`end_after`](Self::end_after) that nothing has met.
    pub fn heal(&self) {
        self.set(Faults::default());
        *self.shared.trap() = None;
    }

    /// Ends all connections that are there; later ones are none the worse for it.
    pub fn end(&self, ending: Ending) {
        self.shared.ends.send_replace(ending);
    }

    /// Ends one connection after so many more bytes from the server: the one that passes on the last of them. In the
    /// middle of a list or of an event it is broken off there.
    pub fn end_after(&self, bytes: u64, ending: Ending) {
        *self.shared.trap() = Some(Trap { left: bytes, ending });
    }

    /// Returns how many connections have come, refused ones excluded, those beyond the limit included.
    pub fn connections(&self) -> u64 {
        self.shared.counters.connections.load(Ordering::Relaxed)
    }

    /// Returns how many connections are open.
    pub fn open(&self) -> usize {
        self.shared.counters.open.load(Ordering::Relaxed)
    }

    /// Returns how many connections a fault has ended or turned away.
    pub fn broken(&self) -> u64 {
        self.shared.counters.broken.load(Ordering::Relaxed)
    }

    /// Returns how many bytes of clients were passed on.
    pub fn sent(&self) -> u64 {
        self.shared.counters.sent.load(Ordering::Relaxed)
    }

    /// Returns how many bytes of the server were passed on.
    pub fn received(&self) -> u64 {
        self.shared.counters.received.load(Ordering::Relaxed)
    }
}

impl Drop for TcpProxy {
    fn drop(&mut self) {
        self.server.abort();
    }
}

/// What the proxy's tasks and its owner share.
#[derive(Debug)]
struct Shared {
    target: SocketAddr,
    faults: watch::Sender<Faults>,
    /// Each value is an order to the connections that are there.
    ends: watch::Sender<Ending>,
    /// A `std` mutex: it is never held across an await.
    trap: Mutex<Option<Trap>>,
    counters: Counters,
}

impl Shared {
    fn trap(&self) -> MutexGuard<'_, Option<Trap>> {
        self.trap.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Ends the connection that passes on the last of so many bytes.
#[derive(Clone, Copy, Debug)]
struct Trap {
    left: u64,
    ending: Ending,
}

#[derive(Debug, Default)]
struct Counters {
    connections: AtomicU64,
    open: AtomicUsize,
    broken: AtomicU64,
    sent: AtomicU64,
    received: AtomicU64,
}

/// A port that stays ours while nobody listens on it: a socket that is bound and doesn't listen keeps others from it.
struct Place {
    address: SocketAddr,
    _bound: TcpSocket,
}

impl Place {
    fn take() -> io::Result<Self> {
        let bound = socket()?;
        bound.bind((Ipv4Addr::LOCALHOST, 0).into())?;
        Ok(Self { address: bound.local_addr()?, _bound: bound })
    }

    fn listen(&self) -> io::Result<TcpListener> {
        let socket = socket()?;
        socket.bind(self.address)?;
        socket.listen(BACKLOG)
    }
}

fn socket() -> io::Result<TcpSocket> {
    let socket = TcpSocket::new_v4()?;
    socket.set_reuseaddr(true)?;
    Ok(socket)
}

async fn serve(place: Place, listener: TcpListener, shared: Arc<Shared>) {
    let mut faults = shared.faults.subscribe();
    let mut listener = Some(listener);
    let mut connections = JoinSet::new(); // they end with us
    loop {
        match &listener {
            None => {
                if faults.wait_for(|faults| !faults.refuses).await.is_err() {
                    return;
                }
                listener = place.listen().ok();
            }
            Some(listening) => tokio::select! {
                biased; // who comes after faults were set meets them
                changed = faults.changed() => match changed {
                    Ok(()) if faults.borrow().refuses => listener = None,
                    Ok(()) => {}
                    Err(_ended) => return,
                },
                // An error is of one connection, which is gone.
                Ok((client, _)) = listening.accept() => welcome(client, &shared, &mut connections),
                Some(_ended) = connections.join_next() => {}
            },
        }
    }
}

fn welcome(client: TcpStream, shared: &Arc<Shared>, connections: &mut JoinSet<()>) {
    let counters = &shared.counters;
    counters.connections.fetch_add(1, Ordering::Relaxed);
    let faults = *shared.faults.borrow();
    if faults.refuses || faults.limit.is_some_and(|limit| counters.open.load(Ordering::Relaxed) >= limit) {
        counters.broken.fetch_add(1, Ordering::Relaxed);
        return; // closes it
    }
    counters.open.fetch_add(1, Ordering::Relaxed);
    // Here, so that it hears each order from now on.
    let ends = shared.ends.subscribe();
    let shared = Arc::clone(shared);
    connections.spawn(async move {
        connection::pass(client, &shared, ends).await;
        shared.counters.open.fetch_sub(1, Ordering::Relaxed);
    });
}

/// What tokio takes by default.
const BACKLOG: u32 = 1024;

#[cfg(test)]
mod tests;
