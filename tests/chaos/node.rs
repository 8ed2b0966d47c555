//! One core node: where it is, its process, and a small disk of its own where the system lets one be mounted.

use std::net::SocketAddr;
use std::path::{Path, PathBuf};

use skerry_tests::processes::{Process, http, until};

use super::cluster::SHARDS;
use super::disk::Disk;
use super::places::Place;

/// The binary under test.
pub(super) const SKERRY: &str = env!("CARGO_BIN_EXE_skerry-under-test");
/// The id of the node that founds the cluster.
const FOUNDER: u64 = 1;

/// What leaders make sure of before they answer a read.
#[derive(Debug, Clone, Copy)]
pub(super) enum Reads {
    /// That a quorum follows them.
    Quorum,
    /// That one did less than a lease ago.
    Lease,
}

/// How nodes are started; `{id}` stands for a node's id.
#[derive(Debug, Clone)]
pub(super) struct Launch {
    /// The command that starts the node elsewhere; empty when it is to run here.
    pub(super) within: Vec<String>,
    /// More options of each node.
    pub(super) options: Vec<String>,
    /// What leaders make sure of.
    pub(super) reads: Reads,
}

impl Launch {
    /// Nothing but what every node needs.
    pub(super) fn plain(reads: Reads) -> Self {
        Self { within: Vec::new(), options: Vec::new(), reads }
    }
}

/// A node. Its process ends before its disk is unmounted.
pub(super) struct Node {
    process: Option<Process>,
    disk: Option<Disk>,
    pub(super) place: Place,
    data: PathBuf,
}

impl Node {
    /// A node that was never started.
    pub(super) fn new(place: Place, folder: &Path) -> Self {
        let data = folder.join(format!("core-{}", place.id));
        let disk = Disk::mount(&data)
            .inspect_err(|reason| println!("chaos: node {} has no disk of its own: {reason}", place.id));
        Self { process: None, disk: disk.ok(), place, data }
    }

    /// Starts it; it knows these places, its own among them.
    pub(super) fn start(&mut self, launch: &Launch, places: &[Place]) {
        self.start_at(self.place.listens, launch, places);
    }

    /// The same, with the node port elsewhere.
    pub(super) fn start_at(&mut self, listens: SocketAddr, launch: &Launch, places: &[Place]) {
        let id = self.place.id;
        let mut words = launch.within.clone();
        words.extend([SKERRY, "serve"].map(str::to_owned));
        let mut option = |name: &str, value: String| words.extend([name.to_owned(), value]);
        option("--node-id", id.to_string());
        option("--http", self.place.http.to_string());
        option("--node-addr", listens.to_string());
        option("--data", self.data.display().to_string());
        option("--reads", format!("{:?}", launch.reads).to_lowercase());
        for place in places {
            let called = if place.id == id { listens } else { place.called };
            option("--member", format!("{}={},{called}", place.id, place.http));
        }
        if id == FOUNDER {
            option("--shards", SHARDS.to_string());
            words.push("--bootstrap".to_owned());
        }
        words.extend(launch.options.iter().cloned());
        let words: Vec<_> = words.iter().map(|word| word.replace("{id}", &id.to_string())).collect();
        self.process = Some(Process::start(&words[0], &words[1..]));
    }

    /// Its process.
    pub(super) fn process(&mut self) -> &mut Process {
        self.process.as_mut().expect("it was started")
    }

    /// SIGKILL.
    pub(super) fn kill(&mut self) {
        self.process().kill();
        self.process = None;
    }

    /// SIGTERM, where it runs; it must end well.
    pub(super) fn stop(&mut self) {
        if let Some(mut process) = self.process.take() {
            assert!(process.stop(), "node {}:\n{}", self.place.id, process.said());
        }
    }

    /// Waits until it answers such a GET with such a status.
    pub(super) fn answers(&mut self, path: &str, status: u16) {
        let (url, id) = (format!("{}{path}", self.url()), self.place.id);
        let process = self.process();
        until(format!("node {id} to answer {path}"), || {
            assert!(!process.has_ended(), "node {id} ended by itself:\n{}", process.said());
            http(&url, "GET", None).ok().filter(|(found, _)| *found == status)
        });
    }

    /// Its disk, where it has one of its own.
    pub(super) fn disk(&self) -> Option<&Disk> {
        self.disk.as_ref()
    }

    /// Where the test finds its HTTP API.
    pub(super) fn url(&self) -> String {
        format!("http://{}", self.place.door)
    }

    /// Where its log is.
    pub(super) fn log(&self) -> PathBuf {
        self.data.join("log")
    }

    /// Drops its folder with everything that it had.
    pub(super) fn forget(self) {
        let Self { process, disk, data, .. } = self;
        drop(process);
        drop(disk);
        std::fs::remove_dir_all(data).expect("nothing else is in it");
    }

    /// Prints what it said last.
    pub(super) fn tell(&self) {
        const LINES: usize = 40;
        let said = self.process.as_ref().map(Process::said).unwrap_or_default();
        let lines: Vec<_> = said.lines().rev().take(LINES).collect();
        println!("node {} said at last:", self.place.id);
        lines.iter().rev().for_each(|line| println!("  {line}"));
    }

    /// Ends it, whatever it is doing.
    pub(super) fn end(&mut self) {
        self.process = None;
    }
}
