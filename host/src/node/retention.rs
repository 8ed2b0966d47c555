//! How long the feed reaches back: entries older than the rejoin window go, a step at a time, by a record of the leader's.

use skerry_model::Scn;
use skerry_store::{Direction, Limit};

use super::Node;
use super::shard::Shard;
use crate::documents::keys::feed;
use crate::documents::read;
use crate::documents::record::Effect;
use crate::limits::FEED_STEP;

impl Node {
    /// Lets go of a step of a shard's feed, where there is one that is old enough.
    pub(super) async fn forget_feed(&self, shard: &Shard) {
        let window = u64::try_from(self.0.rejoin_window.as_millis()).unwrap_or(u64::MAX);
        let before = Scn::at_millis(self.0.clock.now_ms().saturating_sub(window));
        match old_entries(shard, before) {
            Ok(Some(up_to)) => {
                if let Err(refused) = self.propose(shard, Effect::ForgetFeed { up_to }).await {
                    tracing::debug!(shard = %shard.id, ?refused, "the feed was not cut");
                }
            }
            Ok(None) => {}
            Err(error) => tracing::warn!(shard = %shard.id, %error, "the feed cannot be read"),
        }
    }
}

/// The SCN of the last entry of the first step that is older than this; `None` when there is none.
fn old_entries(shard: &Shard, before: Scn) -> Result<Option<Scn>, read::Error> {
    let rows = shard.state.store();
    let step = |count| -> Result<Vec<Scn>, read::Error> {
        let rows = rows.scan(&feed::all(), Limit::rows(count), Direction::Forward)?;
        rows.iter().map(|(key, _)| Ok(feed::decode_key(key)?.scn)).collect()
    };
    // Almost always the first one says that there is none.
    if step(1)?.first().is_none_or(|oldest| *oldest >= before) {
        return Ok(None);
    }
    Ok(step(FEED_STEP)?.into_iter().take_while(|scn| *scn < before).last())
}
