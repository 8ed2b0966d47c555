//! `skerry export`.

use std::fs::File;
use std::io::{BufWriter, Write};
use std::path::{Path, PathBuf};
use std::pin::pin;
use std::time::Duration;

use clap::Args;
use futures::{StreamExt, TryStreamExt};
use indicatif::{ProgressBar, ProgressStyle};
use skerry_api::cli::Output;
use skerry_api::client::Client;
use skerry_api::documents::{Consistency, Listed};
use skerry_model::CollectionName;

use super::Error;

/// Documents that are written in one go.
const CHUNK: usize = 256;
const SPINNER_TICK: Duration = Duration::from_millis(100);

/// Print a collection as lines of JSON, one {"key":…,"value":{…}} each
#[derive(Debug, Clone, Args)]
pub(in crate::cli) struct Export {
    /// The collection
    collection: CollectionName,
    /// The file; without one, standard output
    file: Option<PathBuf>,
    /// Only keys that begin with this
    #[arg(long, default_value = "")]
    prefix: String,
}

impl Export {
    pub(in crate::cli) async fn run(&self, client: &Client, output: Output) -> Result<(), Error> {
        let bar = ProgressBar::new_spinner()
            .with_style(ProgressStyle::with_template("{spinner} {pos} documents, {elapsed}").expect("it parses"));
        bar.enable_steady_tick(SPINNER_TICK);
        let exported = match &self.file {
            Some(file) => self.to_file(client, file, &bar).await,
            None => self.stream(client, &bar, |lines| output.bytes(lines).map_err(Error::Output)).await,
        };
        bar.finish_and_clear();
        let exported = exported?;
        output.note(&format!("exported {exported} documents of {}", self.collection));
        Ok(())
    }

    /// The file appears whole or not at all.
    async fn to_file(&self, client: &Client, path: &Path, bar: &ProgressBar) -> Result<u64, Error> {
        let unfinished = path.with_added_extension("unfinished");
        let failed = |source| Error::Write { path: path.to_owned(), source };
        let mut file = BufWriter::new(File::create(&unfinished).map_err(failed)?);
        let exported = self.stream(client, bar, |lines| file.write_all(lines).map_err(failed)).await?;
        let file = file.into_inner().map_err(|error| failed(error.into_error()))?;
        file.sync_all().and_then(|()| std::fs::rename(&unfinished, path)).map_err(failed)?;
        Ok(exported)
    }

    async fn stream(
        &self,
        client: &Client,
        bar: &ProgressBar,
        mut write: impl FnMut(&[u8]) -> Result<(), Error>,
    ) -> Result<u64, Error> {
        let all = client.scan_all(&self.collection, &self.prefix, Consistency::Linearizable);
        let mut chunks = pin!(all.try_chunks(CHUNK));
        let mut exported = 0;
        while let Some(chunk) = chunks.next().await {
            let chunk = chunk.map_err(|error| error.1)?;
            write(&lines(&chunk))?;
            exported += chunk.len() as u64;
            bar.set_position(exported);
        }
        Ok(exported)
    }
}

fn lines(documents: &[Listed]) -> Vec<u8> {
    let mut lines = Vec::new();
    for Listed { key, view, .. } in documents {
        lines.extend_from_slice(b"{\"key\":");
        serde_json::to_writer(&mut lines, key).expect("a vector takes every byte, and a key is text");
        lines.extend_from_slice(b",\"value\":");
        lines.extend_from_slice(view.bytes());
        lines.extend_from_slice(b"}\n");
    }
    lines
}
