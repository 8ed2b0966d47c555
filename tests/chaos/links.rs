//! The network between nodes: one proxy before each node port. The first frame of a connection says who calls, so that
//! each direction between two nodes has rules of its own although all peers call one address.
//! A cut holds bytes back instead of dropping them, as TCP would repeat them: what was sent before it arrives late.

use std::io;
use std::net::SocketAddr;
use std::time::Duration;

use skerry_host::consensus::network::hello::Hello;
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::runtime::Handle;
use tokio::sync::watch;

use super::cluster::NODES;
use super::places::{Place, slot};

/// A Hello is far smaller.
const HELLO_BYTES_MAX: usize = 4 << 10;
const BUFFER_BYTES: usize = 64 << 10;

/// What holds between each pair of slots: `[from][to]`.
#[derive(Debug, Clone, Default)]
struct Rules {
    cut: [[bool; NODES]; NODES],
    delay: [[Duration; NODES]; NODES],
    /// Counts up with each reset.
    resets: [[u64; NODES]; NODES],
}

/// All links of a cluster.
pub(super) struct Links {
    runtime: Handle,
    rules: watch::Sender<Rules>,
}

impl Links {
    /// Links of nobody yet.
    pub(super) fn new(runtime: &Handle) -> Self {
        Self { runtime: runtime.clone(), rules: watch::Sender::default() }
    }

    /// Listens where a node is called and carries what comes to where it listens. The address of a node that has left
    /// stays, and nobody answers there.
    pub(super) fn carry_to(&self, Place { id, called, listens, .. }: Place) -> io::Result<()> {
        let listener = self.runtime.block_on(TcpListener::bind(called))?;
        self.runtime.spawn(take(listener, slot(id), listens, self.rules.subscribe()));
        Ok(())
    }

    /// Nothing that one node sends reaches the other.
    pub(super) fn cut(&self, from: usize, to: usize) {
        self.rules.send_modify(|rules| rules.cut[from][to] = true);
    }

    /// What one node sends to the other takes this much longer.
    pub(super) fn delay(&self, from: usize, to: usize, delay: Duration) {
        self.rules.send_modify(|rules| rules.delay[from][to] = delay);
    }

    /// Every connection that one node has made to the other is reset, also one that a cut holds up.
    pub(super) fn reset(&self, from: usize, to: usize) {
        self.rules.send_modify(|rules| rules.resets[from][to] += 1);
    }

    /// All links are as good as new.
    pub(super) fn heal(&self) {
        self.rules.send_modify(|rules| *rules = Rules { resets: rules.resets, ..Rules::default() });
    }
}

async fn take(listener: TcpListener, node: usize, address: SocketAddr, rules: watch::Receiver<Rules>) {
    while let Ok((caller, _)) = listener.accept().await {
        let rules = rules.clone();
        // That a connection ends, and how, its two ends see for themselves.
        tokio::spawn(async move { carry(caller, node, address, rules).await.ok() });
    }
}

/// Carries one connection until either end closes it, or it is reset.
async fn carry(mut caller: TcpStream, to: usize, address: SocketAddr, rules: watch::Receiver<Rules>) -> io::Result<()> {
    caller.set_nodelay(true)?;
    let (from, first) = first_frame(&mut caller).await?;
    let Ok(mut node) = TcpStream::connect(address).await else {
        // Nobody listens, and the caller learns it as it would without a proxy.
        return caller.set_zero_linger();
    };
    node.set_nodelay(true)?;
    let mut reset = rules.clone();
    let resets = reset.borrow().resets[from][to];
    let is_reset = {
        let (mut from_caller, mut to_caller) = caller.split();
        let (mut from_node, mut to_node) = node.split();
        let there = pump(first.chain(&mut from_caller), &mut to_node, (from, to), rules.clone());
        let back = pump(&mut from_node, &mut to_caller, (to, from), rules.clone());
        tokio::select! {
            biased;
            _ = reset.wait_for(|rules| rules.resets[from][to] > resets) => true,
            ended = async { tokio::try_join!(there, back) } => ended.is_err(),
        }
    };
    if is_reset {
        caller.set_zero_linger()?;
        node.set_zero_linger()?;
    }
    Ok(())
}

/// Who calls, and the bytes that say so.
async fn first_frame(caller: &mut TcpStream) -> io::Result<(usize, io::Cursor<Vec<u8>>)> {
    let invalid = |what: String| io::Error::new(io::ErrorKind::InvalidData, what);
    let length = caller.read_u32().await?;
    let size = usize::try_from(length).ok().filter(|size| *size <= HELLO_BYTES_MAX);
    let size = size.ok_or_else(|| invalid(format!("a first frame of {length} bytes")))?;
    let mut frame = length.to_be_bytes().to_vec();
    frame.resize(4 + size, 0);
    caller.read_exact(&mut frame[4..]).await?;
    let hello: Hello = ciborium::from_reader(&frame[4..]).map_err(|error| invalid(error.to_string()))?;
    Ok((slot(hello.node.get()), io::Cursor::new(frame)))
}

/// Carries one direction of a connection under the rules for it.
async fn pump(
    mut read: impl AsyncRead + Unpin,
    write: &mut (impl AsyncWrite + Unpin),
    (from, to): (usize, usize),
    mut rules: watch::Receiver<Rules>,
) -> io::Result<()> {
    let mut buffer = vec![0; BUFFER_BYTES];
    loop {
        let size = read.read(&mut buffer).await?;
        let delay = rules.borrow().delay[from][to];
        tokio::time::sleep(delay).await;
        if rules.wait_for(|rules| !rules.cut[from][to]).await.is_err() {
            return Err(io::ErrorKind::BrokenPipe.into());
        }
        if size == 0 {
            return write.shutdown().await;
        }
        write.write_all(&buffer[..size]).await?;
    }
}
