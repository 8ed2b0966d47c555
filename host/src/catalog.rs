//! The catalog: collections with their policies, and plugins with their active versions. Shard 0 logs each step; every
//! other shard logs the same steps in the same order, and evaluates under the version it has reached.

use std::collections::{BTreeMap, BTreeSet};

use serde::{Deserialize, Serialize};
use skerry_channel::message;
use skerry_model::automerge_id::Inbox;
use skerry_model::document::View;
use skerry_model::limits::COLLECTIONS_MAX;
use skerry_model::policy::{EngineKind, Policy, World};
use skerry_model::{CatalogVersion, CollectionId, CollectionName, NodeId, PluginDigest, PluginName};

use crate::consensus::types::NodeAddress;

/// Versions of one plugin that are kept beside those that collections name: the active one, and what it can be rolled back
/// to.
pub const PLUGIN_VERSIONS_KEPT: usize = 3;
/// Plugins of one cluster.
pub const PLUGINS_MAX: usize = 1_000;

/// Everything that collections and plugins are.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize)]
pub struct Catalog {
    /// How many steps it has taken.
    pub version: CatalogVersion,
    /// What the cluster is meant to be made of.
    pub members: Members,
    collections: BTreeMap<CollectionName, Collection>,
    plugins: BTreeMap<PluginName, Plugin>,
}

/// How the nodes that are wanted differ from those that the cluster was founded with.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct Members {
    /// Nodes that were added, and where they are reached.
    pub added: BTreeMap<NodeId, NodeAddress>,
    /// Nodes that were removed; their ids never come back.
    pub removed: BTreeSet<NodeId>,
    /// Nodes that lead nothing.
    pub drained: BTreeSet<NodeId>,
    /// Nodes that leave each shard once another one has its vote there. Their ids never come back either.
    pub replaced: BTreeMap<NodeId, NodeId>,
}

/// A change of what the cluster is meant to be made of.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub enum MemberStep {
    /// A node comes.
    Add(NodeId, NodeAddress),
    /// A node goes.
    Remove(NodeId),
    /// A node comes, and another goes as soon as it is there.
    Replace {
        /// Who goes.
        old: NodeId,
        /// Who comes.
        new: NodeId,
        /// Where it is reached.
        address: NodeAddress,
    },
    /// A node leads nothing, or may lead again.
    Drain(NodeId, bool),
}

/// A collection.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Collection {
    /// Its id for good: the catalog version that made it.
    pub id: CollectionId,
    /// Its policy.
    pub policy: Policy,
    /// What every document of it starts from; fixed.
    pub template: Option<View>,
    /// JSON Pointers of the fields that merge by character; fixed.
    pub text: Vec<String>,
    /// Whether the core writes back what was decided where writes met.
    pub settle: bool,
    /// Where documents go that clients of Automerge make; without one they make none. Fixed.
    pub inbox: Option<Inbox>,
}

/// A plugin.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Plugin {
    /// What it is; every version the same.
    #[serde(default)]
    pub world: World,
    /// The version that collections of policy `plugin:NAME` follow.
    pub active: PluginDigest,
    /// Every version kept, in the order of their deployment.
    pub versions: Vec<PluginVersion>,
    /// Why the cluster itself has rolled a version back, until the next deployment.
    #[serde(default)]
    pub rolled_back: Option<RolledBack>,
}

/// A version of a plugin.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct PluginVersion {
    /// BLAKE3 of the component.
    pub digest: PluginDigest,
    /// Size of the component, in bytes.
    pub bytes: u64,
    /// For a merge policy, the version of its states; 0 for a resolver.
    pub state_version: u32,
    /// The runtime profile that it was tried under and runs under: another profile is another deployment.
    pub profile: String,
    /// Whether the cluster itself has rolled it back since it was deployed.
    #[serde(default)]
    pub failed: bool,
}

/// A version that the cluster has taken back by itself.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct RolledBack {
    /// The version.
    pub digest: PluginDigest,
    /// What it did, in one sentence.
    pub reason: String,
}

