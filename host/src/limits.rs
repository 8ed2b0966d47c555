//! Bounds of a core node, by name; what clients meet is in `skerry_model::limits`.

use std::time::Duration;

use skerry_guest::laws::Effort;

/// A part of a plugin's component in the log.
pub const PLUGIN_CHUNK_BYTES: usize = 256 << 10;
/// A view of up to this size is always stored whole, as splices would save nothing.
pub const VIEW_WHOLE_BYTES: usize = 1 << 10;
/// Splices between a version and its last whole copy.
pub const SPLICES_MAX: u16 = 64;
/// Deltas after which a document that is loaded is saved whole.
pub const FOLD_DELTAS_MIN: usize = 128;
/// Merge documents kept in memory by one node, in bytes.
pub const LIVE_BYTES_MAX: u64 = 256 << 20;
/// Requests that wait for one document; past it the answer is 429.
pub const DOCUMENT_QUEUE_MAX: usize = 256;
/// Bytes of the requests that wait for one document; past it the answer is 429.
pub const DOCUMENT_QUEUE_BYTES_MAX: usize = 1 << 20;
/// Bytes of records proposed and not yet applied, per shard; past it the answer is 429.
pub const IN_FLIGHT_BYTES_MAX: usize = 64 << 20;
/// One log record.
pub const RECORD_BYTES_MAX: usize = 20 << 20;
/// Bytes of documents and requests that are evaluated on a thread that also carries heartbeats.
pub const EVALUATED_INLINE_BYTES_MAX: usize = 64 << 10;
/// Changes to documents in one record.
pub const GROUP_MAX: usize = 1_024;
/// What they may take together, in bytes; one alone may be larger.
pub const GROUP_BYTES_MAX: usize = 1 << 20;
/// Evaluated changes that wait for a record, per shard; past it the answer is 429.
pub const GROUP_QUEUE_MAX: usize = 4_096;
/// How far a proposed SCN may lie ahead of the leader's clock, in milliseconds.
pub const SCN_AHEAD_MS_MAX: u64 = 500;
/// How often an evaluation starts over when its preconditions no longer hold.
pub const EVALUATIONS_MAX: usize = 10;
/// How long a write waits for its record to be applied before its outcome is called unknown.
pub const PROPOSAL_TIMEOUT: Duration = Duration::from_secs(10);
/// How long a request waits for a leader.
pub const LEADER_TIMEOUT: Duration = Duration::from_secs(5);
/// How long a read waits for the node to catch up with the leader.
pub const READ_TIMEOUT: Duration = Duration::from_secs(5);
/// How long a node that has heard how far its shards have come may say that nothing is new.
pub const IN_TOUCH: Duration = Duration::from_secs(5);
/// Evaluations of merge documents that run at once.
pub const EVALUATION_THREADS: usize = 4;

/// How many times as long as an evaluation took in which a plugin failed its version rests, and at most how long.
pub const PLUGIN_REST_FACTOR: u32 = 8;
/// The longest such rest.
pub const PLUGIN_REST_MAX: Duration = Duration::from_secs(2);

/// Evaluations of one version of a plugin that run at once, so that one that takes all the fuel it may leaves threads to the
/// other collections.
pub const EVALUATIONS_OF_A_PLUGIN: usize = EVALUATION_THREADS * 3 / 4;

