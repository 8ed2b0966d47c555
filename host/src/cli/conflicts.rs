//! `skerry conflicts`: where concurrent writes met, and what readers see there.

use std::collections::BTreeMap;
use std::fmt::Write;
use std::pin::pin;

use clap::{Args, Subcommand};
use futures::{StreamExt, TryStreamExt, future};
use serde::Serialize;
use serde_json::Value;
use skerry_api::bodies;
use skerry_api::cli::{Error, Output, Table, patiently, plain, utc};
use skerry_api::client::Client;
use skerry_api::documents::{self, Address, Consistency, ETag, SCAN_LIMIT_MAX};
use skerry_model::policy::Choice;
use skerry_model::{CollectionName, DocumentKey};

/// Conflicts
#[derive(Debug, Clone, Subcommand)]
pub(super) enum Conflicts {
    /// List the documents with open conflicts
    #[command(after_help = "Example:\n  skerry conflicts list stock")]
    List {
        /// The collection
        collection: CollectionName,
    },
    /// Show the open conflicts of a document: who wrote what, and what readers see
    #[command(after_help = "Example:\n  skerry conflicts show stock lantern")]
    Show {
        /// The collection
        collection: CollectionName,
        /// The document's key
        key: DocumentKey,
    },
    /// End open conflicts of a document by hand: all of them as readers see them now, or one as you say
    #[command(after_help = "Example:\n  skerry conflicts settle stock lantern --at /remaining --value 3")]
    Settle(Settle),
}

/// How conflicts end.
#[derive(Debug, Clone, Args)]
pub(super) struct Settle {
    /// The collection
    collection: CollectionName,
    /// The document's key
    key: DocumentKey,
    /// Only the conflict at this JSON Pointer
    #[arg(long, value_name = "POINTER")]
    at: Option<String>,
    /// With the value written by this candidate, counted from 0 in the order of `conflicts show`
    #[arg(long, requires = "at", conflicts_with_all = ["value", "remove"], value_name = "N")]
    candidate: Option<u32>,
    /// With this value
    #[arg(long, requires = "at", conflicts_with = "remove", value_name = "JSON", value_parser = json)]
    value: Option<Value>,
    /// With no value: the field or item goes
    #[arg(long, requires = "at")]
    remove: bool,
}

fn json(text: &str) -> Result<Value, String> {
    let quoted = |error| format!("{error}; a string stands in quotes: '{}'", Value::from(text));
    serde_json::from_str(text).map_err(quoted)
}

/// A line of the list.
#[derive(Serialize)]
struct Line {
    key: DocumentKey,
    conflicts: u32,
    etag: ETag,
}

impl Conflicts {
    pub(super) async fn run(&self, client: &Client, output: Output) -> Result<(), Error> {
        match self {
            Self::List { collection } => list(client, collection, output).await,
            Self::Show { collection, key } => {
                let at = Address { collection: collection.clone(), key: key.clone() };
                let found = patiently("reading", client.conflicts(&at, Consistency::Linearizable)).await?;
                Ok(output.show(&found, show)?)
            }
            Self::Settle(settle) => settle.run(client, output).await,
        }
    }
}

/// What was settled.
#[derive(Serialize)]
struct Settled {
    settled: Vec<String>,
    etag: Option<ETag>,
}

impl Settle {
    async fn run(&self, client: &Client, output: Output) -> Result<(), Error> {
        let at = Address { collection: self.collection.clone(), key: self.key.clone() };
        let found = patiently("reading", client.conflicts(&at, Consistency::Linearizable)).await?;
        let wanted = |open: &&documents::OpenConflict| self.at.as_ref().is_none_or(|at| *at == open.conflict.path);
        let mut settle: BTreeMap<_, _> = found
            .conflicts
            .iter()
            .filter(wanted)
            .map(|open| (open.conflict.path.clone(), self.choice(open.shown.as_ref())))
            .collect();
        // Where nothing is open the node says so.
        if settle.is_empty() {
            settle.extend(self.at.iter().map(|at| (at.clone(), self.choice(None))));
        }
        if settle.is_empty() {
            output.note(&format!("no conflict is open in {}/{}", self.collection, self.key));
            return Ok(());
        }
        let settled = settle.keys().cloned().collect();
        let written = patiently("settling", client.settle(&at, &bodies::Settle { settle }, found.etag)).await?;
        let done = Settled { settled, etag: written.stamp.map(|stamp| stamp.etag) };
        Ok(output.show(&done, |done| format!("settled {}", done.settled.join(", ")))?)
    }