/// One step of the catalog.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub enum Step {
    /// A collection is made.
    CreateCollection {
        /// Its name.
        name: CollectionName,
        /// Its policy.
        policy: Policy,
        /// Its template.
        template: Option<View>,
        /// Its text fields.
        text: Vec<String>,
        /// Whether the core writes back what was decided.
        settle: bool,
        /// Where documents go that clients of Automerge make.
        inbox: Option<Inbox>,
    },
    /// A collection takes another policy, or begins or ends to write back what was decided.
    SetPolicy {
        /// Its name.
        name: CollectionName,
        /// The policy.
        policy: Policy,
        /// Whether the core writes back what was decided.
        settle: bool,
    },
    /// A collection goes, with its documents.
    DeleteCollection {
        /// Its name.
        name: CollectionName,
    },
    /// A staged version of a plugin becomes the active one.
    ActivatePlugin {
        /// The plugin.
        name: PluginName,
        /// What it is.
        #[serde(default)]
        world: World,
        /// The version.
        version: PluginVersion,
    },
    /// A plugin goes back to a version that was active before.
    RollBackPlugin {
        /// The plugin.
        name: PluginName,
        /// The version that is active; the step changes nothing when another one is.
        from: PluginDigest,
        /// The version that becomes active.
        to: PluginDigest,
        /// Why, when it is the cluster itself that asks.
        reason: Option<String>,
    },
    /// The cluster is to be made of other nodes.
    Members(MemberStep),
}

/// Why a step is refused.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Error {
    /// The name is taken by a collection that is different.
    #[error("collection {name} exists already with policy {policy}; template, text and inbox cannot change")]
    CollectionExists {
        /// The name.
        name: CollectionName,
        /// What it is.
        policy: Policy,
    },
    /// No such collection.
    #[error("there is no collection {0}")]
    NoCollection(CollectionName),
    /// Too many collections.
    #[error("the cluster has {COLLECTIONS_MAX} collections, which is the limit")]
    TooManyCollections,
    /// Too many plugins.
    #[error("the cluster has {PLUGINS_MAX} plugins, which is the limit")]
    TooManyPlugins,
    /// A policy that names a plugin or version that is not deployed.
    #[error("policy {0} names a plugin that is not deployed: run skerry plugin deploy first")]
    NoPlugin(Policy),
    /// A version of a plugin that is another kind of plugin.
    #[error("plugin {0} is deployed as the other kind, resolver or merge policy: take another name")]
    OtherWorld(PluginName),
    /// No such plugin.
    #[error("there is no plugin {0}")]
    UnknownPlugin(PluginName),
    /// A version that is not kept.
    #[error("plugin {name} has no version {digest}: skerry plugin show lists those that are kept")]
    NoVersion {
        /// The plugin.
        name: PluginName,
        /// The version.
        digest: PluginDigest,
    },
    /// A merge policy that does not know the states that are there.
    #[error(
        "documents of plugin {name} hold states of version {active}, and this component writes version {found}: deploy \
         one that reads both"
    )]
    OlderStates {
        /// The plugin.
        name: PluginName,
        /// The version of the states that are there.
        active: u32,
        /// The version that the component writes.
        found: u32,
    },
    /// A policy that cannot follow the one before.
    #[error("collection {name} cannot go from policy {from} to {to}: their documents are stored differently")]
    EngineChange {
        /// The collection.
        name: CollectionName,
        /// Its policy.
        from: String,
        /// The one refused.
        to: String,
    },
    /// A node that was there once.
    #[error("node {0} was part of this cluster before: take an id that no node ever had")]
    IdUsed(NodeId),
    /// A node that is there at another address.
    #[error("node {node} is part of this cluster already, at {}", .address.node)]
    OtherAddress {
        /// The node.
        node: NodeId,
        /// Where it is reached.
        address: NodeAddress,
    },
    /// No such node.
    #[error("node {0} is not part of this cluster")]
    NoNode(NodeId),
    /// Settling in a collection where no conflicts are kept.
    #[error("collection {name} is {policy}: settle belongs to the policies lww and json, and to resolvers")]
    NoSettling {
        /// Its name.
        name: CollectionName,
        /// Its policy.
        policy: Policy,
    },
    /// An inbox where no document is one of Automerge's.
    #[error("collection {name} is {policy}: an inbox belongs to the policies lww and json, and to resolvers")]
    NoInbox {
        /// Its name.
        name: CollectionName,
        /// Its policy.
        policy: Policy,
    },
    /// A second inbox.
    #[error("collection {other} has the cluster's inbox already: create {name} without one")]
    InboxTaken {
        /// Its name.
        name: CollectionName,
        /// The one that has it.
        other: CollectionName,
    },
    /// Template or text on a collection whose documents are not of the json engine.
    #[error("collection {name} is {policy}: template and text belong to the policies lww and json, and to resolvers")]
    NoTemplate {
        /// Its name.
        name: CollectionName,
        /// Its policy.
        policy: Policy,
    },
}

