//! An edge for programs without a tokio runtime of their own: the same edge on threads that it brings along, and calls that
//! block until they are answered. Not for use within a runtime.

use std::io;

use skerry_api::bodies::SyncStatus;
use skerry_api::documents::{Address, Page, Read, Scan, WriteRequest, Written};
use skerry_model::CollectionName;
use tokio::runtime::{Builder, Runtime};

use crate::changes::{Changes, Heard};
use crate::edge::{self, EdgeOptions, OpenError};
use crate::limits::BLOCKING_THREADS;
use crate::owner::Stopped;
use crate::replica::{Answer, Progress};
use crate::sync;

/// A running edge.
pub struct Edge {
    runtime: Runtime,
    edge: edge::Edge,
}

/// Documents that change, one after the other; ends when the edge has stopped.
pub struct ChangesIter<'e> {
    edge: &'e Edge,
    changes: Changes,
}

/// Why an edge does not open.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// No threads.
    #[error("cannot start the edge's threads: {0}")]
    Threads(#[from] io::Error),
    /// The edge.
    #[error(transparent)]
    Open(#[from] OpenError),
}

impl Edge {
    /// Opens the folder and begins to sync, as [`edge::Edge::open`].
    ///
    /// # Errors
    /// [`Error`].
    pub fn open(options: EdgeOptions) -> Result<Self, Error> {
        let runtime = Builder::new_multi_thread().worker_threads(BLOCKING_THREADS).enable_all().build()?;
        let edge = runtime.block_on(edge::Edge::open(options))?;
        Ok(Self { runtime, edge })
    }

    /// The edge itself, for what has no blocking form here.
    #[must_use]
    pub fn inner(&self) -> &edge::Edge {
        &self.edge
    }

    /// As [`edge::Edge::get`].
    ///
    /// # Errors
    /// A [`skerry_api::problem::Problem`].
    pub fn get(&self, at: Address) -> Answer<Read> {
        self.runtime.block_on(self.edge.get(at))
    }

    /// As [`edge::Edge::write`].
    ///
    /// # Errors
    /// A [`skerry_api::problem::Problem`].
    pub fn write(&self, at: Address, request: WriteRequest) -> Answer<Written> {
        self.runtime.block_on(self.edge.write(at, request))
    }

    /// As [`edge::Edge::scan`].
    ///
    /// # Errors
    /// A [`skerry_api::problem::Problem`].
    pub fn scan(&self, collection: CollectionName, scan: Scan) -> Answer<Page> {
        self.runtime.block_on(self.edge.scan(collection, scan))
    }

    /// As [`edge::Edge::progress`].
    ///
    /// # Errors
    /// A [`skerry_api::problem::Problem`].
    pub fn progress(&self, at: Address) -> Answer<Progress> {
        self.runtime.block_on(self.edge.progress(at))
    }

    /// As [`edge::Edge::sync_now`].
    ///
    /// # Errors
    /// [`sync::Error`].
    pub fn sync_now(&self) -> Result<SyncStatus, sync::Error> {
        self.runtime.block_on(self.edge.sync_now())
    }

    /// Documents that change from now on; waits for each.
    #[must_use]
    pub fn changes(&self) -> ChangesIter<'_> {
        ChangesIter { edge: self, changes: self.edge.changes() }
    }

    /// As [`edge::Edge::close`].
    ///
    /// # Errors
    /// [`Stopped`].
    pub fn close(self) -> Result<(), Stopped> {
        self.runtime.block_on(self.edge.close())
    }
}

impl Iterator for ChangesIter<'_> {
    type Item = Heard;

    fn next(&mut self) -> Option<Heard> {
        self.edge.runtime.block_on(self.changes.next())
    }
}
