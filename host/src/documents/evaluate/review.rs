//! What a document reads as under the version of a plugin, or the policy, that has come since it was written last.

use skerry_api::problem::Problem;
use skerry_model::engine::{MergeDocument, Version as SeenVersion};

use super::subject::NewView;
use super::write::{new_view, note_failure, settled_view};
use super::{Context, Subject};
use crate::catalog::Collection;
use crate::documents::record::{DocumentEffect, MergeEffect};

/// A version with the same content and the view that it has now; none when it reads the same.
///
/// # Errors
/// A problem, when the plugin cannot run here now or does not take the document.
pub fn review(
    context: &Context,
    collection: &Collection,
    mut subject: Subject,
) -> Result<Option<DocumentEffect>, Problem> {
    let Some(merge) = subject.merge.as_ref().filter(|_| subject.exists) else { return Ok(None) };
    // Where the newest change holds everything, the new version has to have it too.
    let state = merge.state();
    note_failure(context, collection, &subject, state.as_ref().err());
    let is_state = state?.is_some();
    let mut deltas = if is_state { vec![merge.delta(&SeenVersion::default())?] } else { Vec::new() };
    let resolver = context.resolver(&collection.policy)?;
    let new: NewView = settled_view(context, collection, &mut subject, resolver.as_ref(), &mut deltas)?;
    if subject.reads_like(&new) {
        return Ok(None);
    }
    let seen = subject.document().map(MergeDocument::version).unwrap_or_default();
    let author = context.core.origin.clone();
    subject.push(&author, context.time_ms(), new, Some(MergeEffect { deltas, seen }));
    Ok(subject.effect())
}

/// Whether a document reads otherwise than its newest version says, by the same version of the plugin. What a failure is
/// called is not compared: programs of two versions may use other words.
///
/// # Errors
/// As [`review`].
pub fn diverges(context: &Context, collection: &Collection, subject: &Subject) -> Result<bool, Problem> {
    if !subject.exists || subject.merge.is_none() {
        return Ok(false);
    }
    let resolver = context.resolver(&collection.policy)?;
    let new = new_view(context, collection, subject, resolver.as_ref())?;
    Ok(!subject.reads_much_like(&new))
}
