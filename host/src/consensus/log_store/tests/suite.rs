//! openraft's conformance suite. It also tests a state machine, so there is the smallest one here.

use std::sync::Arc;

use futures::{Stream, TryStreamExt};
use openraft::entry::RaftPayload;
use openraft::storage::{EntryResponder, RaftStateMachine};
use openraft::testing::log::{StoreBuilder, Suite};
use openraft::type_config::alias::{SnapshotMetaOf, SnapshotOf, StoredMembershipOf};
use openraft::{RaftSnapshotBuilder, StorageError};
use skerry_store::fjall::FjallLog;
use skerry_store::simulated::Disk;
use tempfile::TempDir;

use super::*;
use crate::consensus::types::NodeAddress;

openraft::declare_raft_types!(
    /// As the real ones, but with numbers for node ids, which is what the suite can make.
    SuiteConfig:
        D = Command,
        R = <TypeConfig as RaftTypeConfig>::R,
        NodeId = u64,
        Node = NodeAddress,
        LeaderId = openraft::impls::leader_id_std::LeaderId<u64, u64>,
);

/// Remembers what it applied and nothing else.
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

type Built<G> = Result<(G, LogStore<SuiteConfig>, Machine), StorageError<SuiteConfig>>;

/// Keeps no entry in memory that is on the disk, or every one.
struct OnFjall {
    recent_bytes_max: usize,
}

impl StoreBuilder<SuiteConfig, LogStore<SuiteConfig>, Machine, TempDir> for OnFjall {
    async fn build(&self) -> Built<TempDir> {
        let folder = tempfile::tempdir().unwrap();
        let database = Arc::new(FjallLog::open(folder.path()).unwrap());
        Ok((folder, open(database, Mode::Thread, self.recent_bytes_max), Machine::default()))
    }
}

struct OnSimulated {
    mode: Mode,
    recent_bytes_max: usize,
}

impl StoreBuilder<SuiteConfig, LogStore<SuiteConfig>, Machine> for OnSimulated {
    async fn build(&self) -> Built<()> {
        Ok(((), open(Arc::new(Disk::new(0).log()), self.mode, self.recent_bytes_max), Machine::default()))
    }
}

/// The suite sleeps for seconds, so its runs sleep side by side.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_suite_passes_on_fjall() {
    let (from_memory, from_disk) = tokio::join!(
        Suite::test_all(OnFjall { recent_bytes_max: usize::MAX }),
        Suite::test_all(OnFjall { recent_bytes_max: 0 }),
    );
    from_memory.unwrap();
    from_disk.unwrap();
}

#[tokio::test]
async fn the_suite_passes_on_the_simulated_disk() {
    let (from_memory, from_disk, with_a_thread) = tokio::join!(
        Suite::test_all(OnSimulated { mode: Mode::Inline, recent_bytes_max: usize::MAX }),
        Suite::test_all(OnSimulated { mode: Mode::Inline, recent_bytes_max: 0 }),
        Suite::test_all(OnSimulated { mode: Mode::Thread, recent_bytes_max: 0 }),
    );
    from_memory.unwrap();
    from_disk.unwrap();
    with_a_thread.unwrap();
}
