//! Logs: tracing events on stderr, for people or as JSON, filtered by SKERRY_LOG.

use tracing_subscriber::EnvFilter;

/// The variable that says what is logged, as in `info,skerry_host::node=debug`.
pub const FILTER_VARIABLE: &str = "SKERRY_LOG";

/// Begins to log; `default` applies where the variable is not set. Does nothing when logging has begun already.
pub fn begin(default: &str, json: bool) {
    let filter = EnvFilter::try_from_env(FILTER_VARIABLE).unwrap_or_else(|_| EnvFilter::new(default));
    let logs = tracing_subscriber::fmt().with_env_filter(filter).with_writer(std::io::stderr);
    let logs = logs.with_ansi(std::io::IsTerminal::is_terminal(&std::io::stderr()));
    // A second start in one process, as in tests, keeps the first one's logs.
    let _ = if json { logs.json().try_init() } else { logs.try_init() };
}
