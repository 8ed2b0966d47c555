//! `skerry import` and `skerry export`: collections as lines of JSON, one `{"key":…,"value":{…}}` each.

mod export;
mod import;
mod line;

use std::io;
use std::path::PathBuf;

use skerry_api::client;

pub(super) use self::export::Export;
pub(super) use self::import::Import;

/// Why an import or export did not come to its end.
#[derive(Debug, thiserror::Error)]
pub(super) enum Error {
    #[error(transparent)]
    Client(#[from] client::Error),
    #[error("cannot read {from}: {source}")]
    Read { from: String, source: io::Error },
    #[error("cannot write {}: {source}", .path.display())]
    Write { path: PathBuf, source: io::Error },
    #[error("{refused} of {lines} lines were not imported, see above; the others were")]
    Refused { refused: u64, lines: u64 },
    #[error("stopped at line {line} after {refused} bad lines; {imported} documents were imported")]
    TooManyRefused { line: u64, refused: u64, imported: u64 },
    #[error("stopped near line {line}, {imported} documents were imported: {source}")]
    Stopped { line: u64, imported: u64, source: client::Error },
    #[error("cannot write the output: {0}")]
    Output(#[source] io::Error),
}
