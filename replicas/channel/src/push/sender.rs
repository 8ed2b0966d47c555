//! The edge's side of a push, for one shard: one batch in flight, in the order of the outbox, each batch stating the
//! chain before it (DESIGN.md, Channel). Invariant: nothing leaves the outbox but by a verdict of the core.

use bytes::Bytes;
use skerry_model::{Incarnation, Origin, ShardId, Timeline};

use crate::change::Mark;
use crate::limits;
use crate::message::{Push, Pushed, Verdict};

/// A change that waits in the outbox.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Waiting {
    /// What it was written under.
    pub incarnation: Incarnation,
    /// Its sequence number.
    pub sequence: u64,
    /// Its change frame.
    pub change: Bytes,
}

/// What the core has confirmed of this edge in one shard; stored together with what a verdict changes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
pub struct Confirmed {
    /// The incarnation.
    pub incarnation: Incarnation,
    /// How far its chain has come.
    pub mark: Mark,
}

/// The sender of one shard.
#[derive(Debug, Clone)]
pub struct Sender {
    replica: Origin,
    shard: ShardId,
    confirmed: Option<Confirmed>,
    in_flight: Option<Push>,
}

/// What happened.
#[derive(Debug)]
pub enum Message<'a> {
    /// The outbox begins with these changes, and the connection is free.
    Ready {
        /// In their order.
        outbox: &'a [Waiting],
        /// The core's line of history, from its welcome.
        timeline: Timeline,
    },
    /// The core answered the batch in flight.
    Answered {
        /// What it said.
        answer: Pushed,
        /// The outbox as at [`Message::Ready`], or longer.
        outbox: &'a [Waiting],
    },
    /// No answer came; nobody knows whether the core has the batch.
    Lost,
}

/// What to do.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Effect {
    /// Send this.
    Send(Push),
    /// In one atomic write: take the first of the outbox out, one for each verdict, and store what is confirmed.
    Settle {
        /// What became of them.
        verdicts: Vec<Verdict>,
        /// What the core has confirmed with them.
        confirmed: Confirmed,
    },
    /// Another copy of this folder has written: take a new incarnation and make what waits again.
    Fork,
    /// The core is on this line of history now.
    OtherTimeline(Timeline),
    /// The core has forgotten what it had confirmed: it was put back to an older copy, and does not say so.
    WentBack,
}

impl Sender {
    /// The sender that goes on from what was stored.
    #[must_use]
    pub fn new(replica: Origin, shard: ShardId, confirmed: Option<Confirmed>) -> Self {
        Self { replica, shard, confirmed, in_flight: None }
    }

    /// Whether a batch is on its way.
    #[must_use]
    pub fn is_waiting(&self) -> bool {
        self.in_flight.is_some()
    }

    /// What the batch on its way was written under.
    #[must_use]
    pub fn sent(&self) -> Option<Incarnation> {
        self.in_flight.as_ref().map(|push| push.incarnation)
    }

    /// One step.
    #[must_use]
    pub fn step(self, message: Message<'_>) -> (Self, Option<Effect>) {
        match message {
            Message::Ready { outbox, timeline } => self.ready(outbox, timeline),
            Message::Answered { answer, outbox } => self.answered(answer, outbox),
            Message::Lost => (Self { in_flight: None, ..self }, None),
        }
    }

    fn ready(self, outbox: &[Waiting], timeline: Timeline) -> (Self, Option<Effect>) {
        let Some(first) = outbox.first().filter(|_| self.in_flight.is_none()) else { return (self, None) };
        let before = self.before(&first.incarnation);
        let mut bytes = 0;
        let changes = outbox
            .iter()
            .take(limits::PUSH_CHANGES_MAX)
            .take_while(|waiting| waiting.incarnation == first.incarnation)
            .take_while(|waiting| {
                let fits = bytes == 0 || bytes + waiting.change.len() <= limits::PUSH_BYTES_TARGET;
                bytes += waiting.change.len();
                fits
            })
            .map(|waiting| waiting.change.clone())
            .collect();
        let push = Push {
            replica: self.replica.clone(),
            incarnation: first.incarnation,
            timeline,
            shard: self.shard,
            first: first.sequence,
            before: before.chain,
            changes,
        };
        (Self { in_flight: Some(push.clone()), ..self }, Some(Effect::Send(push)))
    }

