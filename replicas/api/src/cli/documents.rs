//! `get`, `put`, `delete` and `scan`, the same on core and edge.

use std::pin::pin;

use clap::Args;
use futures::{StreamExt, TryStreamExt};
use serde::Serialize;
use serde_json::{Map, Value};
use skerry_model::{CollectionName, DocumentKey, document};

use super::output::{Output, Table, patiently, plain};
use super::{Error, Source};
use crate::client::Client;
use crate::documents::{
    Address, Change, Conditions, Consistency, ETag, Listed, Match, SCAN_LIMIT_DEFAULT, SCAN_LIMIT_MAX, Written,
};
use crate::limits::DOCUMENT_BODY_BYTES_MAX;

/// Characters of a document that a scan shows to people.
const EXCERPT_CHARS_MAX: usize = 100;

/// A document's place.
#[derive(Debug, Clone, Args)]
struct At {
    /// The collection
    collection: CollectionName,
    /// The document's key
    key: DocumentKey,
}

impl At {
    fn address(&self) -> Address {
        Address { collection: self.collection.clone(), key: self.key.clone() }
    }
}

/// Print a document
#[derive(Debug, Clone, Args)]
pub struct Get {
    #[command(flatten)]
    at: At,
    /// Read what the node itself has applied, which may be older than the newest
    #[arg(long)]
    local: bool,
    /// Print the version's ETag instead of the document
    #[arg(long)]
    etag: bool,
    /// Print the URL under which clients of Automerge open the document, instead of it
    #[arg(long, conflicts_with = "etag")]
    automerge_url: bool,
}

impl Get {
    /// Runs the command.
    ///
    /// # Errors
    /// [`Error`].
    pub async fn run(&self, client: &Client, output: Output) -> Result<(), Error> {
        let read = patiently("reading", client.get(&self.at.address(), consistency(self.local))).await?;
        if self.etag {
            return Ok(output.line(&read.stamp.etag.0)?);
        }
        if self.automerge_url {
            let id = read.stamp.automerge.ok_or_else(|| Error::NotAutomerge { policy: plain(&read.stamp.policy) })?;
            return Ok(output.line(&id.url())?);
        }
        output.show(&read.view.object()?, pretty)?;
        if read.conflicts > 0 {
            output.note(&format!("open conflicts: {} (policy {})", read.conflicts, plain(&read.stamp.policy)));
        }
        if let Some(reason) = read.fallback {
            output.note(&format!("the policy's plugin did not choose: {}", plain(&reason)));
        }
        Ok(())
    }
}

/// Write a document
#[derive(Debug, Clone, Args)]
pub struct Put {
    #[command(flatten)]
    at: At,
    /// The document as JSON, @FILE, or - for standard input
    #[arg(value_name = "JSON")]
    document: Source,
    /// Change only the fields that are given (a JSON merge patch, RFC 7396; null removes)
    #[arg(long)]
    patch: bool,
    /// Write only if the document is at this version; * for any
    #[arg(long, value_name = "ETAG")]
    if_match: Option<String>,
    /// Write only if the document is not at this version; * to create and never replace
    #[arg(long, value_name = "ETAG")]
    if_none_match: Option<String>,
}

impl Put {
    /// Runs the command.
    ///
    /// # Errors
    /// [`Error`].
    pub async fn run(&self, client: &Client, output: Output) -> Result<(), Error> {
        let document = document::parse(&self.document.read(DOCUMENT_BODY_BYTES_MAX)?)?;
        let conditions = Conditions {
            if_match: self.if_match.as_deref().map(versions),
            if_none_match: self.if_none_match.as_deref().map(versions),
        };
        let at = self.at.address();
        let written = if self.patch {
            patiently("writing", client.patch(&at, &document, &conditions)).await?
        } else {
            patiently("writing", client.put(&at, &document, &conditions)).await?
        };
        show_written(&written, &at, output)
    }
}

/// Delete a document
#[derive(Debug, Clone, Args)]
pub struct Delete {
    #[command(flatten)]
    at: At,
    /// Delete only if the document is at this version; * for any
    #[arg(long, value_name = "ETAG")]
    if_match: Option<String>,
}

