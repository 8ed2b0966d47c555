//! The wire between nodes in network namespaces: IP packets, which may be lost, late, doubled or overtaken by others.
//! Not left to `tc netem`, which many kernels do not have.

use std::net::Ipv4Addr;
use std::sync::Arc;
use std::time::Duration;

use parking_lot::Mutex;
use rand::rngs::StdRng;
use rand::{RngExt, SeedableRng};
use tokio::sync::mpsc;
use tokio_tun::Tun;

use super::cluster::NODES;
use super::places::first_id;

const MTU: u16 = 1_400;
const NET: [u8; 3] = [10, 98, 0];
const MASK: Ipv4Addr = Ipv4Addr::new(255, 255, 255, 0);
/// Packets on their way to a node beyond which more are lost.
const PACKETS_MAX: usize = 4_096;
/// Where an IPv4 packet says whom it is for (RFC 791, section 3.1).
const DESTINATION: std::ops::Range<usize> = 16..20;

/// The address of the node in a slot.
pub(super) fn address(slot: usize) -> Ipv4Addr {
    let [a, b, c] = NET;
    Ipv4Addr::new(a, b, c, u8::try_from(first_id(slot)).expect("there are few"))
}

/// What happens to packets on their way from one node to another.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct Weather {
    /// The share that is lost, from 0 to 1.
    pub(super) lost: f64,
    /// The share that comes twice.
    pub(super) twice: f64,
    /// How much longer each takes at most; it is drawn for each, so that they overtake each other.
    pub(super) late: Duration,
}

/// The wire.
pub(super) struct Wire {
    weather: Mutex<[[Weather; NODES]; NODES]>,
    random: Mutex<StdRng>,
    to: [mpsc::Sender<Vec<u8>>; NODES],
}

/// What a node's end of the wire has to write into the node's link.
pub(super) type Arrivals = mpsc::Receiver<Vec<u8>>;

impl Wire {
    /// A wire that loses nothing, and its ends.
    pub(super) fn new(seed: u64) -> (Arc<Self>, [Arrivals; NODES]) {
        let ends: [_; NODES] = std::array::from_fn(|_| mpsc::channel(PACKETS_MAX));
        let to = ends.each_ref().map(|(to, _)| to.clone());
        let (weather, random) = (Mutex::default(), Mutex::new(StdRng::seed_from_u64(seed)));
        (Arc::new(Self { weather, random, to }), ends.map(|(_, arrivals)| arrivals))
    }

    /// What one node sends to another meets this.
    pub(super) fn set(&self, from: usize, to: usize, weather: Weather) {
        self.weather.lock()[from][to] = weather;
    }

    /// Nothing is lost any more.
    pub(super) fn heal(&self) {
        *self.weather.lock() = Default::default();
    }

    /// Sends a packet, from within a runtime that lives as long as the wire.
    fn send(&self, from: usize, packet: &[u8]) {
        let destination = packet.get(DESTINATION).filter(|_| packet[0] >> 4 == 4);
        let Some(to) = (0..NODES).find(|to| destination == Some(&address(*to).octets())) else { return };
        let Weather { lost, twice, late } = self.weather.lock()[from][to];
        let mut random = self.random.lock();
        let copies = usize::from(!random.random_bool(lost)) + usize::from(random.random_bool(twice));
        for _ in 0..copies {
            let (late, to, packet) = (late.mul_f64(random.random()), self.to[to].clone(), packet.to_vec());
            if late.is_zero() {
                // What does not fit is lost, as in any router.
                to.try_send(packet).ok();
            } else {
                tokio::spawn(async move {
                    tokio::time::sleep(late).await;
                    to.try_send(packet).ok();
                });
            }
        }
    }
}

/// A node's link, made in the namespace that the thread is in.
pub(super) fn link(slot: usize, name: &str) -> Result<Tun, String> {
    let link = Tun::builder().name(name).mtu(MTU.into()).address(address(slot)).netmask(MASK).up().build();
    link.map_err(|error| error.to_string())?.pop().ok_or_else(|| "no link was made".to_owned())
}

/// Carries what goes over a node's link, as long as it is waited for.
pub(super) async fn carry(slot: usize, link: Tun, wire: Arc<Wire>, mut arrivals: Arrivals) {
    let mut packet = [0; MTU as usize];
    loop {
        tokio::select! {
            biased;
            arrived = arrivals.recv() => {
                let arrived = arrived.expect("the wire is there");
                // A link that is down takes nothing, and what comes meanwhile is lost.
                link.send(&arrived).await.ok();
            }
            size = link.recv(&mut packet) => {
                // One that is down has nothing to read, which is no error.
                let size = size.expect("the link is there as long as this thread");
                wire.send(slot, &packet[..size]);
            }
        }
    }
}
