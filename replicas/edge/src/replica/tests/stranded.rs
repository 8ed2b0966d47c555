//! A person decides about what the core refused.

use serde_json::json;
use skerry_api::documents::State;
use skerry_api::problem::Kind;
use skerry_channel::change::Change;
use skerry_model::engine::Write;
use skerry_model::env::Clock as _;

use super::super::{Retried, StrandedId};
use super::core::Core;
use super::{Machine, enrolled, put};

/// An edge whose two changes of `rope`, and one of `sail`, were refused.
fn stranded(core: &mut Core) -> (Machine, Vec<StrandedId>) {
    core.write("rope", &put(json!({"n": 1})));
    let mut edge = enrolled("shop", core);
    core.refuses = Some("");
    edge.patch("rope", json!({"n": 2}));
    edge.put("sail", json!({"m": 1}));
    edge.patch("rope", json!({"n": 3, "o": 1}));
    edge.sync(core);
    core.refuses = None;
    let listed = edge.replica().stranded(None, 10).unwrap();
    (edge, listed.into_iter().map(|change| change.id).collect())
}

fn retry(edge: &mut Machine, id: StrandedId) -> Retried {
    let retried = edge.replica().retry_stranded(id).unwrap().unwrap();
    edge.replica().commit().unwrap();
    retried
}

#[test]
fn it_is_listed_in_pages_and_one_by_one() {
    let mut core = Core::new(1);
    let (mut edge, ids) = stranded(&mut core);
    assert_eq!(ids.len(), 3);
    let first = edge.replica().stranded(None, 2).unwrap();
    assert_eq!(first.iter().map(|change| change.id).collect::<Vec<_>>(), ids[..2]);
    let rest = edge.replica().stranded(Some(ids[1]), 2).unwrap();
    assert_eq!(rest.iter().map(|change| change.id).collect::<Vec<_>>(), ids[2..]);
    let one = edge.replica().stranded_one(ids[1]).unwrap().unwrap();
    assert_eq!((one.key.as_str(), &one), ("sail", &first[1]));
    assert_eq!(ids[1].to_string().parse::<StrandedId>().unwrap(), ids[1]);
    assert!("7".parse::<StrandedId>().is_err());
}

#[test]
fn what_is_made_again_is_a_write_of_now_and_leaves_the_list() {
    let mut core = Core::new(1);
    let (mut edge, ids) = stranded(&mut core);
    core.write("rope", &put(json!({"n": 7, "p": 1})));
    edge.sync(&mut core);
    assert_eq!(retry(&mut edge, ids[2]), Retried::MadeAgain);
    edge.check("rope", json!({"n": 3, "o": 1, "p": 1}), State::Provisional);
    let counts = edge.replica().counts();
    assert_eq!((counts.unsent, counts.stranded), (1, 2));
    edge.crash();
    edge.sync(&mut core);
    edge.check("rope", json!({"n": 3, "o": 1, "p": 1}), State::Committed);
    let counts = edge.replica().counts();
    assert_eq!((counts.unsent, counts.stranded), (0, 2));
    let again = edge.replica().retry_stranded(ids[2]).unwrap().unwrap_err();
    assert_eq!(again.kind, Kind::StrandedNotFound);
}

#[test]
fn what_is_made_again_has_the_time_of_now() {
    let mut core = Core::new(1);
    let (mut edge, ids) = stranded(&mut core);
    let written = edge.replica().stranded_one(ids[0]).unwrap().unwrap().time_ms;
    edge.clock.set(edge.clock.now_ms() + 60_000);
    retry(&mut edge, ids[0]);
    let shard = edge.replica().ready_shards()[0];
    let push = edge.replica().next_push(shard).unwrap().unwrap();
    assert_eq!(Change::decode(&push.changes[0]).unwrap().time_ms, written + 60_000);
}

#[test]
fn what_the_document_reads_like_already_needs_no_write() {
    let mut core = Core::new(1);
    core.write("rope", &put(json!({"n": 1})));
    let mut edge = enrolled("shop", &mut core);
    core.refuses = Some("rope");
    edge.try_write("rope", Write::Delete).unwrap();
    edge.sync(&mut core);
    let id = edge.replica().stranded(None, 10).unwrap()[0].id;
    core.write("rope", &Write::Delete);
    edge.sync(&mut core);
    assert_eq!(retry(&mut edge, id), Retried::Moot);
    let counts = edge.replica().counts();
    assert_eq!((counts.unsent, counts.stranded), (0, 0));
}

#[test]
fn what_is_refused_again_is_on_the_list_again() {
    let mut core = Core::new(1);
    let (mut edge, ids) = stranded(&mut core);
    core.refuses = Some("sail");
    retry(&mut edge, ids[1]);
    edge.check("sail", json!({"m": 1}), State::Provisional);
    edge.sync(&mut core);
    edge.check_gone("sail");
    let listed = edge.replica().stranded(None, 10).unwrap();
    assert_eq!(listed.len(), 3);
    assert!(listed.iter().any(|change| change.key.as_str() == "sail" && change.id > ids[2]), "{listed:?}");
}

#[test]
fn what_is_given_up_is_gone_for_good() {
    let mut core = Core::new(1);
    let (mut edge, ids) = stranded(&mut core);
    for id in ids {
        edge.replica().discard_stranded(id).unwrap().unwrap();
        assert_eq!(edge.replica().discard_stranded(id).unwrap().unwrap_err().kind, Kind::StrandedNotFound);
    }
    edge.replica().commit().unwrap();
    edge.crash();
    assert_eq!(edge.replica().counts().stranded, 0);
    edge.check("rope", json!({"n": 1}), State::Committed);
}

#[test]
fn of_a_collection_that_is_gone_it_can_only_be_exported_or_given_up() {
    let mut core = Core::new(1);
    let (mut edge, ids) = stranded(&mut core);
    core.delete_collection("items");
    edge.sync(&mut core);
    let refused = edge.replica().retry_stranded(ids[0]).unwrap().unwrap_err();
    assert_eq!(refused.kind, Kind::CollectionNotFound);
    assert_eq!(edge.replica().stranded_one(ids[0]).unwrap().unwrap().collection, None);
    edge.replica().discard_stranded(ids[0]).unwrap().unwrap();
}
