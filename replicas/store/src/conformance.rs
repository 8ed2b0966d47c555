//! What every storage implementation must pass before its own tests. Each function takes an empty database and panics
//! where it does not keep a promise of the traits.

use std::sync::Arc;

use bytes::Bytes;

use crate::{Batch, Direction, Durability, Error, KeyRange, Keyspace, Limit, LogDb, OrderedStore, Row, StateDb};

/// Everything that [`LogDb`] promises while nothing crashes.
///
/// # Panics
/// When a promise is not kept.
pub fn check_log(database: &dyn LogDb) {
    let commit = |batch| database.commit(batch, Durability::Buffered).expect("a log takes writes");
    check_ordered(database, &commit);
    let mut batch = Batch::new();
    batch.put("synced", "1");
    database.commit(batch, Durability::Synced).expect("a log syncs");
    database.commit(Batch::new(), Durability::Synced).expect("a log syncs without rows");
    database.commit(Batch::new(), Durability::Buffered).expect("a log takes empty batches");
    assert_eq!(get(database, "synced").as_deref(), Some("1"));
}

/// Everything that [`StateDb`] and [`Keyspace`] promise while nothing crashes.
///
/// # Panics
/// When a promise is not kept.
pub fn check_state(database: &dyn StateDb) {
    assert_eq!(database.keyspaces(), Vec::<String>::new());
    let b = open(database, "b");
    check_ordered(&*b, &|batch| b.commit(batch).expect("a keyspace takes writes"));
    b.commit(Batch::new()).expect("a keyspace takes empty batches");
    check_snapshots(&*b);
    check_names(database);
    check_keyspaces(database);
    check_ingestion(database);
    database.sync().expect("a state database syncs");
}

fn check_ordered(store: &dyn OrderedStore, commit: &dyn Fn(Batch)) {
    let all = KeyRange::all();
    assert_eq!(scan(store, &all, Limit::rows(usize::MAX), Direction::Forward), "");
    assert_eq!(store.last(&all).expect("a store can be read"), None);
    let mut batch = Batch::new();
    for (key, value) in [("c", "3"), ("a", "0"), ("b", "2"), ("a", "1"), ("d", "4"), ("A", "-1")] {
        batch.put(key, value);
    }
    batch.delete("d");
    batch.delete("absent");
    commit(batch);
    assert_eq!(scan(store, &all, Limit::rows(usize::MAX), Direction::Forward), "A=-1 a=1 b=2 c=3");
    assert_eq!(scan(store, &all, Limit::rows(usize::MAX), Direction::Backward), "c=3 b=2 a=1 A=-1");
    assert_eq!((get(store, "a").as_deref(), get(store, "d"), get(store, "aa")), (Some("1"), None, None));
    check_ranges(store);
    check_limits(store);
    let mut batch = Batch::new();
    batch.delete("A");
    batch.put("b", vec![b'x'; 1 << 20]);
    commit(batch);
    assert_eq!(get(store, "A"), None);
    assert_eq!(get(store, "b").map(|value| value.len()), Some(1 << 20));
}

fn check_ranges(store: &dyn OrderedStore) {
    let key = Bytes::from_static;
    let check = |range: KeyRange, expected: &str| {
        assert_eq!(scan(store, &range, Limit::rows(usize::MAX), Direction::Forward), expected, "{range:?}");
        let last = expected.split(' ').next_back().filter(|row| !row.is_empty());
        let found = store.last(&range).expect("a store can be read").map(|row| describe(&[row]));
        assert_eq!(found.as_deref(), last, "{range:?}");
    };
    check(KeyRange::new(key(b"a")..key(b"c")), "a=1 b=2");
    check(KeyRange::new(key(b"a")..=key(b"c")), "a=1 b=2 c=3");
    check(KeyRange::new(key(b"aa")..), "b=2 c=3");
    check(KeyRange::new(..key(b"a")), "A=-1");
    check(KeyRange::new(key(b"b")..key(b"b")), "");
    check(KeyRange::new(key(b"c")..key(b"a")), "");
    check(KeyRange::new(key(b"x")..), "");
    check(KeyRange::prefix("b"), "b=2");
    check(KeyRange::all().behind(key(b"a"), Direction::Forward), "b=2 c=3");
    check(KeyRange::all().behind(key(b"b"), Direction::Backward), "A=-1 a=1");
}

fn check_limits(store: &dyn OrderedStore) {
    let all = KeyRange::all();
    let check = |limit: Limit, direction, expected: &str| {
        assert_eq!(scan(store, &all, limit, direction), expected, "{limit:?} {direction:?}");
    };
    check(Limit::rows(0), Direction::Forward, "");
    check(Limit::rows(2), Direction::Forward, "A=-1 a=1");
    check(Limit::rows(2), Direction::Backward, "c=3 b=2");
    check(Limit::bytes(0), Direction::Forward, "");
    check(Limit::bytes(1), Direction::Forward, "A=-1");
    check(Limit::bytes(4), Direction::Forward, "A=-1 a=1");
    check(Limit { rows: 1, bytes: 100 }, Direction::Backward, "c=3");
}

