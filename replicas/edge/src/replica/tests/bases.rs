//! Writes at a version that is not the newest.

use serde_json::json;
use skerry_api::documents::{ETag, State, WriteRequest};
use skerry_api::problem::Kind;
use skerry_model::engine::Write;

use super::core::Core;
use super::{Answer, Machine, at, enrolled, put};

fn etag(edge: &mut Machine) -> ETag {
    edge.read("rope").unwrap().stamp.etag
}

fn write_at(edge: &mut Machine, base: &ETag, write: Write) -> Answer<()> {
    let request = WriteRequest { base: Some(base.clone()), ..WriteRequest::new(write) };
    let written = edge.replica().write(&at("rope"), &request).unwrap();
    edge.replica().commit().unwrap();
    written.map(drop)
}

#[test]
fn what_came_since_the_base_stays() {
    let mut core = Core::new(1);
    core.write("rope", &put(json!({"n": 1, "m": 1})));
    let mut edge = enrolled("shop", &mut core);
    let base = etag(&mut edge);
    core.write("rope", &put(json!({"n": 2, "m": 1})));
    edge.sync(&mut core);
    let body = put(json!({"n": 1, "m": 5}));
    write_at(&mut edge, &base, body).unwrap();
    edge.check("rope", json!({"n": 2, "m": 5}), State::Provisional);
    edge.crash();
    edge.sync(&mut core);
    edge.check("rope", json!({"n": 2, "m": 5}), State::Committed);
}

#[test]
fn a_base_may_be_a_version_that_the_core_has_not_seen() {
    let mut core = Core::new(1);
    let mut edge = enrolled("shop", &mut core);
    edge.put("rope", json!({"n": 1, "m": 1}));
    let base = etag(&mut edge);
    edge.patch("rope", json!({"n": 2}));
    write_at(&mut edge, &base, put(json!({"n": 1, "m": 5}))).unwrap();
    edge.check("rope", json!({"n": 2, "m": 5}), State::Provisional);
    edge.sync(&mut core);
    edge.check("rope", json!({"n": 2, "m": 5}), State::Committed);
}

#[test]
fn a_base_of_anybody_else_is_unknown_and_changes_nothing() {
    let mut core = Core::new(1);
    core.write("rope", &put(json!({"n": 1})));
    let mut edge = enrolled("shop", &mut core);
    let own = etag(&mut edge);
    let other = etag(&mut enrolled("depot", &mut core));
    let flipped = own.0.replacen("edge.shop.", "edge.shop.0", 1);
    let cut = own.0[..own.0.len() - 2].to_owned();
    let heads = own.0.replace(&own.0[own.0.len() - 8..], "00000000");
    for base in [other, ETag("1.1.0.0.0".to_owned()), ETag(flipped), ETag(cut), ETag(heads)] {
        let refused = write_at(&mut edge, &base, put(json!({"n": 2}))).unwrap_err();
        assert_eq!(refused.kind, Kind::UnknownBase, "{base:?}");
    }
    edge.check("rope", json!({"n": 1}), State::Committed);
    assert_eq!(edge.replica().counts().unsent, 0);
}
