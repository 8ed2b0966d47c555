//! What can go wrong in a store. Cloneable, because one failed write answers everybody whose rows were in it.

use std::io::ErrorKind;
use std::path::PathBuf;
use std::sync::Arc;

/// Why a store did not do what it was asked.
#[derive(Debug, Clone, thiserror::Error)]
pub enum Error {
    /// Another process has the folder open.
    #[error("the database in {} is in use by another process: stop that process or name another data folder", path.display())]
    Locked {
        /// The database's folder.
        path: PathBuf,
    },
    /// The database does not open. A log database is never repaired in place: the node is replaced.
    #[error("cannot open the database in {}", path.display())]
    Open {
        /// The database's folder.
        path: PathBuf,
        /// What fjall found.
        source: Arc<::fjall::Error>,
    },
    /// A keyspace cannot have this name.
    #[error("a keyspace name has 1 to 255 bytes, {name:?} has {}", name.len())]
    KeyspaceName {
        /// What was given.
        name: String,
    },
    /// A keyspace cannot be made, opened or deleted.
    #[error("cannot {action} the keyspace {keyspace}")]
    Keyspace {
        /// What was to be done: "open" or "delete".
        action: &'static str,
        /// The keyspace's name.
        keyspace: String,
        /// What fjall found.
        source: Arc<::fjall::Error>,
    },
    /// Rows cannot be read.
    #[error("cannot read from {keyspace}")]
    Read {
        /// The keyspace's name.
        keyspace: String,
        /// What fjall found.
        source: Arc<::fjall::Error>,
    },
    /// A batch was not written.
    #[error("cannot write {rows} rows of {bytes} bytes to {keyspace}")]
    Write {
        /// The keyspace's name.
        keyspace: String,
        /// Rows of the batch.
        rows: usize,
        /// Size of the batch in bytes.
        bytes: usize,
        /// What fjall found.
        source: Arc<::fjall::Error>,
    },
    /// Rows to be ingested do not come in order behind what is there.
    #[error("row {row} of {rows} to be ingested does not come behind what {keyspace} holds")]
    Order {
        /// The keyspace's name.
        keyspace: String,
        /// Which row, from 0 on.
        row: usize,
        /// How many there are.
        rows: usize,
    },
    /// What was written may not be on the disk.
    #[error("cannot sync the database in {}", path.display())]
    Sync {
        /// The database's folder.
        path: PathBuf,
        /// What fjall found.
        source: Arc<::fjall::Error>,
    },
    /// A simulated disk has no room.
    #[error("the simulated disk is full: cannot write {rows} rows of {bytes} bytes to {keyspace}")]
    Full {
        /// The keyspace's name.
        keyspace: String,
        /// Rows of the batch.
        rows: usize,
        /// Size of the batch in bytes.
        bytes: usize,
    },
    /// A simulated disk is broken.
    #[error("the simulated disk cannot {verb} {keyspace}")]
    Broken {
        /// What it was to do: "write" or "sync".
        verb: &'static str,
        /// What it was to do that with.
        keyspace: String,
    },
    /// A simulated machine has crashed since this handle was opened.
    #[error("the simulated machine has crashed since {keyspace} was opened")]
    Crashed {
        /// The keyspace's name.
        keyspace: String,
    },
    /// The writer or its shard is closed.
    #[error("{writer} is closed")]
    Closed {
        /// What is closed.
        writer: String,
    },
    /// The writer's thread has panicked, which is a fault of this program.
    #[error("{writer} has panicked")]
    Panicked {
        /// The writer.
        writer: &'static str,
    },
    /// The operating system gave the writer no thread.
    #[error("cannot start the thread of {writer}")]
    Thread {
        /// The writer.
        writer: &'static str,
        /// What the operating system said.
        source: Arc<std::io::Error>,
    },
}

impl Error {
    /// Whether a database does not open because of what is in its files: opening it again will not help. Not so when the
    /// operating system refuses something, or when the files are another version's.
    #[must_use]
    pub fn is_damage(&self) -> bool {
        let Self::Open { source, .. } = self else { return false };
        match &**source {
            ::fjall::Error::Io(error) | ::fjall::Error::Storage(::fjall::LsmError::Io(error)) => matches!(
                error.kind(),
                // A file that is there without what names it exists "already".
                ErrorKind::NotFound
                    | ErrorKind::AlreadyExists
                    | ErrorKind::UnexpectedEof
                    | ErrorKind::InvalidData
                    | ErrorKind::InvalidInput
            ),
            ::fjall::Error::InvalidVersion(Some(_)) => false,
            _ => true,
        }
    }
}
