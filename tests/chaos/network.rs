//! A network namespace for each node. A thread within each carries what goes over the node's link, and brings the test's
//! requests to the node's HTTP API, which listens on the loopback there.

use std::fs::File;
use std::net::{SocketAddr, TcpListener};
use std::os::fd::AsFd;
use std::sync::{Arc, mpsc};
use std::thread::JoinHandle;

use rustix::thread::{LinkNameSpaceType, move_into_link_name_space};
use tokio::io::copy_bidirectional;
use tokio::net::TcpStream;
use tokio::runtime::Builder;
use tokio::sync::oneshot;

use super::cluster::NODES;
use super::command::command;
use super::places::first_id;
use super::wire::{self, Arrivals, Wire};

const LINK: &str = "wire";

/// The namespaces. The threads leave them before they are removed.
pub(super) struct Network {
    inhabitants: Vec<Inhabitant>,
    namespaces: Vec<Namespace>,
    pub(super) wire: Arc<Wire>,
}

impl Network {
    /// Makes a namespace for each node, and listens at `doors` for what goes to `http` within.
    ///
    /// # Errors
    /// Why the machine does not permit it.
    pub(super) fn start(seed: u64, doors: [SocketAddr; NODES], http: SocketAddr) -> Result<Self, String> {
        let (wire, arrivals) = Wire::new(seed);
        let mut network = Self { inhabitants: Vec::new(), namespaces: Vec::new(), wire };
        for (slot, (door, arrivals)) in doors.into_iter().zip(arrivals).enumerate() {
            network.namespaces.push(Namespace::new(slot)?);
            let door = TcpListener::bind(door).map_err(|error| error.to_string())?;
            network.inhabitants.push(Inhabitant::start(slot, door, http, Arc::clone(&network.wire), arrivals)?);
        }
        Ok(network)
    }

    /// A node's link goes down, or up.
    pub(super) fn link(&self, slot: usize, is_up: bool) {
        let state = if is_up { "up" } else { "down" };
        self.namespaces[slot].ip(&["link", "set", LINK, state]).expect("the link is there");
    }
}

/// Where the namespace of a node is in the file system.
pub(super) fn path(id: &str) -> String {
    format!("/run/netns/{}", name(id))
}

fn name(id: &str) -> String {
    format!("skerry-chaos-{}-{id}", std::process::id())
}

/// A network namespace, whose loopback is up.
struct Namespace {
    name: String,
}

impl Namespace {
    fn new(slot: usize) -> Result<Self, String> {
        let name = name(&first_id(slot).to_string());
        command("ip", &["netns", "add", &name])?;
        let namespace = Self { name };
        namespace.ip(&["link", "set", "lo", "up"])?;
        Ok(namespace)
    }

    fn ip(&self, words: &[&str]) -> Result<(), String> {
        command("ip", &[&["-n", &self.name], words].concat()).map(|_| ())
    }
}

impl Drop for Namespace {
    fn drop(&mut self) {
        if let Err(reason) = command("ip", &["netns", "del", &self.name]) {
            println!("chaos: a namespace stays: {reason}");
        }
    }
}

/// A thread within a namespace, until it is dropped.
struct Inhabitant {
    stop: Option<oneshot::Sender<()>>,
    thread: Option<JoinHandle<()>>,
}

impl Inhabitant {
    fn start(
        slot: usize,
        door: TcpListener,
        http: SocketAddr,
        wire: Arc<Wire>,
        arrivals: Arrivals,
    ) -> Result<Self, String> {
        let (stop, stopped) = oneshot::channel();
        let (settled, has_settled) = mpsc::channel();
        let thread = std::thread::spawn(move || {
            let runtime = Builder::new_current_thread().enable_all().build().expect("a runtime can be had");
            runtime.block_on(async {
                let link = enter(slot).and_then(|()| wire::link(slot, LINK));
                let link = link.map_err(|reason| settled.send(Err(reason)));
                let Ok(link) = link else { return };
                settled.send(Ok(())).expect("the test waits for it");
                tokio::select! {
                    biased;
                    _ = stopped => {}
                    () = wire::carry(slot, link, wire, arrivals) => {}
                    () = relay(door, http) => {}
                }
            });
        });
        has_settled.recv().expect("a thread says how it went")?;
        Ok(Self { stop: Some(stop), thread: Some(thread) })
    }
}

impl Drop for Inhabitant {
    fn drop(&mut self) {
        drop(self.stop.take());
        if self.thread.take().is_some_and(|thread| thread.join().is_err()) {
            println!("chaos: a thread within a namespace panicked");
        }
    }
}

/// The thread is in a node's namespace from here on; sockets that it has stay where they are.
fn enter(slot: usize) -> Result<(), String> {
    let file = File::open(path(&first_id(slot).to_string())).map_err(|error| error.to_string())?;
    move_into_link_name_space(file.as_fd(), Some(LinkNameSpaceType::Network)).map_err(|error| error.to_string())
}

/// Brings each connection to an address within the namespace.
async fn relay(door: TcpListener, http: SocketAddr) {
    door.set_nonblocking(true).expect("a listener can be told so");
    let door = tokio::net::TcpListener::from_std(door).expect("the runtime takes it");
    while let Ok((mut caller, _)) = door.accept().await {
        tokio::spawn(async move {
            // Where nobody listens, the connection ends; how the others end, both ends see for themselves.
            if let Ok(mut node) = TcpStream::connect(http).await {
                copy_bidirectional(&mut caller, &mut node).await.ok();
            }
        });
    }
}
