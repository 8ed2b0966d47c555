//! Every bound of the storage seam, by name.

use std::time::Duration;

/// A key, in bytes: what fjall takes.
pub const KEY_BYTES_MAX: usize = u16::MAX as usize;
/// Bytes of all batches handed to [`crate::LogWriter`] and not yet written; past it submitters wait.
pub const LOG_QUEUE_BYTES_MAX: usize = 64 << 20;
/// How long a batch that needs no sync waits for one that does.
pub const LOG_BUFFERED_INTERVAL: Duration = Duration::from_millis(100);
/// Bytes of all batches installed by the shards of one [`crate::StateWriter`] and not yet written; past it installs
/// wait.
pub const OVERLAY_BYTES_MAX: usize = 64 << 20;
/// Bytes installed since the last round of writing at which the next begins at once.
pub const OVERLAY_URGENT_BYTES: usize = OVERLAY_BYTES_MAX / 2;
/// What a row costs in memory beside its key and value: two handles of four words, their reference counts, and its
/// share of a tree node.
pub const ROW_OVERHEAD_BYTES: usize = 128;
/// How long what is installed waits for more before it is written. Long, because a large sorted batch finds its places
/// in the memtable in fewer cache misses: at 25,000 installs of six rows a second 500 ms cost a sixth less processor time
/// than 50 ms.
pub const WRITE_INTERVAL: Duration = Duration::from_millis(500);
/// How long what is written waits for a sync.
pub const SYNC_INTERVAL: Duration = Duration::from_secs(1);
/// Rows of the overlay that one step of a scan looks at.
pub const SCAN_STEP_ROWS: usize = 1_024;

/// Part of a disk that must be free for writes to be taken, in hundredths.
pub const DISK_FREE_PERCENT_MIN: u64 = 5;
/// What must be free on a small disk for writes to be taken, in bytes.
pub const DISK_FREE_BYTES_MIN: u64 = 1 << 30;
/// What is enough on a large one, in bytes: several times what a node still writes once it takes no more (records under
/// way, its overlay, journals and a compaction).
pub const DISK_FREE_BYTES_ENOUGH: u64 = 4 << 30;
/// How much more must be free before a disk that was nearly full takes writes again, in hundredths of what must be.
pub const DISK_SPARE_PERCENT: u64 = 10;
/// How often somebody looks how much room a disk has.
pub const DISK_LOOK_INTERVAL: Duration = Duration::from_secs(1);

/// Memory a keyspace of the state database fills before it goes to a file. Small, because there is one for each shard.
pub const STATE_MEMTABLE_BYTES: u64 = 16 << 20;
/// Bytes of one file of the state database.
pub const STATE_TABLE_BYTES: u64 = 16 << 20;
/// Memtables that have gone to files before they are merged with the first level, which holds as many files. All of both is
/// rewritten at once, while writes wait for the processor, so this is small.
pub const STATE_TABLES_UNMERGED: u8 = 2;
/// Memory the log fills before it goes to a file. Large, so that most entries are purged before they ever do.
pub const LOG_MEMTABLE_BYTES: u64 = 64 << 20;
/// Values of this size and more lie in blob files beside the tree.
pub const BLOB_BYTES_MIN: u32 = 1_024;
/// Values below this size are copied when they go from the overlay to the memtable, so that they keep no record alive.
pub const COPIED_BYTES_MAX: usize = BLOB_BYTES_MIN as usize;
/// Journal files of the state database, in bytes; past it the oldest keyspace is flushed.
pub const STATE_JOURNAL_BYTES_MAX: u64 = 512 << 20;
/// Journal files of the log database, in bytes.
pub const LOG_JOURNAL_BYTES_MAX: u64 = 512 << 20;
/// Blocks of the state database kept in memory, in bytes.
pub const STATE_CACHE_BYTES: u64 = 128 << 20;
/// Blocks of the log database kept in memory, in bytes: recent entries are never read from it.
pub const LOG_CACHE_BYTES: u64 = 8 << 20;

const _: () = assert!(OVERLAY_URGENT_BYTES < OVERLAY_BYTES_MAX);
// A tokio semaphore counts a request in 32 bits.
const _: () = assert!(LOG_QUEUE_BYTES_MAX <= u32::MAX as usize && OVERLAY_BYTES_MAX <= u32::MAX as usize);
// fjall refuses less.
const _: () = assert!(STATE_JOURNAL_BYTES_MAX >= 64 << 20 && LOG_JOURNAL_BYTES_MAX >= 64 << 20);
