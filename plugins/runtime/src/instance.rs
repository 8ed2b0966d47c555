//! One call in a fresh instance under the profile's limits, and what it means when there is no answer.
//!
//! Instances are allocated on demand. A pool was no faster (examples/call_time.rs, medians of 64 and 66 microseconds a
//! call in the same run), and it reserves address space for every slot up front, which phones and small machines may
//! refuse, and adds a way to fail that says nothing of the plugin.

use wasmtime::error::OutOfMemory;
use wasmtime::{Error, ResourceLimiter, Store, Trap};

use crate::alarm::Alarm;
use crate::engine::Runtime;
use crate::error::{Failure, beginning};
use crate::limits::{ANSWER_OVERHEAD_BYTES, REASON_BYTES_MAX};
use crate::profile::RuntimeProfile;

/// How wasmtime begins its words when a component has too many instances, tables or memories; the error has no type.
const TOO_MANY: &str = "resource limit exceeded";
/// Part of its words when a guest hands back more than `Store::set_hostcall_fuel` allows; the type is private.
const TOO_MUCH_TEXT: &str = "fuel allocated for hostcalls has been exhausted";

/// What an instance may take, and what it was refused.
#[derive(Debug)]
pub(crate) struct Limiter {
    memory_bytes_left: usize,
    table_elements_left: usize,
    core_instances: usize,
    /// The plugin asked for more than the profile allows.
    refused: Option<Grown>,
    /// The host could not give what the profile allows.
    host: Option<String>,
}

#[derive(Debug, Clone, Copy)]
enum Grown {
    Memory,
    Table,
}

impl Limiter {
    /// Whether it may grow; takes that off what is left, or notes that the profile refused it. Its own maximum, which
    /// the guest chose, refuses without a note: past it wasmtime would report a failure of the host.
    fn grants(&mut self, grown: Grown, current: usize, desired: usize, maximum: Option<usize>) -> bool {
        let left = match grown {
            Grown::Memory => &mut self.memory_bytes_left,
            Grown::Table => &mut self.table_elements_left,
        };
        let Some(rest) = left.checked_sub(desired - current) else {
            self.refused = Some(grown);
            return false;
        };
        let within = maximum.is_none_or(|maximum| desired <= maximum);
        if within {
            *left = rest;
        }
        within
    }
}

impl ResourceLimiter for Limiter {
    fn memory_growing(&mut self, current: usize, desired: usize, maximum: Option<usize>) -> Result<bool, Error> {
        Ok(self.grants(Grown::Memory, current, desired, maximum))
    }

    fn memory_grow_failed(&mut self, error: Error) -> Result<(), Error> {
        // The guest must not see that: on another host it would have got the memory.
        self.host = Some(format!("no memory for an instance: {error:#}"));
        Err(error)
    }

    fn table_growing(&mut self, current: usize, desired: usize, maximum: Option<usize>) -> Result<bool, Error> {
        Ok(self.grants(Grown::Table, current, desired, maximum))
    }

    fn instances(&self) -> usize {
        self.core_instances
    }

    fn tables(&self) -> usize {
        self.core_instances
    }

    fn memories(&self) -> usize {
        self.core_instances
    }
}

/// Runs `work` on a fresh instance, which may hand back so many bytes; gives its answer and the fuel that all of it took.
///
/// # Errors
/// [`Failure`].
pub(crate) fn call<I, T>(
    runtime: &Runtime,
    output_bytes: usize,
    instantiate: impl FnOnce(&mut Store<Limiter>) -> Result<I, Error>,
    work: impl FnOnce(&I, &mut Store<Limiter>) -> Result<T, Error>,
) -> Result<(T, u64), Failure> {
    let profile = &*runtime.profile;
    let limiter = Limiter {
        memory_bytes_left: profile.memory_bytes,
        table_elements_left: profile.table_elements,
        core_instances: profile.core_instances,
        refused: None,
        host: None,
    };
    let mut store = Store::new(&runtime.engine, limiter);
    store.limiter(|limiter| limiter);
    store.set_hostcall_fuel(output_bytes + ANSWER_OVERHEAD_BYTES);
    store.set_fuel(profile.fuel).expect("the engine counts fuel");
    store.set_epoch_deadline(Alarm::epochs(profile.alarm_ms));

    let running = runtime.alarm.watch();
    let bounds = Bounds { profile, output_bytes };
    let instance = instantiate(&mut store).map_err(|error| failure(&error, &store, Stage::Instantiation, bounds))?;
    let answer = work(&instance, &mut store);
    drop(running);
    let answer = answer.map_err(|error| failure(&error, &store, Stage::Call, bounds))?;
    let fuel_left = store.get_fuel().expect("the engine counts fuel");
    Ok((answer, profile.fuel - fuel_left))
}