/// A frame between nodes.
pub const NODE_FRAME_BYTES_MAX: usize = 24 << 20;
/// Requests that wait on one connection between nodes.
pub const NODE_QUEUE_MAX: usize = 4_096;
/// How long a node waits for the connection to a peer, its TCP handshake and its Hello.
pub const NODE_CONNECT_TIMEOUT: Duration = Duration::from_secs(2);
/// How long an append waits for a peer's disk before the pipeline is started anew.
pub const NODE_APPEND_TIMEOUT: Duration = Duration::from_secs(3);
/// The first frame of a connection, which may come from anybody.
pub const NODE_HELLO_BYTES_MAX: usize = 64 << 10;
/// Bytes that wait to be sent on one connection between nodes; past it whoever sends waits. One frame may be as large.
pub const NODE_QUEUE_BYTES_MAX: usize = 32 << 20;
/// Bytes of requests of one connection that a node works on at once; past it the connection is not read.
pub const NODE_WORK_BYTES_MAX: usize = 64 << 20;
/// What the smallest of them counts as.
pub const NODE_WORK_BYTES_MIN: usize = 16 << 10;
/// Appends of one shard and connection that wait for the disk; past it the connection is not read.
pub const NODE_APPENDS_MAX: usize = 16;
/// How long a peer that owes answers may say nothing before the connection is given up: TCP alone may take minutes to find
/// its way again after a network was cut.
pub const NODE_SILENCE_MAX: Duration = Duration::from_secs(5);
/// The same where an answer may take its time: a snapshot is installed, a plugin compiled.
pub const NODE_BULK_SILENCE_MAX: Duration = Duration::from_secs(60);
/// How often a connection is looked at: whether the peer still speaks, and may still come in.
pub const NODE_CONNECTION_CHECK: Duration = Duration::from_secs(1);
/// Callers whose refusals are told apart in the log.
pub const REFUSALS_LOGGED_MAX: usize = 256;
/// Connections that a node takes from its peers at once.
pub const NODE_CONNECTIONS_MAX: usize = 256;
/// Entries of a shard's log after which its state is flushed and its log purged again.
pub const LOG_ENTRIES_BETWEEN_SNAPSHOTS: u64 = 5_000;
/// Entries that a purge leaves: whoever was away for no longer catches up from the log.
pub const LOG_ENTRIES_KEPT: u64 = 10_000;
/// Entries below which a purge waits for more.
pub const LOG_PURGE_ENTRIES_MIN: u64 = 1_000;
/// Bytes of a shard's log after which its state is flushed and its log purged, however few entries they are.
pub const LOG_BYTES_MAX: u64 = 1 << 30;
/// Bytes that such a purge leaves.
pub const LOG_BYTES_KEPT: u64 = 512 << 20;
/// The share of either that a log may take while the disk is nearly full: a divisor.
pub const LOG_BYTES_LOW_DIVISOR: u64 = 16;
/// Where a chunk of a snapshot ends, in bytes of keys and values; its last row may pass it.
pub const SNAPSHOT_CHUNK_BYTES: usize = 1 << 20;
/// What one transfer of a snapshot may take of the network and of the receiver's disk, in bytes a second.
pub const SNAPSHOT_BYTES_PER_SECOND_MAX: u64 = 64 << 20;
/// How long a chunk of a snapshot may take until it is on the receiver's disk.
pub const SNAPSHOT_CHUNK_TIMEOUT: Duration = Duration::from_secs(10);
/// How long a snapshot that has arrived may take to be installed; the receiver flushes and deletes a keyspace.
pub const SNAPSHOT_INSTALL_TIMEOUT: Duration = Duration::from_secs(30);
/// How long the transfer of a snapshot may stand still before the leader begins another one.
pub const SNAPSHOT_STALL_TIMEOUT: Duration = Duration::from_secs(60);
/// How often a receiver may throw away what it got of a snapshot before the leader begins another one.
pub const SNAPSHOT_RESTARTS_MAX: u32 = 3;
/// How long a sender waits after a part of a snapshot was lost.
pub const SNAPSHOT_RETRY_PAUSE: Duration = Duration::from_millis(200);
/// Of the documents that a plugin's version was tried on, in percent, the ones that it may fail on before the version is
/// rolled back.
pub const FAILING_SHARE_MAX: usize = 10;
/// Fewer failing documents than this are no reason, whatever their share.
pub const FAILING_DOCUMENTS_MIN: usize = 10;
/// And none before the version was tried on so many.
pub const TRIED_DOCUMENTS_MIN: usize = 50;
/// Documents that are remembered of each version.
pub const HEALTH_DOCUMENTS_MAX: usize = 10_000;
/// Versions that anything is remembered of.
pub const HEALTH_VERSIONS_MAX: usize = 64;
/// How often a node looks whether a version fails on too many documents.
pub const HEALTH_PAUSE: Duration = Duration::from_secs(1);
/// Documents whose views are computed anew in one go, after a plugin has changed.
pub const REVIEW_STEP: usize = 50;
/// How long a shard's leader rests after each such step, and after each [`SCAN_STEP`] documents that it has looked at.
pub const REVIEW_PAUSE: Duration = Duration::from_millis(100);
/// How long it waits before it tries again what did not work.
pub const REVIEW_RETRY_PAUSE: Duration = Duration::from_secs(5);
/// How long a follower rests between two rounds of its audit.
pub const AUDIT_PAUSE: Duration = Duration::from_secs(1);
/// Inputs on which replicas disagree that a node keeps.
pub const AUDIT_INPUTS_MAX: usize = 16;
/// How much the law check tries before a deployment.
pub const LAW_EFFORT: Effort = Effort { cases: 100, time: Duration::from_secs(20), cases_min: LAW_CASES_MIN };
/// Fewer cases than this in that time, and the plugin is too slow to be checked.
pub const LAW_CASES_MIN: u32 = 20;
/// Real documents that its cases are made from.
pub const LAW_SAMPLES_MAX: usize = 64;
/// One of them, in bytes; larger ones are left alone.
pub const LAW_SAMPLE_BYTES_MAX: usize = 64 << 10;
/// Documents that are looked at for them.
pub const LAW_SAMPLED_MAX: usize = 2_000;
/// How long a dry run may compare.
pub const DRY_RUN_TIME_MAX: Duration = Duration::from_secs(30);
/// Documents that a dry run looks at.
pub const DRY_RUN_DOCUMENTS_MAX: usize = 10_000;
/// Of those that would change, the ones that it shows.
pub const DRY_RUN_EXAMPLES: usize = 5;
/// How long a node may take to store and compile a plugin that is staged.
pub const STAGE_TIMEOUT: Duration = Duration::from_secs(30);
/// Records of a shard after which its replicas compare a hash over all that they have done.
pub const EFFECTS_COMPARED_EVERY: u64 = 10_000;
/// How long a leader that hands over waits for the other to lead.
pub const HAND_OVER_TIMEOUT: Duration = Duration::from_secs(1);
/// How long ago a leader may have heard a node that counts as being there.
pub const HEARD_WITHIN: Duration = Duration::from_secs(2);
/// How often a leader looks whether its group is what it is wanted to be.
pub const STEER_PAUSE: Duration = Duration::from_millis(500);
/// How long a node waits to hear whether another one is there.
pub const PING_TIMEOUT: Duration = Duration::from_secs(1);
/// How long a node whose disk is nearly full waits for others to lead before it campaigns: as long as they take for it.
pub const LOW_CAMPAIGN_AFTER: Duration = Duration::from_secs(3);
/// How long a node without a cluster waits before it asks its peers again.
pub const JOIN_PAUSE: Duration = Duration::from_millis(300);
/// How long a node that stops, and has nothing under way, gives its last answers to reach the network.
pub const STOP_GRACE: Duration = Duration::from_millis(100);
/// How long a node that stops waits for its shards.
pub const STOP_TIMEOUT: Duration = Duration::from_secs(5);
/// How many nodes a cluster may have.
pub const CLUSTER_SIZES: [usize; 4] = [1, 3, 5, 7];
/// How far a node port lies above its HTTP port where nothing else is said.
pub const NODE_PORT_OFFSET: u16 = 1_000;
/// Shards of a cluster.
pub const SHARDS_MAX: u16 = 64;
/// Documents read from one shard while a page of a scan is put together.
pub const SCAN_STEP: usize = 256;
/// Steps that one batch of a pull reads; one that found little by then says where to go on.
pub const PULL_STEPS_MAX: usize = 16;
/// How long the feed reaches back, unless an operator says otherwise: 90 days.
pub const REJOIN_WINDOW: Duration = Duration::from_secs(90 * 24 * 60 * 60);
/// Feed entries read in one step of a pull, and let go of by one record.
pub const FEED_STEP: usize = 1_024;
/// Clients that listen for news at one node at once; past it they get 429.
pub const EVENT_STREAMS_MAX: usize = 4_096;
/// The shortest time between two events of one stream.
pub const EVENT_INTERVAL: Duration = Duration::from_millis(100);
/// How long a stream of events is silent before it says that it is alive.
pub const EVENT_SILENCE_MAX: Duration = Duration::from_secs(15);

