//! Whole clusters on one seed: the real consensus, network adapter, evaluation and application over simulated disks, a
//! simulated network and simulated clocks. First faults, with every checker looking on; then everything is healed, and
//! the cluster must serve again, agree, and have kept what it acknowledged.

mod clients;
mod edges;
pub mod faults;
mod flawed;
pub mod history;
pub mod machine;
pub mod network;
mod restore;
mod storm;

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use parking_lot::Mutex;
use rand::rngs::StdRng;
use rand::{RngExt, SeedableRng};
use skerry_api::documents::{Address, Documents, WriteRequest, Written};
use skerry_api::problem::Problem;
use skerry_host::catalog::Step;
use skerry_host::consensus::log_store::inspect;
use skerry_host::consensus::snapshot::Thresholds;
use skerry_host::consensus::types::NodeAddress;
use skerry_host::documents::keys;
use skerry_host::node::{Node, Reads};
use skerry_model::document;
use skerry_model::engine::Write;
use skerry_model::policy::Policy;
use skerry_model::{CollectionName, NodeId, ShardId};
use skerry_store::{Direction, KeyRange, Limit};

use self::clients::Clients;
use self::edges::{CHANGING, COLLECTING, COUNTING, Edges, GROWING, LOADING, TEXT, shown_by_node};
use self::faults::{Counts, Flaw};
use self::machine::{Machine, Plan};
use self::network::{Weather, Wires};
use self::restore::Restored;
use self::storm::Storm;
use crate::checkers::{self, Checker, LogLine, RestView, RunningView, ShardView, View, VoteView};

/// How far time goes in one step.
const TICK: Duration = Duration::from_millis(2);
const TICK_US: u64 = 2_000;
/// How often logs are read whole.
const LOGS_EVERY_US: u64 = 500_000;
/// How often all rows of all nodes are compared at the end.
const COMPARE_EVERY: Duration = Duration::from_millis(100);
/// How long a healed cluster may take to serve again and agree.
const HEAL_US_MAX: u64 = 60_000_000;
/// The collections whose histories must be linearizable, and how each merges.
const REGISTERS: [(&str, Policy); 2] = [("ledger", Policy::Strict), ("notes", Policy::Lww)];
/// The collections that edges write too.
const SHARED: [(&str, Policy); 5] = [
    (GROWING, Policy::Json),
    (LOADING, Policy::Json),
    (CHANGING, Policy::Lww),
    (COUNTING, Policy::Counter),
    (COLLECTING, Policy::Set),
];

/// How a world is set up.
#[derive(Debug, Clone)]
pub struct Setup {
    /// Decides everything.
    pub seed: u64,
    /// Nodes that found the cluster.
    pub nodes: u64,
    /// Machines that may come in the place of others.
    pub spares: u64,
    /// Shards of the cluster.
    pub shards: u16,
    /// Edges that sync with it.
    pub edges: usize,
    /// When logs are purged, and how large the chunks of a snapshot are.
    pub thresholds: Thresholds,
    /// How long faults happen, in microseconds of its own time.
    pub storm_us: u64,
    /// What linearizable reads rely on.
    pub reads: Reads,
    /// Whether the core is put back to an older copy of a node's folder, and what becomes of the work of edges that the copy
    /// lacks.
    pub restored: Option<Restored>,
    /// What is wrong with its nodes.
    pub flaw: Flaw,
}

impl Setup {
    /// The world of a seed.
    #[must_use]
    pub fn of(seed: u64) -> Self {
        let mut random = StdRng::seed_from_u64(seed);
        let nodes = [1, 3, 3, 3, 5, 5, 7][random.random_range(0..7)];
        let shards = [1, 1, 2, 4][random.random_range(0..4)];
        let storm_us = random.random_range(8_000_000..20_000_000);
        let reads = if random.random_bool(0.3) { Reads::Lease } else { Reads::Quorum };
        let spares = random.random_range(0..3);
        let thresholds = thresholds(&mut random);
        let edges = random.random_range(0..4);
        let restored = (edges > 0 && random.random_bool(0.4)).then(|| Restored::draw(&mut random, storm_us));
        Self { seed, nodes, spares, shards, edges, thresholds, storm_us, reads, restored, flaw: Flaw::None }
    }

