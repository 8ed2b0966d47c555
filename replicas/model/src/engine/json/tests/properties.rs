//! Random writes and exchanges between three replicas, against what must hold of any merge.

use proptest::collection::vec;
use proptest::prelude::*;

use super::*;

#[derive(Debug, Clone)]
enum Step {
    Put(usize, Value),
    Patch(usize, Value),
    Delete(usize),
    /// A PUT as of an earlier version of the same replica.
    PutAt(usize, usize, Value),
    Exchange(usize, usize),
    /// The delta of the last write, again.
    Repeat(usize, usize),
    Reload(usize),
}

fn scalar() -> impl Strategy<Value = Value> {
    prop_oneof![
        Just(Value::Null),
        any::<bool>().prop_map(Value::from),
        (0i64..4).prop_map(Value::from),
        prop_oneof![Just(0.5), Just(1e300)].prop_map(Value::from),
        "[a-cé]{0,4}".prop_map(Value::from),
    ]
}

fn any_value() -> impl Strategy<Value = Value> {
    scalar().prop_recursive(3, 12, 4, |inner| {
        prop_oneof![
            vec(inner.clone(), 0..4).prop_map(Value::from),
            proptest::collection::btree_map("[a-c]", inner, 0..3)
                .prop_map(|fields| Value::Object(fields.into_iter().collect())),
        ]
    })
}

/// A body with a few well-known fields, so that writes meet.
fn body() -> impl Strategy<Value = Value> {
    let field = |value: BoxedStrategy<Value>| proptest::option::of(value);
    let text = "[a-f ]{0,12}".prop_map(Value::from).boxed();
    let notes = "[a-f]{0,6}".prop_map(|text| json!({"text": text})).boxed();
    let list = vec(scalar(), 0..6).prop_map(Value::from).boxed();
    let objects =
        vec((0i64..3, 0i64..3).prop_map(|(id, n)| json!({"id": id, "n": n})), 0..4).prop_map(Value::from).boxed();
    (
        field(text),
        field(notes),
        field(list),
        field(objects),
        field(any_value().boxed()),
        field((0i64..9).prop_map(Value::from).boxed()),
    )
        .prop_map(|(text, notes, tags, items, any, number)| {
            let fields =
                [("body", text), ("notes", notes), ("tags", tags), ("list", items), ("any", any), ("number", number)];
            Value::Object(fields.into_iter().filter_map(|(name, value)| Some((name.to_owned(), value?))).collect())
        })
}

fn step() -> impl Strategy<Value = Step> {
    prop_oneof![
        4 => (0usize..3, body()).prop_map(|(who, body)| Step::Put(who, body)),
        3 => (0usize..3, body()).prop_map(|(who, patch)| Step::Patch(who, patch)),
        1 => (0usize..3).prop_map(Step::Delete),
        2 => (0usize..3, any::<usize>(), body()).prop_map(|(who, when, body)| Step::PutAt(who, when, body)),
        3 => (0usize..3, 0usize..3).prop_map(|(to, from)| Step::Exchange(to, from)),
        1 => (0usize..3, 0usize..3).prop_map(|(to, from)| Step::Repeat(to, from)),
        1 => (0usize..3).prop_map(Step::Reload),
    ]
}

fn text_engine() -> JsonEngine {
    engine(JsonSettings { template: None, text: vec!["/body".to_owned(), "/notes/text".to_owned()] })
}

/// Three replicas, what they wrote, and the versions they were at.
struct World {
    engine: JsonEngine,
    replicas: Vec<Replica>,
    versions: Vec<Vec<Version>>,
    last: Vec<Option<(Version, Delta)>>,
}

impl World {
    fn new(engine: JsonEngine) -> Self {
        let replicas = ["one", "two", "three"].iter().enumerate();
        let replicas = replicas.map(|(at, name)| Replica::new(&engine, name).at(i64::try_from(at).unwrap())).collect();
        Self { engine, replicas, versions: vec![Vec::new(); 3], last: vec![None; 3] }
    }

