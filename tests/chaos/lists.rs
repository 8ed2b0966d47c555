//! Lists that grow at their end by read and conditional write. Every observation must be a prefix of the final list, an
//! acknowledged element must stand where its writer put it, a refused one nowhere, an unknown one at most once.
//! After: Kingsbury and Alvaro 2020 (Elle), whose list-append this is, of single objects.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::atomic::Ordering;
use std::time::Duration;

use rand::RngExt;
use serde_json::Value;
use skerry_api::documents::ETag;
use skerry_tests::simulation::history::Heard;

use super::clients::{One, Shared, address, document, only_at, read, written};

const KEYS: u64 = 2;
const FIELD: &str = "list";

/// What clients did to every list.
#[derive(Debug, Default)]
pub(super) struct Lists {
    lists: BTreeMap<String, List>,
    pub(super) operations: u64,
    pub(super) answered: u64,
    pub(super) unknown: u64,
}

/// What clients did to one list and saw of it.
#[derive(Debug, Default)]
struct List {
    appends: Vec<Append>,
    /// The longest that was seen; everything seen is a prefix of it, or a violation.
    seen: Vec<u64>,
    /// How long it certainly was: no read that begins now may see less.
    floor: usize,
    violations: Vec<String>,
}

/// One append.
#[derive(Debug, Clone, Copy)]
struct Append {
    element: u64,
    /// How long the list was that it was appended to.
    at: usize,
    heard: Heard,
}

impl List {
    /// A read that began when the list was at least `floor` long saw this.
    fn saw(&mut self, floor: usize, list: &[u64]) {
        if list.len() < floor {
            self.violations.push(format!("a read that began when the list had {floor} elements saw {}", list.len()));
        }
        let common = list.len().min(self.seen.len());
        if list[..common] != self.seen[..common] {
            self.violations.push(format!("{list:?} was seen, and {:?} was", self.seen));
        } else if list.len() > common {
            self.seen = list.to_vec();
        }
        self.floor = self.floor.max(list.len());
    }

    fn appended(&mut self, append: Append) {
        if append.heard == Heard::Done {
            self.floor = self.floor.max(append.at + 1);
        }
        self.appends.push(append);
    }

    /// What contradicts the list as it is in the end.
    fn violations(mut self, list: &[u64]) -> Vec<String> {
        self.saw(self.floor, list);
        let mut violations = self.violations;
        let mut attempted = BTreeSet::new();
        for Append { element, at, heard } in self.appends {
            attempted.insert(element);
            let places: Vec<_> = (0..list.len()).filter(|place| list[*place] == element).collect();
            let expected = match heard {
                Heard::Done => places == [at],
                Heard::Unknown => places.is_empty() || places == [at],
                Heard::Refused | Heard::NotDone | Heard::Value(_) => places.is_empty(),
            };
            if !expected {
                violations.push(format!("{element}, appended at {at} and heard {heard:?}, is at {places:?}"));
            }
        }
        let stray = list.iter().filter(|element| !attempted.contains(element));
        violations.extend(stray.map(|element| format!("{element} is there and was never appended")));
        violations
    }
}

/// One client, until it is told to stop.
pub(super) async fn run(mut client: One) {
    while client.goes_on().await {
        let generation = client.shared.generation.load(Ordering::Relaxed);
        let key = key(generation, client.random.random_range(0..KEYS));
        let (node, patience) = client.chooses();
        let floor = client.shared.lists.lock().lists.entry(key.clone()).or_default().floor;
        let found = read(&node, &address(&key), FIELD, patience).await.map(listed);
        {
            let mut lists = client.shared.lists.lock();
            lists.count(if found.is_ok() { Heard::Done } else { Heard::NotDone });
            if let (Ok((list, _)), Some(seen)) = (&found, lists.lists.get_mut(&key)) {
                seen.saw(floor, list);
            }
        }
        let Ok((mut list, version)) = found else { continue };
        let (node, patience) = client.chooses();
        let (element, at) = (client.shared.value(), list.len());
        list.push(element);
        let (place, document) = (address(&key), document(FIELD, Value::from(list)));
        let conditions = only_at(version);
        let heard = written(tokio::time::timeout(patience, node.put(&place, &document, &conditions)).await.ok());
        let mut lists = client.shared.lists.lock();
        lists.count(heard);
        lists.lists.entry(key).or_default().appended(Append { element, at, heard });
    }
}