    /// A small world for one scenario: nodes with one shard.
    #[must_use]
    pub fn small(seed: u64, nodes: u64, flaw: Flaw) -> Self {
        let thresholds = Thresholds::default();
        let (spares, edges, storm_us, reads, restored) = (0, 0, 0, Reads::Quorum, None);
        Self { seed, nodes, spares, shards: 1, edges, thresholds, storm_us, reads, restored, flaw }
    }
}

/// Mostly low, so that logs are purged and nodes come back by snapshot; a world with the product's purges nothing.
fn thresholds(random: &mut StdRng) -> Thresholds {
    if random.random_bool(0.1) {
        return Thresholds::default();
    }
    Thresholds {
        entries_between: random.random_range(3..30),
        entries_kept: random.random_range(0..10),
        purge_entries_min: random.random_range(1..5),
        log_bytes_max: [2_000, 10_000, u64::MAX][random.random_range(0..3)],
        log_bytes_kept: random.random_range(0..2_000),
        kept_for: Duration::from_millis(random.random_range(0..5_000)),
        chunk_bytes: [1, 500, 4_000, 100_000][random.random_range(0..4)],
        compare_every: random.random_range(5..20),
    }
}

/// What a world came to.
#[derive(Debug, Clone)]
pub struct Report {
    /// How often each kind of fault happened.
    pub faults: Counts,
    /// Operations that clients got an answer to.
    pub answered: usize,
    /// Writes that edges stored, and those that the core acknowledged beside them.
    pub stored: usize,
    /// Leaders seen.
    pub elections: u64,
    /// Snapshots that nodes came back by.
    pub snapshots: u64,
    /// How many voters the first shard had.
    pub sizes: BTreeSet<usize>,
    /// How far clocks of nodes were apart at most, in milliseconds.
    pub apart_ms: u64,
    /// A digest of all that was delivered: the same seed gives the same one.
    pub trace: String,
}

/// A world in which something did not hold.
#[derive(Debug)]
pub struct Failure {
    /// Its seed.
    pub seed: u64,
    /// When, in milliseconds of its own time.
    pub at_ms: u64,
    /// What did not hold.
    pub what: String,
}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { seed, at_ms, what } = self;
        write!(f, "seed {seed}, after {at_ms} ms: {what}\nreplay it with: cargo xtask sim --seed {seed}")
    }
}

/// Runs the world of a setup from its beginning to its end.
///
/// # Errors
/// What did not hold.
pub fn run(setup: &Setup) -> Result<Report, Box<Failure>> {
    let mut world = World::new(setup);
    let result = world.live(setup);
    result
        .map(|()| world.report())
        .map_err(|what| Box::new(Failure { seed: setup.seed, at_ms: world.now_us / 1_000, what }))
}

/// One cluster with its clients.
pub struct World {
    now_us: u64,
    plan: Plan,
    /// The network.
    pub wires: Wires,
    /// The machines; node 1 is the first.
    pub machines: Vec<Machine>,
    /// How often each machine was started.
    runs: Vec<u64>,
    clients: Clients,
    edges: Edges,
    checkers_of_core: Vec<Box<dyn Checker>>,
    checkers_of_edges: Vec<Box<dyn Checker>>,
    logs_due_us: u64,
    /// The leaders that were seen.
    leaders: BTreeSet<(ShardId, u64)>,
    /// The generation that each shard has reached on each node: every snapshot that is installed makes another.
    generations: BTreeMap<(NodeId, ShardId), u64>,
    faults: Counts,
    /// Machines whose nodes a restored cluster has put out: they never run again.
    retired: BTreeSet<usize>,
    /// Nodes that were asked to leave.
    leaving: BTreeSet<NodeId>,
    /// Changes of the members, each held at the machine that was asked until the answer: while one is under way nothing
    /// has settled.
    changing: Vec<(usize, Arc<()>)>,
    sizes: BTreeSet<usize>,
    apart_ms: u64,
    /// Votes that nodes granted to others.
    granted: usize,
}

