//! A document as a reader of this edge sees it: the core's own outcome where nothing is pending, else this edge's.

use skerry_api::documents::{ETag, Read, Stamp, State};
use skerry_channel::message::Collection;
use skerry_model::document::View;
use skerry_model::engine::Version;
use skerry_model::ids::hash_field;
use skerry_model::{Origin, PluginDigest, VersionId};

use super::known::{Known, policy_text};
use crate::keys::head::Head;
use crate::keys::provisional::Provisional;
use crate::limits::TAG_SEEN_BYTES_MAX;

/// What a reader sees.
#[derive(Debug, Clone)]
pub(crate) struct Shown {
    /// `None` when it is deleted.
    pub(crate) view: Option<View>,
    pub(crate) plugin: Option<PluginDigest>,
    pub(crate) conflicts: u32,
    pub(crate) fallback: Option<String>,
    /// What identifies the content.
    identity: Vec<u8>,
    /// The version that the core has published, beneath or itself.
    published: Option<VersionId>,
    state: State,
}

impl From<Head> for Shown {
    fn from(head: Head) -> Self {
        let identity = head.seen.map_or_else(|| head.version.to_string().into_bytes(), |seen| seen.0.to_vec());
        Self {
            view: head.view,
            plugin: head.plugin,
            conflicts: head.conflicts,
            fallback: head.fallback,
            identity,
            published: Some(head.version),
            state: State::Committed,
        }
    }
}

impl From<Provisional> for Shown {
    fn from(provisional: Provisional) -> Self {
        Self {
            view: provisional.view,
            plugin: provisional.plugin,
            conflicts: provisional.conflicts,
            fallback: provisional.fallback,
            identity: provisional.seen.0.to_vec(),
            published: provisional.base,
            state: State::Provisional,
        }
    }
}

impl Shown {
    /// What a reader sees of these two rows.
    pub(crate) fn of(provisional: Option<Provisional>, head: Option<Head>) -> Option<Self> {
        provisional.map(Self::from).or_else(|| head.map(Self::from))
    }

    /// The tag of the content; `None` when there is no document. Equal content has equal tags at one edge, and no core
    /// or other edge makes the same one.
    pub(crate) fn etag(&self, known: &Known) -> Option<ETag> {
        Some(tag(&known.replica, &self.identity, self.view.as_ref()?))
    }

    /// What an answer says of the version; `None` when there is no document.
    pub(crate) fn stamp(&self, known: &Known, collection: &Collection) -> Option<Stamp> {
        let published = self.published.zip(known.home);
        Some(Stamp {
            etag: self.etag(known)?,
            scn: published.map(|(version, home)| format!("{}.{}", home.timeline, version.scn)),
            policy: policy_text(&collection.policy, self.plugin),
            state: self.state,
            automerge: None,
        })
    }

    /// The answer to a read; `None` when there is no document.
    pub(crate) fn read(&self, known: &Known, collection: &Collection) -> Option<Read> {
        let (view, stamp) = (self.view.clone()?, self.stamp(known, collection)?);
        Some(Read { view, stamp, conflicts: self.conflicts, fallback: self.fallback.clone() })
    }
}

/// The tag of what a document has seen and reads as. What it has seen stands in it where that is short, so that it can be a
/// base.
pub(super) fn tag(replica: &Origin, identity: &[u8], view: &View) -> ETag {
    let mut hasher = blake3::Hasher::new();
    hash_field(&mut hasher, identity);
    hash_field(&mut hasher, view.bytes());
    let hash = hex::encode(&hasher.finalize().as_bytes()[..16]);
    let seen = if identity.len() <= TAG_SEEN_BYTES_MAX { hex::encode(identity) } else { String::new() };
    ETag(format!("edge.{replica}.{hash}.{seen}"))
}

/// What a tag of this edge says that the document had seen.
pub(super) fn seen_in(tag: &ETag, replica: &Origin) -> Option<Version> {
    let ours = tag.0.strip_prefix("edge.")?.strip_prefix(replica.as_str())?.strip_prefix('.')?;
    let (_hash, seen) = ours.split_once('.')?;
    let seen = hex::decode(seen).ok().filter(|seen| !seen.is_empty())?;
    Some(Version(seen.into()))
}
