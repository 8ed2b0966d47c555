//! Damaged and crafted input: refused or taken, never a panic, never a half.

use std::sync::LazyLock;

use automerge::transaction::Transactable;
use automerge::{Change, ExpandedChange, ObjType};
use proptest::prelude::*;

use super::merging::outside;
use super::*;

/// Keeps the messages of Automerge's panics, which are caught, out of the tests' output.
static QUIET: LazyLock<()> = LazyLock::new(|| {
    let print = std::panic::take_hook();
    std::panic::set_hook(Box::new(move |info| {
        let place = info.location().map_or("", |location| location.file());
        if ["automerge-", "hexane-", "library/"].iter().all(|quiet| !place.contains(quiet)) {
            print(info);
        }
    }));
});

fn sender() -> Replica {
    let mut one = Replica::new(&engine(JsonSettings::default()), "one");
    one.put(json!({"a": [1, {"b": "x"}, "long enough"], "c": {"d": 1.5}}));
    one.put(json!({"a": [{"b": "y"}, "long enough"], "c": {"d": null, "e": true}}));
    one
}

/// Offers a delta to a document that has something; checks that a refusal leaves no trace and what is taken is sound.
fn offer(delta: &Delta, sender: &Author) -> Result<(), TestCaseError> {
    LazyLock::force(&QUIET);
    let engine = engine(JsonSettings::default());
    let mut core = Replica::new(&engine, "core");
    core.put(json!({"a": 1}));
    let (version, saved) = (core.document.version(), core.document.save());
    match core.document.merge_from(delta, sender, START_MS) {
        Err(_) => prop_assert_eq!((core.document.version(), core.document.save()), (version, saved)),
        Ok(_) => {
            let loaded = engine.load(&core.document.save()).unwrap();
            prop_assert_eq!(loaded.version(), core.document.version());
            let views = (loaded.view(Chooser::Lww), core.document.view(Chooser::Lww));
            prop_assert_eq!(views.0.ok(), views.1.ok());
        }
    }
    Ok(())
}

/// The change with its checksum made right again.
fn sealed(mut chunk: Vec<u8>) -> Vec<u8> {
    if let Ok(change) = std::panic::catch_unwind(|| Change::try_from(&chunk[..]))
        && let Ok(change) = change
    {
        chunk[4..8].copy_from_slice(&change.hash().0[..4]);
    }
    chunk
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(400))]

    #[test]
    fn damaged_deltas_never_panic(at in 0usize..2_000, flip in 1u8.., cut in 0usize..2_000) {
        let one = sender();
        let mut delta = one.document.delta(&Version::default()).unwrap().0.to_vec();
        let length = delta.len();
        delta[at % length] ^= flip;
        offer(&Delta(delta.clone().into()), &one.author)?;
        delta.truncate(cut % length);
        offer(&Delta(delta.into()), &one.author)?;
    }

    /// As before, but the checksum is right, so that Automerge's own decoding meets the damage.
    #[test]
    fn damaged_changes_never_panic(
        which in 0usize..2,
        at in 8usize..2_000,
        flip in 1u8..,
        second in 8usize..2_000,
        other in 0u8..,
    ) {
        LazyLock::force(&QUIET);
        let one = sender();
        let mut changes = Changes::decode(&one.document.delta(&Version::default()).unwrap()).unwrap();
        let chunk = &mut changes.chunks[which];
        let length = chunk.len();
        chunk[8 + at % (length - 8)] ^= flip;
        chunk[8 + second % (length - 8)] ^= other;
        changes.chunks[which] = sealed(std::mem::take(&mut changes.chunks[which]));
        offer(&changes.encode(), &one.author)?;
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(400))]

    /// Operations that Automerge would not write: parts of one put into another.
    #[test]
    fn mixed_up_operations_never_panic(
        swaps in proptest::collection::vec((0usize..6, any::<usize>(), any::<usize>()), 1..6),
    ) {
        LazyLock::force(&QUIET);
        let mix = |change: &mut ExpandedChange| {
            for (part, to, from) in &swaps {
                let (to, from) = (to % change.operations.len(), from % change.operations.len());
                let source = change.operations[from].clone();
                let target = &mut change.operations[to];
                match part {
                    0 => target.obj = source.obj,
                    1 => target.key = source.key,
                    2 => target.pred = source.pred,
                    3 => target.insert = !target.insert,
                    4 => target.action = source.action,
                    _ => change.operations.push(source),
                }
            }
        };
        let Ok(delta) = std::panic::catch_unwind(|| crafted(mix)) else { return Ok(()) };
        offer(&delta, &author("one"))?;
    }
}

/// A change of the sender's with its content changed at will.
fn crafted(craft: impl Fn(&mut ExpandedChange)) -> Delta {
    let mut document = Automerge::new().with_actor(ActorId::from(author("one").actor));
    let mut transaction = document.transaction();
    transaction.put(ROOT, "a", 1).unwrap();
    let list = transaction.put_object(ROOT, "list", ObjType::List).unwrap();
    transaction.insert(&list, 0, "x").unwrap();
    transaction.put(&list, 0, "y").unwrap();
    let text = transaction.put_object(ROOT, "text", ObjType::Text).unwrap();
    transaction.splice_text(&text, 0, 0, "ab").unwrap();
    transaction.put(ROOT, "n", automerge::ScalarValue::counter(1)).unwrap();
    transaction.increment(ROOT, "n", 2).unwrap();
    transaction.delete(ROOT, "a").unwrap();
    transaction.commit_with(CommitOptions::default().with_message("one"));
    let mut expanded = document.get_changes(&[])[0].decode();
    craft(&mut expanded);
    outside(&[expanded.into()])
}

