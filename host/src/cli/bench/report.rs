//! What a benchmark found.

use std::cell::RefCell;
use std::collections::BTreeMap;
use std::fmt;
use std::time::Duration;

use hdrhistogram::Histogram;
use serde::Serialize;
use skerry_api::cli::Table;

use super::connection::Failure;
use super::load::Kind;

/// The longest latency that is told from longer ones, in microseconds: a minute.
const LATENCY_MICROS_MAX: u64 = 60_000_000;
/// Decimal digits that are kept of a latency.
const LATENCY_DIGITS: u8 = 3;

/// Counts while the benchmark runs.
pub(super) struct Stats {
    puts: Histogram<u64>,
    gets: Histogram<u64>,
    errors: BTreeMap<Failure, u64>,
}

impl Default for Stats {
    fn default() -> Self {
        let latencies =
            || Histogram::new_with_bounds(1, LATENCY_MICROS_MAX, LATENCY_DIGITS).expect("the bounds are valid");
        Self { puts: latencies(), gets: latencies(), errors: BTreeMap::new() }
    }
}

impl Stats {
    pub(super) fn shared() -> RefCell<Self> {
        RefCell::default()
    }

    pub(super) fn record(&mut self, kind: Kind, took: Duration, answer: Result<(), Failure>) {
        let micros = u64::try_from(took.as_micros()).unwrap_or(LATENCY_MICROS_MAX);
        match (answer, kind) {
            (Ok(()), Kind::Put) => self.puts.saturating_record(micros),
            (Ok(()), Kind::Get) => self.gets.saturating_record(micros),
            (Err(failure), _) => *self.errors.entry(failure).or_default() += 1,
        }
    }

    /// Requests that were answered as they should.
    pub(super) fn answered(&self) -> u64 {
        self.puts.len() + self.gets.len()
    }

    /// A line for whoever waits.
    pub(super) fn so_far(&self, elapsed: Duration) -> String {
        let errors: u64 = self.errors.values().sum();
        let each_second = |latencies: &Histogram<u64>| per_second(latencies.len(), elapsed);
        format!("{:.0} puts/s, {:.0} gets/s, {errors} errors", each_second(&self.puts), each_second(&self.gets))
    }

    pub(super) fn errors_in_words(&self) -> String {
        let counted = self.errors.iter().map(|(failure, count)| format!("{failure} ({count})"));
        let counted: Vec<_> = counted.collect();
        if counted.is_empty() { "no answer came".to_owned() } else { counted.join(", ") }
    }

    pub(super) fn report(&self, connections: u32, elapsed: Duration) -> Report {
        let side = |latencies: &Histogram<u64>| Side::of(latencies, elapsed);
        let errors = self.errors.iter().map(|(failure, count)| (failure.to_string(), *count)).collect();
        Report { connections, seconds: elapsed.as_secs_f64(), puts: side(&self.puts), gets: side(&self.gets), errors }
    }
}

/// What is printed. Latencies are in milliseconds.
#[derive(Debug, Serialize)]
pub(super) struct Report {
    connections: u32,
    seconds: f64,
    puts: Option<Side>,
    gets: Option<Side>,
    errors: BTreeMap<String, u64>,
}

#[derive(Debug, Serialize)]
struct Side {
    count: u64,
    per_second: f64,
    p50: f64,
    p90: f64,
    p99: f64,
    #[serde(rename = "p99.9")]
    p99_9: f64,
    max: f64,
}

impl Side {
    fn of(latencies: &Histogram<u64>, elapsed: Duration) -> Option<Self> {
        let at = |quantile| millis(latencies.value_at_quantile(quantile));
        (!latencies.is_empty()).then(|| Self {
            count: latencies.len(),
            per_second: per_second(latencies.len(), elapsed),
            p50: at(0.5),
            p90: at(0.9),
            p99: at(0.99),
            p99_9: at(0.999),
            max: millis(latencies.max()),
        })
    }
}

impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut table = Table::new(&["", "PER SECOND", "COUNT", "P50 MS", "P90", "P99", "P99.9", "MAX"]);
        for (name, side) in [("puts", &self.puts), ("gets", &self.gets)] {
            let Some(side) = side else { continue };
            let [p50, p90, p99, p99_9, max] =
                [side.p50, side.p90, side.p99, side.p99_9, side.max].map(|millis| format!("{millis:.2}"));
            table.row([&name, &format!("{:.0}", side.per_second), &side.count, &p50, &p90, &p99, &p99_9, &max]);
        }
        write!(f, "{} connections, {:.1} s\n\n{table}", self.connections, self.seconds)?;
        for (error, count) in &self.errors {
            write!(f, "\nerrors: {count} x {error}")?;
        }
        Ok(())
    }
}

fn per_second(count: u64, elapsed: Duration) -> f64 {
    count as f64 / elapsed.as_secs_f64()
}

fn millis(micros: u64) -> f64 {
    micros as f64 / 1_000.0
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reports_count_each_side_and_each_error() {
        let mut stats = Stats::default();
        for millis in 1..=1_000 {
            stats.record(Kind::Put, Duration::from_millis(millis), Ok(()));
        }
        for _ in 0..3 {
            stats.record(Kind::Get, Duration::from_millis(5), Err(Failure::Problem("overloaded".to_owned())));
        }
        let report = stats.report(64, Duration::from_secs(2));
        let puts = report.puts.as_ref().unwrap();
        assert_eq!((puts.count, puts.per_second), (1_000, 500.0));
        assert!((500.0..501.0).contains(&puts.p50) && (999.0..1_001.0).contains(&puts.p99_9), "{puts:?}");
        assert!(report.gets.is_none());
        assert_eq!(report.errors["overloaded"], 3);
        let text = report.to_string();
        assert!(text.contains("puts  500") && text.ends_with("errors: 3 x overloaded"), "{text}");
    }
}