impl Catalog {
    /// The collection of a name.
    #[must_use]
    pub fn collection(&self, name: &CollectionName) -> Option<&Collection> {
        self.collections.get(name)
    }

    /// The collection of an id, with its name.
    #[must_use]
    pub fn collection_by_id(&self, id: CollectionId) -> Option<(&CollectionName, &Collection)> {
        self.collections.iter().find(|(_, collection)| collection.id == id)
    }

    /// The collection that takes documents which clients of Automerge make.
    #[must_use]
    pub fn inbox(&self) -> Option<(&CollectionName, &Collection, &Inbox)> {
        let mut inboxes = self.collections.iter();
        inboxes.find_map(|(name, collection)| collection.inbox.as_ref().map(|inbox| (name, collection, inbox)))
    }

    /// All collections, by name.
    pub fn collections(&self) -> impl Iterator<Item = (&CollectionName, &Collection)> {
        self.collections.iter()
    }

    /// The plugin of a name.
    #[must_use]
    pub fn plugin(&self, name: &PluginName) -> Option<&Plugin> {
        self.plugins.get(name)
    }

    /// All plugins, by name.
    pub fn plugins(&self) -> impl Iterator<Item = (&PluginName, &Plugin)> {
        self.plugins.iter()
    }

    /// The runtime profile that a version was deployed under.
    #[must_use]
    pub fn profile(&self, digest: PluginDigest) -> Option<&str> {
        let versions = self.plugins.values().flat_map(|plugin| &plugin.versions);
        versions.into_iter().find(|version| version.digest == digest).map(|version| version.profile.as_str())
    }

    /// The plugin version that a policy means now.
    #[must_use]
    pub fn digest(&self, policy: &Policy) -> Option<PluginDigest> {
        match policy {
            Policy::Plugin { pinned: Some(digest), .. } => Some(*digest),
            Policy::Plugin { name, pinned: None } => self.plugins.get(name).map(|plugin| plugin.active),
            Policy::Strict | Policy::Lww | Policy::Json | Policy::Counter | Policy::Set => None,
        }
    }

    /// How the documents of a policy are kept.
    #[must_use]
    pub fn engine(&self, policy: &Policy) -> EngineKind {
        policy.engine(self.world(policy))
    }

    /// What the plugin of a policy is.
    #[must_use]
    pub fn world(&self, policy: &Policy) -> Option<World> {
        match policy {
            Policy::Plugin { name, .. } => self.plugins.get(name).map(|plugin| plugin.world),
            Policy::Strict | Policy::Lww | Policy::Json | Policy::Counter | Policy::Set => None,
        }
    }

    /// Whether documents of one policy can be read under another.
    fn stores_alike(&self, one: &Policy, other: &Policy) -> bool {
        let same_plugin = match (one, other) {
            (Policy::Plugin { name: one, .. }, Policy::Plugin { name: other, .. }) => one == other,
            (one, other) => one == other,
        };
        let kind = self.engine(one);
        kind == self.engine(other) && (kind != EngineKind::State || same_plugin)
    }

