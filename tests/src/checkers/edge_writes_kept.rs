//! What an edge has stored it goes on showing, through crashes and syncs (read your writes: Terry et al. 1994), and in the
//! end every stored or acknowledged write is shown by every replica, unless its edge lists it as stranded.

use super::{Checker, View};

pub(super) struct EdgeWritesKept;

impl Checker for EdgeWritesKept {
    fn name(&self) -> &'static str {
        "edge writes kept"
    }

    fn look(&mut self, view: &View) -> Result<(), String> {
        // Of an edge with stranded work only the end says which writes those are.
        for edge in view.edges.iter().filter(|edge| edge.stranded == 0) {
            if let Some(lost) = edge.stored.iter().find(|write| !write.is_in(&edge.shown)) {
                return Err(format!("{} has stored {lost:?} and does not show it: {:?}", edge.replica, edge.shown));
            }
        }
        let Some(rest) = &view.rest else { return Ok(()) };
        for write in rest.stored.iter().filter(|write| !rest.stranded.contains(&write.field)) {
            if let Some((replica, shown)) = rest.replicas.iter().find(|(_, shown)| !write.is_in(shown)) {
                return Err(format!("{write:?} is neither stranded nor shown by {replica}: {shown:?}"));
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::super::testing::refuses;
    use super::super::{EdgeView, RestView, Shown, StoredWrite};
    use super::*;

    fn write() -> StoredWrite {
        StoredWrite { by: Some("shop".parse().unwrap()), document: "d".to_owned(), field: "shop-1".to_owned() }
    }

    fn shown(view: &str) -> Shown {
        [("d".to_owned(), Some((view.to_owned(), 0)))].into()
    }

    fn at_edge(view: &str) -> View {
        let replica = "shop".parse().unwrap();
        View {
            edges: vec![EdgeView { replica, stored: vec![write()], stranded: 0, shown: shown(view) }],
            ..View::default()
        }
    }

    fn at_rest(view: &str, stranded: &[&str]) -> View {
        let stranded = stranded.iter().map(|field| (*field).to_owned()).collect();
        let replicas = vec![("node 1".to_owned(), shown(view))];
        View { rest: Some(RestView { replicas, stored: vec![write()], stranded }), ..View::default() }
    }

    #[test]
    fn a_write_that_vanishes_from_its_edge_is_found() {
        refuses(EdgeWritesKept, vec![at_edge(r#"{"shop-1":1}"#), at_edge(r#"{"shop-11":1}"#)]);
    }

    #[test]
    fn a_write_that_never_arrives_is_found() {
        refuses(EdgeWritesKept, vec![at_rest(r#"{"shop-1":1}"#, &[]), at_rest("{}", &["shop-1"]), at_rest("{}", &[])]);
    }
}
