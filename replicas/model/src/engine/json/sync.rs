//! The sync protocol of Automerge's own clients, message by message (automerge.org/docs, `automerge::sync`). What a message
//! carries is not taken into the document here: it goes through the log first, and only then is the message heard.

use std::collections::{BTreeMap, BTreeSet};
use std::io::Read;

use automerge::sync::{ChunkList, Message, MessageVersion, State, SyncDoc};
use automerge::{Change, ChangeHash};
use flate2::read::DeflateDecoder;

use super::bytes::Changes;
use super::chunk::{self, malformed};
use super::limits::{CLIENT_EARLY_BYTES_MAX, CLIENT_INFLATED_BYTES_MAX};
use super::merge::guarded;
use super::{JsonDocument, within};
use crate::engine::{Delta, Error};
use crate::limits::{CLIENT_DELTA_BYTES, CLIENT_DELTA_CHANGES};

/// What errors call a message.
const MESSAGE: &str = "a sync message";

/// What is known of a client's copy of one document, as long as its connection lasts.
#[derive(Debug, Default)]
pub struct Peer {
    state: State,
    /// Changes that came before what they build on: Automerge's summaries of what a peer has are wrong at times.
    early: BTreeMap<ChangeHash, Change>,
    /// Whether a message with changes was heard and nothing has been said since.
    owes_answer: bool,
}

/// A message of a client, with its changes taken out.
#[derive(Debug)]
pub struct Incoming {
    message: Message,
    changes: Vec<Change>,
    brought_changes: bool,
}

impl Peer {
    /// Whether changes of the client wait for what they build on.
    #[must_use]
    pub fn awaits(&self) -> bool {
        !self.early.is_empty()
    }
}

impl Incoming {
    /// A message from outside.
    ///
    /// # Errors
    /// [`Error::Malformed`], and [`Error::Limit`] for one that stands for more than a message may hold.
    pub fn decode(bytes: &[u8]) -> Result<Self, Error> {
        chunk::look_through_message(bytes)?;
        let decoded = guarded(MESSAGE, || Message::decode(bytes))?;
        let mut message = decoded.map_err(|error| Error::Malformed { what: MESSAGE, reason: error.to_string() })?;
        if message.version == MessageVersion::V2 {
            let reason = "it carries a whole document, and only changes are taken".to_owned();
            return Err(Error::Malformed { what: MESSAGE, reason });
        }
        let chunks = std::mem::replace(&mut message.changes, ChunkList::empty());
        let mut room = CLIENT_INFLATED_BYTES_MAX;
        let decode = |chunk: &[u8]| {
            let chunk = inflated(chunk, room)?;
            room = room.saturating_sub(chunk.len());
            chunk::decode(&chunk)
        };
        let changes: Vec<_> = chunks.iter().map(decode).collect::<Result<_, Error>>()?;
        let brought_changes = !changes.is_empty();
        Ok(Self { message, changes, brought_changes })
    }

    /// Takes its changes out.
    #[must_use]
    pub fn take_changes(&mut self) -> Vec<Change> {
        std::mem::take(&mut self.changes)
    }
}

impl JsonDocument {
    /// Takes in changes that a client has sent: answers with those that this document lacks and that build on nothing which
    /// is missing, in parts that fit into a write each. The others are kept until what they build on is here.
    ///
    /// # Errors
    /// [`Error::Limit`] when too many are kept.
    pub fn admit_from(&self, peer: &mut Peer, changes: Vec<Change>) -> Result<Vec<Delta>, Error> {
        let mut waiting = std::mem::take(&mut peer.early);
        let new = changes.into_iter().filter(|change| !self.knows(&change.hash()));
        waiting.extend(new.map(|change| (change.hash(), change)));
        waiting.retain(|hash, _| !self.knows(hash));
        // How many changes each waits for, and which wait for each.
        let (mut missing, mut awaited) = (BTreeMap::new(), BTreeMap::<ChangeHash, Vec<ChangeHash>>::new());
        let mut next = Vec::new();
        for (hash, change) in &waiting {
            let deps: BTreeSet<_> = change.deps().iter().filter(|dep| !self.knows(dep)).collect();
            if deps.is_empty() {
                next.push(*hash);
            }
            missing.insert(*hash, deps.len());
            deps.into_iter().for_each(|dep| awaited.entry(*dep).or_default().push(*hash));
        }
        let mut ready = Vec::new();
        while let Some(hash) = next.pop() {
            ready.extend(waiting.remove(&hash));
            for waits in awaited.remove(&hash).into_iter().flatten() {
                let missing = missing.get_mut(&waits).expect("every change that waits is counted");
                *missing -= 1;
                if *missing == 0 {
                    next.push(waits);
                }
            }
        }
        let bytes: usize = waiting.values().map(|change| change.raw_bytes().len()).sum();
        within("the bytes of the changes that wait for others", bytes, CLIENT_EARLY_BYTES_MAX)?;
        peer.early = waiting;
        Ok(parts(&ready))
    }