    /// What a policy reads as in the header of an answer: with the digest that applies now.
    #[must_use]
    pub fn describe(&self, policy: &Policy) -> String {
        match (policy, self.digest(policy)) {
            (Policy::Plugin { name, .. }, Some(digest)) => format!("plugin:{name}@{digest}"),
            _ => policy.to_string(),
        }
    }

    /// Collections whose policy names a plugin.
    pub fn users<'a>(&'a self, plugin: &'a PluginName) -> impl Iterator<Item = &'a CollectionName> {
        let names = move |policy: &Policy| matches!(policy, Policy::Plugin { name, .. } if name == plugin);
        self.collections.iter().filter(move |(_, collection)| names(&collection.policy)).map(|(name, _)| name)
    }

    /// Whether a step may be proposed: `false` when the catalog is already as it would make it.
    ///
    /// # Errors
    /// [`Error`] names why not.
    pub fn check(&self, step: &Step) -> Result<bool, Error> {
        match step {
            Step::CreateCollection { name, policy, template, text, settle, inbox } => {
                if let Some(known) = self.collections.get(name) {
                    let same_form = known.template == *template && known.text == *text && known.inbox == *inbox;
                    let same = known.policy == *policy && same_form && known.settle == *settle;
                    let (name, policy) = (name.clone(), known.policy.clone());
                    return if same { Ok(false) } else { Err(Error::CollectionExists { name, policy }) };
                }
                if self.collections.len() >= COLLECTIONS_MAX {
                    return Err(Error::TooManyCollections);
                }
                self.check_policy(policy)?;
                if self.engine(policy) != EngineKind::Json && (template.is_some() || !text.is_empty()) {
                    return Err(Error::NoTemplate { name: name.clone(), policy: policy.clone() });
                }
                self.check_settle(name, policy, *settle)?;
                self.check_inbox(name, policy, inbox.as_ref())?;
                Ok(true)
            }
            Step::SetPolicy { name, policy, settle } => {
                let known = self.collections.get(name).ok_or_else(|| Error::NoCollection(name.clone()))?;
                self.check_policy(policy)?;
                if !self.stores_alike(&known.policy, policy) {
                    let (from, to) = (known.policy.to_string(), policy.to_string());
                    return Err(Error::EngineChange { name: name.clone(), from, to });
                }
                self.check_settle(name, policy, *settle)?;
                self.check_states(&known.policy, policy)?;
                Ok(known.policy != *policy || known.settle != *settle)
            }
            Step::DeleteCollection { name } => {
                if self.collections.contains_key(name) {
                    Ok(true)
                } else {
                    Err(Error::NoCollection(name.clone()))
                }
            }
            Step::ActivatePlugin { name, world, version } => match self.plugins.get(name) {
                Some(known) if known.world != *world => Err(Error::OtherWorld(name.clone())),
                Some(known) => {
                    known.can_become(name, version)?;
                    let same = known.version(version.digest).is_some_and(|known| known.profile == version.profile);
                    Ok(known.active != version.digest || !same)
                }
                None if self.plugins.len() >= PLUGINS_MAX => Err(Error::TooManyPlugins),
                None => Ok(true),
            },
            Step::RollBackPlugin { name, from, to, .. } => {
                let known = self.plugins.get(name).ok_or_else(|| Error::UnknownPlugin(name.clone()))?;
                let missing = || Error::NoVersion { name: name.clone(), digest: *to };
                known.can_become(name, known.version(*to).ok_or_else(missing)?)?;
                Ok(known.active == *from && from != to)
            }
            Step::Members(step) => self.members.check(step),
        }
    }

    /// Whether the states that one policy has written can be read under another.
    fn check_states(&self, from: &Policy, to: &Policy) -> Result<(), Error> {
        let state_version = |policy: &Policy| match policy {
            Policy::Plugin { name, .. } => {
                let version = self.plugins.get(name)?.version(self.digest(policy)?)?;
                Some((name.clone(), version.state_version))
            }
            _ => None,
        };
        match (state_version(from), state_version(to)) {
            (Some((_, active)), Some((name, found))) if found < active => {
                Err(Error::OlderStates { name, active, found })
            }
            _ => Ok(()),
        }
    }