impl World {
    /// Machines with empty disks.
    #[must_use]
    pub fn new(setup: &Setup) -> Self {
        let mut random = StdRng::seed_from_u64(setup.seed);
        let address = |id: u64| NodeAddress { node: format!("node-{id}:1"), http: format!("http://node-{id}") };
        let members = (1..=setup.nodes).map(|id| (NodeId::new(id), address(id)));
        let spares = setup.nodes + 1..=setup.nodes + setup.spares;
        let plan = Plan {
            founders: members.collect(),
            spares: spares.map(|id| (NodeId::new(id), address(id))).collect(),
            shards: setup.shards,
            thresholds: setup.thresholds,
            reads: setup.reads,
            flaw: setup.flaw,
        };
        let all = plan.founders.iter().chain(&plan.spares);
        let cores = all.clone().map(|(_, address)| address.http.clone()).collect();
        let machines: Vec<_> = all.map(|(id, _)| Machine::new(*id, random.random())).collect();
        Self {
            now_us: 0,
            wires: Wires::new(random.random(), setup.flaw),
            runs: vec![0; machines.len()],
            machines,
            plan,
            clients: Clients::new(random.random(), REGISTERS.map(|(name, _)| name).as_slice()),
            edges: Edges::new(random.random(), setup.edges, cores, setup.restored.is_some()),
            checkers_of_core: checkers::of_core(),
            checkers_of_edges: checkers::of_edges(),
            logs_due_us: 0,
            leaders: BTreeSet::new(),
            generations: BTreeMap::new(),
            faults: Counts::default(),
            retired: BTreeSet::new(),
            leaving: BTreeSet::new(),
            changing: Vec::new(),
            sizes: BTreeSet::new(),
            apart_ms: 0,
            granted: 0,
        }
    }

    fn live(&mut self, setup: &Setup) -> Result<(), String> {
        self.start_all();
        self.found()?;
        let mut storm = Storm::begin(setup.seed, self);
        if let Some(restored) = &setup.restored {
            return self.live_with_restore(storm, restored);
        }
        self.endure(&mut storm, setup.storm_us)?;
        storm.end(self);
        self.edges.calm();
        self.heal()?;
        self.hear_all()?;
        self.rest()?;
        self.clients.history.check().map_err(|wrong| wrong.to_string())
    }

    /// Faults, and everybody at work.
    fn endure(&mut self, storm: &mut Storm, for_us: u64) -> Result<(), String> {
        let end = self.now_us + for_us;
        while self.now_us < end {
            storm.blow(self);
            // What clients were told of a core that was put back holds no more.
            if self.retired.is_empty() {
                self.clients.ask(&self.machines, self.now_us);
            }
            self.edges.live(self.now_us, &self.machines, &mut self.faults);
            self.tick()?;
        }
        Ok(())
    }

    /// Starts every machine that is off, edges too, but for spare ones that nobody has asked for.
    pub fn start_all(&mut self) {
        for at in 0..self.machines.len() {
            let is_wanted = at < self.plan.founders.len() || self.runs[at] > 0;
            if is_wanted && !self.retired.contains(&at) && !self.machines[at].is_up() {
                self.start(at);
            }
        }
        self.edges.start_all();
    }

    /// The machines whose nodes vote on the first shard, as its leader knows.
    fn voters(&self) -> Vec<usize> {
        let shard = |at: usize| self.machines[at].node()?.shard(ShardId::new(0)).cloned();
        let voters = self.leader().and_then(shard).map(|shard| shard.voters()).unwrap_or_default();
        (0..self.machines.len()).filter(|at| voters.contains(&self.machines[*at].id)).collect()
    }

    /// The collections are made: `ledger` (strict) and `notes` (lww), and those that edges write.
    ///
    /// # Errors
    /// What did not hold meanwhile, or that it took too long.
    pub fn found(&mut self) -> Result<(), String> {
        let steps = REGISTERS.into_iter().chain(SHARED).map(|(name, policy)| {
            let name = CollectionName::new(name).expect("it is a valid name");
            // A text that every document has from its beginning is one text wherever that was.
            let has_text = name.as_str() == GROWING;
            let template = serde_json::Map::from_iter([(TEXT.to_owned(), "".into())]);
            let template = has_text.then(|| document::View::of(&template).expect("it is a small document"));
            let text = if has_text { vec![format!("/{TEXT}")] } else { Vec::new() };
            Step::CreateCollection { name, policy, template, text, settle: false, inbox: None }
        });
        for step in steps {
            self.ask_until_done("the collections were made", move |node| {
                let step = step.clone();
                async move { node.change_catalog(step).await.is_ok() }
            })?;
        }
        Ok(())
    }