const _: () = assert!(NODE_FRAME_BYTES_MAX > RECORD_BYTES_MAX);
const _: () = assert!(NODE_QUEUE_BYTES_MAX >= NODE_FRAME_BYTES_MAX);
const _: () = assert!(NODE_WORK_BYTES_MAX >= NODE_FRAME_BYTES_MAX);
const _: () = assert!(NODE_BULK_SILENCE_MAX.as_secs() > SNAPSHOT_INSTALL_TIMEOUT.as_secs());
const _: () = assert!(NODE_BULK_SILENCE_MAX.as_secs() > STAGE_TIMEOUT.as_secs());
// No row is larger than the record that made it.
const _: () = assert!(NODE_FRAME_BYTES_MAX > SNAPSHOT_CHUNK_BYTES + RECORD_BYTES_MAX);
const _: () = assert!(SNAPSHOT_STALL_TIMEOUT.as_secs() > SNAPSHOT_INSTALL_TIMEOUT.as_secs());
const _: () = assert!(RECORD_BYTES_MAX > skerry_model::limits::HISTORY_BYTES_MAX);
const _: () = assert!(SHARDS_MAX as usize == skerry_channel::limits::SHARDS_MAX);
/// Documents of a push that are judged on one thread at least, where there are as many.
pub const PUSH_PART_DOCUMENTS_MIN: usize = 64;
/// Clients of Automerge that a node has connections with.
pub const CLIENTS_MAX: usize = 1_024;
/// A message of a client of Automerge, in bytes.
pub const CLIENT_MESSAGE_BYTES_MAX: usize = 16 << 20;
/// Documents that one connection of a client of Automerge has open.
pub const CLIENT_DOCUMENTS_MAX: usize = 4_096;
/// Documents that are not there and that one such connection is told of once they are.
pub const CLIENT_AWAITED_MAX: usize = 64;
/// How long such a client may take for its first message.
pub const CLIENT_JOIN_TIMEOUT: Duration = Duration::from_secs(10);
/// How long such a client may take nothing of what it is sent.
pub const CLIENT_SEND_TIMEOUT: Duration = Duration::from_secs(30);
/// How often such a client is asked whether it is there, and this node whether it still hears what is new.
pub const CLIENT_PING_EVERY: Duration = Duration::from_secs(15);
/// How long such a client may say nothing at all.
pub const CLIENT_SILENCE_MAX: Duration = Duration::from_secs(45);
/// The shortest time between two looks for news of the documents that a client has open.
pub const CLIENT_NEWS_INTERVAL: Duration = Duration::from_millis(5);
/// How long a write of such a client is tried again while the cluster cannot take it.
pub const CLIENT_WRITE_PATIENCE: Duration = Duration::from_secs(30);
/// Messages between clients of Automerge that a slow one may be behind before it misses some.
pub const EPHEMERAL_QUEUE_MAX: usize = 256;
/// One message between clients of Automerge, in bytes.
pub const EPHEMERAL_BYTES_MAX: usize = 64 << 10;
/// Tickets that are given out and not used yet.
pub const TICKETS_MAX: usize = 10_000;
/// How long a ticket is good for.
pub const TICKET_LIFETIME: Duration = Duration::from_secs(30);
