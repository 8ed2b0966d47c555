//! Takes changes that came from elsewhere: each is looked through, decoded and checked against what is here; then all
//! are applied to a copy, which takes the document's place when nothing was wrong.

use std::collections::BTreeMap;
use std::panic::{AssertUnwindSafe, catch_unwind};

use automerge::{ActorId, Automerge, AutomergeError, Change, ChangeHash, LoadOptions};

use super::bytes::{Changes, Corrections};
use super::chunk::{self, malformed};
use super::limits::{BATCH_OPERATIONS_MAX, COUNTER_GAP_MAX, COUNTER_MAX, MEASURE_EVERY_BYTES};
use super::table::TEXT_ENCODING;
use super::walk::{Order, milliseconds, within_json};
use super::{GENESIS_ACTOR, JsonDocument, Last, REPLICA_ACTOR_BYTES};
use crate::engine::{Author, Delta, Error, effective_time};
use crate::limits::DELTA_CHANGES_MAX;

/// Runs a part of Automerge that may panic on crafted input. What it worked on is thrown away after a panic.
pub(super) fn guarded<T>(what: &'static str, work: impl FnOnce() -> T) -> Result<T, Error> {
    catch_unwind(AssertUnwindSafe(work))
        .map_err(|_| Error::Malformed { what, reason: "it makes Automerge panic".to_owned() })
}

/// Who sent changes that are not trusted, and the core's time as they came.
#[derive(Clone, Copy)]
pub(super) struct Sender<'a> {
    /// Whose every change has to be; none for a client of Automerge, which also hands on what others like it wrote.
    pub(super) author: Option<&'a Author>,
    pub(super) now_ms: i64,
}

/// Changes that are new here and fit.
struct Admitted {
    changes: Vec<Change>,
    /// The highest operation counter of each.
    counters: BTreeMap<ChangeHash, u64>,
    actors: BTreeMap<ActorId, Last>,
    /// The highest operation counter of all, those that were here included.
    counter: u64,
}

impl JsonDocument {
    /// Takes changes. Answers with those that were new, the deletes and effective times that came of them.
    ///
    /// # Errors
    /// [`Error`]; the document is as it was.
    pub(super) fn take(&mut self, incoming: Changes, sender: Option<Sender<'_>>) -> Result<Changes, Error> {
        let admitted = self.admit(&incoming.chunks, sender)?;
        let here = |hash: &ChangeHash| admitted.counters.contains_key(hash) || self.knows(hash);
        let named = incoming.deletes.iter().flatten().chain(incoming.corrections.keys());
        if let Some(missing) = named.into_iter().find(|hash| !here(hash)) {
            return Err(Error::MissingDependency { hash: missing.to_string() });
        }
        let corrections = match sender {
            None => self.lower(incoming.corrections),
            Some(sender) => limited(&admitted.changes, &incoming.corrections, sender.now_ms),
        };
        let heads = self.document.get_heads();
        let deletes: Vec<_> = self.deleted.then(|| heads.clone()).into_iter().chain(incoming.deletes).collect();
        if !admitted.changes.is_empty() {
            let mut next = self.clone();
            next.apply_all(&admitted, &heads, sender.is_some())?;
            *self = next;
        }
        let heads_now = self.document.get_heads();
        let was_deleted = self.deleted && heads == heads_now;
        self.deleted = self.covered(&deletes, &heads_now);
        self.corrections.extend(corrections.iter().map(|(hash, time)| (*hash, *time)));
        let revealed = self.deleted && !was_deleted;
        let chunks = admitted.changes.iter().map(|change| change.raw_bytes().to_vec()).collect();
        Ok(Changes { chunks, deletes: if revealed { vec![heads_now] } else { Vec::new() }, corrections })
    }

    /// Takes changes that a client of Automerge has sent.
    ///
    /// # Errors
    /// [`Error`]; the document is as it was.
    pub(super) fn take_from_client(&mut self, delta: &Delta, now_ms: i64) -> Result<Option<Changes>, Error> {
        let sender = Sender { author: None, now_ms };
        let Changes { chunks, .. } = Changes::decode(delta)?;
        let taken = self.take(Changes { chunks, ..Changes::default() }, Some(sender))?;
        Ok((!taken.is_empty()).then_some(taken))
    }