/// Reads every list to the end, and everything that contradicts it.
pub(super) async fn violations(shared: &Shared, patience: Duration) -> Vec<String> {
    let lists = std::mem::take(&mut shared.lists.lock().lists);
    let (nodes, mut violations) = (shared.nodes(), Vec::new());
    for (number, (key, list)) in lists.into_iter().enumerate() {
        let node = &nodes[number % nodes.len()];
        let found = read(node, &address(&key), FIELD, patience).await.map(listed);
        let Ok((found, _)) = found else {
            violations.push(format!("{key}: a healed cluster did not answer a read"));
            continue;
        };
        violations.extend(list.violations(&found).into_iter().map(|violation| format!("{key}: {violation}")));
    }
    violations
}

impl Lists {
    fn count(&mut self, heard: Heard) {
        self.operations += 1;
        match heard {
            Heard::Unknown => self.unknown += 1,
            Heard::NotDone => {}
            Heard::Done | Heard::Refused | Heard::Value(_) => self.answered += 1,
        }
    }
}

fn key(generation: u64, number: u64) -> String {
    format!("list-{generation}-{number}")
}

/// The elements of a document that was read; none where there is none yet.
fn listed(found: Option<(Value, ETag)>) -> (Vec<u64>, Option<ETag>) {
    let Some((list, version)) = found else { return (Vec::new(), None) };
    let number = |element: &Value| element.as_u64().expect("every element is a number");
    (list.as_array().expect("the field is a list").iter().map(number).collect(), Some(version))
}

#[cfg(test)]
mod tests {
    use super::*;

    const DONE: Heard = Heard::Done;

    #[track_caller]
    fn check(appends: &[(u64, usize, Heard)], list: &[u64], expected: &str) {
        let mut history = List::default();
        appends.iter().for_each(|&(element, at, heard)| history.appended(Append { element, at, heard }));
        let found = history.violations(list).join("; ");
        assert!(if expected.is_empty() { found.is_empty() } else { found.contains(expected) }, "{found:?}");
    }

    #[test]
    fn appends_are_there_once_and_in_their_place() {
        check(&[(7, 0, DONE), (8, 1, DONE)], &[7, 8], "");
        check(&[(7, 0, DONE), (8, 1, DONE)], &[7], "8, appended at 1 and heard Done, is at []");
        check(&[(7, 0, DONE), (8, 1, DONE)], &[8, 7], "7, appended at 0 and heard Done, is at [1]");
        check(&[(7, 0, DONE), (8, 1, DONE)], &[7, 8, 7], "is at [0, 2]");
        check(&[(7, 0, Heard::Unknown)], &[7], "");
        check(&[(7, 0, Heard::Unknown)], &[], "");
        check(&[(7, 0, Heard::Unknown)], &[7, 7], "is at [0, 1]");
        check(&[(7, 0, Heard::Refused)], &[7], "heard Refused");
        check(&[(7, 0, Heard::NotDone)], &[7], "heard NotDone");
        check(&[], &[7], "never appended");
    }

    #[test]
    fn what_is_seen_stays() {
        let mut list = List::default();
        list.saw(0, &[7, 8]);
        list.saw(0, &[7]);
        assert!(list.violations.is_empty());
        list.saw(2, &[7]);
        assert!(list.violations[0].contains("began when the list had 2 elements saw 1"));
        list.saw(0, &[7, 9]);
        assert_eq!(list.violations.len(), 2);
        assert!(list.violations(&[7]).len() > 2);
    }
}
