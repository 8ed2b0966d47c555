//! Lists that are written at once, in every order of merging, and what a list refuses.

use skerry_guest::serde_json;

use super::*;

/// A replica that numbers its operations.
#[derive(Clone)]
struct Replica {
    context: Context,
    list: List,
}

impl Replica {
    fn of(name: &str, list: &List) -> Self {
        Self { context: Context { sequence: 0, ..Context::of(name) }, list: list.clone() }
    }

    fn operate(&mut self, operation: Value) -> Result<(), String> {
        let operation = serde_json::from_value(operation).map_err(|error| error.to_string())?;
        let before = self.list.clone();
        self.context.sequence += 1;
        OrderedList::apply(&mut self.list, operation, &self.context)?;
        assert_eq!(bytes(&merged(&before, &self.list)), bytes(&self.list), "it grows");
        Ok(())
    }

    fn insert(&mut self, at: usize, value: &str) {
        self.operate(json!({ "insert": { "at": at, "value": value } })).unwrap();
    }

    fn remove(&mut self, at: usize) {
        self.operate(json!({ "remove": { "at": at } })).unwrap();
    }

    /// The id of the element at a position.
    fn id(&self, at: usize) -> Value {
        OrderedList::view(&self.list)["ids"][at].clone()
    }

    #[track_caller]
    fn refuses(&mut self, operation: Value, expected: &str) {
        let before = self.list.clone();
        let refused = self.operate(operation).unwrap_err();
        assert!(refused.contains(expected), "{refused}");
        assert_eq!(self.list, before);
    }
}

fn list(values: &[&str]) -> List {
    let mut replica = Replica::of("core", &List::default());
    values.iter().enumerate().for_each(|(at, value)| replica.insert(at, value));
    replica.list
}

fn bytes(list: &List) -> Vec<u8> {
    serde_json::to_vec(list).unwrap()
}

fn merged(a: &List, b: &List) -> List {
    let mut merged = a.clone();
    OrderedList::merge(&mut merged, b.clone());
    merged
}

#[track_caller]
fn check(list: &List, expected: &[&str]) {
    assert_eq!(OrderedList::view(list)["items"], json!(expected));
    let read: List = serde_json::from_slice(&bytes(list)).unwrap();
    assert_eq!(&read, list);
}

/// Merges all of them in every order, and each twice; the result is the same in every byte.
#[track_caller]
fn check_merged(lists: [&List; 3], expected: &[&str]) {
    let [a, b, c] = lists;
    let whole = merged(&merged(a, b), c);
    check(&whole, expected);
    for [one, two, three] in [[a, c, b], [b, a, c], [b, c, a], [c, a, b], [c, b, a]] {
        let from_the_left = merged(&merged(one, two), three);
        let from_the_right = merged(one, &merged(two, three));
        assert_eq!((bytes(&from_the_left), bytes(&from_the_right)), (bytes(&whole), bytes(&whole)));
        assert_eq!(bytes(&merged(&whole, one)), bytes(&whole));
    }
}

#[test]
fn positions_and_ids_name_the_same_places() {
    let mut one = Replica::of("a", &List::default());
    assert_eq!(OrderedList::view(&one.list), json!({ "items": [], "ids": [] }));
    one.insert(0, "bread");
    one.insert(0, "milk");
    one.insert(2, "salt");
    check(&one.list, &["milk", "bread", "salt"]);
    assert_eq!(one.id(1), json!("1.1.1@a"));
    one.operate(json!({ "insert": { "after": "1.1.1@a", "value": "jam" } })).unwrap();
    one.operate(json!({ "insert": { "after": null, "value": "list" } })).unwrap();
    check(&one.list, &["list", "milk", "bread", "jam", "salt"]);
    one.remove(1);
    one.operate(json!({ "remove": "1.1.1@a" })).unwrap();
    one.operate(json!({ "remove": "1.1.1@a" })).unwrap();
    check(&one.list, &["list", "jam", "salt"]);
    one.insert(1, "tea");
    check(&one.list, &["list", "tea", "jam", "salt"]);
}

#[test]
fn concurrent_insertions_all_stay_and_each_run_stays_together() {
    let common = list(&["x", "y"]);
    let [mut a, mut b, mut c] = ["a", "b", "c"].map(|name| Replica::of(name, &common));
    for (replica, values) in [(&mut a, ["a1", "a2"]), (&mut b, ["b1", "b2"])] {
        replica.insert(1, values[0]);
        replica.insert(2, values[1]);
    }
    c.insert(2, "z");
    check_merged([&a.list, &b.list, &c.list], &["x", "b1", "b2", "a1", "a2", "y", "z"]);
}