    /// Whether some delete saw everything. The heads have nothing above them, so it saw all when it names them all.
    fn covered(&self, deletes: &[Vec<ChangeHash>], heads: &[ChangeHash]) -> bool {
        !self.is_unwritten(heads) && deletes.iter().any(|saw| heads.iter().all(|head| saw.contains(head)))
    }

    /// The effective times that are earlier than those known here: of two, the earlier counts everywhere.
    fn lower(&self, corrections: Corrections) -> Corrections {
        let lower = |hash: &ChangeHash, time: &i64| self.corrections.get(hash).is_none_or(|known| time < known);
        corrections.into_iter().filter(|(hash, time)| lower(hash, time)).collect()
    }

    /// Decodes what is new and checks that it can be applied.
    fn admit(&mut self, chunks: &[Vec<u8>], sender: Option<Sender<'_>>) -> Result<Admitted, Error> {
        if sender.is_some() && chunks.len() > DELTA_CHANGES_MAX {
            let (found, max) = (chunks.len(), DELTA_CHANGES_MAX);
            return Err(Error::Limit { what: "the changes of a delta", found, max });
        }
        let mut admitted =
            Admitted { changes: Vec::new(), counters: BTreeMap::new(), actors: BTreeMap::new(), counter: self.counter };
        let mut extent = self.extent();
        for chunk in chunks {
            let change = chunk::decode(chunk)?;
            if admitted.counters.contains_key(&change.hash()) || self.knows(&change.hash()) {
                continue;
            }
            if let Some(sender) = sender {
                match sender.author {
                    Some(author) => check_sender(&change, author)?,
                    None => check_client(&change)?,
                }
                extent = extent.plus(0, change.len());
                extent.check(0)?;
            }
            let counter = self.check(&change, &admitted, sender.is_some())?;
            let last = Last { sequence: change.seq(), counter };
            admitted.actors.insert(change.actor_id().clone(), last);
            admitted.counters.insert(change.hash(), counter);
            admitted.counter = admitted.counter.max(counter);
            admitted.changes.push(change);
        }
        Ok(admitted)
    }

    /// Checks a change against those before it. Answers with its highest operation counter.
    fn check(&self, change: &Change, admitted: &Admitted, outside: bool) -> Result<u64, Error> {
        let mut below = 0;
        for hash in change.deps() {
            let counter = admitted.counters.get(hash).copied().or_else(|| self.counter_of(hash));
            let missing = || Error::MissingDependency { hash: hash.to_string() };
            below = below.max(counter.ok_or_else(missing)?);
        }
        let last = admitted.actors.get(change.actor_id()).or_else(|| self.actors.get(change.actor_id()));
        let last = last.copied().unwrap_or_default();
        if change.seq() <= last.sequence {
            let actor = change.actor_id().to_hex_string();
            return Err(Error::SequenceReused { actor, sequence: change.seq() });
        }
        if change.seq() != last.sequence + 1 {
            let (found, expected) = (change.seq(), last.sequence + 1);
            return Err(malformed(format!("its sequence number is {found}, its actor's next is {expected}")));
        }
        let (start, below) = (change.start_op().get(), below.max(last.counter));
        let ahead = outside && start > admitted.counter + 1 + COUNTER_GAP_MAX;
        if start <= below || ahead || start > COUNTER_MAX {
            return Err(malformed(format!("its operations start at {start}, after {below}")));
        }
        // Automerge saves a gap of counters only where an operation follows, and does not read such a document again.
        if outside && change.is_empty() && start != below + 1 {
            return Err(malformed(format!("it has no operations and starts at {start}, after {below}")));
        }
        Ok(change.max_op())
    }

