//! Random walks: edges that write, lose answers, crash, are stopped, and then are left in peace. Whatever was
//! answered is in the core in the end, once, and all see the same.

use serde_json::json;
use skerry_api::documents::State;
use skerry_model::engine::Write;

use super::core::Core;
use super::{Machine, enrolled};

/// Numbers of one seed (SplitMix64; Steele, Lea and Flood 2014).
struct Walk(u64);

impl Walk {
    fn below(&mut self, end: usize) -> usize {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut mixed = self.0;
        mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        usize::try_from((mixed ^ (mixed >> 31)) % u64::try_from(end).unwrap()).unwrap()
    }
}

/// Sends one batch; the answer may get lost, and the edge may die before or after it takes the answer.
fn push_unreliably(walk: &mut Walk, edge: &mut Machine, core: &mut Core) {
    let Some(shard) = edge.replica().ready_shards().first().copied() else { return };
    let push = edge.replica().next_push(shard).unwrap().unwrap();
    edge.replica().commit().unwrap();
    let answer = core.push(&push);
    match walk.below(5) {
        0 => edge.replica().push_lost(shard),
        1 => edge.crash(),
        2 => {
            edge.replica().pushed(shard, answer).unwrap();
            edge.crash();
        }
        _ => {
            edge.replica().pushed(shard, answer).unwrap();
            edge.replica().commit().unwrap();
        }
    }
}

fn step(walk: &mut Walk, edge: &mut Machine, core: &mut Core, number: usize, answered: &mut Vec<(String, String)>) {
    let key = format!("k{}", walk.below(6));
    core.now_ms += 10;
    edge.clock.set(core.now_ms);
    match walk.below(12) {
        0 => {
            edge.hello(core);
        }
        1..=3 => push_unreliably(walk, edge, core),
        4 => {
            edge.pull(core);
        }
        5 => edge.crash(),
        6 => edge.restart(),
        7 => core.write(&key, &Write::Patch(json!({ format!("c{number}"): number }))),
        _ => {
            let field = format!("{}{number}", edge.name);
            edge.patch(&key, json!({ &field: number, "last": number }));
            answered.push((key, field));
        }
    }
}

fn walk(seed: u64) {
    let mut walk = Walk(seed);
    let mut core = Core::new(u16::try_from(1 + walk.below(3)).unwrap());
    core.copy_step = 1 + walk.below(4);
    let mut edges = [enrolled("a", &mut core), enrolled("b", &mut core), enrolled("c", &mut core)];
    let mut answered = Vec::new();
    for number in 0..60 {
        let at = walk.below(edges.len());
        step(&mut walk, &mut edges[at], &mut core, number, &mut answered);
    }
    for edge in &mut edges {
        edge.replica().connection_lost();
        edge.sync(&mut core);
    }
    for (key, field) in answered {
        assert!(core.view(&key).unwrap().get(&field).is_some(), "seed {seed}: {field} of {key} is lost");
    }
    for edge in &mut edges {
        edge.sync(&mut core);
        let counts = edge.replica().counts();
        assert_eq!((counts.unsent, counts.stranded), (0, 0), "seed {seed}");
        for key in (0..6).map(|key| format!("k{key}")) {
            match core.view(&key) {
                Some(view) => edge.check(&key, view, State::Committed),
                None => edge.check_gone(&key),
            }
        }
    }
}

#[test]
fn edges_and_core_agree_after_any_walk() {
    (0..100).for_each(walk);
}