    fn check_settle(&self, name: &CollectionName, policy: &Policy, settle: bool) -> Result<(), Error> {
        if settle && self.engine(policy) != EngineKind::Json {
            return Err(Error::NoSettling { name: name.clone(), policy: policy.clone() });
        }
        Ok(())
    }

    /// One collection takes what clients of Automerge make: they name no other.
    fn check_inbox(&self, name: &CollectionName, policy: &Policy, inbox: Option<&Inbox>) -> Result<(), Error> {
        if inbox.is_none() {
            return Ok(());
        }
        if self.engine(policy) != EngineKind::Json {
            return Err(Error::NoInbox { name: name.clone(), policy: policy.clone() });
        }
        match self.inbox() {
            Some((other, _, _)) => Err(Error::InboxTaken { name: name.clone(), other: other.clone() }),
            None => Ok(()),
        }
    }

    fn check_policy(&self, policy: &Policy) -> Result<(), Error> {
        let known = match policy {
            Policy::Strict | Policy::Lww | Policy::Json | Policy::Counter | Policy::Set => true,
            Policy::Plugin { name, pinned } => {
                let plugin = self.plugins.get(name);
                plugin.is_some_and(|plugin| pinned.is_none_or(|digest| plugin.version(digest).is_some()))
            }
        };
        if known { Ok(()) } else { Err(Error::NoPlugin(policy.clone())) }
    }

    /// The catalog after a step that [`Catalog::check`] has allowed. Total: a step that no longer fits changes nothing
    /// but the version, on every replica alike.
    #[must_use]
    pub fn after(&self, step: &Step) -> Self {
        let mut next = self.clone();
        next.version = self.version.next();
        match step {
            Step::CreateCollection { name, policy, template, text, settle, inbox } => {
                let id = CollectionId::new(u32::try_from(next.version.get()).unwrap_or(u32::MAX));
                let (policy, template, text) = (policy.clone(), template.clone(), text.clone());
                next.collections.entry(name.clone()).or_insert(Collection {
                    id,
                    policy,
                    template,
                    text,
                    settle: *settle,
                    inbox: inbox.clone(),
                });
            }
            Step::SetPolicy { name, policy, settle } => {
                if let Some(collection) = next.collections.get_mut(name) {
                    collection.policy = policy.clone();
                    collection.settle = *settle;
                }
            }
            Step::DeleteCollection { name } => {
                next.collections.remove(name);
            }
            Step::ActivatePlugin { name, world, version } => next.activate(name, *world, version.clone()),
            Step::RollBackPlugin { name, from, to, reason } => next.roll_back(name, *from, *to, reason.as_ref()),
            Step::Members(step) => next.members.take(step),
        }
        next.forget_versions();
        next
    }

    fn activate(&mut self, name: &PluginName, world: World, version: PluginVersion) {
        let digest = version.digest;
        let new = Plugin { world, active: digest, versions: Vec::new(), rolled_back: None };
        let plugin = self.plugins.entry(name.clone()).or_insert(new);
        if plugin.world != world {
            return;
        }
        plugin.active = digest;
        plugin.rolled_back = None;
        plugin.versions.retain(|known| known.digest != digest);
        plugin.versions.push(version);
    }

    fn roll_back(&mut self, name: &PluginName, from: PluginDigest, to: PluginDigest, reason: Option<&String>) {
        let Some(plugin) = self.plugins.get_mut(name).filter(|plugin| plugin.active == from) else { return };
        if plugin.version(to).is_none() {
            return;
        }
        plugin.active = to;
        plugin.rolled_back = reason.map(|reason| RolledBack { digest: from, reason: reason.clone() });
        if let Some(version) = plugin.versions.iter_mut().find(|version| version.digest == from) {
            version.failed |= reason.is_some();
        }
    }

