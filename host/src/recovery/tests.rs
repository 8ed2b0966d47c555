//! Recovery of folders on simulated disks, cut short at every write.

use std::sync::atomic::{AtomicUsize, Ordering};

use bytes::Bytes;
use openraft::EntryPayload;
use skerry_model::Nonce;
use skerry_store::simulated::{Disk, SimulatedLog};
use skerry_store::{Batch, Direction, Durability, KeyRange, Limit, OrderedStore, Row};

use super::*;
use crate::catalog::{Catalog, MemberStep, Step};
use crate::consensus::network::hello::Founding;
use crate::consensus::types::{Membership, NodeAddress, StoredMembership};
use crate::documents::keys::header;
use crate::documents::record::{Effect, Record};

const CLUSTER: ClusterId = ClusterId::from_bytes([1; 16]);
const OLD: Timeline = Timeline::from_bytes([2; 16]);
const NEW: Timeline = Timeline::from_bytes([3; 16]);
const SHARDS: u16 = 2;

/// A clock that stands still, and randomness that is not random.
struct Fixed;

impl Clock for Fixed {
    fn now_ms(&self) -> u64 {
        5_000
    }
}

impl Random for Fixed {
    fn fill(&self, bytes: &mut [u8]) {
        bytes.fill(NEW.as_bytes()[0]);
    }
}

/// A log database that fails after so many commits.
struct Failing {
    log: SimulatedLog,
    left: AtomicUsize,
}

impl OrderedStore for Failing {
    fn get(&self, key: &[u8]) -> Result<Option<Bytes>, skerry_store::Error> {
        self.log.get(key)
    }

    fn scan(&self, range: &KeyRange, limit: Limit, direction: Direction) -> Result<Vec<Row>, skerry_store::Error> {
        self.log.scan(range, limit, direction)
    }
}

impl LogDb for Failing {
    fn commit(&self, batch: Batch, durability: Durability) -> Result<(), skerry_store::Error> {
        let left = self.left.fetch_update(Ordering::Relaxed, Ordering::Relaxed, |left| left.checked_sub(1));
        let closed = |_| skerry_store::Error::Closed { writer: "a log that fails".to_owned() };
        left.map_err(closed)?;
        self.log.commit(batch, durability)
    }
}

fn folder(disk: &Disk) -> Folder {
    Folder::on(Arc::new(disk.log()), Arc::new(disk.state()), Mode::Inline).unwrap()
}

fn address(node: u64) -> NodeAddress {
    NodeAddress { node: format!("127.0.0.1:{node}"), http: String::new() }
}

fn members(nodes: &[u64]) -> Vec<(NodeId, NodeAddress)> {
    nodes.iter().map(|node| (NodeId::new(*node), address(*node))).collect()
}

fn group(nodes: &[u64]) -> Membership {
    let voters = nodes.iter().copied().map(NodeId::new).collect();
    Membership::new(vec![voters], members(nodes).into_iter().collect::<std::collections::BTreeMap<_, _>>()).unwrap()
}

fn id(term: u64, index: u64) -> LogId {
    openraft::testing::log_id::<crate::consensus::types::TypeConfig>(term, NodeId::new(1), index)
}

fn create(name: &str) -> Step {
    let (name, policy) = (name.parse().unwrap(), "strict".parse().unwrap());
    Step::CreateCollection { name, policy, template: None, text: Vec::new(), settle: false, inbox: None }
}

fn step(version: u64, step: Step) -> Effect {
    Effect::Catalog { version: CatalogVersion::new(version), step }
}

/// The folder of node 1 of three. Each shard logs its group, its line of history and these effects, in term 4, and has
/// voted in term 6.
async fn survivor(effects: [&[Effect]; SHARDS as usize]) -> Disk {
    let disk = Disk::new(0);
    let folder = folder(&disk);
    for (number, effects) in (0..).zip(effects) {
        let shard = ShardId::new(number);
        let mut log: LogStore = LogStore::open(shard, Arc::clone(&folder.log), Arc::clone(&folder.writer)).unwrap();
        log.save_vote(&Vote::new(6, NodeId::new(2))).await.unwrap();
        let found = Effect::Found { cluster: CLUSTER, timeline: OLD };
        let records = [&found].into_iter().chain(effects);
        let records = records.map(|effect| Record::new(Scn::at_millis(1_000), effect.clone()).encode());
        let payloads = [EntryPayload::Membership(group(&[1, 2, 3]))].into_iter();
        let payloads = payloads.chain(records.map(EntryPayload::Normal));
        let entries = (0..).zip(payloads).map(|(index, payload)| Entry { log_id: id(4, index), payload });
        log.blocking_append(entries).await.unwrap();
    }
    let founding =
        Founding { cluster: CLUSTER, timeline: OLD, shards: SHARDS, members: members(&[1, 2, 3]), replay_edges: false };
    let (node, nonce) = (NodeId::new(1), Nonce::from_bytes([9; 16]));
    let members = founding.members.iter().cloned().collect();
    let identity = Identity { node, folder: nonce, founding: Some(founding), members, founder: true, recovering: None };
    identities(&folder).set_own(&identity).await.unwrap();
    disk
}