    /// Hears a message whose changes are here by now.
    ///
    /// # Errors
    /// [`Error::Malformed`] for one that makes Automerge fail.
    pub fn hear(&mut self, peer: &mut Peer, incoming: Incoming) -> Result<(), Error> {
        peer.owes_answer |= incoming.brought_changes;
        let state = &mut peer.state;
        let heard = guarded(MESSAGE, || self.document.receive_sync_message(state, incoming.message))?;
        heard.map_err(|error| Error::Malformed { what: MESSAGE, reason: error.to_string() })
    }

    /// What there is to say to a client; `None` when it is up to date, or has not answered yet.
    ///
    /// # Errors
    /// [`Error::Malformed`] when what the client said of itself makes Automerge fail.
    pub fn say(&self, peer: &mut Peer) -> Result<Option<Vec<u8>>, Error> {
        let Peer { state, early, owes_answer } = peer;
        // Automerge has not seen that there were changes in the message, and would say nothing where both now agree: the
        // client would wait for ever to hear that they are taken.
        if std::mem::take(owes_answer) {
            state.last_sent_heads.clear();
        }
        let said = guarded(MESSAGE, || self.document.generate_sync_message(state))?;
        let Some(mut message) = said else { return Ok(None) };
        // What waits here is not asked for again: what it waits for is.
        let missing = early.values().flat_map(|change| change.deps().iter().copied());
        let need: BTreeSet<ChangeHash> = message.need.iter().copied().chain(missing).collect();
        message.need = need.into_iter().filter(|hash| !early.contains_key(hash) && !self.knows(hash)).collect();
        let offered = state.their_heads.as_deref().unwrap_or_default();
        if !message.need.iter().all(|hash| offered.contains(hash)) {
            message.have.clear();
        }
        // Without the flags a client sends changes one by one, which can be looked through, and no whole documents.
        message.flags = None;
        Ok(Some(message.encode()))
    }
}

/// Changes in parts that fit into a write each.
fn parts(changes: &[Change]) -> Vec<Delta> {
    let mut parts = Vec::new();
    let (mut chunks, mut bytes) = (Vec::new(), 0);
    for change in changes {
        let chunk = change.raw_bytes().to_vec();
        if !chunks.is_empty() && (chunks.len() >= CLIENT_DELTA_CHANGES || bytes + chunk.len() > CLIENT_DELTA_BYTES) {
            parts.push(Changes { chunks: std::mem::take(&mut chunks), ..Changes::default() }.encode());
            bytes = 0;
        }
        bytes += chunk.len();
        chunks.push(chunk);
    }
    if !chunks.is_empty() {
        parts.push(Changes { chunks, ..Changes::default() }.encode());
    }
    parts
}

/// A change chunk as it was before Automerge compressed it; `room` bounds how long it may become.
fn inflated(chunk: &[u8], room: usize) -> Result<Vec<u8>, Error> {
    let Some(compressed) = chunk::compressed(chunk)? else { return Ok(chunk.to_vec()) };
    let mut body = Vec::new();
    let limit = u64::try_from(room).unwrap_or(u64::MAX);
    let mut inflating = DeflateDecoder::new(compressed.body).take(limit.saturating_add(1));
    inflating.read_to_end(&mut body).map_err(|error| malformed(format!("it cannot be inflated: {error}")))?;
    within("the bytes of the changes in a sync message", body.len(), room)?;
    Ok(compressed.with(&body))
}