#[track_caller]
fn check_crafted(craft: impl Fn(&mut ExpandedChange), expected: &str) {
    LazyLock::force(&QUIET);
    let delta = crafted(craft);
    let mut core = Replica::new(&engine(JsonSettings::default()), "core");
    match core.document.merge_from(&delta, &author("one"), START_MS) {
        Ok(_) => assert_eq!(expected, "taken"),
        Err(refused) => assert!(refused.to_string().contains(expected), "{refused}"),
    }
    offer(&delta, &author("one")).unwrap();
}

#[test]
fn crafted_changes_are_refused() {
    check_crafted(|_| {}, "taken");
    check_crafted(|change| change.seq = 3, "its sequence number is 3, its actor's next is 1");
    check_crafted(|change| change.start_op = 3_000_000.try_into().unwrap(), "its operations start at 3000000");
    check_crafted(
        |change| change.start_op = u64::from(u32::MAX).try_into().unwrap(),
        "its operations start at 4294967295",
    );
    check_crafted(|change| change.start_op = (1 << 40).try_into().unwrap(), "cannot be read");
    check_crafted(|change| change.deps = vec![ChangeHash([1; 32])], "the change builds on 0101");
    check_crafted(|change| change.message = None, "it says that \"\" wrote it");
    check_crafted(|change| drop(change.operations.remove(1)), "cannot be read");
    check_crafted(|change| drop(change.operations.remove(2)), "cannot be read");
    check_crafted(|change| change.time = i64::MAX, "taken");
    check_crafted(|change| change.time = i64::MIN, "taken");
}

/// Found by fuzzing: it was taken, and what was saved of it could not be read.
#[test]
fn a_mark_that_ends_before_it_begins_is_refused() {
    use automerge::marks::{ExpandMark, Mark};
    LazyLock::force(&QUIET);
    let mut document = Automerge::new().with_actor(ActorId::from(author("one").actor));
    let mut transaction = document.transaction();
    let text = transaction.put_object(ROOT, "text", ObjType::Text).unwrap();
    transaction.splice_text(&text, 0, 0, "ab").unwrap();
    transaction.mark(&text, Mark::new("bold".to_owned(), true, 0, 1), ExpandMark::None).unwrap();
    transaction.commit_with(CommitOptions::default().with_message("one"));
    let mut change = document.get_changes(&[])[0].decode();
    let sound: ExpandedChange = change.clone();
    let [.., begin, end] = &mut change.operations[..] else { panic!("a mark has two operations") };
    std::mem::swap(&mut begin.key, &mut end.key);
    for (change, expected) in [(sound, "taken"), (change, "occurs before mark begin")] {
        let delta = outside(&[change.into()]);
        let mut core = Replica::new(&engine(JsonSettings::default()), "core");
        match core.document.merge_from(&delta, &author("one"), START_MS) {
            Ok(_) => assert_eq!(expected, "taken"),
            Err(refused) => assert!(refused.to_string().contains(expected), "{refused}"),
        }
        offer(&delta, &author("one")).unwrap();
    }
}

/// Found by fuzzing: it was taken, and what was saved of it could not be read.
#[test]
fn a_change_without_operations_leaves_no_gap() {
    let empty = |start: u64| {
        crafted(move |change| {
            change.operations.clear();
            change.start_op = start.try_into().unwrap();
        })
    };
    for (start, expected) in [(1, "taken"), (5, "it has no operations and starts at 5, after 0")] {
        let mut core = Replica::new(&engine(JsonSettings::default()), "core");
        match core.document.merge_from(&empty(start), &author("one"), START_MS) {
            Ok(_) => assert_eq!(expected, "taken"),
            Err(refused) => assert!(refused.to_string().contains(expected), "{refused}"),
        }
        engine(JsonSettings::default()).load(&core.document.save()).unwrap();
        offer(&empty(start), &author("one")).unwrap();
    }
}

#[test]
fn deep_objects_are_read_as_too_deep() {
    let mut document = Automerge::new().with_actor(ActorId::from(author("one").actor));
    let mut transaction = document.transaction();
    let mut inner = ROOT;
    for _ in 0..5_000 {
        inner = transaction.put_object(&inner, "a", ObjType::Map).unwrap();
    }
    transaction.commit_with(CommitOptions::default().with_message("one"));
    let mut core = Replica::new(&engine(JsonSettings::default()), "core");
    core.document.merge_from(&outside(&document.get_changes(&[])), &author("one"), START_MS).unwrap();
    let refused = core.document.view(Chooser::Lww).unwrap_err();
    assert!(matches!(refused, Error::Document(document::Error::TooDeep { .. })), "{refused}");
}

#[test]
fn too_many_changes_at_once_are_refused() {
    let one = sender();
    let chunk = Changes::decode(&one.document.delta(&Version::default()).unwrap()).unwrap().chunks[0].clone();
    let many = Changes { chunks: vec![chunk; 10_001], ..Changes::default() }.encode();
    let refused =
        Replica::new(&engine(JsonSettings::default()), "core").document.merge_from(&many, &one.author, 0).unwrap_err();
    assert_eq!(refused.to_string(), "the changes of a delta would be 10001, the limit is 10000");
}
