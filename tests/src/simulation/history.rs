//! What clients did and heard, and whether one register per document explains it (Herlihy and Wing 1990), searched with
//! porcupine's algorithm (Lowe 2017).

use std::collections::BTreeMap;
use std::fmt;
use std::time::Duration;

use porcupine_rs::{CheckResult, Model, Operation, check_operations_timeout};

/// How long one document's history may be searched.
const SEARCH_MAX: Duration = Duration::from_secs(60);

/// What a client asks of one document.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Ask {
    /// Sets the value.
    Put(u64),
    /// Sets the value if there is no document.
    Create(u64),
    /// Deletes the document.
    Delete,
    /// Reads.
    Get,
}

/// What it heard.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Heard {
    /// It was done.
    Done,
    /// The condition did not hold.
    Refused,
    /// The value, `None` where there is no document.
    Value(Option<u64>),
    /// Nothing, or that the outcome is unknown.
    Unknown,
    /// It was certainly not done.
    NotDone,
}

/// One operation, from its call to its answer.
#[derive(Debug, Clone)]
pub struct Step {
    /// The document.
    pub document: String,
    /// What was asked.
    pub ask: Ask,
    /// What was heard.
    pub heard: Heard,
    /// When it was asked, in the order of all events.
    pub called: i64,
    /// When it was answered.
    pub answered: i64,
}

/// Everything that clients did.
#[derive(Debug, Default)]
pub struct History {
    events: i64,
    steps: Vec<Step>,
}

impl History {
    /// A client asks; the answer is given with the number.
    pub fn ask(&mut self, document: &str, ask: Ask) -> usize {
        self.events += 1;
        let (document, called) = (document.to_owned(), self.events);
        self.steps.push(Step { document, ask, heard: Heard::Unknown, called, answered: i64::MAX });
        self.steps.len() - 1
    }

    /// A client hears.
    pub fn hear(&mut self, number: usize, heard: Heard) {
        self.events += 1;
        let step = &mut self.steps[number];
        step.heard = heard;
        if heard != Heard::Unknown {
            step.answered = self.events;
        }
    }

    /// Every step so far.
    #[must_use]
    pub fn steps(&self) -> &[Step] {
        &self.steps
    }

    /// How many operations were answered with their result.
    #[must_use]
    pub fn answered(&self) -> usize {
        self.steps.iter().filter(|step| !matches!(step.heard, Heard::Unknown | Heard::NotDone)).count()
    }

    /// Checks that every document is linearizable.
    ///
    /// # Errors
    /// The first document whose answers no order explains, with its history.
    pub fn check(&self) -> Result<(), NotLinearizable> {
        let mut documents: BTreeMap<&str, Vec<Operation<Register>>> = BTreeMap::new();
        for step in &self.steps {
            let is_moot = step.heard == Heard::NotDone || (step.ask == Ask::Get && step.heard == Heard::Unknown);
            if is_moot {
                continue;
            }
            documents.entry(&step.document).or_default().push(Operation {
                client_id: None,
                call_time: step.called,
                return_time: step.answered,
                op: (step.ask, step.heard),
                metadata: None,
            });
        }
        for (document, operations) in documents {
            let verdict = check_operations_timeout(&operations, SEARCH_MAX);
            if verdict != CheckResult::Ok {
                let steps = self.steps.iter().filter(|step| step.document == document).cloned().collect();
                return Err(NotLinearizable { document: document.to_owned(), verdict, steps });
            }
        }
        Ok(())
    }
}

/// No order of the operations explains what was heard.
#[derive(Debug)]
pub struct NotLinearizable {
    document: String,
    verdict: CheckResult,
    steps: Vec<Step>,
}

impl fmt::Display for NotLinearizable {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "document {} is not linearizable ({:?}):", self.document, self.verdict)?;
        for Step { ask, heard, called, answered, .. } in &self.steps {
            let answered = if *answered == i64::MAX { "never".to_owned() } else { answered.to_string() };
            writeln!(f, "  {called}..{answered}  {ask:?} -> {heard:?}")?;
        }
        Ok(())
    }
}

/// One document.
#[derive(Debug, Clone)]
struct Register;

impl Model for Register {
    type State = Option<u64>;
    type Op = (Ask, Heard);
    type Metadata = ();

    fn init() -> Self::State {
        None
    }

    fn step(state: &Self::State, (ask, heard): &Self::Op) -> (bool, Self::State) {
        match (ask, heard) {
            (Ask::Get, Heard::Value(value)) => (value == state, *state),
            (Ask::Create(_), Heard::Refused) => (state.is_some(), *state),
            (Ask::Create(value), Heard::Unknown) => (true, state.or(Some(*value))),
            (Ask::Create(value), Heard::Done) => (state.is_none(), Some(*value)),
            // A delete of nothing is answered 404, which says as much as a read.
            (Ask::Delete, Heard::Refused) => (state.is_none(), None),
            (Ask::Delete, Heard::Done) => (state.is_some(), None),
            (Ask::Delete, Heard::Unknown) => (true, None),
            (Ask::Put(value), Heard::Done | Heard::Unknown) => (true, Some(*value)),
            _ => (false, *state),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn history(steps: &[(Ask, Heard, i64, i64)]) -> History {
        let steps = steps.iter().map(|&(ask, heard, called, answered)| {
            let answered = if heard == Heard::Unknown { i64::MAX } else { answered };
            Step { document: "d".to_owned(), ask, heard, called, answered }
        });
        History { events: 0, steps: steps.collect() }
    }

    #[test]
    fn a_stale_read_is_found() {
        let stale = [(Ask::Put(1), Heard::Done, 1, 2), (Ask::Get, Heard::Value(None), 3, 4)];
        assert!(history(&stale).check().is_err());
        let overlapping = [(Ask::Put(1), Heard::Done, 1, 4), (Ask::Get, Heard::Value(None), 2, 3)];
        history(&overlapping).check().unwrap();
    }

    #[test]
    fn a_lost_write_is_found() {
        let lost = [
            (Ask::Put(1), Heard::Done, 1, 2),
            (Ask::Put(2), Heard::Done, 3, 4),
            (Ask::Get, Heard::Value(Some(1)), 5, 6),
        ];
        assert!(history(&lost).check().is_err());
    }

    #[test]
    fn an_unknown_write_may_have_happened_or_not() {
        for value in [None, Some(1)] {
            history(&[(Ask::Put(1), Heard::Unknown, 1, 0), (Ask::Get, Heard::Value(value), 2, 3)]).check().unwrap();
        }
        let back = [
            (Ask::Put(1), Heard::Unknown, 1, 0),
            (Ask::Get, Heard::Value(Some(1)), 2, 3),
            (Ask::Get, Heard::Value(None), 4, 5),
        ];
        assert!(history(&back).check().is_err());
    }

    #[test]
    fn two_cannot_create_the_same() {
        let both = [(Ask::Create(1), Heard::Done, 1, 4), (Ask::Create(2), Heard::Done, 2, 3)];
        assert!(history(&both).check().is_err());
    }
}
