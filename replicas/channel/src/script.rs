//! Golden scripts of the channel: what each side says in turn, one file for each behaviour in `scripts/`. A prefix names one
//! of several copies of an edge's folder. `UPDATE_GOLDENFILES=1` writes what is said now.

use std::collections::{BTreeMap, BTreeSet};
use std::error::Error;
use std::fmt::Write as _;

use bytes::Bytes;
use goldenscript::{Command, Context, Runner};
use skerry_model::{CollectionId, Incarnation, Nonce, Ordinal, Origin, Scn, ShardId, Timeline, VersionId};

use crate::change::Mark;
use crate::message::{Batch, Push, Pushed, Refusal, Verdict};
use crate::pull::{self, Cursor, Position};
use crate::push::receiver::{Judgement, Watermark, judge};
use crate::push::sender::{Confirmed, Effect, Message, Sender, Waiting};
use crate::subscription::Subscription;

const SHARD: ShardId = ShardId::new(0);

/// An edge's folder, and what is on its way from and to it.
#[derive(Clone)]
struct Edge {
    sender: Sender,
    outbox: Vec<Waiting>,
    incarnation: Incarnation,
    next_sequence: u64,
    sent: Option<Push>,
    answered: Option<Pushed>,
    cursor: Cursor,
}

struct World {
    edges: BTreeMap<String, Edge>,
    core: Option<Watermark>,
    /// Changes that the core refuses, by what they say.
    refuses: BTreeSet<Bytes>,
    timeline: Timeline,
}

fn shop() -> Origin {
    "shop".parse().expect("a valid name")
}

fn incarnation(number: u32, nonce: u8) -> Incarnation {
    Incarnation { number, nonce: Nonce::from_bytes([nonce; 16]) }
}

fn timeline(number: u8) -> Timeline {
    Timeline::from_bytes([number; 16])
}

fn version(scn: u64) -> VersionId {
    VersionId { scn: Scn::from_bits(scn), ordinal: Ordinal { index: scn, position: 0 } }
}

/// `start`, `copy@SCN/KEY` or `feed@SCN`.
fn position(text: &str) -> Result<Position, Box<dyn Error>> {
    let (kind, rest) = text.split_once('@').unwrap_or((text, ""));
    Ok(match kind {
        "start" => Position::Start,
        "feed" => Position::Feed { after: version(rest.parse()?) },
        "copy" => {
            let (scn, key) = rest.split_once('/').ok_or("copy@SCN/KEY")?;
            Position::Copy { feed_after: version(scn.parse()?), after: (CollectionId::new(1), key.parse()?) }
        }
        other => return Err(format!("no position {other}").into()),
    })
}

fn short(mark: &Mark) -> String {
    let chain = format!("{:?}", mark.chain);
    let hex: String = chain.chars().filter(char::is_ascii_hexdigit).collect();
    format!("{}#{}", mark.sequence, &hex[hex.len().saturating_sub(6)..])
}

fn said(pushed: &Pushed) -> String {
    match pushed {
        Pushed::Judged { mark, verdicts } => {
            let verdicts: Vec<_> = verdicts.iter().map(verdict).collect();
            format!("judged {} up to {}", verdicts.join(" "), short(mark))
        }
        Pushed::Elsewhere { incarnation, mark } => format!(
            "elsewhere: incarnation {}, at {}",
            incarnation.map_or_else(|| "none".to_owned(), |known| known.number.to_string()),
            mark.as_ref().map_or_else(|| "none".to_owned(), short)
        ),
        Pushed::Fork { incarnation } => format!("fork: incarnation {} is known", incarnation.number),
        Pushed::OtherTimeline { .. } => "other timeline".to_owned(),
    }
}

fn verdict(verdict: &Verdict) -> &'static str {
    match verdict {
        Verdict::Accepted => "accepted",
        Verdict::Repeated => "repeated",
        Verdict::Refused(_) => "refused",
    }
}