    /// As the arguments say, or as readers see it.
    fn choice(&self, shown: Option<&Value>) -> Choice {
        match (self.candidate, &self.value, self.remove) {
            (Some(candidate), _, _) => Choice::Candidate(candidate),
            (None, Some(value), _) => Choice::Value(value.clone()),
            (None, None, true) => Choice::Remove,
            (None, None, false) => shown.map_or(Choice::Remove, |shown| Choice::Value(shown.clone())),
        }
    }
}

/// Prints as it goes: a collection may have any number.
async fn list(client: &Client, collection: &CollectionName, output: Output) -> Result<(), Error> {
    let all = client.scan_all(collection, "", Consistency::Linearizable);
    let open = all.try_filter(|listed| future::ready(listed.conflicts > 0));
    let mut chunks = pin!(open.try_chunks(SCAN_LIMIT_MAX as usize));
    let mut table = Table::new(&["KEY", "CONFLICTS"]);
    let mut found = 0;
    while let Some(chunk) = patiently("looking for open conflicts", chunks.next()).await {
        for listed in chunk.map_err(|error| error.1)? {
            found += 1;
            let line = Line { key: listed.key, conflicts: listed.conflicts, etag: listed.etag };
            if output.is_json() {
                output.show(&line, |_| String::new())?;
            } else {
                table.row([&line.key, &line.conflicts]);
            }
        }
        if !output.is_json() {
            output.line(&std::mem::take(&mut table).to_string())?;
        }
    }
    if found == 0 {
        output.note(&format!("no document of {collection} has an open conflict"));
    }
    Ok(())
}

fn show(conflicts: &documents::Conflicts) -> String {
    let mut text = format!("policy {}, version {}", plain(&conflicts.policy), conflicts.etag.0);
    let mut add = |line: String| write!(text, "\n{line}").expect("a string takes every line");
    if let Some(reason) = &conflicts.fallback {
        add(format!("the policy's plugin did not choose: {}", plain(reason)));
    }
    if conflicts.conflicts.is_empty() {
        add("no open conflicts".to_owned());
    }
    for open in &conflicts.conflicts {
        add(format!("\n{}", plain(&open.conflict.path)));
        let mut table = Table::default();
        if let Some(ancestor) = &open.conflict.ancestor {
            table.row([&"  before", &ancestor]);
        }
        for candidate in &open.conflict.candidates {
            let by = format!("by {} at {}", candidate.origin, utc(candidate.time));
            table.row([&"  written", &candidate.value, &by]);
        }
        match &open.shown {
            Some(shown) => table.row([&"  shown", &shown]),
            None => table.row([&"  shown", &"(left out)"]),
        }
        add(table.to_string());
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn conflicts_read_like_this() {
        let conflicts: documents::Conflicts = serde_json::from_value(serde_json::json!({
            "policy": "plugin:stock", "fallback": "fuel ran out", "etag": "t.1", "conflicts": [{
                "path": "/remaining", "ancestor": 10, "shown": 8, "candidates": [
                    { "value": 8, "origin": "shop-a", "sequence": 1, "time": 0 },
                    { "value": 9, "origin": "shop-b", "sequence": 4, "time": 1000 },
                ],
            }],
        }))
        .unwrap();
        let expected = "\
policy plugin:stock, version t.1
the policy's plugin did not choose: fuel ran out

/remaining
  before   10
  written  8   by shop-a at 1970-01-01T00:00:00.000Z
  written  9   by shop-b at 1970-01-01T00:00:01.000Z
  shown    8";
        assert_eq!(show(&conflicts), expected);
    }
}