impl Delete {
    /// Runs the command.
    ///
    /// # Errors
    /// [`Error`].
    pub async fn run(&self, client: &Client, output: Output) -> Result<(), Error> {
        let conditions = Conditions { if_match: self.if_match.as_deref().map(versions), if_none_match: None };
        let at = self.at.address();
        let written = patiently("deleting", client.delete(&at, &conditions)).await?;
        show_written(&written, &at, output)
    }
}

/// List the documents of a collection, in the order of their keys
#[derive(Debug, Clone, Args)]
pub struct Scan {
    /// The collection
    collection: CollectionName,
    /// List only keys that begin with this
    #[arg(long, default_value = "")]
    prefix: String,
    /// List at most this many
    #[arg(long, default_value_t = SCAN_LIMIT_DEFAULT, value_name = "N")]
    limit: u32,
    /// List all, however many
    #[arg(long, conflicts_with = "limit")]
    all: bool,
    /// Read what the node itself has applied, which may be older than the newest
    #[arg(long)]
    local: bool,
}

/// A line of a scan.
#[derive(Serialize)]
struct Line<'a> {
    key: &'a DocumentKey,
    etag: &'a ETag,
    conflicts: u32,
    value: &'a Map<String, Value>,
}

impl Scan {
    /// Runs the command. Prints as it goes, and holds one page.
    ///
    /// # Errors
    /// [`Error`].
    pub async fn run(&self, client: &Client, output: Output) -> Result<(), Error> {
        let found = client.scan_all(&self.collection, &self.prefix, consistency(self.local));
        let limit = if self.all { usize::MAX } else { self.limit as usize };
        let mut pages = pin!(found.take(limit.saturating_add(1)).try_chunks(SCAN_LIMIT_MAX as usize));
        let mut shown = 0;
        while let Some(page) = patiently("listing", pages.next()).await {
            let page = page.map_err(|error| error.1)?;
            let listed = &page[..page.len().min(limit - shown)];
            self.show(listed, shown == 0, output)?;
            shown += listed.len();
            if listed.len() < page.len() {
                output.note(&format!("there are more than {limit}: see them with --all, or --limit"));
            }
        }
        Ok(())
    }

    fn show(&self, page: &[Listed], first: bool, output: Output) -> Result<(), Error> {
        let mut table = if first { Table::new(&["KEY", "CONFLICTS", "DOCUMENT"]) } else { Table::default() };
        for Listed { key, etag, conflicts, view } in page {
            if output.is_json() {
                output.show(&Line { key, etag, conflicts: *conflicts, value: &view.object()? }, |_| String::new())?;
            } else {
                table.row([key, &open(*conflicts), &excerpt(&String::from_utf8_lossy(view.bytes()))]);
            }
        }
        if !output.is_json() && !page.is_empty() {
            output.line(&table.to_string())?;
        }
        Ok(())
    }
}

fn consistency(local: bool) -> Consistency {
    if local { Consistency::Local } else { Consistency::Linearizable }
}

/// What a condition names; quotes around an ETag are as good as none.
fn versions(text: &str) -> Match {
    match text {
        "*" => Match::Any,
        tag => Match::Tags(vec![ETag(tag.trim_matches('"').to_owned())]),
    }
}

fn show_written(written: &Written, at: &Address, output: Output) -> Result<(), Error> {
    let change = match written.change {
        Change::Created => "created",
        Change::Updated => "updated",
        Change::Unchanged => "unchanged",
        Change::Deleted => "deleted",
    };
    let version = written.stamp.as_ref().map(|stamp| format!(" at version {}", stamp.etag.0)).unwrap_or_default();
    let for_people = format!("{change} {}/{}{version}", at.collection, plain(at.key.as_str()));
    Ok(output.show(written, |_| for_people)?)
}

fn pretty(document: &Map<String, Value>) -> String {
    serde_json::to_string_pretty(document).expect("JSON that was read can be written")
}

fn open(conflicts: u32) -> String {
    if conflicts == 0 { String::new() } else { conflicts.to_string() }
}

fn excerpt(text: &str) -> String {
    match text.char_indices().nth(EXCERPT_CHARS_MAX) {
        Some((end, _)) => format!("{}…", &text[..end]),
        None => text.to_owned(),
    }
}
