//! What reads need beside the rows: who this edge is, its cluster, and the collections. Replaced whole, never changed.

use std::collections::BTreeMap;
use std::sync::Arc;

use parking_lot::RwLock;
use skerry_api::problem::{Kind, Outcome, Problem};
use skerry_channel::message::{Catalog, Collection};
use skerry_channel::subscription::Subscription;
use skerry_model::policy::Policy;
use skerry_model::{CatalogVersion, CollectionId, CollectionName, Origin, PluginDigest};

use crate::keys::identity::Home;

/// What is known at one moment.
#[derive(Debug, Clone)]
pub(crate) struct Known {
    pub(crate) replica: Origin,
    /// The core's base URL, for sentences to people.
    pub(crate) core: String,
    pub(crate) subscription: Subscription,
    pub(crate) home: Option<Home>,
    pub(crate) catalog: CatalogVersion,
    by_name: BTreeMap<CollectionName, Arc<Collection>>,
    by_id: BTreeMap<CollectionId, Arc<Collection>>,
}

/// The newest [`Known`] whose rows are committed.
pub(crate) type Shared = Arc<RwLock<Arc<Known>>>;

impl Known {
    pub(crate) fn new(replica: Origin, core: String, subscription: Subscription, home: Option<Home>) -> Self {
        let (by_name, by_id) = (BTreeMap::new(), BTreeMap::new());
        Self { replica, core, subscription, home, catalog: CatalogVersion::default(), by_name, by_id }
    }

    pub(crate) fn with_catalog(self, catalog: &Catalog) -> Self {
        let collections = || catalog.collections.iter().cloned().map(Arc::new);
        Self {
            catalog: catalog.version,
            by_name: collections().map(|collection| (collection.name.clone(), collection)).collect(),
            by_id: collections().map(|collection| (collection.id, collection)).collect(),
            ..self
        }
    }

    pub(crate) fn with_subscription(self, subscription: Subscription) -> Self {
        Self { subscription, ..self }
    }

    pub(crate) fn with_home(self, home: Home) -> Self {
        Self { home: Some(home), ..self }
    }

    pub(crate) fn by_id(&self, id: CollectionId) -> Option<&Arc<Collection>> {
        self.by_id.get(&id)
    }

    /// In the order of their names.
    pub(crate) fn collections(&self) -> impl Iterator<Item = &Arc<Collection>> {
        self.by_name.values()
    }

    /// The collection of a request.
    pub(crate) fn collection(&self, name: &CollectionName) -> Result<&Arc<Collection>, Problem> {
        self.home()?;
        let missing = || {
            let detail = format!("there is no collection {name} that this edge knows of; make it at {}", self.core);
            Problem::new(Kind::CollectionNotFound, detail)
        };
        self.by_name.get(name).ok_or_else(missing)
    }

    /// The cluster, once the core has been reached.
    pub(crate) fn home(&self) -> Result<Home, Problem> {
        self.home.ok_or_else(|| {
            let detail = format!(
                "this edge has not reached its core at {} yet: the first start needs it once, then it works offline",
                self.core
            );
            Problem::unavailable(Outcome::NotProposed, detail)
        })
    }
}

/// The policy as answers state it, with the digest of the plugin that was at work.
pub(crate) fn policy_text(policy: &Policy, plugin: Option<PluginDigest>) -> String {
    match (policy, plugin) {
        (Policy::Plugin { name, .. }, Some(digest)) => format!("plugin:{name}@{digest}"),
        _ => policy.to_string(),
    }
}
