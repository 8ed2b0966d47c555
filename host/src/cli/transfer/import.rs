//! `skerry import`.

use std::collections::BTreeSet;
use std::fs::File;
use std::io::{self, BufRead, BufReader, Read};
use std::path::PathBuf;

use clap::Args;
use futures::StreamExt;
use futures::stream::FuturesUnordered;
use indicatif::{ProgressBar, ProgressStyle};
use serde_json::{Map, Value, json};
use skerry_api::cli::{Output, plain};
use skerry_api::client::{self, Client};
use skerry_api::documents::{Address, Conditions};
use skerry_api::problem::Kind;
use skerry_model::{CollectionName, DocumentKey};
use tokio::sync::mpsc;

use super::Error;
use super::line::{self, LINE_BYTES_MAX};

/// Documents that are on their way at once.
const IN_FLIGHT_MAX: usize = 64;
/// Lines read ahead.
const LINES_AHEAD: usize = 64;
/// Lines that may be refused before an import stops.
const REFUSED_MAX: u64 = 20;

/// Write documents from lines of JSON, one {"key":…,"value":{…}} each
#[derive(Debug, Clone, Args)]
pub(in crate::cli) struct Import {
    /// The collection
    collection: CollectionName,
    /// The file, or - for standard input
    file: PathBuf,
    /// Take each line as a document whose key is in this field
    #[arg(long, value_name = "NAME")]
    key_field: Option<String>,
}

/// A line of the input, without its end.
struct Line {
    number: u64,
    bytes: Vec<u8>,
}

/// A document that was sent.
struct Sent {
    number: u64,
    key: DocumentKey,
    result: Result<(), client::Error>,
}

impl Import {
    /// A line that cannot be taken is reported and left out; whatever would befall every line stops the import.
    pub(in crate::cli) async fn run(&self, client: &Client, output: Output) -> Result<(), Error> {
        let (lines, bar) = self.open()?;
        let imported =
            Importer { import: self, client, output, bar: &bar, seen: 0, imported: 0, refused: 0 }.run(lines);
        let imported = imported.await;
        bar.finish_and_clear();
        let imported = imported?;
        let collection = &self.collection;
        let report = json!({ "imported": imported });
        output.show(&report, |_| format!("imported {imported} documents into {collection}")).map_err(Error::Output)
    }

    fn open(&self) -> Result<(mpsc::Receiver<io::Result<Line>>, ProgressBar), Error> {
        if self.file.as_os_str() == "-" {
            let bar = ProgressBar::new_spinner().with_style(style("{spinner} {msg} documents, {elapsed}"));
            return Ok((read_lines(BufReader::new(io::stdin()), bar.clone()), bar));
        }
        let read = |source| Error::Read { from: self.from(), source };
        let file = File::open(&self.file).map_err(read)?;
        let bytes = file.metadata().map_err(read)?.len();
        let bar =
            ProgressBar::new(bytes).with_style(style("{bar:30} {msg} documents, {bytes} of {total_bytes}, {eta}"));
        Ok((read_lines(BufReader::new(file), bar.clone()), bar))
    }

    fn from(&self) -> String {
        if self.file.as_os_str() == "-" { "standard input".to_owned() } else { self.file.display().to_string() }
    }
}

struct Importer<'a> {
    import: &'a Import,
    client: &'a Client,
    output: Output,
    bar: &'a ProgressBar,
    seen: u64,
    imported: u64,
    refused: u64,
}