#[cfg(test)]
mod tests {
    use automerge::transaction::Transactable;
    use automerge::{AutoCommit, ROOT, ReadDoc};

    use super::super::{JsonEngine, JsonSettings};
    use super::*;
    use crate::engine::{Author, MergeDocument, Write, WriteContext};
    use crate::ids::{Incarnation, Nonce, Origin};

    fn document() -> JsonDocument {
        JsonEngine::new(JsonSettings::default()).unwrap().empty
    }

    fn write(document: &mut JsonDocument, write: &Write) -> Result<Option<Delta>, Error> {
        let incarnation = Incarnation { number: 1, nonce: Nonce::from_bytes([1; 16]) };
        let author = Author::new(Origin::core(), &incarnation);
        let context =
            WriteContext { author: &author, time_ms: 1_700_000_000_000, number: None, base: None, seen: None };
        MergeDocument::apply(document, write, &context)
    }

    /// A client with a long text, so that its changes are compressed.
    fn client() -> AutoCommit {
        let mut client = AutoCommit::new();
        client.put(ROOT, "title", "x".repeat(2_000)).unwrap();
        client.commit();
        client
    }

    /// Lets both talk until neither has anything to say.
    fn talk(document: &mut JsonDocument, peer: &mut Peer, client: &mut AutoCommit, state: &mut State) {
        for _ in 0..20 {
            let asked = client.sync().generate_sync_message(state);
            if let Some(message) = asked.clone() {
                let mut incoming = Incoming::decode(&message.encode()).unwrap();
                for delta in document.admit_from(peer, incoming.take_changes()).unwrap() {
                    write(document, &Write::Merge(delta)).unwrap();
                }
                document.hear(peer, incoming).unwrap();
            }
            let said = document.say(peer).unwrap();
            if let Some(message) = &said {
                client.sync().receive_sync_message(state, Message::decode(message).unwrap()).unwrap();
            }
            if asked.is_none() && said.is_none() {
                return;
            }
        }
        panic!("they do not come to an end");
    }

    #[test]
    fn a_client_and_a_document_come_to_agree() {
        let (mut document, mut client) = (document(), client());
        let fields = serde_json::json!({"body": "from the core"}).as_object().unwrap().clone();
        write(&mut document, &Write::Put(fields)).unwrap();
        let (mut peer, mut state) = (Peer::default(), State::new());
        talk(&mut document, &mut peer, &mut client, &mut state);
        assert_eq!(client.get_heads(), document.document.get_heads());
        assert_eq!(client.get(ROOT, "body").unwrap().unwrap().0.as_str(), Some("from the core"));
        client.put(ROOT, "more", 1).unwrap();
        client.commit();
        talk(&mut document, &mut peer, &mut client, &mut state);
        assert_eq!(client.get_heads(), document.document.get_heads());
    }

    #[test]
    fn a_change_is_answered_where_both_agreed_before_and_agree_again() {
        let (mut document, mut client) = (document(), client());
        let (mut peer, mut state) = (Peer::default(), State::new());
        talk(&mut document, &mut peer, &mut client, &mut state);
        for number in 0..3 {
            client.put(ROOT, "number", number).unwrap();
            client.commit();
            let brings = client.sync().generate_sync_message(&mut state).expect("a client that was answered goes on");
            let mut incoming = Incoming::decode(&brings.encode()).unwrap();
            for delta in document.admit_from(&mut peer, incoming.take_changes()).unwrap() {
                write(&mut document, &Write::Merge(delta)).unwrap();
            }
            document.hear(&mut peer, incoming).unwrap();
            let answer = document.say(&mut peer).unwrap().expect("what was brought is answered");
            client.sync().receive_sync_message(&mut state, Message::decode(&answer).unwrap()).unwrap();
            assert_eq!(state.shared_heads, client.get_heads());
            assert_eq!(document.say(&mut peer).unwrap(), None, "and once is enough");
        }
    }