#[test]
fn a_later_insertion_at_the_same_place_comes_first() {
    let mut a = Replica::of("z", &list(&["x"]));
    a.insert(1, "old");
    let mut b = Replica::of("a", &a.list);
    b.insert(1, "new");
    check_merged([&a.list, &b.list, &List::default()], &["x", "new", "old"]);
}

#[test]
fn what_one_removed_stays_removed_and_keeps_its_place() {
    let common = list(&["x", "y", "z"]);
    let [mut a, mut b, mut c] = ["a", "b", "c"].map(|name| Replica::of(name, &common));
    a.remove(1);
    b.insert(2, "after y");
    c.remove(1);
    c.insert(0, "first");
    check_merged([&a.list, &b.list, &c.list], &["first", "x", "after y", "z"]);
    // After an element that is gone by now.
    let id = Replica::of("b", &common).id(1);
    a.operate(json!({ "insert": { "after": id, "value": "still" } })).unwrap();
    check(&a.list, &["x", "still", "z"]);
    check_merged([&a.list, &common, &common], &["x", "still", "z"]);
}

/// What an incarnation that lost its writes had inserted is not taken for what the next one inserts.
#[test]
fn no_id_is_used_twice() {
    let common = list(&["x"]);
    let mut lost = Replica::of("a", &common);
    let mut again = Replica::of("a", &common);
    again.context.incarnation = 2;
    lost.insert(1, "lost");
    again.insert(1, "again");
    check_merged([&lost.list, &again.list, &common], &["x", "again", "lost"]);
    // Nor when a replica has forgotten its list: its operations have new numbers all the same.
    let mut forgetful = Replica { list: common.clone(), ..lost.clone() };
    forgetful.insert(1, "forgot");
    check_merged([&lost.list, &forgetful.list, &common], &["x", "forgot", "lost"]);
}

#[test]
fn what_it_does_not_take_it_says() {
    let mut one = Replica::of("a", &list(&["x"]));
    let insert = |mut fields: Value| {
        fields["value"] = json!(1);
        json!({ "insert": fields })
    };
    one.refuses(insert(json!({ "at": 3 })), "there is no element at 2: the list has 1");
    one.refuses(insert(json!({ "at": u64::MAX })), "the list has 1");
    one.refuses(insert(json!({ "after": "9.1.1@b" })), "there is no element 9.1.1@b");
    one.refuses(insert(json!({ "after": "x" })), r#""x" is no element's id"#);
    one.refuses(insert(json!({ "at": 0, "after": null })), r#"either "after": ID or null, or "at": POSITION"#);
    one.refuses(insert(json!({})), r#"either "after": ID or null, or "at": POSITION"#);
    one.refuses(json!({ "insert": { "at": 0 } }), "missing field `value`");
    one.refuses(json!({ "remove": { "at": 1 } }), "there is no element at 1: the list has 1");
    one.refuses(json!({ "remove": "9.1.1@b" }), "there is no element 9.1.1@b");
    one.refuses(json!({ "remove": 0 }), r#"`remove` takes an element's id or {"at": POSITION}"#);
}

/// Each after the one before, as a list that was only ever added to.
#[test]
fn a_full_list_is_read_and_takes_no_more() {
    let id = |at: usize| Id { lamport: at as u64 + 1, origin: "b".to_owned(), incarnation: 1, sequence: at as u64 + 1 };
    let element = |at: usize| {
        let after = at.checked_sub(1).map(id);
        (id(at), Element { after, value: Some(at.to_string()) })
    };
    let full = List { elements: (0..ELEMENTS_MAX).map(element).collect() };
    let mut one = Replica::of("a", &full);
    let view = OrderedList::view(&full);
    let items = &view["items"];
    assert_eq!((&items[0], &items[ELEMENTS_MAX - 1]), (&json!(0), &json!(ELEMENTS_MAX - 1)));
    one.remove(0);
    one.refuses(
        json!({ "insert": { "at": 0, "value": 1 } }),
        "the list has had 10000 elements, removed ones included, and takes no more",
    );
}

#[test]
fn a_view_never_grows_too_long() {
    let large = "x".repeat(SHOWN_BYTES_MAX / 2);
    let [mut a, mut b] = ["a", "b"].map(|name| Replica::of(name, &List::default()));
    a.insert(0, &large);
    b.insert(0, &large);
    b.insert(1, "small");
    a.refuses(json!({ "insert": { "at": 0, "value": large } }), "the list would be longer than 524288 bytes");
    let both = merged(&a.list, &b.list);
    let view = OrderedList::view(&both);
    assert_eq!((view["items"].as_array().map(Vec::len), &view["hidden"]), (Some(2), &json!(1)));
    let mut c = Replica::of("c", &both);
    c.remove(0);
    check(&c.list, &["small", large.as_str()]);
}