    /// Asks nodes in turn until one says yes.
    fn ask_until_done<F>(&mut self, what: &str, ask: impl Fn(Node) -> F) -> Result<(), String>
    where
        F: Future<Output = bool> + Send + 'static,
    {
        let end = self.now_us + HEAL_US_MAX;
        let mut at = 0;
        while self.now_us < end {
            at = (at + 1) % self.machines.len();
            let most = Duration::from_micros(end - self.now_us);
            if self.call(at, most, &ask)? == Some(true) {
                return Ok(());
            }
            self.tick()?;
        }
        let seconds = HEAL_US_MAX / 1_000_000;
        Err(format!("within {seconds} s of a whole network and healthy disks, not: {what}; {}", self.states()))
    }

    /// Lets time go by.
    ///
    /// # Errors
    /// What did not hold meanwhile.
    pub fn pass(&mut self, time: Duration) -> Result<(), String> {
        let end = self.now_us + u64::try_from(time.as_micros()).expect("a world does not live that long");
        while self.now_us < end {
            self.tick()?;
        }
        Ok(())
    }

    /// Puts a document through a node whatever it was before, and gives what that was answered; `None` when it takes longer
    /// than `most`.
    ///
    /// # Errors
    /// What did not hold meanwhile.
    ///
    /// # Panics
    /// When what is put is no object.
    pub fn put(
        &mut self,
        asked: usize,
        most: Duration,
        at: Address,
        document: &serde_json::Value,
    ) -> Result<Option<Result<Written, Problem>>, String> {
        let fields = document.as_object().cloned().expect("a document is an object");
        let request = WriteRequest::new(Write::Put(fields));
        self.call(asked, most, move |node| async move { node.write(at, request).await })
    }