    #[test]
    fn changes_that_come_too_early_wait_and_are_asked_for() {
        let (mut document, mut client) = (document(), client());
        client.put(ROOT, "second", 2).unwrap();
        client.commit();
        let changes: Vec<_> = client.get_changes(&[]);
        let mut peer = Peer::default();
        let late = changes[1..].to_vec();
        assert!(document.admit_from(&mut peer, late).unwrap().is_empty());
        let mut state = State::new();
        let greeting = client.sync().generate_sync_message(&mut state).unwrap();
        document.hear(&mut peer, Incoming::decode(&greeting.encode()).unwrap()).unwrap();
        let said = Message::decode(&document.say(&mut peer).unwrap().unwrap()).unwrap();
        assert_eq!(said.need, [changes[0].hash()]);
        let ready = document.admit_from(&mut peer, changes[..1].to_vec()).unwrap();
        ready.iter().for_each(|delta| drop(write(&mut document, &Write::Merge(delta.clone())).unwrap()));
        assert_eq!(client.get_heads(), document.document.get_heads());
    }

    #[test]
    fn nobody_writes_under_the_actor_of_a_replica() {
        let mut replica = document();
        let fields = serde_json::json!({"a": 1}).as_object().unwrap().clone();
        write(&mut replica, &Write::Put(fields)).unwrap();
        let actor = replica.document.get_changes(&[])[0].actor_id().clone();
        let mut forger = AutoCommit::new().with_actor(actor);
        forger.put(ROOT, "a", 2).unwrap();
        forger.commit();
        let ready = document().admit_from(&mut Peer::default(), forger.get_changes(&[])).unwrap();
        let refused = write(&mut document(), &Write::Merge(ready[0].clone())).unwrap_err();
        assert!(refused.to_string().contains("has 17 bytes"), "{refused}");
    }

    #[test]
    fn a_client_may_write_at_heads_of_the_past() {
        let (mut document, mut client) = (document(), client());
        let heads = client.get_heads();
        client.put(ROOT, "later", 1).unwrap();
        client.commit();
        client.isolate(&heads);
        client.put(ROOT, "aside", 2).unwrap();
        client.integrate();
        talk(&mut document, &mut Peer::default(), &mut client, &mut State::new());
        assert_eq!(client.get_heads().len(), 2);
        assert_eq!(client.get_heads(), document.document.get_heads());
    }

    #[test]
    fn what_a_message_may_not_hold_is_refused() {
        let mut client = client();
        let mut whole =
            Message::decode(&client.sync().generate_sync_message(&mut State::new()).unwrap().encode()).unwrap();
        whole.version = MessageVersion::V2;
        assert!(Incoming::decode(&whole.encode()).unwrap_err().to_string().contains("whole document"));
        // One entry of ten bits that is looked for in four billion places.
        let bloom = [&[1, 10][..], &[0xff, 0xff, 0xff, 0xff, 0x0f], &[0, 0]].concat();
        let message = [&[0x42, 0, 0, 1, 0, u8::try_from(bloom.len()).unwrap()][..], &bloom, &[0]].concat();
        let refused = Incoming::decode(&message).unwrap_err();
        assert!(refused.to_string().contains("4294967295"), "{refused}");
    }

    #[test]
    fn a_change_that_inflates_without_end_is_refused() {
        let bomb = {
            let mut deflating = flate2::write::DeflateEncoder::new(Vec::new(), flate2::Compression::best());
            std::io::Write::write_all(&mut deflating, &vec![0; CLIENT_INFLATED_BYTES_MAX + 1]).unwrap();
            deflating.finish().unwrap()
        };
        let chunk = chunk::tests::chunk_of(2, &bomb);
        let refused = inflated(&chunk, CLIENT_INFLATED_BYTES_MAX).unwrap_err();
        assert!(matches!(refused, Error::Limit { .. }), "{refused}");
    }
}