/// What a sentence about a failure names.
#[derive(Clone, Copy)]
struct Bounds<'a> {
    profile: &'a RuntimeProfile,
    output_bytes: usize,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Stage {
    Instantiation,
    Call,
}

/// Whose fault it is, in a sentence that names the limit. What the host lacked comes first: behind it, the guest may have
/// failed in any way.
fn failure(error: &Error, store: &Store<Limiter>, stage: Stage, bounds: Bounds<'_>) -> Failure {
    let Bounds { profile, output_bytes } = bounds;
    let limiter = store.data();
    if let Some(reason) = &limiter.host {
        return Failure::Host(reason.clone());
    }
    let trap = error.downcast_ref::<Trap>();
    if trap == Some(&Trap::Interrupt) {
        return Failure::Host(format!("it ran longer than {} ms", profile.alarm_ms));
    }
    if error.is::<OutOfMemory>() {
        return Failure::Host(format!("no memory for an instance: {error:#}"));
    }
    let text = error.root_cause().to_string();
    let asked_for_more = limiter.refused.map(|refused| match refused {
        Grown::Memory => format!("it asked for more memory than the limit of {} bytes", profile.memory_bytes),
        Grown::Table => format!("it asked for larger tables than the limit of {} elements", profile.table_elements),
    });
    match (trap, asked_for_more) {
        (Some(Trap::OutOfFuel), _) => Failure::Plugin(format!("it ran out of fuel, the limit is {}", profile.fuel)),
        (Some(Trap::StackOverflow), _) => Failure::Plugin(format!(
            "its calls nest deeper than the stack limit of {} bytes allows",
            profile.stack_bytes
        )),
        (_, Some(reason)) => Failure::Plugin(reason),
        (Some(Trap::UnreachableCodeReached), None) => {
            Failure::Plugin("it trapped: it reached code that must not be reached, as a panic does".to_owned())
        }
        (Some(trap), None) => Failure::Plugin(format!("it trapped: {trap}")),
        (None, None) if text.starts_with(TOO_MANY) => {
            let max = profile.core_instances;
            Failure::Plugin(format!("it has more core instances, tables or memories than the limit of {max}"))
        }
        (None, None) if text.contains(TOO_MUCH_TEXT) => Failure::Plugin(too_much(output_bytes)),
        (None, None) if stage == Stage::Call => {
            let breach = beginning(&text, REASON_BYTES_MAX);
            Failure::Plugin(format!("it handed back what the contract does not allow: {breach}"))
        }
        (None, None) => Failure::Host(format!("no instance: {error:#}")),
    }
}

pub(crate) fn too_much(output_bytes: usize) -> String {
    format!("it handed back more than the limit of {output_bytes} bytes")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn limiter() -> Limiter {
        Limiter { memory_bytes_left: 100, table_elements_left: 10, core_instances: 1, refused: None, host: None }
    }

    #[test]
    fn a_refusal_takes_nothing() {
        let mut limiter = limiter();
        assert!(!limiter.grants(Grown::Memory, 0, 101, None));
        assert!(!limiter.grants(Grown::Memory, 0, 50, Some(40)));
        assert!(limiter.grants(Grown::Memory, 0, 60, Some(60)));
        assert!(limiter.grants(Grown::Memory, 0, 40, None));
        assert!(!limiter.grants(Grown::Memory, 40, 41, None));
        assert!(limiter.grants(Grown::Table, 0, 10, None));
    }

    /// Else the guest would go on with another answer than on a host that has the memory.
    #[test]
    fn memory_that_the_host_cannot_give_ends_the_call() {
        let mut limiter = limiter();
        assert!(limiter.memory_growing(0, 100, None).unwrap());
        assert!(limiter.memory_grow_failed(Error::msg("out of memory")).is_err());
        assert_eq!(limiter.host.as_deref(), Some("no memory for an instance: out of memory"));
    }
}
