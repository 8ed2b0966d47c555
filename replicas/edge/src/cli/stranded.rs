//! `skerry-edge stranded`: what the core refused, shown to a person, who decides.

use std::fs::File;
use std::io::{self, BufWriter};
use std::path::PathBuf;
use std::pin::pin;

use clap::{Args, Subcommand};
use futures::stream::{self, Stream, TryStreamExt};
use serde::Serialize;
use skerry_api::bodies::{StrandedAction, StrandedOutcome, StrandedWork, Wanted};
use skerry_api::cli::{Output, Table, patiently, plain, utc};
use skerry_api::client::{self, Client};

use super::Error;
use crate::limits::STRANDED_PAGE_MAX;

/// Work that the core refused: it waits here until a person has decided.
#[derive(Debug, Subcommand)]
pub(super) enum Stranded {
    /// List it, with the reasons
    List,
    /// Show one piece of it whole
    #[command(after_help = "Example:\n  skerry-edge stranded show 0.17")]
    Show {
        /// Its id, as `list` shows it
        id: String,
    },
    /// Write all of it out, a line of JSON for each
    Export {
        /// A new file, instead of the standard output
        #[arg(long, value_name = "FILE")]
        out: Option<PathBuf>,
    },
    /// Make it again, as a write of now on the document as it is now
    Retry(Which),
    /// Give it up for good
    Discard(Which),
}

#[derive(Debug, Args)]
pub(super) struct Which {
    /// Ids, as `list` shows them
    #[arg(required_unless_present = "all", conflicts_with = "all")]
    ids: Vec<String>,
    /// All of it
    #[arg(long)]
    all: bool,
}

/// What became of each.
#[derive(Serialize)]
struct Done {
    id: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    outcome: Option<StrandedOutcome>,
    #[serde(skip_serializing_if = "Option::is_none")]
    refused: Option<String>,
}

impl Stranded {
    pub(super) async fn run(&self, client: &Client, output: Output) -> Result<(), Error> {
        match self {
            Self::List => list(client, output).await,
            Self::Show { id } => {
                let work = client.stranded_one(id).await?;
                Ok(output.show(&work, show)?)
            }
            Self::Export { out: None } => export(client, &mut io::stdout().lock()).await.map(|_| ()),
            Self::Export { out: Some(path) } => {
                let file = File::create_new(path).map_err(|source| Error::Export { path: path.clone(), source })?;
                let mut file = BufWriter::new(file);
                let written = export(client, &mut file).await?;
                file.into_inner().map_err(io::IntoInnerError::into_error)?.sync_all()?;
                output.note(&format!("{written} written to {}", path.display()));
                Ok(())
            }
            Self::Retry(which) => which.each(client, output, StrandedAction::Retry).await,
            Self::Discard(which) => which.each(client, output, StrandedAction::Discard).await,
        }
    }
}

/// Page after page of it.
fn pages<'a>(
    client: &'a Client,
    doing: &'static str,
) -> impl Stream<Item = Result<Vec<StrandedWork>, client::Error>> + 'a {
    stream::try_unfold(Some(None::<String>), move |at| async move {
        let Some(after) = at else { return Ok(None) };
        let page = patiently(doing, client.stranded(after.as_deref(), STRANDED_PAGE_MAX)).await?;
        Ok(Some((page.stranded, page.after.map(Some))))
    })
}

async fn list(client: &Client, output: Output) -> Result<(), Error> {
    let mut pages = pin!(pages(client, "reading"));
    let mut found = 0;
    while let Some(page) = pages.try_next().await? {
        found += page.len();
        if output.is_json() {
            page.iter().try_for_each(|work| output.show(work, |_| String::new()))?;
        } else if !page.is_empty() {
            let mut table = Table::new(&["ID", "DOCUMENT", "WRITTEN", "WANTED", "REFUSED"]);
            for work in &page {
                let (wanted, _) = wanted(&work.wanted);
                table.row([&work.id, &document(work), &utc(work.time), &wanted, &plain(&work.detail)]);
            }
            output.line(&table.to_string())?;
        }
    }
    if found == 0 {
        output.note("nothing is stranded");
    }
    Ok(())
}

/// Writes all of it out, and says how many lines that were.
async fn export(client: &Client, out: &mut impl io::Write) -> Result<usize, Error> {
    let mut pages = pin!(pages(client, "exporting"));
    let mut written = 0;
    while let Some(page) = pages.try_next().await? {
        for work in &page {
            serde_json::to_writer(&mut *out, work).map_err(io::Error::from)?;
            writeln!(out)?;
        }
        written += page.len();
    }
    Ok(written)
}

impl Which {
    async fn each(&self, client: &Client, output: Output, action: fn(String) -> StrandedAction) -> Result<(), Error> {
        // What is made again may be refused again at once, under another id: that is not tried a second time.
        let ids = if self.all { all(client).await? } else { self.ids.clone() };
        let mut refused = 0;
        for id in ids {
            refused += usize::from(!decide(client, output, action(id.clone()), &id).await?);
        }
        if refused > 0 { Err(Error::Stranded { refused }) } else { Ok(()) }
    }
}

/// The ids of all of it.
async fn all(client: &Client) -> Result<Vec<String>, Error> {
    let ids = pages(client, "reading").map_ok(|page| page.into_iter().map(|work| work.id).collect::<Vec<_>>());
    Ok(ids.try_concat().await?)
}

/// `false` when the edge refuses that for this one.
async fn decide(client: &Client, output: Output, action: StrandedAction, id: &str) -> Result<bool, Error> {
    let done = match patiently("deciding", client.decide_stranded(&action)).await {
        Ok(done) => Done { id: done.id, outcome: Some(done.outcome), refused: None },
        Err(error) => match error.problem() {
            Some(problem) => Done { id: id.to_owned(), outcome: None, refused: Some(problem.detail.clone()) },
            None => return Err(error.into()),
        },
    };
    output.show(&done, |done| {
        let became = match (&done.refused, done.outcome) {
            (Some(reason), _) => format!("stays: {}", plain(reason)),
            (None, Some(StrandedOutcome::MadeAgain)) => "made again, and waits for the core".to_owned(),
            (None, Some(StrandedOutcome::Moot)) => "is as the document reads already".to_owned(),
            (None, Some(StrandedOutcome::Discarded) | None) => "given up".to_owned(),
        };
        format!("{}  {became}", done.id)
    })?;
    Ok(done.refused.is_none())
}

fn document(work: &StrandedWork) -> String {
    match &work.collection {
        Some(collection) => format!("{collection}/{}", work.key),
        None => format!("(gone)/{}", work.key),
    }
}

fn wanted(wanted: &Wanted) -> (&'static str, Option<&serde_json::Value>) {
    match wanted {
        Wanted::Put(document) => ("put", Some(document)),
        Wanted::Patch(patch) => ("patch", Some(patch)),
        Wanted::Delete => ("delete", None),
        Wanted::Operation(operation) => ("operation", Some(operation)),
        Wanted::Settle(settlement) => ("settle", Some(settlement)),
    }
}

fn show(work: &StrandedWork) -> String {
    let mut table = Table::default();
    table.row([&"id", &work.id]);
    table.row([&"document", &document(work)]);
    table.row([&"written", &utc(work.time)]);
    let (verb, value) = wanted(&work.wanted);
    table.row([&"wanted", &value.map_or_else(|| verb.to_owned(), |value| format!("{verb} {value}"))]);
    table.row([&"refused", &format!("{} ({})", plain(&work.detail), plain(&work.kind))]);
    table.to_string()
}