    /// Runs something on a node until it is done, `None` when it takes longer than `most`.
    ///
    /// # Errors
    /// What did not hold meanwhile.
    pub fn call<T: Send + 'static, F>(
        &mut self,
        at: usize,
        most: Duration,
        call: impl FnOnce(Node) -> F,
    ) -> Result<Option<T>, String>
    where
        F: Future<Output = T> + Send + 'static,
    {
        let Some(node) = self.machines[at].node() else { return Ok(None) };
        let answer = Arc::new(Mutex::new(None));
        let (told, work) = (Arc::clone(&answer), call(node));
        self.machines[at].spawn(async move {
            let done = work.await;
            *told.lock() = Some(done);
        });
        let end = self.now_us + u64::try_from(most.as_micros()).expect("a world does not live that long");
        while self.now_us < end {
            self.tick()?;
            if let Some(done) = answer.lock().take() {
                return Ok(Some(done));
            }
        }
        Ok(None)
    }

    /// The machine whose node leads the first shard in the highest term.
    #[must_use]
    pub fn leader(&self) -> Option<usize> {
        let running = |at: usize| running(&self.machines[at].node()?, ShardId::new(0), 0);
        let leads = |at: &usize| running(*at).is_some_and(|running| running.leads);
        (0..self.machines.len()).filter(leads).max_by_key(|at| running(*at).map(|running| running.term))
    }

    /// Waits until a node that is not paused leads, and gives its machine.
    ///
    /// # Errors
    /// What did not hold meanwhile, or that it took too long.
    pub fn await_leader(&mut self) -> Result<usize, String> {
        let end = self.now_us + HEAL_US_MAX;
        while self.now_us < end {
            if let Some(leader) = self.leader().filter(|at| !self.machines[*at].is_paused()) {
                return Ok(leader);
            }
            self.tick()?;
        }
        Err("nobody leads".to_owned())
    }

    /// Waits until a node grants its vote to another one.
    ///
    /// # Errors
    /// What did not hold meanwhile, or that it took too long.
    pub fn await_vote(&mut self) -> Result<(), String> {
        let (before, end) = (self.granted, self.now_us + HEAL_US_MAX);
        while self.granted == before {
            if self.now_us >= end {
                return Err("nobody votes".to_owned());
            }
            self.tick()?;
        }
        Ok(())
    }

    /// The term that a node is in, on the first shard.
    #[must_use]
    pub fn term(&self, at: usize) -> u64 {
        let running = self.machines[at].node().and_then(|node| running(&node, ShardId::new(0), 0));
        running.map_or(0, |running| running.term)
    }

    /// Cuts a node off from all others, both ways, or mends that.
    pub fn set_isolated(&self, at: usize, isolated: bool) {
        let id = self.machines[at].id;
        for other in self.machines.iter().map(|machine| machine.id).filter(|other| *other != id) {
            if isolated {
                self.wires.cut(id, other);
                self.wires.cut(other, id);
            } else {
                self.wires.mend(id, other);
                self.wires.mend(other, id);
            }
        }
    }

    /// A machine loses its power.
    pub fn power_off(&mut self, at: usize) {
        self.wires.set_dark(self.machines[at].id, true);
        self.machines[at].kill();
    }

    /// A machine starts, with what is on its disk.
    ///
    /// # Panics
    /// When it runs.
    pub fn start(&mut self, at: usize) {
        self.runs[at] += 1;
        self.wires.set_dark(self.machines[at].id, false);
        self.machines[at].start(&self.plan, &self.wires);
    }

    /// A process is killed; its peers see their connections closed.
    pub fn kill(&mut self, at: usize) {
        let machine = &mut self.machines[at];
        self.wires.kill(machine.id, || machine.kill());
    }

    /// Time goes on by one tick for everybody, and everything is looked at.
    ///
    /// # Errors
    /// What does not hold.
    pub fn tick(&mut self) -> Result<(), String> {
        self.now_us += TICK_US;
        self.wires.advance_to(self.now_us);
        for machine in &mut self.machines {
            machine.tick(self.now_us, TICK);
        }
        self.edges.tick(self.now_us, TICK, &self.machines, &self.runs);
        self.clients.hear();
        self.count_snapshots();
        // A disk that is full or broken stops a node, and so does a start after it was removed; nothing else may.
        for machine in &self.machines {
            let was_removed = self.leaving.contains(&machine.id);
            let may_stop = |reason: &String| {
                reason.contains("the simulated disk") || (was_removed && reason.contains("is not part of this cluster"))
            };
            if let Some(reason) = machine.ended().filter(|reason| !may_stop(reason)) {
                return Err(format!("node {} stopped by itself: {reason}", machine.id));
            }
        }
        let with_logs = self.now_us >= self.logs_due_us;
        if with_logs {
            self.logs_due_us = self.now_us + LOGS_EVERY_US;
            self.measure();
        }
        let mut view = self.view(with_logs)?;
        view.grants = self.wires.take_grants();
        view.pushes = self.edges.take_pushes();
        self.granted += view.grants.iter().filter(|grant| grant.voter != grant.candidate).count();
        for (_, shard, on_node) in view.shards() {
            if let Some(leader) = on_node.running.filter(|running| running.leads) {
                self.leaders.insert((shard, leader.term));
            }
        }
        self.look(&view)
    }

    fn look(&mut self, view: &View) -> Result<(), String> {
        let every = self.checkers_of_core.iter_mut().chain(&mut self.checkers_of_edges);
        checkers::look(every, view).map_err(|violation| violation.to_string())
    }

    /// How large the cluster is while somebody leads it, and how far its clocks are apart.
    fn measure(&mut self) {
        let voters = self.voters().len();
        if voters > 0 {
            self.sizes.insert(voters);
        }
        let clocks = || self.machines.iter().map(|machine| machine.skew_ms.load(Ordering::Relaxed));
        let apart = clocks().max().zip(clocks().min()).map_or(0, |(last, first)| last.abs_diff(first));
        self.apart_ms = self.apart_ms.max(apart);
    }

    fn count_snapshots(&mut self) {
        for machine in &self.machines {
            let Some(node) = machine.node() else { continue };
            for shard in node.shards() {
                self.generations.insert((machine.id, shard.id), shard.state.generation());
            }
        }
    }

    fn view(&self, with_logs: bool) -> Result<View, String> {
        let mut nodes = Vec::with_capacity(self.machines.len());
        for (at, (machine, run)) in self.machines.iter().zip(&self.runs).enumerate() {
            if self.retired.contains(&at) {
                continue;
            }
            let node = machine.node();
            let mut shards = Vec::with_capacity(usize::from(self.plan.shards));
            for number in 0..self.plan.shards {
                let shard = ShardId::new(number);
                let mut view = ShardView {
                    running: node.as_ref().and_then(|node| running(node, shard, *run)),
                    ..ShardView::default()
                };
                if with_logs {
                    let held = inspect(&machine.disk.log(), shard, 0).map_err(|error| error.to_string())?;
                    view.purged = held.purged.map(|purged| purged.index);
                    let vote = held.vote.map(|vote| (vote.leader_id, vote.committed));
                    view.vote = vote.map(|(to, elected)| VoteView { term: to.term, to: to.voted_for, elected });
                    let lines = held.entries.into_iter().map(|line| LogLine {
                        index: line.id.index,
                        term: line.id.leader_id.term,
                        digest: line.digest,
                    });
                    view.log = lines.collect();
                    let watermarks = node.as_ref().map(|node| self.edges.watermarks(node, shard));
                    view.watermarks = watermarks.unwrap_or_default();
                }
                shards.push(view);
            }
            nodes.push((machine.id, shards));
        }
        let edges = if with_logs { self.edges.views() } else { Vec::new() };
        Ok(View { nodes, edges, ..View::default() })
    }

    /// Everything works again: the cluster must serve, agree, and answer for what it acknowledged.
    fn heal(&mut self) -> Result<(), String> {
        self.wires.set_weather(Weather::fair());
        for at in 0..self.machines.len() {
            self.machines[at].set_paused(false);
            if self.machines[at].ended().is_some() {
                self.kill(at);
            }
        }
        self.start_all();
        self.serve()?;
        self.settle()?;
        let end = self.now_us + HEAL_US_MAX;
        while !self.agrees() {
            if self.now_us > end {
                return Err(format!("the nodes do not agree: {}", self.states()));
            }
            self.pass(COMPARE_EVERY)?;
        }
        Ok(())
    }

    /// Every shard is served.
    fn serve(&mut self) -> Result<(), String> {
        for number in 0..self.plan.shards {
            let shard = ShardId::new(number);
            let what = format!("shard {number} was served");
            self.ask_until_done(&what, move |node| async move { node.is_served(shard).await })?;
        }
        Ok(())
    }

    /// Clients read everything once more, from every node.
    fn hear_all(&mut self) -> Result<(), String> {
        let end = self.now_us + HEAL_US_MAX;
        let voters = self.voters();
        while !self.clients.read_all(&self.machines, &voters, self.now_us) {
            if self.now_us > end {
                let unheard = self.clients.unheard();
                return Err(format!("the last reads were not answered: {unheard:?}; {}", self.states()));
            }
            self.tick()?;
        }
        Ok(())
    }

    /// Changes of the membership that were begun are finished by themselves.
    ///
    /// # Errors
    /// What did not hold meanwhile, or that it took too long.
    pub fn settle(&mut self) -> Result<(), String> {
        let end = self.now_us + HEAL_US_MAX;
        while !self.has_settled() {
            if self.now_us > end {
                let changing: Vec<_> = self.changes_under_way().collect();
                return Err(format!("the groups do not settle: changes at {changing:?}; {}", self.states()));
            }
            self.tick()?;
        }
        Ok(())
    }

    /// Edges say all and hear all, until every replica shows the same; then that is looked at once more as a whole.
    ///
    /// # Errors
    /// What did not hold meanwhile or does not in the end.
    pub fn rest(&mut self) -> Result<(), String> {
        let end = self.now_us + HEAL_US_MAX;
        loop {
            let replicas = self.shown();
            let converge = self.edges.are_in_step() && replicas.windows(2).all(|pair| pair[0].1 == pair[1].1);
            if converge || (self.now_us > end && self.edges.are_in_step()) {
                break;
            }
            if self.now_us > end {
                return Err(format!("the edges are not in step: {}", self.edges.states()));
            }
            self.pass(COMPARE_EVERY)?;
        }
        self.edges.ask_for_stranded();
        self.pass(COMPARE_EVERY)?;
        let stranded = self.edges.stranded().ok_or("an edge does not say what is stranded")?;
        let mut view = self.view(true)?;
        let (stored, asked) = (self.edges.stored(), self.edges.asked());
        view.rest = Some(RestView { replicas: self.shown(), stored, stranded, asked });
        self.look(&view)
    }

    /// What each voter and each edge shows of the documents that edges write.
    fn shown(&self) -> Vec<(String, checkers::Shown)> {
        let nodes = self.voters().into_iter().filter_map(|at| {
            let machine = &self.machines[at];
            Some((format!("node {}", machine.id), shown_by_node(&machine.node()?)?))
        });
        nodes.chain(self.edges.shown()).collect()
    }

    /// The machines that still owe an answer to a change of the members. One that has ended, as one that was removed may,
    /// answers nothing any more.
    fn changes_under_way(&self) -> impl Iterator<Item = NodeId> {
        let held = self.changing.iter().filter(|(_, held)| Arc::strong_count(held) > 1);
        held.map(|(at, _)| &self.machines[*at]).filter(|machine| machine.ended().is_none()).map(|machine| machine.id)
    }

    /// Whether all shards have the same voters, and nobody else.
    fn has_settled(&self) -> bool {
        if self.changes_under_way().next().is_some() {
            return false;
        }
        let Some(node) = self.leader().and_then(|at| self.machines[at].node()) else { return false };
        let wanted: BTreeSet<NodeId> = node.members_now().into_keys().collect();
        node.shards().iter().all(|shard| shard.voters() == wanted && shard.nodes() == wanted)
    }

    /// Whether every shard's rows are the same on all nodes that vote.
    fn agrees(&self) -> bool {
        let voters = self.voters();
        !voters.is_empty()
            && (0..self.plan.shards).all(|number| {
                let mut digests = voters.iter().map(|at| digest(&self.machines[*at], ShardId::new(number)));
                let first = digests.next().flatten();
                first.is_some() && digests.all(|other| other == first)
            })
    }

    fn states(&self) -> String {
        let view = self.view(false).unwrap_or_default();
        let states =
            view.shards().map(|(node, shard, on_node)| format!("node {node} shard {shard} {:?}", on_node.running));
        states.collect::<Vec<_>>().join("; ")
    }

    fn report(&self) -> Report {
        let mut faults = self.faults.clone();
        faults.merge(&self.wires.counts());
        faults.merge(&self.edges.counts());
        let mut trace = blake3::Hasher::new();
        self.edges.trace(trace.update(self.wires.trace().as_bytes()));
        Report {
            faults,
            answered: self.clients.history.answered(),
            elections: self.leaders.len() as u64,
            snapshots: self.generations.values().sum(),
            sizes: self.sizes.clone(),
            apart_ms: self.apart_ms,
            stored: self.edges.stored().len(),
            trace: trace.finalize().to_hex()[..16].to_owned(),
        }
    }
}