fn identities(folder: &Folder) -> Identities {
    Identities::new(Arc::clone(&folder.log), Arc::clone(&folder.writer))
}

fn rows(disk: &Disk) -> Vec<Row> {
    disk.log().scan(&KeyRange::all(), Limit::rows(usize::MAX), Direction::Forward).unwrap()
}

async fn recover(folder: &Folder) -> Result<Recovered, Error> {
    folder.make_sole_member(CLUSTER, Choices::default(), &Fixed, &Fixed).await
}

/// Node 1 is the whole cluster, on one new line of history, and everything in its log is committed.
#[track_caller]
fn check_recovered(disk: &Disk) {
    let folder = folder(disk);
    let survivor = folder.survivor().unwrap();
    let Identity { founding, recovering, .. } = survivor.identity.clone();
    let founding = founding.unwrap();
    assert_eq!((founding.timeline, founding.members, recovering), (NEW, members(&[1]), None));
    for shard in &survivor.shards {
        let Reached { last, line, membership, scn, .. } = &shard.reached;
        assert_eq!((line, membership), (&Some((CLUSTER, NEW)), &group(&[1])), "shard {}", shard.id);
        assert_eq!(shard.committed, *last);
        assert!(*scn >= Scn::at_millis(5_000), "{scn}");
        let (vote, last) = (shard.vote.unwrap(), last.unwrap());
        assert!(vote.committed && vote.leader_id.term == last.leader_id.term && last.leader_id.term > 6, "{vote}");
    }
    let catalog = &survivor.shards[0].reached.catalog;
    assert!([2, 3].into_iter().all(|node| catalog.members.is_gone(NodeId::new(node))));
    assert!(!catalog.members.is_gone(NodeId::new(1)));
}

#[tokio::test]
async fn a_survivor_becomes_the_whole_cluster() {
    let disk = survivor([&[step(1, create("items"))], &[]]).await;
    let before = rows(&disk);
    let report = folder(&disk).report().unwrap();
    assert_eq!(rows(&disk), before, "it is only shown");
    let last: Vec<_> = report.shards.iter().map(|shard| shard.last.unwrap()).collect();
    assert_eq!(last, [Place { term: 4, index: 2 }, Place { term: 4, index: 1 }]);
    assert_eq!((report.timeline, report.half_recovered, report.shards[0].time_ms), (OLD, false, 1_000));

    let recovered = recover(&folder(&disk)).await.unwrap();
    assert_eq!((recovered.timeline, recovered.changed), (NEW, true));
    assert_eq!(recovered.removed, [2, 3].map(NodeId::new).into());
    check_recovered(&disk);
    let catalog = folder(&disk).survivor().unwrap().shards[0].reached.catalog.clone();
    assert!(catalog.collection(&"items".parse().unwrap()).is_some());

    let before = rows(&disk);
    assert!(!recover(&folder(&disk)).await.unwrap().changed);
    assert_eq!(rows(&disk), before, "said again, it is done already");
}

/// What is applied already counts like what is only in the log, which here begins behind it.
#[tokio::test]
async fn what_is_applied_counts() {
    let disk = survivor([&[step(1, create("items"))], &[]]).await;
    let catalog = Catalog::default().after(&create("tools"));
    let header = header::Header { applied: Some(id(5, 40)), cluster: Some((CLUSTER, OLD)), ..Default::default() };
    let mut batch = Batch::new();
    batch.put(header::key(), header::encode(&header));
    let membership = StoredMembership::new(Some(id(4, 0)), group(&[1, 2, 3]));
    batch.put(header::membership_key(), header::encode_membership(&membership));
    batch.put(catalog::key(), catalog::encode(&catalog));
    batch.put(catalog::step_key(catalog.version), catalog::encode_step(&create("tools")));
    disk.state().keyspace("shard-00000-0").unwrap().commit(batch).unwrap();
    recover(&folder(&disk)).await.unwrap();
    disk.crash();
    check_recovered(&disk);
    let shard = &folder(&disk).survivor().unwrap().shards[0];
    assert_eq!((shard.applied, shard.reached.last.unwrap().index), (Some(id(5, 40)), 44));
    assert!(shard.reached.catalog.collection(&"tools".parse().unwrap()).is_some());
}

