//! What is tried: a plugin as the contract has it, be it the author's type or the component made of it.

use std::marker::PhantomData;
use std::panic::{AssertUnwindSafe, catch_unwind};

use serde_json::Value;

use crate::export_policy::ExportPolicy;
use crate::policy_bindings::{Guest, skerry::plugin::merging as wit};
use crate::{Choice, Conflict, Context, INTEGER_MAX, MergePolicy, Resolution, Resolver, Wants};

/// How deep arrays and objects of a document may nest.
const DEPTH_MAX: usize = 64;

/// Why a call gave nothing.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Failed {
    /// The plugin said no, in its own words.
    Refused(String),
    /// It trapped, passed a limit, or broke the contract otherwise.
    Broken(String),
    /// The same call gave another answer the second time.
    Different(String),
    /// It could not be run now, which says nothing about it.
    Unavailable(String),
    /// The time for trying it is over.
    OutOfTime,
}

/// A resolver.
pub trait ResolverSubject {
    /// What it wants handed.
    fn wants(&self) -> Wants;

    /// Its decision about one document.
    ///
    /// # Errors
    /// [`Failed`].
    fn resolve(&self, conflicts: &[Conflict]) -> Result<Resolution, Failed>;
}

/// A merge policy.
pub trait PolicySubject {
    /// The version of the state's encoding.
    fn state_version(&self) -> u32;

    /// The state of a document that nobody has written to.
    ///
    /// # Errors
    /// [`Failed`].
    fn empty(&self) -> Result<Vec<u8>, Failed>;

    /// The state after one operation.
    ///
    /// # Errors
    /// [`Failed`].
    fn apply(&self, state: &[u8], operation: &Value, context: &Context) -> Result<Vec<u8>, Failed>;

    /// The least state that holds both.
    ///
    /// # Errors
    /// [`Failed`].
    fn merge(&self, a: &[u8], b: &[u8]) -> Result<Vec<u8>, Failed>;

    /// What readers see.
    ///
    /// # Errors
    /// [`Failed`].
    fn view(&self, state: &[u8]) -> Result<Value, Failed>;

    /// A state of an older encoding in the present one.
    ///
    /// # Errors
    /// [`Failed`].
    fn migrate(&self, from: u32, state: &[u8]) -> Result<Vec<u8>, Failed>;

    /// Operations that it takes one after another.
    ///
    /// # Errors
    /// [`Failed`].
    fn examples(&self) -> Result<Vec<Value>, Failed>;
}

/// The author's resolver, compiled natively. Each call is made twice.
#[derive(Debug, Default)]
pub struct NativeResolver<R>(PhantomData<R>);

impl<R> NativeResolver<R> {
    /// It.
    #[must_use]
    pub fn new() -> Self {
        Self(PhantomData)
    }
}

impl<R: Resolver> ResolverSubject for NativeResolver<R> {
    fn wants(&self) -> Wants {
        R::wants()
    }

    fn resolve(&self, conflicts: &[Conflict]) -> Result<Resolution, Failed> {
        let resolution = twice(|| R::resolve(conflicts))?.map_err(Failed::Refused)?;
        within_contract(&resolution).map_err(Failed::Broken)?;
        Ok(resolution)
    }
}

/// The author's merge policy, compiled natively, with its states in bytes as the component has them. Each call is made
/// twice.
#[derive(Debug, Default)]
pub struct NativePolicy<P>(PhantomData<P>);

impl<P> NativePolicy<P> {
    /// It.
    #[must_use]
    pub fn new() -> Self {
        Self(PhantomData)
    }
}

impl<P: MergePolicy> PolicySubject for NativePolicy<P> {
    fn state_version(&self) -> u32 {
        P::STATE_VERSION
    }

    fn empty(&self) -> Result<Vec<u8>, Failed> {
        twice(ExportPolicy::<P>::empty)
    }

    fn apply(&self, state: &[u8], operation: &Value, context: &Context) -> Result<Vec<u8>, Failed> {
        let applied = twice(|| {
            let Context { origin, incarnation, sequence, time } = context.clone();
            let context = wit::Context { origin, incarnation, sequence, time };
            ExportPolicy::<P>::apply(state.to_vec(), operation.to_string(), context)
        });
        applied?.map_err(Failed::Refused)
    }

    fn merge(&self, a: &[u8], b: &[u8]) -> Result<Vec<u8>, Failed> {
        twice(|| ExportPolicy::<P>::merge(a.to_vec(), b.to_vec()))
    }

    fn view(&self, state: &[u8]) -> Result<Value, Failed> {
        let view = twice(|| P::view(&serde_json::from_slice(state).expect("the state is the policy's own")))?;
        if view.is_object() { Ok(view) } else { Err(Failed::Broken(format!("the view {view} is no JSON object"))) }
    }

    fn migrate(&self, from: u32, state: &[u8]) -> Result<Vec<u8>, Failed> {
        twice(|| ExportPolicy::<P>::migrate(from, state.to_vec()))?.map_err(Failed::Refused)
    }

    fn examples(&self) -> Result<Vec<Value>, Failed> {
        twice(P::examples)
    }
}

/// What the host checks too, so that a native test finds it.
fn within_contract(resolution: &Resolution) -> Result<(), String> {
    let chosen = resolution.choices.iter().filter_map(|choice| match choice {
        Choice::Value(value) => Some(value),
        Choice::Candidate(_) | Choice::Remove => None,
    });
    let noted = resolution.notes.iter().map(|note| &note.value);
    match chosen.chain(noted).find(|value| !can_be_held(value, DEPTH_MAX)) {
        Some(value) => {
            Err(format!("{value} cannot be in a document: it nests too deep, or an integer in it is too large"))
        }
        None => Ok(()),
    }
}

fn can_be_held(value: &Value, depth: usize) -> bool {
    match value {
        Value::Number(number) => match (number.as_i64(), number.is_f64()) {
            (_, true) => true,
            (Some(integer), false) => integer.unsigned_abs() <= INTEGER_MAX.unsigned_abs(),
            (None, false) => false,
        },
        Value::Array(items) => depth > 0 && items.iter().all(|item| can_be_held(item, depth - 1)),
        Value::Object(fields) => depth > 0 && fields.values().all(|field| can_be_held(field, depth - 1)),
        Value::Null | Value::Bool(_) | Value::String(_) => true,
    }
}

/// The answer of a call that gives it twice.
fn twice<T: PartialEq>(call: impl Fn() -> T) -> Result<T, Failed> {
    let once = || catch_unwind(AssertUnwindSafe(&call)).map_err(|panic| Failed::Broken(words(&*panic)));
    let answer = once()?;
    let different = || Failed::Different("the same call gave another answer the second time".to_owned());
    if once()? == answer { Ok(answer) } else { Err(different()) }
}

fn words(panic: &(dyn std::any::Any + Send)) -> String {
    let text = panic.downcast_ref::<&str>().copied().map(str::to_owned);
    let text = text.or_else(|| panic.downcast_ref::<String>().cloned());
    text.map_or_else(|| "it panicked".to_owned(), |text| format!("it panicked: {text}"))
}