fn check_snapshots(keyspace: &dyn Keyspace) {
    let mut batch = Batch::new();
    batch.put("s", "before");
    batch.put("t", "before");
    keyspace.commit(batch).expect("a keyspace takes writes");
    let snapshot = keyspace.snapshot();
    let mut batch = Batch::new();
    batch.put("s", "after");
    batch.delete("t");
    batch.put("u", "after");
    keyspace.commit(batch).expect("a keyspace takes writes");
    let rest = KeyRange::new(Bytes::from_static(b"s")..);
    assert_eq!(scan(&*snapshot, &rest, Limit::rows(9), Direction::Forward), "s=before t=before");
    assert_eq!(scan(&*snapshot, &rest, Limit::rows(1), Direction::Backward), "t=before");
    assert_eq!(get(&*snapshot, "s").as_deref(), Some("before"));
    assert_eq!(scan(keyspace, &rest, Limit::rows(9), Direction::Forward), "s=after u=after");
}

fn check_names(database: &dyn StateDb) {
    let is_refused = |name: &str| matches!(database.keyspace(name), Err(Error::KeyspaceName { .. }));
    assert!(is_refused("") && is_refused(&"n".repeat(256)));
    assert!(!is_refused(&"n".repeat(255)));
    database.delete_keyspace(&"n".repeat(255)).expect("a keyspace can be deleted");
}

fn check_keyspaces(database: &dyn StateDb) {
    let put = |keyspace: &dyn Keyspace, value: &'static str| {
        let mut batch = Batch::new();
        batch.put("key", value);
        keyspace.commit(batch).expect("a keyspace takes writes");
    };
    let (a, b) = (open(database, "a"), open(database, "b"));
    put(&*a, "of a");
    put(&*b, "of b");
    assert_eq!(get(&*a, "key").as_deref(), Some("of a"));
    assert_eq!(get(&*open(database, "a"), "key").as_deref(), Some("of a"), "the same name is the same keyspace");
    assert_eq!(database.keyspaces(), ["a", "b"]);
    database.delete_keyspace("a").expect("a keyspace can be deleted");
    database.delete_keyspace("a").expect("deleting what is not there is no error");
    assert_eq!(database.keyspaces(), ["b"]);
    assert_eq!(get(&*a, "key").as_deref(), Some("of a"), "a handle that is held reads what was there");
    put(&*a, "to a deleted keyspace");
    drop(a);
    assert_eq!(get(&*open(database, "a"), "key"), None, "a keyspace made again is empty");
    assert_eq!(get(&*b, "key").as_deref(), Some("of b"));
}

fn check_ingestion(database: &dyn StateDb) {
    let row = |key: &'static str, value: &'static str| (Bytes::from(key), Bytes::from(value));
    let filled = open(database, "filled");
    let everything = |store: &dyn OrderedStore| scan(store, &KeyRange::all(), Limit::rows(99), Direction::Forward);
    filled.ingest(Vec::new()).expect("a keyspace takes no rows at all");
    filled.ingest(vec![row("b", "2"), row("d", "4")]).expect("an empty keyspace takes rows");
    let snapshot = filled.snapshot();
    filled.ingest(vec![row("f", "6")]).expect("a keyspace takes rows behind its own");
    assert_eq!(everything(&*filled), "b=2 d=4 f=6");
    assert_eq!(everything(&*snapshot), "b=2 d=4", "a snapshot stays as it was");
    let is_refused = |rows| matches!(filled.ingest(rows), Err(Error::Order { .. }));
    assert!(is_refused(vec![row("e", "5")]), "not between what is there");
    assert!(is_refused(vec![row("f", "7")]), "not over what is there");
    assert!(is_refused(vec![row("h", "8"), row("g", "7")]), "not out of order");
    assert!(is_refused(vec![row("g", "7"), row("g", "8")]), "not one key twice");
    assert_eq!(everything(&*filled), "b=2 d=4 f=6", "what is refused leaves nothing");
    let mut batch = Batch::new();
    batch.put("a", "1");
    batch.put("d", "new");
    batch.delete("b");
    filled.commit(batch).expect("a keyspace takes writes");
    assert_eq!(everything(&*filled), "a=1 d=new f=6", "a commit lies on top of what was ingested");
    filled.ingest(vec![row("g", "7")]).expect("a keyspace takes rows behind its own");
    assert_eq!(everything(&*filled), "a=1 d=new f=6 g=7", "also beside what was committed");
    database.delete_keyspace("filled").expect("a keyspace can be deleted");
}

fn open(database: &dyn StateDb, name: &str) -> Arc<dyn Keyspace> {
    database.keyspace(name).expect("a keyspace can be opened")
}

fn get(store: &dyn OrderedStore, key: &str) -> Option<String> {
    let value = store.get(key.as_bytes()).expect("a store can be read")?;
    Some(String::from_utf8_lossy(&value).into_owned())
}

fn scan(store: &dyn OrderedStore, range: &KeyRange, limit: Limit, direction: Direction) -> String {
    describe(&store.scan(range, limit, direction).expect("a store can be read"))
}

fn describe(rows: &[Row]) -> String {
    let text = |bytes: &Bytes| String::from_utf8_lossy(bytes).into_owned();
    let rows: Vec<String> = rows.iter().map(|(key, value)| format!("{}={}", text(key), text(value))).collect();
    rows.join(" ")
}
