//! The version that a writer says it saw: `?base=` names it by its ETag.

use skerry_api::documents::ETag;
use skerry_api::problem::{Kind, NO_BASE, Problem};
use skerry_model::VersionId;
use skerry_model::document::View;
use skerry_model::engine::Version;
use skerry_model::policy::EngineKind;
use skerry_store::OrderedStore;

use super::{Context, Subject, storage_problem};
use crate::catalog::Collection;
use crate::documents::read::{self, Error};

/// A version of the past that a write starts from.
pub(super) struct Base {
    /// What the document had seen.
    pub(super) seen: Version,
    /// What its reader saw; `None` where there was no document.
    pub(super) view: Option<View>,
}

/// The version that a tag of this cluster names.
///
/// # Errors
/// A problem of kind `unknown-base`, when the document has no such version; of kind `refused`, where nothing merges with
/// the past.
pub(super) fn find(
    rows: &dyn OrderedStore,
    context: &Context,
    collection: &Collection,
    subject: &Subject,
    named: &ETag,
) -> Result<Base, Problem> {
    if context.catalog.engine(&collection.policy) != EngineKind::Json {
        return Err(Problem::new(Kind::Refused, NO_BASE));
    }
    let unknown = || {
        let detail = format!("{} is no version of this document on this line of history: read it again", named.0);
        Problem::new(Kind::UnknownBase, detail)
    };
    let id = version_of(context, named).ok_or_else(unknown)?;
    let found = read::version(rows, collection.id, subject.key(), subject.epoch(), id);
    let read::Seen { version, view, .. } = found.map_err(|error| match error {
        Error::Missing { .. } => unknown(),
        error => storage_problem(&error),
    })?;
    Ok(Base { seen: version.seen.ok_or_else(unknown)?, view })
}

/// A tag is the timeline, the version and the plugin.
fn version_of(context: &Context, ETag(named): &ETag) -> Option<VersionId> {
    let version = named.strip_prefix(&context.timeline.to_string())?.strip_prefix('.')?;
    version.rsplit_once('.')?.0.parse().ok()
}
