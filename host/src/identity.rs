//! Who a node is: its id, the random id of its folder, and the cluster it belongs to, once it does. Kept in the log
//! database, durable before anything is said to a peer, so that an emptied folder is never taken for the old one.

use std::collections::BTreeMap;
use std::sync::Arc;

use bytes::Bytes;
use serde::{Deserialize, Serialize};
use skerry_model::{NodeId, Nonce, Timeline};
use skerry_store::{Batch, KeyRange, Limit, LogDb, LogWriter};

use crate::consensus::network::hello::Founding;
use crate::consensus::types::NodeAddress;
use crate::documents::keys;

/// Shard number that no shard has: the log database keeps its own rows under it.
const PREFIX: [u8; 2] = [0xff, 0xff];

/// Why the identity cannot be read or written.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The log database.
    #[error(transparent)]
    Store(#[from] skerry_store::Error),
    /// A row.
    #[error(transparent)]
    Unreadable(#[from] keys::Unreadable),
}

/// Who a node is.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Identity {
    /// The node.
    pub node: NodeId,
    /// Random id of the data folder.
    pub folder: Nonce,
    /// The cluster; none until it is founded or joined.
    pub founding: Option<Founding>,
    /// The cluster's nodes, this one among them, and where they are reached, as last heard: none of the founders may be left.
    pub members: BTreeMap<NodeId, NodeAddress>,
    /// Whether this node founded the cluster and so makes its shards' first membership.
    pub founder: bool,
    /// The line of history that a recovery of this folder begins, until the recovery is done: nothing runs on it before.
    #[serde(default)]
    pub recovering: Option<Timeline>,
}

/// The identity rows of a log database.
#[derive(Clone)]
pub struct Identities {
    db: Arc<dyn LogDb>,
    writer: Arc<LogWriter>,
}

impl Identities {
    /// The rows in this database.
    #[must_use]
    pub fn new(db: Arc<dyn LogDb>, writer: Arc<LogWriter>) -> Self {
        Self { db, writer }
    }

    /// The node's own, or `None` in a new folder.
    ///
    /// # Errors
    /// [`Error`].
    pub fn own(&self) -> Result<Option<Identity>, Error> {
        Ok(self.db.get(&own_key())?.map(|row| keys::decode("identity", &row)).transpose()?)
    }

    /// Stores the node's own; on the disk when it returns.
    ///
    /// # Errors
    /// [`Error`].
    pub async fn set_own(&self, identity: &Identity) -> Result<(), Error> {
        self.write(own_key(), identity).await
    }

    /// The folders that peers have called from.
    ///
    /// # Errors
    /// [`Error`].
    pub fn peers(&self) -> Result<BTreeMap<NodeId, Nonce>, Error> {
        let range = KeyRange::prefix([&PREFIX[..], b"p"].concat());
        let rows = self.db.scan(&range, Limit::rows(usize::MAX), skerry_store::Direction::Forward)?;
        rows.iter().map(|(_, row)| Ok(keys::decode("peer", row)?)).collect()
    }

    /// Remembers the folder of a peer; on the disk when it returns.
    ///
    /// # Errors
    /// [`Error`].
    pub async fn set_peer(&self, peer: NodeId, folder: Nonce) -> Result<(), Error> {
        let key = [&PREFIX[..], b"p", &peer.get().to_be_bytes()].concat();
        self.write(key.into(), &(peer, folder)).await
    }

    async fn write<T: Serialize>(&self, key: Bytes, value: &T) -> Result<(), Error> {
        let mut batch = Batch::new();
        batch.put(key, keys::encode(value));
        Ok(self.writer.write(batch).await?)
    }
}

fn own_key() -> Bytes {
    [&PREFIX[..], b"i"].concat().into()
}
