//! The version that a writer says it saw. A tag of this edge carries what the document had seen, so that nothing has to be
//! kept for it; the view is computed again, and the tag with it, which must be the same.

use skerry_api::documents::ETag;
use skerry_api::problem::{Kind, Problem};
use skerry_channel::message::Collection;
use skerry_model::document::View;
use skerry_model::engine::{MergeDocument, Version};

use super::shown::{seen_in, tag};
use super::{Answer, Replica};

/// A version of the past that a write starts from.
pub(super) struct Base {
    pub(super) version: Version,
    /// What its reader saw; `None` where there was no document.
    pub(super) view: Option<View>,
}

impl Replica {
    /// What a tag of this edge stands for in a document.
    ///
    /// # Errors
    /// A [`Problem`] of kind `unknown-base`.
    pub(super) fn named_base(
        &self,
        collection: &Collection,
        document: &dyn MergeDocument,
        named: &ETag,
    ) -> Answer<Base> {
        let unknown = || {
            let detail = format!("{} is no version of this document at this edge: read it again", named.0);
            Problem::new(Kind::UnknownBase, detail)
        };
        let version = seen_in(named, &self.known.replica).ok_or_else(unknown)?;
        let viewed = |chooser: skerry_model::policy::Chooser<'_>| document.view_at(&version, chooser);
        let view = self.outcome_of(collection, &viewed).map_err(|_| unknown())?.viewed.view;
        let same = view.as_ref().is_some_and(|view| tag(&self.known.replica, &version.0, view) == *named);
        if same { Ok(Base { version, view }) } else { Err(unknown()) }
    }
}
