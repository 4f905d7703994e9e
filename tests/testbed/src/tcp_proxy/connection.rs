//! One connection, from its beginning to its end.

use std::{convert::Infallible, future::pending, io, sync::atomic::Ordering, time::Duration};

use tokio::{
    io::{AsyncReadExt, AsyncWriteExt, copy, sink},
    net::{
        TcpStream,
        tcp::{ReadHalf, WriteHalf},
    },
    sync::watch,
};

use super::{Ending, Faults, Shared, socket};

/// Passes bytes on in both directions until both have ended, or a fault ends them.
pub(super) async fn pass(mut client: TcpStream, shared: &Shared, mut ends: watch::Receiver<Ending>) {
    let doubles = shared.faults.borrow().doubles;
    let Ok(mut server) = connect(shared).await else { return }; // the client sees it closed
    let mut double = if doubles { connect(shared).await.ok() } else { None };
    let _ = client.set_nodelay(true); // slower without, and no reason to refuse
    let ended = {
        let (from_client, to_client) = client.split();
        let (from_server, to_server) = server.split();
        let (from_double, to_double) = double.as_mut().map(TcpStream::split).unzip();
        let both = async {
            tokio::try_join!(send(from_client, to_server, to_double, shared), receive(from_server, to_client, shared))
        };
        tokio::select! {
            ended = both => ended.err().flatten(),
            Ok(()) = ends.changed() => Some(*ends.borrow()),
            never = discard(from_double) => match never {},
        }
    };
    let Some(ending) = ended else { return };
    shared.counters.broken.fetch_add(1, Ordering::Relaxed);
    match ending {
        Ending::Cut => {}
        Ending::Orphan => {
            drop(client);
            let _ = copy(&mut server, &mut sink()).await; // until the server has enough of it
        }
        Ending::Reset => {
            // Both fail only for connections that are gone already.
            let _ = client.set_zero_linger();
            let _ = server.set_zero_linger();
        }
    }
}

async fn connect(shared: &Shared) -> io::Result<TcpStream> {
    let socket = socket()?;
    // Else the kernel would read megabytes ahead of a slow connection, and the server would notice nothing.
    socket.set_recv_buffer_size(CHUNK as u32)?;
    let stream = socket.connect(shared.target).await?;
    stream.set_nodelay(true)?;
    Ok(stream)
}

/// Passes on what the client sends, twice where there is a second connection. Fails with the ending that a fault
/// ordered, `None` when the connection broke by itself.
async fn send(
    mut from: ReadHalf<'_>,
    mut to: WriteHalf<'_>,
    mut double: Option<WriteHalf<'_>>,
    shared: &Shared,
) -> Result<(), Option<Ending>> {
    let mut faults = shared.faults.subscribe();
    let mut buffer = vec![0; CHUNK];
    loop {
        let read = read(&mut from, &mut faults, &mut buffer).await.map_err(broken)?;
        // The second one first, so that the answer that is passed on is often that to a repetition.
        if let Some(double) = &mut double {
            let _ = if read == 0 { double.shutdown().await } else { double.write_all(&buffer[..read]).await };
        }
        if read == 0 {
            return to.shutdown().await.map_err(broken);
        }
        to.write_all(&buffer[..read]).await.map_err(broken)?;
        shared.counters.sent.fetch_add(read as u64, Ordering::Relaxed);
    }
}

/// Passes on what the server sends; fails like [`send`].
async fn receive(mut from: ReadHalf<'_>, mut to: WriteHalf<'_>, shared: &Shared) -> Result<(), Option<Ending>> {
    let mut faults = shared.faults.subscribe();
    let mut buffer = vec![0; CHUNK];
    loop {
        let rate = faults.borrow().bytes_per_second;
        let portion = rate.map_or(CHUNK, |rate| (rate.get() as usize / PORTIONS).clamp(1, CHUNK));
        let read = read(&mut from, &mut faults, &mut buffer[..portion]).await.map_err(broken)?;
        if read == 0 {
            return to.shutdown().await.map_err(broken);
        }
        let (passed, ending) = spring(shared, read);
        to.write_all(&buffer[..passed]).await.map_err(broken)?;
        shared.counters.received.fetch_add(passed as u64, Ordering::Relaxed);
        if ending.is_some() {
            return Err(ending);
        }
        if let Some(rate) = rate {
            tokio::time::sleep(Duration::from_secs_f64(passed as f64 / f64::from(rate.get()))).await;
        }
    }
}

/// Reads, but holds back what comes while the way stalls.
async fn read(from: &mut ReadHalf<'_>, faults: &mut watch::Receiver<Faults>, buffer: &mut [u8]) -> io::Result<usize> {
    let read = loop {
        flows(faults).await;
        tokio::select! {
            read = from.read(buffer) => break read?,
            _ = faults.changed() => {}
        }
    };
    flows(faults).await;
    Ok(read)
}

async fn flows(faults: &mut watch::Receiver<Faults>) {
    let _ = faults.wait_for(|faults| !faults.stalls).await; // fails only when the proxy ends
}

/// Returns how many of these bytes are passed on, and how the connection ends behind them.
fn spring(shared: &Shared, read: usize) -> (usize, Option<Ending>) {
    let mut trap = shared.trap();
    match *trap {
        Some(set) if set.left <= read as u64 => {
            *trap = None;
            (set.left as usize, Some(set.ending))
        }
        Some(ref mut set) => {
            set.left -= read as u64;
            (read, None)
        }
        None => (read, None),
    }
}

/// Reads what a server answers for nobody.
async fn discard(from: Option<ReadHalf<'_>>) -> Infallible {
    if let Some(mut from) = from {
        let _ = copy(&mut from, &mut sink()).await; // its end changes nothing
    }
    pending().await
}

fn broken(_by_itself: io::Error) -> Option<Ending> {
    None
}

/// What a pipe holds; the kernel makes a receive buffer of twice as much.
const CHUNK: usize = 64 * 1024;

/// A slow connection passes on so many portions a second.
const PORTIONS: usize = 20;
