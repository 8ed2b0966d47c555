//! The sending end: asks what is wanted and sends it, one chunk at a time, until the snapshot is installed.

use std::future::Future;
use std::sync::Arc;
use std::time::Duration;

use tokio::time::{Instant, sleep, sleep_until};

use super::outgoing::{Chunk, Next};
use super::{Error, Outgoing, Part, Reply};
use crate::consensus::types::Vote;
use crate::env::executor::{Executor, compute};
use crate::limits::{
    SNAPSHOT_BYTES_PER_SECOND_MAX, SNAPSHOT_RESTARTS_MAX, SNAPSHOT_RETRY_PAUSE, SNAPSHOT_STALL_TIMEOUT,
};

/// Why a snapshot did not arrive; `E` is what the network says.
#[derive(Debug, thiserror::Error)]
pub enum Failure<E> {
    /// It cannot be read here.
    #[error(transparent)]
    Here(#[from] Error),
    /// The peer cannot be asked.
    #[error("the peer does not take the snapshot: {0}")]
    Peer(E),
    /// The peer answers, but has no use for what it gets.
    #[error("the peer has thrown away what it got of the snapshot")]
    NotTaken,
}

/// Sends a snapshot over `ask`, which may fail in between: it goes on where the receiver is. The answer is the receiver's
/// vote.
///
/// # Errors
/// [`Failure`], when the receiver does not answer the first time: a snapshot is not held for a node that is away. Later,
/// when it has taken no further chunk for [`SNAPSHOT_STALL_TIMEOUT`], or has thrown away what it got more than
/// [`SNAPSHOT_RESTARTS_MAX`] times.
pub async fn send<E, F>(
    vote: Vote,
    mut outgoing: Outgoing,
    executor: &Arc<dyn Executor>,
    ask: impl Fn(Part) -> F,
) -> Result<Vote, Failure<E>>
where
    F: Future<Output = Result<Reply, E>>,
{
    let id = outgoing.id();
    let mut wanted = None;
    let (mut restarts, mut is_heard) = (0, false);
    let mut stalls_at = Instant::now() + SNAPSHOT_STALL_TIMEOUT;
    loop {
        let (part, paced) = match wanted {
            None => (Part::Begin { vote, id }, Duration::ZERO),
            Some(number) => {
                let read = compute(&**executor, move || (outgoing.chunk(number), outgoing)).await;
                let (next, back) = read.ok_or(Error::Aborted)?;
                outgoing = back;
                match next.map_err(Error::from)? {
                    Next::Chunk(Chunk { number, digest, rows }) => {
                        let paced = time_for(rows.len());
                        (Part::Chunk { id, number, digest, rows }, paced)
                    }
                    Next::End { digest, header } => (Part::End { vote, id, digest, header }, Duration::ZERO),
                }
            }
        };
        let not_before = Instant::now() + paced;
        let answer = ask(part).await;
        is_heard |= answer.is_ok();
        let failure = match answer {
            Ok(Reply::Installed(vote)) => return Ok(vote),
            Ok(Reply::Wanted(number)) => {
                let sent = wanted.replace(number);
                if sent.is_some_and(|sent| number > sent) {
                    stalls_at = Instant::now() + SNAPSHOT_STALL_TIMEOUT;
                }
                if sent.is_none_or(|sent| number > sent) {
                    sleep_until(not_before).await;
                    continue;
                }
                Failure::NotTaken
            }
            Ok(Reply::Unknown) if restarts == SNAPSHOT_RESTARTS_MAX => return Err(Failure::NotTaken),
            Ok(Reply::Unknown) => {
                restarts += 1;
                wanted = None;
                Failure::NotTaken
            }
            Err(error) if !is_heard => return Err(Failure::Peer(error)),
            Err(error) => {
                wanted = None;
                Failure::Peer(error)
            }
        };
        if Instant::now() >= stalls_at {
            return Err(failure);
        }
        sleep(SNAPSHOT_RETRY_PAUSE).await;
    }
}

/// How long so many bytes may take at the least.
pub(super) fn time_for(bytes: usize) -> Duration {
    Duration::from_nanos((bytes as u64).saturating_mul(1_000_000_000) / SNAPSHOT_BYTES_PER_SECOND_MAX)
}
