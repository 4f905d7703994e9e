use std::time::Duration;

use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::tcp::OwnedWriteHalf,
    time::{Instant, timeout},
};

use super::*;
use crate::eventually;

#[tokio::test]
async fn bytes_pass_both_ways_and_are_counted() {
    let bed = Bed::new().await;
    let mut connection = bed.connect().await;
    connection.says("ping", "ping").await;
    assert_eq!((bed.proxy.connections(), bed.proxy.open(), bed.proxy.sent(), bed.proxy.received()), (1, 1, 4, 4));
    connection.0.shutdown().await.unwrap();
    assert_eq!(connection.rest().await.unwrap(), "");
    bed.has_open(0).await;
    assert_eq!(bed.proxy.broken(), 0);
}

#[tokio::test]
async fn a_cut_closes_what_is_there_and_nothing_that_comes_later() {
    let bed = Bed::new().await;
    let mut connection = bed.connect().await;
    connection.says("ping", "ping").await;
    bed.proxy.end(Ending::Cut);
    assert_eq!(connection.rest().await.unwrap(), "");
    bed.has_open(0).await;
    bed.serves(0).await;
    bed.connect().await.says("ping", "ping").await;
    assert_eq!((bed.proxy.connections(), bed.proxy.broken()), (2, 1));
}

#[tokio::test]
async fn a_reset_is_one_to_both_sides() {
    let bed = Bed::new().await;
    let mut connection = bed.connect().await;
    connection.says("ping", "ping").await;
    bed.proxy.end(Ending::Reset);
    assert_eq!(connection.rest().await.unwrap_err().kind(), io::ErrorKind::ConnectionReset);
    bed.serves(0).await;
    assert_eq!(bed.server.resets.load(Ordering::Relaxed), 1);
}

#[tokio::test]
async fn an_orphan_is_open_to_the_server_alone() {
    let bed = Bed::new().await;
    let mut connection = bed.connect().await;
    connection.says("ping", "ping").await;
    bed.proxy.end(Ending::Orphan);
    assert_eq!(connection.rest().await.unwrap(), "");
    bed.connect().await.says("ping", "ping").await;
    bed.serves(2).await;
    // And what it sends goes away, however much.
    let mut old = bed.server.writers.lock().unwrap().remove(0);
    timeout(LIMIT, old.write_all(&vec![0; 8 << 20])).await.unwrap().unwrap();
}

#[tokio::test]
async fn a_trap_passes_on_so_many_bytes_and_ends_one_connection() {
    let bed = Bed::new().await;
    let (mut one, mut other) = (bed.connect().await, bed.connect().await);
    bed.proxy.end_after(6, Ending::Cut);
    one.says("1234", "1234").await;
    other.0.write_all(b"5678").await.unwrap();
    assert_eq!(other.rest().await.unwrap(), "56");
    one.says("9", "9").await;
    assert_eq!((bed.proxy.broken(), bed.proxy.received()), (1, 7));
}

#[tokio::test]
async fn a_stalled_way_passes_nothing_and_later_everything() {
    let bed = Bed::new().await;
    let mut connection = bed.connect().await;
    connection.says("ping", "ping").await;
    bed.proxy.set(Faults { stalls: true, ..Faults::default() });
    drop(bed.server.writers.lock().unwrap().remove(0)); // closes the first one
    let mut later = bed.connect().await;
    later.0.write_all(b"held").await.unwrap();
    for connection in [&mut connection, &mut later] {
        timeout(A_MOMENT, connection.0.read_u8()).await.unwrap_err();
    }
    assert_eq!((bed.proxy.open(), bed.proxy.sent()), (2, 4));
    bed.proxy.heal();
    assert_eq!(connection.rest().await.unwrap(), "");
    later.says("", "held").await;
}

#[tokio::test]
async fn a_slow_way_is_slow_to_the_server_too() {
    let bed = Bed::new().await;
    bed.proxy.set(Faults { bytes_per_second: NonZeroU32::new(64 * 1024), ..Faults::default() });
    let mut connection = bed.connect().await;
    let begun = Instant::now();
    connection.says(&"x".repeat(32 * 1024), &"x".repeat(32 * 1024)).await;
    assert!(begun.elapsed() >= Duration::from_millis(400), "{:?}", begun.elapsed());
    let mut writer = bed.server.writers.lock().unwrap().remove(0);
    // More than all buffers in between.
    timeout(A_MOMENT, writer.write_all(&vec![0; 16 << 20])).await.unwrap_err();
}

#[tokio::test]
async fn a_way_that_refuses_lets_nobody_in_and_is_found_at_the_same_place_later() {
    let bed = Bed::new().await;
    let mut connection = bed.connect().await;
    connection.says("ping", "ping").await;
    bed.proxy.set(Faults { refuses: true, ..Faults::default() });
    eventually("a refusal", LIMIT, async || match TcpStream::connect(bed.proxy.address()).await {
        Err(error) if error.kind() == io::ErrorKind::ConnectionRefused => Ok(()),
        other => Err(other),
    })
    .await;
    connection.says("ping", "ping").await;
    bed.proxy.heal();
    eventually("a connection", LIMIT, async || TcpStream::connect(bed.proxy.address()).await.map(drop)).await;
    bed.connect().await.says("ping", "ping").await;
}

