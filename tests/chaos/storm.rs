//! A cluster on loopback, with a proxy before each node port.

use std::time::Duration;

use super::cluster::{Cluster, NODES};
use super::faults::Faults;
use super::links::Links;
use super::node::Launch;
use super::places::{Ports, first_id};
use super::run::Run;

const LENGTH: Duration = Duration::from_secs(30);

#[test]
fn nothing_acknowledged_is_lost_and_nothing_stale_is_read() {
    let run = Run::new("storm", LENGTH);
    let mut ports = Ports::new();
    let places: [_; NODES] = std::array::from_fn(|slot| ports.place(first_id(slot)));
    let mut cluster = Cluster::found(Launch::plain(run.reads()), places);
    let links = Links::new(run.runtime());
    for place in places {
        links.carry_to(place).expect("the founder has left its port");
    }
    cluster.start();
    let mut faults = Faults::new(run.seed, run.runtime(), &cluster, links, ports);
    run.holds(&mut cluster, &mut faults);
}