    fn answered(mut self, answer: Pushed, outbox: &[Waiting]) -> (Self, Option<Effect>) {
        let Some(push) = self.in_flight.take() else { return (self, None) };
        match answer {
            Pushed::Judged { mark, verdicts } => {
                // The core may have had the batch's beginning already, with verdicts for that alone.
                let judged = push.changes.iter().take(verdicts.len());
                let end = judged.fold(self.before(&push.incarnation), |at, change| at.then(change));
                if end != mark || verdicts.is_empty() || verdicts.len() > push.changes.len() {
                    return (self, Some(Effect::Fork));
                }
                self.settle(Confirmed { incarnation: push.incarnation, mark }, verdicts)
            }
            Pushed::Elsewhere { incarnation, mark } if self.is_behind(incarnation, mark) => {
                (self, Some(Effect::WentBack))
            }
            Pushed::Elsewhere { incarnation, mark } => self.compare(&push.incarnation, incarnation, mark, outbox),
            Pushed::Fork { .. } => (self, Some(Effect::Fork)),
            Pushed::OtherTimeline { timeline } => (self, Some(Effect::OtherTimeline(timeline))),
        }
    }

    /// Whether a place lies before what was confirmed. On one line of history the core never goes back, whoever writes.
    fn is_behind(&self, incarnation: Option<Incarnation>, mark: Option<Mark>) -> bool {
        let Some(confirmed) = self.confirmed else { return false };
        let (Some(incarnation), Some(mark)) = (incarnation, mark) else { return true };
        incarnation.number < confirmed.incarnation.number
            || (incarnation == confirmed.incarnation && mark.sequence < confirmed.mark.sequence)
    }

    /// The core stands elsewhere on the chain. If that place is on this edge's own chain, the changes up to it are in
    /// the core; otherwise somebody else has written them.
    fn compare(
        self,
        sent: &Incarnation,
        incarnation: Option<Incarnation>,
        mark: Option<Mark>,
        outbox: &[Waiting],
    ) -> (Self, Option<Effect>) {
        let (Some(incarnation), Some(mark)) = (incarnation, mark) else { return (self, Some(Effect::Fork)) };
        if incarnation != *sent {
            return (self, Some(Effect::Fork));
        }
        let confirmed = Confirmed { incarnation, mark };
        match self.reached(outbox, &confirmed) {
            0 => (self, Some(Effect::Fork)),
            taken => self.settle(confirmed, vec![Verdict::Accepted; taken]),
        }
    }

    /// How many of the first changes of the outbox a place on their chain covers; 0 where it is none of it.
    #[must_use]
    pub fn reached(&self, outbox: &[Waiting], place: &Confirmed) -> usize {
        let before = outbox.iter().take_while(|waiting| waiting.incarnation.number < place.incarnation.number).count();
        let own = outbox[before..].iter().take_while(|waiting| waiting.incarnation == place.incarnation);
        let marks = own.scan(self.before(&place.incarnation), |at, waiting| {
            *at = at.then(&waiting.change);
            Some(*at)
        });
        marks.enumerate().find(|(_, at)| *at == place.mark).map_or(0, |(at, _)| before + at + 1)
    }

    fn settle(mut self, confirmed: Confirmed, verdicts: Vec<Verdict>) -> (Self, Option<Effect>) {
        self.confirmed = Some(confirmed);
        (self, Some(Effect::Settle { verdicts, confirmed }))
    }

    /// Where the chain of an incarnation stands at the outbox's beginning.
    fn before(&self, incarnation: &Incarnation) -> Mark {
        match self.confirmed {
            Some(confirmed) if confirmed.incarnation == *incarnation => confirmed.mark,
            _ => Mark::start(&self.replica, incarnation, self.shard),
        }
    }
}

#[cfg(test)]
mod tests {
    use skerry_model::Nonce;

    use super::*;
    use crate::push::receiver::{Judgement, Watermark, judge};

    const TIMELINE: Timeline = Timeline::from_bytes([9; 16]);

    fn outbox(number: u32, changes: std::ops::Range<u64>) -> Vec<Waiting> {
        let incarnation = Incarnation { number, nonce: Nonce::from_bytes([1; 16]) };
        changes
            .map(|sequence| Waiting { incarnation, sequence, change: Bytes::from(format!("{number}/{sequence}")) })
            .collect()
    }

    fn sender() -> Sender {
        Sender::new(Origin::new("shop").unwrap(), ShardId::new(0), None)
    }

    /// A core that accepts all it may take.
    fn answer(watermark: &mut Option<Watermark>, push: &Push) -> Pushed {
        match judge(watermark.as_ref(), push) {
            Judgement::Answer(answer) => answer,
            Judgement::Take(mark) => {
                let verdicts = vec![Verdict::Accepted; push.changes.len()];
                let (batch_first, batch_before) = (push.first, push.before);
                let incarnation = push.incarnation;
                *watermark =
                    Some(Watermark { incarnation, mark, batch_first, batch_before, verdicts: verdicts.clone() });
                Pushed::Judged { mark, verdicts }
            }
        }
    }

