//! A till that embeds an edge in its own tokio runtime: it sells while it is offline, and hears of what others sell.
//!
//!     skerry dev &
//!     cargo run -p skerry-edge --example embedded -- http://127.0.0.1:7401 ./till-data

use std::error::Error;

use serde_json::{Value, json};
use skerry_api::documents::{Address, WriteRequest};
use skerry_edge::{Edge, EdgeOptions, Heard};
use skerry_model::engine::Write;

/// Changes that it waits for before it goes home.
const CHANGES: usize = 3;

#[tokio::main]
async fn main() -> Result<(), Box<dyn Error>> {
    let mut arguments = std::env::args().skip(1);
    let core = arguments.next().unwrap_or_else(|| "http://127.0.0.1:7401".to_owned());
    let data = arguments.next().unwrap_or_else(|| "./till-data".to_owned());
    let options = EdgeOptions { replica: "till-1".parse()?, cores: vec![core], data: data.into(), subscription: None };
    let edge = Edge::open(options).await?;
    // The first start needs the core once; from then on everything works without it.
    edge.sync_now().await?;
    let mut changes = edge.changes();
    let at = Address { collection: "items".parse()?, key: "lantern".parse()? };
    edge.set_online(false);
    let Value::Object(sold) = json!({ "sold_at": "till-1" }) else { unreachable!("it is an object") };
    edge.write(at.clone(), WriteRequest::new(Write::Patch(Value::Object(sold)))).await?;
    say(&format!("stored while offline: {:?}", edge.progress(at.clone()).await?))?;
    edge.set_online(true);
    edge.sync_now().await?;
    say(&format!("after the sync: {:?}", edge.progress(at.clone()).await?))?;
    for _ in 0..CHANGES {
        match changes.next().await {
            Some(Heard::Changed(at)) => {
                let view =
                    edge.get(at.clone()).await.map(|read| String::from_utf8_lossy(read.view.bytes()).into_owned());
                say(&format!("{}/{} reads {}", at.collection, at.key, view.unwrap_or_else(|gone| gone.detail)))?;
            }
            Some(Heard::Missed(missed)) => say(&format!("{missed} changes were missed: read everything of interest"))?,
            None => break,
        }
    }
    Ok(edge.close().await?)
}

fn say(line: &str) -> std::io::Result<()> {
    use std::io::Write as _;
    writeln!(std::io::stdout(), "{line}")
}
