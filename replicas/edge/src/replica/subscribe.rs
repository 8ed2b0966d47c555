//! A subscription that changes while the edge runs. What is new is copied and then joins the feed; what is no longer wanted
//! goes, once nothing of this edge's own waits in it.
//! Invariant: what the main cursors are of is here as far as they stand.

use std::sync::Arc;

use skerry_channel::pull::{Cursor, Position};
use skerry_channel::subscription::Subscription;
use skerry_model::{CollectionId, DocumentKey, VersionId};
use skerry_store::{Direction, Limit};

use super::{Error, Phase, Replica, Shard};
use crate::keys::cursor::{Copying, Role, Standing};
use crate::keys::subscription::Subscribed;
use crate::keys::{self, Place};
use crate::limits;

/// A search for documents that are no longer wanted.
#[derive(Debug, Default)]
pub(super) struct Leaving {
    /// The last document looked at.
    after: Option<Place>,
}

impl Shard {
    /// Where one of the edge's feeds stands.
    pub(super) fn at(&self, role: Role) -> Option<&Standing> {
        match role {
            Role::Main => Some(&self.standing),
            Role::Joining => self.joining.as_ref(),
        }
    }

    /// One of the edge's feeds stands here now.
    pub(super) fn stand(&mut self, role: Role, standing: Standing) {
        match role {
            Role::Main => self.standing = standing,
            Role::Joining => self.joining = Some(standing),
        }
    }
}

impl Replica {
    /// What this edge holds, or is about to.
    #[must_use]
    pub fn subscription(&self) -> &Subscription {
        &self.subscribed.wanted
    }

    /// Has the edge hold something else from now on.
    ///
    /// # Errors
    /// [`Error`].
    pub fn subscribe(&mut self, wanted: Subscription) -> Result<(), Error> {
        let before = self.subscribed.clone();
        if wanted == before.wanted {
            return Ok(());
        }
        tracing::info!(?wanted, "another subscription");
        self.known = Arc::new((*self.known).clone().with_subscription(wanted.clone()));
        let leaving = before.leaving || before.wanted.beyond(&wanted).is_some();
        let kept = before.held.both(&wanted).filter(|_| self.identity.home.is_some());
        self.subscribed = match kept {
            Some(held) => {
                let joining = wanted.beyond(&held);
                let held = if joining.is_none() { wanted.clone() } else { held };
                Subscribed { wanted, held, joining, leaving }
            }
            // There are too many pieces to go on with: all of it is compared.
            None => Subscribed { leaving, ..Subscribed::to(wanted) },
        };
        let returning = self.shards.values().any(|shard| shard.standing.returning);
        if returning {
            // What waits is made again on all that is wanted.
            self.subscribed = Subscribed { leaving, ..Subscribed::to(self.subscribed.wanted.clone()) };
        }
        let whole = returning || self.subscribed.held.beyond(&before.held).is_some();
        let held = self.subscribed.held.digest();
        let joining = self.subscribed.joining.as_ref().map(Subscription::digest);
        // Where nothing of it can be here there is nothing to compare.
        let is_new = |joining: &Subscription| joining.both(&before.wanted) == Subscription::only(Vec::new()).ok();
        let is_new = !leaving && self.subscribed.joining.as_ref().is_some_and(is_new);
        let copying = if is_new { Copying::First } else { Copying::Compared };
        let goes_on = joining.is_some() && self.subscribed.joining == before.joining;
        for (id, standing) in self.standings() {
            let standing_place = standing.cursor.position.clone();
            let cursor = Cursor { subscription: held, ..standing.cursor };
            let begins = Cursor { position: Position::Start, ..cursor.clone() };
            let main = match whole {
                true => Standing { cursor: begins.clone(), copying: Copying::Compared, ..standing },
                false => Standing { cursor, ..standing },
            };
            self.stand(Role::Main, id, main);
            match joining {
                Some(_) if goes_on => {}
                Some(subscription) => {
                    // Its feed is to go on where the main one stands now, so the copy also brings what is deleted since.
                    let position = match &standing_place {
                        Position::Feed { after } => Position::Copy { feed_after: *after, after: before_all() },
                        Position::Start | Position::Copy { .. } => Position::Start,
                    };
                    let cursor = Cursor { subscription, position, ..begins };
                    self.stand(Role::Joining, id, Standing { cursor, copying, returning: false });
                }
                None => self.forget_joining(id),
            }
        }
        self.leaving = leaving.then(Leaving::default);
        self.put_subscribed();
        Ok(())
    }

    /// Gives up what is still to join as something of its own: all of the subscription is copied together.
    pub(super) fn subscribe_whole(&mut self) {
        let wanted = self.subscribed.wanted.clone();
        self.subscribed = Subscribed { leaving: self.subscribed.leaving, ..Subscribed::to(wanted) };
        for (id, _) in self.standings() {
            self.forget_joining(id);
        }
        self.put_subscribed();
    }

