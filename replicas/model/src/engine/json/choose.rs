//! From a walked document to what a reader sees: the built-in orders, a resolver's choices, and what happens when it
//! makes none.

use std::collections::BTreeMap;

use serde_json::{Map, Value};

use super::ancestor::Ancestors;
use super::walk::{Order, Place, Reader, Walked};
use crate::document::{self, View};
use crate::engine::{Error, Open, OpenConflicts, Viewed};
use crate::limits::CONFLICTS_MAX;
use crate::policy::{Choice, Chooser, Conflict, ConflictSet, PluginError, Resolution, Resolver};

/// The places that a resolver decides: where each stands in the conflict set it is handed.
type Wanted = BTreeMap<usize, usize>;

/// A walked document with what was decided about it.
struct Decided<'a> {
    walked: Walked,
    wanted: Wanted,
    /// What the resolver made of it, where it made something.
    resolution: Option<Resolution>,
    /// Why it made nothing, and whether that is its own fault.
    fallback: Option<(String, bool)>,
    resolver: Option<&'a dyn Resolver>,
}

/// What a reader sees of a document that exists.
///
/// # Errors
/// [`Error::Document`], and [`Error::Unavailable`] when the resolver cannot run here now.
pub(super) fn view(reader: Reader<'_>, chooser: Chooser<'_>) -> Result<Viewed, Error> {
    decide(reader, chooser)?.view()
}

/// The open conflicts of a document that exists, as a reader sees them.
///
/// # Errors
/// As [`view`], and [`Error::Limit`] past [`CONFLICTS_MAX`].
pub(super) fn open(reader: Reader<'_>, chooser: Chooser<'_>) -> Result<OpenConflicts, Error> {
    let decided = decide(reader, chooser)?;
    // What makes no document is shown by the built-in order, as in the view.
    let is_shown = decided.view()?.fallback.is_none();
    let Decided { walked, wanted, resolution, .. } = decided;
    let resolution = resolution.filter(|_| is_shown);
    let found = walked.places.len();
    if found > CONFLICTS_MAX {
        return Err(Error::Limit { what: "the open conflicts of a document", found, max: CONFLICTS_MAX });
    }
    let choice = |at: usize| resolution.as_ref()?.choices.get(*wanted.get(&at)?).cloned();
    let shown: Vec<_> = (0..found).map(|at| walked.chosen(at, choice(at))).collect();
    let set = conflict_set(reader, walked.places.iter(), true);
    let mut conflicts: Vec<_> =
        set.conflicts.into_iter().zip(shown).map(|(conflict, shown)| Open { conflict, shown }).collect();
    conflicts.sort_by(|one, other| one.conflict.path.cmp(&other.conflict.path));
    let notes = resolution.map(|resolution| resolution.notes.into_iter().collect()).unwrap_or_default();
    Ok(OpenConflicts { conflicts, notes })
}

fn decide<'a>(reader: Reader<'_>, chooser: Chooser<'a>) -> Result<Decided<'a>, Error> {
    let order = if matches!(chooser, Chooser::Json) { Order::Automerge } else { Order::Lww };
    let walked = reader.walk(order)?;
    let by_order = |walked, wanted| Decided { walked, wanted, resolution: None, fallback: None, resolver: None };
    let Chooser::Resolver(resolver) = chooser else { return Ok(by_order(walked, Wanted::new())) };
    let mut covered: Vec<_> = (0..walked.places.len()).collect();
    covered.retain(|&at| resolver.wants().covers(&walked.places[at].path));
    covered.sort_by(|&one, &other| walked.places[one].path.cmp(&walked.places[other].path));
    let wanted: Wanted = covered.iter().enumerate().map(|(position, &at)| (at, position)).collect();
    if wanted.is_empty() {
        return Ok(by_order(walked, wanted));
    }
    if wanted.len() > CONFLICTS_MAX {
        let reason = format!("{} conflicts; a resolver is handed at most {CONFLICTS_MAX}", wanted.len());
        return Ok(Decided { fallback: Some((reason, false)), ..by_order(walked, wanted) });
    }
    let conflicts = conflict_set(reader, covered.iter().map(|&at| &walked.places[at]), resolver.wants().ancestor);
    let (resolution, fallback) = match resolver.resolve(&conflicts) {
        Ok(resolution) => match fits(&walked, &wanted, &resolution) {
            Ok(()) => (Some(resolution), None),
            Err(reason) => (None, Some((fallback(resolver, &reason), true))),
        },
        Err(PluginError::Refused { reason }) => (None, Some((fallback(resolver, &reason), false))),
        Err(PluginError::Plugin { reason, .. }) => (None, Some((fallback(resolver, &reason), true))),
        Err(error @ PluginError::Host { .. }) => return Err(Error::Unavailable { reason: error.to_string() }),
    };
    Ok(Decided { walked, wanted, resolution, fallback, resolver: Some(resolver) })
}

impl Decided<'_> {
    /// Every conflict as the resolver chose. What makes no document is its fault, so the built-in order takes over.
    fn view(&self) -> Result<Viewed, Error> {
        let fallback = match (&self.resolution, self.resolver) {
            (Some(resolution), Some(resolver)) => match self.resolved(resolution) {
                Ok(view) => return Ok(self.viewed(view, None)),
                Err(error) => Some((fallback(resolver, &error.to_string()), true)),
            },
            _ => self.fallback.clone(),
        };
        Ok(self.viewed(to_view(self.walked.settle(&|_| None))?, fallback))
    }

    fn resolved(&self, resolution: &Resolution) -> Result<View, Error> {
        let choose = |at: usize| resolution.choices.get(*self.wanted.get(&at)?).cloned();
        let mut fields = self.walked.settle(&choose);
        for (name, note) in &resolution.notes {
            if !fields.contains_key(name) {
                fields.insert(name.clone(), note.clone());
            }
        }
        to_view(fields)
    }

    fn viewed(&self, view: View, fallback: Option<(String, bool)>) -> Viewed {
        let (fallback, failed) = fallback.map_or((None, false), |(reason, failed)| (Some(reason), failed));
        Viewed { view: Some(view), conflicts: open_places(&self.walked, &self.wanted), fallback, failed }
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

/// How many places have a conflict: equal values count as one, except where a resolver was to decide.
fn open_places(walked: &Walked, wanted: &Wanted) -> u32 {
    let open = (0..walked.places.len()).filter(|at| wanted.contains_key(at) || !walked.places[*at].agrees()).count();
    u32::try_from(open).unwrap_or(u32::MAX)
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