impl Importer<'_> {
    /// Two lines with one key are written one after the other, so that the last one stays.
    async fn run(mut self, mut lines: mpsc::Receiver<io::Result<Line>>) -> Result<u64, Error> {
        let mut in_flight = FuturesUnordered::new();
        let mut keys = BTreeSet::new();
        while let Some(line) = lines.recv().await {
            let Line { number, bytes } = line.map_err(|source| Error::Read { from: self.import.from(), source })?;
            if bytes.trim_ascii().is_empty() {
                continue;
            }
            self.seen += 1;
            let (key, document) = match line::parse(&bytes, self.import.key_field.as_deref()) {
                Ok(parsed) => parsed,
                Err(error) => {
                    self.refuse(number, &error.to_string())?;
                    continue;
                }
            };
            while in_flight.len() >= IN_FLIGHT_MAX || keys.contains(&key) {
                let sent: Sent = in_flight.next().await.expect("what is waited for is in flight");
                keys.remove(&sent.key);
                self.take(sent)?;
            }
            keys.insert(key.clone());
            in_flight.push(send(self.client, &self.import.collection, number, key, document));
        }
        while let Some(sent) = in_flight.next().await {
            self.take(sent)?;
        }
        match self.refused {
            0 => Ok(self.imported),
            refused => Err(Error::Refused { refused, lines: self.seen }),
        }
    }

    fn take(&mut self, sent: Sent) -> Result<(), Error> {
        match sent.result {
            Ok(()) => {
                self.imported += 1;
                self.bar.set_message(self.imported.to_string());
                Ok(())
            }
            Err(error) if is_about_the_document(&error) => self.refuse(sent.number, &error.to_string()),
            Err(source) => Err(Error::Stopped { line: sent.number, imported: self.imported, source }),
        }
    }

    fn refuse(&mut self, number: u64, reason: &str) -> Result<(), Error> {
        self.refused += 1;
        self.bar.suspend(|| self.output.warn(&format!("line {number}: {}", plain(reason))));
        if self.refused < REFUSED_MAX {
            return Ok(());
        }
        Err(Error::TooManyRefused { line: number, refused: self.refused, imported: self.imported })
    }
}

async fn send(
    client: &Client,
    collection: &CollectionName,
    number: u64,
    key: DocumentKey,
    document: Map<String, Value>,
) -> Sent {
    let at = Address { collection: collection.clone(), key };
    let result = client.put(&at, &document, &Conditions::default()).await.map(|_| ());
    Sent { number, key: at.key, result }
}

/// Whether other documents may fare better.
fn is_about_the_document(error: &client::Error) -> bool {
    let kind = match error {
        client::Error::Key { .. } => return true,
        error => error.problem().map(|problem| problem.kind),
    };
    matches!(
        kind,
        Some(Kind::Malformed | Kind::TooLarge | Kind::HistoryFull | Kind::Refused | Kind::PreconditionFailed)
    )
}

fn style(template: &str) -> ProgressStyle {
    ProgressStyle::with_template(template).expect("the template is a constant that parses")
}

/// Reads on a thread of its own, since neither files nor standard input can be waited for; ends when nobody listens.
fn read_lines(mut reader: impl BufRead + Send + 'static, bar: ProgressBar) -> mpsc::Receiver<io::Result<Line>> {
    let (lines, receiver) = mpsc::channel(LINES_AHEAD);
    std::thread::spawn(move || {
        for number in 1.. {
            let line = match read_line(&mut reader) {
                Ok(None) => return,
                Ok(Some((bytes, read))) => {
                    bar.inc(read);
                    Ok(Line { number, bytes })
                }
                Err(error) => Err(error),
            };
            let ends = line.is_err();
            if lines.blocking_send(line).is_err() || ends {
                return;
            }
        }
    });
    receiver
}

/// The next line and how many bytes it took; of one past the limit, only enough to see that it is.
fn read_line(reader: &mut impl BufRead) -> io::Result<Option<(Vec<u8>, u64)>> {
    let mut bytes = Vec::new();
    let mut read = reader.by_ref().take(LINE_BYTES_MAX as u64 + 1).read_until(b'\n', &mut bytes)? as u64;
    if read == 0 {
        return Ok(None);
    }
    if bytes.last() == Some(&b'\n') {
        bytes.pop();
    } else if bytes.len() > LINE_BYTES_MAX {
        read += reader.skip_until(b'\n')? as u64;
    }
    Ok(Some((bytes, read)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_are_read_within_the_limit() {
        let long = "x".repeat(LINE_BYTES_MAX + 10);
        let text = format!("a\n\n{long}\nb");
        let mut reader = text.as_bytes();
        let mut lengths = Vec::new();
        let mut total = 0;
        while let Some((line, read)) = read_line(&mut reader).unwrap() {
            lengths.push(line.len());
            total += read;
        }
        assert_eq!(lengths, [1, 0, LINE_BYTES_MAX + 1, 1]);
        assert_eq!(total, text.len() as u64);
    }
}
