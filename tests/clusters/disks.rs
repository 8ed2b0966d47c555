//! Disks that fill up, as real file systems: one of three nodes gives up leadership, a node alone refuses writes, and the
//! edge in front of it keeps what it has until there is room. Where no file system may be mounted, nothing is shown.

use std::path::{Path, PathBuf};
use std::process::Command;

use serde_json::json;
use skerry_tests::processes::{Cluster, Edge, http, until};

use super::requests::{BINARIES, create, read, write};

/// Larger than what a node must keep free, so that it starts with room.
const DISK_MIB: u64 = 1_400;
/// What leaves less than that.
const FILLER_BYTES: u64 = 400 << 20;

/// A small file system in memory, unmounted in the end.
struct SmallDisk(tempfile::TempDir);

impl SmallDisk {
    /// `None`, and a message, where it is not allowed.
    fn mount() -> Option<Self> {
        let folder = tempfile::tempdir().unwrap();
        let size = format!("size={DISK_MIB}m");
        let mounted = Command::new("mount").args(["-t", "tmpfs", "-o", &size, "tmpfs"]).arg(folder.path()).output();
        if mounted.is_ok_and(|mounted| mounted.status.success()) {
            return Some(Self(folder));
        }
        println!("skipped: no file system may be mounted here");
        None
    }

    /// A folder of clusters in which the first node's data is on this disk.
    fn for_first_node(&self) -> tempfile::TempDir {
        let folder = tempfile::tempdir().unwrap();
        std::os::unix::fs::symlink(self.0.path(), folder.path().join("core-1")).unwrap();
        folder
    }

    fn filler(&self) -> PathBuf {
        self.0.path().join("filler")
    }

    fn fill(&self) {
        let file = std::fs::File::create(self.filler()).unwrap();
        let zeros = vec![0; 1 << 20];
        let mut written = 0;
        while written < FILLER_BYTES {
            written += std::io::Write::write(&mut &file, &zeros).unwrap() as u64;
        }
    }

    fn clear(&self) {
        std::fs::remove_file(self.filler()).unwrap();
    }
}

impl Drop for SmallDisk {
    fn drop(&mut self) {
        // The folder stays behind where it is still in use.
        let path: &Path = self.0.path();
        let _ = Command::new("umount").arg(path).status();
    }
}

#[test]
fn a_node_with_a_full_disk_gives_up_leadership_until_it_has_room() {
    let Some(disk) = SmallDisk::mount() else { return };
    let mut cluster = Cluster::start_in(disk.for_first_node(), BINARIES, 3, 1, &[]);
    create(&cluster.url(1), "items", "strict");
    cluster.cli(&["cluster", "transfer-leader", "--shard", "0", "--to", "1"]).unwrap();
    assert_eq!(cluster.leader(), 0);
    disk.fill();
    until("another leader", || (cluster.leader() != 0).then_some(()));
    until("writes", || (write(&cluster.url(0), "PUT", "items", "rope", &json!({ "n": 1 })) < 300).then_some(()));
    assert_eq!(read(&cluster.url(0), "items", "rope"), Some(json!({ "n": 1 })));
    let refused = cluster.cli(&["cluster", "transfer-leader", "--shard", "0", "--to", "1"]).unwrap_err();
    assert!(refused.contains("the disk of node 1 is nearly full"), "{refused}");
    disk.clear();
    until("room", || cluster.cli(&["cluster", "transfer-leader", "--shard", "0", "--to", "1"]).ok());
    assert_eq!(cluster.leader(), 0);
    let said = cluster.node(0).said();
    assert_eq!(said.matches("the disk is nearly full").count(), 1, "{said}");
    assert_eq!(said.matches("the disk has room again").count(), 1, "{said}");
}

#[test]
fn a_full_core_refuses_writes_and_its_edge_keeps_them() {
    let Some(disk) = SmallDisk::mount() else { return };
    let cluster = Cluster::start_in(disk.for_first_node(), BINARIES, 1, 1, &[]);
    create(&cluster.url(0), "items", "lww");
    assert_eq!(write(&cluster.url(0), "PUT", "items", "core", &json!({ "n": 1 })), 201);
    let edge = Edge::start(&cluster, "shop-1");
    edge.synced();
    disk.fill();
    let document = format!("{}/v1/collections/items/documents/core", cluster.url(0));
    let refused = until("writes to be refused", || {
        let (status, body) = http(&document, "PUT", Some(&json!({ "n": 2 }))).unwrap();
        (status == 507).then_some(body)
    });
    assert!(refused["type"].as_str().unwrap().ends_with("disk-full"), "{refused}");
    assert!(refused["detail"].as_str().unwrap().contains("node 1 takes no writes"), "{refused}");
    assert!(read(&cluster.url(0), "items", "core").is_some());
    assert_eq!(write(&edge.url(), "PUT", "items", "edge", &json!({ "n": 3 })), 201);
    until("the edge to hear of it", || {
        let (_, status) = http(&format!("{}/v1/sync/status", edge.url()), "GET", None).unwrap();
        (status["unsent"] == 1 && status["error"].as_str().is_some_and(|error| error.contains("507"))).then_some(())
    });
    disk.clear();
    edge.synced();
    assert_eq!(read(&cluster.url(0), "items", "edge"), Some(json!({ "n": 3 })));
    assert!(write(&cluster.url(0), "PUT", "items", "core", &json!({ "n": 2 })) < 300);
}
