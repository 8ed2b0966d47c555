//! A vehicle's program without a tokio runtime: the edge brings its own threads, and calls block.
//!
//!     skerry dev &
//!     cargo run -p skerry-edge --example blocking -- http://127.0.0.1:7401 ./vehicle-data

use std::error::Error;
use std::io::Write as _;

use serde_json::json;
use skerry_api::documents::{Address, WriteRequest};
use skerry_edge::EdgeOptions;
use skerry_edge::blocking::Edge;
use skerry_model::engine::Write;

fn main() -> Result<(), Box<dyn Error>> {
    let mut arguments = std::env::args().skip(1);
    let core = arguments.next().unwrap_or_else(|| "http://127.0.0.1:7401".to_owned());
    let data = arguments.next().unwrap_or_else(|| "./vehicle-data".to_owned());
    let options =
        EdgeOptions { replica: "vehicle-1".parse()?, cores: vec![core], data: data.into(), subscription: None };
    let edge = Edge::open(options)?;
    edge.sync_now()?;
    let at = Address { collection: "items".parse()?, key: "lantern".parse()? };
    edge.write(at.clone(), WriteRequest::new(Write::Patch(json!({ "loaded_by": "vehicle-1" }))))?;
    edge.sync_now()?;
    let read = edge.get(at.clone())?;
    writeln!(std::io::stdout(), "{} {:?}", String::from_utf8_lossy(read.view.bytes()), edge.progress(at)?)?;
    Ok(edge.close()?)
}
