//! How a command prints, and the only place that does: data on standard output, all else on standard error.

use std::borrow::Cow;
use std::fmt;
use std::io::{self, Write};
use std::pin::pin;
use std::process::ExitCode;
use std::time::Duration;

use indicatif::ProgressBar;
use serde::Serialize;

use crate::problem::Problem;
use crate::wire::ProblemBody;

/// How long a command may say nothing.
const PATIENCE: Duration = Duration::from_secs(2);
const SPINNER_TICK: Duration = Duration::from_millis(100);

/// Where a command's data goes.
#[derive(Debug, Clone, Copy)]
pub struct Output {
    json: bool,
}

impl Output {
    /// For programs (`json`) or for people.
    #[must_use]
    pub fn new(json: bool) -> Self {
        Self { json }
    }

    /// Whether a program reads it.
    #[must_use]
    pub fn is_json(self) -> bool {
        self.json
    }

    /// Prints a value: as one line of JSON, or as people like it.
    ///
    /// # Errors
    /// When standard output takes no more.
    pub fn show<T: Serialize>(self, value: &T, for_people: impl FnOnce(&T) -> String) -> io::Result<()> {
        self.line(&if self.json { serde_json::to_string(value).map_err(io::Error::other)? } else { for_people(value) })
    }

    /// Prints data that has its own line ends.
    ///
    /// # Errors
    /// When standard output takes no more.
    pub fn bytes(self, bytes: &[u8]) -> io::Result<()> {
        let mut stdout = io::stdout().lock();
        stdout.write_all(bytes)?;
        stdout.flush()
    }

    /// Prints a line of data.
    ///
    /// # Errors
    /// When standard output takes no more.
    pub fn line(self, text: &str) -> io::Result<()> {
        self.bytes(format!("{text}\n").as_bytes())
    }

    /// Tells people something beside the data.
    pub fn note(self, text: &str) {
        if !self.json {
            write_note(text);
        }
    }

    /// Tells of something that went wrong while the command goes on; programs are told too.
    pub fn warn(self, text: &str) {
        write_note(text);
    }
}

/// A failure, for programs.
#[derive(Serialize)]
struct Failure<'a> {
    error: &'a str,
    #[serde(flatten)]
    problem: Option<ProblemBody>,
}