fn running(node: &Node, shard: ShardId, run: u64) -> Option<RunningView> {
    use openraft::async_runtime::WatchReceiver;
    let shard = node.shard(shard)?;
    let metrics = shard.raft.metrics().borrow_watched().clone();
    let progress = shard.state.progress();
    Some(RunningView {
        run,
        term: metrics.current_term,
        leads: metrics.state.is_leader(),
        last: metrics.last_log_index.unwrap_or_default(),
        committed: metrics.local_committed.map_or(0, |id| id.index),
        reported: metrics.last_applied.map_or(0, |id| id.index),
        applied: progress.index,
        scn: progress.scn,
        effects: progress.effects,
        divergences: shard.state.divergences(),
        gone: metrics.purged.map_or(0, |id| id.index),
        majority: shard.majority(),
    })
}

/// A digest of a shard's rows on a node, without what is local to it.
fn digest(machine: &Machine, shard: ShardId) -> Option<blake3::Hash> {
    let node = machine.node()?;
    let store = node.shard(shard)?.state.store();
    let rows = store.scan(&KeyRange::all(), Limit::rows(usize::MAX), Direction::Forward).ok()?;
    let mut hasher = blake3::Hasher::new();
    for (key, value) in rows.iter().filter(|(key, _)| !keys::is_local(key)) {
        hasher.update(&(key.len() as u64).to_le_bytes()).update(key);
        hasher.update(&(value.len() as u64).to_le_bytes()).update(value);
    }
    Some(hasher.finalize())
}