impl Edge {
    fn new() -> Self {
        let cursor = Cursor {
            timeline: timeline(1),
            shard: SHARD,
            subscription: Subscription::All.digest(),
            position: Position::Start,
        };
        Self {
            sender: Sender::new(shop(), SHARD, None),
            outbox: Vec::new(),
            incarnation: incarnation(1, 1),
            next_sequence: 1,
            sent: None,
            answered: None,
            cursor,
        }
    }

    fn step(&mut self, message: Message<'_>) -> Option<Effect> {
        let (sender, effect) = self.sender.clone().step(message);
        self.sender = sender;
        effect
    }

    fn write(&mut self, text: &str) {
        let change = Bytes::copy_from_slice(text.as_bytes());
        self.outbox.push(Waiting { incarnation: self.incarnation, sequence: self.next_sequence, change });
        self.next_sequence += 1;
    }

    /// Sends what waits, unless something is on its way.
    fn send(&mut self, timeline: Timeline) -> String {
        let outbox = self.outbox.clone();
        match self.step(Message::Ready { outbox: &outbox, timeline }) {
            Some(Effect::Send(push)) => {
                let before = Mark { sequence: push.first - 1, chain: push.before };
                let text = format!(
                    "incarnation {}: {} changes after {}",
                    push.incarnation.number,
                    push.changes.len(),
                    short(&before)
                );
                self.sent = Some(push);
                text
            }
            Some(other) => format!("{other:?}"),
            None => "nothing".to_owned(),
        }
    }

    /// Takes the answer that is on its way.
    fn answer(&mut self) -> Result<String, Box<dyn Error>> {
        let answer = self.answered.take().ok_or("no answer is on its way")?;
        let known = match &answer {
            Pushed::Fork { incarnation } | Pushed::Elsewhere { incarnation: Some(incarnation), .. } => {
                incarnation.number
            }
            _ => 0,
        };
        let outbox = self.outbox.clone();
        Ok(match self.step(Message::Answered { answer, outbox: &outbox }) {
            Some(Effect::Settle { verdicts, confirmed: Confirmed { mark, .. } }) => {
                let settled = self.outbox.drain(..verdicts.len());
                let settled: Vec<_> = settled
                    .zip(&verdicts)
                    .map(|(waiting, told)| format!("{} {}", String::from_utf8_lossy(&waiting.change), verdict(told)))
                    .collect();
                format!("{}; confirmed {}; {} wait", settled.join(", "), short(&mark), self.outbox.len())
            }
            Some(Effect::Fork) => {
                let number = known.max(self.incarnation.number) + 1;
                self.incarnation = incarnation(number, 1);
                self.next_sequence = 1;
                let waiting = std::mem::take(&mut self.outbox);
                waiting.iter().for_each(|waiting| self.write(&String::from_utf8_lossy(&waiting.change)));
                format!("a fork: {} made again under incarnation {number}", self.outbox.len())
            }
            Some(Effect::OtherTimeline(_)) => format!("other timeline; {} wait", self.outbox.len()),
            Some(Effect::WentBack) => format!("the core went back; {} wait", self.outbox.len()),
            Some(Effect::Send(_)) => return Err("an answer sends nothing".into()),
            None => "nothing".to_owned(),
        })
    }
}

impl World {
    fn new() -> Self {
        let edges = BTreeMap::from([(String::new(), Edge::new())]);
        Self { edges, core: None, refuses: BTreeSet::new(), timeline: timeline(1) }
    }

