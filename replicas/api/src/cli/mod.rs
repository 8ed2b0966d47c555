//! What the command lines of core and edge have in common: how they find a node, how they print, and the document
//! commands.

mod documents;
mod output;

use std::io;
use std::path::PathBuf;

use clap::Args;
use skerry_model::document;

pub use self::documents::{Delete, Get, Put, Scan};
pub use self::output::{Output, Table, fail, patiently, plain, utc};
use crate::client::{self, Client};
use crate::problem::Problem;

/// Which node a command talks to, and how it prints.
#[derive(Debug, Clone, Args)]
pub struct Remote {
    /// URL of the node; several, separated by commas, are tried in turn
    #[arg(long, env = "SKERRY_URL", global = true, value_delimiter = ',', value_name = "URL")]
    pub url: Vec<String>,
    /// Token to authenticate with
    #[arg(long, env = "SKERRY_TOKEN", global = true, hide_env_values = true)]
    pub token: Option<String>,
    /// Print JSON instead of text for people
    #[arg(long, global = true)]
    pub json: bool,
}

impl Remote {
    /// The URLs given, or this one.
    #[must_use]
    pub fn urls(&self, default: &str) -> Vec<String> {
        if self.url.is_empty() { vec![default.to_owned()] } else { self.url.clone() }
    }

    /// A client of the node, which repeats what a busy node provably did not do.
    ///
    /// # Errors
    /// [`client::Error`].
    pub fn client(&self, default_url: &str) -> Result<Client, client::Error> {
        Ok(Client::new(&self.urls(default_url), self.token.as_deref())?.with_retries())
    }

    /// How to print.
    #[must_use]
    pub fn output(&self) -> Output {
        Output::new(self.json)
    }
}

/// Why a document command failed.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The node.
    #[error(transparent)]
    Client(#[from] client::Error),
    /// Something that should be read.
    #[error("cannot read {what}: {source}")]
    Read {
        /// A file, or standard input.
        what: String,
        /// Why.
        source: io::Error,
    },
    /// More than can be sent.
    #[error("{what} is larger than {max} bytes, the limit")]
    TooLarge {
        /// A file, or standard input.
        what: String,
        /// The limit.
        max: usize,
    },
    /// Not a document.
    #[error(transparent)]
    Document(#[from] document::Error),
    /// A document without a URL for clients of Automerge.
    #[error(
        "no URL for clients of Automerge: core nodes alone give one, for documents of lww, json and resolvers; this one is {policy}"
    )]
    NotAutomerge {
        /// The policy of its collection.
        policy: String,
    },
    /// Standard output, or a file, does not take what is printed.
    #[error("cannot write the output: {0}")]
    Output(#[from] io::Error),
}

impl Error {
    /// What the node answered, when it did.
    #[must_use]
    pub fn problem(&self) -> Option<&Problem> {
        match self {
            Self::Client(error) => error.problem(),
            _ => None,
        }
    }
}

/// Where a document on the command line comes from: `@FILE`, `-` for standard input, or the text itself.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Source {
    /// The text.
    Text(String),
    /// A file.
    File(PathBuf),
    /// Standard input.
    Stdin,
}

impl From<String> for Source {
    fn from(argument: String) -> Self {
        match argument.strip_prefix('@') {
            Some(file) => Self::File(file.into()),
            None if argument == "-" => Self::Stdin,
            None => Self::Text(argument),
        }
    }
}

impl Source {
    /// The bytes, as far as the limit.
    ///
    /// # Errors
    /// [`Error::Read`] and [`Error::TooLarge`].
    pub fn read(&self, max: usize) -> Result<Vec<u8>, Error> {
        let (what, bytes) = match self {
            Self::Text(text) => ("the argument".to_owned(), Ok(text.clone().into_bytes())),
            Self::File(path) => {
                (path.display().to_string(), std::fs::File::open(path).and_then(|file| read_up_to(file, max)))
            }
            Self::Stdin => ("standard input".to_owned(), read_up_to(io::stdin().lock(), max)),
        };
        match bytes {
            Ok(bytes) if bytes.len() > max => Err(Error::TooLarge { what, max }),
            Ok(bytes) => Ok(bytes),
            Err(source) => Err(Error::Read { what, source }),
        }
    }
}

/// One byte more than `max` at most, to tell that there is more.
fn read_up_to(reader: impl io::Read, max: usize) -> io::Result<Vec<u8>> {
    let mut bytes = Vec::new();
    io::Read::read_to_end(&mut io::Read::take(reader, max as u64 + 1), &mut bytes)?;
    Ok(bytes)
}
