//! A document as a reader of this edge sees it: the core's own outcome where nothing is pending, else this edge's.

use skerry_api::documents::{ETag, Read, Stamp, State};
use skerry_channel::message::Collection;
use skerry_model::document::View;
use skerry_model::ids::hash_field;
use skerry_model::{PluginDigest, VersionId};

use super::known::{Known, policy_text};
use crate::keys::head::Head;
use crate::keys::provisional::Provisional;

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
        let view = self.view.as_ref()?;
        let mut hasher = blake3::Hasher::new();
        hash_field(&mut hasher, &self.identity);
        hash_field(&mut hasher, view.bytes());
        let hash = hasher.finalize();
        Some(ETag(format!("edge.{}.{}", known.replica, hex::encode(&hash.as_bytes()[..16]))))
    }

    /// What an answer says of the version; `None` when there is no document.
    pub(crate) fn stamp(&self, known: &Known, collection: &Collection) -> Option<Stamp> {
        let published = self.published.zip(known.home);
        Some(Stamp {
            etag: self.etag(known)?,
            scn: published.map(|(version, home)| format!("{}.{}", home.timeline, version.scn)),
            policy: policy_text(&collection.policy, self.plugin),
            state: self.state,
        })
    }

    /// The answer to a read; `None` when there is no document.
    pub(crate) fn read(&self, known: &Known, collection: &Collection) -> Option<Read> {
        let (view, stamp) = (self.view.clone()?, self.stamp(known, collection)?);
        Some(Read { view, stamp, conflicts: self.conflicts, fallback: self.fallback.clone() })
    }
}