    /// Applies what was admitted to this copy.
    fn apply_all(&mut self, admitted: &Admitted, heads: &[ChangeHash], outside: bool) -> Result<(), Error> {
        let mut rest = &admitted.changes[..];
        while !rest.is_empty() {
            let mut operations = 0;
            let fits = rest.iter().take_while(|change| {
                operations += change.len();
                operations <= BATCH_OPERATIONS_MAX
            });
            let (batch, after) = rest.split_at(fits.count().max(1));
            guarded("a change", || self.document.apply_changes(batch.to_vec()))?.map_err(refused)?;
            rest = after;
        }
        self.actors.extend(admitted.actors.iter().map(|(actor, last)| (actor.clone(), *last)));
        self.counter = admitted.counter;
        self.history.added += admitted.changes.iter().map(|change| change.raw_bytes().len()).sum::<usize>();
        if outside {
            self.prove(admitted, heads)?;
        }
        // What was accepted elsewhere is not refused for the difference between two estimates.
        self.extent().check(if outside { 0 } else { 2 * MEASURE_EVERY_BYTES })
    }

    /// Makes sure that what came from outside left a document that can be written out and read.
    fn prove(&self, admitted: &Admitted, heads: &[ChangeHash]) -> Result<(), Error> {
        guarded("a change", || {
            let written = self.document.get_changes(heads);
            let as_sent = |change: &Change| admitted.counters.contains_key(&change.hash());
            if written.len() != admitted.changes.len() || !written.iter().all(as_sent) {
                return Err(malformed("Automerge does not keep it as it was sent"));
            }
            // Automerge takes a mark that ends before it begins, and then does not read the document that it has saved.
            let mut marked = false;
            for change in &admitted.changes {
                marked = marked || chunk::has_marks(change.raw_bytes())?;
            }
            if marked {
                let options = LoadOptions::new().text_encoding(TEXT_ENCODING);
                let read = Automerge::load_with_options(&self.document.save_nocompress(), options);
                read.map_err(|error| malformed(error.to_string()))?;
            }
            match self.reader(None).walk(Order::Lww) {
                // The view says so, every time, until somebody repairs it.
                Ok(_) | Err(Error::Document(_)) => Ok(()),
                Err(error) => Err(error),
            }
        })?
    }
}

fn refused(error: AutomergeError) -> Error {
    match error {
        AutomergeError::DuplicateSeqNumber(sequence, actor) => {
            Error::SequenceReused { actor: actor.to_hex_string(), sequence }
        }
        error => malformed(error.to_string()),
    }
}

/// Whether a client of Automerge can have written this change: nobody writes under the actor of a replica but itself.
fn check_client(change: &Change) -> Result<(), Error> {
    let actor = change.actor_id();
    let found = actor.to_bytes().len();
    if found < GENESIS_ACTOR.len() || REPLICA_ACTOR_BYTES.contains(&found) {
        let actor = actor.to_hex_string();
        let reason = format!("its actor {actor} has {found} bytes, those of clients have 16, or more than 20");
        return Err(malformed(reason));
    }
    if actor.to_bytes() == GENESIS_ACTOR {
        return Err(malformed("its actor is the one of what collections start from"));
    }
    Ok(())
}

/// Whether the sender wrote this change itself.
fn check_sender(change: &Change, author: &Author) -> Result<(), Error> {
    if !change.actor_id().to_bytes().starts_with(&author.actor) {
        return Err(Error::WrongActor {
            actor: change.actor_id().to_hex_string(),
            origin: author.origin.clone(),
            expected: hex::encode(author.actor),
        });
    }
    match change.message() {
        Some(message) if message == author.origin.as_str() => Ok(()),
        message => {
            let found: String = message.unwrap_or_default().chars().take(80).collect();
            Err(malformed(format!("it says that {found:?} wrote it, but {} sent it", author.origin)))
        }
    }
}

/// The effective times of changes from outside.
fn limited(changes: &[Change], claimed: &Corrections, now_ms: i64) -> Corrections {
    let effective = |change: &Change| {
        let written = milliseconds(change.timestamp());
        let claimed = claimed.get(&change.hash()).copied().unwrap_or(written);
        let time = within_json(effective_time(claimed, now_ms));
        (time != written).then_some((change.hash(), time))
    };
    changes.iter().filter_map(effective).collect()
}
