//! What an edge has stored it goes on showing, through crashes and syncs (read your writes: Terry et al. 1994), and in the
//! end every stored or acknowledged write is shown by every replica, unless its edge lists it as stranded.

use super::{Added, Checker, Shown, StoredWrite, View, excerpt};

pub(super) struct EdgeWritesKept;

impl Checker for EdgeWritesKept {
    fn name(&self) -> &'static str {
        "edge writes kept"
    }

    fn look(&mut self, view: &View) -> Result<(), String> {
        // Of an edge with stranded work only the end says which writes those are.
        for edge in view.edges.iter().filter(|edge| edge.stranded == 0) {
            if let Some(lost) = missing(&edge.stored, &[], &edge.shown) {
                let shown = excerpt(&edge.shown, &lost.document);
                return Err(format!("{} has stored {lost:?} and does not show it: {shown}", edge.replica));
            }
        }
        let Some(rest) = &view.rest else { return Ok(()) };
        for (replica, shown) in &rest.replicas {
            if let Some(lost) = missing(&rest.stored, &rest.stranded, shown) {
                let shown = excerpt(shown, &lost.document);
                return Err(format!("{lost:?} is neither stranded nor shown by {replica}: {shown}"));
            }
            if let Some((counter, most)) = rest.asked.iter().find(|(counter, most)| counted(shown, counter) > **most) {
                let shown = excerpt(shown, counter);
                return Err(format!("{replica} shows more than {most} in {counter}: {shown}"));
            }
        }
        Ok(())
    }
}

/// A write that is neither shown nor among those that were refused.
fn missing<'a>(stored: &'a [StoredWrite], stranded: &[(String, Added)], shown: &Shown) -> Option<&'a StoredWrite> {
    let is_there = |write: &StoredWrite| match &write.added {
        Added::Part(_) | Added::Letter(_) => {
            shows(shown, write) || stranded.iter().any(|(_, added)| *added == write.added)
        }
        Added::One => {
            let refused =
                stranded.iter().filter(|(document, added)| *document == write.document && *added == Added::One);
            let alike = stored.iter().filter(|other| other.added == Added::One && other.document == write.document);
            alike.count() <= counted(shown, &write.document) + refused.count()
        }
    };
    stored.iter().find(|write| !is_there(write))
}

/// Whether a field, an item or a letter is in its document.
pub(crate) fn shows(shown: &Shown, write: &StoredWrite) -> bool {
    let view = shown.get(&write.document).and_then(Option::as_ref);
    view.is_some_and(|(view, _)| match &write.added {
        Added::Part(part) => view.contains(&format!("\"{part}\"")),
        Added::Letter(letter) => view.contains(*letter),
        Added::One => false,
    })
}

/// What a counter shows; 0 for one that is not there.
fn counted(shown: &Shown, counter: &str) -> usize {
    let view = shown.get(counter).and_then(Option::as_ref);
    let number = view.and_then(|(view, _)| view.strip_prefix("{\"value\":")?.strip_suffix('}')?.parse().ok());
    number.unwrap_or(0)
}

#[cfg(test)]
mod tests {
    use super::super::testing::refuses;
    use super::super::{EdgeView, RestView};
    use super::*;

    fn part() -> Added {
        Added::Part("shop-1".to_owned())
    }

    fn write(added: Added) -> StoredWrite {
        StoredWrite { by: Some("shop".parse().unwrap()), document: "d".to_owned(), added }
    }

    fn shown(view: &str) -> Shown {
        [("d".to_owned(), Some((view.to_owned(), 0)))].into()
    }

    fn at_edge(view: &str) -> View {
        let replica = "shop".parse().unwrap();
        View {
            edges: vec![EdgeView { replica, stored: vec![write(part())], stranded: 0, shown: shown(view) }],
            ..View::default()
        }
    }

    fn at_rest(view: &str, stored: Vec<StoredWrite>, stranded: &[Added]) -> View {
        let stranded = stranded.iter().map(|added| ("d".to_owned(), added.clone())).collect();
        let replicas = vec![("node 1".to_owned(), shown(view))];
        let asked = [("d".to_owned(), 3)].into();
        View { rest: Some(RestView { replicas, stored, stranded, asked }), ..View::default() }
    }

    #[test]
    fn a_write_that_vanishes_from_its_edge_is_found() {
        refuses(EdgeWritesKept, vec![at_edge(r#"{"shop-1":1}"#), at_edge(r#"{"shop-11":1}"#)]);
    }

    #[test]
    fn a_write_that_never_arrives_is_found() {
        let stored = || vec![write(part())];
        let shown = at_rest(r#"{"shop-1":1}"#, stored(), &[]);
        refuses(EdgeWritesKept, vec![shown, at_rest("{}", stored(), &[part()]), at_rest("{}", stored(), &[])]);
    }

    #[test]
    fn an_increment_that_never_counts_is_found() {
        let stored = || vec![write(Added::One), write(Added::One)];
        let counted = at_rest(r#"{"value":2}"#, stored(), &[]);
        let refused = at_rest(r#"{"value":1}"#, stored(), &[Added::One]);
        refuses(EdgeWritesKept, vec![counted, refused, at_rest(r#"{"value":1}"#, stored(), &[])]);
    }

    #[test]
    fn an_increment_that_counts_twice_is_found() {
        refuses(EdgeWritesKept, vec![at_rest(r#"{"value":3}"#, vec![], &[]), at_rest(r#"{"value":4}"#, vec![], &[])]);
    }
}
