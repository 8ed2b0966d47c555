//! Metrics in the Prometheus text format. What lives in other parts' counters is read when the page is asked for.

use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use axum::http::{Method, StatusCode};
use openraft::async_runtime::WatchReceiver;
use parking_lot::Mutex;
use prometheus_client::encoding::EncodeLabelSet;
use prometheus_client::encoding::text::encode;
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::metrics::histogram::Histogram;
use prometheus_client::registry::Registry;
use skerry_channel::message::{Pushed, Verdict};

use crate::node::Node;

/// Seconds; from a local read to a stalled disk.
const LATENCY_BUCKETS: [f64; 12] = [0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 1.0, 5.0, 30.0];

/// The metrics of a node. Cheap to clone.
#[derive(Clone)]
pub struct Metrics(Arc<Inner>);

struct Inner {
    registry: Mutex<Registry>,
    requests: Family<RouteLabels, Counter>,
    latency: Family<PathLabels, Histogram>,
    shard: ShardGauges,
    live_bytes: Gauge,
    refusals: Family<ReasonLabels, Gauge>,
    log: LogGauges,
    disk: DiskGauges,
    plugins: PluginCounters,
    sync: SyncCounters,
}

#[derive(Default)]
struct SyncCounters {
    changes: Family<VerdictLabels, Counter>,
    refused: Family<KindLabels, Counter>,
    forks: Counter,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct VerdictLabels {
    verdict: &'static str,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct KindLabels {
    kind: String,
}

#[derive(Default)]
struct PluginCounters {
    calls: Family<OutcomeLabels, Counter>,
    fuel: Counter,
    audited: Counter,
    divergences: Counter,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct OutcomeLabels {
    outcome: &'static str,
}

#[derive(Default)]
struct DiskGauges {
    free: Gauge,
    low: Gauge,
}

#[derive(Default)]
struct LogGauges {
    syncs: Gauge,
    rows: Gauge,
    bytes: Gauge,
    sync_micros: Gauge,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct ReasonLabels {
    reason: &'static str,
}

#[derive(Default)]
struct ShardGauges {
    term: Family<ShardLabels, Gauge>,
    leads: Family<ShardLabels, Gauge>,
    last: Family<ShardLabels, Gauge>,
    applied: Family<ShardLabels, Gauge>,
    purged: Family<ShardLabels, Gauge>,
    generation: Family<ShardLabels, Gauge>,
    divergences: Family<ShardLabels, Gauge>,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct RouteLabels {
    method: String,
    route: String,
    status: u32,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct PathLabels {
    method: String,
    route: String,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct ShardLabels {
    shard: u32,
}

impl Default for Metrics {
    fn default() -> Self {
        let requests = Family::default();
        let latency = Family::new_with_constructor((|| Histogram::new(LATENCY_BUCKETS)) as fn() -> Histogram);
        let shard = ShardGauges::default();
        let live_bytes = Gauge::default();
        let mut registry = Registry::with_prefix("skerry");
        registry.register("http_requests", "Requests answered", requests.clone());
        registry.register("http_request_seconds", "Time until a request was answered", latency.clone());
        registry.register("raft_term", "The term this node is in", shard.term.clone());
        registry.register("raft_leads", "1 where this node leads the shard", shard.leads.clone());
        registry.register("raft_last_index", "Last record in this node's log", shard.last.clone());
        registry.register("raft_applied_index", "Last record applied by this node", shard.applied.clone());
        registry.register("raft_purged_index", "Last record purged from this node's log", shard.purged.clone());
        let generation = "Keyspace that holds the shard: each snapshot installed makes the next one";
        registry.register("state_generation", generation, shard.generation.clone());
        let divergences = "How often this replica's effects were not the leader's: more than 0 is an alarm";
        registry.register("effect_divergences", divergences, shard.divergences.clone());
        registry.register("live_documents_bytes", "Merge documents kept in memory", live_bytes.clone());
        let refusals = Family::default();
        registry.register("node_refusals", "Connections of peers that were refused", refusals.clone());
        let log = LogGauges::default();
        registry.register("log_syncs", "Commits of the log database that waited for the disk", log.syncs.clone());
        registry.register("log_rows", "Rows written to the log database", log.rows.clone());
        registry.register("log_bytes", "Keys and values written to the log database", log.bytes.clone());
        registry.register("log_sync_micros", "How long all synced commits took", log.sync_micros.clone());
        let disk = DiskGauges::default();
        registry.register("disk_free_bytes", "Room on the disk of the data folder", disk.free.clone());
        registry.register("disk_low", "1 while the disk has too little room for writes", disk.low.clone());
        let plugins = PluginCounters::default();
        registry.register("plugin_calls", "Calls to plugins, by what came of them", plugins.calls.clone());
        registry.register("plugin_fuel", "Fuel of the calls to plugins that were answered", plugins.fuel.clone());
        registry.register("plugin_audited", "Views that this follower has computed again", plugins.audited.clone());
        let divergence = "Of these, the ones that were not the leader's: more than 0 is an alarm";
        registry.register("plugin_divergence", divergence, plugins.divergences.clone());
        let sync = SyncCounters::default();
        registry.register("sync_changes", "Changes of edges, by what they were told of them", sync.changes.clone());
        registry.register("sync_refused", "Changes and requests of edges that were refused", sync.refused.clone());
        registry.register("sync_forks", "Pushes of edges whose folder has a copy that is at work", sync.forks.clone());
        let registry = Mutex::new(registry);
        Self(Arc::new(Inner { registry, requests, latency, shard, live_bytes, refusals, log, disk, plugins, sync }))
    }
}

impl Metrics {
    /// Counts one request. A route that does not exist counts as `none`, so that callers cannot make metrics grow.
    pub fn observe(&self, method: &Method, route: Option<&str>, status: StatusCode, took: Duration) {
        let (method, route) = (method.to_string(), route.unwrap_or("none").to_owned());
        let status = u32::from(status.as_u16());
        let labels = PathLabels { method: method.clone(), route: route.clone() };
        self.0.latency.get_or_create(&labels).observe(took.as_secs_f64());
        self.0.requests.get_or_create(&RouteLabels { method, route, status }).inc();
    }

    /// Counts what an edge was told of its changes. Kinds are the core's own, so they do not make metrics grow.
    pub fn pushed(&self, pushed: &Pushed) {
        let verdicts = match pushed {
            Pushed::Judged { verdicts, .. } => verdicts,
            Pushed::Fork { .. } => {
                self.0.sync.forks.inc();
                return;
            }
            Pushed::Elsewhere { .. } | Pushed::OtherTimeline { .. } => return,
        };
        for verdict in verdicts {
            let verdict = match verdict {
                Verdict::Accepted => "accepted",
                Verdict::Repeated => "repeated",
                Verdict::Refused(refusal) => {
                    self.refused(&refusal.kind);
                    "refused"
                }
            };
            self.0.sync.changes.get_or_create(&VerdictLabels { verdict }).inc();
        }
    }

    /// Counts a change or a request of an edge that was refused, by the kind of problem.
    pub fn refused(&self, kind: &str) {
        self.0.sync.refused.get_or_create(&KindLabels { kind: kind.to_owned() }).inc();
    }

    /// The page.
    ///
    /// # Panics
    /// Never: writing to memory does not fail.
    #[must_use]
    pub fn render(&self, node: &Node) -> String {
        let number = |value: u64| i64::try_from(value).unwrap_or(i64::MAX);
        for shard in node.shards() {
            let labels = ShardLabels { shard: u32::from(shard.id.get()) };
            let gauges = &self.0.shard;
            gauges.term.get_or_create(&labels).set(number(shard.term().get()));
            gauges.leads.get_or_create(&labels).set(i64::from(shard.raft.is_leader()));
            let raft = shard.raft.metrics().borrow_watched().clone();
            gauges.last.get_or_create(&labels).set(number(raft.last_log_index.unwrap_or_default()));
            gauges.purged.get_or_create(&labels).set(number(raft.purged.map_or(0, |purged| purged.index)));
            gauges.generation.get_or_create(&labels).set(number(shard.state.generation()));
            gauges.divergences.get_or_create(&labels).set(number(shard.state.divergences()));
            gauges.applied.get_or_create(&labels).set(number(shard.state.progress().index));
        }
        let (log, gauges) = (node.log_counters(), &self.0.log);
        gauges.syncs.set(number(log.syncs.load(Ordering::Relaxed)));
        gauges.rows.set(number(log.entries.load(Ordering::Relaxed)));
        gauges.bytes.set(number(log.bytes.load(Ordering::Relaxed)));
        gauges.sync_micros.set(number(log.sync_nanos_sum.load(Ordering::Relaxed) / 1_000));
        for (reason, count) in node.refusals().counts() {
            self.0.refusals.get_or_create(&ReasonLabels { reason: reason.name() }).set(number(count));
        }
        self.0.live_bytes.set(number(node.live_bytes()));
        self.0.disk.free.set(number(node.headroom().room().map_or(0, |room| room.free)));
        self.0.disk.low.set(i64::from(node.headroom().is_low()));
        // Of two that read the page at once, one adds what is missing.
        let registry = self.0.registry.lock();
        self.0.plugins.count(node);
        let mut page = String::new();
        encode(&mut page, &registry).expect("memory takes every write");
        page
    }
}

impl PluginCounters {
    /// Takes over what other parts have counted.
    fn count(&self, node: &Node) {
        let up_to = |counter: &Counter, count: u64| {
            counter.inc_by(count.saturating_sub(counter.get()));
        };
        let calls = node.plugins().all_calls();
        for (outcome, count) in [("answered", calls.answered), ("failed", calls.failed), ("not_run", calls.not_run)] {
            up_to(&self.calls.get_or_create(&OutcomeLabels { outcome }), count);
        }
        up_to(&self.fuel, calls.fuel);
        let (audited, divergences) = node.audited();
        up_to(&self.audited, audited);
        up_to(&self.divergences, divergences);
    }
}
