//! The first frame of each connection: who calls, from which folder, and in which cluster. A node whose folder is not
//! the one that its peers know is refused.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};
use skerry_model::{ClusterId, NodeId, Nonce, Timeline};

use super::message::Lane;
use crate::consensus::types::NodeAddress;

/// The protocol between nodes.
pub const PROTOCOL: u16 = 3;

/// Who calls.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Hello {
    /// [`PROTOCOL`].
    pub protocol: u16,
    /// The caller.
    pub node: NodeId,
    /// Whom it believes to call.
    pub to: NodeId,
    /// Random id of the caller's data folder.
    pub folder: Nonce,
    /// The caller's clock, in milliseconds since 1970.
    pub clock_ms: u64,
    /// What it wants.
    pub purpose: Purpose,
}

/// What a connection is for.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub enum Purpose {
    /// The caller's folder is new and belongs to no cluster yet.
    Join,
    /// Traffic within a cluster.
    Traffic {
        /// The cluster.
        cluster: ClusterId,
        /// Its line of history.
        timeline: Timeline,
        /// What the connection carries.
        lane: Lane,
    },
}

/// What the node that was called answers.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub enum Welcome {
    /// Go on.
    Come,
    /// To one who joins: the cluster, and whether the caller's folder is the one it knows.
    Cluster {
        /// The cluster.
        founding: Founding,
        /// Its nodes now, and where they are reached: none of those that founded it may be left.
        members: BTreeMap<NodeId, NodeAddress>,
        /// Whether another folder is known under the caller's id: then it must not join.
        known_by_another_folder: bool,
    },
    /// To one who joins: it is not part of the cluster, and may be added.
    NotYet,
    /// The connection is refused, for this reason.
    Refused(String),
}

/// What a cluster was founded with: the same for each of its nodes, whenever it came.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Founding {
    /// The cluster.
    pub cluster: ClusterId,
    /// Its line of history.
    pub timeline: Timeline,
    /// How many shards it has.
    pub shards: u16,
    /// The nodes that it began with.
    pub members: Vec<(NodeId, NodeAddress)>,
    /// Whether edges offer again what a core of the line before had acknowledged and this one does not have.
    #[serde(default)]
    pub replay_edges: bool,
}