#[tokio::test]
async fn a_connection_beyond_the_limit_is_closed() {
    let bed = Bed::new().await;
    bed.proxy.set(Faults { limit: Some(1), ..Faults::default() });
    let mut one = bed.connect().await;
    one.says("ping", "ping").await;
    assert!(bed.connect().await.rest().await.is_ok_and(|rest| rest.is_empty()));
    one.says("ping", "ping").await;
    assert_eq!(bed.proxy.broken(), 1);
    drop(one);
    bed.has_open(0).await;
    bed.connect().await.says("ping", "ping").await;
}

#[tokio::test]
async fn a_doubled_connection_reaches_the_server_twice_and_answers_once() {
    let bed = Bed::new().await;
    bed.proxy.set(Faults { doubles: true, ..Faults::default() });
    let mut connection = bed.connect().await;
    connection.says("ping", "ping").await;
    eventually("the second", LIMIT, async || match bed.server.read.load(Ordering::Relaxed) {
        8 => Ok(()),
        read => Err(read),
    })
    .await;
    connection.0.shutdown().await.unwrap();
    assert_eq!(connection.rest().await.unwrap(), "");
    bed.serves(0).await;
}

#[tokio::test]
async fn a_dropped_proxy_takes_its_connections_with_it() {
    let bed = Bed::new().await;
    let mut connection = bed.connect().await;
    connection.says("ping", "ping").await;
    let address = bed.proxy.address();
    drop(bed.proxy);
    assert_eq!(connection.rest().await.unwrap(), "");
    eventually("a refusal", LIMIT, async || match TcpStream::connect(address).await {
        Err(_refused) => Ok(()),
        Ok(stream) => Err(stream),
    })
    .await;
}

/// A server that sends back what it gets, and the way to it.
struct Bed {
    proxy: TcpProxy,
    server: Arc<Echo>,
}

#[derive(Default)]
struct Echo {
    read: AtomicU64,
    resets: AtomicU64,
    serves: AtomicUsize,
    /// Of each connection, so that a test can send into it.
    writers: Mutex<Vec<OwnedWriteHalf>>,
}

impl Bed {
    async fn new() -> Self {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await.unwrap();
        let proxy = TcpProxy::start(listener.local_addr().unwrap()).await.unwrap();
        let server = Arc::new(Echo::default());
        let echo = Arc::clone(&server);
        tokio::spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                tokio::spawn(Arc::clone(&echo).answer(stream));
            }
        });
        Self { proxy, server }
    }

    async fn connect(&self) -> Connection {
        Connection(TcpStream::connect(self.proxy.address()).await.unwrap())
    }

    async fn has_open(&self, connections: usize) {
        eventually("the open connections", LIMIT, async || match self.proxy.open() {
            open if open == connections => Ok(()),
            open => Err(open),
        })
        .await;
    }

    /// Waits until the server knows of so many connections.
    async fn serves(&self, connections: usize) {
        eventually("the server's connections", LIMIT, async || match self.server.serves.load(Ordering::Relaxed) {
            serves if serves == connections => Ok(()),
            serves => Err(serves),
        })
        .await;
    }
}

impl Echo {
    async fn answer(self: Arc<Self>, stream: TcpStream) {
        self.serves.fetch_add(1, Ordering::Relaxed);
        let stream = stream.into_std().unwrap();
        let second = TcpStream::from_std(stream.try_clone().unwrap()).unwrap();
        let (mut reader, mut writer) = TcpStream::from_std(stream).unwrap().into_split();
        self.writers.lock().unwrap().push(second.into_split().1);
        let mut buffer = vec![0; 64 * 1024];
        loop {
            match reader.read(&mut buffer).await {
                Ok(0) => break,
                Ok(read) => {
                    self.read.fetch_add(read as u64, Ordering::Relaxed);
                    if writer.write_all(&buffer[..read]).await.is_err() {
                        break;
                    }
                }
                Err(_reset) => {
                    self.resets.fetch_add(1, Ordering::Relaxed);
                    break;
                }
            }
        }
        let _ = writer.shutdown().await;
        self.serves.fetch_sub(1, Ordering::Relaxed);
    }
}

struct Connection(TcpStream);

impl Connection {
    /// Sends a text and waits for the answer.
    async fn says(&mut self, text: &str, answer: &str) {
        let (mut reader, mut writer) = self.0.split();
        let mut read = vec![0; answer.len()];
        let both = async { tokio::try_join!(writer.write_all(text.as_bytes()), reader.read_exact(&mut read)) };
        timeout(LIMIT, both).await.unwrap().unwrap();
        assert!(read == answer.as_bytes(), "{} bytes differ", read.len());
    }

    /// Returns what still comes until it is closed.
    async fn rest(&mut self) -> io::Result<String> {
        let mut rest = String::new();
        timeout(LIMIT, self.0.read_to_string(&mut rest)).await.unwrap().map(|_| rest)
    }
}

const LIMIT: Duration = Duration::from_secs(10);

/// How long it is looked whether nothing passes.
const A_MOMENT: Duration = Duration::from_millis(300);