/// Says why a command failed, in one sentence for people, or as one line of JSON with the node's problem document where
/// there is one; the exit code is 1. A reader that has seen enough is no failure.
#[must_use]
pub fn fail(error: &(dyn std::error::Error + 'static), problem: Option<&Problem>, json: bool) -> ExitCode {
    let closed = |error: &(dyn std::error::Error + 'static)| {
        error.downcast_ref::<io::Error>().is_some_and(|error| error.kind() == io::ErrorKind::BrokenPipe)
    };
    if std::iter::successors(Some(error), |error| error.source()).any(closed) {
        return ExitCode::SUCCESS;
    }
    let sentence = error.to_string();
    let for_programs = || {
        let failure = Failure { error: &sentence, problem: problem.map(ProblemBody::from) };
        serde_json::to_string(&failure).expect("its fields are texts and numbers")
    };
    write_note(&if json { for_programs() } else { format!("error: {sentence}") });
    ExitCode::FAILURE
}

/// Where standard error is closed there is nobody left to tell.
fn write_note(text: &str) {
    writeln!(io::stderr().lock(), "{text}").unwrap_or_default();
}

/// Waits for work; after two seconds, with a sign of life on standard error.
pub async fn patiently<T>(doing: impl Into<Cow<'static, str>>, work: impl Future<Output = T>) -> T {
    let mut work = pin!(work);
    if let Ok(done) = tokio::time::timeout(PATIENCE, &mut work).await {
        return done;
    }
    let spinner = ProgressBar::new_spinner().with_message(doing);
    spinner.enable_steady_tick(SPINNER_TICK);
    let done = work.await;
    spinner.finish_and_clear();
    done
}

/// Text from outside as a terminal may see it: without control characters, which could move its cursor.
#[must_use]
pub fn plain(text: &str) -> String {
    text.chars().flat_map(|c| if c.is_control() { c.escape_default().collect() } else { vec![c] }).collect()
}

/// Milliseconds since 1970 as UTC in the form of RFC 3339.
#[must_use]
pub fn utc(millis: i64) -> String {
    let (seconds, millis) = (millis.div_euclid(1_000), millis.rem_euclid(1_000));
    let (days, second) = (seconds.div_euclid(86_400), seconds.rem_euclid(86_400));
    // Days to year, month and day in the proleptic Gregorian calendar: Howard Hinnant, "chrono-compatible low-level date
    // algorithms", civil_from_days. Years begin in March, so that the leap day comes last.
    let shifted = days + 719_468;
    let (era, day_of_era) = (shifted.div_euclid(146_097), shifted.rem_euclid(146_097));
    let year_of_era = (day_of_era - day_of_era / 1_460 + day_of_era / 36_524 - day_of_era / 146_096) / 365;
    let day_of_year = day_of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
    let month_from_march = (5 * day_of_year + 2) / 153;
    let day = day_of_year - (153 * month_from_march + 2) / 5 + 1;
    let month = if month_from_march < 10 { month_from_march + 3 } else { month_from_march - 9 };
    let year = year_of_era + era * 400 + i64::from(month <= 2);
    let (hour, minute, second) = (second / 3_600, second / 60 % 60, second % 60);
    format!("{year:04}-{month:02}-{day:02}T{hour:02}:{minute:02}:{second:02}.{millis:03}Z")
}

/// The widest column that is aligned, in characters: what is longer, as a whole document may be, pushes its own row alone.
const ALIGNED_CHARS_MAX: usize = 200;

/// Rows in columns as wide as their widest cell.
#[derive(Debug, Clone, Default)]
pub struct Table {
    rows: Vec<Vec<String>>,
}

impl Table {
    /// A table with these headings.
    #[must_use]
    pub fn new(headings: &[&str]) -> Self {
        Self { rows: vec![headings.iter().map(|&heading| heading.to_owned()).collect()] }
    }

    /// Adds a row.
    pub fn row<const N: usize>(&mut self, cells: [&dyn fmt::Display; N]) {
        self.rows.push(cells.iter().map(|cell| plain(&cell.to_string())).collect());
    }
}

impl fmt::Display for Table {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let columns = self.rows.iter().map(Vec::len).max().unwrap_or(0);
        let width = |column: usize| {
            self.rows
                .iter()
                .filter_map(|row| row.get(column))
                .map(|cell| cell.chars().count().min(ALIGNED_CHARS_MAX))
                .max()
        };
        let widths: Vec<usize> = (0..columns).map(|column| width(column).unwrap_or(0)).collect();
        for (at, row) in self.rows.iter().enumerate() {
            let cells = row.iter().zip(&widths).map(|(cell, &width)| format!("{cell:<width$}"));
            let line = cells.collect::<Vec<_>>().join("  ");
            write!(f, "{}{}", if at == 0 { "" } else { "\n" }, line.trim_end())?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn columns_align_and_control_characters_are_shown() {
        let mut table = Table::new(&["KEY", "N"]);
        table.row([&"lantern", &2]);
        table.row([&"é\u{1b}[2J", &10]);
        assert_eq!(table.to_string(), "KEY         N\nlantern     2\né\\u{1b}[2J  10");
    }

    #[test]
    fn a_cell_of_any_length_is_shown_whole() {
        let mut table = Table::default();
        let long = "x".repeat(100_000);
        table.row([&long, &1]);
        table.row([&"short", &2]);
        let lines: Vec<_> = table.to_string().lines().map(str::len).collect();
        assert_eq!(lines, [100_003, ALIGNED_CHARS_MAX + 3]);
    }

    #[test]
    fn times_are_utc() {
        assert_eq!(utc(0), "1970-01-01T00:00:00.000Z");
        assert_eq!(utc(-1), "1969-12-31T23:59:59.999Z");
        assert_eq!(utc(951_782_400_000), "2000-02-29T00:00:00.000Z");
        assert_eq!(utc(1_709_251_199_999), "2024-02-29T23:59:59.999Z");
        assert_eq!(utc(1_762_000_000_123), "2025-11-01T12:26:40.123Z");
    }
}
