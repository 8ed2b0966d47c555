//! A core and two edges without sockets, and what may happen between them.

use std::sync::Arc;

use bytes::Bytes;
use proptest::prelude::*;
use skerry_edge::replica;
use skerry_host::catalog::{PluginVersion, Step};
use skerry_host::documents::evaluate;
use skerry_model::PluginDigest;
use skerry_model::policy::{self, MergePolicy, Resolver};
use skerry_runtime::{CompiledPlugin, Plugins, Runtime, RuntimeProfile, standard};
use skerry_tests::core::Core;
use skerry_tests::edge::Edge;

/// Something between an edge and the core; `who` is the edge.
#[derive(Debug, Clone)]
pub(super) enum Sync {
    Push { who: usize, lose: bool, repeat: bool },
    Pull { who: usize, lose: bool, repeat: bool },
    Crash { who: usize },
    Restart { who: usize },
}

pub(super) fn sync() -> impl Strategy<Value = Sync> {
    let way = || (0..2_usize, any::<bool>(), any::<bool>());
    prop_oneof![
        4 => way().prop_map(|(who, lose, repeat)| Sync::Push { who, lose, repeat }),
        4 => way().prop_map(|(who, lose, repeat)| Sync::Pull { who, lose, repeat }),
        1 => (0..2_usize).prop_map(|who| Sync::Crash { who }),
        1 => (0..2_usize).prop_map(|who| Sync::Restart { who }),
    ]
}

/// The bundled components, compiled once for all cases.
pub(super) struct Bundled(Plugins);

pub(super) fn bundled() -> Arc<Bundled> {
    static COMPILED: std::sync::LazyLock<Arc<Bundled>> = std::sync::LazyLock::new(|| {
        let runtime = Runtime::new(RuntimeProfile::newest()).unwrap();
        Arc::new(Bundled(Plugins::new(runtime)))
    });
    Arc::clone(&COMPILED)
}

impl Bundled {
    fn compiled(&self, digest: PluginDigest) -> Result<CompiledPlugin, String> {
        let is_it = |bundled: &&standard::Bundled| PluginDigest::of(bundled.component) == digest;
        let component = || standard::ALL.iter().find(is_it).map(|bundled| Bytes::from_static(bundled.component));
        self.0.get(digest, component).map_err(|error| error.to_string())
    }
}

impl evaluate::Resolvers for Bundled {
    fn resolver(&self, digest: PluginDigest) -> Result<Arc<dyn Resolver>, String> {
        self.compiled(digest)?.resolver()
    }

    fn merge_policy(&self, digest: PluginDigest) -> Result<Arc<dyn MergePolicy>, String> {
        self.compiled(digest)?.merge_policy()
    }
}

impl replica::Resolvers for Bundled {
    fn resolver(&self, digest: PluginDigest, _: &dyn Fn() -> Option<Bytes>) -> Result<Arc<dyn Resolver>, String> {
        self.compiled(digest)?.resolver()
    }

    fn merge_policy(
        &self,
        digest: PluginDigest,
        _: &dyn Fn() -> Option<Bytes>,
    ) -> Result<Arc<dyn MergePolicy>, String> {
        self.compiled(digest)?.merge_policy()
    }
}

pub(super) struct World {
    pub(super) core: Core,
    pub(super) edges: [Edge; 2],
}

impl World {
    /// With collections of these names and policies.
    pub(super) fn new(shards: u16, collections: &[(&str, &str)]) -> Self {
        let mut core = Core::new(shards, bundled());
        for (bundled, world) in
            [(standard::STOCK, policy::World::Resolver), (standard::MAX_REGISTER, policy::World::MergePolicy)]
        {
            let (name, digest) = (bundled.name.parse().unwrap(), PluginDigest::of(bundled.component));
            let (bytes, state_version) =
                (bundled.component.len() as u64, u32::from(world == policy::World::MergePolicy));
            let version = PluginVersion { digest, bytes, state_version, profile: "1".to_owned(), failed: false };
            core.step(&Step::ActivatePlugin { name, world, version });
        }
        for (name, policy) in collections {
            let (name, policy) = (name.parse().unwrap(), policy.parse().unwrap());
            core.step(&Step::CreateCollection {
                name,
                policy,
                template: None,
                text: vec![],
                settle: false,
                inbox: None,
            });
        }
        // One clock is years behind, the other years ahead.
        let clocks = [946_684_800_000, 4_070_908_800_000];
        let edge = |at: usize| Edge::new(&format!("shop-{at}"), at as u64 + 1, clocks[at], bundled());
        let mut world = Self { core, edges: [edge(0), edge(1)] };
        world.settle();
        world
    }

    pub(super) fn sync(&mut self, sync: &Sync) {
        match *sync {
            Sync::Push { who, lose, repeat } => self.edges[who].push(&mut self.core, lose, repeat),
            Sync::Pull { who, lose, repeat } => {
                self.edges[who].pull(&self.core, lose, repeat);
            }
            Sync::Crash { who } => self.edges[who].crash(),
            Sync::Restart { who } => self.edges[who].restart(),
        }
    }

    /// Twice: what the second edge pushes must reach the first.
    pub(super) fn settle(&mut self) {
        for _ in 0..2 {
            for edge in &mut self.edges {
                edge.settle(&mut self.core);
            }
        }
    }
}
