//! What `skerry dev` uses while nobody asks for anything.

use std::time::Duration;

use serde_json::Value;
use skerry_tests::processes::{Process, http, until};

use super::processor::{pause, used};
use super::table::binaries;

const TIME: Duration = Duration::from_secs(30);
/// The first node of `skerry dev`.
const URL: &str = "http://127.0.0.1:7401";

fn shards() -> Option<Vec<Value>> {
    let (_, cluster) = http(&format!("{URL}/v1/cluster"), "GET", None).ok()?;
    let shards = cluster["shards"].as_array()?;
    Some(shards.iter().map(|shard| shard["last_index"].clone()).collect())
}

#[test]
#[ignore = "needs the ports of skerry dev and an idle machine: cargo xtask load"]
fn measure_idle() {
    let folder = tempfile::tempdir().unwrap();
    let data = folder.path().join("data").display().to_string();
    let arguments = ["dev", "--data", &data].map(str::to_owned);
    let mut dev = Process::start(binaries().skerry, &arguments);
    // The story is over when the logs stand still.
    let mut last = None;
    let before = until("the story to be over", || {
        pause(Duration::from_secs(5));
        let now = shards()?;
        (last.replace(now.clone()) == Some(now.clone())).then_some(now)
    });
    let used_before = used(dev.id());
    pause(TIME);
    let part = (used(dev.id()) - used_before).as_secs_f64() / TIME.as_secs_f64();
    assert_eq!(shards().unwrap(), before, "nothing is appended to any log");
    println!("idle: skerry dev uses {:.1} % of one core, and appended nothing in {TIME:?}", part * 100.0);
    assert!(dev.stop());
}