    /// The core's answer to a push.
    fn judge(&mut self, push: &Push) -> Pushed {
        if push.timeline != self.timeline {
            return Pushed::OtherTimeline { timeline: self.timeline };
        }
        match judge(self.core.as_ref(), push) {
            Judgement::Answer(answer) => answer,
            Judgement::Take(mark) => {
                let refusal = || Refusal { kind: "refused".to_owned(), detail: String::new() };
                let told = |change: &Bytes| match self.refuses.contains(change) {
                    true => Verdict::Refused(refusal()),
                    false => Verdict::Accepted,
                };
                let verdicts: Vec<_> = push.changes.iter().map(told).collect();
                let (batch_first, batch_before, incarnation) = (push.first, push.before, push.incarnation);
                self.core =
                    Some(Watermark { incarnation, mark, batch_first, batch_before, verdicts: verdicts.clone() });
                Pushed::Judged { mark, verdicts }
            }
        }
    }
}

impl Runner for World {
    type Command = Command;

    fn run(&mut self, command: &Command, context: &Context) -> Result<String, Box<dyn Error>> {
        let name = context.prefix.clone().unwrap_or_default();
        let mut arguments = command.consume_args();
        let mut rest = Vec::new();
        while let Some(argument) = arguments.next_pos() {
            rest.push(argument.to_owned());
        }
        arguments.reject_next()?;
        let timeline_now = self.timeline;
        let mut edge = self.edges.get(&name).or_else(|| self.edges.get("")).cloned().ok_or("no such edge")?;
        let mut output = match command.name.as_str() {
            // An edge's folder is copied to others.
            "copies" => {
                let original = self.edges.remove("").ok_or("there are copies already")?;
                self.edges.extend(rest.into_iter().map(|copy| (copy, original.clone())));
                return Ok(String::new());
            }
            "refuse" => {
                self.refuses.extend(rest.iter().map(|text| Bytes::copy_from_slice(text.as_bytes())));
                String::new()
            }
            "core-lost" => {
                self.core = None;
                String::new()
            }
            "restored" => {
                self.timeline = timeline(2);
                String::new()
            }
            "write" => {
                rest.iter().for_each(|text| edge.write(text));
                format!("{} wait", edge.outbox.len())
            }
            "unclean-stop" => {
                edge.incarnation = incarnation(edge.incarnation.number + 1, 1);
                edge.next_sequence = 1;
                edge.sent = None;
                edge.step(Message::Lost).map_or_else(String::new, |effect| format!("{effect:?}"))
            }
            "send" => edge.send(timeline_now),
            "deliver" => {
                let push = edge.sent.clone().ok_or("nothing is on its way")?;
                let answer = self.judge(&push);
                let text = said(&answer);
                edge.answered = Some(answer);
                text
            }
            "lose" => {
                edge.answered = None;
                edge.step(Message::Lost).map_or_else(String::new, |effect| format!("{effect:?}"))
            }
            "answer" => edge.answer()?,
            "batch" => {
                let [from, to] = &rest[..] else { return Err("batch FROM TO".into()) };
                let at = |text: &str| -> Result<Cursor, Box<dyn Error>> {
                    Ok(Cursor { timeline: timeline_now, position: position(text)?, ..edge.cursor.clone() })
                };
                let (from, to) = (at(from)?, at(to)?);
                let batch = Batch { from, to, documents: Vec::new(), gone: None, more: false };
                let step = pull::step(&edge.cursor, &batch);
                if step == pull::Step::Install {
                    edge.cursor = batch.to;
                }
                format!("{step:?}")
            }
            other => return Err(format!("no command {other}").into()),
        };
        self.edges.insert(name, edge);
        if !output.is_empty() {
            writeln!(output)?;
        }
        Ok(output)
    }
}

#[track_caller]
fn check(name: &str) {
    goldenscript::run(&mut World::new(), std::path::Path::new("src/scripts").join(name)).expect("the script is kept");
}

#[test]
fn repeats() {
    check("repeats");
}

#[test]
fn refusals() {
    check("refusals");
}

#[test]
fn gaps() {
    check("gaps");
}

#[test]
fn forks() {
    check("forks");
}

#[test]
fn unclean_stops() {
    check("unclean-stops");
}

#[test]
fn a_restored_core() {
    check("restored");
}

#[test]
fn batches() {
    check("batches");
}