    fn step(&mut self, step: &Step) -> Result<(), TestCaseError> {
        match step {
            Step::Put(who, body) => {
                self.write(*who, &Write::Put(object(body.clone())))?;
                if self.engine.empty.settings.genesis.is_none() {
                    prop_assert_eq!(&self.replicas[*who].read(), body, "a PUT reads back");
                }
            }
            Step::Patch(who, patch) => self.write(*who, &Write::Patch(patch.clone()))?,
            Step::Delete(who) => {
                self.write(*who, &Write::Delete)?;
                prop_assert_eq!(self.replicas[*who].read(), Value::Null);
            }
            Step::PutAt(who, when, body) => {
                if let Some(base) = pick(&self.versions[*who], *when).cloned() {
                    self.replicas[*who].try_write_at(&base, &Write::Put(object(body.clone()))).unwrap();
                }
            }
            Step::Exchange(to, from) => {
                let since = self.replicas[*to].document.version();
                let delta = self.replicas[*from].document.delta(&since);
                let delta = delta.or_else(|_| self.replicas[*from].document.delta(&Version::default())).unwrap();
                self.replicas[*to].document.merge(&delta).unwrap();
                prop_assert!(!self.replicas[*to].document.merge(&delta).unwrap(), "twice is as good as once");
            }
            Step::Repeat(to, from) => {
                if let Some((_, delta)) = &self.last[*from] {
                    let before = self.replicas[*to].document.version();
                    let merged = self.replicas[*to].document.merge(delta);
                    if merged.is_err() {
                        prop_assert_eq!(self.replicas[*to].document.version(), before);
                    }
                }
            }
            Step::Reload(who) => {
                let document = &mut self.replicas[*who].document;
                let loaded = self.engine.load(&document.save()).unwrap();
                prop_assert_eq!(loaded.version(), document.version());
                prop_assert_eq!(loaded.view(Chooser::Lww).unwrap(), document.view(Chooser::Lww).unwrap());
                let Saved { document: content, deleted, corrections } = Saved::decode(&document.save()).unwrap();
                let content = Automerge::load(&content).unwrap();
                *document = JsonDocument::new(document.settings.clone(), content, deleted, corrections, 0);
            }
        }
        for (replica, versions) in self.replicas.iter().zip(&mut self.versions) {
            versions.push(replica.document.version());
        }
        Ok(())
    }

    fn write(&mut self, who: usize, write: &Write) -> Result<(), TestCaseError> {
        let replica = &mut self.replicas[who];
        let before = replica.document.version();
        if let Some(delta) = replica.try_write(write, Chooser::Lww).unwrap() {
            let mut copy = self.engine.empty.clone();
            copy.merge(&replica.document.delta(&Version::default()).unwrap()).unwrap();
            prop_assert_eq!(copy.version(), replica.document.version());
            self.last[who] = Some((before, delta));
        } else {
            prop_assert_eq!(before, replica.document.version());
        }
        Ok(())
    }
}

fn pick<T>(items: &[T], at: usize) -> Option<&T> {
    items.get(at.checked_rem(items.len())?)
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(150))]

    #[test]
    fn replicas_that_have_seen_the_same_read_the_same(steps in vec(step(), 1..16), template: bool) {
        let mut world = World::new(if template { templated() } else { text_engine() });
        for step in &steps {
            world.step(step)?;
        }
        for (to, from) in [(0, 1), (0, 2), (1, 0), (2, 0)] {
            world.step(&Step::Exchange(to, from))?;
        }
        let resolver = Test { wants: wants(true, &[]), resolve: sum };
        let [one, others @ ..] = &world.replicas[..] else { unreachable!() };
        for other in others {
            prop_assert_eq!(one.document.version(), other.document.version());
            for chooser in [Chooser::Lww, Chooser::Json, Chooser::Resolver(&resolver)] {
                prop_assert_eq!(one.view(chooser), other.view(chooser));
            }
            prop_assert_eq!(one.document.conflicts().unwrap(), other.document.conflicts().unwrap());
        }
        // In another order, all at once and one by one.
        let whole = one.document.delta(&Version::default()).unwrap();
        let mut at_once = world.engine.empty.clone();
        at_once.merge(&whole).unwrap();
        prop_assert_eq!(at_once.version(), one.document.version());
        let mut singly = world.engine.empty.clone();
        let changes = Changes::decode(&whole).unwrap();
        for chunk in &changes.chunks {
            singly.merge(&Changes { chunks: vec![chunk.clone()], ..Changes::default() }.encode()).unwrap();
        }
        singly.merge(&Changes { chunks: Vec::new(), ..changes }.encode()).unwrap();
        prop_assert_eq!(singly.version(), one.document.version());
        prop_assert_eq!(singly.view(Chooser::Lww).unwrap(), one.view(Chooser::Lww));
    }

    /// The state at each version is the same later, when more has come.
    #[test]
    fn versions_of_the_past_stay_as_they_were(steps in vec(step(), 1..10)) {
        let mut world = World::new(text_engine());
        let mut then = Vec::new();
        for step in &steps {
            world.step(step)?;
            let document = &world.replicas[0].document;
            let views = [Chooser::Lww, Chooser::Json].map(|chooser| document.view(chooser).unwrap());
            then.push((document.version(), views));
        }
        for (version, [lww, json]) in then {
            let document = &world.replicas[0].document;
            prop_assert_eq!(document.view_at(&version, Chooser::Lww).unwrap(), lww);
            prop_assert_eq!(document.view_at(&version, Chooser::Json).unwrap(), json);
        }
    }

    /// With a template, all but the first PUT read back exactly, and that one over the template.
    #[test]
    fn puts_over_a_template_read_back(first in body(), second in body()) {
        let engine = templated();
        let mut one = Replica::new(&engine, "one");
        one.put(first.clone());
        let read = one.read();
        for (name, value) in first.as_object().unwrap() {
            prop_assert_eq!(&read[name], value);
        }
        one.put(second.clone());
        prop_assert_eq!(one.read(), second);
    }
}