/// Killed, with the loss of what was not synced, after every number of commits; the next run finishes on the same line.
#[tokio::test]
async fn a_recovery_cut_short_is_finished() {
    for commits in 0.. {
        assert!(commits < 50, "no end");
        let disk = survivor([&[step(1, create("items"))], &[step(1, create("items"))]]).await;
        let before = rows(&disk);
        let log = Arc::new(Failing { log: disk.log(), left: AtomicUsize::new(commits) });
        let cut = recover(&Folder::on(log, Arc::new(disk.state()), Mode::Inline).unwrap()).await;
        disk.crash();
        if cut.is_ok() {
            assert!(commits > 4);
            return check_recovered(&disk);
        }
        let begun = identities(&folder(&disk)).own().unwrap().unwrap().recovering;
        assert_eq!(begun.is_none(), rows(&disk) == before, "a node must not start on it after {commits} commits");
        assert_eq!(folder(&disk).report().unwrap().half_recovered, begun.is_some());
        assert!(recover(&folder(&disk)).await.unwrap().changed);
        disk.crash();
        check_recovered(&disk);
    }
}

/// A step of the catalog was decided when another shard has it, also if this folder's shard 0 never heard of it.
#[tokio::test]
async fn steps_that_only_another_shard_has_are_kept() {
    let both = [step(1, create("items")), step(2, create("tools"))];
    let disk = survivor([&both[..1], &both]).await;
    recover(&folder(&disk)).await.unwrap();
    check_recovered(&disk);
    let shards = folder(&disk).survivor().unwrap().shards;
    assert_eq!(shards[0].reached.catalog.collections().count(), 2);
    assert_eq!(shards[0].reached.catalog.version.get(), 4, "two collections, two nodes gone");
    assert_eq!(shards[1].reached.catalog.version.get(), 2, "its leader carries the others there");
}

#[track_caller]
fn check_refused(recovered: Result<Recovered, Error>, disk: &Disk, before: &[Row], expected: &str) {
    let error = recovered.unwrap_err().to_string();
    assert!(error.contains(expected), "{error}");
    assert_eq!(rows(disk), before, "nothing has changed");
}

#[tokio::test]
async fn folders_that_must_not_be_recovered_are_refused() {
    let others = [step(1, create("items"))];
    let tools = [step(1, create("tools"))];
    let gone = [step(1, Step::Members(MemberStep::Remove(NodeId::new(1))))];
    for (effects, expected) in [
        ([&others[..], &tools[..]], "shards 0 and 1 of the data folder differ in step 1"),
        ([&gone[..], &[]], "node 1 is no member"),
    ] {
        let disk = survivor(effects).await;
        let before = rows(&disk);
        check_refused(recover(&folder(&disk)).await, &disk, &before, expected);
    }
    let disk = survivor([&[], &[]]).await;
    let before = rows(&disk);
    let other =
        folder(&disk).make_sole_member(ClusterId::from_bytes([7; 16]), Choices::default(), &Fixed, &Fixed).await;
    check_refused(other, &disk, &before, "not to 0707");

    let identity = identities(&folder(&disk)).own().unwrap().unwrap();
    let founding = Founding { shards: SHARDS + 1, ..identity.founding.clone().unwrap() };
    identities(&folder(&disk)).set_own(&Identity { founding: Some(founding), ..identity.clone() }).await.unwrap();
    let before = rows(&disk);
    check_refused(recover(&folder(&disk)).await, &disk, &before, "nothing of shard 2");

    identities(&folder(&disk)).set_own(&Identity { founding: None, ..identity }).await.unwrap();
    let before = rows(&disk);
    check_refused(recover(&folder(&disk)).await, &disk, &before, "belongs to no cluster yet");
}

#[test]
fn a_folder_that_no_node_has_left_is_not_made_into_one() {
    let empty = tempfile::tempdir().unwrap();
    let error = Folder::open(empty.path()).err().unwrap().to_string();
    assert!(error.contains("name the folder that skerry serve had"), "{error}");
    assert_eq!(std::fs::read_dir(empty.path()).unwrap().count(), 0);
}
