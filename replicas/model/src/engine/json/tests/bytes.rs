//! Golden bytes. A change here changes what replicas of different versions tell each other.

use super::*;

#[test]
fn the_genesis_is_the_same_everywhere() {
    let genesis = templated().empty.settings.genesis.unwrap();
    assert_eq!(genesis.to_string(), "7dceb2f888a0fc8c4e2c6eb78eb3cb3f7d55f2dba36f183bbf85a8de328c558d");
    assert_eq!(templated().empty.version(), templated().empty.version());
    assert!(engine(JsonSettings::default()).empty.settings.genesis.is_none());
}

fn hash(byte: u8) -> ChangeHash {
    ChangeHash([byte; 32])
}

#[track_caller]
fn check(encoded: &[u8], expected: &str) {
    assert_eq!(hex::encode(encoded).replace(&"aa".repeat(32), "{aa}").replace(&"bb".repeat(32), "{bb}"), expected);
}

#[test]
fn versions_deltas_and_saved_documents_keep_their_form() {
    let corrections = Corrections::from([(hash(0xaa), 5)]);
    let seen = Seen { heads: vec![hash(0xaa), hash(0xbb)], deleted: true, corrections: Some([3; 16]) };
    check(&seen.encode().0, "850001825820{aa}5820{bb}f55003030303030303030303030303030303");
    assert_eq!(Seen::decode(&seen.encode()).unwrap(), seen);
    assert_eq!(Seen::default().encode(), Version::default());
    let changes =
        Changes { chunks: vec![vec![1, 2]], deletes: vec![vec![hash(0xbb)]], corrections: corrections.clone() };
    check(&changes.clone().encode().0, "850001814201028181 5820{bb}81825820{aa}05".replace(' ', "").as_str());
    assert_eq!(Changes::decode(&changes.clone().encode()).unwrap(), changes);
    let saved = Saved { document: vec![9], deleted: false, corrections };
    check(&saved.clone().encode(), "8500014109f481825820{aa}05");
    assert_eq!(Saved::decode(&saved.clone().encode()).unwrap(), saved);
}

#[test]
fn other_epochs_and_damage_are_refused() {
    let delta = Changes { chunks: vec![vec![1, 2]], ..Changes::default() }.encode();
    for (at, value, expected) in [(1, 1, "epoch 1, format 1"), (2, 2, "epoch 0, format 2")] {
        let mut other = delta.0.to_vec();
        other[at] = value;
        let refused = Changes::decode(&Delta(other.into())).unwrap_err().to_string();
        assert!(refused.contains(expected), "{refused}");
    }
    for length in 1..delta.0.len() {
        assert!(Changes::decode(&Delta(delta.0.slice(..length))).is_err());
    }
    let longer = [&delta.0[..], &[0]].concat();
    assert!(Changes::decode(&Delta(longer.into())).is_err());
}

#[test]
fn a_saved_document_loads_as_it_was() {
    let engine = templated();
    let (mut one, mut two) = (Replica::new(&engine, "one"), Replica::new(&engine, "two"));
    one.put(json!({"title": "a", "body": "text"}));
    two.pull(&one);
    one.patch(json!({"title": "b"}));
    two.patch(json!({"title": "c"}));
    exchange(&mut one, &mut two);
    one.delete();
    for document in [&one.document, &two.document, &engine.empty] {
        let loaded = engine.load(&document.save()).unwrap();
        assert_eq!(loaded.version(), document.version());
        assert_eq!(loaded.view(Chooser::Json).unwrap(), document.view(Chooser::Json).unwrap());
        assert_eq!(loaded.conflicts().unwrap(), document.conflicts().unwrap());
    }
    two.document = loaded(&engine, &two.document);
    assert!(two.put(json!({"title": "d"})).is_some(), "sequence numbers go on");
}

fn loaded(engine: &JsonEngine, document: &JsonDocument) -> JsonDocument {
    let content = Automerge::load(&Saved::decode(&document.save()).unwrap().document).unwrap();
    JsonDocument::new(engine.empty.settings.clone(), content, document.deleted, document.corrections.clone(), 0)
}

#[test]
fn a_document_of_another_template_does_not_load() {
    let plain = engine(JsonSettings::default());
    let mut one = Replica::new(&plain, "one");
    one.put(json!({"a": 1}));
    let refused = templated().load(&one.document.save()).map(|_| ()).unwrap_err().to_string();
    assert!(refused.starts_with("a saved document cannot be read: it lacks the change"), "{refused}");
}

#[test]
fn settings_are_checked() {
    let refused = |template: Value, text: &[&str]| {
        let text = text.iter().map(|field| (*field).to_owned()).collect();
        JsonEngine::new(JsonSettings { template: Some(object(template)), text }).map(|_| ()).unwrap_err().to_string()
    };
    assert!(refused(json!({}), &["body"]).contains("does not start with a slash"));
    assert!(refused(json!({}), &["/a"; 33]).contains("the text fields of a collection would be 33"));
    assert!(refused(json!({"a": "x".repeat(70_000)}), &[]).contains("the bytes of a template would be 70008"));
    assert!(refused(json!({"a": u64::MAX}), &[]).contains("beyond 2^53 - 1"));
}
