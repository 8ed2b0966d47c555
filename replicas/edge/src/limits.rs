//! Every bound of an edge, by name.

use std::time::Duration;

use skerry_channel::limits::{CHANGE_BYTES_MAX, PULL_WAIT_MS_MAX};

/// Changes that wait in the outbox for the core, in bytes with their operations; past it writes get 429.
pub const OUTBOX_BYTES_MAX: usize = 256 << 20;
/// Commands that wait for the owner of the replica; past it writes get 429.
pub const QUEUE_COMMANDS_MAX: usize = 1_024;
/// Commands that share one commit.
pub const GROUP_COMMANDS_MAX: usize = 256;
/// Rows and values staged for one commit at which no further command joins it, in bytes.
pub const GROUP_BYTES_TARGET: usize = 8 << 20;
/// Merge documents kept in memory, in bytes.
pub const LIVE_DOCUMENTS_BYTES_MAX: u64 = 64 << 20;
/// About how many live documents that is; only sizes tables.
pub const LIVE_DOCUMENTS_ESTIMATE: usize = 4_096;
/// Rows of a table read at once where all of a range is wanted.
pub const SCAN_STEP_ROWS: usize = 512;
/// Contents of such a step, in bytes; the last row may pass it.
pub const SCAN_STEP_BYTES: usize = 4 << 20;
/// Views computed anew, and rows of a vanished collection removed, in one round of upkeep.
pub const UPKEEP_STEPS_MAX: usize = 64;
/// Bodies of requests to an edge's own routes, which have none to speak of; the document routes have their own limit.
pub const SYNC_BODY_BYTES_MAX: usize = 64 << 10;
/// A plugin component as it is fetched from the core.
pub const COMPONENT_BYTES_MAX: usize = skerry_model::limits::PLUGIN_BYTES_MAX;
/// Plugins of which it is remembered that they do not compile here.
pub const PLUGIN_FAILURES_MAX: usize = 32;
/// How long a pull asks the core to wait for news, in milliseconds.
pub const PULL_WAIT_MS: u32 = 25_000;
/// How long an exchange with the core may take beside the waiting it asks for.
pub const EXCHANGE_TIMEOUT: Duration = Duration::from_secs(20);
/// How long connecting to the core may take.
pub const CONNECT_TIMEOUT: Duration = Duration::from_secs(3);
/// The first pause after the core could not be reached; each further one is twice as long, with jitter.
pub const RETRY_DELAY_MIN: Duration = Duration::from_millis(200);
/// The longest such pause.
pub const RETRY_DELAY_MAX: Duration = Duration::from_secs(5);
/// How long a sync that somebody asked for may take as a whole.
pub const SYNC_NOW_TIMEOUT: Duration = Duration::from_secs(120);
/// How long requests under way have to finish when the process is asked to stop.
pub const SHUTDOWN_TIMEOUT: Duration = Duration::from_secs(5);
/// Base URLs of the core that an edge may be given.
pub const CORE_URLS_MAX: usize = 16;

const _: () = assert!(PULL_WAIT_MS <= PULL_WAIT_MS_MAX);
const _: () = assert!(OUTBOX_BYTES_MAX > CHANGE_BYTES_MAX);
/// Of the views that plugins have decided, one of so many is computed again; all of them in builds for development.
pub const AUDIT_ONE_IN: u64 = if cfg!(debug_assertions) { 1 } else { 100 };

/// Refused changes that a page lists unless the client asks for another number.
pub const STRANDED_PAGE_DEFAULT: usize = 100;
/// The same at most.
pub const STRANDED_PAGE_MAX: usize = 1_000;
/// What a document has seen, in bytes, up to which a tag carries it; two changes that nothing builds on take some 80.
pub const TAG_SEEN_BYTES_MAX: usize = 200;
/// Rows of refused changes on one page, in bytes; the page ends with the one that passes it.
pub const STRANDED_PAGE_BYTES: usize = 4 << 20;

/// How long an acknowledged change is kept in case the core is restored to a moment before it, in milliseconds of the
/// core's clock: a day.
pub const KEPT_MS: u64 = 24 * 60 * 60 * 1000;
/// Rows of such changes, in bytes; past it the oldest go sooner.
pub const KEPT_BYTES_MAX: u64 = 256 << 20;
/// Lines of history that an edge remembers to have left.
pub const LEFT_TIMELINES_MAX: usize = 64;
/// How soon after one fork another means that two copies of a folder are at work, in milliseconds: an hour.
pub const FORKS_WITHIN_MS: u64 = 60 * 60 * 1000;
/// Changed documents that wait for a listener who does not keep up; past it that one is told how many it has missed.
pub const CHANGES_MAX: usize = 4_096;
/// Worker threads of an edge that brings its own.
pub const BLOCKING_THREADS: usize = 2;
/// The pause before a copy is asked for again of a node that cannot go on with it yet.
pub const COPY_PAUSE: Duration = Duration::from_millis(100);
/// Deltas of one document that are kept as they came, and not merged before somebody needs it.
pub const DELTAS_APART_MAX: usize = 32;
/// The bytes of these.
pub const DELTAS_APART_BYTES_MAX: usize = 64 << 10;
/// What the core's clock and this edge's may differ more or less than before without being stored again, in milliseconds.
pub const CLOCK_OFFSET_STEP_MS: u64 = 20;