    /// All of the subscription is compared with what is there.
    pub(super) fn compare_whole(&mut self) {
        self.subscribe_whole();
        let subscription = self.subscribed.held.digest();
        for (id, standing) in self.standings() {
            let cursor = Cursor { subscription, position: Position::Start, ..standing.cursor };
            self.stand(Role::Main, id, Standing { cursor, copying: Copying::Compared, ..standing });
        }
    }

    /// What is to join does, once both feeds are past their copies: from the place that both have come to.
    pub(super) fn join_when_copied(&mut self) {
        let place = |standing: &Standing| match &standing.cursor.position {
            Position::Feed { after } => Some(*after),
            Position::Start | Position::Copy { .. } => None,
        };
        let reached = |shard: &Shard| Some(place(&shard.standing)?.min(place(shard.joining.as_ref()?)?));
        let reached: Option<Vec<VersionId>> = self.shards.values().map(reached).collect();
        let (Some(reached), Some(_)) = (reached, &self.subscribed.joining) else { return };
        let leaving = self.subscribed.leaving;
        self.subscribed = Subscribed { leaving, ..Subscribed::to(self.subscribed.wanted.clone()) };
        let subscription = self.subscribed.held.digest();
        for ((id, standing), after) in self.standings().into_iter().zip(reached) {
            let cursor = Cursor { subscription, position: Position::Feed { after }, ..standing.cursor };
            self.stand(Role::Main, id, Standing { cursor, ..standing });
            self.forget_joining(id);
        }
        self.put_subscribed();
        tracing::info!("what joined the subscription is copied");
    }

    fn standings(&self) -> Vec<(skerry_model::ShardId, Standing)> {
        self.shards.iter().map(|(id, shard)| (*id, shard.standing.clone())).collect()
    }

    fn forget_joining(&mut self, id: skerry_model::ShardId) {
        self.table.delete(Role::Joining.key(id));
        if let Some(shard) = self.shards.get_mut(&id) {
            shard.joining = None;
        }
    }

    fn put_subscribed(&mut self) {
        self.table.put(keys::subscription::key(), keys::subscription::encode(&self.subscribed));
    }

    /// A bounded step of letting go of what is no longer wanted. `true` when more is left to look at.
    pub(super) fn leave(&mut self) -> Result<bool, Error> {
        let Some(Leaving { after }) = self.leaving.take() else { return Ok(false) };
        let all = keys::head::all();
        let range = match &after {
            Some(after) => all.behind(keys::head::key(after), Direction::Forward),
            None => all,
        };
        let limit = Limit { rows: limits::UPKEEP_STEPS_MAX, bytes: limits::SCAN_STEP_BYTES };
        let rows = self.table.scan(&range, limit)?;
        let mut last = None;
        for (key, _) in rows {
            let place = keys::head::decode_key(&key)?;
            self.leave_document(&place)?;
            last = Some(place);
        }
        if last.is_some() {
            self.leaving = Some(Leaving { after: last });
            return Ok(true);
        }
        // Those that the core never published have no head.
        for place in self.pending.keys().cloned().collect::<Vec<_>>() {
            self.leave_document(&place)?;
        }
        if !self.pending.keys().any(|place| self.is_unwanted(place)) {
            self.subscribed.leaving = false;
            self.put_subscribed();
        }
        Ok(false)
    }

    /// Lets go of a document that is not wanted, unless something waits in it: that goes to the core first.
    pub(super) fn leave_document(&mut self, place: &Place) -> Result<(), Error> {
        let pending = self.pending.get(place).cloned().unwrap_or_default();
        if !self.is_unwanted(place) || pending.iter().any(|pending| pending.phase == Phase::Waiting) {
            return Ok(());
        }
        for accepted in pending {
            self.let_go_of_accepted(place, accepted)?;
        }
        let was_visible = self.shown(place)?.is_some_and(|shown| shown.view.is_some());
        if let Some(head) = self.head(place)? {
            self.forget_published(place, head.epoch);
        }
        self.table.delete(keys::provisional::key(place));
        self.live.forget(place);
        self.stale.remove(place);
        self.unsettled.remove(place);
        self.changed.insert(place.clone());
        self.recount(was_visible, false);
        Ok(())
    }

    fn is_unwanted(&self, place: &Place) -> bool {
        let collection = self.known.by_id(place.collection);
        collection.is_some_and(|collection| !self.subscribed.wanted.covers(&collection.name, &place.key))
    }
}

/// A place before every document: no collection has the id 0.
fn before_all() -> (CollectionId, DocumentKey) {
    (CollectionId::new(0), DocumentKey::new("0").expect("it is a valid key"))
}
