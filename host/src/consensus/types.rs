//! What openraft is told of this database: an opaque command in, a small answer out, ids and addresses.
//! Knows nothing of what a command holds: the leader encodes it once, log and network carry its bytes.

use std::fmt;

use bytes::Bytes;
use openraft::impls::leader_id_std;
use serde::{Deserialize, Serialize};
use skerry_model::ids::NodeId;

use crate::documents::record::Applied;
use crate::env::runtime::Runtime;

openraft::declare_raft_types!(
    /// The types of every Raft group of a cluster.
    pub TypeConfig:
        D = Command,
        R = Applied,
        NodeId = NodeId,
        Node = NodeAddress,
        LeaderId = leader_id_std::LeaderId<u64, NodeId>,
        AsyncRuntime = Runtime,
);

/// A handle on one Raft group with state machine `S`.
pub type Raft<S> = openraft::Raft<TypeConfig, S>;
/// What a group says of itself on this node.
pub type RaftMetrics = openraft::RaftMetrics<TypeConfig>;
/// One entry of a group's log.
pub type Entry = openraft::type_config::alias::EntryOf<TypeConfig>;
/// Term and index of an entry.
pub type LogId = openraft::type_config::alias::LogIdOf<TypeConfig>;
/// For whom a node has voted, and whether a quorum has.
pub type Vote = openraft::type_config::alias::VoteOf<TypeConfig>;
/// The voters and learners of a group.
pub type Membership = openraft::Membership<NodeId, NodeAddress>;
/// The membership with the entry that set it.
pub type StoredMembership = openraft::type_config::alias::StoredMembershipOf<TypeConfig>;
/// What a snapshot covers.
pub type SnapshotMeta = openraft::type_config::alias::SnapshotMetaOf<TypeConfig>;
/// First and last of a group's log.
pub type LogState = openraft::storage::LogState<TypeConfig>;

/// One encoded record of a shard's log. Cloning shares the bytes.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Command(Bytes);

impl Command {
    /// A command of these bytes.
    #[must_use]
    pub fn new(record: impl Into<Bytes>) -> Self {
        Self(record.into())
    }

    /// The record's bytes.
    #[must_use]
    pub fn bytes(&self) -> &Bytes {
        &self.0
    }

    /// The record's bytes.
    #[must_use]
    pub fn into_bytes(self) -> Bytes {
        self.0
    }
}

impl fmt::Display for Command {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} bytes", self.0.len())
    }
}

impl fmt::Debug for Command {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Command({self})")
    }
}

/// Where a core node is reached.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct NodeAddress {
    /// The node port, as `host:port`.
    pub node: String,
    /// The base URL of the HTTP interface.
    pub http: String,
}

impl fmt::Display for NodeAddress {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.node)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A record may be megabytes: neither a log line nor an error repeats it.
    #[test]
    fn commands_print_their_length_only() {
        let command = Command::new(vec![7; 1 << 20]);
        assert_eq!(command.to_string(), "1048576 bytes");
        assert_eq!(format!("{command:?}"), "Command(1048576 bytes)");
    }

    #[test]
    fn commands_are_encoded_as_one_byte_string() {
        let command = Command::new(vec![7, 8]);
        let mut encoded = Vec::new();
        ciborium::into_writer(&command, &mut encoded).unwrap();
        assert_eq!(encoded, [0x42, 7, 8]);
        assert_eq!(ciborium::from_reader::<Command, _>(&*encoded).unwrap(), command);
    }
}