    /// Old versions go, unless a collection names them.
    fn forget_versions(&mut self) {
        for (name, plugin) in &mut self.plugins {
            let pins = |policy: &Policy, digest| matches!(policy, Policy::Plugin { name: pinned, pinned: Some(at) } if pinned == name && *at == digest);
            let is_pinned = |digest| self.collections.values().any(|collection| pins(&collection.policy, digest));
            let mut recent = PLUGIN_VERSIONS_KEPT;
            let mut kept: Vec<PluginVersion> = Vec::new();
            for version in plugin.versions.iter().rev() {
                let is_recent = recent > 0;
                recent = recent.saturating_sub(1);
                if is_recent || version.digest == plugin.active || is_pinned(version.digest) {
                    kept.push(version.clone());
                }
            }
            kept.reverse();
            plugin.versions = kept;
        }
    }

    /// Components that were there before and that no plugin has any more.
    #[must_use]
    pub fn gone_since(&self, before: &Self) -> BTreeSet<PluginDigest> {
        let all = |catalog: &Self| -> BTreeSet<PluginDigest> {
            catalog.plugins.values().flat_map(|plugin| &plugin.versions).map(|version| version.digest).collect()
        };
        &all(before) - &all(self)
    }

    /// What edges are told.
    #[must_use]
    pub fn for_edges(&self) -> message::Catalog {
        let collections = self.collections.iter().map(|(name, collection)| message::Collection {
            id: collection.id,
            name: name.clone(),
            policy: collection.policy.clone(),
            plugin: self.digest(&collection.policy),
            world: self.world(&collection.policy),
            template: collection.template.clone(),
            text: collection.text.clone(),
            settle: collection.settle,
            inbox: collection.inbox.clone(),
        });
        message::Catalog { version: self.version, collections: collections.collect() }
    }
}

impl Plugin {
    /// A version that is kept.
    #[must_use]
    pub fn version(&self, digest: PluginDigest) -> Option<&PluginVersion> {
        self.versions.iter().find(|version| version.digest == digest)
    }

    /// The version that was deployed before the active one, leaving out those that were rolled back for their failures.
    #[must_use]
    pub fn before(&self) -> Option<PluginDigest> {
        let active = self.versions.iter().position(|version| version.digest == self.active)?;
        self.versions[..active].iter().rev().find(|version| !version.failed).map(|version| version.digest)
    }

    /// Whether documents that the active version has written can be read under another.
    fn can_become(&self, name: &PluginName, version: &PluginVersion) -> Result<(), Error> {
        let active = self.version(self.active).map_or(0, |active| active.state_version);
        let found = version.state_version;
        if found < active { Err(Error::OlderStates { name: name.clone(), active, found }) } else { Ok(()) }
    }
}

impl Members {
    /// Whether an id was ever taken away.
    #[must_use]
    pub fn is_gone(&self, node: NodeId) -> bool {
        self.removed.contains(&node)
    }

    /// Whether an id was taken away, or is once another node has its place.
    #[must_use]
    pub fn is_leaving(&self, node: NodeId) -> bool {
        self.is_gone(node) || self.replaced.contains_key(&node)
    }

    fn check(&self, step: &MemberStep) -> Result<bool, Error> {
        let comes = |node: &NodeId, address: &NodeAddress| match self.added.get(node) {
            _ if self.is_leaving(*node) => Err(Error::IdUsed(*node)),
            Some(known) if known != address => Err(Error::OtherAddress { node: *node, address: known.clone() }),
            Some(_) => Ok(false),
            None => Ok(true),
        };
        match step {
            MemberStep::Add(node, address) => comes(node, address),
            MemberStep::Remove(node) => Ok(!self.is_gone(*node)),
            MemberStep::Replace { old, new, address } => {
                if self.replaced.get(old) == Some(new) {
                    return Ok(false);
                }
                if self.is_leaving(*old) {
                    return Err(Error::NoNode(*old));
                }
                comes(new, address).map(|_| true)
            }
            MemberStep::Drain(node, _) if self.is_leaving(*node) => Err(Error::NoNode(*node)),
            MemberStep::Drain(node, drained) => Ok(self.drained.contains(node) != *drained),
        }
    }

