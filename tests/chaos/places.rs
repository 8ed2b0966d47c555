//! Where nodes are, and which of them follow each other.

use std::net::{SocketAddr, TcpListener};

use super::cluster::NODES;

/// Where a node is.
#[derive(Debug, Clone, Copy)]
pub(super) struct Place {
    /// Its id, which no other node ever has.
    pub(super) id: u64,
    /// Where its HTTP API listens.
    pub(super) http: SocketAddr,
    /// Where the test finds that.
    pub(super) door: SocketAddr,
    /// Where its node port listens.
    pub(super) listens: SocketAddr,
    /// Where its peers find that.
    pub(super) called: SocketAddr,
}

/// Which of the cluster's slots a node has: the ids that follow each other in a slot are [`NODES`] apart.
pub(super) fn slot(id: u64) -> usize {
    (usize::try_from(id).expect("ids are small") + NODES - 1) % NODES
}

/// The id of the node that comes after this one in its slot.
pub(super) fn next_id(id: u64) -> u64 {
    id + u64::try_from(NODES).expect("it is a small number")
}

/// The id of the first node in a slot.
pub(super) fn first_id(slot: usize) -> u64 {
    u64::try_from(slot + 1).expect("it is a small number")
}

/// Free ports below those that the system gives to outgoing connections, each once: a node that is down for a while must
/// find its own port free when it comes back.
pub(super) struct Ports {
    next: u32,
}

impl Ports {
    const FIRST: u32 = 12_000;
    const COUNT: u32 = 20_000;

    /// Others for each process.
    pub(super) fn new() -> Self {
        Self { next: std::process::id() }
    }

    /// An address on loopback.
    pub(super) fn address(&mut self) -> SocketAddr {
        loop {
            let port = u16::try_from(Self::FIRST + self.next % Self::COUNT).expect("it is below 32,000");
            self.next += 1;
            if TcpListener::bind(("127.0.0.1", port)).is_ok() {
                return SocketAddr::from(([127, 0, 0, 1], port));
            }
        }
    }

    /// A place on loopback, for a node behind a proxy.
    pub(super) fn place(&mut self, id: u64) -> Place {
        let http = self.address();
        Place { id, http, door: http, listens: self.address(), called: self.address() }
    }
}