    /// Sends until the outbox is empty; `lossy` loses the first answer.
    fn drain(mut sender: Sender, core: &mut Option<Watermark>, outbox: &mut Vec<Waiting>, mut lossy: bool) -> Sender {
        while !outbox.is_empty() {
            let (next, effect) = sender.step(Message::Ready { outbox, timeline: TIMELINE });
            let Some(Effect::Send(push)) = effect else { panic!("nothing sent: {effect:?}") };
            let answer = answer(core, &push);
            if std::mem::take(&mut lossy) {
                sender = next.step(Message::Lost).0;
                continue;
            }
            let (next, effect) = next.step(Message::Answered { answer, outbox });
            let Some(Effect::Settle { verdicts, .. }) = effect else { panic!("not settled: {effect:?}") };
            outbox.drain(..verdicts.len());
            sender = next;
        }
        sender
    }

    #[test]
    fn an_older_incarnation_is_sent_before_the_newer() {
        let mut core = None;
        let mut waiting = [outbox(1, 1..4), outbox(2, 1..3)].concat();
        drain(sender(), &mut core, &mut waiting, false);
        let known = core.unwrap();
        assert_eq!((known.incarnation.number, known.mark.sequence), (2, 2));
    }

    #[test]
    fn a_lost_answer_is_asked_for_again() {
        let mut core = None;
        drain(sender(), &mut core, &mut outbox(1, 1..4), true);
        assert_eq!(core.unwrap().mark.sequence, 3);
    }

    /// What was refused in a batch whose answer was lost is still refused when the batch comes again, grown.
    #[test]
    fn a_batch_that_grew_behind_a_lost_answer_keeps_its_verdicts() {
        let mut core = None;
        let (first, effect) = sender().step(Message::Ready { outbox: &outbox(1, 1..3), timeline: TIMELINE });
        let Some(Effect::Send(push)) = effect else { panic!("nothing sent") };
        let _lost = answer(&mut core, &push);
        let refused = Verdict::Refused(crate::message::Refusal { kind: "refused".to_owned(), detail: String::new() });
        core.as_mut().unwrap().verdicts[1] = refused.clone();
        let grown = outbox(1, 1..5);
        let again = first.step(Message::Lost).0;
        let (again, effect) = again.step(Message::Ready { outbox: &grown, timeline: TIMELINE });
        let Some(Effect::Send(push)) = effect else { panic!("nothing sent") };
        let answer = answer(&mut core, &push);
        let (_, effect) = again.step(Message::Answered { answer, outbox: &grown });
        let Some(Effect::Settle { verdicts, .. }) = effect else { panic!("not settled: {effect:?}") };
        assert_eq!(verdicts, [Verdict::Accepted, refused]);
    }

    #[test]
    fn one_batch_is_in_flight() {
        let (waiting, _) = sender().step(Message::Ready { outbox: &outbox(1, 1..4), timeline: TIMELINE });
        assert!(waiting.is_waiting());
        assert!(waiting.step(Message::Ready { outbox: &outbox(1, 1..4), timeline: TIMELINE }).1.is_none());
    }

    #[test]
    fn a_core_that_is_ahead_on_the_same_chain_confirms() {
        let mut core = None;
        drain(sender(), &mut core, &mut outbox(1, 1..3), false);
        drain(Sender { confirmed: Some(confirmed(&core)), ..sender() }, &mut core, &mut outbox(1, 3..5), false);
        let mut behind = outbox(1, 1..7);
        drain(sender(), &mut core, &mut behind, false);
        assert_eq!(core.unwrap().mark.sequence, 6);
    }

    fn confirmed(core: &Option<Watermark>) -> Confirmed {
        let known = core.as_ref().unwrap();
        Confirmed { incarnation: known.incarnation, mark: known.mark }
    }

    /// What the core confirmed and no longer has is no fork: no copy of a folder takes anything away.
    #[test]
    fn a_core_that_forgot_is_told_apart_from_a_fork() {
        let mut core = None;
        let sender = drain(sender(), &mut core, &mut outbox(1, 1..3), false);
        let older = core.clone();
        let sender = drain(sender, &mut core, &mut outbox(1, 3..5), false);
        for mut older in [older, None] {
            let waiting = outbox(1, 5..6);
            let (next, effect) = sender.clone().step(Message::Ready { outbox: &waiting, timeline: TIMELINE });
            let Some(Effect::Send(push)) = effect else { panic!("nothing sent") };
            let answer = answer(&mut older, &push);
            assert_eq!(next.step(Message::Answered { answer, outbox: &waiting }).1, Some(Effect::WentBack));
        }
    }

    #[test]
    fn a_shorter_own_chain_is_a_fork() {
        let mut core = None;
        drain(sender(), &mut core, &mut outbox(1, 1..5), false);
        let waiting = outbox(1, 1..3);
        let (next, effect) = sender().step(Message::Ready { outbox: &waiting, timeline: TIMELINE });
        let Some(Effect::Send(push)) = effect else { panic!("nothing sent") };
        let answer = answer(&mut core, &push);
        assert_eq!(next.step(Message::Answered { answer, outbox: &waiting }).1, Some(Effect::Fork));
    }
}
