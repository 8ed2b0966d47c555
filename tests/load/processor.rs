//! What processes have used of the processor, and time that goes by while they use it.

use std::time::Duration;

/// Processor time of a process since its start, its threads' and the kernel's for it.
pub(super) fn used(process: u32) -> Duration {
    let stat = std::fs::read_to_string(format!("/proc/{process}/stat")).expect("the process runs");
    // The name may hold spaces; what follows its closing bracket is fields 3 and on (proc(5)).
    let fields: Vec<&str> = stat.rsplit_once(')').expect("stat has a name").1.split_whitespace().collect();
    let ticks = |field: usize| fields[field - 3].parse::<u64>().expect("it is a number");
    // Linux shows 100 ticks a second on every architecture.
    Duration::from_millis((ticks(14) + ticks(15)) * 10)
}

/// The same of several.
pub(super) fn used_by(processes: &[u32]) -> Duration {
    processes.iter().map(|process| used(*process)).sum()
}

/// Lets time go by.
#[expect(clippy::disallowed_methods, reason = "what is measured is what happens meanwhile")]
pub(super) fn pause(time: Duration) {
    std::thread::sleep(time);
}
