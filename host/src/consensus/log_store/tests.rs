//! openraft's own suite over both log databases, and what a crash leaves.

use std::collections::VecDeque;
use std::sync::Arc;

use futures::{Stream, StreamExt, TryStreamExt};
use openraft::entry::RaftPayload;
use openraft::storage::{EntryResponder, RaftStateMachine};
use openraft::testing::log::{StoreBuilder, Suite};
use openraft::type_config::alias::{SnapshotMetaOf, SnapshotOf, StoredMembershipOf};
use openraft::{RaftSnapshotBuilder, StorageError};
use skerry_model::ids::NodeId;
use skerry_store::fjall::FjallLog;
use skerry_store::simulated::Disk;
use skerry_store::{KeyRange, Mode, OrderedStore, Row};
use tempfile::TempDir;

use super::*;
use crate::consensus::types::{Command, Entry, LogId, NodeAddress, Vote};

openraft::declare_raft_types!(
    /// As the real ones, but with numbers for node ids, which is what the suite can make.
    SuiteConfig:
        D = Command,
        R = <TypeConfig as RaftTypeConfig>::R,
        NodeId = u64,
        Node = NodeAddress,
        LeaderId = openraft::impls::leader_id_std::LeaderId<u64, u64>,
);

const SHARD: ShardId = ShardId::new(1);

fn open<C>(database: Arc<dyn LogDb>, mode: Mode) -> LogStore<C>
where
    C: RaftTypeConfig,
    C::Entry: Clone,
{
    let writer = Arc::new(LogWriter::start(database.clone(), mode).unwrap());
    LogStore::open(SHARD, database, writer).unwrap()
}

/// A state machine that remembers what it applied and nothing else.
#[derive(Debug, Clone, Default)]
struct Machine {
    applied: Option<LogIdOf<SuiteConfig>>,
    membership: StoredMembershipOf<SuiteConfig>,
    snapshot: Arc<Mutex<Option<SnapshotMetaOf<SuiteConfig>>>>,
}

impl Machine {
    fn meta(&self) -> SnapshotMetaOf<SuiteConfig> {
        SnapshotMetaOf::<SuiteConfig> { last_log_id: self.applied, last_membership: self.membership.clone() }
    }
}

impl RaftSnapshotBuilder<SuiteConfig> for Machine {
    type SnapshotData = ();

    async fn build_snapshot(&mut self) -> Result<SnapshotOf<SuiteConfig, ()>, io::Error> {
        *self.snapshot.lock() = Some(self.meta());
        Ok(SnapshotOf::<SuiteConfig, ()> { meta: self.meta(), snapshot: () })
    }
}

impl RaftStateMachine<SuiteConfig> for Machine {
    type SnapshotData = ();
    type SnapshotBuilder = Self;

    async fn applied_state(
        &mut self,
    ) -> Result<(Option<LogIdOf<SuiteConfig>>, StoredMembershipOf<SuiteConfig>), io::Error> {
        Ok((self.applied, self.membership.clone()))
    }

    async fn apply<S>(&mut self, mut entries: S) -> Result<(), io::Error>
    where
        S: Stream<Item = Result<EntryResponder<SuiteConfig>, io::Error>> + Unpin + OptionalSend,
    {
        while let Some((entry, _responder)) = entries.try_next().await? {
            self.applied = Some(entry.log_id);
            if let Some(membership) = entry.payload.get_membership() {
                self.membership = StoredMembershipOf::<SuiteConfig>::new(Some(entry.log_id), membership);
            }
        }
        Ok(())
    }

    async fn get_snapshot_builder(&mut self) -> Self {
        self.clone()
    }

    async fn install_snapshot(&mut self, meta: &SnapshotMetaOf<SuiteConfig>, _data: ()) -> Result<(), io::Error> {
        self.applied = meta.last_log_id;
        self.membership = meta.last_membership.clone();
        *self.snapshot.lock() = Some(meta.clone());
        Ok(())
    }

    async fn get_current_snapshot(&mut self) -> Result<Option<SnapshotOf<SuiteConfig, ()>>, io::Error> {
        Ok(self.snapshot.lock().clone().map(|meta| SnapshotOf::<SuiteConfig, ()> { meta, snapshot: () }))
    }
}

struct OnFjall;

impl StoreBuilder<SuiteConfig, LogStore<SuiteConfig>, Machine, TempDir> for OnFjall {
    async fn build(&self) -> Result<(TempDir, LogStore<SuiteConfig>, Machine), StorageError<SuiteConfig>> {
        let folder = tempfile::tempdir().unwrap();
        let database = Arc::new(FjallLog::open(folder.path()).unwrap());
        Ok((folder, open(database, Mode::Thread), Machine::default()))
    }
}

struct OnSimulated(Mode);

impl StoreBuilder<SuiteConfig, LogStore<SuiteConfig>, Machine> for OnSimulated {
    async fn build(&self) -> Result<((), LogStore<SuiteConfig>, Machine), StorageError<SuiteConfig>> {
        Ok(((), open(Arc::new(Disk::new(0).log()), self.0), Machine::default()))
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn openrafts_suite_passes_on_fjall() {
    Suite::test_all(OnFjall).await.unwrap();
}

#[tokio::test]
async fn openrafts_suite_passes_on_the_simulated_disk() {
    Suite::test_all(OnSimulated(Mode::Inline)).await.unwrap();
    Suite::test_all(OnSimulated(Mode::Thread)).await.unwrap();
}