    fn take(&mut self, step: &MemberStep) {
        match step.clone() {
            MemberStep::Add(node, address) => drop(self.added.insert(node, address)),
            MemberStep::Remove(node) => drop(self.removed.insert(node)),
            MemberStep::Replace { old, new, address } => {
                self.added.insert(new, address);
                self.replaced.insert(old, new);
            }
            MemberStep::Drain(node, true) => drop(self.drained.insert(node)),
            MemberStep::Drain(node, false) => drop(self.drained.remove(&node)),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn create(name: &str, policy: &str) -> Step {
        let (name, policy) = (name.parse().unwrap(), policy.parse().unwrap());
        Step::CreateCollection { name, policy, template: None, text: Vec::new(), settle: false, inbox: None }
    }

    fn activate(digest: u8) -> Step {
        activate_states(digest, World::Resolver, 0)
    }

    fn activate_states(digest: u8, world: World, state_version: u32) -> Step {
        let digest = PluginDigest::from_bytes([digest; 32]);
        let profile = "1".to_owned();
        let version = PluginVersion { digest, bytes: 9, state_version, profile, failed: false };
        Step::ActivatePlugin { name: "stock".parse().unwrap(), world, version }
    }

    fn roll_back(from: u8, to: u8) -> Step {
        let (from, to) = (PluginDigest::from_bytes([from; 32]), PluginDigest::from_bytes([to; 32]));
        Step::RollBackPlugin { name: "stock".parse().unwrap(), from, to, reason: None }
    }

    #[test]
    fn a_collection_made_again_has_another_id() {
        let made = Catalog::default().after(&create("items", "lww"));
        let name: CollectionName = "items".parse().unwrap();
        let again = made.after(&Step::DeleteCollection { name: name.clone() }).after(&create("items", "lww"));
        assert_ne!(made.collection(&name).unwrap().id, again.collection(&name).unwrap().id);
    }

    #[test]
    fn steps_are_checked() {
        let catalog = Catalog::default().after(&create("items", "lww"));
        assert_eq!(catalog.check(&create("items", "lww")), Ok(false));
        assert!(matches!(catalog.check(&create("items", "json")), Err(Error::CollectionExists { .. })));
        assert!(matches!(catalog.check(&create("goods", "plugin:stock")), Err(Error::NoPlugin(_))));
        let set = |policy: &str| {
            let (name, policy) = ("items".parse().unwrap(), policy.parse().unwrap());
            Step::SetPolicy { name, policy, settle: false }
        };
        assert!(matches!(catalog.check(&set("strict")), Err(Error::EngineChange { .. })));
        assert_eq!(catalog.check(&set("json")), Ok(true));
    }

    #[test]
    fn a_policy_follows_the_active_version() {
        let catalog =
            Catalog::default().after(&activate(1)).after(&create("items", "plugin:stock")).after(&activate(2));
        let policy = &catalog.collection(&"items".parse().unwrap()).unwrap().policy;
        assert_eq!(catalog.digest(policy), Some(PluginDigest::from_bytes([2; 32])));
    }

    #[test]
    fn ids_of_nodes_never_come_back() {
        let address = |node: u64| NodeAddress { node: format!("n{node}:1"), http: String::new() };
        let add = |node| Step::Members(MemberStep::Add(NodeId::new(node), address(node)));
        let remove = |node| Step::Members(MemberStep::Remove(NodeId::new(node)));
        let replace = |old, new| {
            let (old, new, address) = (NodeId::new(old), NodeId::new(new), address(new));
            Step::Members(MemberStep::Replace { old, new, address })
        };
        let catalog = Catalog::default().after(&add(4)).after(&remove(4)).after(&replace(3, 5));
        assert_eq!(catalog.check(&add(4)), Err(Error::IdUsed(NodeId::new(4))));
        assert_eq!(catalog.check(&add(3)), Err(Error::IdUsed(NodeId::new(3))));
        assert_eq!(catalog.check(&replace(3, 5)), Ok(false));
        assert_eq!(catalog.check(&remove(4)), Ok(false));
        assert_eq!(catalog.check(&add(6)), Ok(true));
    }

    #[test]
    fn versions_that_no_collection_names_go() {
        let pinned = format!("plugin:stock@{}", "01".repeat(32));
        let catalog = (0..4).fold(Catalog::default(), |catalog, digest| {
            let catalog = catalog.after(&activate(digest));
            if digest == 1 { catalog.after(&create("pinned", &pinned)) } else { catalog }
        });
        let more = (4..9).fold(catalog.clone(), |catalog, digest| catalog.after(&activate(digest)));
        let kept = |catalog: &Catalog| -> Vec<u8> {
            let plugin = catalog.plugin(&"stock".parse().unwrap()).unwrap();
            plugin.versions.iter().map(|version| version.digest.as_bytes()[0]).collect()
        };
        assert_eq!((kept(&catalog), kept(&more)), (vec![1, 2, 3], vec![1, 6, 7, 8]));
        let gone: Vec<u8> = more.gone_since(&catalog).iter().map(|digest| digest.as_bytes()[0]).collect();
        assert_eq!(gone, [2, 3]);
        let unpinned = more.after(&Step::DeleteCollection { name: "pinned".parse().unwrap() });
        assert_eq!(kept(&unpinned), [6, 7, 8]);
    }

    #[test]
    fn rolling_back_goes_one_version_back_each_time() {
        let catalog = (1..4).fold(Catalog::default(), |catalog, digest| catalog.after(&activate(digest)));
        let name: PluginName = "stock".parse().unwrap();
        let before = |catalog: &Catalog| catalog.plugin(&name).unwrap().before().map(|digest| digest.as_bytes()[0]);
        assert_eq!(before(&catalog), Some(2));
        let back = catalog.after(&roll_back(3, 2));
        assert_eq!(before(&back), Some(1));
        assert_eq!(back.check(&roll_back(3, 2)), Ok(false), "it is done");
        assert!(matches!(back.check(&roll_back(2, 9)), Err(Error::NoVersion { .. })));
        assert_eq!(before(&back.after(&activate(3))), Some(2));
    }

    #[test]
    fn rolling_back_leaves_out_what_has_failed() {
        let catalog = (1..3).fold(Catalog::default(), |catalog, digest| catalog.after(&activate(digest)));
        let Step::RollBackPlugin { name, from, to, .. } = roll_back(2, 1) else { panic!("it is one") };
        let failed = catalog.after(&Step::RollBackPlugin { name, from, to, reason: Some("it failed".to_owned()) });
        let name: PluginName = "stock".parse().unwrap();
        let before = |catalog: &Catalog| catalog.plugin(&name).unwrap().before().map(|digest| digest.as_bytes()[0]);
        assert_eq!(before(&failed.after(&activate(3))), Some(1));
        let again = failed.after(&activate(2)).after(&activate(3));
        assert_eq!(before(&again), Some(2), "it was deployed anew");
    }

    #[test]
    fn states_are_never_read_by_a_plugin_that_does_not_know_them() {
        let catalog = Catalog::default().after(&activate_states(1, World::MergePolicy, 1));
        let newer = catalog.after(&activate_states(2, World::MergePolicy, 2));
        assert_eq!(catalog.check(&activate_states(2, World::MergePolicy, 2)), Ok(true));
        assert!(matches!(newer.check(&roll_back(2, 1)), Err(Error::OlderStates { active: 2, found: 1, .. })));
        let pin = |digest: u8| {
            let policy = format!("plugin:stock@{}", hex::encode([digest; 32])).parse().unwrap();
            Step::SetPolicy { name: "items".parse().unwrap(), policy, settle: false }
        };
        let used = newer.after(&create("items", "plugin:stock"));
        assert!(matches!(used.check(&pin(1)), Err(Error::OlderStates { .. })));
        assert_eq!(used.check(&pin(2)), Ok(true));
        assert!(matches!(newer.check(&activate_states(3, World::MergePolicy, 1)), Err(Error::OlderStates { .. })));
    }
}
