//! From a walked document to what a reader sees: the built-in orders, a resolver's choices, and what happens when it
//! makes none.

use std::collections::BTreeMap;

use serde_json::{Map, Value};

use super::ancestor::Ancestors;
use super::walk::{Order, Place, Reader, Walked};
use crate::document::{self, View};
use crate::engine::{Error, Viewed};
use crate::limits::CONFLICTS_MAX;
use crate::policy::{Choice, Chooser, Conflict, ConflictSet, PluginError, Resolution, Resolver};

/// The places that a resolver decides: where each stands in the conflict set it is handed.
type Wanted = BTreeMap<usize, usize>;

/// What a reader sees of a document that exists.
///
/// # Errors
/// [`Error::Document`], and [`Error::Unavailable`] when the resolver cannot run here now.
pub(super) fn view(reader: Reader<'_>, chooser: Chooser<'_>) -> Result<Viewed, Error> {
    let order = if matches!(chooser, Chooser::Json) { Order::Automerge } else { Order::Lww };
    let walked = reader.walk(order)?;
    let Chooser::Resolver(resolver) = chooser else { return built_in(&walked, &Wanted::new(), None) };
    let mut covered: Vec<_> = (0..walked.places.len()).collect();
    covered.retain(|&at| resolver.wants().covers(&walked.places[at].path));
    covered.sort_by(|&one, &other| walked.places[one].path.cmp(&walked.places[other].path));
    let wanted: Wanted = covered.iter().enumerate().map(|(position, &at)| (at, position)).collect();
    if wanted.is_empty() {
        return built_in(&walked, &wanted, None);
    }
    if wanted.len() > CONFLICTS_MAX {
        let reason = format!("{} conflicts; a resolver is handed at most {CONFLICTS_MAX}", wanted.len());
        return built_in(&walked, &wanted, Some(reason));
    }
    let conflicts = conflict_set(reader, covered.iter().map(|&at| &walked.places[at]), resolver.wants().ancestor);
    match resolver.resolve(&conflicts) {
        Ok(resolution) => resolved(&walked, &wanted, resolver, &resolution),
        Err(PluginError::Refused { reason }) => built_in(&walked, &wanted, Some(fallback(resolver, &reason))),
        Err(PluginError::Plugin { reason, .. }) => failed(&walked, &wanted, resolver, &reason),
        Err(error @ PluginError::Host { .. }) => Err(Error::Unavailable { reason: error.to_string() }),
    }
}

/// Every open conflict, with its ancestor.
///
/// # Errors
/// [`Error::Document`], and [`Error::Limit`] past [`CONFLICTS_MAX`].
pub(super) fn conflicts(reader: Reader<'_>) -> Result<ConflictSet, Error> {
    let mut places = reader.walk(Order::Lww)?.places;
    if places.len() > CONFLICTS_MAX {
        return Err(Error::Limit { what: "the open conflicts of a document", found: places.len(), max: CONFLICTS_MAX });
    }
    places.sort_by(|one, other| one.path.cmp(&other.path));
    Ok(conflict_set(reader, places.iter(), true))
}

fn conflict_set<'p>(reader: Reader<'_>, places: impl Iterator<Item = &'p Place>, ancestor: bool) -> ConflictSet {
    let mut ancestors = Ancestors::new(reader);
    let conflicts = places.map(|place| Conflict {
        path: place.path.clone(),
        ancestor: if ancestor { ancestors.of(place) } else { None },
        candidates: place.candidates.clone(),
    });
    ConflictSet { conflicts: conflicts.collect() }
}

/// Every conflict by the walk's order. Equal values count as one, except where a resolver was to decide.
fn built_in(walked: &Walked, wanted: &Wanted, fallback: Option<String>) -> Result<Viewed, Error> {
    let view = to_view(walked.settle(&|_| None))?;
    Ok(Viewed { view: Some(view), conflicts: open(walked, wanted), fallback, failed: false })
}

/// The same, where a resolver was to decide and failed by its own fault.
fn failed(walked: &Walked, wanted: &Wanted, resolver: &dyn Resolver, reason: &str) -> Result<Viewed, Error> {
    let viewed = built_in(walked, wanted, Some(fallback(resolver, reason)))?;
    Ok(Viewed { failed: true, ..viewed })
}

fn open(walked: &Walked, wanted: &Wanted) -> u32 {
    let open = (0..walked.places.len()).filter(|at| wanted.contains_key(at) || !walked.places[*at].agrees()).count();
    u32::try_from(open).unwrap_or(u32::MAX)
}

/// Every conflict as the resolver chose. What makes no document is its fault, so the built-in order takes over.
fn resolved(
    walked: &Walked,
    wanted: &Wanted,
    resolver: &dyn Resolver,
    resolution: &Resolution,
) -> Result<Viewed, Error> {
    let outcome = fits(walked, wanted, resolution).and_then(|()| {
        let choose = |at: usize| resolution.choices.get(*wanted.get(&at)?).cloned();
        let mut fields = walked.settle(&choose);
        for (name, note) in &resolution.notes {
            if !fields.contains_key(name) {
                fields.insert(name.clone(), note.clone());
            }
        }
        to_view(fields).map_err(|error| error.to_string())
    });
    match outcome {
        Ok(view) => Ok(Viewed { view: Some(view), conflicts: open(walked, wanted), fallback: None, failed: false }),
        Err(reason) => failed(walked, wanted, resolver, &reason),
    }
}

/// What readers are told where a resolver has decided nothing.
fn fallback(resolver: &dyn Resolver, reason: &str) -> String {
    format!("plugin {}: {reason}", resolver.digest())
}

/// Whether there is one choice for each conflict, of a candidate that exists.
fn fits(walked: &Walked, wanted: &Wanted, resolution: &Resolution) -> Result<(), String> {
    if resolution.choices.len() != wanted.len() {
        return Err(format!("it made {} choices for {} conflicts", resolution.choices.len(), wanted.len()));
    }
    for (&at, &position) in wanted {
        let place = &walked.places[at];
        if let Choice::Candidate(index) = &resolution.choices[position]
            && *index as usize >= place.candidates.len()
        {
            let (path, candidates) = (&place.path, place.candidates.len());
            return Err(format!("it chose candidate {index} of {candidates} at {path}"));
        }
    }
    Ok(())
}

fn to_view(fields: Map<String, Value>) -> Result<View, Error> {
    let fields = document::check(Value::Object(fields))?;
    Ok(View::of(&fields)?)
}
